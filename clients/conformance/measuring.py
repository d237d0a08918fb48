"""How long a client takes to follow stored events, beside its language that reads ready-made batches off a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import grpc
from grpc import aio

from flujo.v1 import run_service_pb2 as pb
from flujo.v1 import run_service_pb2_grpc

from .behaviours import LONG_RUN
from .driving import Driver

ROUNDS = 7
WARM = 2
"""Rounds that are not counted: the first calls of a program are slow in every language."""


class Times(NamedTuple):
    """Seconds, as medians: to follow a server's run, to follow ready-made batches, and to read these and no more."""

    events: int
    follow: float
    ready: float
    bare: float

    def __str__(self) -> str:
        follow, ready, bare = (f"{1000 * seconds:.0f} ms" for seconds in self[1:])
        ratios = f"{self.follow / self.bare:.1f} and {self.ready / self.bare:.1f} times"
        return f"{self.events} events: followed {follow}, ready-made {ready}, bare {bare}: {ratios}"


async def batches(address: str) -> list[bytes]:
    """What a server sends for the long run."""
    async with aio.insecure_channel(address) as channel:
        stub = run_service_pb2_grpc.RunServiceStub(channel)
        return [message.SerializeToString() async for message in stub.WatchRun(pb.WatchRunRequest(run_id=LONG_RUN))]


@asynccontextmanager
async def bare_server(messages: Sequence[bytes], folder: Path) -> AsyncIterator[str]:
    """A server that has these messages ready, and does nothing else."""

    async def watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    server = aio.server()
    handlers: dict[str, Any] = {"WatchRun": grpc.unary_stream_rpc_method_handler(watch)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("flujo.v1.RunService", handlers),))
    address = f"unix:{folder}/b"
    server.add_insecure_port(address)
    await server.start()
    try:
        yield address
    finally:
        await server.stop(None)


async def measured(driver: Driver, address: str, bare: str) -> Times:
    """Let a driver follow the long run, follow the ready-made stream, and read that one, by turns."""
    await driver.call("open", client="follow", address=address)
    await driver.call("open", client="ready", address=bare)
    found: dict[str, list[float]] = {"follow": [], "ready": [], "bare": []}
    events = 0
    for _ in range(WARM + ROUNDS):
        for what, seconds in found.items():
            client = "follow" if what == "follow" else "ready"
            answer = await driver.call("time", client=client, run_id=LONG_RUN, bare=what == "bare")
            seconds.append(answer["seconds"])
            events = answer["events"]
    follow, ready, bare_seconds = (median(seconds[WARM:]) for seconds in found.values())
    return Times(events, follow, ready, bare_seconds)
