"""The client for code that blocks: it has every call of the async one, and talks to a real server."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
from anyio import to_thread

from flujo.backends.memory import InMemoryBackend
from flujo.client import Client, blocking
from flujo.kernel import Kernel
from flujo.kernel.errors import KernelClosedError, RunNotFoundError, ServerUnreachableError, WrongEventLoopError
from kernel.flows import doubling, waiting
from kernel.test_blocking import parameters
from server.harness import served


@pytest.fixture
def anyio_backend() -> str:
    """gRPC runs on asyncio."""
    return "asyncio"


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Where the server listens."""
    return f"unix:{tmp_path}/s"


def test_the_facade_has_every_public_call() -> None:
    """With the same parameters, and none of them is async."""
    calls = {name: call for name, call in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}

    assert "info" in calls
    for name, call in calls.items():
        found = [each.replace("Mapping[str, Any]", "Inputs") for each in parameters(getattr(blocking.Client, name))]
        assert found == [each.replace("Mapping[str, Any]", "Inputs") for each in parameters(call)], name
        assert not inspect.iscoroutinefunction(getattr(blocking.Client, name)), name


async def test_a_thread_works_with_the_runs_of_a_server(address: str) -> None:
    """As a script does, while the server runs elsewhere."""

    def script() -> None:
        with blocking.Client(address, call_seconds=20) as client:
            assert "doubling" in client.info().workflows
            run = client.start("waiting", run_id="r")
            with run.watch() as events:
                assert next(events).type == "run_created"
            run.signal("go", 3)
            assert run.result(timeout=60) == 3
            assert [event.type for event in run.watch()][-1] == "run_completed"
            assert client.run(doubling, {"number": 2}) == 4
            assert client.count() == 2
            with pytest.raises(RunNotFoundError):
                client.inspect("nobody")
        with pytest.raises(KernelClosedError):
            client.count()

    async with Kernel(InMemoryBackend(), [doubling, waiting]) as kernel, served(kernel, address):
        await to_thread.run_sync(script)


def test_where_no_server_is_it_says_so(address: str) -> None:
    """At the first call."""
    with blocking.Client(address) as client, pytest.raises(ServerUnreachableError):
        client.count()


async def test_an_async_client_is_opened_and_closed_as_a_kernel(address: str) -> None:
    """From any task, more than once, and in one event loop at a time."""
    client = Client(address)

    async def elsewhere() -> None:
        await client.count()

    async with Kernel(InMemoryBackend(), [doubling]) as kernel, served(kernel, address):
        await asyncio.create_task(client.open())
        async with client:
            assert await client.count() == 0
        assert await client.count() == 0
        with pytest.raises(WrongEventLoopError, match="the client of unix:"):
            await to_thread.run_sync(lambda: asyncio.run(elsewhere()))
        await asyncio.create_task(client.close())
        with pytest.raises(KernelClosedError):
            await client.count()
        async with client:
            assert await client.run(doubling, {"number": 2}) == 4
