"""The task `python_function`: call a function of a module in a child process, as `python_code` runs code.

The module is looked for beside the workflow's file, in the workspace, where the run was started, and then where Python
looks. A coroutine function is run to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flujo.workflows.missing_modules import PLACES
from flujo.workflows.registry import TaskCall, task

from .python_code import run_python


def _check(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Tell of names that cannot be those of a module or a function."""
    return {
        name: f"must be a name such as {example}, not {inputs[name]!r}"
        for name, example in (("module", "reports.monthly"), ("function", "summarize"))
        if name in inputs and not all(part.isidentifier() for part in inputs[name].split("."))
    }


@task(
    "python_function",
    inputs={
        "module": {"type": "string", "required": True, "minLength": 1},
        "function": {"type": "string", "required": True, "minLength": 1},
        "args": {"type": "array", "default": []},
        "kwargs": {"type": "object", "default": {}},
    },
    check=_check,
    shares_loop=True,
)
async def python_function(call: TaskCall) -> Any:
    """Call a function with `args` and `kwargs`; return what it returns, which must be JSON."""
    if wrong := _check(call.inputs):  # names that templates have made
        raise ValueError("; ".join(f"`{name}` {problem}" for name, problem in wrong.items()))
    places = [call.context[place] for place in PLACES]
    request = {
        **{name: call.inputs[name] for name in ("module", "function", "args", "kwargs")},
        "places": [place for place in dict.fromkeys(places) if place],
    }
    return await run_python(call, request, f"module {call.inputs['module']}")
