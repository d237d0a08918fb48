"""One attempt: run a body, and judge in one place what came of it.

A body may return a value or a `Wait`, raise, be cancelled by its timeout, by the program around it, or by the
kernel. `attempt` turns all of these into an `Outcome`, but for the two that are not the attempt's own: a
cancellation from outside passes through, and so does KeyboardInterrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context, copy_context
from functools import partial
from inspect import iscoroutine
from types import CoroutineType, coroutine
from typing import Any, NamedTuple, cast

import anyio
from anyio import to_thread

from flujo.kernel.codecs import PLAIN, Codec
from flujo.kernel.durations import format_duration
from flujo.kernel.errors import FlujoError, InvalidValueError, OutputTooLargeError, UnsafeStepNameError
from flujo.kernel.journal.failures import describe, error_kinds, is_a, members
from flujo.kernel.journal.retry import NO_RETRY, RetryPolicy
from flujo.kernel.journal.state import Failure
from flujo.kernel.values import FLATTER

from .current_attempt import Attempt, Wait, enter_attempt
from .leaving import running_program

Body = Callable[[], Any]
"""What a step does: a function of no arguments, plain or async."""


class StepOptions(NamedTuple):
    """How a body is run, tried again and read back; made once per declared step."""

    is_async: bool = True
    codec: Codec = PLAIN
    retry: RetryPolicy = NO_RETRY
    timeout_seconds: float | None = None
    limit: str | None = None  # the name of what bounds how many such bodies run at once (limits.py)


class Completed(NamedTuple):
    """The body returned a value: `output` is its recorded JSON, `value` what a program reads from that."""

    output: str
    value: Any


class Failed(NamedTuple):
    """The body failed. `kinds` are the names by which a retry policy may know each error that failed it; without any,
    no retry can mend it. The next attempt waits for `least_seconds`, however short the delay of the policy is."""

    failure: Failure
    kinds: tuple[tuple[str, ...], ...]
    least_seconds: float = 0.0
    redacted: bool = False  # secrets were cut out of it


class Described(Exception):
    """Ends an attempt with a failure that its body has described, perhaps without all that its error says."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.failure.message)
        self.failed = failed


Outcome = Completed | Wait | Failed
"""What came of an attempt."""

_new = tuple.__new__  # what Completed(…) comes to, in half the time

MAX_ASKED_SECONDS = 366 * 86_400.0
"""An error that asks for more is not listened to."""

NOT_RETRIED = (InvalidValueError, OutputTooLargeError, UnsafeStepNameError)
"""Errors that a body makes again each time."""


async def run_attempt(
    attempt: Attempt, body: Body, terms: StepOptions, threads: anyio.CapacityLimiter | None = None
) -> Outcome:
    """Run the body of an attempt whose start is durable, and return what came of it. A plain function takes one of
    `threads`, which are the kernel's own: those of anyio are left to the application."""
    is_async, codec, _, timeout_seconds, _ = terms
    work = body
    if timeout_seconds is not None:
        work = partial(_within, timeout_seconds, body)
    elif not is_async:
        work = partial(_in_thread, body, threads)
    context = copy_context()
    context.run(enter_attempt, attempt)
    try:
        value = await _apart(context, work)
        return value if isinstance(value, Wait) else _new(Completed, codec.exchange(value))
    except BaseException as error:
        if is_a(error, KeyboardInterrupt) or (is_a(error, GeneratorExit) and _is_being_closed(attempt)):
            raise
        if holds_cancellation(error) and cancelled_from_outside():
            raise
        return described(error, attempt.step, attempt.attempt)


@coroutine
def _apart(context: Context, body: Body) -> Generator[Any, Any, Any]:
    """Await what a body returns, in a context of its own.

    A program would see what a body sets of context variables in its first life only, as a replay does not call the body
    (tests/kernel/execution/test_attempt_runner.py); and Python takes no variable out of a context again."""
    made = context.run(body)
    waiter = made if made.__class__ is CoroutineType else _awaited(made)
    try:
        waits_for = context.run(waiter.send, None)
        while True:
            try:
                told = yield waits_for
            except GeneratorExit:
                context.run(waiter.close)
                raise
            except BaseException as error:
                waits_for = context.run(waiter.throw, error)
            else:
                waits_for = context.run(waiter.send, told)
    except StopIteration as end:
        return end.value


