"""What commands tell of loops: how far they are, what has failed in them, and no word of each item that went well."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from cli.conftest import Copied, Flujoctl
from flujo.cli.live_display import LiveDisplay
from flujo.cli.text import loop_progress
from flujo.kernel import Event, Progress, WorkflowState, events
from flujo.kernel.transitions import fold

MANY = """\
name: many
steps:
  - name: a
    task: python_code
    for_each: "{{ range(30) | list }}"
    on_error: continue
    inputs:
      code: |
        print("this is", item)
        if item in (3, 20): raise ValueError(f"not {item}")
        result = item
  - {name: b, task: echo, inputs: {message: "{{ steps.a.result.stats.completed }}"}}
"""


@pytest.fixture
def ran(copied: Copied, flujoctl: Flujoctl) -> Flujoctl:
    """A run `r` of many items, of which two have failed."""
    copied(fill)
    return flujoctl


def fill(flujoctl: Flujoctl) -> None:
    """Make that run."""
    Path("many.yaml").write_text(MANY)
    assert flujoctl("run", "many.yaml", "--id", "r").code == 0


def lines(text: str) -> list[str]:
    """Lines without the time of day, and without rates and durations, which are others each time."""
    return [re.sub(r", [\d.]+/s|, about \S+ left| in [\d.]+s", "", line[9:]) for line in text.splitlines()]


def test_a_run_tells_of_progress_and_of_what_fails(folder: Path, flujoctl: Flujoctl) -> None:
    """And at its end of what it went on after."""
    (folder / "many.yaml").write_text(MANY)

    ended = flujoctl("run", "many.yaml", "--id", "r")

    told = lines(ended.err)
    assert told[1:4:2] == ["run of many created", "a: 0 % (0 of 30)"]
    assert "a[3]: failed at attempt 1: ValueError: not 3 (line 2 of the code)" in told
    assert "a: 100 % (30 of 30), 2 failed" in told
    assert "a: completed: 28 of 30 items, 2 failed" in told
    assert [line for line in told if line.startswith("a[") and "failed" not in line] == []
    assert "2 items of step a failed, and it went on" in ended.err


def test_progress_can_be_turned_off(folder: Path, flujoctl: Flujoctl) -> None:
    """Beside the task or among its inputs; failures are told all the same."""
    for setting in ("    progress_update: false\n", "    params: {progress_update: false}\n"):
        (folder / "many.yaml").write_text(
            MANY.replace("    on_error: continue\n", f"    on_error: continue\n{setting}")
        )
        ended = flujoctl("run", "many.yaml")
        assert "%" not in ended.err
        assert "a[3]: failed" in ended.err


def test_inspect_shows_counts_and_the_items_that_are_not_completed(ran: Flujoctl) -> None:
    """Each one can be looked at by name, and JSON has all."""
    shown = ran("inspect", "r").out
    table = shown.partition("STEP ")[2].splitlines()[1:]
    names = [line.split()[0] for line in table if re.match(r"\w+(\[\d+\])? +(completed|failed)", line)]

    assert names == ["a", "a[3]", "a[20]", "b"]
    assert re.search(r"^a +completed .* 28 of 30 items, 2 failed$", shown, re.MULTILINE)
    assert "28 items are not listed" in shown
    assert "progress   2/2 steps" in shown
    assert "ValueError: not 20" in ran("inspect", "r", "--step", "a[20]").out
    assert len(json.loads(ran("inspect", "r", "-o", "json").out)["steps"]) == 32


def test_explain_says_which_items_have_failed(ran: Flujoctl) -> None:
    """With the command that tries one of them again."""
    told = ran("explain", "r")

    assert (
        "2 items of step 'a' failed: a[3]: ValueError: not 3 (line 2 of the code); a[20]: ValueError: not 20"
        in told.out
    )
    assert "flujoctl resume r --from-step 'a[3]'" in told.err


def test_the_log_of_a_loop_is_that_of_its_items(ran: Flujoctl) -> None:
    """One of them alone can be asked for."""
    assert len(re.findall(r"^a\[\d+\]\.1\| this is", ran("logs", "r", "--step", "a").out, re.MULTILINE)) == 30
    assert ran("logs", "r", "--step", "a[7]").out == "a[7].1| this is 7\n"


def test_a_drawing_has_the_loop_and_not_its_items(ran: Flujoctl) -> None:
    """Whatever its last item has come to."""
    assert [line.split() for line in ran("graph", "r").out.splitlines()] == [
        ["1.", "a", "completed"],
        ["2.", "b", "completed"],
    ]


def test_a_loop_is_told_on_one_line() -> None:
    """The time left is told once the rate is more than a guess."""

    def said(done: float, **metrics: float) -> str:
        return loop_progress(Progress(done, 10_000, None, metrics, at=0))

    assert said(0, failed=0) == "0 % (0 of 10000)"
    assert said(1, failed=0, per_second=120) == "0 % (1 of 10000), 120/s"
    assert said(4000, failed=3, per_second=120) == "40 % (4000 of 10000), 3 failed, 120/s, about 50s left"


def test_a_terminal_counts_items_between_reports() -> None:
    """So that a person sees each of them, however seldom progress is recorded."""
    state = WorkflowState("r", "u")
    display = LiveDisplay(Console(stderr=True))
    facts: list[events.Fact] = [
        events.RunCreated("f", "{}", plan=[["a", "d/l"]]),
        events.StepWaiting("a", "items"),
        events.ProgressReported("a", 0, 4, None, {"failed": 0}),
        *(events.StepStarted(f"a[{n}]", 1) for n in range(3)),
        events.StepCompleted("a[0]", "0"),
        events.StepFailed("a[2]", 1, "ValueError", "no"),
    ]
    try:
        for seq, fact in enumerate(facts, 1):
            event = Event(seq, seq * 1000, fact)
            fold(state, event)
            display.show(event, state)
        drawn = str(display._render())
    finally:
        display.close()

    assert re.search(r"a  [━─#.]+  50 % \(2 of 4\), 1 failed\n", drawn)
    assert "a[1]  running" in drawn
    assert "0 of 1 steps done" in drawn


def test_a_workspace_that_is_lost_in_the_middle_of_a_loop_is_missed(folder: Path, flujoctl: Flujoctl) -> None:
    """What its items have left there is gone, so the loop does not go on; it can begin anew."""
    (folder / "l.yaml").write_text(
        "name: l\nsteps:\n- name: a\n  task: shell\n  for_each: {items: [0, 1, 2], max_workers: 1}\n"
        "  inputs: {command: 'touch {{ item }}; test {{ item }} != 1 -o -e ../mended'}\n"
        "- {name: b, task: shell, inputs: {command: 'ls'}}\n"
    )
    assert flujoctl("run", "l.yaml", "--id", "r").code == 1
    shutil.rmtree(folder / ".flujo/workspaces/r")
    (folder / ".flujo/workspaces/mended").touch()

    lost = flujoctl("resume", "r")
    assert lost.code == 7
    assert "flujoctl resume r --from-step a  # run what has filled it again" in flujoctl("explain", "r").err

    assert flujoctl("resume", "r", "--from-step", "a").code == 0
    assert json.loads(flujoctl("inspect", "r", "--step", "b", "-o", "json").out)["output"]["stdout"] == "0\n1\n2\n"
