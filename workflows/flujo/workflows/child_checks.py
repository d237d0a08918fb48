"""What can be told of the workflow that a step starts before anything runs: whether its file can be read, and whether
it takes the inputs that are written down for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from .definitions import Definition, StepDefinition
from .marks import is_template
from .parameters import MISSING


def child_file(step: StepDefinition) -> str | None:
    """Return the file that a step names beside its own; None if it names none, or by a template, or from elsewhere."""
    if not step.task.starts_run:
        return None
    given = _given(step)
    file = given.get("file")
    return file if isinstance(file, str) and not is_template(file) and not os.path.isabs(file) else None


def problems_with_inputs(step: StepDefinition, child: Definition) -> Iterator[str]:
    """Yield what is wrong with the inputs of a step for the workflow that it starts."""
    inputs = _given(step).get("inputs", {})
    if not isinstance(inputs, Mapping):
        return
    for parameter in child.parameters:
        if parameter.name not in inputs:
            if parameter.required and parameter.default is MISSING:
                yield f"`{child.name}` needs the input `{parameter.name}`"
        elif not _holds_template(value := inputs[parameter.name]):
            for problem in parameter.problems(parameter.read(value)):
                yield f"`{child.name}` takes another input: `{parameter.name}` {problem}"


def _given(step: StepDefinition) -> dict[str, Any]:
    return {step.task.spellings.get(name, name): value for name, value in step.inputs.items()}


def _holds_template(value: Any) -> bool:
    if isinstance(value, str):
        return is_template(value)
    if isinstance(value, Mapping):
        return any(map(_holds_template, value.values()))
    return isinstance(value, list) and any(map(_holds_template, value))
