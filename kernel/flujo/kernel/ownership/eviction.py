"""Which runs leave memory: beyond `max_resident`, those that only wait, the longest waiting first, and after them those
that wait for a slot, the last in line first."""

from __future__ import annotations

from flujo.kernel.clock import Clock
from flujo.kernel.execution.leaving import LooseWork
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.journal.decisions import Stop

from .live_runs import LiveRuns, Residence

SLACK = 16
"""Eviction starts when the excess is above 1/16 of `max_resident`, because it scans all tasks."""


class Eviction:
    """Keeps the runs of one kernel that are in memory near `max_resident`."""

    def __init__(self, runs: LiveRuns, clock: Clock, max_resident: int) -> None:
        self._runs = runs
        self._clock = clock
        self._max_resident = max_resident

    def evict_excess(self) -> None:
        """Tell runs to leave if too many are in memory."""
        excess = len(self._runs) - self._runs.count(Residence.LEAVING) - self._max_resident
        if excess > self._max_resident // SLACK:
            self._evict(excess)

    def _evict(self, number: int) -> None:
        """Tell so many idle runs to leave; none that is due, or whose program has tasks of its own."""
        loose = LooseWork()
        now = self._clock.now()
        idle = list(self._runs.at(Residence.IDLE))
        in_line = [run for run in idle if run.ticket is not None]
        others = [run for run in idle if run.ticket is None]
        for run in [*others, *reversed(in_line)][:number]:
            if not is_due(run, now) and run.may_leave(loose):
                self._runs.move(run.uid, Residence.LEAVING)
                run.stop(Stop.LEAVE)


def is_due(run: LiveRun, now: int) -> bool:
    """True if a run that waits goes on in this moment, or ends."""
    timeout_at = run.state.timeout_at
    if timeout_at is not None and timeout_at <= now:
        return True
    if run.ticket is not None:
        return run.ticket.is_granted or run.held
    wake_at = run.state.wake_at
    return wake_at is not None and wake_at <= now
