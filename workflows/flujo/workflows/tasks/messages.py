"""Tasks that only say something: echo, template, fail, noop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.to_thread

from flujo.kernel.errors import FlujoError
from flujo.workflows.registry import TaskCall, task
from flujo.workflows.templates import render

from .files import as_text, confined, write_text


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


@task(
    "template",
    inputs={
        "template": {},
        "file": {"type": "string"},
        "output": {"type": "string"},
        "allow_outside": {"type": "boolean", "default": False},
    },
    one_of=[("template", "file")],
)
async def template(call: TaskCall) -> Any:
    """Render a text, given as `template` or found in `file`; return it, or write it to `output`."""
    if "file" in call.inputs:
        source = await anyio.to_thread.run_sync(_template_file(call).read_text, "utf-8")
        text = as_text(await render(source, call.context))
    else:
        text = as_text(call.inputs["template"])  # rendered already, as every input is
    if "output" not in call.inputs:
        return text
    target = confined(call.inputs["output"], call.workspace, allow_outside=call.inputs["allow_outside"])
    size = await anyio.to_thread.run_sync(write_text, target, text, "utf-8")
    return {"path": str(target), "size": size}


def _template_file(call: TaskCall) -> Path:
    """A relative path is looked for beside the workflow's file first, then in the workspace."""
    name, outside = call.inputs["file"], call.inputs["allow_outside"]
    folder = Path(call.context["workflow_dir"])
    beside = confined(name, folder, call.workspace, allow_outside=outside)
    return beside if beside.exists() else confined(name, call.workspace, folder, allow_outside=outside)
