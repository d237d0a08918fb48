"""A step that starts a run which has to be found first: what keeps it from that fails the step, as its body would.

recorded          start it?   it is then
nothing, pending  yes         a child, or a step whose body has failed to start one
a child           unless      a child, whose run need not be found any more once it has begun
                  settled
a failed body     unless      a step, which fails again: what began as a step stays one
                  settled
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn, Protocol

from flujo.kernel.journal.state import SETTLED, StepStatus

from .child_runs import ChildCall


class RecordedStep(Protocol):
    """What is known of the step."""

    @property
    def status(self) -> str: ...
    @property
    def call(self) -> str | None: ...


_ALREADY_THERE: Final = ChildCall("", {}, {})
"""Stands for a child that has been started and cannot be looked up any more."""


async def perform_child(
    recorded: RecordedStep | None,
    start: Callable[[], Awaitable[ChildCall]],
    wait: Callable[[ChildCall], Awaitable[Any]],
    fail: Callable[[Callable[[], Awaitable[NoReturn]]], Awaitable[Any]],
) -> Any:
    """Return the output of the child that `start` finds.

    `wait` performs the step as a child, and `fail` as a step with the body it is given, which raises what `start` has
    raised. Raises what those do."""
    begun = recorded if recorded is not None and recorded.status != StepStatus.PENDING else None
    failure: Exception | None = None
    call = _ALREADY_THERE
    if begun is None or begun.status not in SETTLED:
        try:
            call = await start()
        except Exception as error:
            failure = error
    if begun is not None and begun.call == "child":
        return await wait(call)
    if begun is None and failure is None:
        return await wait(call)

    async def body() -> NoReturn:
        raise failure or InterruptedError("it was interrupted when its run could not be started")

    return await fail(body)
