"""One attempt: run a body, and judge in one place what came of it.

A body may return a value or a `Wait`, raise, be cancelled by its timeout, by the program around it, or by the
kernel. `attempt` turns all of these into an `Outcome`, but for the two that are not the attempt's own: a
cancellation from outside passes through, and so does KeyboardInterrupt."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import anyio
from anyio import to_thread

from flujo.kernel.durations import format_duration
from flujo.kernel.errors import FlujoError, InvalidValueError, OutputTooLargeError, UnsafeStepNameError
from flujo.kernel.journal.retry import NO_RETRY, RetryPolicy, error_names, error_type
from flujo.kernel.journal.state import Failure
from flujo.kernel.values import PLAIN, Codec

from .current_attempt import Attempt, Wait, enter_attempt, leave_attempt

MAX_TYPE = 200
MAX_MESSAGE = 2_000
MAX_DETAILS = 4_000


Body = Callable[[], Any]
"""What a step does: a function of no arguments, plain or async."""


class Terms(NamedTuple):
    """How a body is run, tried again and read back; made once per declared step."""

    is_async: bool = True
    codec: Codec = PLAIN
    retry: RetryPolicy = NO_RETRY
    timeout_seconds: float | None = None
    limit: str | None = None  # the name of what bounds how many such bodies run at once (limits.py)


class Failed(NamedTuple):
    """The body failed. `names` are what a retry policy may know the error by; none means that no retry can mend it."""

    failure: Failure
    names: tuple[str, ...]


Outcome = str | Wait | Failed
"""What came of an attempt; text is the recorded JSON of the value that the body returned."""

NOT_RETRIED = (InvalidValueError, OutputTooLargeError, UnsafeStepNameError)
"""Errors that a body makes again each time."""


async def run_attempt(attempt: Attempt, body: Body, terms: Terms) -> Outcome:
    """Run the body of an attempt whose start is durable, and return what came of it."""
    is_async, codec, _, timeout_seconds, _ = terms
    token = enter_attempt(attempt)
    try:
        if timeout_seconds is None:
            value = await body() if is_async else await _in_thread(body)
        else:
            with anyio.CancelScope(deadline=anyio.current_time() + timeout_seconds) as scope:
                value = await body()
            if scope.cancelled_caught:
                raise TimeoutError(f"it took longer than {format_duration(timeout_seconds)}")
        return value if isinstance(value, Wait) else codec.encode(value)
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise
        if holds_cancellation(error) and cancelled_from_outside():
            raise
        return _failed(attempt, error)
    finally:
        leave_attempt(token)


async def _in_thread(body: Body) -> Any:
    # A thread cannot be stopped, so neither can this: a cancellation waits for it.
    return await to_thread.run_sync(body)


def holds_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(holds_cancellation(each) for each in error.exceptions)
    return isinstance(error, anyio.get_cancelled_exc_class())


def cancelled_from_outside() -> bool:
    """Whether a scope around this code is cancelled, as opposed to a body raising a cancellation nobody asked for."""
    if anyio.current_effective_deadline() == float("-inf"):
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio, which has no other way to cancel
        return False
    return task is not None and task.cancelling() > 0  # asyncio.timeout() and Task.cancel() are not scopes


def _failed(attempt: Attempt, error: BaseException) -> Failed:
    names = () if isinstance(error, NOT_RETRIED) else error_names(error)
    return Failed(describe(error, attempt.step, attempt.attempt), names)


def describe(error: BaseException, step: str | None = None, attempt: int | None = None) -> Failure:
    """The recorded form of an error: bounded, and with the end of its traceback unless the error says it all."""
    message = str(error) or type(error).__name__
    details = None if isinstance(error, FlujoError) else _trace(error)
    return Failure(bounded(error_type(error), MAX_TYPE), bounded(message, MAX_MESSAGE), step, attempt, details)


def _trace(error: BaseException) -> str | None:
    # The first frames are the kernel's own; the last ones are where it went wrong.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    if not frames:
        return None
    return bounded("".join(traceback.format_list(frames[-6:])), MAX_DETAILS, keep_end=True)


def bounded(text: str, limit: int, *, keep_end: bool = False) -> str:
    """The text, cut to `limit` characters and a sign that it was."""
    # An error message may hold bytes that are no text; a journal holds UTF-8.
    clean = text.encode("utf-8", "backslashreplace").decode()
    if len(clean) <= limit:
        return clean
    return "…" + clean[-limit:] if keep_end else clean[:limit] + "…"


def bind(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Body:
    """A body of no arguments."""
    return partial(function, *args, **kwargs) if args or kwargs else function
