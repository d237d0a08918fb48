"""Rules on how long runs are kept, as people write them for flujoctl."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Flujoctl

KEPT = """\
name: kept
retention: {last: 1}
steps:
  - {name: a, task: echo, inputs: {message: hi}}
"""


def test_a_run_of_a_file_forgets_the_old_ones(flujoctl: Flujoctl, folder: Path) -> None:
    """Each `run` of it applies its rule once, also where nobody serves the store, and workspaces go along."""
    (folder / "kept.yaml").write_text(KEPT, encoding="utf-8")
    for number in range(4):
        assert flujoctl("run", "kept.yaml", "--id", f"r{number}", "-q").code == 0

    left = set(flujoctl("list", "-q").out.split())
    assert "r3" in left
    assert left.isdisjoint({"r0", "r1"})
    assert {path.stem for path in (folder / ".flujo" / "workspaces").glob("[!.]*")} == left


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("completed=soon", "'soon' is not a duration"),
        ("paused=1d", "'paused=1d' is not one of completed, failed, cancelled, last"),
        ("last=0", "last must be a whole number from 1"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_serve(flujoctl: Flujoctl, folder: Path, rule: str, says: str) -> None:
    """Exit code 2, before a store is made."""
    ended = flujoctl("serve", "--retention", rule)

    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert list((folder / ".flujo").iterdir()) == []
