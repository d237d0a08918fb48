"""Waking the runs of a kernel that are not in memory when their time has come.

The store finds them by an index, so a hundred thousand runs that sleep cost nothing but their place in it. There is one
nap at a time, until the soonest of their instants; a run that leaves memory with a sooner one ends the nap. The end of
the time that is allowed to a run is one of them. Only runs that are parked in the line of a limit are passed over in
the index, so when their time is over is kept here.

    Alarm    when to wake next; whoever lets a run leave memory notes its instants here
    Timers   finds the runs that are due, and reloads them
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from heapq import heappop, heappush

import anyio

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import StoreError
from flujo.kernel.store.backend import StateBackend

from .live_runs import LiveRuns, Residence
from .recalls import Reload

logger = logging.getLogger("flujo.kernel")

BATCH = 200
AT_ONCE = 16
"""Runs that are read from the store at the same time."""


class Alarm:
    """The soonest instant at which a run of one kernel outside memory has something to do."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: int | None = None  # when the nap ends by itself
        self._timeouts: list[tuple[int, str, str]] = []  # (instant, uid, run id), a heap
        self._nap: anyio.CancelScope | None = None  # none is under way before the kernel is open

    def note(self, instant: int | None) -> None:
        """Wake at this instant; None for a run that has no instant of its own."""
        if instant is not None and (self._until is None or instant < self._until):
            self._until = instant
            if self._nap is not None:
                self._nap.cancel()

    def note_timeout(self, instant: int, uid: str, run_id: str) -> None:
        """Wake when this parked run has taken too long."""
        heappush(self._timeouts, (instant, uid, run_id))
        self.note(instant)

    async def nap(self) -> None:
        """Return at the soonest instant that was noted."""
        self._nap = anyio.CancelScope()
        with self._nap:
            if self._until is None:
                await anyio.sleep_forever()
            else:
                await self._clock.sleep_until(self._until)
        self._until = None

    def timed_out(self) -> list[tuple[str, str]]:
        """Take the (uid, run id) of every parked run whose time is over, and note the instant of the next one."""
        over: list[tuple[str, str]] = []
        now = self._clock.now()
        while self._timeouts and self._timeouts[0][0] <= now:
            over.append(heappop(self._timeouts)[1:])
        if self._timeouts:
            self.note(self._timeouts[0][0])
        return over


class Timers:
    """Wakes the runs of one kernel. `reload` brings a run back into memory."""

    def __init__(self, backend: StateBackend, clock: Clock, runs: LiveRuns, alarm: Alarm, reload: Reload) -> None:
        self._backend = backend
        self._clock = clock
        self._runs = runs
        self._alarm = alarm
        self._reload = reload

    async def serve(self) -> None:
        """Wake runs until cancelled."""
        while True:
            await self._alarm.nap()
            try:
                # They stop by themselves then.
                over = self._alarm.timed_out()
                await self._reload_all([run_id for uid, run_id in over if self._runs.is_outside(uid)])
                self._alarm.note(await self._wake_due())
            except StoreError as error:
                logger.warning("runs that are due cannot be found: %s", error)
                self._alarm.note(self._in_a_second(None))

    async def _wake_due(self) -> int | None:
        """Reload all runs that are due; return the instant of the next one outside memory, or of the next try."""
        tried: set[tuple[str, int]] = set()
        while True:
            # Runs in memory wake by themselves, and those whose retry waits for a slot when it is granted; they are in
            # the way of the others here until they have, and so are those that could not be reloaded.
            limit = BATCH + len(self._runs) + self._runs.count(Residence.PARKED) + len(tried)
            due = await self._backend.due(self._clock.now(), limit)
            outside = [run for run in due.runs if self._has_to_wake(run.uid)]
            untried = [run for run in outside if (run.uid, run.seq) not in tried]
            if untried:
                tried.update((run.uid, run.seq) for run in untried)
                await self._reload_all([run.run_id for run in untried])
            elif outside:  # the store does not give them out
                return self._in_a_second(due.next)
            else:
                return due.next

    def _has_to_wake(self, uid: str) -> bool:
        return self._runs.is_outside(uid) and self._runs.where(uid) is not Residence.PARKED

    def _in_a_second(self, instant: int | None) -> int:
        """Return a second from now, or an instant that comes before that."""
        second = self._clock.now() + MICROSECONDS
        return second if instant is None else min(instant, second)

    async def _reload_all(self, runs: Sequence[str]) -> None:
        left = iter(runs)

        async def worker() -> None:
            for run_id in left:
                await self._reload(run_id)

        async with anyio.create_task_group() as group:
            for _ in range(min(AT_ONCE, len(runs))):
                group.start_soon(worker)
