"""Virtual time, and event loops that can be counted: one function runs on asyncio or trio in zero real time.

    run_simulated("trio", seed=7, function=scenario, on_tick=count)

Whenever every task waits, time jumps to the next deadline. `on_tick` is called right before each tick: a step of a
task on trio, a callback of the event loop on asyncio. So "at every await" means: at every tick, since nothing can
happen between two of them. The same seed gives the same ticks on trio, whose scheduler draws lots; asyncio has no
lots to draw, apart from the order in which one cancellation reaches several tasks.

Without `virtual` the same function runs in real time, for backends that have threads."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from heapq import heappop
from math import isfinite
from operator import itemgetter
from typing import Any, TypeVar, TypeVarTuple, cast
from unittest import mock

import anyio
import anyio._backends._asyncio
import trio
import trio._core._run as trio_scheduler
import trio.testing

from flujo.kernel.clock import SystemClock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.testing.virtual import EPOCH as EPOCH
from flujo.kernel.testing.virtual import JumpingLoop
from flujo.kernel.testing.virtual import Loop as Loop
from flujo.kernel.testing.virtual import Stuck as Stuck

Tick = Callable[[], None]
Round = Callable[[int], Sequence[tuple[int, Callable[[], None]]]]
"""Told how many callbacks are about to run; says before which of them, counted from 0, something is to be done."""
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


def _no_jump(seconds: float) -> int:
    return 0


class SimulatedClock(SystemClock):
    """The kernel's own clock on simulated time. `offset` says how many microseconds the wall clock of the machine has
    been set forward at a time of the event loop."""

    def __init__(self, offset: Callable[[float], int] = _no_jump) -> None:
        def wall() -> int:
            seconds = anyio.current_time()
            return (EPOCH + round(seconds * MICROSECONDS) + offset(seconds)) * 1000

        super().__init__(wall, lambda: round(anyio.current_time() * MICROSECONDS) * 1000)


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
    on_round: Round | None = None,
) -> Result:
    """Run an async function on a new event loop and return what it returns.

    With `on_round` asyncio draws lots as well: what is ready at the same time runs in an order that the seed decides.
    It stands in for `on_tick` there, at less cost; a timer that runs out is no tick then. Nothing may wait for a
    thread.
    """
    if not virtual:
        return anyio.run(function, backend=loop)
    if loop == "asyncio":
        make = partial(_VirtualLoop, on_tick) if on_round is None else partial(_ShufflingLoop, on_round, seed)
        options: dict[str, Any] = {"loop_factory": make}
        with _shortcuts():
            return anyio.run(function, backend="asyncio", backend_options=options)
    # Trio's own recipe for tests that can be repeated (its Hypothesis plugin does these two things).
    trio_scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_scheduler._r.seed(seed)
    clock = trio.testing.MockClock(autojump_threshold=0)
    options = {"clock": clock, "instruments": [_TickInstrument(on_tick, clock)]}
    try:
        return anyio.run(function, backend="trio", backend_options=options)
    except trio.TrioInternalError as error:
        raise error.__cause__ or error from None


def _one_backend(asynclib_name: str | None = None) -> Any:
    return anyio._backends._asyncio.backend_class


@contextmanager
def _shortcuts() -> Iterator[None]:
    """Keep tasks and scopes in the order in which they came, and have anyio take for granted that it runs on asyncio.

    In sets, their order would be that of memory addresses. Finding out where it runs takes anyio a tenth of its time,
    half of that in `current_task`, which asks the system for the process id before Python 3.12."""
    modules = [each for name, each in sys.modules.items() if name.startswith("anyio.")]
    swaps: list[tuple[Any, str, Any]] = [(module, "get_async_backend", _one_backend) for module in modules]
    swaps = [swap for swap in swaps if hasattr(swap[0], swap[1])]
    if sys.version_info < (3, 12):
        current: dict[Any, Any] = vars(asyncio.tasks)["_current_tasks"]
        swaps.append((anyio._backends._asyncio, "current_task", lambda: next(iter(current.values()), None)))
    swaps += [(module, "set", OrderedSet) for module in (anyio._backends._asyncio, asyncio.taskgroups)]
    before = [(module, name, vars(module).get(name)) for module, name, _ in swaps]
    for module, name, value in swaps:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            delattr(module, name) if value is None else setattr(module, name, value)


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


class OrderedSet(dict[Any, None]):
    """As much of a set as anyio needs, in the order in which things were added."""

    def add(self, member: Any) -> None:
        self[member] = None

    def discard(self, member: Any) -> None:
        self.pop(member, None)

    def remove(self, member: Any) -> None:
        del self[member]


class _ShufflingLoop(JumpingLoop):
    """Runs what is ready at the same time in a random order, as trio does.

    Nothing but tasks and timers happens in it: no thread, no socket, no signal. So a round asks no selector."""

    _ready: deque[asyncio.Handle]  # what asyncio itself is going to run next
    _timer_cancelled_count: int
    _clock_resolution: float
    _stopping: bool

    def __init__(self, on_round: Round, seed: int) -> None:
        self._on_round = on_round
        self._lots = random.Random(seed)
        super().__init__(patience=0.0)

    def _run_once(self) -> None:
        """As asyncio's own: run what is ready, or what is due once time has jumped to the next timer. What becomes
        ready meanwhile is of the next round."""
        ready, timers = self._ready, self._scheduled
        while timers and timers[0].cancelled():
            self._take_timer()
        if not ready and not self._stopping:
            if not timers or not isfinite(timers[0].when()):
                raise Stuck
            self.jumping.time = max(self.jumping.time, timers[0].when())
        if len(ready) > 1:
            self._lots.shuffle(cast("list[asyncio.Handle]", ready))
        for index, callback in sorted(self._on_round(len(ready)), key=itemgetter(0), reverse=True):
            ready.insert(index, asyncio.Handle(callback, (), self))
        end = self.jumping.time + self._clock_resolution
        while timers and timers[0].when() < end:
            ready.append(self._take_timer())
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _take_timer(self) -> asyncio.TimerHandle:
        timer = heappop(self._scheduled)
        timer._scheduled = False  # type: ignore[attr-defined]
        self._timer_cancelled_count -= timer.cancelled()
        return timer


class _VirtualLoop(JumpingLoop):
    """Announces every callback it runs."""

    def __init__(self, on_tick: Tick) -> None:
        self._on_tick = on_tick
        super().__init__()

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
