"""Which task and which event loop this is, for the parts that have to know."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar, current_token

from .errors import UnsupportedEventLoopError

T = TypeVar("T")

TOGETHER = 200
"""How many tasks begin, or go on, in one turn of the event loop. What they do until they wait again takes it some
milliseconds; five thousand at once would keep all others waiting for a fifth of a second."""


def this_task() -> int:
    """Return what identifies the running task, as anyio does; raises RuntimeError outside of any task. The first way
    costs a fifth of the second, on the loop most programs run on."""
    try:
        return id(asyncio.current_task())
    except RuntimeError:
        return anyio.get_current_task().id


def this_loop() -> object:
    """Return what identifies the running event loop, as anyio does; raises anyio's error outside of any. The first way
    costs a tenth of the second, on the loop most programs run on."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return current_token()


class Event(Protocol):
    """What tasks wait for until somebody sets it."""

    def set(self) -> None: ...
    def is_set(self) -> bool: ...
    async def wait(self) -> Any: ...


def new_event() -> Event:
    """Return an event of the running loop. On asyncio it is asyncio's own, which anyio's is a cover of: whoever makes
    one for every commit, and waits for it in every step, saves half of what that costs."""
    return asyncio.Event() if is_asyncio() else anyio.Event()


class Door(Protocol):
    """What tasks wait behind until it is opened, once: nobody comes to one that is open."""

    def open(self) -> None: ...
    def wait(self) -> Awaitable[Any]: ...


