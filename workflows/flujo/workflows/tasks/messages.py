"""Tasks that only say something: echo, print_message, print_vars, template, fail, noop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flujo.kernel.errors import FlujoError
from flujo.workflows.blocking import GivenUp, may_block
from flujo.workflows.places import position_in
from flujo.workflows.registry import Mention, TaskCall, task
from flujo.workflows.seen import NotRun
from flujo.workflows.templates import TemplateError, render
from flujo.workflows.texts import as_text

from .files import beside_or_inside, inside, read_text, write_text


class TaskFailed(FlujoError):
    """A step of the task `fail` has been reached."""

    reason = "STEP_FAILED"
    type = "TaskFailed"


_SUCCESS = {
    "type": "object",
    "properties": {"success": {"type": "boolean"}, "printed_length": {"type": "integer"}},
}

MAX_SHOWN = 2_000
"""Characters of one value that `print_vars` writes."""


def _anything(inputs: Mapping[str, Any]) -> list[Mention]:
    """Return every name that a resume may change."""
    return [(root, None) for root in ("args", "settings", "workflow")]


def _mentions(inputs: Mapping[str, Any]) -> list[Mention]:
    """Return what a template in a file may mention: anything."""
    return _anything(inputs) if "file" in inputs else []


def _shortly(value: Any) -> str:
    """Return a value as JSON, not too long; of steps without a result the status alone."""
    if isinstance(value, Mapping):
        value = {key: {"status": each.status} if isinstance(each, NotRun) else each for key, each in value.items()}
    text = ""
    for part in json.JSONEncoder(ensure_ascii=False).iterencode(value):  # no further than it is shown
        if len(text := text + part) > MAX_SHOWN:
            return f"{text[:MAX_SHOWN]}…"
    return text


@task("echo", inputs={"message": {"required": True}}, needs_workspace=False)
async def echo(call: TaskCall) -> Any:
    """Write the message to the log and return it."""
    message = call.inputs["message"]
    call.log.write(as_text(message))
    return message


@task("print_message", inputs={"message": {"default": ""}}, needs_workspace=False, result=_SUCCESS)
async def print_message(call: TaskCall) -> dict[str, Any]:
    """Write the message to the log, as `echo` does; return {success, printed_length}."""
    message = as_text(call.inputs["message"])
    call.log.write(message)
    return {"success": True, "printed_length": len(message)}


@task("print_vars", inputs={"message": {}}, needs_workspace=False, result=_SUCCESS, mentions=_anything)
async def print_vars(call: TaskCall) -> dict[str, Any]:
    """Write every name that templates see here to the log, each with its value as JSON; return {success}."""
    lines = [] if "message" not in call.inputs else [f"--- {as_text(call.inputs['message'])} ---"]
    lines += [f"{name} = {_shortly(call.context[name])}" for name in sorted(call.context)]
    call.log.write("\n".join(lines))
    return {"success": True, "printed_length": sum(map(len, lines))}


@task(
    "noop",
    inputs={"should_fail": {"type": "boolean", "default": False}},
    takes_any_input=True,
    needs_workspace=False,
    result={"type": ["object", "null"]},
)
async def noop(call: TaskCall) -> dict[str, Any] | None:
    """Do nothing; return {processed_inputs, task_name, task_type}, or null without inputs. `should_fail` fails."""
    if call.inputs["should_fail"]:
        raise TaskFailed("this step was asked to fail by `should_fail`")
    further = {name: value for name, value in call.inputs.items() if name != "should_fail"}
    return {"processed_inputs": further, "task_name": call.attempt.step, "task_type": "noop"} if further else None


@task("fail", inputs={"message": {"default": "this step always fails"}}, needs_workspace=False)
async def fail(call: TaskCall) -> None:
    """Raise TaskFailed."""
    raise TaskFailed(as_text(call.inputs["message"]))


@task(
    "template",
    inputs={
        "template": {},
        "file": {"type": "string"},
        "output": {"type": "string"},
        "allow_outside": {"type": "boolean", "default": False},
    },
    one_of=[("template", "file")],
    spellings={"output_file": "output"},
    result={"type": ["string", "object"], "properties": {"path": {"type": "string"}, "size": {"type": "integer"}}},
    mentions=_mentions,
)
async def template(call: TaskCall) -> Any:
    """Render a text, given as `template` or found in `file`; return it, or write it to `output`."""
    if "file" in call.inputs:
        source = await may_block(lambda _: read_text(beside_or_inside(call, call.inputs["file"]), "utf-8"))
        text = as_text(await _rendered(source, call))
    else:
        text = as_text(call.inputs["template"])  # rendered already, as every input is
    if "output" not in call.inputs:
        return text

    def write(given_up: GivenUp) -> dict[str, Any]:
        target = inside(call, call.inputs["output"])
        return {"path": str(target), "size": write_text(target, text, "utf-8", given_up)}

    return await may_block(write)


async def _rendered(source: str, call: TaskCall) -> Any:
    """Return what the template in a file gives; raises TemplateError with the place in that file."""
    try:
        return await render(source, call.context)
    except TemplateError as error:
        at = position_in(source, error.place)
        raise TemplateError(f"{call.inputs['file']}:{at.line}:{at.column}: {error.message}") from error
