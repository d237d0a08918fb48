"""What the SQLite store refuses, looks through, keeps small and says of itself."""

# ruff: noqa: ASYNC240 - files are what these tests look at, and nothing else runs in their loops meanwhile

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from backends.conftest import Open
from flujo.backends import SQLiteBackend
from flujo.backends.conformance import DEFINITION, create, creation, following
from flujo.backends.locks import StoreLock
from flujo.backends.sqlite import (
    blobs,
    checkpoints,
    copies,
    files,
    filesystems,
    integrity,
    maintenance,
    preparation,
    pruning,
    statistics,
)
from flujo.backends.sqlite.connection import Database, store_errors
from flujo.backends.sqlite.interruption import Cancellation, Stopped, never, stoppable, stopped_when_cancelled
from flujo.kernel.backend import Problem, Request, RunFilter
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignStoreError,
    NewerStoreError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)

BACKEND = SQLiteBackend

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture
def anyio_backend() -> str:
    """aiosqlite runs on asyncio only."""
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store of a test is going to be."""
    return tmp_path / "store" / "state.db"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def ask(database: Path, question: str) -> Any:
    """The rows of an answer, asked of a file nobody uses; leaves nothing beside it."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)) as shell:
        return shell.execute(question).fetchall()


def large(commit: Any, bytes: int) -> Any:
    """The commit with a payload of some size in its first event."""
    payload = '"' + f"{commit.run_id}-{commit.expected_seq}-".ljust(bytes, "x") + '"'
    return commit._replace(rows=(commit.rows[0]._replace(payload=payload), *commit.rows[1:]))


def broken(path: Path, name: str = "runs_by_age") -> None:
    """Scribble over the root page of an index or table."""
    ((root,),) = ask(path, f"SELECT rootpage FROM sqlite_schema WHERE name = '{name}'")
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    path.write_bytes(content)


# -- what is not ours ---------------------------------------------------------------------------------------------


def killed(path: Path) -> None:
    shutil.copytree(FIXTURES / "schema-1" / "killed", path.parent, dirs_exist_ok=True)


def newer(path: Path) -> None:
    shutil.copytree(FIXTURES / "schema-1" / "closed", path.parent, dirs_exist_ok=True)
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("PRAGMA user_version = 99")


def newer_with_a_log(path: Path) -> None:
    newer(path)
    shutil.copy(FIXTURES / "schema-1" / "killed" / "state.db-wal", path.with_name("state.db-wal"))


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript("PRAGMA journal_mode = WAL; CREATE TABLE pages (id); INSERT INTO pages VALUES (1)")


def foreign_with_a_log(path: Path) -> None:
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as shell:
        shell.executescript("PRAGMA journal_mode = WAL; CREATE TABLE pages (id); INSERT INTO pages VALUES (1)")
        shutil.copy(other, path)
        shutil.copy(path.with_name("other.db-wal"), path.with_name("state.db-wal"))
    other.unlink()


