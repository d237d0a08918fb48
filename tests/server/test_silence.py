"""A path that goes dead without a word: the connection stays open, and nothing comes over it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from flujo.client import Client, calls
from flujo.client.reconnecting import SILENCE_SECONDS, silence_seconds
from flujo.server.system import MIN_PING_SECONDS
from flujo.v1 import run_service_pb2 as pb
from kernel.harness import Harness
from server.flows import doubling, waiting
from server.harness import served


class SilentProxy:
    """Forwards bytes between clients and a server; connections that were made before `go_silent` get nothing more.

    On the streams of asyncio: those of anyio for unix sockets set a result twice when they are cancelled while bytes
    come."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.made = 0
        self._dead = 0

    def go_silent(self) -> None:
        """Forward nothing more for the connections that are open now."""
        self._dead = self.made

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        self.made += 1
        number = self.made
        there, back = await asyncio.open_unix_connection(self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, back, number))
                group.create_task(self._forward(there, writer, number))
        finally:
            back.close()
            writer.close()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, number: int) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if number > self._dead:
                    sink.write(data)
                    await sink.drain()
        if number > self._dead:
            sink.close()


@asynccontextmanager
async def proxied(folder: Path, address: str) -> AsyncIterator[tuple[SilentProxy, str]]:
    """A proxy before the server at an address, and its own address."""
    proxy = SilentProxy(address.removeprefix("unix:"))
    connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with suppress(asyncio.CancelledError):
            await proxy.handle(reader, writer)

    server = await asyncio.start_unix_server(handle, folder / "p")
    try:
        yield proxy, f"unix:{folder}/p"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def test_a_watch_goes_on_over_a_new_connection(folder: Path, address: str) -> None:
    """When three signs of life have failed to come: every event once, and in order."""
    kernel = Harness().kernel(waiting)
    async with (
        kernel,
        served(kernel, address, bookmark_seconds=0.05),
        proxied(folder, address) as (proxy, through),
        Client(through) as client,
    ):
        await kernel.start("waiting", run_id="r")
        seqs: list[int] = []
        with anyio.fail_after(30):
            async with aclosing(client.watch("r")) as events:
                async for event in events:
                    seqs.append(event.seq)
                    if event.type == "step_waiting":
                        proxy.go_silent()
                        await kernel.signal("r", "go")

    assert seqs == list(range(1, len(seqs) + 1))
    assert seqs[-1] > 3
    assert proxy.made > 1


async def test_calls_after_that_go_over_the_new_connection_as_well(folder: Path, address: str) -> None:
    """The whole client has left the dead path, and not only its watch."""
    kernel = Harness().kernel(waiting, doubling)
    async with (
        kernel,
        served(kernel, address, bookmark_seconds=0.05),
        proxied(folder, address) as (proxy, through),
        Client(through) as client,
    ):
        await kernel.start("waiting", run_id="r")
        with anyio.fail_after(30):
            async with aclosing(client.watch("r")) as events:
                async for event in events:
                    if event.type == "step_waiting":
                        proxy.go_silent()
                        await kernel.signal("r", "go")
            assert await client.run("doubling", {"number": 4}) == 8


async def test_a_wait_goes_on_over_a_new_connection(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its answer does not come in time."""
    kernel = Harness().kernel(waiting)
    async with (
        kernel,
        served(kernel, address),
        proxied(folder, address) as (proxy, through),
        Client(through, call_seconds=0.3) as client,
    ):
        await kernel.start("waiting", run_id="r")
        await client.summary("r")
        proxy.go_silent()
        await kernel.signal("r", "go")
        await kernel.wait("r")
        monkeypatch.setattr("flujo.client.client.WAIT_SECONDS", 0.1)
        with anyio.fail_after(30):
            assert (await client.wait("r")).status == "completed"


async def test_each_client_has_a_connection_of_its_own(folder: Path, address: str) -> None:
    """So that the calls of one do not wait for those of another, and one that is lost takes no other along."""
    kernel = Harness().kernel(doubling)
    async with (
        kernel,
        served(kernel, address),
        proxied(folder, address) as (proxy, through),
        Client(through) as first,
        Client(through) as second,
    ):
        for client in (first, second, first, second):
            await client.info()

        assert proxy.made == 2


def test_a_dead_path_is_noticed_after_three_bookmarks() -> None:
    """Of the interval that the server tells, else after 45 seconds; and pings find it out on any call."""
    assert silence_seconds(pb.WatchHeader(bookmark_interval={"seconds": 15})) == SILENCE_SECONDS == 45.0  # type: ignore[arg-type]
    assert silence_seconds(pb.WatchHeader()) == SILENCE_SECONDS
    options = dict(calls.OPTIONS)
    assert options["grpc.keepalive_time_ms"] + options["grpc.keepalive_timeout_ms"] <= 45_000
    assert options["grpc.keepalive_time_ms"] > MIN_PING_SECONDS * 1000
    assert options["grpc.use_local_subchannel_pool"] == 1
