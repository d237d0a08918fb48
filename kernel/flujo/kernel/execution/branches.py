"""Running parts of a program side by side, each in a task of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio
from anyio.lowlevel import checkpoint

from flujo.kernel.journal.failures import is_a
from flujo.kernel.loops import TOGETHER, is_running_in, this_task

from .attempt_runner import cancelled_from_outside, holds_cancellation

Part = Callable[[], Awaitable[None]]


async def run_together(parts: Iterable[Part]) -> None:
    """Run all parts at once and return when they have ended; when one raises, the others are cancelled.

    Raises a BaseExceptionGroup of all that was raised. It is carried past the tasks by hand: an event loop ends at the
    SystemExit of a task, takes a cancellation that was not asked for as no error at all, and never ends a task whose
    error raises when it is looked at (tests/kernel/test_awkward_errors.py)."""
    failures: list[BaseException] = []

    async def run(part: Part) -> None:
        task = this_task()
        try:
            await part()
        except BaseException as error:
            if _is_not_its_own(error, task):
                raise
            failures.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for number, part in enumerate(parts, start=1):
            group.start_soon(run, part)
            if number % TOGETHER == 0:
                await checkpoint()  # so that thousands of them do not keep the event loop from all else
    if failures:
        raise BaseExceptionGroup("unhandled errors in a TaskGroup", failures)


def _is_not_its_own(error: BaseException, task: int) -> bool:
    """True if an error comes from outside of the part: the user or the event loop ends it, or a scope is cancelled."""
    if is_a(error, GeneratorExit):
        return not is_running_in(task)
    return is_a(error, KeyboardInterrupt) or (holds_cancellation(error) and cancelled_from_outside())
