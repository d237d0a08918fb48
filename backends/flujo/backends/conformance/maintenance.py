"""Keeping the store: looking for damage, copying, and what an operator wants to know."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

from anyio import create_task_group
from anyio.lowlevel import checkpoint

from flujo.kernel.backend import EventRow, Posted, Request, RunFilter, RunSummary, StateBackend
from flujo.kernel.errors import RunNotFoundError, StoreError, StoreExistsError

from .definitions import DEFINITION
from .harness import Harness, behaviour, empty_folder, raising
from .values import create, creation, event, following, journal, listed, settled


class Contents(NamedTuple):
    """Everything a store says of its runs."""

    runs: list[RunSummary]
    journals: list[list[EventRow]]
    requests: list[list[Posted]]


async def contents(handle: StateBackend) -> Contents:
    """Return all that is in a store, by creation."""
    runs = list((await handle.list(RunFilter(), limit=1_000)).runs)
    journals = [list(await journal(handle, run)) for run in runs]
    return Contents(runs, journals, [list(await handle.requests(run.run_id, run.uid)) for run in runs])


async def furnished(harness: Harness) -> StateBackend:
    """Return a store with a little of everything in it."""
    one = await harness.open("one")
    large = event(1, "run_created", '"' + "größe" * 100_000 + '"')
    (a, _) = await create(one, creation("a", brings=DEFINITION, definition="digest"), creation("b", wake_at=7))
    await create(one, settled("done", 50)._replace(rows=(large,)))
    await create(one, settled("again", 60)._replace(rows=(large,)), settled("child", 60, parent_run_id="done"))
    await one.append([following(a, 4, steps_done=2)])
    for number in range(3):
        await one.post("b", Request("signal", f'{{"n":{number}}}', number))
    (gone,) = await create(one, settled("gone", 70)._replace(rows=(large,)))
    await one.delete("gone", gone.uid)
    return one


@behaviour
async def a_sound_store_has_no_problems(harness: Harness) -> None:
    """Nothing is wrong with a store in use, nor with an empty one, whoever looks."""
    empty = await harness.open("empty")
    assert list(await empty.integrity()) == []
    one = await furnished(harness)
    reader = await harness.open(None)

    assert list(await one.integrity()) == []
    assert list(await reader.integrity()) == []


@behaviour
async def a_killed_owner_leaves_a_sound_store(harness: Harness) -> None:
    """After an owner was killed and another one took over, nothing is wrong."""
    one = await furnished(harness)
    await harness.kill(one)
    two = await harness.open("two")
    await two.append([following(await two.claim("a"))])

    assert list(await two.integrity()) == []


@behaviour
async def pruning_leaves_a_sound_store(harness: Harness) -> None:
    """After deletes, prunes and runs that begin anew nothing is wrong, and what is left can be read."""
    one = await furnished(harness)
    await one.prune(RunFilter(id_prefix="done"), limit=10, dry_run=False)
    await create(one, settled("done", 80))

    assert list(await one.integrity()) == []
    assert {run.run_id for run in (await contents(one)).runs} == {"a", "b", "again", "done"}


@behaviour
async def looking_for_damage_changes_nothing(harness: Harness) -> None:
    """Looking for damage and at the details leaves everything as it was."""
    one = await furnished(harness)
    before = await contents(one)
    await one.integrity()
    await one.details()

    assert await contents(one) == before
    assert len(await one.take()) == 3


@behaviour
async def looking_for_damage_does_not_stop_others(harness: Harness) -> None:
    """While somebody looks for damage an owner goes on, and no run of its is called damaged for that."""
    one = await furnished(harness)
    reader = await harness.open(None)
    (summary,) = await create(one, creation("live"))
    async with create_task_group() as tasks:

        async def advance(summary: RunSummary) -> None:
            for _ in range(15):
                commit = following(summary)
                assert await one.append([commit]) == {}
                summary = commit.summary

        tasks.start_soon(advance, summary)
        for _ in range(3):
            assert list(await reader.integrity()) == []


@behaviour
async def details_are_json(harness: Harness) -> None:
    """What an operator is told is JSON under names that are text, of an empty store as of a full one, to anybody."""
    one = await harness.open("one")
    reader = await harness.open(None)
    for number in range(2):
        for handle in (one, reader):
            details = await handle.details()
            assert details
            assert all(isinstance(name, str) for name in details)
            assert json.loads(json.dumps(dict(details), allow_nan=False)) == dict(details)
        await create(one, creation(f"run{number}"))


# -- copies of durable stores -----------------------------------------------------------------------------------------


def _makes_copies(handle: StateBackend) -> bool:
    return handle.capabilities.durable and handle.capabilities.backs_up


@behaviour
async def what_makes_no_copies_says_so(harness: Harness) -> None:
    """A store that ends with its process, or that its database backs up, refuses to be copied, and says so."""
    one = await harness.open("one")
    if _makes_copies(one):
        return
    with empty_folder() as folder:
        with raising(StoreError):
            await one.backup(folder / "copy")
        assert list(folder.iterdir()) == []


@behaviour
async def a_copy_holds_everything(harness: Harness) -> None:
    """A copy has the same runs, events, requests and definitions as the store had, and takes as many bytes as told."""
    one = await furnished(harness)
    if not _makes_copies(one):
        return
    before = await contents(one)
    with empty_folder() as folder:
        size = await one.backup(folder / "copy")
        assert [path.name for path in folder.iterdir()] == ["copy"]
        copy = await harness.open_copy(folder / "copy", None)

        assert await contents(copy) == before
        assert await copy.get_definition("digest") == DEFINITION
        assert list(await copy.integrity()) == []
        assert size > 500_000
        assert await contents(one) == before
        await copy.close()


@behaviour
async def an_empty_store_can_be_copied(harness: Harness) -> None:
    """The copy of a store without runs is a store without runs."""
    one = await harness.open("one")
    if not _makes_copies(one):
        return
    with empty_folder() as folder:
        assert await one.backup(folder / "copy") > 0
        copy = await harness.open_copy(folder / "copy", None)
        assert await listed(copy) == []
        await copy.close()


@behaviour
async def nobody_is_alive_in_a_copy(harness: Harness) -> None:
    """The owners of a store are not alive in its copy, so all its runs can be claimed there and gone on with."""
    one = await furnished(harness)
    if not _makes_copies(one):
        return
    with empty_folder() as folder:
        await one.backup(folder / "copy")
        heir = await harness.open_copy(folder / "copy", "two")
        assert not await heir.is_alive("one")
        claimed = await heir.claim("b")
        answered = [posted.id for posted in await heir.take()]
        assert await heir.append([following(claimed, 2, taken=answered)]) == {}

        assert len(answered) == 3
        assert list(await heir.integrity()) == []
        await heir.close()


@behaviour
async def a_copy_and_its_store_part(harness: Harness) -> None:
    """What happens to a copy does not happen to its store, and the other way round."""
    one = await furnished(harness)
    if not _makes_copies(one):
        return
    with empty_folder() as folder:
        await one.backup(folder / "copy")
        copy = await harness.open_copy(folder / "copy", "two")
        await copy.prune(RunFilter(id_prefix="done"), limit=10, dry_run=False)
        await create(copy, creation("theirs", "two"))
        before = await contents(copy)
        await one.append([following(await one.load("a"), owner=None)])
        again = await one.load("again")
        await one.delete("again", again.uid)

        assert await contents(copy) == before
        assert {run.run_id for run in (await contents(one)).runs} == {"a", "b", "done", "child"}
        await copy.close()


@behaviour
async def requests_of_a_copy_get_new_ids(harness: Harness) -> None:
    """A request that is posted to a copy gets an id that no request of its run had before."""
    one = await furnished(harness)
    if not _makes_copies(one):
        return
    earlier = [posted.id for posted in await one.take()]
    (summary,) = await create(one, creation("last"))
    await one.post("last", Request("signal", "{}", 1))
    (posted,) = await one.requests("last", summary.uid)
    await one.append([following(summary, taken=[posted.id])])
    with empty_folder() as folder:
        await one.backup(folder / "copy")
        copy = await harness.open_copy(folder / "copy", None)
        await copy.post("last", Request("signal", "{}", 2))
        (later,) = await copy.requests("last", summary.uid)

        assert later.id > max(*earlier, posted.id)
        await copy.close()


@behaviour
async def a_copy_replaces_nothing(harness: Harness) -> None:
    """Where something is already, be it a file, a folder or an empty one, nothing is written and nothing changes."""
    one = await furnished(harness)
    if not _makes_copies(one):
        return
    with empty_folder() as folder:
        (folder / "file").write_text("mine")
        (folder / "folder").mkdir()
        (folder / "folder" / "file").write_text("mine")
        (folder / "empty").mkdir()
        (folder / "link").symlink_to(folder / "nowhere")
        for name in ("file", "folder", "empty", "link"):
            with raising(StoreExistsError):
                await one.backup(folder / name)

        assert (folder / "file").read_text() == (folder / "folder" / "file").read_text() == "mine"
        assert list((folder / "empty").iterdir()) == []
        assert sorted(path.name for path in folder.iterdir()) == ["empty", "file", "folder", "link"]


@behaviour
async def a_copy_that_cannot_be_written_leaves_nothing(harness: Harness) -> None:
    """A copy to a place that cannot be is a StoreError, and no part of it is left."""
    one = await furnished(harness)
    if not _makes_copies(one):
        return
    with empty_folder() as folder:
        (folder / "file").write_text("mine")
        with raising(StoreError):
            await one.backup(folder / "file" / "copy")

        assert [path.name for path in folder.iterdir()] == ["file"]
    assert (await one.load("a")).seq == 5


@behaviour
async def a_copy_is_of_one_moment(harness: Harness) -> None:
    """Of two runs that are advanced in turn, a copy made meanwhile never has the second ahead of the first, nor the
    first ahead by more than one."""
    one = await furnished(harness)
    if not _makes_copies(one):
        return
    first, second = await create(one, creation("first"), creation("second"))
    is_done = False

    async def advance(first: RunSummary, second: RunSummary) -> None:
        while not is_done:
            for commit in (following(first), following(second)):
                assert await one.append([commit]) == {}
                await checkpoint()
            first, second = first._replace(seq=first.seq + 1), second._replace(seq=second.seq + 1)

    reader = await harness.open(None)
    with empty_folder() as folder:
        async with create_task_group() as tasks:
            tasks.start_soon(advance, first, second)
            for number in range(3):
                await reader.backup(folder / str(number))
            is_done = True
        for number in range(3):
            copy = await harness.open_copy(folder / str(number), None)
            ahead = (await copy.load("first")).seq - (await copy.load("second")).seq
            assert ahead in (0, 1)
            for run in (first, second):
                seq = (await copy.load(run.run_id)).seq
                assert [row.seq for row in await journal(copy, run)] == list(range(1, seq + 1))
            assert list(await copy.integrity()) == []
            await copy.close()
    assert list(await one.integrity()) == []


@behaviour
async def a_copy_has_what_was_deleted_meanwhile(harness: Harness) -> None:
    """Runs that are deleted, pruned and begun anew while a copy is made are in it as of one moment: each wholly or not
    at all, and those of one batch all or none."""
    one = await furnished(harness)
    if not _makes_copies(one):
        return
    large = event(1, "run_created", '"' + "x" * 200_000 + '"')
    is_done = False

    async def live() -> None:
        while not is_done:
            pair = [creation(run_id, None)._replace(rows=(large,)) for run_id in ("left", "right")]
            await create(one, *pair)
            await checkpoint()
            await one.prune(RunFilter(id_prefix="left"), limit=1, dry_run=False)
            await one.delete("right", pair[1].uid)

    reader = await harness.open(None)
    with empty_folder() as folder:
        async with create_task_group() as tasks:
            tasks.start_soon(live)
            for number in range(3):
                await reader.backup(folder / str(number))
            is_done = True
        for number in range(3):
            copy = await harness.open_copy(folder / str(number), None)
            found = await contents(copy)
            for run, rows in zip(found.runs, found.journals, strict=True):
                assert len(rows) == run.seq
            assert "left" not in await listed(copy) or "right" in await listed(copy)
            assert list(await copy.integrity()) == []
            await copy.close()
    with raising(RunNotFoundError):
        await one.load("left")
    assert list(await one.integrity()) == []


@behaviour
async def a_cancelled_copy_leaves_nothing(harness: Harness) -> None:
    """A copy that is cancelled is there wholly or not at all, no part of it is left, and the next one succeeds."""
    one = await furnished(harness)
    if not _makes_copies(one):
        return
    with empty_folder() as folder:
        for ticks in range(12):
            target = folder / str(ticks)
            async with create_task_group() as tasks:
                tasks.start_soon(one.backup, target)
                for _ in range(ticks):
                    await checkpoint()
                tasks.cancel_scope.cancel()
            left = [path.name for path in folder.iterdir()]
            assert left in ([], [str(ticks)])
            for name in left:
                await _require_whole(harness, folder / name)
                for path in folder.iterdir():  # opening it may have put files beside it
                    _remove(path)
        await one.backup(folder / "last")
        await _require_whole(harness, folder / "last")


async def _require_whole(harness: Harness, target: Path) -> None:
    copy = await harness.open_copy(target, None)
    assert await copy.count(RunFilter()) == 5
    await copy.close()


def _remove(path: Path) -> None:
    if path.is_dir():
        rmtree(path)
    else:
        path.unlink()
