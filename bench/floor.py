"""What a step costs at the least in Python: the skeleton of a kernel with nothing in it, beside the real one.

    python bench/floor.py [--rounds N]

The skeleton starts the same runs. Each step calls a body, writes its output as JSON, puts the rows of two events into
the batch that all runs share and waits until that is "written", which it is at once: no state, no keys, no limits, no
retries, no cancellation, no store. What lies between the two columns is what can be argued about.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from statistics import median

import anyio
from pydantic_core import to_json

from throughput import VALUE, kernel_seconds  # beside this file, which python puts on the path of a script


class Skeleton:
    """Batches of rows, written one after the other as soon as somebody waits."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, str, str, str | None]] = []
        self.door = asyncio.Event()
        self.wanted = asyncio.Event()

    async def serve(self) -> None:
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            rows, door = self.rows, self.door
            self.rows, self.door = [], asyncio.Event()
            assert rows
            door.set()
            await asyncio.sleep(0)

    async def run(self, steps: int) -> None:
        output: str | None = None
        for number in range(steps):
            self.rows.append((2 * number, time.time_ns(), "step_completed", f'{{"step":"work#{number}"}}', output))
            self.rows.append((2 * number + 1, time.time_ns(), "step_started", f'{{"step":"work#{number}"}}', None))
            self.wanted.set()
            await self.door.wait()
            output = to_json(await self.body()).decode()

    async def body(self) -> str:
        return VALUE


async def skeleton_seconds(runs: int, steps: int) -> float:
    """From the first start to the last result."""
    skeleton = Skeleton()
    writer = asyncio.create_task(skeleton.serve())
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(runs):
            group.create_task(skeleton.run(steps))
    seconds = time.perf_counter() - began
    writer.cancel()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for runs, steps in ((1, 1_000), (20, 200), (100, 200)):
        floors, kernels = [], []
        for _ in range(rounds):
            floors.append(asyncio.run(skeleton_seconds(runs, steps)))
            kernels.append(anyio.run(kernel_seconds, "memory:", runs, steps))
        scale = 1e6 / (runs * steps)
        print(
            f"{runs:>5} runs x {steps:>5} steps  skeleton {median(floors) * scale:6.1f} us/step  "
            f"kernel on a memory store {median(kernels) * scale:6.1f} us/step"
        )


if __name__ == "__main__":
    main()
