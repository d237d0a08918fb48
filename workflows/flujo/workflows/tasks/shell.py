"""The task `shell`: run a command in the workspace.

A text goes to `/bin/sh -c`; a list is a command and its arguments, passed on as they are. In a text, quote what
templates put in: `ls {{ args.folder | quote }}`.
"""

from __future__ import annotations

import signal
from typing import Any

from flujo.kernel.errors import FlujoError
from flujo.kernel.programs import Finished
from flujo.workflows.registry import TaskCall, task
from flujo.workflows.texts import as_text
from flujo.workflows.wording import shown

LAST_LINES = 10


class ShellError(FlujoError):
    """A command ended with a return code other than 0; `return_code` is -N after signal N."""

    reason = "STEP_FAILED"
    type = "ShellError"

    def __init__(self, finished: Finished) -> None:
        lines = finished.stderr.decode(errors="replace").rstrip().splitlines()[-LAST_LINES:]
        said = ": " + "\n".join(lines) if lines else ""
        super().__init__(f"the command {how_it_ended(finished.return_code)}{said}")
        self.return_code = finished.return_code


@task(
    "shell",
    inputs={
        "command": {"type": ["string", "array"], "required": True, "minLength": 1, "minItems": 1},
        "working_dir": {"type": "string"},
        "env": {"type": "object"},
        "stdin": {"type": "string"},
        "check": {"type": "boolean", "default": True},
    },
)
async def shell(call: TaskCall) -> dict[str, Any]:
    """Run a command; return {return_code, stdout, stderr}, with `truncated: true` if not all of its output was kept."""
    command = call.inputs["command"]
    if isinstance(command, str):
        argv = ["/bin/sh", "-c", command]
    else:
        argv = [_text(part, f"part {number} of `command`") for number, part in enumerate(command, 1)]
    finished = await call.attempt.children.run(
        argv,
        cwd=call.workspace / call.inputs.get("working_dir", "."),
        env={
            **call.environment(),
            **{name: _text(value, f"`{name}` in `env`") for name, value in call.inputs.get("env", {}).items()},
        },
        input=call.inputs.get("stdin", "").encode(),
        on_output=call.log.receive,
    )
    if finished.return_code != 0 and call.inputs["check"]:
        raise ShellError(finished)
    result: dict[str, Any] = {
        "return_code": finished.return_code,
        "stdout": finished.stdout.decode(errors="replace"),
        "stderr": finished.stderr.decode(errors="replace"),
    }
    return {**result, "truncated": True} if finished.truncated else result


def how_it_ended(return_code: int) -> str:
    """`ended with code 2`, `was killed by SIGKILL`"""
    if return_code >= 0:
        return f"ended with code {return_code}"
    try:
        return f"was killed by {signal.Signals(-return_code).name}"
    except ValueError:
        return f"was killed by signal {-return_code}"


def _text(value: Any, what: str) -> str:
    """Return a text, a number or a boolean as a text; raises TypeError, which says which one is none."""
    if isinstance(value, (str, int, float)):
        return as_text(value)
    kind = "null" if value is None else "a list" if isinstance(value, list) else "a mapping"
    raise TypeError(
        f"{what} is {kind}, not a text: {shown(value)}; "
        + ("give it a `default`" if value is None else "make one of it with `join(' ')` or `tojson`")
    )
