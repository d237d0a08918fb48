"""Steps per second of the kernel on SQLite, as a fraction of raw group commit measured beside it.

    python bench/throughput.py [--rounds N] [--folder DIR]

Both sides write the same rows to files in one folder, in one process, turn by turn, because disks and machines drift:
only the ratio within a round means anything. The kernel's side includes starting and finishing the runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import anyio

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, step, workflow
from raw import raw_seconds  # beside this file, which python puts on the path of a script

VALUE = "x" * 1022


@step
async def work() -> str:
    return VALUE


@workflow()
async def bench(ctx: Context, steps: int) -> int:
    for _ in range(steps):
        await ctx.step(work)
    return steps


async def kernel_seconds(url: str, runs: int, steps: int) -> float:
    """From the first start to the last result."""
    async with Kernel(open_backend(url), workflows=[bench]) as kernel:
        started = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(runs):
                group.start_soon(kernel.run, bench, {"steps": steps})
        return time.perf_counter() - started


def measure(folder: Path, runs: int, steps: int, rounds: int) -> None:
    """Print one line: microseconds per step of both sides, and the median of the ratios round by round."""
    raws: list[float] = []
    kernels: list[float] = []
    for number in range(rounds):
        store = folder / f"{runs}-{number}"
        if number % 2:
            raws.append(raw_seconds(Path(f"{store}-raw.db"), runs, steps))
        kernels.append(anyio.run(kernel_seconds, f"sqlite:{store}.db", runs, steps))
        if not number % 2:
            raws.append(raw_seconds(Path(f"{store}-raw.db"), runs, steps))
    ratios = [raw / kernel for raw, kernel in zip(raws, kernels, strict=True)]
    per_step = 1e6 / (runs * steps)
    print(
        f"{runs:>5} runs x {steps:>4} steps  raw {median(raws) * per_step:7.1f} us/step  "
        f"kernel {median(kernels) * per_step:7.1f} us/step  "
        f"kernel of raw: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the stores go; default: a temporary folder here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder or Path.cwd(), prefix=".bench-") as folder:
        for runs, steps in ((1, 300), (20, 100), (100, 200)):
            measure(Path(folder), runs, steps, arguments.rounds)


if __name__ == "__main__":
    main()
