"""Watching a run: every event once, from any point on, to the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest

from flujo.kernel import Context, Event, RunNotFoundError, workflow
from flujo.kernel.errors import CursorError, RunDeletedError, RunReplacedError
from kernel.flows import Flaky, double, doubling, waiting
from kernel.harness import Harness, until


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    """Every event of a watch, to its end."""
    async with aclosing(events) as stream:  # type: ignore[type-var]
        return [event async for event in stream]


async def test_a_watch_gives_each_event_once_from_where_it_is_asked_to() -> None:
    """A watch from 0 gives the whole journal, one from n what follows n, both end with the run."""
    harness = Harness()

    async with harness.kernel(waiting) as kernel:
        handle = await kernel.start(waiting, run_id="r")
        seen: list[Event] = []

        async def watch() -> None:
            seen.extend(await collect(handle.watch()))

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await until(kernel, "r", "step_waiting")
            await handle.signal("go")
        rest = await collect(handle.watch(after_seq=2))

    assert [event.seq for event in seen] == [1, 2, 3, 4, 5]
    assert [event.seq for event in rest] == [3, 4, 5]
    assert seen == harness.journal("r")


async def test_a_watch_of_many_events_misses_none() -> None:
    """More events than one read returns arrive in order, each once."""

    @workflow()
    async def long(ctx: Context) -> None:
        for number in range(100):
            await ctx.step(double, number)

    async with Harness().kernel(long) as kernel:
        handle = await kernel.start(long)
        live = await collect(handle.watch())
        stored = await collect(handle.watch())

    assert [event.seq for event in live] == list(range(1, 203))
    assert live == stored


async def test_a_watch_ends_when_the_run_has_failed_and_goes_on_after_a_resume() -> None:
    """A failed run ends its watch; after a resume the next watch continues where that one ended."""
    flaky = Flaky()

    async with Harness().kernel(flaky.workflow) as kernel:
        handle = await kernel.start(flaky.workflow)
        before = await collect(handle.watch())
        flaky.broken = False
        await kernel.resume(handle.run_id)
        after = await collect(handle.watch(after_seq=before[-1].seq))

    assert before[-1].type == "run_failed"
    assert after[0].type == "run_resumed"
    assert after[-1].type == "run_completed"


async def test_a_watch_beyond_the_end_is_refused() -> None:
    """A cursor after the last event is a mistake, as is an unknown run."""
    async with Harness().kernel(doubling) as kernel:
        await kernel.run(doubling, run_id="r")

        with pytest.raises(CursorError, match="has 4 events"):
            await collect(kernel.watch("r", after_seq=5))
        with pytest.raises(RunNotFoundError):
            await collect(kernel.watch("s"))
        assert await collect(kernel.watch("r", after_seq=4)) == []


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
async def test_a_watch_tells_when_its_run_is_gone(replaced: bool) -> None:
    """The watch of an interrupted run that is deleted, or started anew under its id, ends with an error."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")

    async with harness.kernel(doubling) as kernel:
        watch = kernel.watch("r")
        async with aclosing(watch) as events:
            for _ in range(2):
                await anext(events)
            await kernel.delete("r")
            if replaced:
                await kernel.start(doubling, run_id="r")
                await kernel.result("r")
            expected = RunReplacedError if replaced else RunDeletedError

            with pytest.raises(expected):
                await anext(events)
