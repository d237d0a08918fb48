"""What a server says of itself."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from flujo.backends import open_backend
from flujo.client.wire.values import MAX_INLINE_BYTES
from flujo.kernel import Kernel
from flujo.kernel.api import MAX_INPUT_BYTES
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
    assert (raw.max_input_bytes, raw.max_inline_bytes) == (MAX_INPUT_BYTES, MAX_INLINE_BYTES)


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
