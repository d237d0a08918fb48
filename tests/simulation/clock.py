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
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar, TypeVarTuple, cast
from unittest import mock

import anyio
import anyio._backends._asyncio
import trio
import trio._core._run as trio_scheduler
import trio.testing

from flujo.kernel.testing.virtual import EPOCH as EPOCH
from flujo.kernel.testing.virtual import JumpingLoop, VirtualClock
from flujo.kernel.testing.virtual import Loop as Loop
from flujo.kernel.testing.virtual import Stuck as Stuck

Tick = Callable[[], None]
Round = Callable[[int], Sequence[tuple[int, Callable[[], None]]]]
"""Told how many callbacks are about to run; says before which of them, counted from 0, something is to be done."""
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class SimulatedClock(VirtualClock):
    """The kernel's clock on simulated time. `skew` moves its wall clock, as somebody may between two lives."""

    def __init__(self, skew: int = 0) -> None:
        super().__init__(EPOCH + skew)


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
        # anyio keeps tasks and scopes in sets, whose order is that of memory addresses.
        with mock.patch.object(anyio._backends._asyncio, "set", OrderedSet, create=True):
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
    """Runs what is ready at the same time in a random order, as trio does."""

    _ready: deque[asyncio.Handle]  # what asyncio itself is going to run next

    def __init__(self, on_round: Round, seed: int) -> None:
        self._on_round = on_round
        self._lots = random.Random(seed)
        super().__init__(patience=0.0)
        self.jumping.about_to_run = self._shuffle

    def _shuffle(self) -> None:
        ready = self._ready
        if len(ready) > 1:
            self._lots.shuffle(cast("list[asyncio.Handle]", ready))
        for index, callback in sorted(self._on_round(len(ready)), key=itemgetter(0), reverse=True):
            ready.insert(index, asyncio.Handle(callback, (), self))


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
