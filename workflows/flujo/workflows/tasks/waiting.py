"""Tasks that wait durably: sleep, wait_signal. They end their attempt with a `Wait`, and nothing is kept running."""

from __future__ import annotations

from flujo.kernel.durations import parse_duration
from flujo.kernel.programs import Wait, planned_name
from flujo.workflows.registry import TaskCall, task

_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$"
"""Names under which a signal can be sent; a wait for any other one would never end."""

_DURATION = {"type": ["string", "number"], "format": "duration"}


@task(
    "sleep",
    inputs={"duration": _DURATION, "seconds": _DURATION},
    one_of=[("duration", "seconds")],
    needs_workspace=False,
)
async def sleep(call: TaskCall) -> Wait:
    """Wait for a time that goes on while nothing runs; the result is null."""
    chosen = call.inputs.get("duration", call.inputs.get("seconds"))
    assert chosen is not None
    return Wait(seconds=parse_duration(chosen))


@task(
    "wait_signal",
    inputs={"signal": {"type": "string", "pattern": _NAME}, "timeout": _DURATION},
    needs_workspace=False,
)
async def wait_signal(call: TaskCall) -> Wait:
    """Wait for a signal, by default one of the step's name, and return its payload; TimeoutError after `timeout`."""
    timeout = call.inputs.get("timeout")
    return Wait(
        seconds=None if timeout is None else parse_duration(timeout),
        signal=call.inputs.get("signal", planned_name(call.attempt.step)),  # of repeats and items as well
    )
