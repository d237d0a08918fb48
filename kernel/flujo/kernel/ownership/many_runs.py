"""Ask the same of many runs: which ones a filter chooses, a page at a time, and what became of each.

    BulkOptions   the keywords of `Runs.cancel_runs` and its like; `Bulk` is the same as one checked value
    Range         the runs to which something can be done, and those to which it is done by default
    act_on_runs   do it
    NewRun        a run to be started together with others
    ManyRuns      the calls of a kernel that do; `HasManyRuns` are the same for whoever has them

What is refused to one run keeps none of the others from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, Unpack, cast

from anyio import create_task_group

from flujo.kernel.checked_calls import check_argument, checked
from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import CorruptStoreError, FlujoError, InvalidNameError, KernelClosedError, StoreError
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.forwarding import forwarded
from flujo.kernel.journal.state import LIVE, RunStatus
from flujo.kernel.journal.summaries import RunSummary
from flujo.kernel.keys import check_step_name
from flujo.kernel.store.asking import Asked, RequestOptions
from flujo.kernel.store.filters import RunQuery, check_limit, check_statuses, check_text, run_filter
from flujo.kernel.store.records import Page, RunFilter
from flujo.kernel.values import encode_given

from .starting import RunOptions, StartOptions

AT_ONCE = 50
"""How many runs are asked at the same time, so that their commits share a sync of the disk."""

MOST_STARTS = 1000
"""How many runs are started by one call."""

MOST_MICROSECONDS = 10 * MICROSECONDS
"""After how long a call for many runs begins with no further ones, and says that there are more."""


class BulkOptions(RunQuery, RequestOptions, total=False):
    """Which runs, as `Runs.list` takes it; who asks; and how many at a time."""

    limit: int
    """How many runs to act on before it returns, 100 by default."""

    page: str | None
    """Go on behind what an earlier call has acted on: its `next`."""

    dry_run: bool
    """Only look which runs there are to act on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)  # a half of what one takes to make
class Bulk:
    """The value of `BulkOptions`. Raises InvalidNameError, InvalidValueError, also if nothing says which runs."""

    wanted: RunQuery
    asked: RequestOptions
    limit: int = 100
    page: str | None = None
    dry_run: bool = False

    @classmethod
    def of(cls, **options: Unpack[BulkOptions]) -> Bulk:
        """Return the value of some keywords."""
        given: Mapping[str, Any] = options
        wanted = {name: given[name] for name in RunQuery.__annotations__ if given.get(name) is not None}
        if run_filter(**wanted) == RunFilter():
            raise InvalidNameError("choice of runs", "", "give a status, a workflow or another part of a filter")
        asked = {name: given[name] for name in RequestOptions.__annotations__ if name in given}
        Asked(**asked)
        return cls(
            wanted=cast(RunQuery, wanted),
            asked=cast(RequestOptions, asked),
            limit=check_limit(options.get("limit", 100)),
            page=check_text("page", options.get("page")) or None,
            dry_run=options.get("dry_run", False),
        )


class Range(NamedTuple):
    """The statuses in which runs can be acted on, those in which they are by default (None: all of them), and whether
    only those that no process runs."""

    statuses: Sequence[RunStatus]
    by_default: Sequence[RunStatus] | None = None
    only_unowned: bool = False

    def chosen(self, wanted: RunQuery) -> RunQuery:
        """Return a filter with its statuses; raises InvalidNameError for one in which nothing can be done."""
        given = check_statuses(wanted.get("statuses", ()))
        for status in given:
            if status not in self.statuses:
                raise InvalidNameError(
                    "run status", status, f"one of {', '.join(self.statuses)}: others stay as they are"
                )
        return RunQuery(**{**wanted, "statuses": tuple(given or self.by_default or self.statuses)})


CANCELLABLE = Range((*sorted(LIVE), RunStatus.PAUSED))
PAUSABLE = Range(tuple(sorted(LIVE)))
UNPAUSABLE = Range((RunStatus.PAUSED,))
SIGNALLABLE = Range((*sorted(LIVE), RunStatus.PAUSED), by_default=(RunStatus.WAITING,))
RESUMABLE = Range(tuple(RunStatus), by_default=(*sorted(LIVE), RunStatus.PAUSED, RunStatus.FAILED), only_unowned=True)


