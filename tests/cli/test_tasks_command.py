"""flujoctl tasks: what a workflow can call, as a person and as a script read it."""

from __future__ import annotations

import json

import pytest

from cli.conftest import Flujoctl
from flujo.workflows import registry


def test_every_task_is_listed_with_what_it_does(flujoctl: Flujoctl) -> None:
    """One line each, in the order of their names."""
    lines = flujoctl("tasks").out.splitlines()[1:]

    assert [line.split()[0] for line in lines] == sorted(registry.BUILT_IN)
    assert all(len(line.split()) > 3 for line in lines)
    assert flujoctl("tasks", "-o", "name").out.split() == sorted(registry.BUILT_IN)


def test_the_inputs_of_a_task_are_shown_with_their_types_and_defaults(flujoctl: Flujoctl) -> None:
    """As the task itself declares them."""
    shown = flujoctl("tasks", "shell").out
    told = json.loads(flujoctl("tasks", "shell", "-o", "json").out)

    assert "command      string or array  required" in shown
    assert "check        boolean          true" in shown
    assert told["inputs"]["command"] == {"type": ["string", "array"], "minLength": 1, "minItems": 1, "required": True}
    assert told["inputs"]["check"]["default"] is True


def test_inputs_of_which_one_is_needed_are_named_together(flujoctl: Flujoctl) -> None:
    """A template is given as a text or as a file."""
    assert flujoctl("tasks", "template").out.splitlines()[-1] == "exactly one of template, file"


@pytest.mark.parametrize(("name", "remedy"), [("shel", "flujoctl tasks shell"), ("xyzzy", "flujoctl tasks")])
def test_an_unknown_task_is_answered_with_the_nearest(name: str, remedy: str, flujoctl: Flujoctl) -> None:
    """Or with the list."""
    ended = flujoctl("tasks", name)

    assert (ended.code, ended.err.splitlines()[1]) == (2, f"try: {remedy}")


def test_an_installed_task_that_cannot_be_imported_is_listed_with_the_reason(
    flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not keep the others from being listed."""
    from importlib.metadata import EntryPoint

    broken = EntryPoint("broken", "no_module_of_tests:task", "flujo.tasks")
    registry._installed.cache_clear()
    monkeypatch.setattr(registry, "_entry_points", lambda: {"broken": broken})

    ended = flujoctl("tasks")

    registry._installed.cache_clear()
    assert ended.code == 0
    assert "broken       installed  task 'broken' (no_module_of_tests:task) cannot be imported" in ended.out
