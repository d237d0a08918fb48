"""Following all runs of a store: each event once and in order, whoever runs the runs, and on behind any cursor."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Kernel, Observer, workflow
from flujo.kernel.api import RunEvent
from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import ForeignCursorError, InvalidNameError
from flujo.kernel.store.following import Cursor, RunChooser, check_types
from kernel.harness import Harness


async def one() -> int:
    return 1


@workflow()
async def short(ctx: Context) -> int:
    """Two steps."""
    return await ctx.step(one, name="a") + await ctx.step(one, name="b")


@workflow()
async def patient(ctx: Context) -> Any:
    """A step, then a signal."""
    await ctx.step(one)
    return await ctx.wait_signal("go")


async def first(runs: Kernel | Observer, number: int, *arguments: Any, **options: Any) -> list[RunEvent]:
    """So many events of a watch."""
    found: list[RunEvent] = []
    async with aclosing(runs.watch_runs(*arguments, **options)) as events:
        while len(found) < number:
            found.append(await anext(events))
    return found


def told(found: list[RunEvent]) -> list[tuple[str, int]]:
    return [(each.run_id, each.event.seq) for each in found]


async def test_events_of_several_runs_come_in_one_order() -> None:
    """Each run's in the order of its journal, none twice; with where they are from."""
    async with Harness().kernel(short) as kernel:
        for run_id in ("x", "y"):
            await kernel.run(short, run_id=run_id)
        journal = await kernel.events("x")
        found = await first(kernel, 2 * len(journal))

    assert told(found) == [(run_id, event.seq) for run_id in ("x", "y") for event in journal]
    assert {each.workflow for each in found} == {"short"}
    assert [each.event for each in found[: len(journal)]] == list(journal)


async def test_a_watch_goes_on_behind_every_cursor() -> None:
    """So nothing is lost or sent twice wherever it broke off, also in another process."""
    harness = Harness()
    async with harness.kernel(short) as kernel:
        for run_id in ("x", "y"):
            await kernel.run(short, run_id=run_id)
        whole = await first(kernel, 2 * len(await kernel.events("x")))
    async with harness.backend() as backend:
        observer = Observer(backend)
        for number, event in enumerate(whole[:-1]):
            assert await first(observer, len(whole) - number - 1, event.cursor) == whole[number + 1 :]


async def test_what_happens_is_seen_as_it_is_committed() -> None:
    """From now on, without what is stored; and a watcher that waits costs nothing meanwhile."""
    async with Harness().kernel(short, patient) as kernel:
        await kernel.run(short, run_id="before")
        async with aclosing(kernel.watch_runs(from_now=True)) as events:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kernel.start, patient, None)
                seen = [await anext(events) for _ in range(3)]
            await kernel.signal(seen[0].run_id, "go")
            while (event := await anext(events)).event.type != "run_completed":
                seen.append(event)

    assert "before" not in {each.run_id for each in seen}
    assert [each.event.seq for each in seen] == list(range(1, len(seen) + 1))


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, ["a-1", "a-2", "b-1"]),
        ({"workflow": "patient"}, ["b-1"]),
        ({"id_prefix": "a-"}, ["a-1", "a-2"]),
        ({"labels": {"team": "x"}}, ["a-2"]),
        ({"labels": {"team": "x", "more": "y"}}, []),
        ({"parent_run_id": "a-1"}, []),
        ({"created_before": 1}, []),
        ({"created_from": 1}, ["a-1", "a-2", "b-1"]),
    ],
)
async def test_runs_are_chosen_by_what_never_changes(wanted: Any, ids: list[str]) -> None:
    """Every part must match."""
    async with Harness().kernel(short, patient) as kernel:
        await kernel.run(short, run_id="a-1")
        await kernel.run(short, run_id="a-2", labels={"team": "x", "size": "1"})
        await kernel.start(patient, run_id="b-1")
        found: list[str] = []
        async with aclosing(kernel.watch_runs_batches(idle_seconds=0, types=["run_created"], **wanted)) as pieces:
            async for piece in pieces:
                found += [event.run_id for event in piece.events]
                if Cursor.parse(piece.cursor).position == await kernel.backend.last_position():
                    break

    assert found == ids


