"""Which runs may begin: with `max_runs`, a run that finds as many at work waits in the store until one of them ends or
waits."""

from __future__ import annotations

from flujo.kernel.journal.state import RunStatus

from .live_runs import LiveRuns, Residence
from .recalls import Recalls


class Admission:
    """The queue of the runs of one kernel, first come, first served. `max_runs` of None admits every run."""

    def __init__(self, runs: LiveRuns, recalls: Recalls, max_runs: int | None) -> None:
        self._runs = runs
        self._recalls = recalls
        self._max_runs = max_runs

    @property
    def is_full(self) -> bool:
        """True if as many runs as `max_runs` are at work. A run that waits is not at work: what it waits for may be a
        child in the queue, or, for one that has not begun, an earlier run of its workflow there."""
        if self._max_runs is None:
            return False
        return self._at_work() >= self._max_runs

    @property
    def room(self) -> int | None:
        """Return how many runs more may begin; None for as many as there are."""
        if self._max_runs is None:
            return None
        waiting = self._runs.count(Residence.QUEUED)
        return max(0, self._max_runs - self._at_work() - waiting)

    def _at_work(self) -> int:
        at_work = sum(run.state.status is not RunStatus.WAITING and not run.is_in_line for run in self._runs)
        return at_work + self._runs.count(Residence.PARKED) + self._runs.count(Residence.STARTING)

    def call_next(self) -> None:
        """Start the first runs in the queue, as many as there is room for."""
        if self._max_runs is None:
            return  # nothing is ever queued; and this is asked after every commit
        while (uid := self._runs.first(Residence.QUEUED)) is not None and not self.is_full:
            self._runs.move(uid, Residence.STARTING)
            self._recalls.ask(self._runs.run_id_of(uid))
