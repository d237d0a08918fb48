"""A server on a socket, and the ways to it.

async with served(kernel, address), Client(address) as client: ...   # as Python programs come to it
async with served(kernel, address), stubs(address) as (runs, system): ...   # as other languages do
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
from grpc import aio

from flujo.client import Client
from flujo.kernel import Kernel, Runs
from flujo.kernel.errors import FlujoError
from flujo.server import listening, serve
from flujo.server.guard import Guard
from flujo.v1 import run_service_pb2_grpc, system_service_pb2_grpc


@asynccontextmanager
async def served(kernel: Kernel, address: str, **options: Any) -> AsyncIterator[None]:
    """An open kernel has a server inside the block."""
    async with anyio.create_task_group() as group:
        await group.start(lambda **task: serve(kernel, address, **options, **task))
        yield
        group.cancel_scope.cancel()


@asynccontextmanager
async def stubs(address: str, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """The generated stubs of both services, with nothing of our client around them."""
    chosen = [(f"grpc.{name}", value) for name, value in options.items()]
    async with aio.insecure_channel(address, options=chosen) as channel:
        runs, system = run_service_pb2_grpc.RunServiceStub(channel), system_service_pb2_grpc.SystemServiceStub(channel)
        yield runs, system


@asynccontextmanager
async def both(kernel: Kernel, address: str) -> AsyncIterator[tuple[Kernel, Client]]:
    """A kernel and a client of its server."""
    async with kernel, served(kernel, address), Client(address) as client:
        yield kernel, client


class Through(NamedTuple):
    """One of the two ways to the runs of a kernel."""

    way: str
    address: str

    @asynccontextmanager
    async def __call__(self, kernel: Kernel) -> AsyncIterator[Runs]:
        """Open the kernel, and give what reaches its runs."""
        if self.way == "kernel":
            async with kernel:
                yield kernel
        else:
            async with both(kernel, self.address) as (_, client):
                yield client


class CountingGuard(Guard):
    """The guard of the server that was started last, for tests that ask whether anything is still at work."""

    current: CountingGuard

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        CountingGuard.current = self

    @property
    def at_work(self) -> int:
        """How many handlers have begun and not ended."""
        return self._running


def install_counting_guard(monkeypatch: Any) -> None:
    """Have servers make their guard a CountingGuard."""
    monkeypatch.setattr(listening, "Guard", CountingGuard)


async def raised_by(call: Callable[[], Awaitable[Any]]) -> FlujoError:
    """The error of flujo that a call raises."""
    try:
        answer = await call()
    except FlujoError as error:
        return error
    raise AssertionError(f"nothing was raised, but returned: {answer!r}")


def told_by(error: FlujoError) -> dict[str, Any]:
    """Everything a caller can see of an error."""
    return {"class": type(error), "text": str(error), "reason": error.reason, **vars(error)}
