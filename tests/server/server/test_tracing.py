"""Traced by OpenTelemetry's own instrumentation, a server answers as ever, and its errors are seen as errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorServer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flujo.backends import open_backend
from flujo.client.wire.values import MAX_INLINE_BYTES
from flujo.kernel import Kernel
from flujo.kernel.errors import RunNotFoundError
from flujo.kernel.traces import TraceContext, parent_of
from flujo.v1 import run_service_pb2 as pb
from flujo.v1 import run_service_pb2_grpc
from kernel.harness import Harness
from server.flows import echoing
from server.harness import both, served


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is traced of the servers of a test."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = GrpcAioInstrumentorServer()
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield exporter
    finally:
        instrumentor.uninstrument()


def codes(spans: InMemorySpanExporter, method: str) -> list[object]:
    """The status codes that were traced of the calls of a method."""
    return [
        (span.attributes or {})["rpc.grpc.status_code"]
        for span in spans.get_finished_spans()
        if span.name.endswith(f"/{method}")
    ]


async def test_streams_work_and_errors_are_errors(address: str, spans: InMemorySpanExporter) -> None:
    """Watches, values that are read apart, and an error after which the span does not say OK."""
    large = "x" * (MAX_INLINE_BYTES + 1)
    async with both(Harness().kernel(echoing), address) as (_, client):
        await client.start("echoing", {"value": large}, run_id="r")

        events = [event.type async for event in client.watch("r")]
        assert await client.result("r") == large
        with pytest.raises(RunNotFoundError):
            await client.inspect("nobody")
        with pytest.raises(RunNotFoundError):
            await anext(client.watch("nobody"))

    assert (events[0], events[-1]) == ("run_created", "run_completed")
    assert 0 in codes(spans, "ReadPayload")
    assert sorted(map(str, codes(spans, "WatchRun"))) == ["0", "5"]
    assert 5 in codes(spans, "GetRun")


@pytest.mark.usefixtures("spans")
async def test_health_is_watched(address: str) -> None:
    """From SERVING to NOT_SERVING when the server closes; an unknown service is unknown."""
    kernel = Harness().kernel(echoing)
    seen: list[int] = []
    async with kernel, aio.insecure_channel(address) as channel, anyio.create_task_group() as group:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        serving = anyio.Event()

        async def watch() -> None:
            try:
                async for answer in stub.Watch(health_pb2.HealthCheckRequest(service="flujo.v1.RunService")):
                    seen.append(answer.status)
                    serving.set()
            except aio.AioRpcError:
                pass  # the server has gone

        async with served(kernel, address):
            group.start_soon(watch)
            await serving.wait()
            unknown = stub.Watch(health_pb2.HealthCheckRequest(service="other"))
            assert (await anext(aiter(unknown))).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            unknown.cancel()
    assert seen == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]


async def test_every_kind_of_call_works_and_belongs_to_its_span(
    folder: Path, address: str, spans: InMemorySpanExporter
) -> None:
    """Streams of requests and of answers, of all three services; and a run belongs to the caller's trace beside it."""
    caller = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    kernel = Kernel(open_backend(f"sqlite:{folder}/s.db"), [echoing])
    async with both(kernel, address) as (near, client), aio.insecure_channel(address) as channel:
        stub: Any = run_service_pb2_grpc.RunServiceStub(channel)
        request = pb.StartRunRequest(workflow="echoing", run_id="r")
        await stub.StartRun(request, metadata=(("traceparent", caller.header),))
        await client.result("r")
        export = await client.export_run("r")
        await client.delete("r")
        assert [each.outcome.value for each in await client.import_run(export)] == ["created"]
        async with aclosing(client.watch_runs()) as events:
            assert (await anext(events)).run_id == "r"
        assert (await client.check()).is_sound
        assert await client.backup(folder / "copy") > 0
        assert [each.name for each in await client.workflows()] == ["echoing"]
        state = await near.inspect("r")

    assert parent_of(state.environment) == caller
    for method in ("ExportRun", "ImportRun", "Check", "Backup", "ListWorkflows"):
        assert codes(spans, method) == [0], method
