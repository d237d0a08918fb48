"""What can be done with runs, whoever holds them: `Runs` is kept by `Kernel`, in this process, and by
`flujo.client.Client`, over gRPC. Code written against it does not care which of the two it was given.

    async def nightly(runs: Runs) -> None:
        handle = await runs.start("report", {"day": "2026-11-22"}, run_id="report-2026-11-22")
        print(await handle.result())

Both raise the same errors (`flujo.kernel.errors`) for the same causes; a client adds ServerUnreachableError,
ServerFailedError and CallTimeoutError. One suite of tests runs against both.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, Unpack, overload

from .checked_calls import checked
from .durations import Duration
from .errors import (
    Difference,
    FlujoError,
    InvalidNameError,
    RunCancelled,
    RunFailed,
    RunPaused,
    StateIncompatibilityError,
)
from .execution.programs import Result_co, Workflow
from .journal.events import Event
from .journal.explanation import Explanation, Reason, Why, explain, failed_besides, ways_to_resume
from .journal.fold import fold
from .journal.requests import check_request_id
from .journal.rest import Rest
from .journal.state import RunStatus, WorkflowState
from .journal.statistics import Statistics, StepDurations, WorkflowStatistics
from .journal.summaries import RunSummary
from .keys import check_variable_name
from .outcomes import CancelOutcome, Delivery, PauseOutcome, PutOutcome
from .ownership.many_runs import (
    CANCELLABLE,
    PAUSABLE,
    RESUMABLE,
    SIGNALLABLE,
    UNPAUSABLE,
    Bulk,
    BulkOptions,
    BulkResult,
    NewRun,
    RunActedOn,
    check_starts,
)
from .ownership.resumption import ResumeOptions, Resumption
from .ownership.starting import Fork, ForkOptions, Inputs, RunOptions, Start, StartOptions
from .store.asking import Asked, ReasonedOptions, RequestOptions
from .store.filters import RunQuery
from .store.following import Cursor, Followed, RunEvent, WatchQuery, check_types
from .store.pruning import LISTED, SETTLED_RUNS, PruneResult, Selection, SelectionOptions
from .store.reading import READ_EVENTS
from .store.records import Order, Page
from .store.run_logs import LogChoice, LogLine, LogOptions, LogPart
from .values import MAX_INPUT_BYTES, encode, encode_given

R = TypeVar("R")

__all__ = [
    "CANCELLABLE",
    "LISTED",
    "MAX_INPUT_BYTES",
    "PAUSABLE",
    "RESUMABLE",
    "SETTLED_RUNS",
    "SIGNALLABLE",
    "UNPAUSABLE",
    "Asked",
    "Bulk",
    "BulkOptions",
    "BulkResult",
    "CancelOutcome",
    "Cursor",
    "Delivery",
    "Difference",
    "Event",
    "Explanation",
    "Followed",
    "Fork",
    "ForkOptions",
    "LogChoice",
    "LogLine",
    "LogOptions",
    "LogPart",
    "NewRun",
    "PauseOutcome",
    "PruneResult",
    "PutOutcome",
    "Reason",
    "ReasonedOptions",
    "RequestOptions",
    "Rest",
    "ResumeOptions",
    "Resumption",
    "RunActedOn",
    "RunEvent",
    "RunHandle",
    "RunOptions",
    "Runs",
    "Selection",
    "SelectionOptions",
    "Start",
    "StartOptions",
    "Statistics",
    "StepDurations",
    "StoredRuns",
    "WatchQuery",
    "Why",
    "WorkflowStatistics",
    "check_request_id",
    "check_starts",
    "check_types",
    "check_variable_name",
    "encode_given",
    "failed_besides",
    "result_of",
    "state_as_of",
    "ways_to_resume",
]


class StoredRuns(Protocol):
    """What can be done with runs without running any: look at them, follow them, send them signals, forget them.

    Every call may raise StoreError or KernelClosedError. `Observer` keeps this much on a store alone."""

    @property
    def url(self) -> str:
        """Return how messages name the place: a store's URL, or the address of a server."""
        ...

    async def inspect(self, run_id: str) -> WorkflowState:
        """Everything recorded of a run; raises RunNotFoundError."""
        ...

    async def summary(self, run_id: str) -> RunSummary:
        """Return how a run stands, without its journal; raises RunNotFoundError."""
        ...

    async def explain(self, run_id: str) -> Explanation:
        """Why the run does not go on by itself, or what it is doing, and what to type; raises RunNotFoundError.

        `rest` is what the run waits for if nothing of it or of its children can happen before, and None if something
        can: a body runs, a timer is due, a signal waits to be taken. A run that no process runs rests."""
        ...

    async def read_log(self, run_id: str, **wanted: Unpack[LogOptions]) -> LogPart:
        """Return what the steps of a run of a definition have printed so far, whole lines only. To follow it, call
        again with its `next_offset` as `offset` and its `uid`, until the run is final.

        Raises RunNotFoundError, RunReplacedError, StepNotFoundError for a step that has not begun, NoLogError for a run
        that keeps no log, InvalidNameError for an `offset` that no answer has named."""
        ...

    async def is_interrupted(self, summary: RunSummary) -> bool:
        """True for an unfinished run that no live process runs."""
        ...

    async def list(
        self, *, order: str = Order.CREATED, limit: int = 50, page: str | None = None, **wanted: Unpack[RunQuery]
    ) -> Page:
        """Return one page of the runs that match, newest first by `order`: `created`, or `updated`, by which a run that
        moves meanwhile may be on two pages or on none.

        Raises InvalidNameError for a `page` of another filter or order, a status or order that does not exist, what is
        no instant and a limit below 1, InvalidValueError for a label that is no text."""
        ...

    async def count(self, **wanted: Unpack[RunQuery]) -> int:
        """Return how many runs match. Raises as `list`."""
        ...

    async def stats(self, *, window_seconds: Duration = 86400.0, workflow: str | None = None) -> Statistics:
        """Return what the runs of each workflow add up to, or those of one: all that are stored, and those that were
        created and ended in the window, which ends now. Raises InvalidDurationError."""
        ...

    async def events(
        self, run_id: str, after_seq: int = 0, *, limit: int = 500, uid: str | None = None
    ) -> Sequence[Event]:
        """Return up to `limit` stored events after `after_seq`; raises RunNotFoundError, RunReplacedError,
        CursorError."""
        ...

    def watch(self, run_id: str, after_seq: int = 0, *, uid: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield the events after `after_seq`, stored and then live, each once and in order, until the run is final.

        With `uid`, only of that life of the run. Close it (`contextlib.aclosing`) when you leave early. Raises
        RunNotFoundError, CursorError, RunDeletedError, RunReplacedError."""
        ...

    def watch_runs(
        self,
        cursor: str | None = None,
        *,
        from_now: bool = False,
        types: Sequence[str] = (),
        **wanted: Unpack[WatchQuery],
    ) -> AsyncGenerator[RunEvent, None]:
        """Yield the events of all runs, or of those that `WatchQuery` chooses: in the order in which they became
        durable, stored ones first and then live, each once, until it is closed (`contextlib.aclosing`).

        Behind a `cursor` that an event brought, also of an earlier process or another server of the same store; without
        one from the first event on, or with `from_now` what happens from now on. `types` leaves other kinds of events
        out. Events of a run that is deleted before they are read are left out. Raises ForeignCursorError for a cursor
        of another store, or of this one before a backup took its place; InvalidNameError for what is no cursor, and a
        kind that does not exist."""
        ...

    async def wait(self, run_id: str) -> WorkflowState:
        """Return the run once it is final or paused; raises RunInterrupted when nobody runs it, RunNotFoundError."""
        ...

    async def result(self, run_id: str) -> Any:
        """Return the output of a run once it completed; raises RunFailed, RunCancelled, RunPaused or RunInterrupted."""
        ...

    async def signal(self, run_id: str, name: str, payload: Any = None, **asked: Unpack[RequestOptions]) -> Delivery:
        """Send a signal, durable on return; raises RunNotFoundError, RunFinishedError, InvalidNameError,
        InvalidValueError, PayloadTooLargeError, RequestReusedError."""
        ...

    async def delete(self, run_id: str, *, force: bool = False, uid: str | None = None) -> None:
        """Forget a run. One that a live process runs raises RunActiveError, or is cancelled first with `force`.

        With `uid`, only that life of the run, so that a repeat never forgets another one that was started under the id.
        Raises RunNotFoundError, also when it is repeated, and RunReplacedError."""
        ...

    async def prune(
        self,
        *,
        limit: int = 500,
        time_budget_seconds: Duration | None = None,
        dry_run: bool = False,
        **selection: Unpack[SelectionOptions],
    ) -> PruneResult:
        """Forget the selected runs, which have settled, the longest settled first; with `keep_last`, workflow by
        workflow. `SelectionOptions` lists the keywords that select; every one that is given must match, and at least
        one must be given. Runs go with all runs they have started, and with their workspaces; a family of which a live
        process runs a member stays.

        It ends after `limit` runs, or the few more that the last family has, and with a time budget after the batch in
        which that is spent; `more` tells that a repeat may forget others. `dry_run` forgets nothing, and counts all
        that would go. Raises InvalidNameError for a status that is not settled, a limit or `keep_last` below 1 and when
        nothing says which runs, InvalidDurationError, InvalidValueError."""
        ...


class Runs(StoredRuns, Protocol):
    """A place where runs are started, followed and acted on.

    Calls that act take a `request_id`, 1 to 100 printable ASCII characters without spaces. Whoever has lost an answer
    repeats the call with the same one: it is carried out once, and answered as the first time as far as the run's
    journal tells. The same id with anything else asked of that run raises RequestReusedError. Without one, a repeat is
    another request. What changed nothing is not remembered."""

    @overload
    async def start(
        self, workflow: Workflow[R], inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle: ...
    async def start(
        self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle:
        """Start a run and return once it is durable; it goes on whatever becomes of the caller.

        The same `run_id` with the same workflow and inputs returns the run that exists (`created` is false), and
        takes it up if nobody runs it. So does the same `request_id` without a `run_id`, which is then made from it.
        Raises RunExistsError, InvalidInputError, InvalidNameError, InvalidValueError, PayloadTooLargeError,
        WorkflowNotFoundError, RequestReusedError."""
        ...

    @overload
    async def run(self, workflow: Workflow[R], inputs: Inputs | None = None, **options: Unpack[RunOptions]) -> R: ...
    @overload
    async def run(
        self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[RunOptions]
    ) -> Any: ...
    async def run(self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[RunOptions]) -> Any:
        """Start a run and return its output, as RunHandle.result does."""
        ...

    async def resume(self, run_id: str, **options: Unpack[ResumeOptions]) -> RunHandle:
        """Take up a run that is failed, paused, cancelled or interrupted; returns once that is durable.

        Completed steps keep their outputs, and the failure that ended the run is tried afresh. `ResumeOptions` lists
        the keywords that say how the run goes on. After an error nothing has changed. A caller that was cancelled may
        find the run resumed, or asks again with the same `request_id`: the run is resumed once.

        Raises RunNotFoundError, RunActiveError, RunNotResumableError, StateIncompatibilityError, StepNotFoundError,
        WorkflowNotFoundError, RunExistsError, InvalidInputError, InvalidValueError, PayloadTooLargeError,
        RequestReusedError."""
        ...

    async def cancel(self, run_id: str, reason: str | None = None, **asked: Unpack[RequestOptions]) -> CancelOutcome:
        """Ask a run to stop, durable on return; raises RunNotFoundError, RequestReusedError."""
        ...

    async def pause(self, run_id: str, reason: str | None = None, **asked: Unpack[RequestOptions]) -> PauseOutcome:
        """Ask a run to pause, durable on return: running bodies end and are recorded, nothing else begins.

        Raises RunNotFoundError, RunFinishedError, RequestReusedError."""
        ...

    async def unpause(self, run_id: str, **asked: Unpack[RequestOptions]) -> RunHandle:
        """Let a paused run go on; raises RunNotPausedError, and what `resume` raises."""
        ...

    async def skip(self, run_id: str, step: str, output: Any = None, **asked: Unpack[ReasonedOptions]) -> None:
        """Mark a step of a run that nobody runs as skipped, with an output if it needs one; the next resume goes on
        from there. Raises RunNotFoundError, RunActiveError, RunFinishedError, StepNotFoundError, StepCompletedError,
        InvalidValueError, PayloadTooLargeError, RequestReusedError."""
        ...

    async def set_output(self, run_id: str, step: str, output: Any, **asked: Unpack[ReasonedOptions]) -> None:
        """Give a step of a run that nobody runs its output, as if it had completed. Raises as `skip`."""
        ...

    async def set_variable(self, run_id: str, name: str, value: Any, **asked: Unpack[ReasonedOptions]) -> Delivery:
        """Set a variable of a run, durable on return. Raises RunNotFoundError, RunFinishedError, InvalidNameError,
        InvalidValueError, PayloadTooLargeError, RequestReusedError."""
        ...

    async def start_runs(self, starts: Sequence[NewRun]) -> Sequence[RunHandle | FlujoError]:
        """Start at most 1000 runs, each as `start` does, and return once every one is durable or refused: for each
        start, in their order, the run or the error that `start` raises. They share their commits. Raises
        InvalidNameError for more of them, and errors of the store; after one of those, and after a cancellation, any of
        them may have started: ask again, with the same ids."""
        ...

    async def cancel_runs(self, reason: str | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Ask runs to stop, as `cancel` does each of them; by default those that are pending, running, waiting or
        paused.

        This call, `pause_runs`, `unpause_runs`, `resume_runs` and `signal_runs` act on the runs that a filter chooses,
        newest first, a page at a time: call again with its `next` as `page`. `BulkOptions` lists the keywords; at least
        one part of the filter must be given. What is refused to one run keeps none of the others from it. A repeat
        with the same `request_id` asks each run once. Raises InvalidNameError, also for a status in which nothing can
        be done, and InvalidValueError."""
        ...

    async def pause_runs(self, reason: str | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Ask runs to pause, as `pause` does each of them; by default those that are pending, running or waiting. See
        `cancel_runs`."""
        ...

    async def unpause_runs(self, **options: Unpack[BulkOptions]) -> BulkResult:
        """Let paused runs go on, as `unpause` does each of them. See `cancel_runs`."""
        ...

    async def resume_runs(self, **options: Unpack[BulkOptions]) -> BulkResult:
        """Take up runs as they are, as `resume` does each of them; by default those that are failed or paused, or ought
        to go on. Runs that a live process runs are left out. See `cancel_runs`."""
        ...

    async def signal_runs(self, name: str, payload: Any = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Send a signal to runs, as `signal` does to each of them; by default to those that wait, for whatever it is.
        See `cancel_runs`. Raises PayloadTooLargeError besides."""
        ...

    async def diff(self, run_id: str, workflow: Workflow | None = None) -> Sequence[Difference]:
        """Return in what a workflow contradicts the completed steps and the inputs of a run, so that a plain `resume`
        with it would be refused; by default the workflow that `start` takes by the run's name now. Of a program that is
        what the run was found to contradict when it was paused. Nothing is changed.

        Raises RunNotFoundError, RunExistsError for another workflow, WorkflowNotFoundError."""
        ...

    async def fork(self, run_id: str, **options: Unpack[ForkOptions]) -> RunHandle:
        """Start a new run that has everything a resume of this one from `from_step` would keep; by default
        everything but the failure that ended it. The old run stays as it is. `ForkOptions` lists the keywords.

        The same `request_id` again returns the fork that exists (`created` is false). Raises RunNotFoundError,
        StepNotFoundError, RunExistsError, StateIncompatibilityError, WorkflowNotFoundError, InvalidInputError,
        InvalidNameError, PayloadTooLargeError, RequestReusedError."""
        ...


@checked
@dataclass(frozen=True, slots=True)
class RunHandle(Generic[Result_co]):
    """A run that was started or resumed. `created` is false when the run was there already, `workflow` is what was
    started, if that was a workflow and not its name. `as_started` is how a new run of this process stood when its start
    was durable."""

    runs: Runs
    run_id: str
    created: bool = True
    workflow: Workflow[Result_co] | None = field(default=None, repr=False, compare=False)
    as_started: RunSummary | None = field(default=None, repr=False, compare=False)

    async def result(self) -> Result_co:
        """Return the output once the run completed: as the workflow's function is annotated, or plain JSON when only
        its name is known. Raises RunFailed, RunCancelled, RunPaused or RunInterrupted, and InvalidValueError for an
        output that no longer fits the annotation."""
        output = await self.runs.result(self.run_id)
        typed: Result_co = output if self.workflow is None else self.workflow.codec.decode(encode(output))
        return typed

    async def wait(self) -> WorkflowState:
        """Return the run once it is final or paused."""
        return await self.runs.wait(self.run_id)

    def watch(self, after_seq: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the run's events, as Runs.watch."""
        return self.runs.watch(self.run_id, after_seq)

    async def inspect(self) -> WorkflowState:
        """Everything recorded of the run."""
        return await self.runs.inspect(self.run_id)

    async def signal(self, name: str, payload: Any = None) -> Delivery:
        """Send the run a signal."""
        return await self.runs.signal(self.run_id, name, payload)

    async def cancel(self, reason: str | None = None) -> CancelOutcome:
        """Ask the run to stop."""
        return await self.runs.cancel(self.run_id, reason)


async def state_as_of(runs: StoredRuns, run_id: str, seq: int) -> WorkflowState:
    """Return a run as it stood after its event `seq`, by the events up to that one, of a store or of a server.

    Raises RunNotFoundError, InvalidNameError for an event that the run does not have."""
    summary = await runs.summary(run_id)
    if isinstance(seq, bool) or not 1 <= seq <= summary.seq:
        has = f"run {run_id!r} has the events 1 to {summary.seq}"
        raise InvalidNameError("event", seq, has, [f"flujoctl events {run_id}"])
    state = WorkflowState(run_id=summary.run_id, uid=summary.uid)
    while state.seq < seq:
        for event in await runs.events(run_id, state.seq, limit=min(READ_EVENTS, seq - state.seq), uid=summary.uid):
            fold(state, event)
    return state


def result_of(state: WorkflowState) -> Any:
    """Return the output of a completed run; raises what says how it ended otherwise."""
    match state.status:
        case RunStatus.COMPLETED:
            return state.output
        case RunStatus.FAILED:
            assert state.error is not None
            source = state.environment.get("workflow_file")
            raise RunFailed(state.run_id, state.error.type, state.error.message, state.error.step, source)
        case RunStatus.CANCELLED:
            raise RunCancelled(state.run_id, state.cancel_reason)
        case _ if state.differences:
            has_definition = state.definition is not None
            raise StateIncompatibilityError.recorded(state.run_id, state.differences, has_definition=has_definition)
        case _:
            error = RunPaused(state.run_id, state.paused_reason)
            error.hints = tuple(explain(state, state.updated_at).reasons[0].commands)  # a resume may pause it again
            raise error
