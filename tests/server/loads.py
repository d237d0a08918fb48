"""A server under more than anybody asks of it: a crowd from one process, and watchers that do not read.

    PYTHONPATH=tests python tests/server/loads.py [--starts N] [--watches N] [--stalled N]

Ends with 1 unless every call of the crowd is answered or refused by the name of a limit, and calls that act and the
health service are answered beside it. What watchers that do not read cost, in time and memory, is told only. A client
takes four megabytes before gRPC tells the server that it does not read, so they are sent what others are sent.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import anyio
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from flujo.client import Client
from flujo.v1 import run_service_pb2 as pb
from flujo.v1.run_service_pb2_grpc import RunServiceStub
from server.serving import server_process

PATIENCE_SECONDS = 120
ROUNDS = 3
WORK = 200
AT_ONCE = 20


def resident_mb(process: int) -> float:
    """The memory of a process, in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def refusal(error: aio.AioRpcError) -> str:
    """By which limit a call was refused, or by what else it ended."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    info = ErrorInfo()
    if status is not None and any(detail.Unpack(info) for detail in status.details) and "limit" in info.metadata:
        return f"refused by {info.metadata['limit']}"
    return f"{error.code().name}: {error.details()}"


# -- a crowd ----------------------------------------------------------------------------------------------------------


async def crowd(address: str, starts: int, watches: int) -> bool:
    """Start many runs and open many watches over one connection at once; True if each was answered or refused by name,
    and others were answered meanwhile."""
    ends: Counter[str] = Counter()
    is_open = anyio.Event()
    async with aio.insecure_channel(address) as channel:
        runs: Any = RunServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)

        async def start(number: int) -> None:
            try:
                await runs.StartRun(pb.StartRunRequest(workflow="patient", run_id=f"crowd-{number}"))
                ends["start: answered"] += 1
            except aio.AioRpcError as error:
                ends[f"start: {refusal(error)}"] += 1

        async def watch() -> None:
            call = runs.WatchRun(pb.WatchRunRequest(run_id="crowd-0"))
            try:
                assert (await call.read()).HasField("header")
                ends["watch: open"] += 1
            except aio.AioRpcError as error:
                ends[f"watch: {refusal(error)}"] += 1
            if sum(count for end, count in ends.items() if end.startswith("watch")) == watches:
                is_open.set()
            await is_open.wait()
            await done.wait()
            call.cancel()

        done = anyio.Event()
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as group:
                for number in range(starts):
                    group.start_soon(start, number)
            async with anyio.create_task_group() as group:
                for _ in range(watches):
                    group.start_soon(watch)
                await is_open.wait()
                began = time.perf_counter()
                await runs.SignalRun(pb.SignalRunRequest(run_id="crowd-0", name="other"), timeout=30)
                await health.Check(health_pb2.HealthCheckRequest(), timeout=30)
                beside = time.perf_counter() - began
                done.set()
    for end, count in sorted(ends.items()):
        say(f"  {count:>5} {end}")
    say(f"  a signal and a question for health beside them took {beside * 1000:.0f} ms")
    return all(end.endswith(("answered", "open")) or "refused by" in end for end in ends)


# -- watchers that do not read ----------------------------------------------------------------------------------------


def stall(address: str, watchers: int, run_id: str, ready: Event, over: Event) -> None:
    """Open watches of a run, or of all runs, read the first message of each, and no more. A process of its own."""

    async def hold() -> None:
        channels = [aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(10)]
        stubs: list[Any] = [RunServiceStub(channel) for channel in channels]
        calls = [
            stubs[n % 10].WatchRun(pb.WatchRunRequest(run_id=run_id))
            if run_id
            else stubs[n % 10].WatchRuns(pb.WatchRunsRequest())
            for n in range(watchers)
        ]
        for call in calls:
            await call.read()
        ready.set()
        await anyio.to_thread.run_sync(over.wait)

    anyio.run(hold)


@asynccontextmanager
async def stalled(address: str, watchers: int, run_id: str = "") -> AsyncIterator[None]:
    """So many watchers of a run, or of all runs, do not read inside the block."""
    spawn = multiprocessing.get_context("spawn")
    ready, over = spawn.Event(), spawn.Event()
    process = spawn.Process(target=stall, args=(address, watchers, run_id, ready, over))
    process.start()
    try:
        assert await anyio.to_thread.run_sync(ready.wait, PATIENCE_SECONDS)
        yield
    finally:
        over.set()
        await anyio.to_thread.run_sync(process.join, 10)
        process.kill()


@asynccontextmanager
async def watched_run(address: str, watchers: int) -> AsyncIterator[None]:
    """A run works for as long as the block lasts, and so many watchers of it do not read."""
    async with Client(address) as client:
        handle = await client.start("ticking")
        try:
            async with stalled(address, watchers, handle.run_id):
                yield
        finally:
            await handle.cancel()


async def rest(process: int) -> None:
    """Return once a process has little to do, half a minute at most: then those who do not read have been sent all that
    they have room for. A thousand watches look at the store fifty times a second all the same."""
    with anyio.move_on_after(30):
        used = -1.0
        while (now := processor_seconds(process)) - used > 0.4:
            used = now
            await anyio.sleep(1)


def processor_seconds(process: int) -> float:
    """How long a process has kept a processor busy."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def seconds_of_work(client: Client, name: str) -> float:
    """How long many runs take, some at a time."""
    began = time.perf_counter()
    numbers = iter(range(WORK))

    async def work() -> None:
        for number in numbers:
            await client.run("busy", {"number": number}, run_id=f"{name}-{number}")

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(work)
    return time.perf_counter() - began


