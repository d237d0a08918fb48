"""Tasks that run a Python program in a process of its own: python_script, python_module.

What it prints goes to the log and is in the result, as that of `shell`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from flujo.kernel.durations import format_duration, parse_duration
from flujo.workflows.blocking import may_block
from flujo.workflows.missing_modules import NO_MODULE, PLACES, told_of_module
from flujo.workflows.registry import TaskCall, task
from flujo.workflows.texts import as_argument

from .files import OUTSIDE, beside_or_inside, confined, opened
from .shell import MAX_OUTPUT, captured, exit_error, variables

_PROGRAM: dict[str, dict[str, Any]] = {
    "args": {"type": "array", "default": []},
    "cwd": {"type": "string", "default": "."},
    "env": {"type": "object", "default": {}},
    "check": {"type": "boolean", "default": True},
    "timeout": {"type": ["string", "number"], "format": "duration"},
    **OUTSIDE,
}
_ENDED = {
    "type": "object",
    "properties": {
        "returncode": {"type": "integer"},
        **{name: {"type": "string"} for name in ("stdout", "stderr", "stdout_cut", "stderr_cut")},
        "truncated": {"type": "boolean"},
    },
}


@task(
    "python_script",
    inputs={"script_path": {"type": "string", "required": True, "minLength": 1}, **_PROGRAM},
    spellings={"script": "script_path", "path": "script_path", "file": "script_path"},
    result=_ENDED,
)
async def python_script(call: TaskCall) -> dict[str, Any]:
    """Run a Python file, found beside the workflow's file or in the workspace; return {returncode, stdout, stderr}."""
    script = await may_block(lambda _: beside_or_inside(call, call.inputs["script_path"]))
    await may_block(lambda _: opened(script).close())  # the error of a file that is not there names it
    return await _run(call, [str(script)])


@task(
    "python_module",
    inputs={"module": {"type": "string", "required": True, "pattern": r"^\w+(\.\w+)*$"}, **_PROGRAM},
    result=_ENDED,
)
async def python_module(call: TaskCall) -> dict[str, Any]:
    """Run a module as a program, as `python -m` does; return {returncode, stdout, stderr}.

    It is looked for in the workspace, beside the workflow's file, where the run was started, and where Python looks."""
    known = {**call.environment(), **variables(call.inputs["env"])}.get("PYTHONPATH")
    places = [known, *(call.context[place] for place in PLACES)]
    path = os.pathsep.join(dict.fromkeys(place for place in places if place))
    return await _run(call, ["-m", call.inputs["module"]], {"PYTHONPATH": path})


async def _run(call: TaskCall, program: Sequence[str], sets: Mapping[str, str] = {}) -> dict[str, Any]:
    given = call.inputs
    folder = confined(given["cwd"], call.workspace, allow_outside=given["allow_outside"])
    seconds = None if "timeout" not in given else parse_duration(given["timeout"])
    arguments = [as_argument(each, f"item {number} of `args`") for number, each in enumerate(given["args"], 1)]
    with anyio.move_on_after(seconds) as patience:
        finished = await call.attempt.children.run(
            [sys.executable, *program, *arguments],
            cwd=folder,
            env={**call.environment(), **variables(given["env"]), **sets},
            output_limit=MAX_OUTPUT,
            on_output=call.log.receive,
        )
    if patience.cancelled_caught:
        raise TimeoutError(f"it took longer than {format_duration(seconds or 0)}")
    if finished.return_code != 0 and given["check"]:
        typed = shlex.join(["python", *program, *arguments])
        error = exit_error(finished.return_code)(finished, folder, call.log.path, typed)
        if "module" in given and (missing := NO_MODULE.search(str(error).partition("\n")[0])):
            error.add_note(await told_of_module(missing[1], call.context))
        raise error
    return {"returncode": finished.return_code, **captured(finished, MAX_OUTPUT)}
