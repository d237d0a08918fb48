"""Forgetting settled runs: which ones a caller selects, and the batches in which they go.

`SelectionOptions` are the keywords of `Runs.prune` that say which runs; `Selection` is the same as one checked value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS, Duration, parse_duration
from flujo.kernel.errors import InvalidNameError
from flujo.kernel.journal.state import FINAL, LIVE, RunStatus
from flujo.kernel.journal.summaries import RunSummary

from .backend import StateBackend
from .filters import check_limit, check_statuses, check_wanted, run_filter
from .records import RunFilter
from .retention import BATCH, created_before, settled_before, sparing_last

SETTLED_RUNS = (*FINAL, RunStatus.PAUSED)
"""The statuses of runs that can be pruned: a run that goes on, or ought to, stays."""

LISTED = 1000
"""How many runs the answer of a prune holds at most, however many went."""


class SelectionOptions(TypedDict, total=False):
    """Which settled runs; every part that is given must match, and at least one must be given."""

    older_than_seconds: Duration | None
    """That became final, or paused, at least so long ago."""

    statuses: Sequence[str]
    """In one of these, to which `paused` may belong; by default the final ones."""

    workflow: str | None
    """Of the workflow of this name."""

    labels: Mapping[str, str] | None
    """With all of these labels."""

    id_prefix: str | None
    """With an id that begins like this."""

    keep_last: int | None
    """Without the newest so many by creation of those that match otherwise, for each workflow, and without what was
    created in the same microsecond as the last of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The value of `SelectionOptions`, with the defaults of its parts.

    Raises InvalidNameError for a status that is not settled, a `keep_last` below 1 and when nothing says which runs,
    InvalidDurationError, InvalidValueError."""

    older_than_seconds: Duration | None = None
    statuses: Sequence[str] = ()
    workflow: str | None = None
    labels: Mapping[str, str] | None = None
    id_prefix: str | None = None
    keep_last: int | None = None

    def __post_init__(self) -> None:
        for status in check_statuses(self.statuses):
            if status not in SETTLED_RUNS:
                raise InvalidNameError("status to prune by", status, "completed, failed, cancelled or paused")
        if self.keep_last is not None and self.keep_last < 1:
            raise InvalidNameError("keep_last", self.keep_last, "how many to keep of each workflow, from 1")
        for name in ("workflow", "id_prefix"):
            check_wanted(name, getattr(self, name))
        if self.older_than_seconds is not None:
            object.__setattr__(self, "older_than_seconds", parse_duration(self.older_than_seconds))
        elif self.keep_last is None and not (self.statuses or self.workflow or self.labels or self.id_prefix):
            raise InvalidNameError("choice of runs", "", "give an age, a status or another part; an age of 0 means all")

    def filter(self, now: int) -> RunFilter:
        """Return the filter of the port that matches the selected runs at the instant `now`, `keep_last` aside."""
        wanted = run_filter(
            statuses=self.statuses, workflow=self.workflow, labels=self.labels, id_prefix=self.id_prefix
        )
        wanted = wanted._replace(statuses=tuple(dict.fromkeys(wanted.statuses)) or tuple(FINAL))
        if self.older_than_seconds is None:
            return wanted
        return wanted._replace(settled_before=settled_before(now, parse_duration(self.older_than_seconds)))


class PruneResult(NamedTuple):
    """What a prune has forgotten, or would forget."""

    runs: Sequence[RunSummary]
    """The runs that went, the longest settled first and every run before those it has started, 1000 at most; of a dry
    run, the first `limit` of those that would go."""

    total: int
    """How many went, or would go in all."""

    more: bool
    """Whether there may be more to forget: prune again."""

    kept_paused: int
    """How many paused runs of that age stay because `statuses` does not name `paused`."""

    kept_live: int
    """How many runs that were created that long ago stay because they go on, or ought to."""

    bytes: int
    """What their journals took in the store."""


class Pruner:
    """Forgets runs of one store. `remove_files` removes what runs that are gone have left beside it."""

    def __init__(
        self, backend: StateBackend, clock: Clock, remove_files: Callable[[Sequence[RunSummary]], Awaitable[None]]
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._remove_files = remove_files

    async def prune(
        self, selection: Selection, limit: int, time_budget_seconds: Duration | None, dry_run: bool
    ) -> PruneResult:
        """Forget the selected runs as `Runs.prune` says."""
        check_limit(limit)
        now = self._clock.now()
        until = None if time_budget_seconds is None else now + round(parse_duration(time_budget_seconds) * MICROSECONDS)
        wanted = selection.filter(now)
        filters: Sequence[RunFilter] = [wanted]
        if selection.keep_last is not None:
            filters = await sparing_last(self._backend, wanted, selection.keep_last, now)
        kept = await self._kept(wanted)
        if dry_run:
            return await self._preview(filters, min(limit, LISTED), kept)
        return await self._forget(filters, limit, until, kept)

    async def _kept(self, wanted: RunFilter) -> tuple[int, int]:
        """Count the paused and the live runs of the age of a prune that stay because of their status."""
        paused = 0
        if RunStatus.PAUSED not in wanted.statuses:
            paused = await self._backend.count(wanted._replace(statuses=(RunStatus.PAUSED,)))
        alive = wanted._replace(statuses=tuple(LIVE), settled_before=None)
        if wanted.settled_before is not None:
            alive = created_before(alive, wanted.settled_before)
        return paused, await self._backend.count(alive)

    async def _preview(self, filters: Iterable[RunFilter], listed: int, kept: tuple[int, int]) -> PruneResult:
        runs: list[RunSummary] = []
        total = size = 0
        for filter in filters:
            removal = await self._backend.prune(filter, limit=listed, dry_run=True)
            runs += removal.runs[: listed - len(runs)]
            total += removal.total
            size += removal.bytes
        return PruneResult(runs, total, total > len(runs), *kept, size)

    async def _forget(
        self, filters: Iterable[RunFilter], limit: int, until: int | None, kept: tuple[int, int]
    ) -> PruneResult:
        runs: list[RunSummary] = []
        total = size = 0
        for filter in filters:
            more = True
            while more:
                if total >= limit or (total and until is not None and self._clock.now() >= until):
                    return PruneResult(runs, total, True, *kept, size)
                removal = await self._backend.prune(filter, limit=min(BATCH, limit - total), dry_run=False)
                await self._remove_files(removal.runs)
                runs += removal.runs[: max(0, LISTED - len(runs))]
                total += removal.total
                size += removal.bytes
                more = removal.more
        return PruneResult(runs, total, False, *kept, size)
