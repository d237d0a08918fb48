"""Tasks that make one value of others: join_strings, add_numbers."""

from __future__ import annotations

from flujo.workflows.registry import TaskCall, task
from flujo.workflows.texts import as_text


@task(
    "join_strings",
    inputs={"strings": {"type": "array", "required": True}, "separator": {"type": "string", "default": " "}},
    needs_workspace=False,
    result={"type": "string"},
)
async def join_strings(call: TaskCall) -> str:
    """Return the strings as one text, with the separator between them; anything but text is taken as JSON."""
    separator: str = call.inputs["separator"]
    return separator.join(as_text(each) for each in call.inputs["strings"])


@task(
    "add_numbers",
    inputs={"a": {"type": "number", "required": True}, "b": {"type": "number", "required": True}},
    needs_workspace=False,
    result={"type": "number"},
)
async def add_numbers(call: TaskCall) -> int | float:
    """Return a + b."""
    total: int | float = call.inputs["a"] + call.inputs["b"]
    return total