def cut(numerator: int, denominator: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        shutil.copytree(FIXTURES / "schema-1" / "closed", path.parent, dirs_exist_ok=True)
        os.truncate(path, path.stat().st_size * numerator // denominator)

    return make


def cut_to(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        shutil.copytree(FIXTURES / "schema-1" / "closed", path.parent, dirs_exist_ok=True)
        os.truncate(path, size)

    return make


def log_alone(path: Path) -> None:
    killed(path)
    path.unlink()


REFUSED: dict[str, tuple[Callable[[Path], Any], type[StoreError], str]] = {
    "a text": (
        lambda path: path.write_text("name: report\n" * 100),
        ForeignStoreError,
        "flujoctl list --store sqlite:OTHER-PATH",
    ),
    "another program's database": (foreign, ForeignStoreError, "flujoctl list --store sqlite:OTHER-PATH"),
    "another program's database, with a log": (
        foreign_with_a_log,
        ForeignStoreError,
        "flujoctl list --store sqlite:OTHER-PATH",
    ),
    "a newer store": (newer, NewerStoreError, "pip install --upgrade flujoctl"),
    "a newer store, with a log": (newer_with_a_log, NewerStoreError, "pip install --upgrade flujoctl"),
    "one byte": (cut_to(1), ForeignStoreError, "flujoctl list --store sqlite:OTHER-PATH"),
    "part of a header": (cut_to(60), ForeignStoreError, "flujoctl list --store sqlite:OTHER-PATH"),
    "the header": (cut_to(100), CorruptStoreError, "restore a backup"),
    "part of a page": (cut_to(2_000), CorruptStoreError, "restore a backup"),
    "one page": (cut_to(4_096), CorruptStoreError, "restore a backup"),
    "a third of a store": (cut(1, 3), CorruptStoreError, "restore a backup"),
    "half a store": (cut(1, 2), CorruptStoreError, "restore a backup"),
    "a store without its last page": (cut(18, 19), CorruptStoreError, "restore a backup"),
    "a log without its store": (log_alone, CorruptStoreError, "put the database back beside its log"),
}


@pytest.mark.parametrize("owner", [None, "one"], ids=["reader", "owner"])
@pytest.mark.parametrize(("make", "error", "remedy"), REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_stays_as_it_is(
    path: Path, open_store: Open, make: Callable[[Path], Any], error: type[StoreError], remedy: str, owner: str | None
) -> None:
    """A file that is no store of this release is refused with the remedy; no byte changes, and no file comes beside."""
    path.parent.mkdir()
    make(path)
    before, changed_at = contents(path.parent), [file.stat().st_mtime_ns for file in path.parent.iterdir()]
    for _ in range(2):
        with pytest.raises(error) as caught:
            await open_store(owner)
        assert remedy in caught.value.hints

    assert contents(path.parent) == before
    assert [file.stat().st_mtime_ns for file in path.parent.iterdir()] == changed_at
    assert not path.with_name("state.db-kernels").exists()


# -- a verdict is of one moment -----------------------------------------------------------------------------------


class Busy:
    """A store in the middle of what another process does to it, which ends when somebody looks for the log."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.log = path.with_name("state.db-wal")
        self.ended = False
        self.end: Callable[[], Any] = lambda: None
        original = files.size_of

        def size_of(file: Path) -> int:
            if file == self.log and not self.ended:
                self.ended = True
                self.end()
            return original(file)

        monkeypatch.setattr(files, "size_of", size_of)

    def move_log(self) -> None:
        """End the checkpoint as its process would have."""
        with closing(sqlite3.connect(self.path)) as shell:
            assert shell.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall() == [(0, 0, 0)]

    def put_into_place(self, made: Path) -> None:
        """End a creation, and write to the store."""
        made.replace(self.path)
        with closing(sqlite3.connect(self.path)) as shell:
            shell.execute("DELETE FROM runs WHERE run = 300")
            shell.commit()
            shutil.copy(self.log, made)
        shutil.copy(made, self.log)


@pytest.fixture
async def checkpointed(store: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch) -> Busy:
    """A store of 300 runs in the middle of a checkpoint: its first page tells of pages the file does not have yet."""
    size = path.stat().st_size
    await create(store, *(creation(f"run{number}") for number in range(300)))
    assert store._writer is not None
    await store._writer.run(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())
    half, log = path.read_bytes()[:size], path.with_name("state.db-wal").read_bytes()
    await store.close()
    path.write_bytes(half)
    path.with_name("state.db-wal").write_bytes(log)
    busy = Busy(path, monkeypatch)
    busy.end = busy.move_log
    return busy


@pytest.mark.parametrize("owner", [None, "two"], ids=["reader", "owner"])
async def test_a_store_whose_checkpoint_ends_meanwhile_is_not_damaged(
    checkpointed: Busy, open_store: Open, owner: str | None
) -> None:
    """A store opens though its first page was read in the middle of a checkpoint, and its log after the end of it."""
    reader = await open_store(owner)

    assert checkpointed.ended
    assert await reader.count(RunFilter()) == 300


async def test_a_store_whose_checkpoint_ends_meanwhile_can_be_restored(checkpointed: Busy, tmp_path: Path) -> None:
    """So it is with a store that is given as a backup."""
    maintenance.restore(checkpointed.path, tmp_path / "restored.db")

    assert checkpointed.ended
    assert ask(tmp_path / "restored.db", "SELECT count(*) FROM runs") == [(300,)]


@pytest.mark.parametrize("remains", [None, b""], ids=["nothing", "an empty file"])
async def test_a_store_that_comes_meanwhile_is_no_lonely_log(
    checkpointed: Busy, open_store: Open, path: Path, remains: bytes | None
) -> None:
    """A store opens though there was none at the first look, and its log was there at the second."""
    checkpointed.move_log()
    made = path.with_name("made.db")
    path.rename(made)
    if remains is not None:
        path.write_bytes(remains)
    checkpointed.end = lambda: checkpointed.put_into_place(made)
    reader = await open_store(None)

    assert checkpointed.ended
    assert await reader.count(RunFilter()) == 299


async def test_a_store_that_seems_damaged_is_looked_at_in_its_turn(checkpointed: Busy, path: Path) -> None:
    """While another process holds the store lock the file is busy, and not damaged."""
    checkpointed.end = lambda: os.truncate(checkpointed.log, 0)  # and it has not written the pages yet
    lock = StoreLock(path.with_name("state.db-kernels") / "store.lock")
    assert lock.acquire(0)
    reader = SQLiteBackend(path, busy_seconds=0.0)
    with pytest.raises(StoreBusyError, match=r"store\.lock"):
        await reader.open(None)
    lock.release()
    with pytest.raises(CorruptStoreError):
        await reader.open(None)
    lock.close()


def is_changed_while_copied(source: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[], Any]) -> list[str]:
    """Let a process change a backup when it is first read; the addresses it is read from."""
    original, addresses = copies.copy, []

    def copy(store: str, connection: sqlite3.Connection, *arguments: Any) -> int:
        addresses.append(connection.execute("PRAGMA database_list").fetchall()[0][2])
        size = original(store, connection, *arguments)
        if len(addresses) == 1:
            change()
        return size

    monkeypatch.setattr(copies, "copy", copy)
    return addresses


async def test_a_backup_that_is_used_meanwhile_is_read_again(
    open_store: Open, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of a store at rest without its locks counts only if no process has written to it meanwhile."""
    await closed(open_store)

    def change() -> None:
        with closing(sqlite3.connect(path)) as shell:
            shell.execute("DELETE FROM runs WHERE run_id = 'run7'")
            shell.commit()

    looks = is_changed_while_copied(path, monkeypatch, change)
    maintenance.restore(path, tmp_path / "restored.db")

    assert len(looks) == 2
    assert ask(tmp_path / "restored.db", "SELECT count(*) FROM runs") == [(49,)]


# -- triggers and views -------------------------------------------------------------------------------------------

PLANTED = {
    "a trigger": ("CREATE TRIGGER planted AFTER INSERT ON events BEGIN DELETE FROM runs; END", "its trigger 'planted'"),
    "a view": ("CREATE VIEW planted AS SELECT * FROM runs", "its view 'planted'"),
}
SPOILED = {
    "a trigger that is gone": ("DROP TRIGGER blobs_go_with_events", "'blobs_go_with_events' is missing"),
    "a trigger that says something else": (
        "DROP TRIGGER blobs_go_with_events;"
        "CREATE TRIGGER blobs_go_with_events AFTER DELETE ON events BEGIN DELETE FROM blobs; END",
        "'blobs_go_with_events' is not what was written",
    ),
}


@pytest.mark.parametrize("owner", [None, "two"], ids=["reader", "owner"])
@pytest.mark.parametrize(
    ("error", "change", "named"),
    [
        *((ForeignStoreError, *each) for each in PLANTED.values()),
        *((CorruptStoreError, *each) for each in SPOILED.values()),
    ],
    ids=[*PLANTED, *SPOILED],
)
async def test_triggers_and_views_are_those_flujo_has_made(
    open_store: Open, path: Path, error: type[StoreError], change: str, named: str, owner: str | None
) -> None:
    """A store with a trigger or a view of somebody else's is refused, and one whose own trigger is not what it was."""
    await closed(open_store)
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript(change)
    before = path.read_bytes()
    with pytest.raises(error, match=named):
        await open_store(owner)

    assert path.read_bytes() == before


async def test_tables_and_indexes_of_others_do_no_harm(open_store: Open, path: Path) -> None:
    """A table or an index that somebody has added keeps nobody from the store."""
    await closed(open_store)
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript("CREATE TABLE notes (text); CREATE INDEX runs_by_retries ON runs (retries)")

    assert await (await open_store("two")).count(RunFilter()) == 50


async def test_a_migrated_store_with_a_foreign_trigger_is_refused_before(open_store: Open, path: Path) -> None:
    """A trigger of somebody else's in a store of an earlier schema does not run while it is migrated."""
    shutil.copytree(FIXTURES / "schema-2" / "closed", path.parent, dirs_exist_ok=True)
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript("CREATE TRIGGER planted AFTER UPDATE ON events BEGIN DELETE FROM runs; END")
    before = path.read_bytes()
    with pytest.raises(ForeignStoreError, match="planted"):
        await open_store("two")

    assert path.read_bytes() == before


async def test_damaged_summaries_are_in_nobodys_way(open_store: Open, path: Path) -> None:
    """A kernel claims the runs around a damaged one, which is listed as failed, says why, and can be deleted only."""
    store = await open_store("one")
    await create(store, *(creation(f"run{number}") for number in range(4)))
    await store.release(None)
    await store.close()
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("UPDATE runs SET retries = 7 WHERE run_id IN ('run0', 'run2')")
        shell.commit()
    other = await open_store("two")
    claimed = [(await other.claim_idle(["running"], ["report"], 1)) for _ in range(3)]
    listed = {run.run_id: run for run in (await other.list(RunFilter(), limit=9)).runs}
    removed = await other.prune(RunFilter(), limit=9, dry_run=False)

    assert [[run.run_id for run in runs] for runs in claimed] == [["run1"], ["run3"], []]
    assert (listed["run2"].status, listed["run2"].error_type) == ("failed", "CorruptStoreError")
    assert listed["run2"].error_message == "the summary of run 'run2' is not what was written"
    assert removed.total == 0
    with pytest.raises(CorruptStoreError, match="run2"):
        await other.claim("run2")
    await other.delete("run2", listed["run2"].uid)
    assert await other.count(RunFilter()) == 3


async def test_a_damaged_request_is_in_nobodys_way(open_store: Open, path: Path) -> None:
    """A kernel takes what was asked of other runs, and the damaged request stays for a check to name."""
    store = await open_store("one")
    _, other = await create(store, creation("a"), creation("b"))
    for run_id in ("a", "b"):
        await store.post(run_id, Request("signal", "{}", 1))
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("UPDATE inbox SET body = '[]' WHERE id = 1")
        shell.commit()

    assert [posted.uid for posted in await store.take()] == [other.uid]
    assert [problem.run_id for problem in await store.integrity()] == ["a"]


async def test_a_store_that_does_not_say_which_it_is_is_damaged(open_store: Open, path: Path) -> None:
    """Whoever asks is told, a check names it, and runs can be read all the same."""
    store = await open_store("one")
    await create(store, creation("a"))
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("DELETE FROM store")
        shell.commit()

    with pytest.raises(CorruptStoreError, match="which tells it from every other store"):
        await store.identity()
    assert [problem.text for problem in await store.integrity()] == [
        "the row which tells it from every other store is missing"
    ]
    assert (await store.load("a")).run_id == "a"


async def test_a_run_that_an_index_has_lost_is_not_taken_for_deleted(open_store: Open, path: Path) -> None:
    """Its owner is told of the damage; it would be fenced without a word, and who waits for it would wait for ever."""
    store = await open_store("one")
    (run,) = await create(store, creation("a"))
    await store.close()
    with closing(sqlite3.connect(path)) as shell:
        roots = dict(shell.execute("SELECT name, rootpage FROM sqlite_schema WHERE type = 'index'").fetchall())
    data = bytearray(path.read_bytes())
    lost, other = ((roots[name] - 1) * 4096 for name in ("sqlite_autoindex_runs_1", "runs_by_workflow"))
    data[lost : lost + 4096], data[other : other + 4096] = data[other : other + 4096], data[lost : lost + 4096]
    path.write_bytes(data)
    store = await open_store("two")
    claimed = await store.claim("a")

    with pytest.raises(CorruptStoreError, match="the index of uids has no entry of run 'a'"):
        await store.append([following(claimed)])
    assert run.uid == claimed.uid


# -- network file systems -----------------------------------------------------------------------------------------

MOUNTS = r"""
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw - proc proc rw
31 22 0:45 / /home rw,relatime shared:20 - nfs4 server:/export/home rw,vers=4.2
32 31 254:2 / /home/ada/local rw - ext4 /dev/vdb rw
33 22 0:50 / /mnt/with\040blank rw shared:9 master:2 - cifs //server/share rw
34 22 0:51 / /mnt/cloud rw - fuse.sshfs ada@server: rw
35 22 0:52 / /mnt/bound rw - fuse.bindfs /home rw
36 22 0:53 / /data rw - xfs /dev/vdc rw
37 36 0:54 / /data rw - nfs server:/data rw
38 22 0:55 / /datafiles rw - btrfs /dev/vdd rw
this is no line of a mountinfo
39 22 0:56 /
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_network"),
    [
        ("/state.db", "ext4", False),
        ("/var/lib/app/state.db", "ext4", False),
        ("/home/ada/state.db", "nfs4", True),
        ("/home", "nfs4", True),
        ("/homes/state.db", "ext4", False),
        ("/home/ada/local/state.db", "ext4", False),
        ("/mnt/with blank/state.db", "cifs", True),
        ("/mnt/cloud/a/b/state.db", "fuse.sshfs", True),
        ("/mnt/bound/state.db", "fuse.bindfs", False),
        ("/data/state.db", "nfs", True),
        ("/datafiles/state.db", "btrfs", False),
    ],
)
def test_a_path_is_on_the_file_system_mounted_nearest(path: str, kind: str, is_network: bool) -> None:
    """The nearest mount point above a path says its file system, and of two at one place the later."""
    assert filesystems.type_at(MOUNTS, path) == kind
    assert filesystems.is_network(kind) == is_network


@pytest.mark.parametrize("mounts", ["", "no table\n", "22 1 254:1 / /elsewhere rw - nfs a:/b rw\n"])
def test_where_nothing_tells_nothing_is_known(mounts: str) -> None:
    """Without a table, or one that does not cover the path, no file system is named."""
    assert filesystems.type_at(mounts, "/state.db") is None


@pytest.mark.parametrize("owner", [None, "one"], ids=["reader", "owner"])
async def test_a_network_file_system_is_refused(
    path: Path, tmp_path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch, owner: str | None
) -> None:
    """A store on a network file system is refused with the remedy, before anything is made there."""
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 254:1 / / rw - ext4 /dev/vda1 rw\n23 22 0:9 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(filesystems, "MOUNTS", table)
    with pytest.raises(StoreError, match="nfs4") as caught:
        await open_store(owner)

    assert "local disk" in caught.value.hints[0]
    assert not path.parent.exists()


@pytest.mark.parametrize("owner", [None, "one"], ids=["reader", "owner"])
async def test_a_file_that_is_mounted_by_itself_is_refused(
    path: Path, tmp_path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch, owner: str | None
) -> None:
    """As containers may be given one: the log of that name is not the log of the other, and goes with the container."""
    await (await open_store("before")).close()
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 254:1 / / rw - ext4 /dev/vda1 rw\n23 22 254:1 /state.db {path} rw - ext4 /dev/vda1 rw\n")
    monkeypatch.setattr(filesystems, "MOUNTS", table)
    before = contents(path.parent)
    with pytest.raises(StoreError, match="mounted by itself") as caught:
        await open_store(owner)

    assert str(path.parent) in caught.value.hints[0]
    assert contents(path.parent) == before


@pytest.mark.parametrize("owner", [None, "one"], ids=["reader", "owner"])
@pytest.mark.parametrize("is_busy", [False, True], ids=["at rest", "in use"])
async def test_a_file_with_two_names_is_refused(
    path: Path, tmp_path: Path, open_store: Open, owner: str | None, is_busy: bool
) -> None:
    """Under either of them: a log lies beside each, and two processes that use one each damage runs that the other has
    acknowledged. What the hints say is done, and the store can be opened again."""
    used = await open_store("before")
    if not is_busy:
        await used.close()
    other = tmp_path / "other.db"
    os.link(path, other)
    before = contents(tmp_path)
    for name in (other, path):
        with pytest.raises(StoreError, match=r"2 names \(hard links\)") as caught:
            await open_store(owner, name)
        assert f"-samefile {name}" in caught.value.hints[0]
    assert contents(tmp_path) == before
    other.unlink()

    await open_store(owner)


@pytest.mark.parametrize("ending", [".replacing", ".replaced", ".12345678.unfinished"])
async def test_the_names_that_a_restore_or_a_backup_leaves_when_it_dies_do_no_harm(
    path: Path, open_store: Open, ending: str
) -> None:
    """Nobody uses the database under those."""
    await (await open_store("before")).close()
    os.link(path, f"{path}{ending}")

    await open_store("one")


async def test_the_file_system_is_found_on_this_host(path: Path) -> None:
    """Where the host lists its mounts, the file system of a path is known."""
    known = filesystems.type_of(path)

    assert (known is not None) == filesystems.MOUNTS.exists()


# -- after a crash ------------------------------------------------------------------------------------------------


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """One connection for each time a store is looked through."""
    looked: list[sqlite3.Connection] = []

    def look(connection: sqlite3.Connection, stop: Cancellation = never) -> str | None:
        looked.append(connection)
        return integrity.find_damage(connection, stop)

    monkeypatch.setattr(preparation, "find_damage", look)
    return looked


async def closed(open_store: Open, runs: int = 50) -> None:
    store = await open_store("one")
    await create(store, *(creation(f"run{number}") for number in range(runs)))
    await store.close()


def die(path: Path) -> None:
    """Leave what a kernel leaves that dies while its log is empty."""
    (path.with_name("state.db-kernels") / "dead.lock").write_text("1\n")


async def test_a_store_that_was_closed_is_not_looked_through(
    open_store: Open, looked_at: Sequence[sqlite3.Connection]
) -> None:
    """After a close in good order, with or without readers beside, opening reads no more than it needs."""
    await closed(open_store)
    await open_store(None)
    for number in range(3):
        store = await open_store(f"again{number}")
        await create(store, creation(f"more{number}"))
        await store.close()

    assert looked_at == []


async def test_a_store_that_was_left_is_looked_through(
    open_store: Open, path: Path, looked_at: Sequence[sqlite3.Connection]
) -> None:
    """The next owner after a crash looks through the store once, also if a reader came and went before it."""
    await closed(open_store)
    die(path)
    reader = await open_store(None)
    await reader.delete("run1", (await reader.load("run1")).uid)  # it connects for writing, and removes the log
    await reader.close()
    assert looked_at == []
    for owner in ("two", "three"):
        await (await open_store(owner)).close()

    assert len(looked_at) == 1


async def test_a_log_that_was_left_tells_of_a_crash(
    open_store: Open, tmp_path: Path, looked_at: Sequence[sqlite3.Connection]
) -> None:
    """A store that lies there with its log, and without any lock file, was not closed either."""
    store = await open_store("one")
    await create(store, creation("a"))
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("state.db", "state.db-wal"):
        shutil.copy(store.path.with_name(name), copied / name)
    other = await open_store("two", copied / "state.db")

    assert len(looked_at) == 1
    assert await other.count(RunFilter()) == 1


async def test_nothing_is_looked_through_beside_a_live_kernel(
    store: SQLiteBackend, open_store: Open, path: Path, looked_at: Sequence[sqlite3.Connection]
) -> None:
    """A kernel that dies beside another one has not left the store alone."""
    die(path)
    await open_store("two")

    assert looked_at == []
    assert not (path.with_name("state.db-kernels") / "dead.lock").exists()


async def test_damage_after_a_crash_is_found_before_anything_is_claimed(open_store: Open, path: Path) -> None:
    """A damaged store that was left behind is refused as often as it is opened, and stays as it is."""
    await closed(open_store)
    broken(path)
    die(path)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(CorruptStoreError) as caught:
            await open_store("two")
        assert caught.value.hints
        assert "\n" not in str(caught.value)

    assert path.read_bytes() == before
    assert ask(path, "SELECT DISTINCT owner FROM runs") == [("one",)]


async def until_looked_through(store: SQLiteBackend) -> None:
    assert store._integrity_scan is not None
    await anyio.to_thread.run_sync(store._integrity_scan._thread.join)


async def test_a_large_store_opens_at_once(
    open_store: Open, path: Path, looked_at: Sequence[sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large store that was left behind is looked through while it is in use, and not again by the next owner."""
    monkeypatch.setattr(preparation, "CHECKED_AT_ONCE", 0)
    await closed(open_store)
    die(path)
    store = await open_store("two")
    await create(store, creation("new"))
    await until_looked_through(store)
    assert not (path.with_name("state.db-kernels") / "unchecked").exists()
    await store.close()
    await open_store("three")

    assert len(looked_at) == 1


async def test_damage_that_is_found_while_runs_go_on_is_loud(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A kernel that finds its store damaged says so, stops reading and writing, and leaves the mark for the next."""
    monkeypatch.setattr(preparation, "CHECKED_AT_ONCE", 0)
    await closed(open_store)
    broken(path, "runs_by_status")
    die(path)
    with caplog.at_level(logging.ERROR, "flujo.backends.sqlite"):
        store = await open_store("two")
        await until_looked_through(store)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    for call in (store.load("run1"), store.append([creation("new")]), store.claim("run1")):
        with pytest.raises(CorruptStoreError, match="found while it was in use"):
            await call
    await store.close()
    monkeypatch.setattr(preparation, "CHECKED_AT_ONCE", 1_000_000_000)

    with pytest.raises(CorruptStoreError):
        await open_store("three")


async def test_a_look_that_is_cut_short_is_begun_again(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that closes before it has looked through its store waits for nothing, and the next one looks again."""
    monkeypatch.setattr(preparation, "CHECKED_AT_ONCE", 0)
    await closed(open_store)
    die(path)
    begun = []

    def look(connection: sqlite3.Connection, stop: Cancellation) -> None:
        begun.append(connection)
        while not stop():
            pass
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(preparation, "find_damage", look)
        for owner in ("two", "three"):
            await (await open_store(owner)).close()
    assert len(begun) == 2
    store = await open_store("four")
    await until_looked_through(store)

    assert not (path.with_name("state.db-kernels") / "unchecked").exists()


# -- integrity ----------------------------------------------------------------------------------------------------

DEFECTS: dict[str, tuple[str, str | None, str]] = {
    "an event is missing": ("DELETE FROM events WHERE run = 1 AND seq = 2", "a", "its journal has 2"),
    "the last event is missing": ("DELETE FROM events WHERE run = 1 AND seq = 3", "a", "the last is number 2"),
    "an event has another number": ("UPDATE events SET seq = 9 WHERE run = 1 AND seq = 3", "a", "the last is number 9"),
    "a journal begins with 0": ("UPDATE events SET seq = seq - 1 WHERE run = 1", "a", "the last is number 2"),
    "a summary is ahead": ("UPDATE runs SET seq = 7 WHERE run_id = 'a'", "a", "its summary says 7"),
    "a definition is missing": ("UPDATE runs SET definition = 'abc' WHERE run_id = 'b'", "b", "abc is missing"),
    "labels are no JSON": ("UPDATE runs SET labels = 'x' WHERE run_id = 'b'", "b", "not a JSON object"),
    "labels are a list": ("UPDATE runs SET labels = '[]' WHERE run_id = 'b'", "b", "not a JSON object"),
    "a label is not in the index": ("DELETE FROM labels WHERE name = 'team'", "a", "label team is not in the index"),
    "a label is of nobody": ("INSERT INTO labels VALUES ('x', 'y', 1, 'ghost', 77)", None, "x = y for ghost"),
    "a label is of another": ("INSERT INTO labels VALUES ('x', 'y', 1, 'b', 2)", "b", "x = y for b"),
    "a payload is missing": ("DELETE FROM blobs", "a", "the payload of its event 2 is missing"),
    "a payload is another text": ("UPDATE blobs SET text = text || 'x'", "a", "is not the text it was"),
    "a payload is no text": ("UPDATE blobs SET text = CAST(x'ff00fe' AS TEXT)", "a", "is not the text it was"),
    "a label is no text": ("UPDATE labels SET value = CAST(x'ff' AS TEXT) WHERE name = 'team'", "a", "team = \ufffd"),
    "a payload is of nobody": ("INSERT INTO blobs VALUES (x'00', 'text')", None, "no event has the payload 00"),
    "an event is of nobody": (
        "INSERT INTO events (run, segment, seq, at, type, format, body) VALUES (77, 0, 1, 1, 't', 1, '{}')",
        None,
        "of events refers to a row of run_segments",
    ),
    "an event is in another segment": ("UPDATE events SET segment = 5 WHERE run = 1 AND seq = 2", "a", "journal has 2"),
    "a segment is missing": ("DELETE FROM run_segments WHERE run = 1", "a", "its journal has 0"),
    "a segment is of nobody": ("INSERT INTO run_segments VALUES (77, 0, 1)", None, "of run_segments refers to a row"),
    "a segment is empty": ("INSERT INTO run_segments VALUES (1, 5, 4)", "a", "segment 5 of its journal"),
    "a segment begins elsewhere": ("UPDATE run_segments SET seq = 2 WHERE run = 1", "a", "it begins with 1"),
    "an event is there twice": (
        "INSERT INTO run_segments VALUES (1, 5, 3); "
        "INSERT INTO events (run, segment, seq, at, type, format, body) VALUES (1, 5, 3, 1, 't', 1, '{}')",
        "a",
        "its journal has 4",
    ),
    "a request is to nobody": (
        "INSERT INTO inbox (run, kind, body, at) VALUES (77, 'signal', '{}', 1)",
        None,
        "of inbox refers to a row of runs",
    ),
    "a counter is behind": ("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'events'", None, "counter of events"),
}


@pytest.fixture
async def full(open_store: Open) -> SQLiteBackend:
    """A store with two runs, open for reading: `a` has labels, three events and a large payload, `b` a definition and a
    request."""
    store = await open_store("one")
    b = creation("b", brings=DEFINITION, definition=DEFINITION.digest)
    a, _ = await create(store, creation("a", labels='{"team":"x","size":"größer"}'), b)
    await store.post("b", Request("signal", "{}", 1))
    assert await store.append([large(following(a, 2), blobs.LARGEST_INLINE + 1)]) == {}
    await store.close()
    reopened: SQLiteBackend = await open_store(None)
    return reopened


@pytest.mark.parametrize(("change", "run", "text"), DEFECTS.values(), ids=DEFECTS)
async def test_what_contradicts_itself_is_named(
    full: SQLiteBackend, path: Path, change: str, run: str | None, text: str
) -> None:
    """Rows that contradict each other are found, with the run they belong to if there is one."""
    assert await full.integrity() == []
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript(change)
        shell.commit()
    found = await full.integrity()

    assert [problem.run_id for problem in found if text in problem.text] == [run], found


CHANGES: dict[str, tuple[str, str | None, str]] = {
    "a summary": ("UPDATE runs SET updated_at = updated_at + 1 WHERE run_id = 'a'", "a", "the summary of run 'a'"),
    "an event": ("UPDATE events SET at = at + 1 WHERE run = 1 AND seq = 3", "a", "event 3 of run 'a'"),
    "a text": ("UPDATE events SET body = CAST(x'ff' AS TEXT) WHERE run = 1 AND seq = 3", "a", "UTF-8"),
    "a request": ("UPDATE inbox SET at = at + 1", "b", "request 1 to the run"),
    "a definition": ("UPDATE definitions SET version = '9'", None, "the definition digest"),
}


@pytest.mark.parametrize(("change", "run", "text"), [*DEFECTS.values(), *CHANGES.values()], ids=[*DEFECTS, *CHANGES])
async def test_who_reads_every_run_finds_what_is_not_looked_for(
    full: SQLiteBackend, path: Path, change: str, run: str | None, text: str
) -> None:
    """What `integrity` finds is found by `integrity_beside_runs` or by reading the runs, and the other run is read."""
    assert await full.integrity_beside_runs() == []
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript(change)
        shell.commit()
    assert await full.integrity() != []
    beside = [(problem.run_id, problem.text) for problem in await full.integrity_beside_runs()]
    read = dict(zip("ab", await full.read_runs(["a", "b"], 100), strict=True))
    damaged = [(run_id, str(found)) for run_id, found in read.items() if isinstance(found, CorruptStoreError)]

    assert [each for each in [*beside, *damaged] if each[0] == run and text in each[1]], (beside, damaged)
    assert {run_id for run_id, _ in damaged} <= {run}


async def test_a_torn_index_is_named(open_store: Open, path: Path) -> None:
    """Damaged pages are problems of the store, and looking for them raises nothing."""
    await closed(open_store, runs=200)
    broken(path, "runs_by_workflow")
    reader = await open_store(None)
    found = await reader.integrity()

    assert found
    assert not [problem for problem in found if "\n" in problem.text or "***" in problem.text]


async def test_an_unreadable_table_is_named(open_store: Open, path: Path) -> None:
    """When a table cannot be read at all, what SQLite says of it is the answer."""
    await closed(open_store, runs=200)
    broken(path, "runs")
    reader = await open_store(None)
    found = await reader.integrity()

    assert found
    assert found[0].run_id is None


async def test_writers_go_on_while_a_store_is_looked_through(
    store: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits are made while the integrity is looked at, and are no contradiction."""
    await create(store, creation("a"))
    begun, go_on = threading.Event(), threading.Event()
    damage = integrity._damage

    def look(connection: sqlite3.Connection) -> list[Problem]:
        found = damage(connection)
        begun.set()
        assert go_on.wait(60)
        return found

    monkeypatch.setattr(integrity, "_damage", look)
    found: list[Problem] = []

    async def look_through() -> None:
        found.extend(await store.integrity())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look_through)
        await anyio.to_thread.run_sync(begun.wait)
        await create(store, creation("b"))
        assert await store.count(RunFilter()) == 2
        go_on.set()

    assert found == []


async def test_a_look_can_be_cancelled(store: SQLiteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling a long look ends its statement; nothing stays open, and the store goes on."""
    begun = threading.Event()

    def look(connection: sqlite3.Connection, _stop: Cancellation) -> list[Problem]:
        begun.set()
        endless = (
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) SELECT max(n) FROM numbers"
        )
        return list(connection.execute(endless))

    monkeypatch.setattr(integrity, "_contradictions", look)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.integrity)
        await anyio.to_thread.run_sync(begun.wait)
        tasks.cancel_scope.cancel()

    assert await create(store, creation("a"))


@pytest.mark.parametrize("question", ["stats", "a dry run"])
async def test_a_long_question_can_be_cancelled(
    store: SQLiteBackend, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """Cancelling statistics or a dry run ends the statement under way; the kernel's own calls go on meanwhile."""
    begun = threading.Event()

    def look(*arguments: Any) -> Any:
        begun.set()
        endless = (
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) SELECT max(n) FROM numbers"
        )
        return arguments[-1].execute(endless).fetchall()

    monkeypatch.setattr(statistics, "read", look)
    monkeypatch.setattr(pruning, "preview", look)
    async with anyio.create_task_group() as tasks:
        if question == "stats":
            tasks.start_soon(store.stats, 0)
        else:
            tasks.start_soon(partial(store.prune, RunFilter(), limit=1, dry_run=True))
        await anyio.to_thread.run_sync(begun.wait)
        assert await create(store, creation("a"))
        tasks.cancel_scope.cancel()

    assert await store.count(RunFilter()) == 1


# -- the write-ahead log ------------------------------------------------------------------------------------------


def log_of(path: Path) -> int:
    return path.with_name("state.db-wal").stat().st_size


async def test_many_writers_keep_the_log_small(open_store: Open, path: Path) -> None:
    """The log stays under 16 MB although each of eight writers has only written a little of it."""
    stores = [await open_store(f"owner{number}") for number in range(8)]
    summaries = [
        (await create(store, creation(f"run{number}", f"owner{number}")))[0] for number, store in enumerate(stores)
    ]
    longest = 0
    for _ in range(12):
        for number, store in enumerate(stores):
            commit = large(following(summaries[number]), 500_000)
            assert await store.append([commit]) == {}
            summaries[number] = commit.summary
            longest = max(longest, log_of(path))

    assert longest < 16_000_000
    assert path.stat().st_size + longest > 45_000_000


async def test_a_large_transaction_leaves_no_large_log(store: SQLiteBackend, path: Path) -> None:
    """The log of one transaction of 24 MB is cut off when the transaction is made."""
    summaries = await create(store, *(creation(f"run{number}") for number in range(24)))
    await store.append([large(following(summary), 1_000_000) for summary in summaries])

    assert log_of(path) < 1_000_000
    assert path.stat().st_size > 24_000_000


async def test_a_reader_in_the_way_is_waited_for_seldom(
    store: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reader keeps the log from being cut off, a writer waits for it after every 4 MiB at most; the log is cut
    off when it has gone."""
    tries = []
    empty_log = checkpoints.empty_log

    def counting(wait: int, connection: sqlite3.Connection) -> None:
        tries.append(wait)
        empty_log(wait, connection)

    monkeypatch.setattr(checkpoints, "empty_log", counting)
    (summary,) = await create(store, creation("a"))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchall()
        for _ in range(20):
            commit = large(following(summary), 1_000_000)
            assert await store.append([commit]) == {}
            summary = commit.summary
        assert len(tries) <= 20 // 4
        assert tries.count(1_000) == 1  # at 6 MiB, and again at twice what is left then
        details = await store.details()
        assert details["wal_bytes"] == log_of(path) > 16_000_000
    for _ in range(5):
        commit = large(following(summary), 1_000_000)
        assert await store.append([commit]) == {}
        summary = commit.summary

    assert log_of(path) < 16_000_000


# -- what a store says of itself ----------------------------------------------------------------------------------


async def test_a_store_says_what_it_is_made_of(store: SQLiteBackend, path: Path, open_store: Open) -> None:
    """Details are JSON values under documented names."""
    await create(store, creation("a"), creation("b"))
    await open_store("two")
    details = await (await open_store(None)).details()

    assert details == {
        "path": str(path),
        "schema": files.SCHEMA,
        "sqlite_version": sqlite3.sqlite_version,
        "wal_reset_bug": maintenance.has_wal_reset_bug(sqlite3.sqlite_version_info),
        "wal_reset_bug_note": details["wal_reset_bug_note"],
        "journal_mode": "wal",
        "synchronous": "full",
        "file_system": filesystems.type_of(path),
        "file_bytes": path.stat().st_size,
        "wal_bytes": log_of(path),
        "free_bytes": 0,
        "runs": 2,
        "events": 2,
        "kernels_alive": ["one", "two"],
        "unchecked": False,
        "being_removed": 0,
    }
    assert (details["wal_reset_bug_note"] is not None) == details["wal_reset_bug"]
    page = (Path(__file__).parents[2] / "docs" / "sqlite-store.md").read_text(encoding="utf-8")
    assert [name for name in details if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_releases_with_the_defect_are_known(version: Sequence[int], has_it: bool) -> None:
    """The defect of a commit that races a checkpoint is in 3.7.0 to 3.51.2, without two repaired lines."""
    assert maintenance.has_wal_reset_bug(version) == has_it


# -- errors -------------------------------------------------------------------------------------------------------


def sqlite_error(code: int | None, text: str = "something") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    if code is not None:
        error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (sqlite_error(sqlite3.SQLITE_BUSY), StoreBusyError, "store.lock"),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), StoreBusyError, "store.lock"),
        (sqlite_error(sqlite3.SQLITE_PROTOCOL), StoreBusyError, "store.lock"),
        (sqlite_error(sqlite3.SQLITE_FULL), StoreFullError, "disk is full"),
        (sqlite_error(sqlite3.SQLITE_IOERR_SHMSIZE), StoreFullError, "disk is full"),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), StoreError, "something"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), CorruptStoreError, "something"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX), CorruptStoreError, "something"),
        (sqlite_error(sqlite3.SQLITE_NOTADB), ForeignStoreError, "not an SQLite file"),
        (sqlite_error(sqlite3.SQLITE_READONLY), StoreError, "something"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), StoreError, "moved, removed or replaced"),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), StoreError, "something"),
        (sqlite_error(None, "Could not decode to UTF-8 column 'run_id'"), CorruptStoreError, "decode"),
        (sqlite_error(None), StoreError, "something"),
        (OSError(errno.ENOSPC, "No space left on device"), StoreFullError, "disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), StoreFullError, "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "state.db"), StoreError, "Permission denied"),
    ],
    ids=str,
)
def test_every_error_has_a_kind(error: Exception, kind: type[StoreError], said: str) -> None:
    """What SQLite and the operating system raise becomes an error of the store, with something to type next."""
    with pytest.raises(StoreError, match=said) as caught, store_errors("sqlite:state.db", Path("store.lock")):
        raise error

    assert type(caught.value) is kind
    assert caught.value.hints
    assert caught.value.__cause__ is error


async def test_a_connection_that_was_closed_says_so(store: SQLiteBackend, path: Path) -> None:
    """A call that meets a closed connection raises an error of SQLite's, which becomes one of the store's."""
    database = await Database.connect(path, "ro", lambda _: None)
    await database.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed meanwhile"):
        await database.run(lambda _: None)


async def test_a_folder_that_cannot_be_written_is_named(
    store: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that SQLite may not open is an error with the remedy, for what runs beside as well."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise sqlite_error(sqlite3.SQLITE_CANTOPEN, "unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(StoreError, match="unable to open") as caught:
        await store.details()

    assert "writable" in caught.value.hints[0]


# -- work in a thread ---------------------------------------------------------------------------------------------


async def test_errors_come_out_of_a_thread_as_they_are() -> None:
    """What the work raises is raised, and not a group of it."""

    def fail(stop: Cancellation) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await stopped_when_cancelled(fail)


async def test_a_cancellation_waits_for_the_thread() -> None:
    """A cancelled caller has told the work to stop, and goes on when it has stopped."""
    begun, ended = threading.Event(), threading.Event()

    def work(stop: Cancellation) -> None:
        begun.set()
        while not stop():
            pass
        ended.set()
        raise Stopped

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stopped_when_cancelled, work)
        await anyio.to_thread.run_sync(begun.wait)
        tasks.cancel_scope.cancel()

    assert ended.is_set()


async def test_a_statement_that_asks_nobody_is_interrupted() -> None:
    """A statement that never asks whether to stop is ended all the same, and a later one is not begun."""
    begun = threading.Event()
    endless = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) SELECT max(n) FROM numbers"
    ends: list[type[Exception]] = []

    def work(stop: Cancellation) -> None:
        with closing(sqlite3.connect(":memory:")) as shell:
            begun.set()
            try:
                with stop.interrupting(shell):
                    shell.execute(endless)
            except sqlite3.OperationalError as error:
                ends.append(type(error))
            try:
                with stoppable(shell, stop):
                    shell.execute("SELECT 1").fetchall()
            except Stopped as error:
                ends.append(type(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stopped_when_cancelled, work)
        await anyio.to_thread.run_sync(begun.wait)
        tasks.cancel_scope.cancel()

    assert ends == [sqlite3.OperationalError, Stopped]


async def test_a_cancellation_before_there_is_a_thread_ends_at_once() -> None:
    """Whoever is cancelled already begins no work, and does not wait for any."""
    begun: list[object] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await stopped_when_cancelled(begun.append)

    assert scope.cancelled_caught
    assert begun == []


async def test_a_look_at_rows_in_no_order_comes_to_an_end(path: Path, open_store: Open) -> None:
    """A page whose keys run backwards, as one changed byte can make them: each slice led back to its own beginning."""
    store = await open_store("before")
    await create(store, *(creation(f"run{number}", owner=None) for number in range(50)))
    await store.close()
    _turn_last_page_around(path, "events")

    reader = await open_store(None)
    with anyio.fail_after(30):
        found = await reader.integrity()

    assert any("out of order" in problem.text for problem in found)


def _turn_last_page_around(path: Path, table: str) -> None:
    """Have the last page of a table list its rows backwards (https://sqlite.org/fileformat2.html, section 1.6)."""
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table]).fetchone()
    data = bytearray(path.read_bytes())
    while data[start := (page - 1) * size] == 0x05:  # an inner page: its last child
        page = int.from_bytes(data[start + 8 : start + 12], "big")
    assert data[start] == 0x0D
    count = int.from_bytes(data[start + 3 : start + 5], "big")
    places = [data[start + 8 + 2 * n : start + 10 + 2 * n] for n in range(count)]
    data[start + 8 : start + 8 + 2 * count] = b"".join(reversed(places))
    path.write_bytes(data)