async def _awaited(made: Awaitable[Any]) -> Any:
    return await made


def _is_being_closed(attempt: Attempt) -> bool:
    """True if a GeneratorExit comes from the event loop, which closes what is left of it, and not from the body.

    The loop closes a coroutine from outside of its task, and so from another context than that of the program."""
    return running_program.get() != attempt.uid


async def _within(seconds: float, body: Body) -> Any:
    """Call an async body; raises TimeoutError when it takes longer than so many seconds."""
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        value = await body()
    if scope.cancelled_caught:
        raise TimeoutError(f"it took longer than {format_duration(seconds)}")
    return value


async def _in_thread(body: Body, threads: anyio.CapacityLimiter | None) -> Any:
    # A thread cannot be stopped, so neither can this: a cancellation waits for it. What the body raises is handed over
    # as a value: on its way through a future, an error whose attributes raise would leave its waiter waiting for ever.
    value, error = await to_thread.run_sync(_caught, body, limiter=threads)
    if error is not None:
        raise error
    return await value if iscoroutine(value) else value  # of an async function under a decorator that is a plain def


def _caught(body: Body) -> tuple[Any, BaseException | None]:
    try:
        return body(), None
    except BaseException as error:
        return None, error


def holds_cancellation(error: BaseException) -> bool:
    """True if an error is a cancellation, or a group with one in it."""
    return any(is_a(each, anyio.get_cancelled_exc_class()) for each in members(error))


def cancelled_from_outside() -> bool:
    """True if a scope around this code is cancelled, as opposed to a body that raises a cancellation of its own."""
    if anyio.current_effective_deadline() == float("-inf"):
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio, which has no other way to cancel
        return False
    return task is not None and task.cancelling() > 0  # asyncio.timeout() and Task.cancel() are not scopes


def described(error: BaseException, step: str, attempt: int) -> Failed:
    """Return what is recorded of an error that ends an attempt, and how a retry policy may know it."""
    if is_a(error, Described):  # not isinstance, which asks a class that may be a property of the user's
        return cast("Described", error).failed
    is_hopeless = any(is_a(each, *NOT_RETRIED) for each in members(error))
    failure = describe(error, step, attempt)
    return Failed(failure, () if is_hopeless else error_kinds(error), max(map(_asked_seconds, members(error))))


def _asked_seconds(error: BaseException) -> float:
    """Return how long an error asks the next attempt to wait; only errors of flujo's own kind are asked, and they may
    be of a class of the user's."""
    if not is_a(error, FlujoError):
        return 0.0
    try:
        seconds = float(error.retry_after_seconds or 0.0)  # type: ignore[attr-defined]
    except Exception:
        return 0.0
    return seconds if 0.0 < seconds < MAX_ASKED_SECONDS else 0.0


def bind(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Body:
    """Return a body of no arguments that calls `function` with these, and with copies of containers at each call."""
    if not args and not kwargs:
        return function
    if _CONTAINERS.isdisjoint(map(type, args)) and (not kwargs or _CONTAINERS.isdisjoint(map(type, kwargs.values()))):
        return partial(function, *args, **kwargs)
    return partial(_with_copies, function, args, kwargs)


_CONTAINERS = frozenset({list, dict, set, tuple})


def _with_copies(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call `function` with lists and dicts of its own: the program would see what a body does to those it was given in
    its first life only (test_a_body_changes_its_own_copy_of_lists_and_dicts)."""
    seen: dict[int, Any] = {}
    try:
        own = [_copied(each, seen) for each in args]
        own_by_name = {name: _copied(each, seen) for name, each in kwargs.items()}
    except RecursionError:
        problem = f"they nest too deep to be copied for each attempt; {FLATTER}"
        raise InvalidValueError("arguments", problem) from None
    return function(*own, **own_by_name)


def _copied(value: Any, seen: dict[int, Any]) -> Any:
    """Return a copy of plain containers at any depth, with what they share, and everything else as it is."""
    kind = type(value)
    if kind not in _CONTAINERS:
        return value
    if kind is tuple:
        return tuple([_copied(each, seen) for each in value])
    if (copy := seen.get(id(value))) is None:
        copy = seen[id(value)] = kind()
        if kind is dict:
            copy.update((key, _copied(each, seen)) for key, each in value.items())
        elif kind is list:
            copy.extend([_copied(each, seen) for each in value])
        else:
            copy.update(value)
    return copy