class _AsyncioDoor:
    """Keeps a future for each who waits, and no more: asyncio's own event takes a third longer, since it lets go of
    those who wait no longer, for which a door is not there long enough."""

    __slots__ = ("_futures", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._futures: list[asyncio.Future[None]] = []

    def open(self) -> None:
        for future in self._futures:
            if not future.done():
                future.set_result(None)

    def wait(self) -> Awaitable[None]:
        future = self._loop.create_future()
        self._futures.append(future)
        return future


class _AnyDoor:
    """A door on any event loop."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def open(self) -> None:
        self._event.set()

    def wait(self) -> Awaitable[None]:
        return self._event.wait()


def new_door() -> Door:
    """Return a door for the tasks of the running loop. Every step waits behind one, and every commit makes one."""
    return _AsyncioDoor() if is_asyncio() else _AnyDoor()


def context_of(task: asyncio.Task[Any]) -> Context | None:
    """Return the context variables of a task of asyncio."""
    if sys.version_info >= (3, 12):
        return task.get_context()
    return next((each for each in gc.get_referents(task) if type(each) is Context), None)


def context_of_this_task() -> Context | None:
    """Return the context variables of the running task: themselves, not a copy as of now."""
    if is_asyncio():
        return None if (task := asyncio.current_task()) is None else context_of(task)
    import trio

    return trio.lowlevel.current_task().context


def is_running_in(task: int) -> bool:
    """True if the caller runs in this task. An event loop that closes a coroutine that is left over, by GeneratorExit,
    does so in another task or in none."""
    try:
        return this_task() == task
    except RuntimeError:
        return False


def exit_open_scopes(scope: anyio.CancelScope) -> int:
    """Exit every cancel scope that the running task has entered inside of `scope` and not left; return how many.

    On asyncio a scope that stays open makes anyio's own scope around the task raise when the task ends, which would end
    the task group it belongs to. anyio has no call for this, so the scopes are found where it keeps them. trio mends
    its stack by itself. tests/kernel/test_awkward_errors.py tells when an anyio keeps them elsewhere."""
    left = 0
    for inner in tuple(getattr(scope, "_child_scopes", ())):
        if getattr(inner, "_host_task", None) is asyncio.current_task():
            left += 1 + exit_open_scopes(inner)
            inner.cancel()  # and what a task group that was left open still runs
            inner.__exit__(None, None, None)
    return left


def spawn_unowned(function: Callable[[], Coroutine[Any, Any, None]], name: str) -> object:
    """Run a function in a task that belongs to the event loop and not to the task that asks for it, with the context
    variables of that one. Return what has to be kept as long as the task is to live; anyio has no such call.

    No exception may leave the function on trio, which would end the whole program with it."""
    if is_asyncio():
        return asyncio.get_running_loop().create_task(function(), name=name)
    import trio

    return trio.lowlevel.spawn_system_task(function, name=name, context=copy_context())


async def to_its_end(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what `work` returns, or raise what it raises, and let no cancellation reach it: neither one of a scope nor
    one by asyncio's Task.cancel(), which knows no shield. A caller that was cancelled by that is told so afterwards."""
    if is_asyncio():
        return await _Uncancelled(_shielded(work))
    return await _shielded(work)


async def _shielded(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    outcome: list[T] = []
    with anyio.CancelScope(shield=True):
        outcome.append(await work())
    return outcome[0]


class _Uncancelled(Generic[T]):
    """Awaits a coroutine in the task of the caller, and keeps to itself the cancellations that are thrown into it.

    Task.cancel() cancels the very future that its task waits for. So the task waits for another one here."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, T]:
        cancelled: asyncio.CancelledError | None = None
        steps = self._work.__await__()
        while True:
            try:
                future = next(steps)
            except StopIteration as end:
                if cancelled is not None:
                    raise cancelled from None
                return end.value  # type: ignore[no-any-return]
            try:
                yield from _until_done(future)
            except asyncio.CancelledError as error:
                cancelled = error
                while future is not None and not future.done():
                    with suppress(asyncio.CancelledError):
                        yield from _until_done(future)


def _until_done(future: asyncio.Future[Any] | None) -> Generator[Any, Any, None]:
    """Wait for the future that a coroutine has yielded, or for the next tick if it has yielded none."""
    if future is None:
        yield
        return
    future._asyncio_future_blocking = False  # as a task does that takes the future over
    done = future.get_loop().create_future()

    def wake(_: object) -> None:
        if not done.done():
            done.set_result(None)

    future.add_done_callback(wake)
    yield from done.__await__()


def is_asyncio() -> bool:
    """True in a task of asyncio, which itself is asked: trio need not be installed, and may be a guest of its loop."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def cancel_once_more(scope: anyio.CancelScope) -> None:
    """Cancel what still runs in a cancelled scope, and do not cancel it again by itself.

    On asyncio anyio cancels in every turn of the event loop until everything has ended, so what swallows that keeps the
    loop busy. anyio has no call for this; where it does it is found where it keeps it, and left as it is where it is
    not found. trio raises where a task waits, and only there. tests/kernel/test_swallowed_cancels.py tells when an
    anyio does it elsewhere."""
    if (deliver := getattr(scope, "_deliver_cancellation", None)) is not None:
        _cancel_next_turn(scope)
        deliver(scope)
        _cancel_next_turn(scope)


def _cancel_next_turn(scope: anyio.CancelScope) -> None:
    """Its handle stays where it is, so that nothing else begins anew."""
    if (next_turn := getattr(scope, "_cancel_handle", None)) is not None:
        next_turn.cancel()


def context_of_callbacks() -> Context:
    """Return a copy of the context in which anyio finds the running event loop outside of its tasks as well.

    Where sniffio is installed anyio asks that, which goes by the running task, or by a variable: that is set by
    `anyio.run`, and not by `asyncio.run`."""
    context = copy_context()
    if is_asyncio():
        with suppress(ImportError):
            from sniffio import current_async_library_cvar

            context.run(current_async_library_cvar.set, "asyncio")
    return context


def from_any_thread() -> Callable[[Callable[[], None]], None]:
    """Return a function that has the running event loop call another function soon, from whatever thread it is called,
    in the order of the calls. It does nothing once the loop is closed."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        return _unless_over(trio.lowlevel.current_trio_token().run_sync_soon, trio.RunFinishedError)
    # Not in the context of the thread that calls.
    return _unless_over(partial(loop.call_soon_threadsafe, context=context_of_callbacks()), RuntimeError)


def _unless_over(call_soon: Callable[..., Any], over: type[Exception]) -> Callable[[Callable[[], None]], None]:
    def call(function: Callable[[], None]) -> None:
        try:
            call_soon(function)
        except over:
            pass

    return call


_limiters: RunVar[WeakSet[anyio.CapacityLimiter]] = RunVar("flujo_thread_limiters")


def thread_limiters() -> WeakSet[anyio.CapacityLimiter]:
    """Return the limiters of all threads that work for the running event loop: anyio's own and those of kernels. It is
    live, so that virtual time can stand still while one of them is at work (testing/virtual.py)."""
    try:
        return _limiters.get()
    except LookupError:
        known = WeakSet([to_thread.current_default_thread_limiter()])
        _limiters.set(known)
        return known


def limit_threads(size: int) -> anyio.CapacityLimiter:
    """Return a limiter for threads of the caller's own."""
    limiter = anyio.CapacityLimiter(size)
    thread_limiters().add(limiter)
    return limiter


_OWN = 40
_own_threads: RunVar[anyio.CapacityLimiter] = RunVar("flujo_own_threads")


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns or raises, in one of the threads that flujo has for work of its own, as on disks.

    None of anyio's: a web framework runs its plain `def` endpoints in those, and when each of them waits for a kernel
    that waits for a thread, nothing ever goes on. A cancellation waits for the end of the work."""
    try:
        threads = _own_threads.get()
    except LookupError:
        threads = limit_threads(_OWN)
        _own_threads.set(threads)
    return await to_thread.run_sync(work, limiter=threads)


def require_asyncio(what: str) -> None:
    """Raise UnsupportedEventLoopError unless `what` is used on asyncio."""
    if not is_asyncio():
        raise UnsupportedEventLoopError(what, "trio", ("asyncio",))
