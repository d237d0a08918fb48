"""RunService: each method translates a request, asks the kernel, and translates the answer.

What a method does and which errors it answers is written in proto/flujo/v1/run_service.proto; errors are raised here as
the kernel raises them, and become statuses in the guard. No run depends on a handler: runs live in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Any

import anyio
from grpc import aio

from flujo.client.wire.events import recorded_payload, to_event
from flujo.client.wire.runs import MAX_STEPS, given_statuses, put_details, to_run, to_run_status, to_step
from flujo.client.wire.values import MAX_INLINE_BYTES, Payloads, from_duration, given_object, given_value
from flujo.kernel import Kernel, RunHandle, RunSummary, Workflow
from flujo.kernel.api import CancelOutcome, Delivery
from flujo.kernel.errors import CursorError, InvalidNameError, KernelClosedError, RunInterrupted
from flujo.kernel.observer import Watched
from flujo.kernel.state import FINAL
from flujo.v1 import run_pb2, run_service_pb2_grpc
from flujo.v1 import run_service_pb2 as pb
from flujo.v1.event_pb2 import Event
from flujo.v1.payload_pb2 import Definition

Context = aio.ServicerContext[Any, Any]

PAGE = 50
EVENTS_PAGE = 500
PRUNE_PAGE = 500
LONGEST_PAGE = 1000
WAIT_SECONDS = 20.0
LONGEST_WAIT_SECONDS = 60.0
BOOKMARK_SECONDS = 15.0
STALL_SECONDS = 60.0
"""How long a watcher may leave what it was sent unread; then it has to come back with its cursor."""

_OUTCOMES = {
    Delivery.RECORDED: pb.SIGNAL_OUTCOME_RECORDED,
    Delivery.POSTED: pb.SIGNAL_OUTCOME_POSTED,
    Delivery.STORED: pb.SIGNAL_OUTCOME_STORED,
}
_CANCEL_OUTCOMES = {
    CancelOutcome.REQUESTED: pb.CANCEL_OUTCOME_REQUESTED,
    CancelOutcome.CANCELLED: pb.CANCEL_OUTCOME_CANCELLED,
    CancelOutcome.ALREADY_FINISHED: pb.CANCEL_OUTCOME_ALREADY_FINISHED,
}


class RunService(run_service_pb2_grpc.RunServiceServicer):
    """The runs of one kernel. `closing` is set when the server begins to close."""

    def __init__(self, kernel: Kernel, closing: anyio.Event, *, bookmark_seconds: float = BOOKMARK_SECONDS) -> None:
        self._kernel = kernel
        self._closing = closing
        self._bookmark_seconds = bookmark_seconds

    # -- starting and resuming ----------------------------------------------------------------------------------

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        handle = await self._kernel.start(
            _source(request),
            given_object(request.inputs, "the inputs") if request.HasField("inputs") else {},
            run_id=request.run_id or None,
            labels=dict(request.labels),
        )
        return pb.StartRunResponse(run=await self._run_of(handle), created=handle.created)

    async def ResumeRun(self, request: pb.ResumeRunRequest, context: Context) -> pb.ResumeRunResponse:
        handle = await self._kernel.resume(
            request.run_id,
            workflow=_workflow(request.definition) if request.HasField("definition") else None,
            from_step=request.from_step or None,
            inputs=given_object(request.inputs, "the inputs") if request.HasField("inputs") else None,
            accept_changes=request.accept_changes,
            by=request.by or None,
        )
        return pb.ResumeRunResponse(run=await self._run_of(handle))

    # -- reading ------------------------------------------------------------------------------------------------

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=await self._run(request.run_id, request.view))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        page = await self._kernel.list(
            statuses=given_statuses(request.filter.statuses),
            workflow=request.filter.workflow or None,
            id_prefix=request.filter.id_prefix or None,
            labels=dict(request.filter.labels),
            limit=_size(request.page_size, PAGE),
            page=request.page_token or None,
        )
        return pb.ListRunsResponse(runs=await self._messages(page.runs), next_page_token=page.next or "")

    async def ListSteps(self, request: pb.ListStepsRequest, context: Context) -> pb.ListStepsResponse:
        size = _size(request.page_size, MAX_STEPS)
        start = _offset(request.page_token)
        state = await self._kernel.inspect(request.run_id)
        payloads = Payloads()
        steps = [to_step(step, payloads) for step in islice(state.steps.values(), start, start + size)]
        following = start + size if start + size < len(state.steps) else None
        return pb.ListStepsResponse(steps=steps, next_page_token="" if following is None else str(following))

    async def WaitRun(self, request: pb.WaitRunRequest, context: Context) -> pb.WaitRunResponse:
        seconds = from_duration(request.max_wait) if request.HasField("max_wait") else WAIT_SECONDS
        if seconds < 0:
            raise InvalidNameError("max_wait", f"{seconds:g}s", "a duration that is not negative")
        with anyio.move_on_after(min(seconds, LONGEST_WAIT_SECONDS)):
            try:
                await self._kernel.wait(request.run_id)
            except RunInterrupted:
                if self._closing.is_set():  # it is this server that leaves it
                    raise KernelClosedError from None
        run = await self._run(request.run_id, request.view)
        settled = (*map(to_run_status, FINAL), run_pb2.RUN_STATUS_PAUSED)
        return pb.WaitRunResponse(run=run, reached=run.status in settled)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        size = _size(request.page_size, EVENTS_PAGE)
        summary = await self._kernel.summary(request.run_id)
        events = await self._kernel.events(
            request.run_id, request.after_seq, limit=size, uid=request.uid or summary.uid
        )
        payloads = Payloads()
        messages: list[Event] = []
        for event in events:
            messages.append(to_event(event, payloads))
            if payloads.room < MAX_INLINE_BYTES:  # the next one might not come along: it begins the next answer
                break
        return pb.ListEventsResponse(events=messages, head_seq=max(summary.seq, request.after_seq), uid=summary.uid)

    async def ReadPayload(  # type: ignore[override]  # writes its answers itself, see WatchRun
        self, request: pb.ReadPayloadRequest, context: Context
    ) -> None:
        if request.seq < 1:
            raise InvalidNameError("seq", request.seq, "the number of an event, from 1")
        uid = request.uid or (await self._kernel.summary(request.run_id)).uid
        found = await self._kernel.events(request.run_id, request.seq - 1, limit=1, uid=uid)
        if not found:
            raise CursorError(request.run_id, request.seq, request.seq - 1)
        recorded = recorded_payload(found[0])
        if recorded is None:
            raise InvalidNameError("seq", request.seq, f"an event with a value; this one is {found[0].type}")
        for chunk in _chunks(recorded.encode()):
            with anyio.fail_after(STALL_SECONDS):
                await context.write(pb.ReadPayloadResponse(chunk=chunk))

    # -- watching -----------------------------------------------------------------------------------------------

    async def WatchRun(  # type: ignore[override]  # not a generator, which could hold no task group
        self, request: pb.WatchRunRequest, context: Context
    ) -> None:
        ended = False

        async def end_when_closing() -> None:
            await self._closing.wait()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end_when_closing)
            await self._watch(request, context)
            ended = True
            tasks.cancel_scope.cancel()
        if not ended:
            raise KernelClosedError

    async def _watch(self, request: pb.WatchRunRequest, context: Context) -> None:
        async def send(**content: Any) -> None:
            with anyio.fail_after(STALL_SECONDS):
                await context.write(pb.WatchRunResponse(**content))

        batches = self._kernel.watch_batches(
            request.run_id, request.after_seq, uid=request.uid or None, idle_seconds=self._bookmark_seconds
        )
        seq = request.after_seq
        async with aclosing(batches):
            first = await anext(batches)  # raises what is wrong with the request before anything is sent
            await send(header=pb.WatchHeader(run=await self._run(request.run_id)))
            await send(**_content(first, seq))
            seq = _seq_after(first, seq)
            async for batch in batches:
                await send(**_content(batch, seq))
                seq = _seq_after(batch, seq)

    # -- acting -------------------------------------------------------------------------------------------------

    async def SignalRun(self, request: pb.SignalRunRequest, context: Context) -> pb.SignalRunResponse:
        payload = given_value(request.payload, "the payload") if request.HasField("payload") else None
        delivery = await self._kernel.signal(request.run_id, request.name, payload, by=request.by or None)
        return pb.SignalRunResponse(outcome=_OUTCOMES[delivery])

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        outcome = await self._kernel.cancel(request.run_id, request.reason or None, by=request.by or None)
        return pb.CancelRunResponse(outcome=_CANCEL_OUTCOMES[outcome])

    async def DeleteRun(self, request: pb.DeleteRunRequest, context: Context) -> pb.DeleteRunResponse:
        await self._kernel.delete(request.run_id, force=request.force)
        return pb.DeleteRunResponse()

    async def PruneRuns(self, request: pb.PruneRunsRequest, context: Context) -> pb.PruneRunsResponse:
        if not request.HasField("older_than"):
            raise InvalidNameError("older_than", "", "a duration; zero means all")
        pruned = await self._kernel.prune(
            older_than_seconds=from_duration(request.older_than),
            statuses=given_statuses(request.statuses),
            workflow=request.workflow or None,
            limit=_size(request.max_runs, PRUNE_PAGE),
            dry_run=request.dry_run,
        )
        return pb.PruneRunsResponse(
            runs=[to_run(run, interrupted=False) for run in pruned.runs],
            total=pruned.total,
            more=pruned.more,
            kept_paused=pruned.kept_paused,
        )

    # -- what answers hold --------------------------------------------------------------------------------------

    async def _run(self, run_id: str, view: int = run_pb2.RUN_VIEW_BASIC) -> run_pb2.Run:
        """The run as it stands; in RUN_VIEW_FULL, summary and details are of one moment."""
        while True:
            summary = await self._kernel.summary(run_id)
            run = to_run(summary, interrupted=await self._kernel.is_interrupted(summary))
            if view != run_pb2.RUN_VIEW_FULL:
                return run
            state = await self._kernel.inspect(run_id)
            if (state.uid, state.seq) == (summary.uid, summary.seq):
                put_details(run, state)
                return run

    async def _run_of(self, handle: RunHandle) -> run_pb2.Run:
        return await self._run(handle.run_id)

    async def _messages(self, runs: Sequence[RunSummary]) -> list[run_pb2.Run]:
        return [to_run(run, interrupted=await self._kernel.is_interrupted(run)) for run in runs]


def _source(request: pb.StartRunRequest) -> Workflow | str:
    match request.WhichOneof("source"):
        case "definition":
            return _workflow(request.definition)
        case "workflow":
            return request.workflow
        case _:
            raise InvalidNameError("source", "", "`workflow` or `definition`")


def _workflow(definition: Definition) -> Workflow:
    """The workflow in a definition that came with a request. No file is read for it."""
    from flujo.workflows import load_workflow_text

    return load_workflow_text(definition.text, definition.name or "workflow.yaml")


def _content(batch: Watched, seq: int) -> dict[str, Any]:
    """What a piece of a watch is in a message; `seq` is the last event that was sent."""
    if batch.end is not None:
        return {"end": pb.WatchEnd(seq=batch.end.seq, status=to_run_status(batch.end.status))}
    if not batch.events:
        return {"bookmark": pb.WatchBookmark(seq=seq)}
    payloads = Payloads()
    return {"events": pb.EventBatch(events=[to_event(event, payloads) for event in batch.events])}


def _seq_after(batch: Watched, seq: int) -> int:
    return batch.events[-1].seq if batch.events else seq


def _size(given: int, default: int) -> int:
    """How many items an answer holds at most."""
    if given < 0:
        raise InvalidNameError("page size", given, "0 for the default, or how many at most")
    return min(given or default, LONGEST_PAGE)


def _offset(token: str) -> int:
    if not token:
        return 0
    if not token.isdecimal() or len(token) > 9:
        raise InvalidNameError("page token", token, "take it from `next_page_token` of an earlier page")
    return int(token)


def _chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), MAX_INLINE_BYTES):
        yield data[start : start + MAX_INLINE_BYTES]
