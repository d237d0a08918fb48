"""What of the past is kept: which runs a prune takes, and rules by which a kernel forgets old runs by itself.

    @workflow(retention=Retention(completed="30d", failed="90d", last=100))
    async def report(ctx: Context, day: str) -> int: ...

A workflow's own rule replaces that of the store (`Kernel(retention=…)`) for its runs. A kernel applies the rules of
the workflows it was opened with, and of no definition that somebody sends it later: whoever may start a run must not be
able to make others go.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from flujo.kernel.checked_calls import Count, declared_by
from flujo.kernel.clock import Clock, jumps_forward
from flujo.kernel.durations import MICROSECONDS, Duration, parse_duration
from flujo.kernel.errors import DeclarationError, FlujoError, RunNotFoundError
from flujo.kernel.journal.state import FINAL, RunStatus
from flujo.kernel.journal.summaries import RunSummary, is_child

from .backend import StateBackend
from .records import RunFilter

logger = logging.getLogger("flujo.kernel")

BATCH = 500
"""How many runs are removed before anybody looks at the clock, or at what else there is to do."""

PAUSE = 1 * MICROSECONDS
"""Between two batches of a kernel that has more to forget: whatever it runs goes first."""

INTERVAL = 300 * MICROSECONDS
"""How often a kernel that has nothing to forget looks again."""

_PAGE = 500


@declared_by
@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long the runs of a workflow are kept once they have ended, by how they did; durations are seconds or texts
    like `30d`.

    A run goes, with the runs it has started, once it ended as long ago as its status allows. A status without a
    duration is kept for ever. The `last` runs of a workflow stay in any case: the newest by creation of those that have
    ended, whatever their status, not counting runs that others have started. `last` alone keeps these and nothing else.
    Runs that go on, wait or are paused never go.

    Raises DeclarationError for a rule that says nothing and a `last` below 1, InvalidDurationError."""

    completed: Duration | None = None
    failed: Duration | None = None
    cancelled: Duration | None = None
    last: Count | None = None

    def __post_init__(self) -> None:
        given = {status.value: getattr(self, status.value) for status in _BY_STATUS}
        for name, duration in given.items():
            object.__setattr__(self, name, None if duration is None else parse_duration(duration))
        if self.last is None and all(duration is None for duration in given.values()):
            raise DeclarationError("a retention that says nothing keeps everything", [_EXAMPLE, "leave it out"])

    @classmethod
    def parse(cls, text: str) -> Retention:
        """Return the rule in `completed=30d,failed=90d,last=100`. Raises DeclarationError, InvalidDurationError."""
        given: dict[str, str] = {}
        for part in text.split(","):
            name, separator, value = (each.strip() for each in part.partition("="))
            if name not in KEYS or not separator:
                raise DeclarationError(f"{part.strip()!r} is not one of {', '.join(KEYS)} with =VALUE", [_EXAMPLE])
            if name in given:
                raise DeclarationError(f"{name!r} is given twice")
            given[name] = value
        last = given.pop("last", None)
        if last is not None and not last.isdecimal():
            raise DeclarationError(f"last must be a whole number from 1, not {last!r}")
        return cls(last=None if last is None else int(last), **given)

    @property
    def seconds(self) -> Mapping[RunStatus, float]:
        """Return how long a run is kept after its end, by the status in which it ended."""
        given = {status: getattr(self, status.value) for status in _BY_STATUS}
        if all(duration is None for duration in given.values()):
            return dict.fromkeys(_BY_STATUS, 0.0)
        return {status: duration for status, duration in given.items() if duration is not None}


_BY_STATUS = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
KEYS = (*(status.value for status in _BY_STATUS), "last")
_EXAMPLE = "completed=30d,failed=90d,last=100"


# -- which runs go ----------------------------------------------------------------------------------------------------


def settled_before(now: int, seconds: float) -> int:
    """Return the end of the range of what settled at least so many seconds ago, which an age of 0 makes everything."""
    return now - round(seconds * MICROSECONDS) + 1


async def sparing_last(backend: StateBackend, filter: RunFilter, keep_last: int, now: int) -> Sequence[RunFilter]:
    """Return the same filter without the newest `keep_last` of the runs of each workflow that it matches: one filter
    for each workflow of which anything is left."""
    workflows = [filter.workflow] if filter.workflow is not None else await _workflows(backend, now)
    filters: list[RunFilter] = []
    for workflow in workflows:
        chosen = filter._replace(workflow=workflow)
        spared = await _newest_roots(backend, chosen, keep_last)
        if len(spared) == keep_last:
            filters.append(created_before(chosen, spared[-1].created_at))
    return filters


