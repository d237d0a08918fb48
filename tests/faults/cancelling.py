"""Calls that are cancelled at the one of their awaits that somebody has chosen."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from enum import Enum
from types import coroutine
from typing import Any, TypeVar

from anyio import CancelScope

Result = TypeVar("Result")


async def awaits_of(call: Coroutine[Any, Any, object]) -> int:
    """How often a call gives way to others, uncancelled."""
    seen: list[int] = []
    await _watched(call, seen.append)
    return len(seen)


class Cancelled(Enum):
    """What became of a call that was to be cancelled."""

    NOT = "it had ended before it came to the await"
    IN_VAIN = "it ended as if nothing had happened: what it was about could not be stopped any more"
    ENDED = "it was ended by the cancellation"


async def cancelled_at(call: Coroutine[Any, Any, object], at: int) -> Cancelled:
    """Cancel a call while it waits for the time of this number, counted from 0; return what became of it."""
    seen: list[int] = []

    def look(number: int) -> None:
        seen.append(number)
        if number == at:
            scope.cancel()

    with CancelScope() as scope:
        await _watched(call, look)
    if scope.cancelled_caught:
        return Cancelled.ENDED
    return Cancelled.IN_VAIN if at in seen else Cancelled.NOT


@coroutine
def _watched(call: Coroutine[Any, Any, Result], look: Callable[[int], None]) -> Generator[Any, Any, Result]:
    """Await a call, and say the number of each await just before it begins."""
    number = 0
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            waits_for = call.send(answer) if error is None else call.throw(error)
        except StopIteration as end:
            result: Result = end.value
            return result
        look(number)
        number += 1
        try:
            answer, error = (yield waits_for), None
        except BaseException as raised:  # it is the call's, a cancellation too
            error = raised
