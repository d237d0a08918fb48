"""Watching a run: every event once, from any point on, to the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Event, RunNotFoundError, workflow
from flujo.kernel.backend import EventRow, RunSummary
from flujo.kernel.errors import CursorError, RunDeletedError, RunReplacedError, UnknownEventError
from flujo.kernel.store import watching
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


class CountingBackend(InMemoryBackend):
    """Notes for which life of a run its events are read."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.read_of: list[str] = []

    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        self.read_of.append(uid)
        return await super().read_events(run_id, uid, after_seq, limit)


@workflow()
async def hundred(ctx: Context) -> None:
    for number in range(100):
        await ctx.step(double, number)


async def test_what_was_watched_last_is_not_read_again_for_who_comes_next() -> None:
    """The store is asked once then, whether there is more; other runs are forgotten as the next one is left."""
    harness = Harness()
    backend = CountingBackend(harness.store)
    async with harness.kernel(hundred, backend=backend) as kernel:
        for run_id in ("a", "b"):
            await kernel.run(hundred, run_id=run_id)
        reads, found = [], []
        for run_id in ("a", "a", "a", "b", "a"):
            backend.read_of.clear()
            found.append(await collect(kernel.watch(run_id)))
            reads.append(len(backend.read_of))

    assert found == [harness.journal(run_id) for run_id in ("a", "a", "a", "b", "a")]
    assert reads[1] == reads[2] == 1
    assert reads[0] == reads[3] == reads[4] > 1


async def test_a_large_run_that_nobody_watches_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again for whoever comes next."""
    monkeypatch.setattr(watching, "LEFT_BYTES", 100)
    harness = Harness()
    backend = CountingBackend(harness.store)
    async with harness.kernel(hundred, backend=backend) as kernel:
        await kernel.run(hundred, run_id="a")
        first = await collect(kernel.watch("a"))
        reads = len(backend.read_of)
        second = await collect(kernel.watch("a"))

    assert first == second == harness.journal("a")
    assert len(backend.read_of) == 2 * reads


async def test_the_events_of_another_life_of_a_run_are_not_given_again() -> None:
    """A run that was watched, deleted and started anew is another one."""
    harness = Harness()
    async with harness.kernel(doubling, hundred) as kernel:
        await kernel.run(hundred, run_id="r")
        await collect(kernel.watch("r"))
        await kernel.delete("r")
        with pytest.raises(RunNotFoundError):
            await collect(kernel.watch("r"))
        await kernel.run(doubling, run_id="r")
        found = await collect(kernel.watch("r"))

    assert found == harness.journal("r")
    assert len(found) == 4


class RewoundBackend(InMemoryBackend):
    """Forgets the end of each run, as a replica does that had not got the last commits, and records it differently."""

    is_rewound = False

    async def load(self, run_id: str) -> RunSummary:
        summary = await super().load(run_id)
        return summary._replace(seq=summary.seq - 2) if self.is_rewound else summary

    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        rows = await super().read_events(run_id, uid, after_seq, limit)
        return [row._replace(at=row.at + 1) for row in rows[:-2]] if self.is_rewound else rows


async def test_events_that_the_store_has_forgotten_are_not_given_again() -> None:
    """What was read of a run that was watched last is read again where the store was rewound since then."""
    harness = Harness()
    backend = RewoundBackend(harness.store)
    async with harness.kernel(doubling, backend=backend) as kernel:
        await kernel.run(doubling, run_id="r")
        before = await collect(kernel.watch("r"))
        backend.is_rewound = True
        after = await collect(kernel.watch("r"))

    assert [event.seq for event in after] == [event.seq for event in before[:-2]]
    assert [event.at for event in after] == [event.at + 1 for event in before[:-2]]


async def test_an_event_that_nobody_wants_is_not_decoded() -> None:
    """A watcher that has no use for one of a newer release passes over it; one that looks at it is told."""
    harness = Harness()
    async with harness.kernel(doubling) as kernel:
        await kernel.run(doubling, run_id="r")
        stored = harness.store.runs["r"].events
        stored[1] = stored[1]._replace(type="of_tomorrow")
        async with aclosing(kernel.watch_batches("r")) as batches:
            pieces = [batch async for batch in batches]

    assert [[each.seq for each in piece.stored] for piece in pieces] == [[], [1, 2, 3, 4], []]
    with pytest.raises(UnknownEventError, match="of_tomorrow"):
        _ = pieces[1].events
