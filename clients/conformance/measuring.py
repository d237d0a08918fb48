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

ROUNDS = 15
WARM = 3
"""Rounds that are not counted: the first calls of a program are slow in every language."""
MOST_TIMES = 2.5
"""What a follow of a server's run may take, beside the bare stream that the same program reads next to it."""


class Round(NamedTuple):
    """Seconds, one after the other: to follow a run, to follow ready-made batches, and to read these and no more."""

    follow: float
    ready: float
    bare: float


class Times(NamedTuple):
    """How long all rounds took."""

    events: int
    rounds: Sequence[Round]

    @property
    def times(self) -> float:
        """The median, over the rounds, of how many times the bare stream a follow takes."""
        return median(each.follow / each.bare for each in self.rounds)

    def __str__(self) -> str:
        follow, ready, bare = (f"{1000 * median(seconds):.0f} ms" for seconds in zip(*self.rounds, strict=True))
        pairs = sorted(each.follow / each.bare for each in self.rounds)
        spread = f"{self.times:.2f} times the bare stream (of {len(pairs)} pairs {pairs[0]:.2f} to {pairs[-1]:.2f})"
        own = f"ready-made {median(each.ready / each.bare for each in self.rounds):.2f}"
        return f"{self.events} events followed in {follow}, ready-made in {ready}, bare in {bare}: {spread}, {own}"


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
    rounds, events = [], set()
    for number in range(WARM + ROUNDS):
        seconds: dict[str, float] = {}
        for what in Round._fields if number % 2 else reversed(Round._fields):
            client = "follow" if what == "follow" else "ready"
            answer = await driver.call("time", client=client, run_id=LONG_RUN, bare=what == "bare")
            seconds[what] = answer["seconds"]
            events.add(answer["events"])
        rounds.append(Round(**seconds))
    [count] = events
    return Times(count, rounds[WARM:])