class RunActedOn(NamedTuple):
    """A run that was asked for something with others."""

    run_id: str
    uid: str
    status: str
    """How it stood before."""

    reason: str | None
    """Why it was refused: `reason` of the error that the call for one run raises; None if it was not."""

    message: str
    """The same, as a sentence; empty if it was not refused."""

    outcome: str | None = None
    """What became of it, as the call for one run says it (`CancelOutcome`, `PauseOutcome`, `Delivery`); None where that
    says nothing, or the run was refused or only looked at."""


class BulkResult(NamedTuple):
    """What became of many runs, the newest first."""

    runs: Sequence[RunActedOn]
    next: str | None
    """The `page` of a call for the rest of them; None if all that match were acted on."""


class _Listing(Protocol):
    """What finds the runs to act on."""

    async def list(self, *, limit: int, page: str | None, **wanted: Unpack[RunQuery]) -> Page: ...
    async def is_interrupted(self, summary: RunSummary) -> bool: ...


async def act_on_runs(
    listing: _Listing,
    range: Range,
    bulk: Bulk,
    act: Callable[[str], Awaitable[object]],
    is_time_up: Callable[[], bool] = lambda: False,
) -> BulkResult:
    """Do `act` to each run of a page and return what became of each; once the time is up, with those there were until
    then. Raises InvalidNameError, StoreError, KernelClosedError: of some runs it is not known then, and a repeat with
    the same request id asks each of them once."""
    chosen = range.chosen(bulk.wanted)
    done: list[RunActedOn] = []
    page = bulk.page
    while True:
        found = await listing.list(limit=min(AT_ONCE, bulk.limit - len(done)), page=page, **chosen)
        runs = [run for run in found.runs if not range.only_unowned or await _is_unowned(listing, run)]
        done += [_acted_on(run) for run in runs] if bulk.dry_run else await _act_on_each(runs, act)
        page = found.next
        if page is None or len(done) >= bulk.limit or is_time_up():
            return BulkResult(done, page)


async def _is_unowned(listing: _Listing, run: RunSummary) -> bool:
    return run.status not in LIVE or await listing.is_interrupted(run)


async def _act_on_each(runs: Sequence[RunSummary], act: Callable[[str], Awaitable[object]]) -> Sequence[RunActedOn]:
    outcomes: dict[str, object] = {}
    refusals: dict[str, FlujoError] = {}

    async def ask(run: RunSummary) -> None:
        try:
            outcomes[run.uid] = await act(run.run_id)
        except FlujoError as error:
            refusals[run.uid] = error

    async with create_task_group() as tasks:
        for run in runs:
            tasks.start_soon(ask, run)
    _require_store(refusals.values())
    return [_acted_on(run, outcomes.get(run.uid), refusals.get(run.uid)) for run in runs]


def _require_store(outcomes: Iterable[object]) -> None:
    """Raise an error that is about the store, and not about the run that met it."""
    for error in outcomes:
        if isinstance(error, (StoreError, KernelClosedError)) and not isinstance(error, CorruptStoreError):
            raise error


def _acted_on(run: RunSummary, outcome: object = None, error: FlujoError | None = None) -> RunActedOn:
    """Return a run as it stood, with what became of it, or was refused to it."""
    reason, message = (None, "") if error is None else (error.reason, error.message)
    word = str(outcome) if isinstance(outcome, StrEnum) else None
    return RunActedOn(run.run_id, run.uid, str(run.status), reason, message, word)


class _SingleRuns(_Listing, Protocol):
    """What asks a single run; `flujo.kernel.api.Runs` documents each call."""

    async def start(
        self, workflow: Workflow | str, inputs: Mapping[str, Any] | None = None, **options: Unpack[StartOptions]
    ) -> object: ...
    async def cancel(self, run_id: str, reason: str | None = None, **asked: Unpack[RequestOptions]) -> object: ...
    async def pause(self, run_id: str, reason: str | None = None, **asked: Unpack[RequestOptions]) -> object: ...
    async def unpause(self, run_id: str, **asked: Unpack[RequestOptions]) -> object: ...
    async def resume(self, run_id: str, **asked: Unpack[RequestOptions]) -> object: ...
    async def signal(self, run_id: str, name: str, payload: Any = None, **asked: Unpack[RequestOptions]) -> object: ...


