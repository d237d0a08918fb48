"""Which runs leave memory: beyond `max_resident`, those that only wait, the longest waiting first, and after them those
that wait for a slot, the last in line first."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any

from anyio.lowlevel import checkpoint

from flujo.kernel.clock import Clock
from flujo.kernel.execution.holdings import Holdings
from flujo.kernel.execution.leaving import LooseWork
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.journal.decisions import Stop

from .live_runs import LiveRuns, Residence

SLACK = 16
"""Eviction starts when the excess is above 1/16 of `max_resident`, because it scans all tasks."""

TICKS_TO_UNWIND = 5
"""After so many turns of the event loop the programs that were told to leave are gone. Until then they are looked at
again, to tell what they share with others."""

Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class Eviction:
    """Keeps the runs of one kernel that are in memory near `max_resident`."""

    def __init__(self, runs: LiveRuns, clock: Clock, spawn: Spawn, max_resident: int) -> None:
        """`spawn` runs a function in a task of the kernel."""
        self._runs = runs
        self._clock = clock
        self._spawn = spawn
        self._max_resident = max_resident
        self._is_called = False
        self._large: dict[str, frozenset[int]] = {}  # by uid: what runs hold that stay for the mass behind it

    def call(self) -> None:
        """Have runs told to leave if too many are in memory: in a task of the kernel, and once for all that begin to
        wait in this turn of the event loop. The run that calls does not stand still yet, so that nothing shows what it
        holds."""
        if not self._is_called and self._excess > 0:
            self._is_called = True
            self._spawn(self._evict_excess)

    @property
    def _excess(self) -> int:
        """Return how many runs are to leave; 0 while that are too few to look for them, or none of them may."""
        excess = len(self._runs) - self._runs.count(Residence.LEAVING) - self._max_resident
        few = self._max_resident // SLACK
        return excess if excess > few and self._runs.count(Residence.IDLE) > few else 0

    async def _evict_excess(self) -> None:
        """Tell runs to leave, as many in a turn of the event loop as can be looked at."""
        try:
            await checkpoint()  # an event loop may begin a task within the one that makes it
            while (excess := self._excess) and self._evict(excess):
                for _ in range(TICKS_TO_UNWIND):
                    await checkpoint()
        finally:
            self._is_called = False

    def _evict(self, number: int) -> bool:
        """Tell up to so many idle runs to leave, none that is due, has tasks or timers of its own, or holds what would
        be finalized; True if there may be more of them."""
        loose, holdings = LooseWork(), Holdings()
        for uid in [uid for uid in self._large if self._runs.where(uid) is not Residence.STAYING]:
            del self._large[uid]
        for held in self._large.values():
            holdings.know(held)  # a pool that all runs use keeps one of them, and no more
        for run in self._runs.at(Residence.LEAVING):
            run.look_into(holdings)  # what it shares with the last of the others would be dropped with that
        holdings.make_room()
        seen = [run for run in self._in_order(number) if self._is_seen_to_wait(run, loose, holdings)]
        self._large.update(holdings.large)
        keepers = holdings.keepers()
        for run in seen:
            if run.uid in keepers:
                self._runs.move(run.uid, Residence.STAYING)
            else:
                self._runs.move(run.uid, Residence.LEAVING)
                run.stop(Stop.LEAVE)
        return bool(seen)

    def _in_order(self, number: int) -> list[LiveRun]:
        """Return the idle runs that are to leave first, up to so many."""
        idle = list(self._runs.at(Residence.IDLE))
        in_line = [run for run in idle if run.ticket is not None]
        others = [run for run in idle if run.ticket is None]
        return list(islice([*others, *reversed(in_line)], number))

    def _is_seen_to_wait(self, run: LiveRun, loose: LooseWork, holdings: Holdings) -> bool:
        """True if nothing but what it waits for would wake a run, once what it holds is counted."""
        assert run.task is not None
        if holdings.is_full or is_due(run, self._clock.now()) or loose.has_tasks(run.uid, run.task):
            return False
        held = run.look_into(holdings)
        if held.stays or not loose.of(run.uid, run.task, held.futures):
            return True
        holdings.keep(run.uid)
        return False


def is_due(run: LiveRun, now: int) -> bool:
    """True if a run that waits goes on in this moment, or ends."""
    timeout_at = run.state.timeout_at
    if timeout_at is not None and timeout_at <= now:
        return True
    if run.ticket is not None:
        return run.ticket.is_granted or run.held
    wake_at = run.state.wake_at
    return wake_at is not None and wake_at <= now
