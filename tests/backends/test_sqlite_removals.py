"""A long run goes in slices: at once for everybody, and its events bit by bit."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from anyio import CancelScope, to_thread

from backends.conftest import Open
from flujo.backends import SQLiteBackend
from flujo.backends.conformance import create, creation, event, following, listed, settled
from flujo.backends.sqlite import integrity, removals
from flujo.kernel.backend import Commit, Order, Refused, Request, RunFilter
from flujo.kernel.errors import RunNotFoundError

BACKEND = SQLiteBackend

LONG = 6 * removals.EVENTS_PER_LOOK + 7
Remove = Callable[[SQLiteBackend], Awaitable[object]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few events be many."""
    monkeypatch.setattr(removals, "LONG", 100)
    monkeypatch.setattr("flujo.backends.sqlite.pruning.HOLD_SECONDS", 0.0)  # as many slices as can be


def long_run(run_id: str = "long", **fields: Any) -> Commit:
    """A commit that creates a settled run of many events, one of which has a large payload."""
    commit = settled(run_id, 100, labels='{"team":"x"}', seq=LONG, **fields)
    rows = (commit.rows[0], *(event(seq) for seq in range(2, LONG + 1)))
    return commit._replace(rows=(*rows[:5], rows[5]._replace(payload=f'"{"x" * 20_000}"'), *rows[6:]))


async def delete(handle: SQLiteBackend) -> None:
    await handle.delete("long", (await handle.load("long")).uid)


async def prune(handle: SQLiteBackend) -> object:
    return await handle.prune(RunFilter(labels=[("team", "x")]), limit=10, dry_run=False)


removing = pytest.mark.parametrize("remove", [delete, prune])


