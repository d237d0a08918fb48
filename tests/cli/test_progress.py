"""How far a run is, in words: a step that has failed is not done, and is told beside those that are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flujo.kernel import RunStatus, StepStatus
from flujo.kernel.state import StepState, WorkflowState

from .conftest import Copied, Flujoctl

WORKFLOW = """\
name: {name}
steps:
  - {{name: a, task: noop}}
  - {{name: b, task: fail, inputs: {{message: no}}, on_error: {on_error}}}
  - {{name: c, task: noop}}
"""


@pytest.fixture
def ended(copied: Copied, flujoctl: Flujoctl) -> Flujoctl:
    """The commands, where one run has failed in its second step of three, and another has gone on after that."""
    copied(fill)
    return flujoctl


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    Path("three.yaml").write_text(WORKFLOW.format(name="three", on_error="fail"))
    Path("on.yaml").write_text(WORKFLOW.format(name="on", on_error="continue"))
    flujoctl("run", "three.yaml", "--id", "failed", "-q")
    flujoctl("run", "on.yaml", "--id", "went-on", "-q")


def test_a_failed_step_is_not_done(ended: Flujoctl) -> None:
    """Where one run is shown, the failed ones are counted beside; a list has no room for them."""
    assert re.search(r"^progress +1/3 steps, 1 failed$", ended("inspect", "failed").out, re.MULTILINE)
    assert "(three, 1/3 steps, 1 failed," in ended("retry", "failed").out
    assert re.search(r"^failed +three +failed +1/3 ", ended("list").out, re.MULTILINE)


def test_a_run_that_went_on_says_so_too(ended: Flujoctl) -> None:
    """It has completed, and a step of it has not."""
    assert re.search(r"^progress +2/3 steps, 1 failed$", ended("inspect", "went-on").out, re.MULTILINE)


def test_failed_items_of_a_loop_are_no_failed_steps() -> None:
    """Where steps are planned; the part of a failed run that is done never falls below nothing."""
    state = WorkflowState(run_id="r", uid="u", status=RunStatus.FAILED, plan=(("loop",),), done=1)
    for name in ("loop", "loop[0]", "loop[1]", "loop[2]"):
        state.steps[name] = StepState(name, status=StepStatus.FAILED)

    assert state.steps_failed == 1
    assert state.share_done == 0.0


def test_a_loop_is_the_step_that_a_run_is_at_and_not_its_newest_item(folder: Path, flujoctl: Flujoctl) -> None:
    """In tables, where how far the loop is stands beside it; a signal that all items wait for is named once."""
    (folder / "asks.yaml").write_text(
        "name: asks\nsteps: [{name: many, task: wait_signal, for_each: [1, 2], inputs: {signal: go}}]\n"
    )
    (folder / "does.yaml").write_text("name: does\nsteps: [{name: all, task: noop, for_each: [1, 2]}]\n")
    waits = flujoctl("run", "asks.yaml", "--id", "q", "--no-wait")
    flujoctl("run", "does.yaml", "--id", "d")

    assert re.search(r"^d +does +completed +all +", flujoctl("top", "--status", "completed").out, re.MULTILINE)
    assert re.search(r"^q +asks +waiting \(interrupted\) +many +", flujoctl("top").out, re.MULTILINE)
    assert "all[1]" not in flujoctl("list", "-o", "wide").out
    for ended in (waits, flujoctl("inspect", "q"), flujoctl("explain", "q")):
        assert ended.err.count("try: flujoctl signal q go\n") == 1
