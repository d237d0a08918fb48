"""`flujoctl run --timeout`: a run fails when it takes longer than whoever started it has said."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Flujoctl

SLOW = "name: slow\nsteps: [{name: a, task: noop}, {name: b, task: sleep, inputs: {seconds: 3600}}]\n"


@pytest.fixture
def slow(folder: Path) -> None:
    """A workflow that takes an hour and has no timeout."""
    (folder / "slow.yaml").write_text(SLOW)


@pytest.mark.usefixtures("slow")
def test_the_run_fails_and_a_resume_has_as_much_time_again(flujoctl: Flujoctl) -> None:
    """What --timeout says is recorded."""
    ended = flujoctl("run", "slow.yaml", "--id", "r", "--timeout", "10ms")
    resumed = flujoctl("resume", "r")

    assert (ended.code, resumed.code) == (1, 1)
    assert "the run took longer than 0.01s" in ended.err
    assert "the run took longer than 0.01s" in resumed.err


@pytest.mark.usefixtures("slow")
def test_the_end_is_told_by_explain(flujoctl: Flujoctl) -> None:
    """While the run waits."""
    flujoctl("run", "slow.yaml", "--id", "r", "--timeout", "30m", "--no-wait")

    assert "its timeout is over" in flujoctl("explain", "r").out


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--timeout", "soon"], "'soon' is not a duration"),
        (["--timeout", "0"], "longer than no time at all"),
        (["--resume", "--timeout", "5m"], "keeps the timeout it was started with"),
        (["--deadline", "5m"], "did you mean --timeout?"),
    ],
)
def test_what_is_no_timeout_is_refused_before_a_store_is_made(
    options: list[str], told: str, flujoctl: Flujoctl, folder: Path
) -> None:
    """In one line, with exit code 2."""
    refused = flujoctl("run", "slow.yaml", *options)

    assert refused.code == 2
    assert told in refused.err
    assert list((folder / ".flujo").iterdir()) == []
