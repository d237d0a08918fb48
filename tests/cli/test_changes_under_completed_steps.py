"""Whatever can change under completed steps is named when it contradicts them, or documented as not compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Copied, Flujoctl

FLOW = """\
name: flow
imports: [parts.yaml]
env_files: [.env]
env: {WHOLE: one}
secrets: [TOKEN]
params: {day: {type: string, default: mon}}
settings: {mode: fast}
defaults: {retry: 0}
steps:
  - {name: day, task: echo, inputs: {message: "{{ day }}"}}
  - {name: mode, task: echo, inputs: {message: "{{ settings.mode }}"}}
  - {name: variables, task: shell, inputs: {command: "echo $WHOLE $FROM_FILE {{ env.OUTSIDE }}"}}
  - {name: function, task: python_function, inputs: {module: helper, function: go}}
  - {name: script, task: shell, inputs: {command: [sh, "{{ workflow_dir }}/script.sh"]}}
  - {name: child, task: workflow, inputs: {file: child.yaml}}
  - {name: secret, task: echo, inputs: {message: "{{ secrets.TOKEN | length }}"}}
  - {name: end, task: fail}
"""
FILES = {
    "flow.yaml": FLOW,
    "parts.yaml": "name: parts\nsteps: [{name: part, task: echo, inputs: {message: one}}]\n",
    "child.yaml": "name: child\nsteps: [{name: s, task: echo, inputs: {message: one}}]\n",
    ".env": "FROM_FILE=one\n",
    "helper.py": "def go():\n    return 'one'\n",
    "script.sh": "echo one\n",
}


def edit(file: str, old: str, new: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    """A change of one file."""

    def change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))

    return change


def setting(name: str, value: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    """Another environment."""
    return lambda folder, monkeypatch: monkeypatch.setenv(name, value)


def nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line alone is what changes."""


NAMED = {
    "a parameter": (nothing, ["resume", "r", "day=tue"], ["day"]),
    "a parameter of a fork": (nothing, ["fork", "r", "day=tue"], ["day"]),
    "the inputs of a step": (edit("flow.yaml", "{{ day }}", "on {{ day }}"), ["resume", "r"], ["day"]),
    "a setting": (edit("flow.yaml", "mode: fast", "mode: slow"), ["resume", "r"], ["mode"]),
    "the environment of the workflow": (
        edit("flow.yaml", "WHOLE: one", "WHOLE: two"),
        ["resume", "r"],
        ["variables", "function", "script"],
    ),
    "an imported step": (edit("parts.yaml", "one", "two"), ["resume", "r"], ["part"]),
    "the whole text of a run": (
        edit("flow.yaml", "mode: fast", "mode: slow"),
        ["run", "flow.yaml", "--resume"],
        ["mode"],
    ),
}

NOT_COMPARED = {
    "an environment variable": setting("OUTSIDE", "two"),
    "a file of variables": edit(".env", "one", "two"),
    "a secret": setting("TOKEN", "another-secret"),
    "a default": edit("flow.yaml", "retry: 0", "timeout: 9s"),
    "the code of a function": edit("helper.py", "one", "two"),
    "a script": edit("script.sh", "one", "two"),
    "the file of a child": edit("child.yaml", "one", "two"),
}


@pytest.fixture
def failed(folder: Path, copied: Copied, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run `r` whose last step has failed."""
    monkeypatch.setenv("OUTSIDE", "one")
    monkeypatch.setenv("TOKEN", "some-secret")
    copied(fill)
    return folder


def fill(flujoctl: Flujoctl) -> None:
    """Make that run."""
    for name, text in FILES.items():
        Path(name).write_text(text)
    assert flujoctl("run", "flow.yaml", "--id", "r", "-q").code == 1


def outputs(flujoctl: Flujoctl) -> dict[str, object]:
    """What each completed step has returned."""
    steps = json.loads(flujoctl("inspect", "r", "-o", "json").out)["steps"]
    return {step["name"]: step["output"] for step in steps if step["status"] == "completed"}


@pytest.mark.parametrize(("change", "command", "steps"), NAMED.values(), ids=NAMED)
def test_a_change_that_contradicts_completed_steps_names_them(
    failed: Path,
    flujoctl: Flujoctl,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, pytest.MonkeyPatch], None],
    command: list[str],
    steps: list[str],
) -> None:
    """The command is refused with what helps, and the run is as it was."""
    change(failed, monkeypatch)
    before = flujoctl("inspect", "r", "-o", "json").out

    ended = flujoctl(*command)

    assert ended.code == 4, ended
    found = [line.split(":")[0].strip() for line in ended.err.splitlines() if line.startswith("  ")]
    assert found == steps
    assert f"--from-step {steps[0]}" in ended.err
    assert json.loads(flujoctl("inspect", "r", "-o", "json").out)["seq"] == json.loads(before)["seq"]


@pytest.mark.parametrize("change", NOT_COMPARED.values(), ids=NOT_COMPARED)
def test_what_is_not_compared_keeps_what_was_made_of_it(
    failed: Path,
    flujoctl: Flujoctl,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    """The run goes on, and no completed step is run again: docs/yaml-workflows.md lists these."""
    before = outputs(flujoctl)
    change(failed, monkeypatch)

    ended = flujoctl("resume", "r", "-q")

    assert ended.code == 1
    assert "error[run-failed]" in ended.err
    assert outputs(flujoctl) == before


def test_a_variable_is_an_event_of_its_own_and_no_parameter(failed: Path, flujoctl: Flujoctl) -> None:
    """Whoever means the parameter of that name is told so."""
    told = flujoctl("set", "r", "day=tue", "other=x")

    assert told.code == 0
    assert (
        "run r has a parameter day too, which stays as it was: `flujoctl resume r day=TEXT` replaces that" in told.err
    )
    assert "parameter other" not in told.err
    assert "no template reads a variable, and run r is of a YAML workflow" in told.err
    assert "no template" not in flujoctl("set", "r", "day=tue").err
    assert "no template" not in flujoctl("set", "r", "other=x", "-q").err
    assert json.loads(flujoctl("inspect", "r", "-o", "json").out)["variables"] == {"day": "tue", "other": "x"}
    assert flujoctl("resume", "r", "-q").code == 1
