"""Tasks that only say something: echo, template, fail, noop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flujo.kernel.errors import FlujoError
from flujo.workflows.blocking import GivenUp, may_block
from flujo.workflows.registry import Mention, TaskCall, task
from flujo.workflows.templates import render
from flujo.workflows.texts import as_text

from .files import confined, read_text, write_text


class TaskFailed(FlujoError):
    """A step of the task `fail` has been reached."""

    reason = "STEP_FAILED"
    type = "TaskFailed"


@task("echo", inputs={"message": {"required": True}}, needs_workspace=False)
async def echo(call: TaskCall) -> Any:
    """Write the message to the log and return it."""
    message = call.inputs["message"]
    call.log.write(as_text(message))
    return message


@task("noop", inputs={}, needs_workspace=False)
async def noop(call: TaskCall) -> None:
    """Do nothing."""


@task("fail", inputs={"message": {"type": "string", "default": "this step always fails"}}, needs_workspace=False)
async def fail(call: TaskCall) -> None:
    """Raise TaskFailed."""
    raise TaskFailed(call.inputs["message"])


def _mentions(inputs: Mapping[str, Any]) -> list[Mention]:
    """Return what a template in a file may mention: anything."""
    return [(root, None) for root in ("args", "settings", "workflow")] if "file" in inputs else []


@task(
    "template",
    inputs={
        "template": {},
        "file": {"type": "string"},
        "output": {"type": "string"},
        "allow_outside": {"type": "boolean", "default": False},
    },
    one_of=[("template", "file")],
    mentions=_mentions,
)
async def template(call: TaskCall) -> Any:
    """Render a text, given as `template` or found in `file`; return it, or write it to `output`."""
    if "file" in call.inputs:
        source = await may_block(lambda _: read_text(_template_file(call), "utf-8"))
        text = as_text(await render(source, call.context))
    else:
        text = as_text(call.inputs["template"])  # rendered already, as every input is
    if "output" not in call.inputs:
        return text

    def write(given_up: GivenUp) -> dict[str, Any]:
        target = confined(call.inputs["output"], call.workspace, allow_outside=call.inputs["allow_outside"])
        return {"path": str(target), "size": write_text(target, text, "utf-8", given_up)}

    return await may_block(write)


def _template_file(call: TaskCall) -> Path:
    """Return the file a relative path names: beside the workflow's file, if it has one, or else in the workspace."""
    name, outside = call.inputs["file"], call.inputs["allow_outside"]
    folders = [call.workspace]
    if call.context["workflow_dir"]:
        folders.insert(0, Path(call.context["workflow_dir"]))
        beside = confined(name, *folders, allow_outside=outside)
        if beside.exists():
            return beside
    return confined(name, call.workspace, *folders, allow_outside=outside)
