"""The SQLite store is copied while it is in use, and a copy becomes a store again, wholly or not at all."""

# ruff: noqa: ASYNC221, ASYNC240 - files are what these tests look at, and nothing else runs in their loops meanwhile

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from backends.conftest import Open
from backends.sealing import seal
from flujo.backends import SQLiteBackend
from flujo.backends.conformance import create, creation, following, listed
from flujo.backends.locks import StoreLock
from flujo.backends.sqlite import connection, copies, files, maintenance
from flujo.backends.sqlite.interruption import Cancellation
from flujo.backends.sqlite.maintenance import restore
from flujo.kernel.backend import Refused, Request, RunFilter
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignStoreError,
    NewerStoreError,
    StoreBusyError,
    StoreError,
    StoreExistsError,
    StoreFullError,
    StoreInUseError,
    StoreNotFoundError,
)

BACKEND = SQLiteBackend

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture
def anyio_backend() -> str:
    """aiosqlite runs on asyncio only."""
    return "asyncio"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where its copy is going to be, in a folder of its own."""
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies" / "copy.db"


def ask(database: Path, question: str) -> Any:
    """The rows of an answer, asked of a file nobody uses; leaves nothing beside it."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)) as shell:
        return shell.execute(question).fetchall()


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def large(commit: Any, megabytes: int = 1) -> Any:
    """The commit with a payload of some size in its first event."""
    payload = '"' + f"{commit.run_id}-{commit.expected_seq}-".ljust(megabytes * 1_000_000, "x") + '"'
    return commit._replace(rows=(commit.rows[0]._replace(payload=payload), *commit.rows[1:]))


async def runs_of(path: Path, open_store: Open) -> dict[str, tuple[int, int]]:
    """(seq, token) of the runs of a store that is opened for it."""
    reader = await open_store(None, path)
    return {run.run_id: (run.seq, run.token) for run in (await reader.list(RunFilter(), limit=1_000)).runs}


# -- backup -------------------------------------------------------------------------------------------------------


async def test_a_backup_is_a_store(store: SQLiteBackend, target: Path, open_store: Open) -> None:
    """A backup is one file of the size that was said, private, and opens as a store with everything in it."""
    summaries = await create(store, *(creation(f"run{number}", labels='{"n":"1"}') for number in range(50)))
    await store.post("run1", Request("signal", "{}", 1))
    size = await store.backup(target)
    assert names(target.parent) == ["copy.db"]
    assert target.stat().st_size == size
    assert target.stat().st_mode & 0o777 == 0o600
    assert ask(target, "PRAGMA integrity_check") == [("ok",)]
    copy = await open_store("two", target)

    assert await copy.integrity() == []
    assert await copy.count(RunFilter(labels=[("n", "1")])) == 50
    assert (await copy.load("run7"))._replace(owner=None) == summaries[7]._replace(owner=None)
    assert len(await copy.requests("run1", summaries[1].uid)) == 1


async def test_a_reader_can_make_a_backup(store: SQLiteBackend, path: Path, target: Path, open_store: Open) -> None:
    """A handle without an owner backs up what is acknowledged, beside a kernel at work."""
    await create(store, creation("a"))
    reader = await open_store(None)
    await reader.backup(target)

    assert ask(target, "SELECT run_id FROM runs") == [("a",)]


