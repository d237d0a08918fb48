"""Virtual time: event loops that jump to the next deadline whenever every task waits.

    run_virtually(scenario)                     # a new asyncio loop, or with loop="trio" a new trio one
    Kernel(backend, [report], clock=VirtualClock())

Everything that waits by the event loop waits virtually: `anyio.sleep`, timeouts, a kernel with a `VirtualClock`. While
a worker thread is at work, time stands still on asyncio; on trio it does not, so steps have to be `async def` there.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping
from math import isfinite
from typing import Any, Literal, TypeVar, cast

import anyio

from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.loops import thread_limiters

Loop = Literal["asyncio", "trio"]
Result = TypeVar("Result")

EPOCH = 1_767_225_600 * MICROSECONDS
"""2026-01-01T00:00:00Z: the wall clock of every virtual time begins here."""

STUCK_SECONDS = 20.0
"""Real time without anything to do or to wait for, after which a loop is called stuck."""


class Stuck(Exception):
    """Every task waits, and nothing is scheduled that could wake one: no timer, no thread, no socket."""


class VirtualClock:
    """A kernel's clock on the time of the event loop. It begins at `start`, in microseconds UTC."""

    def __init__(self, start: int = EPOCH) -> None:
        self._start = start

    def now(self) -> int:
        return self._start + round(anyio.current_time() * MICROSECONDS)

    async def sleep_until(self, instant: int) -> None:
        while (left := instant - self.now()) > 0:  # noqa: ASYNC110 - time is what is waited for
            await anyio.sleep(left / MICROSECONDS)


def run_virtually(function: Callable[..., Awaitable[Result]], *args: Any, loop: Loop = "asyncio") -> Result:
    """Run an async function on a new event loop on virtual time, which begins at 0, and return what it returns.

    Raises Stuck when nothing can ever happen any more (on trio a test hangs then, as any other does)."""
    if loop == "trio":
        from trio.testing import MockClock

        return anyio.run(function, *args, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
    made: list[JumpingLoop] = []

    def make() -> JumpingLoop:
        made.append(JumpingLoop(STUCK_SECONDS))
        return made[0]

    async def with_threads() -> Result:
        limiters = thread_limiters()
        made[0].jumping.stands_still = lambda: any(limiter.borrowed_tokens > 0 for limiter in limiters)
        return await function(*args)

    return anyio.run(with_threads, backend="asyncio", backend_options={"loop_factory": make})


class JumpingSelector(selectors.BaseSelector):
    """Where a real selector would wait for the next deadline, this one moves the time there.

    `about_to_run` is called before each round of the loop; `stands_still` says whether a thread is at work."""

    def __init__(self, has_deadline: Callable[[], bool], patience: float) -> None:
        self._real = selectors.DefaultSelector()
        self._has_deadline = has_deadline
        self._patience = patience
        self.time = 0.0
        self.about_to_run: Callable[[], None] | None = None
        self.stands_still: Callable[[], bool] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = []
        stands_still = self.stands_still is not None and self.stands_still()
        if timeout is not None and timeout <= 0:
            ready = self._real.select(0) if stands_still else []
        elif stands_still:
            ready = self._real.select(timeout)
        elif timeout is not None and self._has_deadline():
            self.time += timeout
        else:
            # Only another thread, a socket or a signal can go on with this loop.
            ready = self._real.select(self._patience)
            if not ready:
                raise Stuck
        if self.about_to_run is not None:
            self.about_to_run()
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return cast("Mapping[Any, selectors.SelectorKey]", self._real.get_map())

    def close(self) -> None:
        self._real.close()


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time."""

    _scheduled: list[asyncio.TimerHandle]  # asyncio's own heap of timers

    def __init__(self, patience: float = STUCK_SECONDS) -> None:
        self.jumping = JumpingSelector(self._has_deadline, patience)
        super().__init__(self.jumping)
        # Asyncio's own is a nanosecond. After three months a float is no longer that fine, and a timer that is due just
        # now would never be found to be; this one does for 25 years.
        self._clock_resolution = 1e-7

    def _has_deadline(self) -> bool:
        # Whoever sleeps for ever has a timer as well, which never comes.
        return bool(self._scheduled) and isfinite(self._scheduled[0].when())

    def time(self) -> float:
        return self.jumping.time
