"""What inspect shows of a run beside its steps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Flujoctl

GATE = """\
name: gate
version: "3"
labels: {team: a}
retention: {completed: 30d, last: 5}
params: {who: {type: string, default: Ada}}
steps:
  - {name: say, task: shell, inputs: {command: "echo hello"}}
  - {name: approve, task: wait_signal, inputs: {timeout: 2h}}
  - {name: sub, task: workflow, inputs: {file: small.yaml}}
"""


@pytest.fixture
def gate(folder: Path, flujoctl: Flujoctl) -> Flujoctl:
    """A run that waits for a signal, and that nobody runs."""
    (folder / "gate.yaml").write_text(GATE)
    (folder / "small.yaml").write_text("name: small\nsteps: [{name: a, task: noop}]\n")
    flujoctl("run", "gate.yaml", "--id", "g", "--no-wait")
    return flujoctl


def told(flujoctl: Flujoctl, *arguments: str) -> dict[str, str]:
    """The head of inspect, by the names of its lines."""
    head = flujoctl("inspect", *arguments).out.partition("\n\n")[0]
    return {line[:11].strip(): line[11:] for line in head.splitlines()}


def test_all_that_is_known_of_a_run_is_shown(folder: Path, gate: Flujoctl) -> None:
    """Where its files are, what it was given, when it wakes, how long it is kept."""
    shown = told(gate, "g")

    assert shown["run"] == "g"
    assert shown["workflow"] == "gate version 3"
    assert shown["file"].endswith("gate.yaml")
    assert shown["labels"] == "team=a"
    assert shown["inputs"] == "who=Ada"
    assert shown["workspace"] == str(folder / ".flujo/workspaces/g")
    assert re.fullmatch(rf"{folder}/.flujo/workspaces/g.log, \d+ bytes", shown["log"])
    assert shown["started in"] == str(folder)
    assert shown["kept"] == "completed for 30d, the last 5"
    for instant in ("started", "updated", "wakes"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", shown[instant])
    assert "owner" not in shown


def test_what_has_been_asked_of_a_run_is_shown(gate: Flujoctl) -> None:
    """A signal that nothing has taken, whether it is recorded or waits in the inbox."""
    gate("signal", "g", "aprove")

    shown = told(gate, "g")

    assert "aprove not taken yet" in shown.get("signals", "") or "signal is stored" in shown.get("requests", "")


def test_the_family_of_a_run_is_shown(gate: Flujoctl) -> None:
    """The runs that it has started with their status, and in theirs the run that has."""
    gate("signal", "g", "approve", "--resume")

    children = told(gate, "g")["children"]
    child, status = children.split()

    assert status == "completed"
    assert told(gate, child)["parent"] == "g"
    assert told(gate, "g")["ended"]


@pytest.mark.parametrize(("style", "pattern"), [("epoch", r"\d{10}(\.\d+)?"), ("relative", r"(\d+[smh])+ ago")])
def test_instants_are_shown_as_asked_for(style: str, pattern: str, gate: Flujoctl) -> None:
    """By --time."""
    assert re.fullmatch(pattern, told(gate, "g", "--time", style)["started"])


def test_wide_shows_values_in_full(folder: Path, gate: Flujoctl) -> None:
    """What is cut elsewhere."""
    gate("run", "gate.yaml", f"who={'x' * 300}", "--id", "long", "--no-wait")

    assert told(gate, "long")["inputs"].endswith("…")
    assert told(gate, "long", "-o", "wide")["inputs"] == f"who={'x' * 300}"
