"""The events of a watch, handed on in the batches in which they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from flujo.backends.memory import InMemoryBackend
from flujo.client import Client, blocking
from flujo.client.watching import in_parts
from flujo.kernel import Context, Kernel, step, workflow
from flujo.kernel.events import Event
from server.harness import served

LARGE = 100_000
"""Characters of an output that does not come along with its event."""


@step
async def noted(number: int) -> str:
    return str(number) * (LARGE if number == 7 else 1)


@workflow()
async def chain(ctx: Context) -> None:
    for number in range(150):
        await ctx.step(noted, number)


@pytest.fixture
def anyio_backend() -> str:
    """gRPC runs on asyncio."""
    return "asyncio"


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    """A kernel with a run that is over, which is served at `unix:s` in the folder."""
    async with Kernel(InMemoryBackend(), [chain]) as kernel, served(kernel, f"unix:{tmp_path}/s"):
        await kernel.run(chain, run_id="r")
        yield kernel


async def test_a_watch_yields_what_its_batches_hold(kernel: Kernel, tmp_path: Path) -> None:
    """In order, each once, with the values that do not come along; many in a batch, and those values one at a time."""
    stored = await kernel.events("r", limit=1000)
    async with Client(f"unix:{tmp_path}/s") as client:
        single = [event async for event in client.watch("r")]
        batches = [batch.events async for batch in client.watch_batches("r")]
        of_all: list[Event] = []
        async with aclosing(client.watch_runs_batches()) as pieces:
            async for piece in pieces:
                of_all += [each.event for each in piece.events]
                if len(of_all) == len(stored):
                    break

    assert single == stored
    assert [event for batch in batches for event in batch] == stored
    assert len(batches) < len(stored) / 10
    assert [len(batch) for batch in batches if any(map(_is_large, batch))] == [1]
    assert of_all == stored


def _is_large(event: Event) -> bool:
    return len(getattr(event.fact, "output", None) or "") >= LARGE


async def test_a_thread_gets_them_one_by_one(kernel: Kernel, tmp_path: Path) -> None:
    """Also when it leaves early, in the middle of a batch: nothing comes after that."""
    stored = await kernel.events("r", limit=1000)

    def script() -> tuple[list[Event], list[Any]]:
        with blocking.Client(f"unix:{tmp_path}/s") as client:
            watch = client.watch("r", 2)
            first = [next(watch), next(watch)]
            watch.close()
            return [*client.watch("r")], [*first, *watch]

    whole, left = await to_thread.run_sync(script)

    assert whole == stored
    assert left == stored[2:4]


@pytest.mark.parametrize(
    ("messages", "parts"),
    [
        ([], []),
        ([1, 2, 3], [(["1", "2", "3"], 3)]),
        ([-1], [((), -1)]),
        ([1, 2, -3, 4], [(["1", "2"], 2), ((), -3), (["4"], 4)]),
        ([-1, -2, 3], [((), -1), ((), -2), (["3"], 3)]),
    ],
)
def test_what_cannot_be_read_is_a_part_by_itself(
    messages: Sequence[int], parts: Sequence[tuple[Sequence[str], int]]
) -> None:
    """And the others stay together."""
    assert list(in_parts(messages, lambda each: str(each) if each > 0 else None)) == parts
