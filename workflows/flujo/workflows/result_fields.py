"""What templates take out of results, held against what the tasks say that they return."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .definitions import StepDefinition, Use
from .documents import Position
from .wording import listed, named

_OF_LOOPS: Mapping[str, Any] = {
    "type": "object",
    "properties": {"results": {}, "processed": {}, "failed": {}, "stats": {}},
}
"""What every loop returns."""

_KINDS: Mapping[str, type] = {"string": str, "object": dict, "array": list, "integer": int, "number": float}
"""What may be asked for a method besides, by the type of a result."""


def unknown_fields(steps: Iterable[StepDefinition], uses: Iterable[Use]) -> Iterator[tuple[Position, str]]:
    """Yield a problem for each field that a template needs and that the result of a step never has."""
    by_name = {step.name: step for step in steps}
    for use in uses:
        for name, field in sorted(use.mentioned.bare_fields):
            if name in by_name and (problem := _problem(by_name[name], field)) is not None:
                yield use.at, problem


def _problem(step: StepDefinition, field: str) -> str | None:
    result = step.task.result if step.loop is None else _OF_LOOPS
    if step.outputs is not None:
        result = {"type": "object", "properties": dict.fromkeys(step.outputs)}
    kinds = result.get("type", ())
    types = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    fields = result.get("properties", {})
    if not types or field in fields or ("object" in types and not fields):
        return None
    if any(hasattr(_KINDS.get(each, object), field) for each in types):
        return None
    what = f"the result of `{step.name}`, of task `{step.task.name}`, has no {named(field)}"
    if not fields:
        return f"{what}: it is a {' or '.join(types)}, `steps.{step.name}.result`"
    return f"{what}; it has: {listed(list(fields))}"
