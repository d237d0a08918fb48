"""Answer for RunService: each method translates a request, asks the kernel, and translates the answer.

What a method does and which errors it answers is written in proto/flujo/v1/run_service.proto; errors are raised here as
the kernel raises them, and become statuses in the guard. No run depends on a handler: runs live in the kernel.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from itertools import islice
from typing import Any, cast

import anyio
from google.protobuf.message import Message
from grpc import aio

from flujo.client.wire.events import recorded_fact, recorded_payload, to_event
from flujo.client.wire.filters import from_filter, from_selection, given_order
from flujo.client.wire.limits import MAX_ANSWER_BYTES, Room, fitting, shorten
from flujo.client.wire.logs import in_messages, log_options
from flujo.client.wire.many_runs import bulk_options, with_result
from flujo.client.wire.parameters import APART, given_in
from flujo.client.wire.runs import MAX_STEPS, PARTS, put_details, put_fitting, to_run, to_run_status, to_step
from flujo.client.wire.statistics import to_statistics
from flujo.client.wire.values import (
    Payloads,
    from_duration,
    given_object,
    given_value,
    to_duration,
    to_timestamp,
)
from flujo.client.wire.words import REASON_KINDS
from flujo.kernel import Kernel, RunSummary
from flujo.kernel.api import (
    CancelOutcome,
    Cursor,
    Delivery,
    ForkOptions,
    PauseOutcome,
    Reason,
    ReasonedOptions,
    RequestOptions,
    ResumeOptions,
    RunHandle,
    check_types,
)
from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import (
    CursorError,
    ForeignCursorError,
    InvalidNameError,
    RunInterrupted,
    RunReplacedError,
    ServerStoppingError,
)
from flujo.kernel.observer import WATCH_EVENTS, StoredEvent, Watched
from flujo.kernel.state import FINAL, WorkflowState
from flujo.kernel.transitions import fold
from flujo.v1 import payload_pb2, run_pb2, run_service_pb2_grpc
from flujo.v1 import run_service_pb2 as pb

from .closing import Closing
from .encoding import Envelope, Forms
from .pages import PageTokens
from .starts import new_run, read_definition, start_runs
from .transfers import export_in_pieces, import_out_of_pieces, pieces_of
from .watches import watch_runs

Context = aio.ServicerContext[Any, Any]

PAGE = 50
EVENTS_PAGE = 500
PRUNE_PAGE = 500
BULK_PAGE = 100
PRUNE_SECONDS = 10.0
LONGEST_PRUNE_SECONDS = 20.0
WINDOW_SECONDS = 86400.0
LONGEST_PAGE = 1000
MAX_REASONS = 100
LARGEST_PRUNE = 100_000
WAIT_SECONDS = 20.0
LONGEST_WAIT_SECONDS = 60.0
BOOKMARK_SECONDS = 15.0

_OUTCOMES = {
    Delivery.RECORDED: pb.SIGNAL_OUTCOME_RECORDED,
    Delivery.POSTED: pb.SIGNAL_OUTCOME_POSTED,
    Delivery.STORED: pb.SIGNAL_OUTCOME_STORED,
}
_PAUSE_OUTCOMES = {
    PauseOutcome.REQUESTED: pb.PAUSE_OUTCOME_REQUESTED,
    PauseOutcome.PAUSED: pb.PAUSE_OUTCOME_PAUSED,
    PauseOutcome.ALREADY_PAUSED: pb.PAUSE_OUTCOME_ALREADY_PAUSED,
}
_CANCEL_OUTCOMES = {
    CancelOutcome.REQUESTED: pb.CANCEL_OUTCOME_REQUESTED,
    CancelOutcome.CANCELLED: pb.CANCEL_OUTCOME_CANCELLED,
    CancelOutcome.ALREADY_FINISHED: pb.CANCEL_OUTCOME_ALREADY_FINISHED,
}


class RunService(run_service_pb2_grpc.RunServiceServicer):
    """The runs of one kernel. `closing` is set when the server begins to close."""

    def __init__(
        self,
        kernel: Kernel,
        closing: Closing,
        *,
        bookmark_seconds: float = BOOKMARK_SECONDS,
    ) -> None:
        self._kernel = kernel
        self._closing = closing
        self._bookmark_seconds = bookmark_seconds
        self._of_one, self._of_all = Forms.empty(), Forms.empty()

    # -- starting and resuming ----------------------------------------------------------------------------------

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        new = await new_run(request)
        handle = await self._kernel.start(new.workflow, new.inputs, **new.options)
        return pb.StartRunResponse(run=await self._of(handle), created=handle.created)

    async def StartRuns(self, request: pb.StartRunsRequest, context: Context) -> pb.StartRunsResponse:
        return await start_runs(self._kernel, request)

    async def ResumeRun(self, request: pb.ResumeRunRequest, context: Context) -> pb.ResumeRunResponse:
        handle = await self._kernel.resume(
            request.run_id,
            workflow=await read_definition(request.definition) if request.HasField("definition") else None,
            skip={step: given_value(output, f"the output of {step!r}") for step, output in request.skip.items()},
            inputs=given_object(request.inputs, "the inputs") if request.HasField("inputs") else None,
            **given_in(request, ResumeOptions.__annotations__, apart=APART),
        )
        return pb.ResumeRunResponse(run=await self._of(handle))

    # -- reading ------------------------------------------------------------------------------------------------

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=await self._run(request.run_id, request.view))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        size, wanted = _size(request.page_size, PAGE), from_filter(request.filter)
        order, token = given_order(request.order), request.page_token or None
        page = await self._kernel.list(order=order, limit=size, page=token, **wanted)
        runs = [await self._message(summary) for summary in page.runs]
        if (kept := fitting(runs, Room())) < len(runs):  # the page is read again, to end where the answer does
            page = await self._kernel.list(order=order, limit=kept, page=token, **wanted)
            runs = [await self._message(summary) for summary in page.runs]
        return pb.ListRunsResponse(runs=runs, next_page_token=page.next or "")

    async def CountRuns(self, request: pb.CountRunsRequest, context: Context) -> pb.CountRunsResponse:
        return pb.CountRunsResponse(count=await self._kernel.count(**from_filter(request.filter)))

    async def GetStats(self, request: pb.GetStatsRequest, context: Context) -> pb.GetStatsResponse:
        window = from_duration(request.window) if request.HasField("window") else WINDOW_SECONDS
        tokens = PageTokens("GetStats", window, request.workflow)
        (after,) = tokens.place(request.page_token, "")
        found = await self._kernel.stats(window_seconds=window, workflow=request.workflow or None)
        return _page_of_statistics(to_statistics(found), tokens, after)

    async def ExplainRun(self, request: pb.ExplainRunRequest, context: Context) -> pb.ExplainRunResponse:
        explanation = await self._kernel.explain(request.run_id)
        reasons = [_reason(reason) for reason in explanation.reasons[:MAX_REASONS]]
        answer = pb.ExplainRunResponse(status=to_run_status(explanation.status))
        kept = fitting(reasons, Room())
        answer.reasons.extend(reasons[:kept])
        answer.reasons_omitted = len(explanation.reasons) - kept
        if (rest := explanation.rest) is not None:
            answer.rest.seq = rest.seq
            if rest.until is not None:
                answer.rest.until.CopyFrom(to_timestamp(rest.until))
        return answer

    async def ListSteps(self, request: pb.ListStepsRequest, context: Context) -> pb.ListStepsResponse:
        size = _size(request.page_size, MAX_STEPS)
        tokens = PageTokens("ListSteps", request.run_id)
        uid, start = tokens.place(request.page_token, "", 0)
        state = await self._kernel.inspect(request.run_id)
        if uid and uid != state.uid:
            raise RunReplacedError(request.run_id)
        payloads, answer = Payloads(), pb.ListStepsResponse()
        wanted = (to_step(step, payloads) for step in islice(state.steps.values(), start, start + size))
        left = put_fitting(answer.steps, wanted, len(state.steps) - start, MAX_ANSWER_BYTES)
        answer.next_page_token = tokens.after(state.uid, len(state.steps) - left) if left > 0 else ""
        return answer

    async def WaitRun(self, request: pb.WaitRunRequest, context: Context) -> pb.WaitRunResponse:
        seconds = from_duration(request.max_wait) if request.HasField("max_wait") else WAIT_SECONDS

        async def wait() -> None:
            with suppress(RunInterrupted), anyio.move_on_after(min(seconds, LONGEST_WAIT_SECONDS)):
                await self._kernel.wait(request.run_id)

        await self._closing.unless(wait)
        run = await self._run(request.run_id, request.view)
        settled = (*map(to_run_status, FINAL), run_pb2.RUN_STATUS_PAUSED)
        return pb.WaitRunResponse(run=run, reached=run.status in settled)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        size = _size(request.page_size, EVENTS_PAGE)
        _require_uid(request, "after_seq", request.after_seq)
        store = await self._required_store(request)
        summary = await self._kernel.summary(request.run_id)
        events = await self._kernel.events(
            request.run_id, request.after_seq, limit=size, uid=request.uid or summary.uid
        )
        payloads = Payloads()
        messages = [to_event(event, payloads) for event in events]
        head = max(summary.seq, events[-1].seq if events else request.after_seq)  # the run may have gone on meanwhile
        return pb.ListEventsResponse(
            events=messages[: fitting(messages, Room())], head_seq=head, uid=summary.uid, store_id=store
        )

    async def ReadPayload(
        self, request: pb.ReadPayloadRequest, context: Context
    ) -> AsyncIterator[pb.ReadPayloadResponse]:
        if request.seq < 1:
            raise InvalidNameError("seq", request.seq, "the number of an event, from 1")
        if not request.uid:
            raise InvalidNameError("uid", "", "the uid of the run, beside the number of an event of it")
        for chunk in pieces_of((await self._part(request)).encode()):
            yield pb.ReadPayloadResponse(chunk=chunk)

    async def _part(self, request: pb.ReadPayloadRequest) -> str:
        """Return the JSON text that ReadPayload is asked for."""
        if (read := PARTS.get(request.part)) is not None:
            return read(await self._state_at(request.run_id, request.uid, request.seq))
        found = await self._kernel.events(request.run_id, request.seq - 1, limit=1, uid=request.uid)
        if not found:
            raise CursorError(request.run_id, request.seq, request.seq - 1)
        if request.part == payload_pb2.PAYLOAD_PART_FACT:
            return recorded_fact(found[0])
        if (recorded := recorded_payload(found[0])) is None:
            raise InvalidNameError("seq", request.seq, f"an event with a value; this one is {found[0].type}")
        return recorded

    async def _state_at(self, run_id: str, uid: str, seq: int) -> WorkflowState:
        """Return a run as the event `seq` left it."""
        state = WorkflowState(run_id=run_id, uid=uid)
        while state.seq < seq:
            events = await self._kernel.events(run_id, state.seq, limit=min(seq - state.seq, EVENTS_PAGE), uid=uid)
            if not events:
                raise CursorError(run_id, seq, state.seq)
            for event in events:
                fold(state, event)
        return state

    async def ReadLogs(self, request: pb.ReadLogsRequest, context: Context) -> AsyncIterator[pb.ReadLogsResponse]:
        _require_uid(request, "offset", request.offset)
        found = await self._kernel.read_log(request.run_id, **log_options(request))
        for lines in in_messages(found.lines):
            yield pb.ReadLogsResponse(lines=lines, next_offset=found.next_offset, uid=found.uid)

    # -- watching -----------------------------------------------------------------------------------------------

    async def WatchRun(self, request: pb.WatchRunRequest, context: Context) -> AsyncIterator[pb.WatchRunResponse]:
        after_seq, uid = await self._cursor(request)
        store = await self._required_store(request)
        batches = self._kernel.watch_batches(
            request.run_id, after_seq, uid=uid or None, idle_seconds=self._bookmark_seconds
        )
        cursor = _Cursor(request, after_seq, self._of_one)
        async with aclosing(batches):
            # The next one is awaited apart from `yield`, so that no scope is open while an answer is written: that
            # waits for a client that does not read, costs nothing meanwhile, and cannot be given a status half-way.
            try:
                while (batch := await self._closing.unless(lambda: anext(batches, None))) is not None:
                    if batch.begin is not None:
                        yield await self._header(batch.begin, after_seq, store)
                    elif batch.end is not None:
                        end = pb.WatchEnd(seq=batch.end.seq, status=to_run_status(batch.end.status))
                        yield pb.WatchRunResponse(end=end)
                    else:
                        for piece in cursor.pieces(batch):
                            yield cast(pb.WatchRunResponse, piece)  # or its bytes (encoding.py)
            except ServerStoppingError:
                yield cursor.bookmark()  # whoever comes back begins behind what was looked at, wanted or not
                raise

    async def WatchRuns(self, request: pb.WatchRunsRequest, context: Context) -> AsyncIterator[pb.WatchRunsResponse]:
        messages = watch_runs(self._kernel, request, self._closing.unless, self._bookmark_seconds, self._of_all)
        async with aclosing(messages):
            async for message in messages:
                yield cast(pb.WatchRunsResponse, message)  # or its bytes (encoding.py)

    async def _cursor(self, request: pb.WatchRunRequest) -> tuple[int, str]:
        """Return after which event a watch begins, and of which life of the run."""
        check_types(list(request.types))
        _require_uid(request, "after_seq", request.after_seq)
        if not request.from_now:
            return request.after_seq, request.uid
        if request.after_seq:
            raise InvalidNameError("after_seq", request.after_seq, "0, since `from_now` is given")
        summary = await self._kernel.summary(request.run_id)
        return summary.seq, request.uid or summary.uid

    async def _required_store(self, request: pb.WatchRunRequest | pb.ListEventsRequest) -> str:
        """Return the identity of the store; refuses a cursor of another one, where the same number is another event."""
        store = await self._kernel.backend.identity()
        if request.store_id not in ("", store):
            raise ForeignCursorError(str(Cursor(request.store_id, request.after_seq)))
        return store

    async def _header(self, summary: RunSummary, after_seq: int, store: str) -> pb.WatchRunResponse:
        header = pb.WatchHeader(
            run=await self._message(summary),
            after_seq=after_seq,
            store_id=store,
            bookmark_interval=to_duration(self._bookmark_seconds),
            max_batch_events=WATCH_EVENTS,
            max_batch_bytes=MAX_ANSWER_BYTES,
        )
        return pb.WatchRunResponse(header=header)

    # -- acting -------------------------------------------------------------------------------------------------

    async def SignalRun(self, request: pb.SignalRunRequest, context: Context) -> pb.SignalRunResponse:
        payload = given_value(request.payload, "the payload") if request.HasField("payload") else None
        delivery = await self._kernel.signal(request.run_id, request.name, payload, **_asked(request))
        return pb.SignalRunResponse(outcome=_OUTCOMES[delivery])

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        outcome = await self._kernel.cancel(request.run_id, request.reason or None, **_asked(request))
        return pb.CancelRunResponse(outcome=_CANCEL_OUTCOMES[outcome])

    async def PauseRun(self, request: pb.PauseRunRequest, context: Context) -> pb.PauseRunResponse:
        outcome = await self._kernel.pause(request.run_id, request.reason or None, **_asked(request))
        return pb.PauseRunResponse(outcome=_PAUSE_OUTCOMES[outcome])

    async def UnpauseRun(self, request: pb.UnpauseRunRequest, context: Context) -> pb.UnpauseRunResponse:
        handle = await self._kernel.unpause(request.run_id, **_asked(request))
        return pb.UnpauseRunResponse(run=await self._of(handle))

    async def SkipStep(self, request: pb.SkipStepRequest, context: Context) -> pb.SkipStepResponse:
        output = given_value(request.output, "the output") if request.HasField("output") else None
        await self._kernel.skip(request.run_id, request.step, output, **_reasoned(request))
        return pb.SkipStepResponse()

    async def SetStepOutput(self, request: pb.SetStepOutputRequest, context: Context) -> pb.SetStepOutputResponse:
        output = given_value(request.output, "the output")
        await self._kernel.set_output(request.run_id, request.step, output, **_reasoned(request))
        return pb.SetStepOutputResponse()

    async def SetVariable(self, request: pb.SetVariableRequest, context: Context) -> pb.SetVariableResponse:
        value = given_value(request.value, "the value")
        delivery = await self._kernel.set_variable(request.run_id, request.name, value, **_reasoned(request))
        return pb.SetVariableResponse(outcome=_OUTCOMES[delivery])

    async def ForkRun(self, request: pb.ForkRunRequest, context: Context) -> pb.ForkRunResponse:
        handle = await self._kernel.fork(
            request.run_id,
            inputs=given_object(request.inputs, "the inputs") if request.HasField("inputs") else None,
            workflow=await read_definition(request.definition) if request.HasField("definition") else None,
            **given_in(request, ForkOptions.__annotations__, apart=APART),
        )
        return pb.ForkRunResponse(run=await self._of(handle), created=handle.created)

    async def CancelRuns(self, request: pb.CancelRunsRequest, context: Context) -> pb.CancelRunsResponse:
        result = await self._kernel.cancel_runs(request.reason or None, **bulk_options(request, BULK_PAGE))
        return with_result(pb.CancelRunsResponse(), result)

    async def PauseRuns(self, request: pb.PauseRunsRequest, context: Context) -> pb.PauseRunsResponse:
        result = await self._kernel.pause_runs(request.reason or None, **bulk_options(request, BULK_PAGE))
        return with_result(pb.PauseRunsResponse(), result)

    async def UnpauseRuns(self, request: pb.UnpauseRunsRequest, context: Context) -> pb.UnpauseRunsResponse:
        return with_result(
            pb.UnpauseRunsResponse(), await self._kernel.unpause_runs(**bulk_options(request, BULK_PAGE))
        )

    async def ResumeRuns(self, request: pb.ResumeRunsRequest, context: Context) -> pb.ResumeRunsResponse:
        return with_result(pb.ResumeRunsResponse(), await self._kernel.resume_runs(**bulk_options(request, BULK_PAGE)))

    async def SignalRuns(self, request: pb.SignalRunsRequest, context: Context) -> pb.SignalRunsResponse:
        payload = given_value(request.payload, "the payload") if request.HasField("payload") else None
        result = await self._kernel.signal_runs(request.name, payload, **bulk_options(request, BULK_PAGE))
        return with_result(pb.SignalRunsResponse(), result)

    async def DeleteRun(self, request: pb.DeleteRunRequest, context: Context) -> pb.DeleteRunResponse:
        await self._kernel.delete(request.run_id, force=request.force, uid=request.uid or None)
        return pb.DeleteRunResponse()

    async def PruneRuns(self, request: pb.PruneRunsRequest, context: Context) -> pb.PruneRunsResponse:
        budget = from_duration(request.time_budget) if request.HasField("time_budget") else PRUNE_SECONDS
        pruned = await self._kernel.prune(
            limit=_size(request.max_runs, PRUNE_PAGE, LARGEST_PRUNE),
            time_budget_seconds=min(parse_duration(budget), LONGEST_PRUNE_SECONDS),
            dry_run=request.dry_run,
            **from_selection(request),
        )
        answer = pb.PruneRunsResponse(
            total=pruned.total,
            more=pruned.more,
            kept_paused=pruned.kept_paused,
            kept_live=pruned.kept_live,
            bytes=pruned.bytes,
        )
        gone = (to_run(run, interrupted=False) for run in pruned.runs)
        put_fitting(answer.runs, gone, len(pruned.runs), MAX_ANSWER_BYTES)
        return answer

    # -- moving runs --------------------------------------------------------------------------------------------

    async def ExportRun(self, request: pb.ExportRunRequest, context: Context) -> AsyncIterator[pb.ExportRunResponse]:
        pieces = export_in_pieces(self._kernel, request)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def ImportRun(self, requests: AsyncIterator[pb.ImportRunRequest], context: Context) -> pb.ImportRunResponse:
        return await import_out_of_pieces(self._kernel, requests)

    # -- what answers hold --------------------------------------------------------------------------------------

    async def _run(self, run_id: str, view: int = run_pb2.RUN_VIEW_BASIC) -> run_pb2.Run:
        """Return the run as it is now."""
        if view != run_pb2.RUN_VIEW_FULL:
            return await self._message(await self._kernel.summary(run_id))
        summary, state = await self._kernel.look(run_id)
        run = to_run(summary, interrupted=state.unowned)
        put_details(run, state)
        return run

    async def _of(self, handle: RunHandle) -> run_pb2.Run:
        """Return a run that was asked for: a new one as it was started, without a look into the store."""
        summary = handle.as_started
        return await self._run(handle.run_id) if summary is None else await self._message(summary)

    async def _message(self, summary: RunSummary) -> run_pb2.Run:
        return to_run(summary, interrupted=await self._kernel.is_interrupted(summary))


def _asked(request: Message) -> RequestOptions:
    """Return who asks, and how a repeat is known."""
    return cast(RequestOptions, given_in(request, RequestOptions.__annotations__))


def _reasoned(request: Message) -> ReasonedOptions:
    """Return the same, and the reason."""
    return cast(ReasonedOptions, given_in(request, ReasonedOptions.__annotations__))


def _reason(reason: Reason) -> pb.Reason:
    why = REASON_KINDS.number(reason.why.value)
    made = pb.Reason(why=why, text=reason.text, step=reason.step, commands=reason.commands)
    if reason.until is not None:
        made.until.CopyFrom(to_timestamp(reason.until))
    shorten(made)
    return made


class _Cursor:
    """How far a watch is, and what of it is wanted."""

    def __init__(self, request: pb.WatchRunRequest, after_seq: int, forms: Forms) -> None:
        self._types = frozenset(request.types)
        self._payloads = Payloads(0) if request.without_payloads else Payloads()
        self._encodings = forms.without_payloads if request.without_payloads else forms.whole
        self._seq = after_seq

    def pieces(self, batch: Watched) -> Iterator[pb.WatchRunResponse | bytes]:
        """Yield the messages for some events, each of which is bounded, or for a while without any."""
        wanted = [event for event in batch.stored if not self._types or event.type in self._types]
        through = batch.stored[-1].seq if batch.stored else self._seq
        events = self._encodings.of([((batch.uid, event.seq, event.at), event) for event in wanted], self._encoded)

        def rest(done: int) -> pb.EventBatch:
            self._seq = wanted[done - 1].seq if done < len(events) else through
            return pb.EventBatch(through_seq=self._seq)

        yield from _ENVELOPE.batches(events, rest)
        if not wanted:
            self._seq = through
            yield self.bookmark()

    def _encoded(self, stored: StoredEvent) -> bytes:
        return pb.EventBatch(events=[to_event(stored.event, self._payloads)]).SerializeToString()

    def bookmark(self) -> pb.WatchRunResponse:
        """Return how far it is."""
        return pb.WatchRunResponse(bookmark=pb.WatchBookmark(seq=self._seq))


_ENVELOPE = Envelope(pb.WatchRunResponse)


def _page_of_statistics(whole: pb.GetStatsResponse, tokens: PageTokens, after: str) -> pb.GetStatsResponse:
    """Return the workflows after the one of this name, as many as an answer holds."""
    left = [each for each in whole.workflows if each.workflow > after]
    del whole.workflows[:]
    if put_fitting(whole.workflows, left, len(left), MAX_ANSWER_BYTES):
        whole.next_page_token = tokens.after(whole.workflows[-1].workflow)
    return whole


def _require_uid(request: pb.WatchRunRequest | pb.ListEventsRequest | pb.ReadLogsRequest, name: str, at: int) -> None:
    """Refuse a cursor that does not say of which run: one may have been deleted, and another started under its id."""
    if at and not request.uid:
        raise InvalidNameError("uid", "", f"the uid of the run that `{name}` belongs to")


def _size(given: int, default: int, largest: int = LONGEST_PAGE) -> int:
    """Return how many items an answer holds at most."""
    return min(given or default, largest)