class NewRun(NamedTuple):
    """A run to be started by `Runs.start_runs`: what `Runs.start` takes, with its keywords as `options`."""

    workflow: Workflow | str
    inputs: Mapping[str, Any] | None = None
    options: StartOptions = StartOptions()


def check_starts(starts: Sequence[NewRun]) -> Sequence[NewRun]:
    """Return the starts themselves; raises InvalidNameError for more than MOST_STARTS, and for options that there are
    not."""
    if len(starts) > MOST_STARTS:
        raise InvalidNameError("starts", len(starts), f"at most {MOST_STARTS} of them")
    known = (*RunOptions.__annotations__, *StartOptions.__annotations__)
    for each in starts:
        check_argument("options", Mapping[str, Any], each.options)
        for name in each.options:
            if name not in known:
                raise InvalidNameError("option of a start", name, f"one of {', '.join(dict.fromkeys(known))}")
    return starts


@checked
class ManyRuns:
    """Asks many runs by asking each of them."""

    def __init__(self, runs: _SingleRuns, clock: Clock, require_here: Callable[[], None]) -> None:
        """`require_here` raises WrongEventLoopError when called in another event loop than that of the runs."""
        self._runs = runs
        self._clock = clock
        self._ask_where = require_here

    def _require_here(self) -> None:
        self._ask_where()

    async def start_runs(self, starts: Sequence[NewRun]) -> Sequence[Any]:
        """See Runs.start_runs."""
        outcomes: list[Any] = [None for _ in check_starts(starts)]

        async def start(index: int, new: NewRun) -> None:
            try:
                outcomes[index] = await self._runs.start(new.workflow, new.inputs, **new.options)
            except FlujoError as error:
                outcomes[index] = error

        async with create_task_group() as tasks:  # what they record in the same tick is one commit
            for index, new in enumerate(starts):
                tasks.start_soon(start, index, new)
        _require_store(outcomes)
        return outcomes

    async def cancel_runs(self, reason: str | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """See Runs.cancel_runs."""
        bulk = Bulk.of(**options)
        return await self._act(CANCELLABLE, bulk, lambda id: self._runs.cancel(id, reason, **bulk.asked))

    async def pause_runs(self, reason: str | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """See Runs.pause_runs."""
        bulk = Bulk.of(**options)
        return await self._act(PAUSABLE, bulk, lambda id: self._runs.pause(id, reason, **bulk.asked))

    async def unpause_runs(self, **options: Unpack[BulkOptions]) -> BulkResult:
        """See Runs.unpause_runs."""
        bulk = Bulk.of(**options)
        return await self._act(UNPAUSABLE, bulk, lambda id: self._runs.unpause(id, **bulk.asked))

    async def resume_runs(self, **options: Unpack[BulkOptions]) -> BulkResult:
        """See Runs.resume_runs."""
        bulk = Bulk.of(**options)
        return await self._act(RESUMABLE, bulk, lambda id: self._runs.resume(id, **bulk.asked))

    async def signal_runs(self, name: str, payload: Any = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """See Runs.signal_runs."""
        bulk = Bulk.of(**options)
        check_step_name(name)
        encode_given("the payload", payload)  # what is wrong with it is wrong for every run
        return await self._act(SIGNALLABLE, bulk, lambda id: self._runs.signal(id, name, payload, **bulk.asked))

    async def _act(self, range: Range, bulk: Bulk, act: Callable[[str], Awaitable[object]]) -> BulkResult:
        until = self._clock.now() + MOST_MICROSECONDS
        return await act_on_runs(self._runs, range, bulk, act, lambda: self._clock.now() >= until)


class HasManyRuns:
    """The calls that whoever has many runs leaves to them. Their parameters stand in `ManyRuns` alone."""

    _many_runs: ManyRuns

    start_runs = forwarded("_many_runs", ManyRuns.start_runs)
    cancel_runs = forwarded("_many_runs", ManyRuns.cancel_runs)
    pause_runs = forwarded("_many_runs", ManyRuns.pause_runs)
    unpause_runs = forwarded("_many_runs", ManyRuns.unpause_runs)
    resume_runs = forwarded("_many_runs", ManyRuns.resume_runs)
    signal_runs = forwarded("_many_runs", ManyRuns.signal_runs)
