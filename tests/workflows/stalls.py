"""What an event loop was seen to do while a block ran.

async with watched() as seen:
    ...
assert seen.stall < MAX_STALL
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio


class Watch:
    """`stall` is the most processor time of this process between two rounds of the loop, in seconds: other processes do
    not count."""

    stall = 0.0


@asynccontextmanager
async def watched(look: Callable[[], None] = lambda: None) -> AsyncIterator[Watch]:
    """Watch the event loop while the block runs; `look` is called in each round and does not count."""
    seen = Watch()

    async def watch() -> None:
        before = time.process_time()
        while True:
            await anyio.sleep(0.001)
            seen.stall = max(seen.stall, time.process_time() - before)
            look()
            before = time.process_time()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        yield seen
        group.cancel_scope.cancel()
