"""The command lines that pages of earlier systems tell people to type, word for word but for the program's name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.conftest import Copied, Flujoctl

WORKFLOW = """\
name: documented
params: {name: {type: string, default: World}}
steps:
  - {name: step1, task: echo, inputs: {message: "{{ args.name }}"}}
  - {name: step2, task: shell, inputs: {command: "test -e '{{ start_dir }}/mended'"}}
  - {name: step3, task: echo, inputs: {message: "{{ steps.step1.result }}"}}
"""

RESUMING = """\
yaml-workflow run --resume workflow.yaml
yaml-workflow run --resume --from-step step2 workflow.yaml
yaml-workflow run --resume --override-params workflow.yaml
"""

CLEANING = """\
yaml-workflow clean --older-than 30d
yaml-workflow clean --workflow-id workflow-123
yaml-workflow clean --status completed
flujo lens delete cohort-clarification-run-123
flujo lens prune --days-old 30
flujo lens prune --days-old 90 --status completed --yes
"""


def command_lines(text: str) -> list[list[str]]:
    """What follows on the name of the program, in each line."""
    return [line.split()[1:] for line in text.splitlines()]


@pytest.fixture(autouse=True)
def failed(copied: Copied) -> None:
    """A run of that workflow which has failed in step2, and what it lacks besides."""
    copied(fill)


def fill(flujoctl: Flujoctl) -> None:
    """Make that run."""
    Path("workflow.yaml").write_text(WORKFLOW, encoding="utf-8")
    assert flujoctl("run", "workflow.yaml", "--id", "workflow-123").code == 1
    Path("mended").touch()


@pytest.mark.parametrize("arguments", command_lines(RESUMING), ids=" ".join)
def test_a_failed_run_is_resumed(flujoctl: Flujoctl, arguments: Sequence[str]) -> None:
    """It completes, with step1 as it was."""
    ended = flujoctl(*arguments)

    assert ended.code == 0, ended.err
    state = json.loads(flujoctl("inspect", "workflow-123", "-o", "json").out)
    steps = {step["name"]: step for step in state["steps"]}
    assert state["status"] == "completed"
    assert (steps["step1"]["generation"], steps["step1"]["attempt"]) == (1, 1)
    assert steps["step2"]["generation"] == 2


def test_parameters_are_overridden(flujoctl: Flujoctl) -> None:
    """By what is given behind them."""
    ended = flujoctl("run", "--resume", "--override-params", "workflow.yaml", "name=Moon", "-o", "json")

    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["inputs"] == {"name": "Moon"}
    assert any(line.startswith("note: step1: ") and "Moon" in line for line in ended.err.splitlines())


def test_overriding_parameters_accepts_no_other_change(flujoctl: Flujoctl, folder: Path) -> None:
    """A completed step that was edited is named and refused as ever."""
    (folder / "workflow.yaml").write_text(WORKFLOW.replace("args.name }}", "args.name }}!"), encoding="utf-8")

    ended = flujoctl("run", "--resume", "--override-params", "workflow.yaml", "name=Moon")

    assert (ended.code, "cannot resume" in ended.err) == (4, True)


@pytest.mark.parametrize("arguments", command_lines(CLEANING), ids=" ".join)
def test_runs_are_cleaned_up(flujoctl: Flujoctl, arguments: Sequence[str]) -> None:
    """Those that are named go; without a terminal nobody is asked."""
    assert flujoctl("run", "workflow.yaml", "--id", "cohort-clarification-run-123").code == 0

    ended = flujoctl(*arguments)

    assert ended.code == 0, ended.err
    gone = {
        "clean --workflow-id workflow-123": {"workflow-123"},
        "clean --status completed": {"cohort-clarification-run-123"},
        "lens delete cohort-clarification-run-123": {"cohort-clarification-run-123"},
    }.get(" ".join(arguments), set())
    left = set(flujoctl("list", "-o", "name").out.split())
    assert left == {"workflow-123", "cohort-clarification-run-123"} - gone