async def test_a_backup_is_of_one_moment(
    store: SQLiteBackend, path: Path, target: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers go on while a backup is under way, and it has what was there when it began."""
    monkeypatch.setattr(copies, "SLICE_PAGES", 64)
    summaries = await create(store, *(creation(f"run{number}") for number in range(100)))
    await store.append([large(following(summary)) for summary in summaries[:4]])
    begun, go_on = threading.Event(), threading.Event()

    class Look(Cancellation):
        def __call__(self) -> bool:
            begun.set()
            assert go_on.wait(60)
            return super().__call__()

    def wait_in_the_middle(_: Cancellation) -> int:
        return maintenance.backup(files.StoreFiles.at(store.url, path), target, Look())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(store._in_own_thread, wait_in_the_middle))
        await anyio.to_thread.run_sync(begun.wait)
        assert await store.append([following(summary, 2) for summary in summaries[50:]]) == {}
        await create(store, creation("later"))
        go_on.set()
    copied = await runs_of(target, open_store)

    assert "later" not in copied
    assert {copied[f"run{number}"][0] for number in range(50, 100)} == {1}
    assert (await store.load("run50")).seq == 3
    assert ask(target, "PRAGMA integrity_check") == [("ok",)]


async def test_a_backup_takes_the_place_of_nothing(store: SQLiteBackend, target: Path) -> None:
    """Something at the target is refused and left alone, also if it comes while the backup is made."""
    target.write_text("mine")
    with pytest.raises(StoreExistsError, match="left untouched"):
        await store.backup(target)
    unfinished = target.with_name("unfinished")
    unfinished.write_text("copy")
    with pytest.raises(StoreExistsError):
        copies.put_into_place(unfinished, target)

    assert target.read_text() == "mine"


async def test_a_backup_without_links(store: SQLiteBackend, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without links a backup is made all the same, and takes the place of nothing."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    await create(store, creation("a"))
    await store.backup(target)
    with pytest.raises(StoreExistsError):
        copies.put_into_place(target, target)

    assert names(target.parent) == ["copy.db"]
    assert ask(target, "SELECT run_id FROM runs") == [("a",)]


async def test_a_cancelled_backup_leaves_nothing(
    store: SQLiteBackend, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that is cancelled in the middle stops soon and leaves no file; the store goes on."""
    monkeypatch.setattr(copies, "SLICE_PAGES", 1)
    (summary,) = await create(store, creation("a"))
    await store.append([large(following(summary), 8)])
    fill = copies._fill
    begun = threading.Event()

    def filling(target: Path, source: sqlite3.Connection, stop: Cancellation) -> dict[str, int]:
        begun.set()
        while not stop():
            pass
        return fill(target, source, stop)

    monkeypatch.setattr(copies, "_fill", filling)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.backup, target)
        await anyio.to_thread.run_sync(begun.wait)
        assert [name.endswith(".unfinished") for name in names(target.parent)] == [True]
        tasks.cancel_scope.cancel()

    assert names(target.parent) == []
    assert await store.count(RunFilter()) == 1


