"""How soon the runs of a killed process go on in the next one.

    python bench/recovery.py [--runs N] [--rounds N] [--folder DIR]

A process advances runs, each step after the other, and is killed. The time is from the opening of the next kernel to
the first step of each run in it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import anyio

from figures import Report  # beside this file, which python puts on the path of a script
from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, step, workflow

STEPS_BEFORE = 20


@step
async def work(run: int) -> str:
    if run in seen:
        return "x" * 200
    seen[run] = time.perf_counter()
    if len(seen) == expected:
        all_seen.set()
    return "x" * 200


seen: dict[int, float] = {}
expected = 0  # runs that are to go on; none in the process that is killed
all_seen = anyio.Event()


@workflow()
async def advancing(ctx: Context, run: int) -> None:
    for number in range(1_000_000):
        await ctx.step(work, run)
        if number == STEPS_BEFORE and not expected:
            print("advanced", flush=True)


async def advance(url: str, runs: int) -> None:
    """Advance runs until this process is killed."""
    async with Kernel(open_backend(url), workflows=[advancing]) as kernel, anyio.create_task_group() as group:
        for number in range(runs):
            group.start_soon(partial(kernel.run, advancing, {"run": number}, run_id=f"run-{number}"))


async def recover(url: str, runs: int) -> tuple[float, float]:
    """Return when the first run went on, and when the last one did."""
    global expected, all_seen
    seen.clear()
    expected, all_seen = runs, anyio.Event()
    began = time.perf_counter()
    async with Kernel(open_backend(url), workflows=[advancing]):
        await all_seen.wait()
    return min(seen.values()) - began, max(seen.values()) - began


def measure(folder: Path, runs: int) -> tuple[float, float]:
    url = f"sqlite:{folder}/state.db"
    command = [sys.executable, __file__, "--advance", url, "--runs", str(runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(runs):
            assert process.stdout.readline() == "advanced\n"
        process.kill()
    return anyio.run(recover, url, runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the stores go; default: a temporary folder here")
    parser.add_argument("--advance", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.advance:
        anyio.run(advance, arguments.advance, arguments.runs)
        return
    found = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory(dir=arguments.folder or Path.cwd(), prefix=".bench-") as folder:
            found.append(measure(Path(folder), arguments.runs))
    report = Report("After a kill")
    report.figure(
        f"the first of {arguments.runs} runs goes on after", 1e3 * median(one for one, _ in found), unit=" ms"
    )
    report.figure("the last", 1e3 * median(one for _, one in found), unit=" ms")


if __name__ == "__main__":
    main()
