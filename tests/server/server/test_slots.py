"""How many calls at a time: what waits leaves room for what reads, and that for what acts."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from flujo.client import Client
from flujo.kernel.errors import ServerBusyError
from flujo.server.slots import CallLimits, Slots
from flujo.v1 import run_service_pb2 as pb
from kernel.harness import Harness
from server.flows import doubling, waiting
from server.harness import both, served, stubs

WATCH, WAIT, READ, ACT = (f"/flujo.v1.RunService/{name}" for name in ("WatchRun", "WaitRun", "GetRun", "SignalRun"))


@pytest.mark.parametrize(
    ("held", "asked", "limit"),
    [
        ([WATCH, WAIT], WATCH, "max_waiting_calls"),
        ([WATCH, WAIT], WAIT, "max_waiting_calls"),
        ([WATCH, WAIT], READ, None),
        ([WATCH, WAIT, READ], READ, "max_calls"),
        ([WATCH, WAIT, READ], ACT, None),
        ([READ, READ, READ], WATCH, "max_calls"),
        ([ACT, ACT, ACT, ACT], ACT, "max_calls"),
        ([WATCH, WAIT, READ, ACT], ACT, "max_calls"),
        ([], WATCH, None),
    ],
)
def test_what_is_too_much_is_refused_by_the_name_of_its_limit(held: list[str], asked: str, limit: str | None) -> None:
    """Four calls, of which two may wait, and one is kept for what acts."""
    slots = Slots(CallLimits(4, 2, 1))
    with ExitStack() as stack:
        for method in held:
            stack.enter_context(slots.taken(method))
        if limit is None:
            stack.enter_context(slots.taken(asked))
        else:
            with pytest.raises(ServerBusyError) as refused, slots.taken(asked):
                pass
            assert refused.value.limit == limit
    for method in (WATCH, WAIT, READ):  # all are given back
        stack.enter_context(slots.taken(method))
    stack.close()


async def test_a_client_has_many_watches_and_still_acts(address: str) -> None:
    """Six hundred watches of one client, a start and the health beside them."""
    async with both(Harness().kernel(waiting, doubling), address) as (kernel, client), stubs(address) as (stub, _):
        await kernel.start("waiting", run_id="r")
        watches = [stub.WatchRun(pb.WatchRunRequest(run_id="r")) for _ in range(600)]
        with anyio.fail_after(60):
            for watch in watches:
                assert (await watch.read()).HasField("header")
            await client.start("doubling", run_id="s")
            await stub.GetRun(pb.GetRunRequest(run_id="s"))
        for watch in watches:
            watch.cancel()


async def test_six_hundred_starts_at_once_all_arrive(address: str) -> None:
    """None waits in the client for a stream that the server does not give it."""
    async with both(Harness().kernel(doubling), address) as (kernel, client):
        async with anyio.create_task_group() as group:
            for number in range(600):
                group.start_soon(partial(client.start, "doubling", run_id=f"r{number}"))
        assert await kernel.count() == 600


async def test_a_crowd_is_answered_or_refused_by_name(address: str) -> None:
    """Two thousand calls that come before the server has taken up the first: gRPC by itself cancels some of them, which
    says nothing."""
    kernel = Harness().kernel(doubling)
    ends: Counter[str] = Counter()
    async with kernel, served(kernel, address, call_limits=CallLimits(700, 700, 100)), stubs(address) as (stub, _):
        await kernel.run("doubling", {"number": 1}, run_id="r")
        for call in [stub.GetRun(pb.GetRunRequest(run_id="r")) for _ in range(2_000)]:
            try:
                await call
                ends["answered"] += 1
            except aio.AioRpcError as error:
                ends[error.code().name] += 1

    assert set(ends) <= {"answered", "RESOURCE_EXHAUSTED"}


async def test_health_is_answered_when_nothing_else_is(address: str) -> None:
    """Who looks after the server must see that it lives; and a client that waits comes back when there is room."""
    kernel = Harness().kernel(waiting)
    async with kernel, served(kernel, address, call_limits=CallLimits(1, 1, 0)), stubs(address) as (stub, _):
        await kernel.start("waiting", run_id="r")
        watch = stub.WatchRun(pb.WatchRunRequest(run_id="r"))
        await watch.read()
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.GetRun(pb.GetRunRequest(run_id="r"))
        async with aio.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        watch.cancel()

    assert refused.value.code().name == "RESOURCE_EXHAUSTED"


async def test_a_watch_that_finds_no_room_is_tried_again(address: str) -> None:
    """Its client waits for a slot, and no error reaches the program."""
    kernel = Harness().kernel(waiting)
    async with (
        kernel,
        served(kernel, address, call_limits=CallLimits(3, 1, 0)),
        stubs(address) as (stub, _),
        Client(address) as client,
    ):
        await kernel.start("waiting", run_id="r")
        first = stub.WatchRun(pb.WatchRunRequest(run_id="r"))
        await first.read()
        seen: list[str] = []

        async def follow() -> None:
            seen.extend([event.type async for event in client.watch("r")])

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                await client.signal("r", "go")
                while not (await kernel.summary("r")).finished_at:
                    await checkpoint()
                while await first.read() is not aio.EOF:
                    pass

    assert (seen[0], seen[-1]) == ("run_created", "run_completed")
