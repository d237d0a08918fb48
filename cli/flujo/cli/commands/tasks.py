"""`flujoctl tasks`: list what the steps of a YAML workflow can call."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from flujo.cli import text
from flujo.cli.connect import connected
from flujo.cli.maintenance import run_interruptible
from flujo.cli.nearest import nearest
from flujo.cli.output import emit, emit_all
from flujo.cli.session import Session, declare
from flujo.cli.target import ServerTarget
from flujo.kernel.errors import TaskNotFoundError
from flujo.workflows.registry import Tasks
from flujo.workflows.task_descriptions import TaskDescription, describe

if TYPE_CHECKING:
    from flujo.client.store_keeping import ServedTask


@declare("tasks")
@click.argument("name", metavar="[TASK]", required=False)
def command(session: Session, name: str | None) -> int:
    """List the tasks that steps can call, or show the inputs of one.

    They are the built-in ones and those that installed packages bring along (the entry points `flujo.tasks`). With
    --server, those of that server.
    """
    found = [each._asdict() for each in _offered(session, name)]
    if session.output == "name":
        print("\n".join(each["name"] for each in found))
    elif session.output != "table":
        emit_all(found, session.output) if name is None else emit(found[0], session.output)
    elif name is None:
        rows = [[each["name"], each["source"], text.first_line(each["summary"])] for each in found]
        print(text.table(("TASK", "FROM", ""), rows, status=0, colour=False))
    else:
        _show(found[0])
    return 0


def _offered(session: Session, name: str | None) -> Sequence[TaskDescription | ServedTask]:
    """Return the tasks of the server, or of this process, or the one of a name; raises TaskNotFoundError."""
    target = session.target
    try:
        if isinstance(target, ServerTarget):
            return run_interruptible(lambda: _of_server(target, name))
        known = Tasks()
        return [describe(each, known) for each in (known.names() if name is None else [name])]
    except TaskNotFoundError as missing:
        meant = nearest(missing.task, missing.known)
        missing.hints = (f"flujoctl tasks {meant}" if meant else "flujoctl tasks",)
        raise


async def _of_server(target: ServerTarget, name: str | None) -> Sequence[ServedTask]:
    async with connected(target) as client:
        tasks = await client.tasks()
    if name is None:
        return tasks
    if not (found := [task for task in tasks if task.name == name]):
        raise TaskNotFoundError(name, [task.name for task in tasks])
    return found


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