async def test_a_backup_is_synced_while_it_grows(
    store: SQLiteBackend, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its end, when it cannot be given up, there is little left to sync."""
    monkeypatch.setattr(copies, "SLICE_PAGES", 1)
    monkeypatch.setattr(copies, "SLICES_PER_SYNC", 10)
    (summary,) = await create(store, creation("a"))
    await store.append([large(following(summary))])
    synced: list[int] = []
    sync = files.sync

    def noting(path: Path) -> None:
        if path.suffix == ".unfinished":
            synced.append(path.stat().st_size)
        sync(path)

    monkeypatch.setattr(files, "sync", noting)
    size = await store.backup(target)

    assert len(synced) == size // 4096 // 10 + 1
    assert synced[-1] == size


async def test_a_backup_that_fails_leaves_nothing(
    store: SQLiteBackend, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a folder that is not there, is said of the target, and no file is left."""
    await create(store, creation("a"))
    with pytest.raises(StoreError, match="missing"):
        await store.backup(target.parent / "missing" / "copy.db")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(StoreFullError, match=r"copy\.db"):
        await store.backup(target)

    assert names(target.parent) == []


async def test_a_damaged_store_is_not_backed_up(store: SQLiteBackend, path: Path, target: Path) -> None:
    """A backup of a store with a broken page is refused as damaged, and no file is left."""
    await create(store, *(creation(f"run{number}") for number in range(200)))
    await store.close()
    ((root,),) = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'runs_by_age'")
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    reader = SQLiteBackend(path)
    await reader.open(None)
    try:
        with pytest.raises(CorruptStoreError):
            await reader.backup(target)
    finally:
        await reader.close()

    assert names(target.parent) == []


async def test_a_closed_handle_makes_no_backup(store: SQLiteBackend, target: Path) -> None:
    """After `close` a backup is refused like any other call."""
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.backup(target)


# -- restore ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def saved(store: SQLiteBackend, target: Path) -> Path:
    """A backup of a store with the runs `a` and `b`, which its kernel has advanced since; the store is closed."""
    summaries = await create(store, creation("a"), creation("b"))
    await store.backup(target)
    await store.append([following(summary, 2) for summary in summaries])
    await create(store, creation("later"))
    await store.close()
    return target


async def test_a_restored_store_is_nobodys(saved: Path, tmp_path: Path, open_store: Open) -> None:
    """In a restored store nobody owns a run, tokens are higher than in the backup, and its kernel may not commit."""
    before = saved.read_bytes()
    size = restore(saved, f"sqlite:{tmp_path}/new/state.db?durability=normal")
    place = tmp_path / "new" / "state.db"
    assert size == place.stat().st_size
    assert saved.read_bytes() == before
    assert names(saved.parent) == ["copy.db"]
    assert names(place.parent) == ["state.db", "state.db-kernels"]
    store = await open_store("one", place)
    found = [await store.load("a"), await store.load("b")]
    assert [(run.owner, run.token, run.seq) for run in found] == [(None, 2, 1), (None, 2, 1)]
    assert await store.integrity() == []
    late = following(found[0]._replace(token=1))

    assert await store.append([late]) == {found[0].uid: Refused.STALE}
    claimed = await store.claim("a")
    assert claimed.token == 3
    assert await store.append([following(claimed)]) == {}


async def test_a_store_that_is_there_is_kept(saved: Path, path: Path, open_store: Open) -> None:
    """Restoring over a store is refused; with `force` it is done, and the old one is kept under another name."""
    before = path.read_bytes()
    with pytest.raises(StoreExistsError) as caught:
        restore(saved, path)
    assert any("--force" in hint for hint in caught.value.hints)
    assert path.read_bytes() == before
    restore(saved, path, force=True)

    assert names(path.parent) == ["copies", "state.db", "state.db-kernels", "state.db.replaced"]
    assert sorted(await runs_of(path, open_store)) == ["a", "b"]
    assert ask(path.with_name("state.db.replaced"), "SELECT run_id FROM runs ORDER BY run_id") == [
        ("a",),
        ("b",),
        ("later",),
    ]


async def test_a_store_that_a_kernel_uses_can_be_restored_elsewhere(
    store: SQLiteBackend, path: Path, tmp_path: Path, open_store: Open
) -> None:
    """What is in its log is in the restored one as well."""
    (run,) = await create(store, creation("a"))
    assert await store.append([following(run)]) == {}
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0

    restore(path, tmp_path / "new" / "state.db")
    restored = await open_store(None, tmp_path / "new" / "state.db")

    assert (await restored.load("a")).seq == 2
    assert await restored.integrity() == []


async def test_a_restore_can_be_taken_back(saved: Path, path: Path, open_store: Open) -> None:
    """What a restore has kept can be restored itself; then the other one is what is kept."""
    restore(saved, path, force=True)
    restore(path.with_name("state.db.replaced"), path, force=True)

    assert names(path.parent) == ["copies", "state.db", "state.db-kernels", "state.db.replaced"]
    assert sorted(await runs_of(path, open_store)) == ["a", "b", "later"]
    assert ask(path.with_name("state.db.replaced"), "SELECT run_id FROM runs ORDER BY run_id") == [("a",), ("b",)]


async def test_tokens_exceed_those_of_both(saved: Path, path: Path, open_store: Open) -> None:
    """A run that changed hands after the backup has a higher token once it is restored than it ever had."""
    for number in range(5):
        heir = await open_store(f"heir{number}")
        claimed = await heir.claim("a")
        await heir.release(None)
        await heir.close()
    assert claimed.token == 6
    restore(saved, path, force=True)

    assert (await runs_of(path, open_store))["a"] == (1, 8)


async def test_a_log_that_was_left_is_not_taken_for_the_new_ones(
    saved: Path, path: Path, tmp_path: Path, open_store: Open
) -> None:
    """A store that was killed, with a log of its own, is replaced with its log; nothing of it is in the new one."""
    shutil.copytree(FIXTURES / "schema-1" / "killed", tmp_path / "killed")
    place = tmp_path / "killed" / "state.db"
    restore(saved, place, force=True)
    assert names(place.parent) == ["state.db", "state.db-kernels", "state.db.replaced"]

    assert sorted(await runs_of(place, open_store)) == ["a", "b"]
    assert len(ask(place.with_name("state.db.replaced"), "SELECT 1 FROM runs")) == 12


def scribbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996  # the schema's page
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, 8_192)