async def test_kinds_of_events_can_be_left_out() -> None:
    """And the cursor goes on with those that were looked at."""
    async with Harness().kernel(short) as kernel:
        await kernel.run(short, run_id="x")
        (event,) = await first(kernel, 1, types=["run_completed"])

    assert event.event.type == "run_completed"


async def test_a_run_that_is_gone_leaves_a_hole() -> None:
    """Nobody waits for its events, and one that is started under its id is another one."""
    async with Harness().kernel(short) as kernel:
        await kernel.run(short, run_id="x")
        await kernel.delete("x")
        await kernel.run(short, run_id="x")
        uid = (await kernel.summary("x")).uid
        found = await first(kernel, 3)

    assert {each.uid for each in found} == {uid}
    assert [each.event.seq for each in found] == [1, 2, 3]


@pytest.mark.parametrize(
    "cursor", ["nonsense", "-1", "99999", "a.٣", "9" * 30, f"a.{10**19}", "a.-1", "a b.1", "a.1\n"]
)
async def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    """So nobody takes a number for one."""
    async with Harness().kernel(short) as kernel:
        await kernel.run(short)
        with pytest.raises(InvalidNameError, match="cursor"):
            await first(kernel, 1, cursor)


async def test_a_cursor_of_another_store_is_refused() -> None:
    """Whatever number it has: what is behind it there is not what is behind it here. The error says how to begin."""
    async with Harness().kernel(short) as elsewhere:
        await elsewhere.run(short)
        cursors = [event.cursor for event in await first(elsewhere, 2)]
    async with Harness().kernel(short) as kernel:
        await kernel.run(short)
        (own,) = await first(kernel, 1)
        beyond = str(Cursor(Cursor.parse(own.cursor).store, 10**18))
        for cursor in (*cursors, beyond, ".1"):
            with pytest.raises(ForeignCursorError, match="another store") as refused:
                await first(kernel, 1, cursor)
            assert any("--after 0" in hint for hint in refused.value.hints)


async def test_from_now_and_a_cursor_contradict_each_other() -> None:
    """One of them is a mistake."""
    async with Harness().kernel(short) as kernel:
        with pytest.raises(InvalidNameError, match="from_now"):
            await first(kernel, 1, "1", from_now=True)


@pytest.mark.parametrize("types", [["step_teleported"], "run_completed"])
def test_a_kind_of_event_has_to_exist(types: Any) -> None:
    """A misspelt one would be waited for in vain."""
    with pytest.raises(InvalidNameError, match="run_completed"):
        check_types(types)


def test_a_chooser_takes_what_a_filter_takes() -> None:
    """And refuses it in the same words."""
    with pytest.raises(InvalidNameError, match="created_from"):
        RunChooser.of(created_from=-(2**70))
    assert RunChooser.of(labels={"a": "b"}).labels == {"a": "b"}
    assert set(RunChooser._fields) < set(RunSummary._fields) | {"id_prefix", "created_from", "created_before"}


@pytest.mark.parametrize("watchers", [1, 10, 200])
async def test_many_watchers_share_what_is_read(watchers: int) -> None:
    """Each gets every event, and all together cost the store about what one costs."""
    reads: list[int] = []

    class Counting(InMemoryBackend):
        async def changes(self, after: int, limit: int) -> Any:
            reads.append(after)
            return await super().changes(after, limit)

    found: list[list[RunEvent]] = [[] for _ in range(watchers)]

    async def watch(into: list[RunEvent]) -> None:
        async with aclosing(kernel.watch_runs()) as events:
            async for event in events:
                into.append(event)
                if len(into) == 30 * 6:
                    return

    async with Kernel(Counting(), [short]) as kernel:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for into in found:
                    tasks.start_soon(watch, into)
                for number in range(30):
                    await kernel.run(short, run_id=f"r-{number}")

    assert all(events == found[0] for events in found)
    assert [each.event.seq for each in found[0]] == [1, 2, 3, 4, 5, 6] * 30
    assert len(reads) <= 30 * 7 + 5
