"""flujoctl tasks: what a workflow can call, as a person and as a script read it."""

from __future__ import annotations

import json
from pathlib import Path

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

    lines = [line.split() for line in shown.splitlines()]
    assert ["command", "string", "or", "array", "or", "object", "required"] in lines
    assert ["check", "boolean", "true"] in lines
    assert told["inputs"]["command"] == {
        "type": ["string", "array", "object"],
        "minLength": 1,
        "minItems": 1,
        "required": True,
    }
    assert told["inputs"]["check"]["default"] is True


def test_a_result_and_other_spellings_are_shown(flujoctl: Flujoctl) -> None:
    """What the fields of a result are, and which words stand for an input as well."""
    shown = flujoctl("tasks", "write_json").out
    told = json.loads(flujoctl("tasks", "write_json", "-o", "json").out)
    words = ("file", "file_path", "output_file")

    assert "\nit returns an object: path (string), size (integer)\n" in shown
    assert shown.endswith("\n" + "".join(f"`{word}` is another word for `path`\n" for word in words))
    assert told["result"]["properties"] == {"path": {"type": "string"}, "size": {"type": "integer"}}
    assert told["spellings"] == dict.fromkeys(words, "path")
    assert "any further inputs are taken as well" in flujoctl("tasks", "noop").out


def test_inputs_of_which_one_is_needed_are_named_together(flujoctl: Flujoctl) -> None:
    """A template is given as a text or as a file."""
    assert "exactly one of template, file" in flujoctl("tasks", "template").out.splitlines()


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
    (line,) = [line for line in ended.out.splitlines() if line.startswith("broken ")]
    assert line.split(maxsplit=2)[1:2] == ["installed"]
    assert "task 'broken' (no_module_of_tests:task) cannot be imported" in line


def test_the_schema_of_workflows_is_printed_for_editors(flujoctl: Flujoctl, folder: Path) -> None:
    """As JSON, with the inputs of every task, and no store is made for it."""
    (folder / ".flujo").rmdir()

    ended = flujoctl("schema")

    schema = json.loads(ended.out)
    assert ended.code == 0
    assert schema["$defs"]["task.shell"]["properties"]["command"]["anyOf"][0]["type"] == ["string", "array", "object"]
    assert "timeout" in schema["properties"]
    assert not (folder / ".flujo").exists()
