"""Virtual time, and event loops that can be counted: one function runs on asyncio or trio in zero real time.

    run_simulated("trio", seed=7, function=scenario, on_tick=count)

Whenever every task waits, time jumps to the next deadline. `on_tick` is called right before each tick: a step of a
task on trio, a callback of the event loop on asyncio. So "at every await" means: at every tick, since nothing can
happen between two of them. The same seed gives the same ticks on trio, whose scheduler draws lots; asyncio has no
lots to draw, apart from the order in which one cancellation reaches several tasks.

Without `virtual` the same function runs in real time, for backends that have threads."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from functools import partial
from typing import Any, Literal, TypeVar, TypeVarTuple, cast
from unittest import mock

import anyio
import trio
import trio._core._run as trio_scheduler
import trio.testing

from flujo.kernel.durations import MICROSECONDS

Loop = Literal["asyncio", "trio"]
Tick = Callable[[], None]
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

EPOCH = 1_767_225_600 * MICROSECONDS
"""2026-01-01T00:00:00Z: the wall clock of every simulation begins here."""

STUCK_SECONDS = 20.0
"""Real time without anything to do or to wait for, after which a simulation is called stuck."""


class SimulatedClock:
    """The kernel's clock on simulated time. `skew` moves its wall clock, as somebody may between two lives."""

    def __init__(self, skew: int = 0) -> None:
        self._skew = skew

    def now(self) -> int:
        return EPOCH + self._skew + round(anyio.current_time() * MICROSECONDS)

    async def sleep_until(self, instant: int) -> None:
        while (left := instant - self.now()) > 0:  # noqa: ASYNC110 - time is what is waited for
            await anyio.sleep(left / MICROSECONDS)


class Stuck(Exception):
    """Every task waits, and nothing is scheduled that could wake one."""


class Abandoned(SystemExit):
    """Raised by `on_tick`, it ends the event loop at once, whatever tasks there are."""


def _no_tick() -> None:
    pass


def run_simulated(
    loop: Loop,
    function: Callable[[], Awaitable[Result]],
    *,
    seed: int = 0,
    on_tick: Tick = _no_tick,
    virtual: bool = True,
) -> Result:
    """Run an async function on a new event loop and return what it returns."""
    if not virtual:
        return anyio.run(function, backend=loop)
    if loop == "asyncio":
        return anyio.run(function, backend="asyncio", backend_options={"loop_factory": lambda: _VirtualLoop(on_tick)})
    # Trio's own recipe for tests that can be repeated (its Hypothesis plugin does these two things).
    trio_scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_scheduler._r.seed(seed)
    clock = trio.testing.MockClock(autojump_threshold=0)
    options = {"clock": clock, "instruments": [_TickInstrument(on_tick, clock)]}
    try:
        return anyio.run(function, backend="trio", backend_options=options)
    except trio.TrioInternalError as error:
        raise error.__cause__ or error from None


class _TickInstrument(trio.abc.Instrument):
    """Calls `on_tick` before every step of a task."""

    def __init__(self, on_tick: Tick, clock: trio.testing.MockClock) -> None:
        self._on_tick = on_tick
        self._clock = clock

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        try:
            self._on_tick()
        except Abandoned as error:
            # What an instrument raises is only logged; but every round of the loop asks the clock.
            mock.patch.object(self._clock, "current_time", side_effect=error).start()


class _JumpingSelector(selectors.BaseSelector):
    """Where a real selector would wait for the next deadline, this one moves the time there."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None:
            self.time += max(0.0, timeout)
            return []
        # Nothing is scheduled, so only another thread or a signal can go on with this loop.
        ready = self._real.select(STUCK_SECONDS)
        if not ready:
            raise Stuck
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return cast("Mapping[Any, selectors.SelectorKey]", self._real.get_map())

    def close(self) -> None:
        self._real.close()


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time that announces every callback it runs."""

    def __init__(self, on_tick: Tick) -> None:
        self._jumping = _JumpingSelector()
        self._on_tick = on_tick
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.time

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(partial(self._counted, callback, *args), context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_at(when, partial(self._counted, callback, *args), context=context)

    def _counted(self, callback: Callable[[*Arguments], object], *args: *Arguments) -> None:
        self._on_tick()
        callback(*args)
