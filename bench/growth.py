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

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, step, workflow

GROWTH_LIMIT = 1.2
RESUME_LIMIT_SECONDS = 1.0

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


def report(what: str) -> None:
    """How the last tenth of the marks compares with the second one; the first is warming up."""
    tenth = len(marks) // 10
    early, late = _gaps(marks[tenth : 2 * tenth]), _gaps(marks[-tenth:])
    first, last = 1e6 * median(early), 1e6 * median(late)
    print(f"{what}: {first:.0f} us at the start, {last:.0f} us at the end: {last / first:.2f} (limit {GROWTH_LIMIT})")


def _gaps(instants: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(instants)]


async def grow(folder: Path, steps: int, rounds: int) -> None:
    url = f"sqlite:{folder}/state.db"
    async with Kernel(open_backend(url), workflows=[long, polling]) as kernel:
        await kernel.run(polling, {"rounds": rounds}, run_id="polling")
        report(f"{rounds} rounds of step and sleep")
        marks.clear()
        size = _size(folder)
        handle = await kernel.start(long, {"steps": steps + 1, "stop_after": steps - 1}, run_id="long")
        async for event in handle.watch():
            if event.type == "step_waiting":
                break
        report(f"{steps} steps")
        print(f"the store grew by {(_size(folder) - size) / steps:.0f} bytes a step")
        await handle.signal("go")  # in the journal, so that the next kernel goes on at once
        await handle.result()
    marks.clear()
    async with Kernel(open_backend(url), workflows=[long]) as kernel:
        started = time.perf_counter()
        await kernel.resume("long", from_step=f"work#{steps + 1}")
        await kernel.result("long")
        print(f"resumed behind {steps} steps in {marks[0] - started:.2f} s (limit {RESUME_LIMIT_SECONDS:g})")


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


if __name__ == "__main__":
    main()
