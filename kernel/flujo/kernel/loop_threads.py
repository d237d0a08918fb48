"""An event loop in a thread of its own, for callers that block (blocking.py)."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Set
from concurrent.futures import CancelledError, Future, wait
from contextlib import ExitStack, suppress
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from anyio.from_thread import BlockingPortal, start_blocking_portal

from .durations import Duration, parse_duration
from .errors import BlockingCallError, ForkedProcessError, KernelClosedError, WaitTimedOutError

T = TypeVar("T")


class Opens(Protocol):
    """What is opened in the event loop."""

    async def open(self) -> Any:
        """Open it."""
        ...

    async def close(self) -> None:
        """Close it; nothing to do if it is closed."""
        ...


class _Running:
    """The event loop while it runs, in `thread`. It ends by itself once its end has begun, whoever waits for that."""

    def __init__(
        self,
        target: Opens,
        portal: BlockingPortal,
        end: ExitStack,
        loop: asyncio.AbstractEventLoop,
        thread: threading.Thread,
        own_tasks: Set[asyncio.Task[Any]],
    ) -> None:
        self.portal = portal
        self.thread = thread
        self.process = os.getpid()
        self.has_ended = False  # the target is closed then
        self.failure: Exception | None = None  # what closing the target has raised
        self._target = target
        self._end = end
        self._loop = loop
        self._own_tasks = own_tasks
        self._ending: asyncio.Task[None] | None = None
        self._running = threading.Lock()  # held until it has ended
        self._running.acquire()

    def wait_for_end(self) -> None:
        """Close the target and return when the loop has ended. What interrupts that cancels all that is in the loop."""
        try:
            self._begin_to_end()
            self._wait()
        except KeyboardInterrupt:
            self._begin_to_end()  # again: it may have come before that
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._cancel_all)
            self._wait()
            raise
        finally:
            if self.has_ended:
                self._end.close()

    def _wait(self) -> None:
        # By a bare lock. An interrupt that meets threading.Event leaves its lock taken, or free when it should not be,
        # and one that meets Thread.join makes a thread that runs count as one that has ended.
        while not self.has_ended:
            self._running.acquire(timeout=1)

    def _begin_to_end(self) -> None:
        # Without a look at what this returns: an interrupt may be raised at any place here.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._start_ending)

    def _start_ending(self) -> None:
        if self._ending is None:
            self._ending = self._loop.create_task(self._close())

    async def _close(self) -> None:
        try:
            await self._target.close()
        except Exception as error:
            self.failure = error
        finally:
            await self.portal.stop()
            self.has_ended = True
            self._running.release()

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop) - self._own_tasks - {self._ending}:
            task.cancel()


class LoopThread:
    """Runs an event loop in a thread while `target` is open in it. Any thread may call it. `what` names the target.

    Opening, entering and leaving are counted as by `Lifetime`. What is open when the interpreter ends is closed then:
    the threads of the target would keep the process for ever."""

    def __init__(self, target: Opens, what: str) -> None:
        self._target = target
        self._what = what
        self._lock = threading.RLock()  # held while it opens or closes
        self._running: _Running | None = None
        self._inside = 0
        self._was_entered = False

    # -- opening and closing ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the event loop and open the target in it, unless it is open. Raises ForkedProcessError, and what
        opening raises."""
        with self._locked():
            if self._open():
                self._was_entered = False

    def enter(self) -> None:
        """Go inside; the first one opens it. Raises as `open`."""
        with self._locked():
            if self._open():
                self._was_entered = True
            self._inside += 1

    def leave(self) -> None:
        """Go out; the last one closes it, if it was opened by entering."""
        if not self._is_of_parent:
            with self._lock:
                self._inside = max(0, self._inside - 1)
                if self._inside == 0 and self._was_entered:
                    self.close()

    def close(self) -> None:
        """Close the target, end the event loop and return when both are done. Nothing to do if they are, and in a
        forked child, where nothing of it is.

        A KeyboardInterrupt meanwhile cancels all that is in the loop, and is raised when that has ended. Raises
        BlockingCallError, and what closing raises."""
        if self._is_of_parent or self._running is None:
            return
        self.require_running("close")
        with self._lock:
            if (running := self._running) is None:
                return
            self._was_entered = False
            try:
                running.wait_for_end()
            finally:
                if running.has_ended:
                    self._running = None
                    _open.discard(self)
            if running.failure is not None:
                raise running.failure

    def _open(self) -> bool:
        if self._running is not None:
            return False
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio", name=f"flujo {self._what}"))
            here = portal.call(_here)
            _answer(portal.start_task_soon(self._target.open))
            self._running = _Running(self._target, portal, stack.pop_all(), *here)
        self._inside = 0
        _close_at_exit(self)
        return True

    def _locked(self) -> threading.RLock:
        """Return the lock; raises ForkedProcessError in a child, where nobody might ever give it back."""
        if self._is_of_parent:
            raise ForkedProcessError(self._what)
        return self._lock

    @property
    def _is_of_parent(self) -> bool:
        """True in a forked child of the process that has opened it."""
        return self._running is not None and self._running.process != os.getpid()

    # -- calling ------------------------------------------------------------------------------------------------

    def call(self, name: str, function: Callable[[], Awaitable[T]]) -> T:
        """Return what a function returns that is called in the event loop, or raise what it raises. What ends the wait,
        such as a KeyboardInterrupt, cancels the call.

        Raises KernelClosedError, ForkedProcessError, and BlockingCallError when called in the event loop itself."""
        return _answer(self._begin(name, function))

    def ended(self, run_id: str, function: Callable[[], Awaitable[T]], timeout: Duration | None) -> T:
        """Return what `call` does, or raise WaitTimedOutError if that takes longer than `timeout`; InvalidDurationError
        for what is none."""
        seconds = None if timeout is None else parse_duration(timeout)
        future = self._begin("wait", function)
        try:
            wait([future], seconds)
        finally:
            late = not future.done() and future.cancel()
        if late:
            assert seconds is not None
            raise WaitTimedOutError(run_id, seconds)
        return _answer(future)

    def _begin(self, name: str, function: Callable[[], Awaitable[T]]) -> Future[T]:
        running = self.require_running(name)
        try:
            return running.portal.start_task_soon(function)
        except RuntimeError:  # it is about to end
            raise KernelClosedError from None

    def require_running(self, name: str) -> _Running:
        """Return the event loop; raises as `call` does when it cannot be called."""
        self.require_outside(name)
        if self._running is None:
            raise KernelClosedError
        return self._running

    def require_outside(self, name: str) -> None:
        """Raise ForkedProcessError, and BlockingCallError in the event loop itself, whether it is open or not."""
        if self._is_of_parent:
            raise ForkedProcessError(self._what)
        if self._running is not None and self._running.thread is threading.current_thread():
            raise BlockingCallError(name)


def _answer(future: Future[T]) -> T:
    try:
        return future.result()
    except CancelledError:  # the event loop has ended
        raise KernelClosedError from None
    finally:
        future.cancel()  # nothing to do, unless the wait was interrupted


async def _here() -> tuple[asyncio.AbstractEventLoop, threading.Thread, Set[asyncio.Task[Any]]]:
    """Return the running loop, its thread, and the tasks that are there before anything is opened."""
    before = asyncio.all_tasks() - {asyncio.current_task()}
    return asyncio.get_running_loop(), threading.current_thread(), before


# -- the end of the interpreter ---------------------------------------------------------------------------------------

_open: WeakSet[LoopThread] = WeakSet()
_is_registered = False

os.register_at_fork(after_in_child=_open.clear)


def _close_at_exit(thread: LoopThread) -> None:
    """Have a thread closed when the interpreter ends, before it waits for the threads of others."""
    global _is_registered
    _open.add(thread)
    if not _is_registered:
        # atexit comes too late: the interpreter first waits for threads that wait for their connection to be closed.
        threading._register_atexit(_close_all)  # type: ignore[attr-defined]
        _is_registered = True


def _close_all() -> None:
    for thread in list(_open):
        thread.close()