def created_before(filter: RunFilter, instant: int) -> RunFilter:
    """Return the same filter without what was created at this instant or later."""
    end = instant if filter.created_before is None else min(instant, filter.created_before)
    return filter._replace(created_before=end)


async def _workflows(backend: StateBackend, now: int) -> Sequence[str]:
    """Return all workflows that have runs in the store."""
    return [each.workflow for each in await backend.stats(now)]


async def _newest_roots(backend: StateBackend, filter: RunFilter, number: int) -> Sequence[RunSummary]:
    """Return the newest runs that match, as many at most, without those that others have started: they go with
    these."""
    roots: list[RunSummary] = []
    page: str | None = None
    while True:
        found = await backend.list(filter, limit=min(number, _PAGE), page=page)
        for run in found.runs:
            if not await _has_parent(backend, run):
                roots.append(run)
            if len(roots) == number:
                return roots
        if (page := found.next) is None:
            return roots


async def _has_parent(backend: StateBackend, run: RunSummary) -> bool:
    if run.parent_run_id is None:
        return False
    try:
        parent = await backend.load(run.parent_run_id)
    except RunNotFoundError:
        return False
    return is_child(run, parent.run_id, parent.created_at)


async def expired(backend: StateBackend, workflow: str, rule: Retention, now: int) -> Sequence[RunFilter]:
    """Return the filters that together match the runs of a workflow which its rule lets go."""
    ended = [RunFilter(statuses=tuple(FINAL), workflow=workflow)]
    if rule.last is not None:
        ended = list(await sparing_last(backend, ended[0], rule.last, now))
    return [
        filter._replace(statuses=(status,), settled_before=settled_before(now, seconds))
        for filter in ended
        for status, seconds in rule.seconds.items()
    ]


# -- forgetting in the background ------------------------------------------------------------------------------------


class Sweeper:
    """Applies rules to a store: those in `own`, by workflow, and `rest` to all other workflows. `forget_files` removes
    what runs that are gone have left beside the store."""

    def __init__(
        self,
        backend: StateBackend,
        clock: Clock,
        own: Mapping[str, Retention],
        rest: Retention | None,
        forget_files: Callable[[Sequence[RunSummary]], Awaitable[None]],
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._own = own
        self._rest = rest
        self._forget_files = forget_files

    @property
    def has_rules(self) -> bool:
        """True if there is anything to apply."""
        return bool(self._own) or self._rest is not None

    async def serve(self) -> None:
        """Forget what may go, now and every few minutes, until cancelled. What goes wrong is logged and tried again
        the next time: no run depends on it.

        A clock that was set forward makes every run old. So the look after a jump forgets nothing; by the next one the
        clock may have been put right (docs/operations.md)."""
        jumps = jumps_forward(self._clock)
        while True:
            if (seen := jumps_forward(self._clock)) == jumps:
                await self._forget_all(self._clock.now())
            else:
                jumps = seen
                logger.warning("old runs are not forgotten before the next look, since the clock was set forward")
            await self._clock.sleep_until(self._clock.now() + INTERVAL)

    async def _forget_all(self, now: int) -> None:
        """Apply every rule as of the instant `now`."""
        with _logged():
            for workflow, rule in await self._rules():
                await self._forget(workflow, rule, now)

    async def _forget(self, workflow: str, rule: Retention, now: int) -> None:
        """Forget all runs of a workflow that may go, a batch at a time; one that has begun is completed before anything
        is cancelled."""
        more = True
        with _logged():
            while more:
                # A process that only lives for one short run would otherwise never come to the end of its first batch.
                with anyio.CancelScope(shield=True):
                    more = await self._forget_batch(workflow, rule, now)
                if more:
                    await self._clock.sleep_until(self._clock.now() + PAUSE)

    async def _forget_batch(self, workflow: str, rule: Retention, now: int) -> bool:
        """True if there may be more."""
        room = BATCH
        for filter in await expired(self._backend, workflow, rule, now):
            removal = await self._backend.prune(filter, limit=room, dry_run=False)
            await self._forget_files(removal.runs)
            if removal.total:
                logger.info("%d old runs of %s are forgotten", removal.total, workflow)
            room -= removal.total
            if room <= 0:
                return True
        return False

    async def _rules(self) -> Sequence[tuple[str, Retention]]:
        rules = list(self._own.items())
        if (rest := self._rest) is not None:
            stored = await _workflows(self._backend, self._clock.now())
            rules += [(workflow, rest) for workflow in stored if workflow not in self._own]
        return rules


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except FlujoError as error:
        logger.warning("old runs are not forgotten: %s", error)
    except Exception:
        logger.exception("old runs are not forgotten")
