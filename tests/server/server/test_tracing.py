"""Traced by OpenTelemetry's own instrumentation, a server answers as ever, and its errors are seen as errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorServer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flujo.client.wire.values import MAX_INLINE_BYTES
from flujo.kernel.errors import RunNotFoundError
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