def without_its_file(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("log", ["no log", "a log of its own", "a log of others"])
@pytest.mark.parametrize("damage", [scribbled, cut, without_its_file])
async def test_a_damaged_store_can_be_replaced(
    saved: Path, path: Path, open_store: Open, damage: Callable[[Path], None], log: str
) -> None:
    """A store that cannot be read any more is replaced by a backup, whatever log lies beside it, and is kept."""
    if log == "a log of others":
        path.with_name("state.db-wal").write_bytes(b"no log at all")
    elif log == "a log of its own":
        shutil.copy(FIXTURES / "schema-1" / "killed" / "state.db", path)
        shutil.copy(FIXTURES / "schema-1" / "killed" / "state.db-wal", path.with_name("state.db-wal"))
    damage(path)
    if damage is without_its_file and log == "no log":
        restore(saved, path)  # then nothing is there
    else:
        restore(saved, path, force=True)

    left = [name for name in names(path.parent) if name not in ("state.db.replaced", "state.db.replaced-wal")]
    assert left == ["copies", "state.db", "state.db-kernels"]
    assert path.with_name("state.db.replaced").exists() == (damage is not without_its_file)
    assert sorted(await runs_of(path, open_store)) == ["a", "b"]


async def test_a_backup_of_an_earlier_schema_keeps_it(tmp_path: Path, open_store: Open) -> None:
    """What a migration has kept can be put back for the earlier release, and is migrated again by this one."""
    shutil.copytree(FIXTURES / "schema-1" / "closed", tmp_path / "old")
    place = tmp_path / "old" / "state.db"
    await (await open_store("one", place)).close()
    restore(place.with_name("state.db.schema-1.backup"), place, force=True)
    assert ask(place, "PRAGMA user_version") == [(1,)]
    assert ask(place, "SELECT DISTINCT owner, token FROM runs") == [(None, 3)]
    store = await open_store("two", place)

    assert await store.integrity() == []
    assert await store.count(RunFilter()) == 10


async def test_a_newer_store_can_be_replaced(saved: Path, path: Path, open_store: Open) -> None:
    """A downgrade puts the backup of an earlier schema in the place of a store that is too new to be opened."""
    with closing(sqlite3.connect(path)) as shell:
        shell.execute(f"PRAGMA user_version = {files.SCHEMA + 5}")
    restore(saved, path, force=True)

    assert sorted(await runs_of(path, open_store)) == ["a", "b"]


async def test_no_store_is_replaced_under_a_live_kernel(saved: Path, path: Path, open_store: Open) -> None:
    """While a kernel is alive on a store, or anybody reads it, restoring over it is refused and changes nothing."""
    store = await open_store("alive")
    with pytest.raises(StoreInUseError, match="alive") as caught:
        restore(saved, path, force=True)

    assert caught.value.kernels == ("alive",)
    assert await store.count(RunFilter()) == 3
    assert names(path.with_name("state.db-kernels")) == [".gitignore", "alive.lock", "reserve", "store.lock"]


async def test_no_store_is_replaced_under_a_reader(
    saved: Path, path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has the store open keeps it from being replaced: it would remove the log of the new one."""
    monkeypatch.setattr(connection, "EXCLUSIVE_SECONDS", 0.0)
    reader = await open_store(None)
    with pytest.raises(StoreInUseError, match="another process has it open"):
        restore(saved, path, force=True)

    assert await reader.count(RunFilter()) == 3


async def test_a_busy_store_is_named(saved: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits too long for the store lock is told which file is held."""
    monkeypatch.setattr(maintenance, "RESTORE_SECONDS", 0.0)
    lock = StoreLock(path.with_name("state.db-kernels") / "store.lock")
    assert lock.acquire(0)
    with pytest.raises(StoreBusyError, match=r"store\.lock"):
        restore(saved, path, force=True)
    lock.close()


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("PRAGMA user_version = 99")


def broken(path: Path) -> None:
    ((root,),) = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'runs_by_age'")
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    path.write_bytes(content)


UNFIT: dict[str, tuple[Callable[[Path], Any], type[StoreError]]] = {
    "nothing": (Path.unlink, StoreNotFoundError),
    "a text": (lambda path: path.write_text("name: report\n" * 100), ForeignStoreError),
    "half a file": (lambda path: os.truncate(path, path.stat().st_size // 2), CorruptStoreError),
    "a broken page": (broken, CorruptStoreError),
    "a newer schema": (newer, NewerStoreError),
}


@pytest.mark.parametrize(("spoil", "error"), UNFIT.values(), ids=UNFIT)
@pytest.mark.parametrize("is_there", [True, False], ids=["over a store", "to a new place"])
async def test_an_unfit_backup_changes_nothing(
    saved: Path, path: Path, tmp_path: Path, spoil: Callable[[Path], Any], error: type[StoreError], is_there: bool
) -> None:
    """A backup that is none, is damaged or is too new is refused by its name, and the store stays as it is."""
    spoil(saved)
    place = path if is_there else tmp_path / "new.db"
    before = path.read_bytes()
    with pytest.raises(error, match=r"copy\.db"):
        restore(saved, place, force=True)

    assert path.read_bytes() == before
    assert place.exists() == is_there
    assert not [name for name in names(tmp_path) if "replaced" in name]


async def test_what_is_no_store_is_never_replaced(saved: Path, tmp_path: Path) -> None:
    """A file of somebody else is not replaced, whatever was asked for."""
    text = tmp_path / "notes.txt"
    text.write_text("mine\n" * 100)
    with pytest.raises(ForeignStoreError):
        restore(saved, text, force=True)

    assert text.read_text() == "mine\n" * 100


async def test_a_kernel_of_before_cannot_spoil_the_restored_store(
    store: SQLiteBackend, path: Path, target: Path, open_store: Open
) -> None:
    """A handle whose file was replaced by hand neither writes to the new store nor takes its log away when it
    closes."""
    (summary,) = await create(store, creation("a"))
    await store.backup(target)
    target.replace(path)
    other = await open_store("other")
    await create(other, creation("b"))
    with pytest.raises(StoreError, match="its file was replaced while it was in use"):
        await store.append([following(summary)])
    await store.close()

    assert path.with_name("state.db-wal").exists()
    assert await other.integrity() == []
    assert sorted(await runs_of(path, open_store)) == ["a", "b"]


async def test_taking_a_restore_back_may_be_killed_anywhere(saved: Path, path: Path, tmp_path: Path) -> None:
    """After SIGKILL at any point of a restore from what an earlier one has kept, both stores are still there."""
    original = tmp_path / "original"
    original.mkdir()
    shutil.copy(path, original / "state.db")
    shutil.copy(saved, original / "state.db.replaced")
    script = Path(__file__).with_name("sqlite_crashes.py")
    command = [sys.executable, str(script), "restore", str(original), str(tmp_path / "work")]
    killed = int(subprocess.run(command, check=True, env=environment(), capture_output=True, text=True).stdout)
    assert killed > 40
    for point in range(killed):
        found = set()
        for file in (tmp_path / "work" / str(point)).glob("state.db*"):
            if file.is_file() and not file.name.endswith(("-wal", "-shm", "-journal")):
                assert ask(file, "PRAGMA quick_check") == [("ok",)]
                found.add(tuple(name for (name,) in ask(file, "SELECT run_id FROM runs ORDER BY run_id")))
        assert found == {("a", "b"), ("a", "b", "later")}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("left", ["closed", "with a log", "damaged"])
async def test_a_restore_may_be_killed_anywhere(saved: Path, path: Path, tmp_path: Path, left: str) -> None:
    """After SIGKILL at any point of a restore the old store is there or the new one, each whole, and it works then."""
    original = tmp_path / "original"
    original.mkdir()
    old = ["a", "b", "later"]
    if left == "with a log":
        with closing(sqlite3.connect(path)) as shell:
            shell.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
            shell.execute("UPDATE runs SET run_id = 'logged' WHERE run_id = 'later'")
            seal(shell)
            shell.commit()
            for name in ("state.db", "state.db-wal"):
                shutil.copy(path.with_name(name), original / name)
        old = ["a", "b", "logged"]
    else:
        shutil.copy(path, original)
    if left == "damaged":
        scribbled(original / "state.db")
    shutil.copy(saved, original / "backup.db")
    script = Path(__file__).with_name("sqlite_crashes.py")
    command = [sys.executable, str(script), "restore", str(original), str(tmp_path / "work")]
    killed = int(subprocess.run(command, check=True, env=environment(), capture_output=True, text=True).stdout)
    assert killed > 40
    seen = set()
    for point in range(killed):
        place = tmp_path / "work" / str(point) / "state.db"
        store = SQLiteBackend(place)
        try:
            await store.open("heir")
        except CorruptStoreError:
            assert left == "damaged"
            seen.add("damaged")
        else:
            runs = {run.run_id: run for run in (await store.list(RunFilter(), limit=10)).runs}
            assert await store.integrity() == []
            seen.add(" ".join(sorted(runs)))
            if "later" not in runs and "logged" not in runs:
                assert {(run.owner, run.seq) for run in runs.values()} == {(None, 1)}
            assert (await store.claim("a")).token > 1
        await store.close()
        if point % 8 == 0:
            restore(place.with_name("backup.db"), place, force=True)
            assert ask(place, "SELECT run_id FROM runs ORDER BY run_id") == [("a",), ("b",)]

    assert seen == {"a b", "damaged" if left == "damaged" else " ".join(old)}


DIES_IN_A_CHANGE = """\
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = DELETE").fetchall()
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM events")
connection.execute("UPDATE runs SET workflow = 'x' || workflow, labels = '{}'")
os._exit(0 if os.path.getsize(sys.argv[1] + "-journal") else 1)
"""


@pytest.mark.parametrize("owner", [None, "one"], ids=["reader", "owner"])
async def test_a_change_that_a_restore_has_not_completed_is_taken_back(
    path: Path, open_store: Open, owner: str | None
) -> None:
    """A restore makes the store that it replaces one file first. What that leaves when it dies, or its disk is full,
    was called a database that may only be read, by readers and owners alike, and only another restore helped."""
    handle = await open_store("before")
    runs = [creation(f"run{number}", owner=None) for number in range(200)]
    await create(handle, *runs)
    await handle.close()
    subprocess.run([sys.executable, "-c", DIES_IN_A_CHANGE, str(path)], check=True)

    store = await open_store(owner)

    assert len(await listed(store)) == 200
    assert await store.integrity() == []
