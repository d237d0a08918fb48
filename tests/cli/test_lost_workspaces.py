"""A workspace that is gone is not made anew without a word: the run is paused, and each remedy works."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import Flujoctl

WORK = """\
name: work
steps:
  - {name: note, task: noop}
  - {name: fetch, task: write_file, inputs: {path: page, content: "all of it"}}
  - {name: approve, task: wait_signal}
  - {name: count, task: read_file, inputs: {path: page}}
outputs: {page: "{{ steps.count.result }}"}
"""


@pytest.fixture
def waiting(folder: Path, flujoctl: Flujoctl) -> Path:
    """The workspace of a run `r` that has fetched its page and waits; nobody runs it."""
    (folder / "work.yaml").write_text(WORK, encoding="utf-8")
    assert flujoctl("run", "work.yaml", "--id", "r", "--no-wait").code == 7
    return folder / ".flujo" / "workspaces" / "r"


def inspected(flujoctl: Flujoctl, run_id: str = "r") -> dict[str, Any]:
    """A run as `inspect -o json` tells it."""
    found: dict[str, Any] = json.loads(flujoctl("inspect", run_id, "-o", "json").out)
    return found


def go_on(flujoctl: Flujoctl, *options: str) -> Any:
    """Approve, and resume."""
    flujoctl("signal", "r", "approve")
    return flujoctl("resume", "r", "--no-wait", *options)


def test_a_run_whose_workspace_is_gone_is_paused_and_names_it(waiting: Path, flujoctl: Flujoctl) -> None:
    """Its next step would have worked on nothing; none has begun."""
    shutil.rmtree(waiting)

    ended = go_on(flujoctl)

    assert ended.code == 7
    found = inspected(flujoctl)
    assert (found["status"], found["paused_reason"]) == ("paused", "WorkspaceGone")
    assert "count" not in [step["name"] for step in found["steps"]]
    assert not waiting.exists()
    assert "try: flujoctl resume r\n" not in ended.err  # which would only pause it again
    assert "try: flujoctl resume r --empty-workspace" in ended.err
    told = flujoctl("explain", "r")
    assert f"its workspace {waiting} is gone" in told.out
    for remedy in (
        f"flujoctl resume r  # once {waiting} is there again",
        "flujoctl resume r --from-step note  # run what has filled it again",
        "flujoctl resume r --empty-workspace  # go on with an empty one",
    ):
        assert f"try: {remedy}" in told.err.splitlines()


def test_a_workspace_that_is_back_is_used(waiting: Path, flujoctl: Flujoctl) -> None:
    """Whoever moved it moves it back."""
    waiting.rename(waiting.with_name("aside"))
    go_on(flujoctl)
    waiting.with_name("aside").rename(waiting)

    assert flujoctl("resume", "r").code == 0
    assert inspected(flujoctl)["output"] == {"page": "all of it"}


def test_what_has_filled_it_runs_again(waiting: Path, flujoctl: Flujoctl) -> None:
    """From the first step that has worked in it, which makes it anew."""
    shutil.rmtree(waiting)
    go_on(flujoctl)

    assert flujoctl("resume", "r", "--from-step", "fetch", "--no-wait").code == 7
    flujoctl("signal", "r", "approve")
    assert flujoctl("resume", "r").code == 0
    assert inspected(flujoctl)["output"] == {"page": "all of it"}


def test_an_empty_one_is_made_for_whoever_asks(waiting: Path, flujoctl: Flujoctl) -> None:
    """The next step works on nothing, and says so as its own failure."""
    shutil.rmtree(waiting)
    go_on(flujoctl)

    assert flujoctl("resume", "r", "--empty-workspace").code == 1
    assert waiting.is_dir()
    assert inspected(flujoctl)["failed_step"] == "count"


def test_a_workspace_that_no_step_has_used_is_no_loss(folder: Path, flujoctl: Flujoctl) -> None:
    """Nothing was in it."""
    text = "\n".join(line for line in WORK.splitlines() if "fetch" not in line)
    (folder / "work.yaml").write_text(text, encoding="utf-8")
    flujoctl("run", "work.yaml", "--id", "r", "--no-wait")
    shutil.rmtree(folder / ".flujo" / "workspaces" / "r", ignore_errors=True)

    assert go_on(flujoctl).code == 1
    assert inspected(flujoctl)["failed_step"] == "count"


def test_a_fork_has_an_empty_one_from_the_start(waiting: Path, flujoctl: Flujoctl) -> None:
    """What it has taken over was done elsewhere, and is not looked for; once its own is gone, it is missed."""
    assert flujoctl("fork", "r", "--id", "f", "--no-wait").code == 7
    place = waiting.with_name("f")
    assert place.is_dir()
    flujoctl("signal", "f", "approve")

    assert flujoctl("resume", "f").code == 1
    assert inspected(flujoctl, "f")["failed_step"] == "count"


def test_a_folder_of_the_users_own_is_missed_likewise(folder: Path, flujoctl: Flujoctl) -> None:
    """It is not made anew either."""
    (folder / "work.yaml").write_text(WORK, encoding="utf-8")
    flujoctl("run", "work.yaml", "--id", "r", "--no-wait", "--workspace", "mine")
    shutil.rmtree(folder / "mine")

    assert go_on(flujoctl).code == 7
    assert inspected(flujoctl)["paused_reason"] == "WorkspaceGone"
    assert not (folder / "mine").exists()