def left(path: Path) -> tuple[int, int, int]:
    """How many events, labels and large payloads there are."""
    with closing(sqlite3.connect(path)) as shell:
        tables = ("events", "labels", "blobs")
        found = [shell.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    return found[0], found[1], found[2]


async def cut_short(handle: SQLiteBackend, remove: Remove, slices: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Begin to remove a run, and give up while so many slices of its events are done; return how many were begun."""
    done = 0
    sweep, loop = removals.sweep, asyncio.get_running_loop()
    with monkeypatch.context() as patched, CancelScope() as scope:

        def counting(*arguments: Any) -> removals.Swept:
            nonlocal done
            done += 1
            if done == slices:
                loop.call_soon_threadsafe(scope.cancel)
            return sweep(*arguments)

        patched.setattr(removals, "sweep", counting)
        await remove(handle)
    return done


@removing
async def test_a_long_run_goes_in_slices(
    open_store: Open, path: Path, remove: Remove, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction removes more than some of its events, others commit in between, and in the end nothing is left."""
    store, other = await open_store("one"), await open_store("two")
    (run,) = await create(other, creation("other", "two"))
    await create(store, long_run())
    sizes: list[int] = []
    sweep = removals.sweep

    def looking(*arguments: Any) -> removals.Swept:
        swept = sweep(*arguments)
        sizes.append(swept.events)
        return swept

    monkeypatch.setattr(removals, "sweep", looking)
    await remove(store)

    assert len(sizes) == 7
    assert max(sizes) == removals.EVENTS_PER_LOOK
    assert sum(sizes) == LONG
    assert left(path) == (1, 0, 0)
    assert await other.append([following(run)]) == {}
    assert list(await store.integrity()) == []


async def test_a_prune_says_what_a_long_run_took(open_store: Open) -> None:
    """In bytes, as its dry run foretells."""
    store = await open_store("one")
    await create(store, long_run(), settled("short", 50))
    foretold = await store.prune(RunFilter(), limit=10, dry_run=True)
    done = await store.prune(RunFilter(), limit=10, dry_run=False)

    assert (done.total, done.bytes) == (foretold.total, foretold.bytes)
    assert done.bytes > 20_000


@removing
@pytest.mark.parametrize("slices", [1, 3])
async def test_a_run_whose_removal_was_cut_short_is_gone(
    open_store: Open, path: Path, remove: Remove, slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody finds it in any listing or count, its parts are no damage, and a late commit for it is refused."""
    store = await open_store("one")
    _, long = await create(store, settled("short", 50), long_run())
    await cut_short(store, remove, slices, monkeypatch)
    events, labels, _ = left(path)
    assert 1 < events <= 1 + LONG
    assert labels == 0

    for handle in (store, await open_store(None)):
        for order in Order:
            assert await listed(handle, order=order) == ["short"]
        assert await listed(handle, RunFilter(updated_before=1_000_000)) == ["short"]
        assert await listed(handle, RunFilter(created_before=1_000_000)) == ["short"]
        assert await listed(handle, RunFilter(finished_before=1_000_000)) == ["short"]
        for filter in (RunFilter(), RunFilter(created_before=1_000_000), RunFilter(updated_before=1_000_000)):
            assert await handle.count(filter) == 1
        assert [(each.workflow, each.runs) for each in await handle.stats(0)] == [("report", {"completed": 1})]
        assert (await handle.prune(RunFilter(), limit=9, dry_run=True)).total == 1
        with pytest.raises(RunNotFoundError):
            await handle.load("long")
        with pytest.raises(RunNotFoundError):
            await handle.read_events("long", long.uid, 0, 10)
        with pytest.raises(RunNotFoundError):
            await handle.post("long", Request("signal", "{}", 1))
        assert isinstance((await handle.read_runs(["long"], 9))[0], RunNotFoundError)
        assert {change.run_id for change in await handle.changes(0, 1_000)} == {"short"}
        assert list(await handle.integrity()) == []
        assert (await handle.details())["runs"] == 1
        assert (await handle.details())["being_removed"] == 1
    assert await store.append([following(long)]) == {long.uid: Refused.STALE}
    assert list(await store.claim_idle(["completed"], ["report"], 9)) == [(await store.load("short"))]


@removing
async def test_an_id_is_free_while_its_last_run_is_removed(
    open_store: Open, remove: Remove, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run starts under it, and even the same one is brought back; what was left of the first goes without
    them."""
    store = await open_store("one")
    commit = long_run()
    await create(store, commit)
    await cut_short(store, remove, 2, monkeypatch)
    (again,) = await create(store, creation("long", "one"))
    assert await store.append([following(again, 3)]) == {}
    await store.release(None)
    await store.prune(RunFilter(labels=[("team", "none")]), limit=1, dry_run=False)

    assert [row.seq for row in await store.read_events("long", again.uid, 0, 10)] == [1, 2, 3, 4]
    assert (await store.details())["being_removed"] == 0
    await store.delete("long", again.uid)
    assert await store.append([commit]) == {}
    assert (await store.load("long")).uid == commit.uid


@removing
@pytest.mark.parametrize("heir", ["the next owner", "the next prune"])
async def test_what_is_left_goes_with_the_next_one(
    open_store: Open, path: Path, remove: Remove, heir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens the store to advance runs, or prunes, finishes what another one has begun. A reader does not."""
    store = await open_store("one")
    await create(store, long_run(), creation("short", None))
    await cut_short(store, remove, 2, monkeypatch)
    await store.close()
    reader = await open_store(None)
    assert left(path)[0] > 1
    if heir == "the next owner":
        await open_store("two")
    else:
        removal = await reader.prune(RunFilter(labels=[("team", "none")]), limit=1, dry_run=False)
        assert (removal.total, removal.bytes) == (0, 0)

    assert left(path) == (1, 0, 0)
    assert list(await reader.integrity()) == []


KILLED = """
import sys, anyio
from flujo.backends import SQLiteBackend
from flujo.backends.sqlite import pruning, removals

sweep, done = removals.sweep, 0

def stopping(*arguments):
    global done
    done += 1
    if done == 3:
        print("now", flush=True)
        sys.stdin.read()
    return sweep(*arguments)

removals.LONG, removals.sweep, pruning.HOLD_SECONDS = 100, stopping, 0.0

async def main():
    handle = SQLiteBackend(sys.argv[1])
    await handle.open(None)
    await handle.delete("long", (await handle.load("long")).uid)

anyio.run(main)
"""


async def test_a_kill_between_two_slices_leaves_nothing_half(open_store: Open, path: Path) -> None:
    """The run is gone, its rest is no damage, and the next owner finishes."""
    store = await open_store("one")
    (run, _) = await create(store, long_run(), creation("short", None))
    await store.close()

    def kill() -> None:
        command = [sys.executable, "-c", KILLED, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "now\n"
            process.send_signal(signal.SIGKILL)

    await to_thread.run_sync(kill)
    reader = await open_store(None)

    assert await listed(reader) == ["short"]
    with pytest.raises(RunNotFoundError):
        await reader.read_events("long", run.uid, 0, 10)
    assert list(await reader.integrity()) == []
    assert 1 < left(path)[0] <= 1 + LONG
    await open_store("two")
    assert left(path) == (1, 0, 0)


async def test_a_family_goes_with_its_long_member(open_store: Open, path: Path) -> None:
    """Also when a child is the long one."""
    store = await open_store("one")
    await create(store, settled("root", 50), long_run("root.child", parent_run_id="root"))
    removal = await store.prune(RunFilter(), limit=10, dry_run=False)

    assert [run.run_id for run in removal.runs] == ["root", "root.child"]
    assert left(path) == (0, 0, 0)


async def test_the_marked_row_is_like_any_other_for_its_checksum(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed byte in what is left is told; the labels of the run are those of nobody else."""
    store = await open_store("one")
    await create(store, long_run(), settled("b", 60, labels=json.dumps({"team": "x"})))
    await cut_short(store, delete, 2, monkeypatch)
    assert await listed(store, RunFilter(labels=[("team", "x")])) == ["b"]
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("UPDATE runs SET token = 99 WHERE status = 'removed'")
        shell.commit()

    with closing(sqlite3.connect(path)) as shell:
        assert len(integrity.changed_rows(shell)) == 1
