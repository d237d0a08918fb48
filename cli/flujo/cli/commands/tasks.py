"""`flujoctl tasks`: list what the steps of a YAML workflow can call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

from flujo.cli import text
from flujo.cli.nearest import nearest
from flujo.cli.output import emit, emit_all
from flujo.cli.session import Session, declare
from flujo.kernel.errors import DeclarationError, TaskNotFoundError
from flujo.workflows.parameters import Parameter, keywords_of
from flujo.workflows.registry import BUILT_IN, Task, Tasks


@declare("tasks")
@click.argument("name", metavar="[TASK]", required=False)
def command(session: Session, name: str | None) -> int:
    """List the tasks that steps can call, or show the inputs of one.

    They are the built-in ones and those that installed packages bring along (the entry points `flujo.tasks`).
    """
    known = Tasks()
    names = known.names() if name is None else [name]
    found = [_object(each, _find(known, each)) for each in names]
    if session.output == "name":
        print("\n".join(names))
    elif session.output != "table":
        emit_all(found, session.output) if name is None else emit(found[0], session.output)
    elif name is None:
        rows = [[each["name"], each["source"], text.first_line(each["summary"])] for each in found]
        print(text.table(("TASK", "FROM", ""), rows, status=0, colour=False))
    else:
        _show(found[0])
    return 0


def _find(known: Tasks, name: str) -> Task | DeclarationError:
    """Return a task, or why an installed one cannot be used; raises TaskNotFoundError."""
    try:
        task = known.find(name)
    except DeclarationError as error:
        return error
    if task is not None:
        return task
    missing = TaskNotFoundError(name, known.names())
    meant = nearest(name, known.names())
    missing.hints = (f"flujoctl tasks {meant}" if meant else "flujoctl tasks",)
    raise missing


def _object(name: str, task: Task | DeclarationError) -> dict[str, Any]:
    source = "flujo" if name in BUILT_IN else "installed"
    if isinstance(task, DeclarationError):
        return {"name": name, "source": source, "summary": task.message, **_NOTHING}
    return {
        "name": name,
        "source": source,
        "summary": inspect.getdoc(task.run) or "",
        "inputs": {each.name: _schema(each) for each in task.inputs},
        "one_of": [list(group) for group in task.one_of],
        "further_inputs": task.takes_any_input,
        "spellings": dict(task.spellings),
        "result": dict(task.result),
    }


_NOTHING: dict[str, Any] = {"inputs": {}, "one_of": [], "further_inputs": False, "spellings": {}, "result": {}}
"""What is told of a task that cannot be imported."""


def _schema(parameter: Parameter) -> dict[str, Any]:
    """Return what an input may be, in the words of JSON Schema."""
    besides = {"format": parameter.format, "required": parameter.required or None}
    return {**keywords_of(parameter), **{name: value for name, value in besides.items() if value is not None}}


def _show(task: Mapping[str, Any]) -> None:
    print(f"{task['name']}: {task['summary']}")
    if task["inputs"]:
        print()
        print(text.table(("INPUT", "TYPE", "DEFAULT", ""), list(_rows(task["inputs"])), status=0, colour=False))
    for group in task["one_of"]:
        print(f"\nexactly one of {', '.join(group)}")
    if task["further_inputs"]:
        print("\nany further inputs are taken as well")
    if task["result"]:
        print(f"\nit returns {_returned(task['result'])}")
    if task["spellings"]:
        print()
    for spelling, meant in task["spellings"].items():
        print(f"`{spelling}` is another word for `{meant}`")


def _returned(result: Mapping[str, Any]) -> str:
    """Return what a schema says of a result, in words: `an object: path (string), size (integer)`."""
    types = _listed(result.get("type", "anything"))
    article = "" if types == "anything" else "an " if types[0] in "aeio" else "a "
    fields = ", ".join(
        f"{name} ({_listed(each['type'])})" if "type" in each else name
        for name, each in result.get("properties", {}).items()
    )
    return f"{article}{types}{': ' if fields else ''}{fields}"


def _listed(types: str | list[str]) -> str:
    return types if isinstance(types, str) else " or ".join(types)


def _rows(inputs: Mapping[str, Mapping[str, Any]]) -> Iterable[list[str]]:
    for name, schema in inputs.items():
        default = (
            "required" if schema.get("required") else json.dumps(schema["default"]) if "default" in schema else "-"
        )
        rest = [f"{word} {json.dumps(value)}" for word, value in schema.items() if word in _SHOWN]
        yield [name, " or ".join(schema.get("type", ["anything"])), default, ", ".join(rest)]


_SHOWN = ("enum", "pattern", "minimum", "maximum", "format")
