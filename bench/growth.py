"""Whether a long history costs more: steps and polling rounds at the start and at the end of one run, and its resume.

    python bench/growth.py [--steps N] [--rounds N] [--folder DIR]

Each figure stands beside the limit it must keep.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import anyio

from figures import Report  # beside this file, which python puts on the path of a script
from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, step, workflow

GROWTH_LIMIT = 1.2
RESUMED = (1_000, 10_000)
RESUME_LIMIT_MS = 1000.0
RESUME_GROWTH_LIMIT = 11

report = Report("Long histories")

marks: list[float] = []


@step
async def work() -> str:
    marks.append(time.perf_counter())
    return "x" * 200


@workflow()
async def long(ctx: Context, steps: int, stop_after: int) -> int:
    for number in range(steps):
        await ctx.step(work)
        if number == stop_after:
            await ctx.wait_signal("go")
    return steps


@workflow()
async def polling(ctx: Context, rounds: int) -> int:
    for _ in range(rounds):
        await ctx.step(work)
        await ctx.sleep(0)
    return rounds


def compare(what: str) -> None:
    """How the last tenth of the marks compares with the second one; the first is warming up."""
    tenth = len(marks) // 10
    early, late = _gaps(marks[tenth : 2 * tenth]), _gaps(marks[-tenth:])
    first, last = 1e6 * median(early), 1e6 * median(late)
    report.figure(f"{what}: the last tenth, times the second", last / first, GROWTH_LIMIT)


def _gaps(instants: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(instants)]


async def grow(folder: Path, steps: int, rounds: int) -> None:
    url = f"sqlite:{folder}/state.db"
    async with Kernel(open_backend(url), workflows=[long, polling]) as kernel:
        await kernel.run(polling, {"rounds": rounds}, run_id="polling")
        compare(f"{rounds} rounds of step and sleep")
        marks.clear()
        size = _size(folder)
        handle = await kernel.start(long, {"steps": steps + 1, "stop_after": steps - 1}, run_id="long")
        async for event in handle.watch():
            if event.type == "step_waiting":
                break
        compare(f"{steps} steps")
        report.figure("bytes on disk of a step with 200 bytes of output", (_size(folder) - size) / steps)
        await handle.signal("go")  # in the journal, so that the next kernel goes on at once
        await handle.result()


async def resume(folder: Path, rounds: int) -> None:
    """How long it takes from the request to resume a run to its first new step, behind a history and a longer one."""
    url = f"sqlite:{folder}/resume.db"
    medians: list[float] = []
    for steps in RESUMED:
        async with Kernel(open_backend(url), workflows=[long]) as kernel:
            await kernel.run(long, {"steps": steps + 1, "stop_after": -1}, run_id=f"of-{steps}")
        seconds = []
        for _ in range(rounds):
            async with Kernel(open_backend(url), workflows=[long]) as kernel:
                marks.clear()
                started = time.perf_counter()
                await kernel.resume(f"of-{steps}", from_step=f"work#{steps + 1}")
                await kernel.result(f"of-{steps}")
                seconds.append(marks[0] - started)
                assert len(marks) == 1, "one body runs again, and no other"
        medians.append(median(seconds))
        report.figure(f"resumed behind {steps} steps after", 1e3 * medians[-1], RESUME_LIMIT_MS, " ms")
    report.figure(f"behind {RESUMED[1]} steps, times behind {RESUMED[0]}", medians[1] / medians[0], RESUME_GROWTH_LIMIT)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=2_000)
    parser.add_argument("--folder", type=Path, help="where the store goes; default: a temporary folder here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder or Path.cwd(), prefix=".bench-") as folder:
        anyio.run(grow, Path(folder), arguments.steps, arguments.rounds)
        anyio.run(resume, Path(folder), 5)


if __name__ == "__main__":
    main()
