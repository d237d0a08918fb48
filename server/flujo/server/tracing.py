"""Export the spans of calls, runs, steps and attempts by OpenTelemetry's SDK.

A call is linked to its caller by the `traceparent` in its metadata, a run to the call that started it by the one that
it has recorded. Spans of runs are exported when what they are of has ended, in time that the journal tells. One server
of a store should do it: each that does exports all runs.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from flujo.kernel import Kernel, WorkflowState
from flujo.kernel.api import Cursor, RunEvent
from flujo.kernel.clock import Clock
from flujo.kernel.errors import ExtraMissingError, RunNotFoundError, RunReplacedError
from flujo.kernel.events import UnknownFact
from flujo.kernel.traces import TraceContext
from flujo.kernel.transitions import fold

from .spans import Span, ended_by

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

REMEMBERED = 1000
"""Of how many runs that go on it is known how they stand; another one is read again."""

CATCH_UP_SECONDS = 1.0

_PAGE = 500


class Tracer:
    """Hands spans to `processor`, which is one of OpenTelemetry's SDK."""

    def __init__(self, processor: SpanProcessor, clock: Clock) -> None:
        """Raises ExtraMissingError."""
        self._processor = processor
        self._clock = clock
        self._make = _span_maker()
        self._cursor = ""
        self._moved = anyio.Event()
        self._states: OrderedDict[str, WorkflowState] = OrderedDict()  # by uid, the one used last at the end

    @contextmanager
    def call(self, method: str, caller: TraceContext | None) -> Iterator[TraceContext]:
        """Export a span of the call that the block is; runs that are started in it belong to that."""
        context = (caller or TraceContext(secrets.token_hex(16), ""))._replace(span_id=secrets.token_hex(8))
        began, error = self._clock.now(), None
        try:
            yield context
        except BaseException as raised:
            error = (type(raised).__name__, str(raised))
            raise
        finally:
            service, _, name = method.removeprefix("/").rpartition("/")
            told = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
            self._export(
                Span(method.removeprefix("/"), context, caller, began, self._clock.now(), told, error), "SERVER"
            )

    async def follow(self, kernel: Kernel) -> None:
        """Export what ends from now on, until cancelled."""
        async with aclosing(kernel.watch_runs_batches(from_now=True)) as pieces:
            async for piece in pieces:
                for event in piece.events:
                    try:
                        await self._take(event, kernel)
                    except (RunNotFoundError, RunReplacedError):
                        self._states.pop(event.uid, None)
                self._cursor = piece.cursor
                self._moved.set()
                self._moved = anyio.Event()

    async def catch_up(self, kernel: Kernel) -> None:
        """Return when what has ended by now is exported, after a second at the latest: events that were deleted are
        never seen."""
        last = str(Cursor(await kernel.backend.identity(), await kernel.backend.last_position()))
        with anyio.move_on_after(CATCH_UP_SECONDS):
            while self._cursor != last:
                await self._moved.wait()

    async def _take(self, event: RunEvent, kernel: Kernel) -> None:
        if isinstance(event.event.fact, UnknownFact):
            return
        state = self._states.get(event.uid) or WorkflowState(run_id=event.run_id, uid=event.uid)
        self._states[event.uid] = state
        self._states.move_to_end(event.uid)
        while state.seq < event.event.seq - 1:
            limit = min(event.event.seq - 1 - state.seq, _PAGE)
            for earlier in await kernel.events(state.run_id, state.seq, limit=limit, uid=state.uid):
                fold(state, earlier)
        for span in ended_by(state, event.event):
            self._export(span, "INTERNAL")
        fold(state, event.event)
        if state.is_final:
            del self._states[event.uid]
        elif len(self._states) > REMEMBERED:
            self._states.popitem(last=False)

    def _export(self, span: Span, kind: str) -> None:
        if span.context.is_sampled:
            self._processor.on_end(self._make(span, kind))

    def close(self) -> None:
        """Export what was not sent yet."""
        self._processor.shutdown()


def _span_maker() -> Callable[[Span, str], Any]:
    """Return what makes a span of the SDK of one of ours."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
        from opentelemetry.trace.status import Status, StatusCode
    except ModuleNotFoundError as error:
        raise ExtraMissingError("traces", "otel") from error
    resource = Resource.create({"service.name": "flujo"})
    scope = InstrumentationScope("flujo")

    def context_of(given: TraceContext, is_remote: bool) -> Any:
        flags = TraceFlags(TraceFlags.SAMPLED if given.is_sampled else TraceFlags.DEFAULT)
        return SpanContext(int(given.trace_id, 16), int(given.span_id, 16), is_remote, flags)

    def make(span: Span, kind: str) -> Any:
        error = span.error
        status = Status(StatusCode.UNSET)
        if error is not None:
            status = Status(StatusCode.ERROR, _valid(f"{error[0]}: {error[1]}"))
        told = {**span.attributes, **({} if error is None else {"error.type": error[0]})}
        return ReadableSpan(
            _valid(span.name),
            context=context_of(span.context, is_remote=False),
            parent=None if span.parent is None else context_of(span.parent, is_remote=True),
            resource=resource,
            attributes=told,
            kind=SpanKind[kind],
            status=status,
            start_time=span.started_at * 1000,
            end_time=span.ended_at * 1000,
            instrumentation_scope=scope,
        )

    return make


def _valid(text: str) -> str:
    """Return what UTF-8 can hold: one text that it cannot costs a collector all spans of the batch."""
    return text.encode(errors="backslashreplace").decode()


def processor_to(where: str) -> SpanProcessor:
    """Return what exports to `where`: `otlp` is the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, anything else a
    file, to which each span is added as a line of JSON. Raises ExtraMissingError."""
    try:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ModuleNotFoundError as error:
        raise ExtraMissingError("traces", "otel") from error
    if where != "otlp":

        class ToFile(ConsoleSpanExporter):  # type: ignore[misc]
            """Closes its file, which OpenTelemetry's own does not."""

            def shutdown(self) -> None:
                self.out.close()

        file = Path(where).open("a", encoding="utf-8")  # noqa: SIM115 - until the exporter is shut down
        return BatchSpanProcessor(ToFile(out=file, formatter=_one_line))
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError as error:
        raise ExtraMissingError("traces to a collector", "otel") from error
    return BatchSpanProcessor(OTLPSpanExporter())


def _one_line(span: Any) -> str:
    return str(span.to_json(indent=None)) + "\n"
