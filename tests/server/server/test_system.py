"""What a server says of itself."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from flujo.backends import open_backend
from flujo.client import calls
from flujo.client.wire.values import MAX_INLINE_BYTES
from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.api import MAX_INPUT_BYTES
from flujo.server.listening import OPTIONS
from flujo.server.runs import BOOKMARK_SECONDS
from flujo.server.slots import DEFAULT_LIMITS
from flujo.server.system import KEEPALIVE
from flujo.v1 import system_service_pb2 as pb
from kernel.harness import Harness
from server.flows import doubling, waiting
from server.harness import both, served, stubs


async def test_a_server_introduces_itself(address: str) -> None:
    """Version, kernel, store, workflows, clock and limits."""
    harness = Harness()
    async with both(harness.kernel(waiting, doubling), address) as (kernel, client):
        began = harness.clock.now()
        harness.clock.advance(60)
        info = await client.info()
        async with stubs(address) as (_, system):
            raw = await system.GetSystemInfo(pb.GetSystemInfoRequest())

    assert (info.version, info.kernel_id, info.store) == (version("flujoctl"), kernel.id, "memory:")
    assert info.workflows == ["doubling", "waiting"]
    assert (info.started_at, info.now) == (began, began + 60_000_000)
    limits = raw.limits
    assert (limits.max_input_bytes, limits.max_inline_bytes) == (MAX_INPUT_BYTES, MAX_INLINE_BYTES)
    assert (limits.max_answer_bytes, limits.max_message_bytes, limits.max_page_size) == (2**20, 2**22, 1000)
    assert (limits.max_calls, limits.max_waiting_calls) == DEFAULT_LIMITS[:2]
    assert raw.bookmark_interval.seconds == BOOKMARK_SECONDS
    assert (info.principal, info.role) == (None, "admin")


def test_the_keepalive_policy_is_the_one_that_is_kept() -> None:
    """The contract tells what gRPC is told."""
    options = dict(OPTIONS)
    told = KEEPALIVE

    assert told.ping_interval.seconds * 1000 == options["grpc.keepalive_time_ms"]
    assert told.ping_timeout.seconds * 1000 == options["grpc.keepalive_timeout_ms"]
    assert told.min_ping_interval.seconds * 1000 == options["grpc.http2.min_ping_interval_without_data_ms"]
    assert dict(calls.OPTIONS)["grpc.keepalive_time_ms"] > told.min_ping_interval.seconds * 1000


async def test_names_of_workflows_end_where_an_answer_does(address: str) -> None:
    """How many there are further is told."""

    async def nothing(ctx: Context) -> None: ...

    many = [workflow(name=f"{number:04}{'é' * 196}")(nothing) for number in range(1200)]
    async with both(Harness().kernel(*many), address), stubs(address) as (_, system):
        raw = await system.GetSystemInfo(pb.GetSystemInfoRequest())

    assert len(raw.workflows) + raw.workflows_omitted == 1200
    assert 100 < len(raw.workflows) < 1000
    assert raw.ByteSize() < 2**20


@pytest.mark.parametrize(
    ("store", "able"),
    [
        ("memory:", ["inline_definitions"]),
        ("sqlite:{folder}/state.db", ["durable", "shared_store", "inline_definitions"]),
    ],
)
async def test_a_server_says_what_its_store_can_do(store: str, able: list[str], folder: Path, address: str) -> None:
    """Clients ask for these, and not for versions."""
    async with both(Kernel(open_backend(store.format(folder=folder))), address) as (_, client):
        assert (await client.info()).capabilities == able


async def test_a_capability_of_a_newer_server_is_passed_over(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client does not know it does not use."""
    answer = pb.GetSystemInfoResponse(capabilities=[pb.CAPABILITY_DURABLE, 99])  # type: ignore[list-item]

    async def newer(*_: object) -> pb.GetSystemInfoResponse:
        return answer

    monkeypatch.setattr("flujo.server.system.SystemService.GetSystemInfo", newer)
    kernel = Harness().kernel(doubling)
    async with kernel, served(kernel, address):
        from flujo.client import Client

        async with Client(address) as client:
            assert (await client.info()).capabilities == ["durable"]
