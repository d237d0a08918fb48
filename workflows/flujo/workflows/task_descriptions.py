"""Say what the tasks are that steps can call: their inputs, what they return, and where they come from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flujo.kernel.errors import DeclarationError, TaskNotFoundError

from .parameters import Parameter, keywords_of
from .registry import BUILT_IN, Task, Tasks


class TaskDescription(NamedTuple):
    """A task. Of one that is installed and cannot be used, `summary` says why, and the rest is empty."""

    name: str
    source: str
    """Whose it is: `flujo` or `installed`."""

    summary: str
    inputs: Mapping[str, Mapping[str, Any]] = {}
    """What each input may be, in the words of JSON Schema, and `required` if a step has to give it."""

    one_of: Sequence[Sequence[str]] = ()
    """Groups of inputs of which exactly one is needed."""

    further_inputs: bool = False
    spellings: Mapping[str, str] = {}
    """Other words for some inputs, and what each means."""

    result: Mapping[str, Any] = {}
    """What it returns, in the words of JSON Schema."""


def describe(name: str, known: Tasks) -> TaskDescription:
    """Return what a task is; raises TaskNotFoundError."""
    source = "flujo" if name in BUILT_IN else "installed"
    try:
        task = known.find(name)
    except DeclarationError as error:
        return TaskDescription(name, source, error.message)
    if task is None:
        raise TaskNotFoundError(name, known.names())
    return TaskDescription(
        name,
        source,
        inspect.getdoc(task.run) or "",
        _inputs(task),
        [list(group) for group in task.one_of],
        task.takes_any_input,
        dict(task.spellings),
        dict(task.result),
    )


def _inputs(task: Task) -> Mapping[str, Mapping[str, Any]]:
    return {each.name: _schema(each) for each in task.inputs}


def _schema(parameter: Parameter) -> dict[str, Any]:
    besides = {"format": parameter.format, "required": parameter.required or None}
    return {**keywords_of(parameter), **{name: value for name, value in besides.items() if value is not None}}