class Cost(NamedTuple):
    """What some work took: on the clock, and of the server's processor."""

    seconds: float
    processor: float


async def cost_of_work(client: Client, name: str, server: int) -> Cost:
    """Do the work once."""
    before = processor_seconds(server)
    seconds = await seconds_of_work(client, name)
    return Cost(seconds, processor_seconds(server) - before)


async def slowed(
    address: str, server: int, what: str, watching: Callable[[], AbstractAsyncContextManager[None]]
) -> None:
    """Work with and without watchers that do not read, in turns, and tell what they cost."""
    alone: list[Cost] = []
    beside: list[Cost] = []
    grown: list[float] = []
    async with Client(address) as client:
        await seconds_of_work(client, f"{what}-warm")
        for number in range(ROUNDS):
            alone.append(await cost_of_work(client, f"{what}-alone-{number}", server))
            before = resident_mb(server)
            async with watching():
                await rest(server)
                beside.append(await cost_of_work(client, f"{what}-beside-{number}", server))
                grown.append(resident_mb(server) - before)
    for unit, field in (("s", "seconds"), ("s of the processor", "processor")):
        ones, others = ([getattr(cost, field) for cost in costs] for costs in (beside, alone))
        ratio = median(one / other for one, other in zip(ones, others, strict=True))
        say(f"  {median(others):.2f} {unit} alone, {median(ones):.2f} beside them: {ratio:.2f} times")
    say(f"  the server grew by {max(grown):.0f} MB at most")


def say(text: str) -> None:
    """Tell what was found."""
    print(text, flush=True)  # noqa: T201


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=600)
    parser.add_argument("--watches", type=int, default=2_000)
    parser.add_argument("--stalled", type=int, default=1_000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="loads-") as folder:
        address = f"unix:{folder}/s"
        with server_process(Path(folder), address) as process:
            say(f"{given.starts} starts at once, then {given.watches} watches, from one process")
            was_kept = anyio.run(crowd, address, given.starts, given.watches)
            say(f"{given.stalled} watchers of all runs that do not read")
            anyio.run(slowed, address, process.pid, "all", partial(stalled, address, given.stalled))
            say(f"{given.stalled} watchers of one run that do not read")
            anyio.run(slowed, address, process.pid, "one", partial(watched_run, address, given.stalled))
    return 0 if was_kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
