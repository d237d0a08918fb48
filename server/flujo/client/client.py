"""Use the runs of a server as those of a `Kernel`.

Every call returns and raises what the kernel's does. The calls that follow a run (`watch`, `wait`, `result`) continue
after a restart of the server, as long as one answers again within `reconnect_seconds`. Other calls fail at once when no
server answers. One whose connection is cut meanwhile is sent again if it is carried out once all the same: it reads, or
has a `request_id`, or starts a run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import anyio

from flujo.kernel.api import (
    Asked,
    CancelOutcome,
    Delivery,
    Explanation,
    Followed,
    Fork,
    ForkOptions,
    LogChoice,
    LogLine,
    LogOptions,
    LogPart,
    PauseOutcome,
    PruneResult,
    ReasonedOptions,
    RequestOptions,
    ResumeOptions,
    Resumption,
    RunEvent,
    RunHandle,
    RunOptions,
    Selection,
    SelectionOptions,
    StartOptions,
    Statistics,
    WatchQuery,
    check_types,
    check_variable_name,
    encode_given,
    result_of,
)
from flujo.kernel.backend import (
    Order,
    Page,
    RunQuery,
    RunSummary,
    check_after_seq,
    check_limit,
    check_order,
    check_text,
    run_filter,
)
from flujo.kernel.checked_calls import checked
from flujo.kernel.durations import Duration, parse_duration
from flujo.kernel.errors import (
    CallTimeoutError,
    KernelClosedError,
    RunExistsError,
    RunInterrupted,
    ServerUnreachableError,
)
from flujo.kernel.events import Event
from flujo.kernel.lifetimes import Lifetime
from flujo.kernel.programs import Workflow
from flujo.kernel.state import LIVE, WorkflowState
from flujo.v1 import (
    event_pb2,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)
from flujo.v1.payload_pb2 import PAYLOAD_PART_FACT, Payload, PayloadPart

from .addresses import ServerAddress
from .calls import Calls, ConnectionCutError, SilentError
from .credentials import NO_CREDENTIALS
from .credentials import Credentials as Credentials
from .many_runs import ManyRuns
from .reconnecting import (
    GONE,
    SILENCE_SECONDS,
    ReconnectDeadline,
    is_repeatable,
    positive_seconds,
    silence_seconds,
)
from .server_info import ServerInfo as ServerInfo
from .server_info import from_info
from .store_keeping import Opened, StoreKeeping
from .watching import EventBatch, RunsWatch, in_parts
from .wire.events import event_here, from_event, payloads_of
from .wire.filters import to_filter, to_order, to_watch_filter
from .wire.logs import from_log_line
from .wire.outcomes import CANCEL_OUTCOMES, DELIVERIES, PAUSE_OUTCOMES, from_reason, from_rest
from .wire.parameters import APART, definition_of, new_run_id, parts_of, put_given
from .wire.runs import from_details, from_run, from_run_status, omitted_parts, payloads_in, put_part
from .wire.starts import start_request
from .wire.statistics import from_statistics
from .wire.values import inline, to_duration

R = TypeVar("R")
Result = TypeVar("Result")

CALL_SECONDS = 30.0
WAIT_SECONDS = 20.0
PRUNE_SECONDS = 20.0
"""How long a server deletes runs before it answers, at most."""
RECONNECT_SECONDS = 60.0
PAUSE_SECONDS = 0.05
"""Between two tries to reconnect: a server that is closing is not asked in a tight loop."""

LONGEST_PAGE = 1000
LARGEST_PRUNE = 100_000


@checked
class Client(ManyRuns, StoreKeeping):
    """A connection to the server at `address` (`unix:PATH`, or `tcp://HOST:PORT` with `credentials`).

    `async with` opens and closes it, or `open` and `close`, as they do a `Kernel`; entering an open client shares it.

    `call_seconds` bounds every call but those that follow a run; then CallTimeoutError. `reconnect_seconds` is how long
    those wait for a server to come back; then ServerUnreachableError. `math.inf` is no bound. Raises InvalidNameError
    for what is no positive number of seconds, InvalidAddressError for credentials that must not be sent there.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: Credentials = NO_CREDENTIALS,
        call_seconds: float = CALL_SECONDS,
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> None:
        self.address = ServerAddress.parse(address)
        self._credentials = credentials
        credentials.check(self.address)
        self._call_seconds = positive_seconds("call_seconds", call_seconds)
        self._reconnect_seconds = positive_seconds("reconnect_seconds", reconnect_seconds)
        self._opened: Opened | None = None
        self._lifetime = Lifetime(f"the client of {self.address.text}", self._live)

    def __repr__(self) -> str:
        return f"<client of {self.address.text}>"

    async def open(self) -> Self:
        """Open the connection, as entering it does, until `close`. An open client stays as it is.

        Raises UnsupportedEventLoopError, and WrongEventLoopError if it is open in another event loop."""
        await self._lifetime.open()
        return self

    async def close(self) -> None:
        """Close the connection; calls under way raise KernelClosedError. Nothing happens if it is closed. Raises
        WrongEventLoopError."""
        await self._lifetime.close()

    async def __aenter__(self) -> Self:
        await self._lifetime.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._lifetime.leave(error)

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        self._opened = self._connected()
        try:
            yield
        finally:
            calls, self._opened = self._calls, None
            with anyio.CancelScope(shield=True):
                await calls.close()

    def _connected(self) -> Opened:
        return Opened.over(Calls(self.address, self._credentials))

    async def _give_up(self, calls: Calls) -> None:
        """Take a connection for lost: the calls under way on it raise, and later ones go over a new one."""
        if self._open.calls is calls:
            self._opened = self._connected()
            await calls.close(lost=True)

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return self.address.text

    def _require_here(self) -> None:
        self._lifetime.require_here()

    @property
    def _open(self) -> Opened:  # type: ignore[override]
        self._require_here()
        if self._opened is None:
            raise KernelClosedError
        return self._opened

    @property
    def _calls(self) -> Calls:
        return self._open.calls

    @property
    def _runs(self) -> run_service_pb2_grpc.RunServiceStub:
        return self._open.runs

    @property
    def _system(self) -> system_service_pb2_grpc.SystemServiceStub:
        return self._open.system

    async def info(self) -> ServerInfo:
        """Return what the server is; raises ServerUnreachableError when there is none."""
        return await self._info(self._call_seconds, wait_for_ready=False)

    async def _info(self, seconds: float, *, wait_for_ready: bool) -> ServerInfo:
        request = system_service_pb2.GetSystemInfoRequest()
        answer = await self._calls.unary(
            self._system.GetSystemInfo, request, seconds=seconds, wait_for_ready=wait_for_ready
        )
        return from_info(answer)

    # -- starting and resuming ----------------------------------------------------------------------------------

    @overload
    async def start(
        self, workflow: Workflow[R], inputs: Mapping[str, Any] | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self, workflow: Workflow | str, inputs: Mapping[str, Any] | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle: ...
    async def start(
        self, workflow: Workflow | str, inputs: Mapping[str, Any] | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle:
        """Start a run as Kernel.start does. A definition is sent along; a workflow without one is named, and the server
        must have it."""
        answer = await self._call(self._runs.StartRun, start_request(workflow, inputs, options))
        started = workflow if isinstance(workflow, Workflow) else None
        return RunHandle(self, answer.run.run_id, answer.created, started)

    @overload
    async def run(
        self, workflow: Workflow[R], inputs: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
    ) -> R: ...
    @overload
    async def run(
        self, workflow: Workflow | str, inputs: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
    ) -> Any: ...
    async def run(
        self, workflow: Workflow | str, inputs: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
    ) -> Any:
        """Start a run and return its output, as RunHandle.result does."""
        return await (await self.start(workflow, inputs, **options)).result()

    async def resume(self, run_id: str, **options: Unpack[ResumeOptions]) -> RunHandle:
        """Resume a run as Kernel.resume does. A definition is sent along; a workflow without one has to be that of the
        run, and the server must have it."""
        asked = Resumption(**options)
        workflow = asked.workflow
        if workflow is not None and workflow.definition is None:
            summary = await self.summary(run_id)
            if summary.workflow != workflow.name:
                raise RunExistsError(run_id, f"the workflow {summary.workflow!r}")
        request = run_service_pb2.ResumeRunRequest(run_id=run_id)
        put_given(request, parts_of(asked, apart=APART))
        for step, output in (asked.skip or {}).items():
            request.skip[step].CopyFrom(_payload(f"the output of {step!r}", output))
        if asked.inputs:
            request.inputs.CopyFrom(inline(encode_given("the inputs", dict(asked.inputs))))
        if workflow is not None and workflow.definition is not None:
            request.definition.CopyFrom(definition_of(workflow))
        answer = await self._call(self._runs.ResumeRun, request)
        return RunHandle(self, answer.run.run_id, created=False)

    # -- reading ------------------------------------------------------------------------------------------------

    async def inspect(self, run_id: str) -> WorkflowState:
        """Return the state of a run, as Kernel.inspect does."""
        request = run_service_pb2.GetRunRequest(run_id=run_id, view=run_pb2.RUN_VIEW_FULL)
        return await self._state(await self._call(self._runs.GetRun, request))

    async def summary(self, run_id: str) -> RunSummary:
        """Return the summary of a run, as Kernel.summary does."""
        return from_run((await self._call(self._runs.GetRun, run_service_pb2.GetRunRequest(run_id=run_id))).run)

    async def is_interrupted(self, summary: RunSummary) -> bool:
        """True if the run is unfinished and has no live owner: a server names only live ones."""
        return summary.status in LIVE and summary.owner is None

    async def list(
        self, *, order: str = Order.CREATED, limit: int = 50, page: str | None = None, **wanted: Unpack[RunQuery]
    ) -> Page:
        """Return a page of runs as Kernel.list does, at most 1000 at a time."""
        request = run_service_pb2.ListRunsRequest(
            filter=to_filter(run_filter(**wanted)),
            order=to_order(check_order(order)),
            page_size=min(check_limit(limit), LONGEST_PAGE),
            page_token=page or "",
        )
        answer = await self._call(self._runs.ListRuns, request)
        return Page([from_run(run) for run in answer.runs], answer.next_page_token or None)

    async def count(self, **wanted: Unpack[RunQuery]) -> int:
        """Return how many runs match, as Kernel.count does."""
        request = run_service_pb2.CountRunsRequest(filter=to_filter(run_filter(**wanted)))
        return int((await self._call(self._runs.CountRuns, request)).count)

    async def stats(self, *, window_seconds: Duration = 86400.0, workflow: str | None = None) -> Statistics:
        """Return statistics, as Kernel.stats does."""
        request = run_service_pb2.GetStatsRequest(
            window=to_duration(parse_duration(window_seconds)), workflow=_text("workflow", workflow)
        )
        answer = whole = await self._call(self._runs.GetStats, request)
        while answer.next_page_token:
            request.page_token = answer.next_page_token
            answer = await self._call(self._runs.GetStats, request)
            whole.workflows.extend(answer.workflows)
        return from_statistics(whole)

    async def events(
        self, run_id: str, after_seq: int = 0, *, limit: int = 500, uid: str | None = None
    ) -> Sequence[Event]:
        """Return stored events, as Kernel.events does."""
        check_limit(limit)
        check_after_seq(after_seq)
        uid, store = await self._uid_for(run_id, after_seq, uid), ""
        found: list[Event] = []
        while len(found) < limit:
            size = min(limit - len(found), LONGEST_PAGE)
            request = run_service_pb2.ListEventsRequest(
                run_id=run_id, after_seq=after_seq, page_size=size, uid=uid or "", store_id=store
            )
            answer = await self._call(self._runs.ListEvents, request)
            uid, store = answer.uid, answer.store_id
            found += [await self._event(run_id, uid, event) for event in answer.events]
            after_seq = found[-1].seq if found else after_seq
            if not answer.events or after_seq >= answer.head_seq:
                break
        return found

    async def watch(self, run_id: str, after_seq: int = 0, *, uid: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield events as Kernel.watch does, also across restarts of the server.

        Raises ServerUnreachableError when no server answers again in time."""
        async with aclosing(self.watch_batches(run_id, after_seq, uid=uid)) as batches:
            async for batch in batches:
                for event in batch.events:
                    yield event

    async def watch_batches(
        self, run_id: str, after_seq: int = 0, *, uid: str | None = None
    ) -> AsyncGenerator[EventBatch, None]:
        """Yield the same in the batches in which they come; what has to be fetched apart is one by itself."""
        deadline = ReconnectDeadline(self._reconnect_seconds)
        check_after_seq(after_seq)
        uid = await self._uid_for(run_id, after_seq, uid)
        silence = SILENCE_SECONDS
        store = ""
        while True:
            request = run_service_pb2.WatchRunRequest(run_id=run_id, after_seq=after_seq, uid=uid or "", store_id=store)
            calls = self._calls
            try:
                async with calls.watch(self._runs.WatchRun, request, silence) as messages:
                    while (message := await messages.next()) is not None:
                        deadline.renew()
                        match message.WhichOneof("content"):
                            case "header":
                                uid, store = message.header.run.uid, message.header.store_id
                                silence = silence_seconds(message.header)
                                messages.expect(silence)
                            case "events":
                                for read, last in in_parts(message.events.events, event_here):
                                    yield EventBatch(read or [await self._event(run_id, uid or "", last)])
                                    after_seq = last.seq
                            case "end":
                                return
                gone: Exception = ServerUnreachableError(self.address.text, "the stream ended before the run did")
            except SilentError as error:
                gone = error
                await self._give_up(calls)
            except GONE as error:
                gone = error
            await self._reconnect(deadline, gone)

    async def watch_runs(
        self,
        cursor: str | None = None,
        *,
        from_now: bool = False,
        types: Sequence[str] = (),
        **wanted: Unpack[WatchQuery],
    ) -> AsyncGenerator[RunEvent, None]:
        """Yield the events of runs as Kernel.watch_runs does, also across restarts of the server.

        Raises ServerUnreachableError when no server answers again in time."""
        batches = self.watch_runs_batches(cursor, from_now=from_now, types=types, **wanted)
        async with aclosing(batches):
            async for batch in batches:
                for event in batch.events:
                    yield event

    async def watch_runs_batches(
        self,
        cursor: str | None = None,
        *,
        from_now: bool = False,
        types: Sequence[str] = (),
        **wanted: Unpack[WatchQuery],
    ) -> AsyncGenerator[Followed, None]:
        """Yield the same in the batches in which they come; what has to be fetched apart is one by itself."""
        deadline = ReconnectDeadline(self._reconnect_seconds)
        request = run_service_pb2.WatchRunsRequest(
            filter=to_watch_filter(wanted), cursor=_text("cursor", cursor), from_now=from_now, types=check_types(types)
        )
        watch = RunsWatch(request, self.address, self._event)
        while True:
            calls = self._calls
            try:
                async with aclosing(watch.batches(calls, self._runs.WatchRuns, deadline)) as batches:
                    async for batch in batches:
                        yield batch
            except GONE as error:
                gone = error
            if isinstance(gone, SilentError):
                await self._give_up(calls)
            await self._reconnect(deadline, gone)

    async def _uid_for(self, run_id: str, after_seq: int, uid: str | None) -> str | None:
        """Return the uid that goes with a cursor: the one given, else that of whatever run has this id now."""
        if uid is not None or not after_seq:
            return uid
        return (await self._following(lambda: self.summary(run_id))).uid

    async def wait(self, run_id: str) -> WorkflowState:
        """Return when a run has ended or paused, as Kernel.wait does, also across restarts of the server."""
        request = run_service_pb2.WaitRunRequest(
            run_id=run_id, max_wait=to_duration(WAIT_SECONDS), view=run_pb2.RUN_VIEW_FULL
        )

        async def ask() -> WorkflowState | None:
            seconds = WAIT_SECONDS + self._call_seconds
            answer = await self._calls.unary(self._runs.WaitRun, request, seconds=seconds)
            if answer.reached:
                return await self._state(answer)
            if answer.run.interrupted:
                raise RunInterrupted(run_id)
            return None

        while (state := await self._following(ask)) is None:
            pass
        return state

    async def result(self, run_id: str) -> Any:
        """Return the output of a run, as Kernel.result does."""
        return result_of(await self.wait(run_id))

    # -- acting -------------------------------------------------------------------------------------------------

    async def signal(self, run_id: str, name: str, payload: Any = None, **asked: Unpack[RequestOptions]) -> Delivery:
        """Send a signal, as Kernel.signal does."""
        request = run_service_pb2.SignalRunRequest(
            run_id=run_id, name=name, payload=inline(encode_given("the payload", payload))
        )
        put_given(request, parts_of(Asked(**asked)))
        return DELIVERIES.get((await self._call(self._runs.SignalRun, request)).outcome, Delivery.UNKNOWN)

    async def cancel(self, run_id: str, reason: str | None = None, **asked: Unpack[RequestOptions]) -> CancelOutcome:
        """Request the cancellation of a run, as Kernel.cancel does."""
        request = run_service_pb2.CancelRunRequest(run_id=run_id)
        put_given(request, parts_of(Asked(reason=reason, **asked)))
        return CANCEL_OUTCOMES.get((await self._call(self._runs.CancelRun, request)).outcome, CancelOutcome.UNKNOWN)

    async def pause(self, run_id: str, reason: str | None = None, **asked: Unpack[RequestOptions]) -> PauseOutcome:
        """Request that a run pauses, as Kernel.pause does."""
        request = run_service_pb2.PauseRunRequest(run_id=run_id)
        put_given(request, parts_of(Asked(reason=reason, **asked)))
        return PAUSE_OUTCOMES.get((await self._call(self._runs.PauseRun, request)).outcome, PauseOutcome.UNKNOWN)

    async def unpause(self, run_id: str, **asked: Unpack[RequestOptions]) -> RunHandle:
        """Resume a paused run, as Kernel.unpause does."""
        request = run_service_pb2.UnpauseRunRequest(run_id=run_id)
        put_given(request, parts_of(Asked(**asked)))
        answer = await self._call(self._runs.UnpauseRun, request)
        return RunHandle(self, answer.run.run_id, created=False)

    async def skip(self, run_id: str, step: str, output: Any = None, **asked: Unpack[ReasonedOptions]) -> None:
        """Mark a step as skipped, as Kernel.skip does."""
        request = run_service_pb2.SkipStepRequest(run_id=run_id, step=step)
        put_given(request, parts_of(Asked(**asked)))
        if output is not None:
            request.output.CopyFrom(_payload("the output", output))
        await self._call(self._runs.SkipStep, request)

    async def set_output(self, run_id: str, step: str, output: Any, **asked: Unpack[ReasonedOptions]) -> None:
        """Set the output of a step, as Kernel.set_output does."""
        request = run_service_pb2.SetStepOutputRequest(run_id=run_id, step=step, output=_payload("the output", output))
        put_given(request, parts_of(Asked(**asked)))
        await self._call(self._runs.SetStepOutput, request)

    async def set_variable(self, run_id: str, name: str, value: Any, **asked: Unpack[ReasonedOptions]) -> Delivery:
        """Set a variable of a run, as Kernel.set_variable does."""
        request = run_service_pb2.SetVariableRequest(
            run_id=run_id, name=check_variable_name(name), value=_payload("the value", value)
        )
        put_given(request, parts_of(Asked(**asked)))
        return DELIVERIES.get((await self._call(self._runs.SetVariable, request)).outcome, Delivery.UNKNOWN)

    async def fork(self, run_id: str, **options: Unpack[ForkOptions]) -> RunHandle:
        """Start a run with the history of another one, as Kernel.fork does."""
        asked = Fork(**options)
        request = run_service_pb2.ForkRunRequest(run_id=run_id)
        named = new_run_id(asked.new_run_id, asked.request_id)
        put_given(request, {**parts_of(asked, apart=APART), "new_run_id": named})
        if asked.inputs:
            request.inputs.CopyFrom(_payload("the inputs", dict(asked.inputs)))
        if asked.workflow is not None and asked.workflow.definition is not None:
            request.definition.CopyFrom(definition_of(asked.workflow))
        answer = await self._call(self._runs.ForkRun, request)
        return RunHandle(self, answer.run.run_id, answer.created)

    async def read_log(self, run_id: str, **wanted: Unpack[LogOptions]) -> LogPart:
        """Return what the steps of a run have printed so far, as Kernel.read_log does. With an `offset` it follows a
        log, also across restarts of the server."""
        choice = LogChoice.of(**wanted)
        choice = choice._replace(uid=await self._uid_for(run_id, choice.offset, choice.uid))
        request = run_service_pb2.ReadLogsRequest(run_id=run_id)
        put_given(request, choice._asdict())

        async def ask() -> LogPart:
            lines: list[LogLine] = []
            offset, uid = choice.offset, choice.uid or ""
            async with self._calls.stream(self._runs.ReadLogs, request) as messages:
                async for message in messages:
                    lines += map(from_log_line, message.lines)
                    offset, uid = message.next_offset, message.uid
            return LogPart(tuple(lines), offset, uid)

        return await (self._following(ask) if choice.offset else ask())

    async def explain(self, run_id: str) -> Explanation:
        """Return why a run does not progress, as Kernel.explain does."""
        answer = await self._call(self._runs.ExplainRun, run_service_pb2.ExplainRunRequest(run_id=run_id))
        rest = from_rest(answer.rest) if answer.HasField("rest") else None
        return Explanation(run_id, from_run_status(answer.status), [from_reason(each) for each in answer.reasons], rest)

    async def delete(self, run_id: str, *, force: bool = False, uid: str | None = None) -> None:
        """Delete a run, as Kernel.delete does."""
        request = run_service_pb2.DeleteRunRequest(run_id=run_id, force=force, uid=_text("uid", uid))
        await self._call(self._runs.DeleteRun, request)

    async def prune(
        self,
        *,
        limit: int = 500,
        time_budget_seconds: Duration | None = None,
        dry_run: bool = False,
        **selection: Unpack[SelectionOptions],
    ) -> PruneResult:
        """Delete old runs as Kernel.prune does, at most 100,000 runs and 20 seconds at a time (default 10 seconds)."""
        chosen = parts_of(Selection(**selection))
        request = run_service_pb2.PruneRunsRequest(max_runs=min(check_limit(limit), LARGEST_PRUNE))
        put_given(request, {**chosen, "time_budget_seconds": time_budget_seconds, "dry_run": dry_run})
        seconds = self._call_seconds + PRUNE_SECONDS
        answer = await self._calls.unary(self._runs.PruneRuns, request, seconds=seconds)
        return PruneResult(
            [from_run(run) for run in answer.runs],
            answer.total,
            answer.more,
            answer.kept_paused,
            answer.kept_live,
            answer.bytes,
        )

    # -- calling ------------------------------------------------------------------------------------------------

    async def _call(self, method: Any, request: Any) -> Any:
        """Return the answer to a request. One that is carried out once however often it is sent is sent again when its
        connection was cut, as soon as a server answers again, for as long as a call may take."""
        name = type(request).__name__.removesuffix("Request")
        deadline = ReconnectDeadline(min(self._call_seconds, self._reconnect_seconds))
        try:
            return await self._calls.unary(method, request, seconds=self._call_seconds)
        except ConnectionCutError as cut:
            if not is_repeatable(name, request):
                raise
            gone: Exception = cut
        while True:
            await self._reconnect(deadline, gone)
            try:
                return await self._calls.unary(self._open.method(name), request, seconds=self._call_seconds)
            except GONE as error:
                gone = error

    async def _state(self, answer: Any) -> WorkflowState:
        """Return the state in an answer in RUN_VIEW_FULL, with the values that were left out of it."""
        run: run_pb2.Run = answer.run
        steps = list(run.details.steps)
        if run.details.steps_omitted:
            steps = list(await self._steps(run.run_id))
        for payload in payloads_in(run, steps):
            await self._fetch(run.run_id, run.uid, payload)
        for part in omitted_parts(run.details):
            put_part(run.details, part, await self._read(run.run_id, run.uid, run.seq, part))
        return from_details(run, steps)

    async def _steps(self, run_id: str) -> Sequence[run_pb2.Step]:
        steps: list[run_pb2.Step] = []
        token = ""
        while True:
            request = run_service_pb2.ListStepsRequest(run_id=run_id, page_token=token)
            answer = await self._call(self._runs.ListSteps, request)
            steps += answer.steps
            if not (token := answer.next_page_token):
                return steps

    async def _event(self, run_id: str, uid: str, message: event_pb2.Event) -> Event:
        if (event := event_here(message)) is not None:
            return event
        for payload in payloads_of(message):
            await self._fetch(run_id, uid, payload)
        whole = await self._read(run_id, uid, message.seq, PAYLOAD_PART_FACT) if message.cut else None
        return from_event(message, whole)

    async def _fetch(self, run_id: str, uid: str, payload: Payload) -> None:
        """Replace a reference by its value, read from the server."""
        if payload.WhichOneof("content") == "reference":
            payload.json = await self._read(run_id, uid, payload.reference.seq, payload.reference.part)

    async def _read(self, run_id: str, uid: str, seq: int, part: PayloadPart.ValueType) -> str:
        """Return what did not come along with an answer."""
        request = run_service_pb2.ReadPayloadRequest(run_id=run_id, uid=uid, seq=seq, part=part)
        data = bytearray()
        async with self._calls.stream(self._runs.ReadPayload, request) as messages:
            async for message in messages:
                data += message.chunk
        return data.decode()

    # -- reconnecting after a restart -------------------------------------------------------------------------------

    async def _following(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `ask` returns; it is called again once a server answers after the one asked has gone."""
        deadline = ReconnectDeadline(self._reconnect_seconds)
        while True:
            calls = self._calls
            try:
                return await ask()
            except GONE as error:
                if isinstance(error, CallTimeoutError):
                    await self._give_up(calls)
                await self._reconnect(deadline, error)
                deadline.renew()

    async def _reconnect(self, deadline: ReconnectDeadline, gone: Exception) -> None:
        """Return when a server answers; raises `gone` when none does in time."""
        while (left := deadline.left()) > 0:
            await anyio.sleep(min(PAUSE_SECONDS, left))
            calls = self._calls  # raises KernelClosedError once this client is closed
            try:
                await self._info(min(max(left, PAUSE_SECONDS), CALL_SECONDS), wait_for_ready=True)
            except CallTimeoutError:
                await self._give_up(calls)
            except GONE:
                continue
            else:
                return
        raise gone


def _payload(what: str, value: Any) -> Payload:
    return inline(encode_given(what, value))


def _text(what: str, text: str | None) -> str:
    return check_text(what, text) or ""
