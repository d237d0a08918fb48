"""A server on a socket, and the ways to it.

async with served(kernel, address), Client(address) as client: ...   # as Python programs come to it
async with served(kernel, address), stubs(address) as (runs, system): ...   # as other languages do
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from grpc import aio

from flujo.client import Client, Credentials
from flujo.kernel import Kernel, Runs
from flujo.kernel.errors import FlujoError
from flujo.server import Security, listening, serve
from flujo.server.guard import Guard
from flujo.server.tokens import Role, add_token
from flujo.v1 import run_service_pb2_grpc, system_service_pb2_grpc


@asynccontextmanager
async def served(kernel: Kernel, address: str, **options: Any) -> AsyncIterator[str]:
    """An open kernel has a server inside the block, at this address, in which a port 0 has become another one."""
    async with anyio.create_task_group() as group:
        yield await group.start(lambda **task: serve(kernel, address, **options, **task))
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


WAYS = ("kernel", "unix socket", "TCP with a token", "TLS with certificates")
"""Ways to the runs of a kernel: itself, and clients of its server."""


class Through(NamedTuple):
    """One of the ways to the runs of a kernel. `folder` is of the test, `certificates` are made once for all."""

    way: str
    folder: Path
    certificates: Path

    @asynccontextmanager
    async def __call__(self, kernel: Kernel) -> AsyncIterator[Runs]:
        """Open the kernel, and give what reaches its runs."""
        if self.way == "kernel":
            async with kernel:
                yield kernel
            return
        address, security, credentials = self._terms()
        async with (
            kernel,
            served(kernel, address, security=security) as bound,
            Client(bound, credentials=credentials) as client,
        ):
            yield client

    @property
    def principal(self) -> str | None:
        """Who the caller is for the server, which stands in events."""
        return {"TCP with a token": "ci", "TLS with certificates": "ada"}.get(self.way)

    def _terms(self) -> tuple[str, Security, Credentials]:
        """Where the server listens and what keeps others out of it, and what a client shows that may do all."""
        made = self.certificates
        match self.way:
            case "unix socket":
                return f"unix:{self.folder}/s", Security(), Credentials()
            case "TCP with a token":
                tokens = self.folder / "tokens.json"
                token = add_token(tokens, "ci", Role.ADMIN, 1, lambda size: b"7" * size)
                return ANY_PORT, Security(tokens=tokens, allow_definitions=True), Credentials(token=token)
            case _:
                security = Security(
                    certificate=made / "server.pem",
                    key=made / "server.key",
                    client_ca=made / "ca.pem",
                    client_role=Role.ADMIN,
                    allow_definitions=True,
                )
                shown = Credentials(ca=made / "ca.pem", certificate=made / "client.pem", key=made / "client.key")
                return ANY_PORT, security, shown


ANY_PORT = "tcp://127.0.0.1:0"


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
