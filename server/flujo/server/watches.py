"""Answer for WatchRuns: the events of all runs, in bounded messages, with signs of life."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, cast

from flujo.client.wire.events import to_event
from flujo.client.wire.filters import from_watch_filter
from flujo.client.wire.limits import MAX_ANSWER_BYTES, Room, fitting, shorten
from flujo.client.wire.runs import to_run
from flujo.client.wire.values import Payloads, to_duration
from flujo.kernel import Kernel
from flujo.kernel.api import Followed, RunEvent
from flujo.kernel.backend import RunQuery
from flujo.kernel.errors import ServerStoppingError
from flujo.kernel.observer import WATCH_EVENTS
from flujo.v1 import run_service_pb2 as pb

from .encoding import Envelope, Forms

SNAPSHOT_PAGE = 500

Next = Callable[[Callable[[], Any]], Any]
"""Awaits something, and raises ServerStoppingError if the server closes meanwhile."""


async def watch_runs(
    kernel: Kernel,
    request: pb.WatchRunsRequest,
    unless_closing: Next,
    bookmark_seconds: float,
    forms: Forms,
) -> AsyncGenerator[pb.WatchRunsResponse | bytes, None]:
    """Yield the messages of a watch of runs; those with events as bytes, which watchers share."""
    wanted = from_watch_filter(request.filter)
    pieces = kernel.watch_runs_batches(
        request.cursor or None,
        from_now=request.from_now,
        types=list(request.types),
        idle_seconds=bookmark_seconds,
        **wanted,
    )
    async with aclosing(pieces):
        begin = await unless_closing(lambda: anext(pieces))
        yield _header(begin, bookmark_seconds)
        if request.snapshot:
            async for message in _snapshot(kernel, cast(RunQuery, wanted)):
                yield message
        cursor = begin.cursor
        try:
            while (piece := await unless_closing(lambda: anext(pieces, None))) is not None:
                messages = deque(_messages(piece, forms, request.without_payloads))
                cursor = piece.cursor
                del piece  # a client that does not read holds the messages that it has not taken, and not the events
                while messages:
                    yield messages.popleft()
        except ServerStoppingError:
            yield _bookmark(cursor)  # whoever comes back begins behind what was looked at, wanted or not
            raise


def _bookmark(cursor: str) -> pb.WatchRunsResponse:
    return pb.WatchRunsResponse(bookmark=pb.WatchRunsBookmark(cursor=cursor))


def _header(begin: Followed, bookmark_seconds: float) -> pb.WatchRunsResponse:
    header = pb.WatchRunsHeader(
        cursor=begin.cursor,
        bookmark_interval=to_duration(bookmark_seconds),
        max_batch_events=WATCH_EVENTS,
        max_batch_bytes=MAX_ANSWER_BYTES,
    )
    return pb.WatchRunsResponse(header=header)


async def _snapshot(kernel: Kernel, wanted: RunQuery) -> AsyncIterator[pb.WatchRunsResponse]:
    """Yield the runs that match, page by page, and a last message that says so."""
    token: str | None = None
    while True:
        page = await kernel.list(limit=SNAPSHOT_PAGE, page=token, **wanted)
        runs = [to_run(run, interrupted=await kernel.is_interrupted(run)) for run in page.runs]
        token = page.next
        while runs and (kept := fitting(runs, Room())) < len(runs):
            yield pb.WatchRunsResponse(snapshot=pb.RunSnapshot(runs=runs[:kept]))
            runs = runs[kept:]
        yield pb.WatchRunsResponse(snapshot=pb.RunSnapshot(runs=runs, complete=token is None))
        if token is None:
            return


def _messages(piece: Followed, forms: Forms, without_payloads: bool) -> Iterator[pb.WatchRunsResponse | bytes]:
    """Yield the messages for some events, each of which is bounded, or for a while without any."""
    if not piece.events:
        yield _bookmark(piece.cursor)
    keyed = [((event.cursor, event.event.at), event) for event in piece.events]  # a rewound store gives a place anew
    if without_payloads:
        events = forms.without_payloads.of(keyed, partial(_encoded, payloads=Payloads(0)))
    else:
        events = forms.whole.of(keyed, partial(_encoded, payloads=Payloads()))

    def rest(done: int) -> pb.RunEventBatch:
        return pb.RunEventBatch(cursor=piece.events[done - 1].cursor if done < len(events) else piece.cursor)

    yield from _ENVELOPE.batches(events, rest)


_ENVELOPE = Envelope(pb.WatchRunsResponse)


def _encoded(event: RunEvent, payloads: Payloads) -> bytes:
    made = pb.RunEvent(
        run_id=event.run_id,
        uid=event.uid,
        workflow=event.workflow,
        event=to_event(event.event, payloads),
        cursor=event.cursor,
    )
    shorten(made)
    return pb.RunEventBatch(events=[made]).SerializeToString()
