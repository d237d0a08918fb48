"""Reading a store, and leaving requests in it for whoever runs its runs. Needs no kernel and never becomes an owner."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Unpack

import anyio

from .api import result_of
from .checked_calls import checked
from .clock import Clock, SystemClock
from .durations import MICROSECONDS, Duration, parse_duration
from .errors import (
    CorruptStoreError,
    CursorError,
    RunFinishedError,
    RunInterrupted,
    RunNotFoundError,
    RunReplacedError,
    UnknownEventError,
)
from .execution.programs import Workflow
from .forwarding import forwarded
from .journal import events
from .journal.events import Event, SignalReceived
from .journal.explanation import Explanation, explain
from .journal.state import FINAL, LIVE, RunStatus, StepStatus, WorkflowState
from .journal.statistics import (
    Statistics,
    WorkflowStatistics,
    median,
    sample,
    sampled_runs,
    step_durations,
    workflow_statistics,
)
from .journal.summaries import RunSummary, WorkflowStats, summarize
from .keys import check_step_name
from .loops import in_thread
from .outcomes import Delivery
from .ownership.resting import RestReader
from .ownership.workflow_registry import WorkflowRegistry, needs_definition
from .principals import principal
from .store.asking import Asked, RequestOptions
from .store.backend import StateBackend
from .store.deletion import Deletion
from .store.filters import RunQuery, check_after_seq, check_limit, check_wanted
from .store.following import Followed, Following, RunChooser, RunEvent, WatchQuery, check_types
from .store.listing import RunLists
from .store.overlaps import ahead_of
from .store.pruning import Pruner, PruneResult, Selection, SelectionOptions
from .store.reading import outlived_by, post, read_request, read_state, recorded
from .store.records import Order, Page, Posted, RunFilter, StoredDefinition
from .store.run_logs import LogChoice, LogOptions, LogPart, log_of, read_log
from .store.slot_waits import slot_waits_of
from .store.watching import WATCH_EVENTS as WATCH_EVENTS
from .store.watching import StoredEvent as StoredEvent
from .store.watching import Watched as Watched
from .store.watching import Watching
from .store.workspaces import Workspaces
from .values import encode_given

EARLIER_RUNS = 20
"""How many completed runs of a workflow tell how long the next one will take."""
POLL_MICROS = MICROSECONDS // 5

TAKEOVER_LEASES = 3
"""Where kernels are on several hosts, one of them takes over what another one has left, or has not taken yet, within so
many leases."""

DELETED = "it is to be deleted"
"""The reason of the cancel that precedes a forced delete."""


class LocalRuns(Protocol):
    """What a kernel alone knows of the runs it owns."""

    def require_here(self) -> None:
        """Raise WrongEventLoopError when called in another event loop than that of the kernel."""
        ...

    def change(self, uid: str) -> Callable[[], Awaitable[None]] | None:
        """Return something to await until a run has committed something or ended; None for a run not owned here."""
        ...

    def any_change(self) -> anyio.Event | None:
        """Return what is set when any run owned here has committed something, another one after that; None if nothing
        is owned here."""
        ...

    def raise_if_unrecoverable(self, summary: RunSummary) -> None:
        """Raise what keeps a run from ever going on, if that is known."""
        ...

    def has_ended(self, summary: RunSummary) -> bool:
        """True if a run that was owned here when it was looked at is not held any more."""
        ...

    def takeover(self, summary: RunSummary) -> Callable[[], Awaitable[None]] | None:
        """Return something to await while a run that had no live owner is taken over here; None if it is not."""
        ...

    async def settled(self, run_id: str) -> WorkflowState | None:
        """Return the state of a run in memory once it has settled, to be read only; None for any other run."""
        ...


class NoLocalRuns:
    """What an observer without a kernel knows: the store tells everything."""

    def require_here(self) -> None:
        """Raise nothing."""

    def change(self, uid: str) -> None:
        """Return None: no run is owned here."""

    def any_change(self) -> None:
        """Return None: no run is owned here."""

    def raise_if_unrecoverable(self, summary: RunSummary) -> None:
        """Raise nothing."""

    def has_ended(self, summary: RunSummary) -> bool:
        """Return False: no run was owned here."""
        return False

    def takeover(self, summary: RunSummary) -> None:
        """Return None: no run is taken over here."""

    async def settled(self, run_id: str) -> None:
        """Return None: no run is in memory."""


@checked
class Observer:
    """Inspect, list and watch the runs of a store, send them signals, and forget them.

    With `workspaces`, what flujo made there for a run goes with the run. `load_definition` rebuilds a workflow from a
    stored text: `explain` tells of a run for which that cannot be done here. A kernel tells its observer by `local`
    what it alone knows of its own runs.
    """

    def __init__(
        self,
        backend: StateBackend,
        *,
        workspaces: Path | None = None,
        clock: Clock | None = None,
        local: LocalRuns | None = None,
        load_definition: Callable[[StoredDefinition], Workflow] | None = None,
    ) -> None:
        self.backend = backend
        self.workspaces = workspaces
        self._files = Workspaces(workspaces, backend)
        self._lists = RunLists(backend)
        self.clock: Clock = clock or SystemClock()
        self._local = local or NoLocalRuns()
        self._rests = RestReader(backend, self.clock, self.inspect)
        self._registry = WorkflowRegistry((), load_definition)
        self._watching = Watching(backend, self._change, self._local.any_change, self._local.raise_if_unrecoverable)
        self._following = Following(backend, self.clock, self._local.any_change)

    def _require_here(self) -> None:
        self._local.require_here()

    @property
    def url(self) -> str:
        """Return the URL of the store."""
        return self.backend.url

    # -- reading ------------------------------------------------------------------------------------------------

    async def inspect(self, run_id: str) -> WorkflowState:
        """Everything recorded of a run, folded; raises RunNotFoundError.

        Steps whose owner died, or left, are marked `interrupted`.
        """
        _, state = await self.look(run_id)
        return state

    async def look(self, run_id: str) -> tuple[RunSummary, WorkflowState]:
        """Return how a run stands and everything recorded of it, both of one moment; raises RunNotFoundError."""
        found = await self.backend.load(run_id)
        state = await read_state(self.backend, found)
        # Of the state, which may have gone on meanwhile: a summary read anew might always be of another moment.
        summary = summarize(state, found.owner, found.token)
        state.unowned = await self.is_interrupted(summary)
        if state.unowned:
            for step in state.open_steps():
                step.interrupted = step.status is StepStatus.RUNNING
        if state.status in LIVE:
            state.usual_seconds = await self._usual_seconds(state.workflow)
        return summary, state

    async def _usual_seconds(self, workflow: str) -> float | None:
        """Return how long a run of a workflow takes, by the last ones that completed; None before one has."""
        wanted = RunFilter(statuses=(RunStatus.COMPLETED,), workflow=workflow)
        done = await self.backend.list(wanted, limit=EARLIER_RUNS)
        took = [run.finished_at - run.started_at for run in done.runs if run.finished_at and run.started_at]
        return median(sorted(took)) / MICROSECONDS if took else None

    async def summary(self, run_id: str) -> RunSummary:
        """Return how a run stands, without its journal; raises RunNotFoundError."""
        return await self.backend.load(run_id)

    async def explain(self, run_id: str) -> Explanation:
        """Why the run does not go on by itself, or what it is doing, and what to type; raises RunNotFoundError."""
        state, untaken = await self.inspect_with_untaken(run_id)
        obstacle = None
        if needs_definition(state) and self._registry.load is not None:
            obstacle = await self._registry.obstacle(state, self.backend)
        ahead = await ahead_of(self.backend, state)
        told = None if ahead is None else (ahead.summary.run_id, ahead.status)
        explanation = explain(
            state,
            self.clock.now(),
            obstacle=obstacle,
            untaken=untaken,
            ahead=told,
            outlived=await outlived_by(self.backend, state),
            slot_waits=await slot_waits_of(self.backend, state),
        )
        return explanation._replace(rest=await self._rests.rest(run_id))

    async def read_log(self, run_id: str, **wanted: Unpack[LogOptions]) -> LogPart:
        """See StoredRuns.read_log."""
        choice = LogChoice.of(**wanted)
        state = await self.inspect(run_id)
        return await in_thread(partial(read_log, state, log_of(state, choice), choice))

    async def inspect_with_untaken(self, run_id: str) -> tuple[WorkflowState, Sequence[str]]:
        """Return a run with the names of the signals that no wait of it can take before a resume: those that a run that
        has ended has left, and those in the inbox of one that has ended, is paused, or is run by no process."""
        # The inbox first: what its owner records meanwhile is in the one or the other.
        summary = await self.backend.load(run_id)
        posts: Sequence[Posted] = []
        with suppress(RunNotFoundError, RunReplacedError):
            posts = await self.backend.requests(run_id, summary.uid)
        state = await self.inspect(run_id)
        if (state.status in LIVE and not state.unowned) or state.uid != summary.uid:
            return state, []
        names = [name for name, left in state.signals.items() if left and state.is_final]
        names += [fact.name for each in posts if isinstance(fact := read_request(each.request), SignalReceived)]
        return state, list(dict.fromkeys(names))

    async def is_interrupted(self, summary: RunSummary) -> bool:
        """True for an unfinished run without a live owner."""
        return await self._lists.is_interrupted(summary)

    async def list(
        self, *, order: str = Order.CREATED, limit: int = 50, page: str | None = None, **wanted: Unpack[RunQuery]
    ) -> Page:
        """Return one page of the runs that match, newest first by `order`: `created`, or `updated`, by which a run that
        moves meanwhile may be on two pages or on none.

        Raises InvalidNameError for a `page` of another filter or order, a status or order that does not exist, what is
        no instant and a limit below 1, InvalidValueError for a label that is no text."""
        return await self._lists.list(order=order, limit=limit, page=page, **wanted)

    async def count(self, **wanted: Unpack[RunQuery]) -> int:
        """Return how many runs match. Raises as `list`."""
        return await self._lists.count(**wanted)

    async def stats(self, *, window_seconds: Duration = 86400.0, workflow: str | None = None) -> Statistics:
        """Return what the runs of each workflow add up to, or those of one: all that are stored, and those that were
        created and ended in the window, which ends now.

        The slowest steps are told by a sample, the runs that completed last. Raises InvalidDurationError."""
        until = self.clock.now()
        since = until - round(parse_duration(window_seconds) * MICROSECONDS)
        found = await self.backend.stats(since, workflow=check_wanted("workflow", workflow))
        limit = sampled_runs(len(found))
        return Statistics(since, until, [await self._statistics(stats, since, limit) for stats in found])

    async def _statistics(self, stats: WorkflowStats, since: int, limit: int) -> WorkflowStatistics:
        if not stats.ended.get(RunStatus.COMPLETED):
            return workflow_statistics(stats, [], 0)
        wanted = RunFilter(statuses=(RunStatus.COMPLETED,), workflow=stats.workflow, finished_from=since)
        completed = await self.backend.list(wanted, order=Order.UPDATED, limit=limit)
        states: list[WorkflowState] = []
        for run in sample(completed.runs):
            with suppress(RunNotFoundError, RunReplacedError, CorruptStoreError, UnknownEventError):
                states.append(await read_state(self.backend, run))
        return workflow_statistics(stats, step_durations(states), len(states))

    async def events(
        self, run_id: str, after_seq: int = 0, *, limit: int = 500, uid: str | None = None
    ) -> Sequence[Event]:
        """Return up to `limit` stored events after `after_seq`; raises RunNotFoundError, RunReplacedError,
        CursorError."""
        check_limit(limit)
        check_after_seq(after_seq)
        summary = await self.backend.load(run_id)
        if uid is not None and summary.uid != uid:
            raise RunReplacedError(run_id)
        if after_seq > summary.seq:
            raise CursorError(run_id, after_seq, summary.seq)
        rows = await self.backend.read_events(run_id, summary.uid, after_seq, limit)
        return [events.decode(row) for row in rows]

    async def watch(self, run_id: str, after_seq: int = 0, *, uid: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield the events of a run after `after_seq`, stored ones first and then as they are committed, each once and
        in order.

        Ends when everything is delivered and the run is final at that moment. With `uid`, only of that life of the run.
        Close it (`aclose`, or `contextlib.aclosing`) when you leave early. Raises RunNotFoundError, CursorError,
        RunDeletedError, RunReplacedError, and StoreError when the store has failed the kernel that ran the run."""
        async with aclosing(self.watch_batches(run_id, after_seq, uid=uid)) as batches:
            async for batch in batches:
                for event in batch.events:
                    yield event

    async def watch_batches(
        self, run_id: str, after_seq: int = 0, *, uid: str | None = None, idle_seconds: float | None = None
    ) -> AsyncGenerator[Watched, None]:
        """Yield the same in batches of up to 64 events, with an empty one whenever nothing has happened for
        `idle_seconds`. The first one brings the run as it stands, the last one the run as it ended."""
        self._require_here()
        check_after_seq(after_seq)
        async with aclosing(self._watching.watch(run_id, after_seq, uid, idle_seconds)) as pieces:
            async for piece in pieces:
                yield piece
                del piece  # nothing is held while nobody reads

    async def watch_runs(
        self,
        cursor: str | None = None,
        *,
        from_now: bool = False,
        types: Sequence[str] = (),
        **wanted: Unpack[WatchQuery],
    ) -> AsyncGenerator[RunEvent, None]:
        """See StoredRuns.watch_runs."""
        async with aclosing(self.watch_runs_batches(cursor, from_now=from_now, types=types, **wanted)) as pieces:
            async for piece in pieces:
                for event in piece.events:
                    yield event

    async def watch_runs_batches(
        self,
        cursor: str | None = None,
        *,
        from_now: bool = False,
        types: Sequence[str] = (),
        idle_seconds: float | None = None,
        **wanted: Unpack[WatchQuery],
    ) -> AsyncGenerator[Followed, None]:
        """Yield the same in batches of up to 64 events, and an empty one whenever nothing has happened for
        `idle_seconds`. The first one is empty, and brings the cursor behind which the watch begins."""
        self._require_here()
        chosen, kinds = RunChooser.of(**wanted), check_types(types)
        begin = await self._following.begin(cursor, from_now=from_now)
        yield Followed((), str(begin))
        async with aclosing(self._following.follow(begin, chosen, kinds, idle_seconds)) as pieces:
            while True:
                yield await anext(pieces)  # it has no end; in no variable, so that nothing is held while nobody reads

    async def wait(self, run_id: str) -> WorkflowState:
        """Return the run once it is final or paused; raises RunInterrupted when it has no live owner and none here."""
        settled = await self._local.settled(run_id)
        return await self._wait(run_id) if settled is None else deepcopy(settled)

    async def _wait(self, run_id: str) -> WorkflowState:
        taken_until: int | None = None
        while True:
            summary = await self.backend.load(run_id)
            changed = self._change(summary.uid)
            if summary.status in FINAL or summary.status == RunStatus.PAUSED:
                return await self.inspect(run_id)
            if await self._is_abandoned(summary):
                if (taken_over := self._local.takeover(summary)) is not None:
                    await taken_over()
                    continue
                taken_until = taken_until or self.clock.now() + self._takeover_micros()
                if self.clock.now() >= taken_until:
                    raise RunInterrupted(run_id)
            else:
                taken_until = None
            await changed()

    async def result(self, run_id: str) -> Any:
        """Return the output of a run once it completed; raises RunFailed, RunCancelled, RunPaused or RunInterrupted."""
        settled = await self._local.settled(run_id)
        return result_of(await self._wait(run_id) if settled is None else settled)

    # -- asking -------------------------------------------------------------------------------------------------

    async def signal(self, run_id: str, name: str, payload: Any = None, **asked: Unpack[RequestOptions]) -> Delivery:
        """Send a signal to a run, durable on return; raises RunNotFoundError, or RunFinishedError for a final run.

        With a `request_id` the run takes it once, however often it is sent. Raises InvalidNameError, InvalidValueError
        and PayloadTooLargeError for what is not well formed, RequestReusedError."""
        told = Asked(**asked)
        request = told.fingerprint("signal", name=check_step_name(name), payload=payload)
        fact = events.SignalReceived(name, encode_given("the payload", payload), told.by, request, principal())
        if await recorded(self.backend, run_id, request) is not None:
            return Delivery.RECORDED
        summary = await post(self.backend, run_id, fact, self.clock.now())
        has_owner = summary.owner is not None and await self.backend.is_alive(summary.owner)
        return Delivery.POSTED if has_owner else Delivery.STORED

    async def delete(self, run_id: str, *, force: bool = False, uid: str | None = None) -> None:
        """Forget a run with its children, and the workspaces flujo made for them.

        While a live process runs one of them this raises RunActiveError and nothing goes; with `force` they are
        cancelled first. With `uid`, only that life of the run. Raises RunNotFoundError, RunReplacedError.
        """
        await Deletion(self.backend, self._files, self._stop).delete(run_id, force=force, uid=uid)

    async def _stop(self, run_id: str) -> None:
        with suppress(RunFinishedError, RunInterrupted):
            await post(self.backend, run_id, events.CancelRequested(DELETED), self.clock.now())
            await self.wait(run_id)

    async def prune(
        self,
        *,
        limit: int = 500,
        time_budget_seconds: Duration | None = None,
        dry_run: bool = False,
        **selection: Unpack[SelectionOptions],
    ) -> PruneResult:
        """See Runs.prune."""
        pruner = Pruner(self.backend, self.clock, self._files.remove)
        return await pruner.prune(Selection(**selection), limit, time_budget_seconds, dry_run)

    # -- runs of this process and of others ---------------------------------------------------------------------

    def _change(self, uid: str) -> Callable[[], Awaitable[None]]:
        """Return something to await until the run may have changed. Runs of other processes are looked at again and
        again."""
        if (change := self._local.change(uid)) is not None:
            return change
        return partial(self.clock.sleep_until, self.clock.now() + POLL_MICROS)

    def _takeover_micros(self) -> int:
        """Return for how long a run without a live owner may still be taken by another kernel."""
        can = self.backend.capabilities
        return (
            round(TAKEOVER_LEASES * can.lease_seconds * MICROSECONDS) if can.several_hosts and can.lease_seconds else 0
        )

    async def _is_abandoned(self, summary: RunSummary) -> bool:
        self._local.raise_if_unrecoverable(summary)
        if self._local.has_ended(summary):
            # Ended between the two looks: the next look sees how.
            return (await self.backend.load(summary.run_id)).owner == summary.owner
        return await self.is_interrupted(summary)


class Observed:
    """The calls that whoever has an observer leaves to it. Their parameters stand in `Observer` alone."""

    _observer: Observer

    inspect = forwarded("_observer", Observer.inspect)
    look = forwarded("_observer", Observer.look)
    summary = forwarded("_observer", Observer.summary)
    read_log = forwarded("_observer", Observer.read_log)
    is_interrupted = forwarded("_observer", Observer.is_interrupted)
    count = forwarded("_observer", Observer.count)
    stats = forwarded("_observer", Observer.stats)
    events = forwarded("_observer", Observer.events)
    watch = forwarded("_observer", Observer.watch)
    watch_batches = forwarded("_observer", Observer.watch_batches)
    watch_runs = forwarded("_observer", Observer.watch_runs)
    watch_runs_batches = forwarded("_observer", Observer.watch_runs_batches)
    wait = forwarded("_observer", Observer.wait)
    result = forwarded("_observer", Observer.result)
    list = forwarded("_observer", Observer.list)
    prune = forwarded("_observer", Observer.prune)
