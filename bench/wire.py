"""What the gRPC server costs, beside a bare grpc.aio server of the same process that sends the same bytes.

    python bench/wire.py [--rounds N] [--runs N] [--folder DIR]

Calls, watches and replays take turns with the bare ones, since machines drift: only the ratio within a round means
anything, and the median of those is told. Starts go over one connection, 64 of them at a time, on SQLite.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import anyio
from grpc import aio, method_handlers_generic_handler, unary_stream_rpc_method_handler, unary_unary_rpc_method_handler

from figures import Report  # beside this file, which python puts on the path of a script
from flujo.client import Client
from flujo.kernel import Context, step, workflow
from flujo.kernel.api import NewRun, RunHandle
from flujo.v1 import run_service_pb2 as pb
from flujo.v1.run_pb2 import RUN_STATUS_COMPLETED
from flujo.v1.run_service_pb2_grpc import RunServiceStub

EVENTS = 5_000
CALLS = 400
MESSAGES = 300
PAUSE_SECONDS = 0.002
AT_ONCE = 64
TOGETHER = 500
PATIENCE_SECONDS = 900.0

report = Report("Over gRPC")

Measure = Callable[[], Awaitable[float]]
"""Measures something, in seconds."""


# -- the process that serves ------------------------------------------------------------------------------------------


@step
async def moment() -> int:
    await anyio.sleep(PAUSE_SECONDS)
    return time.monotonic_ns()  # one clock for all processes of a machine


@step
async def number(value: int) -> int:
    return value


@workflow()
async def moments(ctx: Context) -> None:
    """Tell the time, again and again, once somebody listens."""
    await ctx.wait_signal("go")
    for _ in range(MESSAGES):
        await ctx.step(moment)


@workflow()
async def history(ctx: Context) -> None:
    """As many events as are to be replayed."""
    for index in range(EVENTS // 2):
        await ctx.step(number, index)


@workflow()
async def short(ctx: Context) -> int:
    return await ctx.step(number, 1, name="a") + await ctx.step(number, 2, name="b")


class Bare:
    """Sends what it was given: nothing is done for it but to send."""

    def __init__(self) -> None:
        self._kept: dict[bytes, list[bytes]] = {}

    async def keep(self, request: bytes, context: Any) -> bytes:
        name, _, message = request.partition(b" ")
        self._kept.setdefault(name, []).append(message)
        return b""

    async def tell(self, request: bytes, context: Any) -> bytes:
        return self._kept[b"answer"][0]

    async def replay(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for message in self._kept[b"batch"]:
            yield message

    async def moments(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(MESSAGES):
            await anyio.sleep(PAUSE_SECONDS)
            yield b"%d" % time.monotonic_ns()

    def server(self, address: str) -> aio.Server:
        unary, stream = unary_unary_rpc_method_handler, unary_stream_rpc_method_handler
        methods: dict[str, Any] = {"keep": unary(self.keep), "tell": unary(self.tell)}
        methods |= {"replay": stream(self.replay), "moments": stream(self.moments)}
        server = aio.server()
        server.add_generic_rpc_handlers((method_handlers_generic_handler("bare", methods),))
        server.add_insecure_port(address)
        return server


async def serve(store: str, folder: Path) -> None:
    from flujo.cli.commands.serve import look_for_garbage_less_often
    from flujo.server.app import run_server

    look_for_garbage_less_often()  # as `flujoctl serve` does

    bare = Bare().server(f"unix:{folder}/bare")
    await bare.start()
    await run_server(
        store,
        f"unix:{folder}/flujo",
        [moments, history, short],
        workspaces=folder / "workspaces",
        started=lambda kernel, address: print("listening", flush=True),
    )
    await bare.stop(None)


@contextmanager
def serving(store: str, folder: Path) -> Iterator[int]:
    """A process that serves; its number."""
    command = [sys.executable, __file__, "--serve", store, "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            yield process.pid
        finally:
            process.terminate()


# -- what is measured -------------------------------------------------------------------------------------------------


class Both:
    """The two servers of that process, over a connection each."""

    def __init__(self, folder: Path) -> None:
        self.flujo = aio.insecure_channel(f"unix:{folder}/flujo")
        self.bare = aio.insecure_channel(f"unix:{folder}/bare")
        self.runs = RunServiceStub(self.flujo)
        self.keep: Any = self.bare.unary_unary("/bare/keep")
        self.tell: Any = self.bare.unary_unary("/bare/tell")
        self.replay: Any = self.bare.unary_stream("/bare/replay")
        self.moments: Any = self.bare.unary_stream("/bare/moments")

    async def close(self) -> None:
        await self.flujo.close()
        await self.bare.close()


async def p50(call: Callable[[], Awaitable[Any]]) -> float:
    """The median of the seconds of a call, made again and again."""
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - began)
    return median(taken)


async def rate(calls: int, call: Callable[[int], Awaitable[Any]]) -> float:
    """How many calls a second are answered, with many at once."""
    numbers = iter(range(calls))

    async def ask() -> None:
        for each in numbers:
            await call(each)

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(ask)
    return calls / (time.perf_counter() - began)


async def rate_together(client: Client, runs: int) -> float:
    """How many runs a second are started by calls for many of them, one call after the other."""
    starts = [NewRun("short", None, {"run_id": f"together-{number}"}) for number in range(runs)]
    began = time.perf_counter()
    for first in range(0, runs, TOGETHER):
        outcomes = await client.start_runs(starts[first : first + TOGETHER])
        assert all(isinstance(each, RunHandle) for each in outcomes)
    return runs / (time.perf_counter() - began)


async def seconds_of_replay(messages: Any) -> float:
    began = time.perf_counter()
    async for _ in messages:
        pass
    return time.perf_counter() - began


async def late_by(both: Both, run_id: str) -> float:
    """How long a watcher waits for what a step has told, in seconds; the median."""
    await both.runs.StartRun(pb.StartRunRequest(workflow="moments", run_id=run_id))
    late: list[int] = []
    watch = both.runs.WatchRun(pb.WatchRunRequest(run_id=run_id, types=["step_waiting", "step_completed"]))
    async for message in watch:
        now = time.monotonic_ns()
        for event in message.events.events:
            if event.type == "step_waiting":
                await both.runs.SignalRun(pb.SignalRunRequest(run_id=run_id, name="go"))
            elif event.HasField("step_completed") and (told := json.loads(event.step_completed.output.json)):
                late.append(now - told)
    return median(late) / 1e9


async def late_by_itself(both: Both) -> float:
    return median([time.monotonic_ns() - int(told) async for told in both.moments(b"")]) / 1e9


def row(what: str, measured: list[float], bare: list[float], at_most: float) -> None:
    ratios = [one / other for one, other in zip(measured, bare, strict=True)]
    report.row(
        {
            "what": what,
            "ms": median(measured) * 1e3,
            "bare, ms": median(bare) * 1e3,
            "ratio": median(ratios),
            "at most": at_most,
        }
    )


async def measure_calls(folder: Path, rounds: int) -> None:
    """Calls, watches and replays, on a store in memory, so that nothing waits for a disk."""
    both = Both(folder)
    request = pb.GetRunRequest(run_id="history")
    await both.runs.StartRun(pb.StartRunRequest(workflow="history", run_id="history"))
    batches = [message async for message in both.runs.WatchRun(pb.WatchRunRequest(run_id="history"))]
    assert batches[-1].WhichOneof("content") == "end"
    await both.keep(b"answer " + (await both.runs.GetRun(request)).SerializeToString())
    for message in batches:
        await both.keep(b"batch " + message.SerializeToString())

    figures: dict[str, tuple[list[float], list[float]]] = {}
    for index in range(rounds):
        pairs: Sequence[tuple[str, Measure, Measure]] = (
            (
                "GetRun, p50",
                lambda: p50(lambda: both.runs.GetRun(request)),
                lambda: p50(lambda: both.tell(b"")),
            ),
            (
                "from a step's return to a watcher, p50",
                partial(late_by, both, f"moments-{index}"),
                partial(late_by_itself, both),
            ),
            (
                f"replay of {EVENTS} events",
                lambda: seconds_of_replay(both.runs.WatchRun(pb.WatchRunRequest(run_id="history"))),
                lambda: seconds_of_replay(both.replay(b"")),
            ),
        )
        for what, ours, theirs in pairs:
            mine, bare = figures.setdefault(what, ([], []))
            mine.append(await ours())
            bare.append(await theirs())
    for (what, (mine, bare)), limit in zip(figures.items(), (1.5, 3.0, 2.5), strict=True):
        row(what, mine, bare, limit)
    await both.close()


def resident_mb(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


async def measure_starts(folder: Path, runs: int, process: int) -> None:
    """Start short runs over one connection, and wait until all have completed."""
    both = Both(folder)
    await both.keep(b"answer " + b"x" * 200)
    bare = await rate(10_000, lambda _: both.tell(b""))
    async with Client(f"unix:{folder}/flujo") as client:
        warm = runs // 5
        await rate(warm, lambda each: client.start("short", run_id=f"warm-{each}"))
        before = resident_mb(process)
        starts = await rate(runs, lambda each: client.start("short", run_id=f"run-{each}"))
        began = time.perf_counter()
        with anyio.fail_after(PATIENCE_SECONDS):
            wanted = pb.CountRunsRequest(filter=pb.RunFilter(statuses=[RUN_STATUS_COMPLETED]))
            while (await both.runs.CountRuns(wanted)).count < runs + warm:  # noqa: ASYNC110 - a server is asked
                await anyio.sleep(0.05)
        left = time.perf_counter() - began
        together = await rate_together(client, runs)
    grown = resident_mb(process) - before
    report.row(
        {
            "what": f"starts of {runs} runs of two steps, a second",
            "starts/s": starts,
            "bare calls/s": bare,
            "ratio": starts / bare,
            "at least": 0.5,
            "all completed after, s": left,
            "grown by, MB": grown,
        }
    )
    report.row(
        {
            "what": f"the same, {TOGETHER} by one call",
            "starts/s": together,
            "bare calls/s": bare,
            "ratio": together / bare,
            "at least": 1.0,
        }
    )
    await both.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10_000, help="how many runs are started over one connection")
    parser.add_argument("--folder", type=Path, help="where the store lies; a disk, and no memory")
    parser.add_argument("--serve", metavar="STORE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        anyio.run(serve, given.serve, given.folder)
        return
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="wire-") as folder:
        with serving("memory:", Path(folder)):
            anyio.run(measure_calls, Path(folder), given.rounds)
        with serving(f"sqlite:{folder}/state.db", Path(folder)) as process:
            anyio.run(measure_starts, Path(folder), given.runs, process)


if __name__ == "__main__":
    main()
