"""What a step costs at the least in Python: the skeleton of a kernel with nothing in it.

It starts the same runs as the kernel beside it in `throughput.py`. Each step calls a body, writes its output as JSON,
puts the rows of two events into the batch that all runs share and waits until that is "written", which it is at once:
no state, no keys, no limits, no retries, no cancellation, no store. What lies between the two is what can be argued
about.
"""

from __future__ import annotations

import asyncio
import time

from pydantic_core import to_json


class Skeleton:
    """Batches of rows, written one after the other as soon as somebody waits."""

    def __init__(self, value: str) -> None:
        self.value = value
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
        return self.value


def skeleton_seconds(runs: int, steps: int, value: str) -> float:
    """From the first start to the last result, in seconds."""
    return asyncio.run(_seconds(runs, steps, value))


async def _seconds(runs: int, steps: int, value: str) -> float:
    skeleton = Skeleton(value)
    writer = asyncio.create_task(skeleton.serve())
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(runs):
            group.create_task(skeleton.run(steps))
    seconds = time.perf_counter() - began
    writer.cancel()
    return seconds
