"""Waking the runs of a kernel that are not in memory when their time has come.

The store finds them by an index, so a hundred thousand runs that sleep cost nothing but their place in it. There is one
nap at a time, until the soonest of their instants; a run that leaves with a sooner one ends the nap. When the time
allowed to a run is over is not in the index, so those instants are kept here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from heapq import heappop, heappush

import anyio

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import StoreError
from flujo.kernel.store.backend import StateBackend

from .live_runs import Residents

logger = logging.getLogger("flujo.kernel")

BATCH = 200
AT_ONCE = 16
"""Runs that are read from the store at the same time."""


class Timers:
    """The alarm clock of one kernel. `revive` brings a run back into memory."""

    def __init__(
        self, backend: StateBackend, clock: Clock, residents: Residents, revive: Callable[[str], Awaitable[None]]
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._residents = residents
        self._revive = revive
        self._until: int | None = None  # when the nap ends by itself
        self._timeouts: list[tuple[int, str, str]] = []  # (instant, uid, run id), a heap
        self._nap = anyio.CancelScope()

    def note(self, instant: int | None) -> None:
        """A run that is away has to be woken at this instant, or with None at no instant of its own."""
        if instant is not None and (self._until is None or instant < self._until):
            self._until = instant
            self._nap.cancel()

    def note_timeout(self, instant: int, uid: str, run_id: str) -> None:
        """A run that is away, whatever it waits for, has taken too long at this instant."""
        heappush(self._timeouts, (instant, uid, run_id))
        self.note(instant)

    async def serve(self) -> None:
        """Wake runs until cancelled."""
        while True:
            with anyio.CancelScope() as self._nap:
                if self._until is None:
                    await anyio.sleep_forever()
                else:
                    await self._clock.sleep_until(self._until)
            self._until = None
            try:
                await self._wake_overdue()
                self.note(await self._wake_due())
            except StoreError as error:
                logger.warning("runs that are due cannot be found: %s", error)
                self.note(self._in_a_second(None))

    async def _wake_overdue(self) -> None:
        """Bring back all runs whose time is over; they stop by themselves then."""
        overdue: list[str] = []
        while self._timeouts and self._timeouts[0][0] <= self._clock.now():
            _, uid, run_id = heappop(self._timeouts)
            if uid in self._residents.away:
                overdue.append(run_id)
        await self._bring_back(overdue)
        if self._timeouts:
            self.note(self._timeouts[0][0])

    async def _wake_due(self) -> int | None:
        """Bring back all runs that are due; returns the instant of the next one that is not in memory, or of the next
        try."""
        tried: set[tuple[str, int]] = set()
        while True:
            # Runs in memory wake by themselves, and those whose retry waits for a slot when their turn has come; they
            # are in the way of the others here until they have, and so are those that could not be brought back.
            in_line = self._residents.in_line
            limit = BATCH + len(self._residents) + len(in_line) + len(tried)
            due = await self._backend.due(self._clock.now(), limit)
            away = [run for run in due.runs if run.uid in self._residents.away and run.uid not in in_line]
            untried = [run for run in away if (run.uid, run.seq) not in tried]
            if untried:
                tried.update((run.uid, run.seq) for run in untried)
                await self._bring_back([run.run_id for run in untried])
            elif away:  # the store does not give them out
                return self._in_a_second(due.next)
            else:
                return due.next

    def _in_a_second(self, instant: int | None) -> int:
        """A second from now, or an instant that comes before that."""
        second = self._clock.now() + MICROSECONDS
        return second if instant is None else min(instant, second)

    async def _bring_back(self, runs: Sequence[str]) -> None:
        left = iter(runs)

        async def worker() -> None:
            for run_id in left:
                await self._revive(run_id)

        async with anyio.create_task_group() as group:
            for _ in range(min(AT_ONCE, len(runs))):
                group.start_soon(worker)
