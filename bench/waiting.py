"""What waiting costs: many runs asleep for a day, memory, opening a store full of them, and a thousand due at once.

    python bench/waiting.py [--runs N] [--folder DIR]

Each figure stands beside the limit it must keep.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

from figures import Report  # beside this file, which python puts on the path of a script
from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, RunFilter, SystemClock, workflow
from flujo.kernel.durations import MICROSECONDS

DAY = 86_400
DUE = 1_000
MEMORY_LIMIT_MB = 100
OPEN_LIMIT_SECONDS = 1.0
WAKE_LIMIT_SECONDS = 5.0

report = Report("Runs that wait")


class ShiftedClock(SystemClock):
    """The machine's clock, that can be set forward; sleepers notice, as they do when a machine wakes."""

    LONGEST_NAP = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.shift = 0

    def now(self) -> int:
        return super().now() + self.shift


@workflow()
async def sleeper(ctx: Context, seconds: float) -> float:
    await ctx.sleep(seconds)
    return seconds


def resident_mb() -> float:
    """The memory of this process now, in MB."""
    if sys.platform.startswith("linux"):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


async def fill(url: str, runs: int) -> None:
    """Start the runs and see how much memory they take."""
    async with Kernel(open_backend(url), workflows=[sleeper]) as kernel:
        for number in range(2 * kernel_residents):  # what a kernel holds anyway
            await kernel.start(sleeper, {"seconds": DAY}, run_id=f"first-{number}")
        before, started = resident_mb(), time.perf_counter()
        pending = iter(range(runs))

        async def start() -> None:
            for number in pending:
                seconds = DAY / 2 if number < DUE else DAY
                await kernel.start(sleeper, {"seconds": seconds}, run_id=f"run-{number}")

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(start)
        await anyio.sleep(1)
        grown, took = resident_mb() - before, time.perf_counter() - started
    report.figure(f"memory of {runs} runs asleep", grown, MEMORY_LIMIT_MB, " MB")
    report.figure("starting one of them", took / runs * 1e6, unit=" us")


kernel_residents = 1_000


async def wake(url: str) -> None:
    """Open the store, and let a thousand of its runs come due."""
    clock = ShiftedClock()
    opened = time.perf_counter()
    async with Kernel(open_backend(url), workflows=[sleeper], clock=clock) as kernel:
        ready = time.perf_counter() - opened
        report.figure("a kernel is ready in their store after", ready, OPEN_LIMIT_SECONDS, " s")
        idle = RunFilter(statuses=("waiting",))
        total = await kernel.backend.count(idle)
        while await kernel.backend.count(idle._replace(owner=kernel.id)) < total:  # noqa: ASYNC110
            await anyio.sleep(0.05)
        report.figure(f"and owns all {total} after", time.perf_counter() - opened, unit=" s")
        clock.shift = DAY // 2 * MICROSECONDS
        started = time.perf_counter()
        for number in range(DUE):
            await kernel.result(f"run-{number}")
        report.figure(f"{DUE} due at once have ended after", time.perf_counter() - started, WAKE_LIMIT_SECONDS, " s")
        # What sleeps on is left to the next one; giving it up is part of closing.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the store goes; default: a temporary folder here")
    parser.add_argument("--wake", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.wake:
        anyio.run(wake, arguments.wake)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder or Path.cwd(), prefix=".bench-") as folder:
        url = f"sqlite:{folder}/state.db"
        anyio.run(fill, url, arguments.runs)
        subprocess.run([sys.executable, __file__, "--wake", url], check=True)


if __name__ == "__main__":
    main()
