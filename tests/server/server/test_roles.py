"""Every method, by every role, over every transport, with and without definitions: each cell as the rules say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import aio
from grpc_status import rpc_status

from flujo.server import serve
from flujo.server.access import BRING_DEFINITIONS, RULES, Security
from flujo.server.listening import SERVICES
from flujo.server.tokens import Role, add_token
from flujo.v1 import run_service_pb2
from kernel.harness import Harness
from server.flows import doubling

METHODS: list[MethodDescriptor] = [
    method for name in SERVICES for method in descriptor_pool.Default().FindServiceByName(name).methods
]


def path_of(method: MethodDescriptor) -> str:
    assert method.containing_service is not None
    return f"/{method.containing_service.full_name}/{method.name}"


def brings_definition(method: MethodDescriptor) -> bool:
    """True if a request of the method may hold a definition in a field."""
    assert isinstance(method.input_type, Descriptor)
    return "definition" in method.input_type.fields_by_name


async def answered(channel: aio.Channel, method: MethodDescriptor, request: Any, metadata: Any) -> tuple[str, str]:
    """How a call ends, or that it begins to answer: its code, and the reason in it."""
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(channel, kind)(path_of(method))
    data = request.SerializeToString()
    begun = call(iter([data]) if method.client_streaming else data, metadata=metadata, timeout=20)
    try:
        await (anext(aiter(begun), None) if method.server_streaming else begun)
    except aio.AioRpcError as error:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        info = ErrorInfo()
        if status is not None and status.details:
            status.details[0].Unpack(info)
        return error.code().name, info.reason
    finally:
        begun.cancel()
    return "OK", ""


@asynccontextmanager
async def listening(transport: str, role: Role | None, folder: Path) -> AsyncIterator[tuple[aio.Channel, Any]]:
    """A server, and a channel to it of a caller with this role, or with None a stranger."""
    tokens = folder / "tokens.json"
    secret = add_token(tokens, "ci", role or Role.VIEWER, 1, lambda size: b"7" * size)
    security = Security(tokens=tokens, allow_definitions=transport == "tcp that takes definitions")
    where: dict[str, Any] = (
        {"address": f"unix:{folder}/s"}
        if transport == "unix"
        else {"address": "tcp://127.0.0.1:0", "security": security}
    )
    kernel = Harness().kernel(doubling)
    async with kernel, anyio.create_task_group() as group:
        address = await group.start(lambda **task: serve(kernel, **where, **task))
        metadata = () if role is None or transport == "unix" else (("authorization", f"Bearer {secret}"),)
        async with aio.insecure_channel(address.removeprefix("tcp://")) as channel:
            yield channel, metadata
        group.cancel_scope.cancel()


TRANSPORTS = ("unix", "tcp", "tcp that takes definitions")


@pytest.mark.parametrize("role", [*Role, None])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_method_is_for_whom_the_rules_say(transport: str, role: Role | None, folder: Path) -> None:
    """A stranger is never let in over TCP, and who is known as far as the role goes; a socket's owner may do all."""
    async with listening(transport, role, folder) as (channel, metadata):
        for method in METHODS:
            request = GetMessageClass(method.input_type)()
            code, reason = await answered(channel, method, request, metadata)
            if transport == "unix":
                expected = None
            elif role is None:
                expected = ("UNAUTHENTICATED", "UNAUTHENTICATED")
            elif not role.may(RULES[path_of(method)]):
                expected = ("PERMISSION_DENIED", "PERMISSION_DENIED")
            elif path_of(method) in BRING_DEFINITIONS and transport == "tcp":
                expected = ("PERMISSION_DENIED", "DEFINITIONS_NOT_ALLOWED")
            else:
                expected = None
            if expected is not None:
                assert (code, reason) == expected, method.name
            else:
                assert code not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNKNOWN", "INTERNAL"), method.name
                assert code == "OK" or reason, method.name


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_definitions_are_for_who_may_send_them(transport: str, folder: Path) -> None:
    """By whatever method they come: over TCP an admin may not either, unless the server says so."""
    able = [method for method in METHODS if brings_definition(method)]
    assert {method.name for method in able} == {
        "StartRun",
        "ResumeRun",
        "ForkRun",
        "ValidateWorkflow",
        "PutWorkflow",
        "DiffRun",
    }
    async with listening(transport, Role.ADMIN, folder) as (channel, metadata):
        for method in able:
            request: Any = GetMessageClass(method.input_type)()
            request.definition.text = "name: x\nsteps: [{name: a, task: noop}]"
            code, reason = await answered(channel, method, request, metadata)
            if transport == "tcp":
                assert (code, reason) == ("PERMISSION_DENIED", "DEFINITIONS_NOT_ALLOWED"), method.name
            else:
                assert code != "PERMISSION_DENIED", method.name


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_definition_among_many_starts_is_one_too(transport: str, folder: Path) -> None:
    """Nothing is started by a call that brings one where they are not taken."""
    (method,) = [each for each in METHODS if each.name == "StartRuns"]
    request = run_service_pb2.StartRunsRequest(starts=[run_service_pb2.StartRunRequest() for _ in range(2)])
    request.starts[1].definition.text = "name: x\nsteps: [{name: a, task: noop}]"
    async with listening(transport, Role.ADMIN, folder) as (channel, metadata):
        code, reason = await answered(channel, method, request, metadata)
        expected = ("PERMISSION_DENIED", "DEFINITIONS_NOT_ALLOWED") if transport == "tcp" else ("OK", "")
        assert (code, reason or "") == expected


async def test_what_is_no_method_of_ours_is_for_nobody(folder: Path) -> None:
    """Nor is one of ours in another spelling."""
    async with listening("tcp", Role.ADMIN, folder) as (channel, metadata):
        unary: Any = channel.unary_unary
        for path in ("/flujo.v1.RunService/StealRuns", "/flujo.v1.runservice/GetRun", "/x/y", "/flujo.v1.RunService/"):
            with pytest.raises(aio.AioRpcError) as refused:
                await unary(path)(b"", metadata=metadata, timeout=20)
            assert refused.value.code().name == "UNIMPLEMENTED"
