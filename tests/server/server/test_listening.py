"""What listens besides our own services, and where it can listen at all."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from flujo.client.addresses import ServerAddress
from flujo.kernel.errors import InvalidAddressError, UnsupportedEventLoopError
from flujo.server import serve
from flujo.server.listening import ListenOptions, listening
from flujo.server.slots import CallLimits
from flujo.server.sockets import claimed
from flujo.v1 import run_service_pb2 as pb
from kernel.harness import Harness
from server.flows import doubling, waiting
from server.harness import served, stubs

SERVICES = ["", "flujo.v1.RunService", "flujo.v1.SystemService"]


@pytest.mark.parametrize("service", SERVICES)
async def test_health_is_answered(service: str, address: str) -> None:
    """The standard service says SERVING for the server and for each of its services."""
    kernel = Harness().kernel(doubling)
    async with kernel, served(kernel, address), aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_says_when_a_server_closes(address: str) -> None:
    """A watch of it is told before the server is gone, and does not use up the grace."""
    kernel = Harness().kernel(doubling)
    async with kernel, aio.insecure_channel(address) as channel:
        with anyio.fail_after(30):
            async with served(kernel, address, grace_seconds=3600):
                stub: Any = health_pb2_grpc.HealthStub(channel)
                call = stub.Watch(health_pb2.HealthCheckRequest())
                seen = [(await call.read()).status]
            seen.append((await call.read()).status)
        await call.code()

    assert seen == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]


async def test_reflection_lists_the_services(address: str) -> None:
    """So that grpcurl and buf curl need no .proto files."""
    kernel = Harness().kernel(doubling)
    async with kernel, served(kernel, address), aio.insecure_channel(address) as channel:
        make: Any = reflection_pb2_grpc.ServerReflectionStub
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="flujo.v1.RunService"),
        ]
        listed, found = [answer async for answer in make(channel).ServerReflectionInfo(iter(requests))]

    names = {service.name for service in listed.list_services_response.service}
    assert names >= {
        *SERVICES[1:],
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.reflection.v1.ServerReflection",
    }
    assert found.file_descriptor_response.file_descriptor_proto


async def test_a_method_that_does_not_exist_is_unimplemented(address: str) -> None:
    """As clients of newer releases find out."""
    kernel = Harness().kernel(doubling)
    async with kernel, served(kernel, address), aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary("/flujo.v1.RunService/TeleportRun")
        with pytest.raises(aio.AioRpcError) as refused:
            await call(b"")

    assert refused.value.code().name == "UNIMPLEMENTED"


async def test_too_many_calls_are_refused_at_once(address: str) -> None:
    """Open watches count; when they end there is room again."""
    kernel, limits = Harness().kernel(waiting), CallLimits(3, 3, 0)
    async with kernel, served(kernel, address, call_limits=limits), stubs(address) as (stub, _):
        await kernel.start("waiting", run_id="r")
        watches = [stub.WatchRun(pb.WatchRunRequest(run_id="r")) for _ in range(3)]
        for watch in watches:
            await watch.read()

        with pytest.raises(aio.AioRpcError) as refused:
            await stub.GetRun(pb.GetRunRequest(run_id="r"))
        await kernel.signal("r", "go")
        for watch in watches:
            while await watch.read() is not aio.EOF:
                pass
        with anyio.fail_after(30):
            while not await answered(stub):
                pass

    assert refused.value.code().name == "RESOURCE_EXHAUSTED"


async def answered(stub: Any) -> bool:
    """Whether there is room for a call."""
    try:
        await stub.GetRun(pb.GetRunRequest(run_id="r"))
    except aio.AioRpcError:
        return False
    return True


@pytest.mark.parametrize("text", ["tcp:localhost:1", "http://x", "s"])
async def test_what_is_no_address_is_not_listened_at(text: str) -> None:
    """It is refused before anything listens."""
    async with Harness().kernel(doubling) as kernel:
        with pytest.raises(InvalidAddressError):
            await serve(kernel, text)


def test_a_server_needs_asyncio(address: str) -> None:
    """gRPC knows no other loop; the error says so before anything listens."""

    async def main() -> None:
        async with Harness().kernel(doubling) as kernel:
            with pytest.raises(UnsupportedEventLoopError, match="the gRPC server does not run on trio"):
                await serve(kernel, address)

    anyio.run(main, backend="trio")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_of_reflection_are_answered(version: str, address: str) -> None:
    """Tools ask for one or the other, and for how reflection itself is described."""
    kernel = Harness().kernel(doubling)
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    symbols = ["flujo.v1.RunService", f"grpc.reflection.{version}.ServerReflection", "flujo.v1.limit"]
    asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in symbols]
    async with kernel, served(kernel, address), aio.insecure_channel(address) as channel:
        call: Any = channel.stream_stream(
            path,
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        answers = [answer async for answer in call(iter(asked))]

    files = [FileDescriptorProto.FromString(each.file_descriptor_response.file_descriptor_proto[0]) for each in answers]
    assert [file.package for file in files] == ["flujo.v1", f"grpc.reflection.{version}", "flujo.v1"]


async def test_who_waits_for_the_end_is_told(address: str) -> None:
    """When a server begins to close, before it waits for calls under way."""
    told: list[str] = []
    kernel = Harness().kernel(doubling)
    async with kernel:
        with claimed(ServerAddress.parse(address)):
            options = ListenOptions(stopping=lambda: told.append("stopping"))
            async with listening(kernel, ServerAddress.parse(address), options) as bound:
                assert (bound, told) == (address, [])
            assert told == ["stopping"]
