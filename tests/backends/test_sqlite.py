"""The SQLite store beyond the port: its settings, files, refusals, processes, crashes and full disks."""

# ruff: noqa: ASYNC240 - files are what these tests look at, and nothing else runs in their loops meanwhile

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from backends.conftest import Open
from backends.processes import let_write, next_line, processes
from flujo.backends import SQLiteBackend
from flujo.backends.conformance import create, creation, following, journal
from flujo.backends.sqlite import files
from flujo.kernel.backend import Request, RunFilter, RunSummary
from flujo.kernel.direct_calls import run_directly
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignStoreError,
    NewerStoreError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreNotFoundError,
    UnsupportedEventLoopError,
)

BACKEND = SQLiteBackend


@pytest.fixture
def anyio_backend() -> str:
    """aiosqlite runs on asyncio only."""
    return "asyncio"


def ask(database: Path, question: str) -> Any:
    """One value, asked of the database by somebody else."""
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    try:
        ((answer,),) = connection.execute(question).fetchall()
        return answer
    finally:
        connection.close()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- URLs and settings --------------------------------------------------------------------------------------------


def test_importing_the_backends_loads_no_driver() -> None:
    """`from flujo.backends import open_backend` imports neither aiosqlite nor any backend."""
    code = (
        "import sys; from flujo.backends import open_backend; open_backend('memory:');"
        "sys.exit(any(name in sys.modules for name in ('aiosqlite', 'sqlite3', 'flujo.backends.sqlite')))"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


async def test_the_settings_are_the_documented_ones(store: SQLiteBackend, path: Path) -> None:
    """The writer syncs every commit and leaves checkpoints to us; the file carries flujo's id and schema."""

    def settings(connection: sqlite3.Connection) -> dict[str, Any]:
        pragmas = ["journal_mode", "synchronous", "foreign_keys", "trusted_schema", "mmap_size", "wal_autocheckpoint"]
        pragmas += ["busy_timeout", "auto_vacuum", "application_id", "user_version"]
        return {name: connection.execute(f"PRAGMA {name}").fetchall()[0][0] for name in pragmas}

    assert store._writer is not None
    assert await store._writer.run(settings) == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "mmap_size": 0,
        "wal_autocheckpoint": 0,
        "busy_timeout": 5000,
        "auto_vacuum": 2,
        "application_id": 0x666C756A,
        "user_version": files.SCHEMA,
    }
    assert await store._writer.run(lambda connection: connection.isolation_level) is None


async def test_normal_durability_syncs_less(open_store: Open) -> None:
    """`durability=normal` sets synchronous to NORMAL."""
    store = await open_store("one", durability="normal")
    assert store._writer is not None

    assert await store._writer.run(lambda connection: connection.execute("PRAGMA synchronous").fetchall()) == [(1,)]


# -- without an event loop ------------------------------------------------------------------------------------------


def test_runs_are_listed_without_an_event_loop(path: Path) -> None:
    """A command that asks one question need not start one: list, count and is_alive answer as on a loop, and closing
    leaves no file open and no thread."""
    make(path)
    threads = threading.active_count()

    async def ask() -> tuple[list[str], int, bool]:
        async with SQLiteBackend(path) as handle:
            listed = await handle.list(RunFilter(), limit=2)
            rest = await handle.list(RunFilter(), limit=2, page=listed.next)
            runs = [*listed.runs, *rest.runs]
            assert threading.active_count() <= threads  # one of an earlier test may end
            return [run.run_id for run in runs], await handle.count(RunFilter()), await handle.is_alive("one")

    names, number, is_alive = run_directly(ask)

    assert (sorted(names), number, is_alive) == (["a", "b", "c"], 3, False)
    assert names == [run.run_id for run in anyio.run(listed, path, backend="asyncio")]
    assert not [name for name in open_files() if name.startswith(str(path))]


def test_without_an_event_loop_nothing_is_written(path: Path) -> None:
    """No owner is made, no store is created, and no request is left: that takes a thread to wait in."""
    make(path)

    async def post() -> None:
        async with SQLiteBackend(path) as handle:
            await handle.post("a", Request("cancel", "{}", 1))

    with pytest.raises(UnsupportedEventLoopError):
        run_directly(post)
    with pytest.raises(UnsupportedEventLoopError):
        run_directly(partial(SQLiteBackend(path).open, "two"))
    with pytest.raises(StoreNotFoundError):
        run_directly(partial(SQLiteBackend(path.with_name("absent.db")).open, None))
    assert sorted(each.name for each in path.parent.iterdir() if "absent" in each.name) == []


@pytest.mark.parametrize("text", [b"", b"not a database at all, and long enough for a header of a hundred bytes" * 3])
def test_a_file_that_is_no_store_is_refused_without_an_event_loop_too(path: Path, text: bytes) -> None:
    """With the same errors."""
    path.write_bytes(text)

    with pytest.raises((StoreNotFoundError, ForeignStoreError)):
        run_directly(partial(SQLiteBackend(path).open, None))


def make(path: Path) -> None:
    """Put three runs into a store, of which one is final."""

    async def work() -> None:
        handle = SQLiteBackend(path)
        await handle.open("one")
        await create(handle, creation("a"), creation("b"), creation("c", owner=None, status="completed"))
        await handle.close()

    anyio.run(work, backend="asyncio")


async def listed(path: Path) -> list[RunSummary]:
    async with SQLiteBackend(path) as handle:
        return list((await handle.list(RunFilter(), limit=10)).runs)


def open_files() -> list[str]:
    """The files that this process has open; none are known where there is no /proc."""
    found = []
    for entry in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            found.append(os.readlink(entry))
    return found


def test_trio_is_refused(path: Path) -> None:
    """On trio opening fails with one clear error, before any file is touched."""
    with pytest.raises(UnsupportedEventLoopError, match="does not run on trio"):
        anyio.run(SQLiteBackend(path).open, "one", backend="trio")

    assert list(path.parent.iterdir()) == []


# -- files --------------------------------------------------------------------------------------------------------


async def test_a_store_makes_its_folders_private(tmp_path: Path) -> None:
    """Missing folders are made for the user alone, files too, whatever the umask; a new `.flujo` ignores itself."""
    path = tmp_path / "project" / ".flujo" / "state.db"
    umask = os.umask(0)
    try:
        handle = SQLiteBackend(path)
        await handle.open("one")
        await create(handle, creation("a"))
        kernels = path.with_name("state.db-kernels")
        private = [path, *(path.with_name(f"state.db-{name}") for name in ("wal", "shm"))]
        private += [kernels / "store.lock", kernels / "one.lock"]

        assert {file.name: mode_of(file) for file in private} == {file.name: 0o600 for file in private}
        assert [mode_of(folder) for folder in (path.parent.parent, path.parent, kernels)] == [0o700] * 3
        for folder in (path.parent, kernels):
            assert (folder / ".gitignore").read_text() == "*\n"
        assert not (path.parent.parent / ".gitignore").exists()
    finally:
        os.umask(umask)
        await handle.close()


async def test_folders_that_exist_stay_as_they_are(tmp_path: Path, open_store: Open) -> None:
    """A folder somebody made keeps its mode and gets no .gitignore."""
    tmp_path.chmod(0o755)
    await open_store("one")

    assert mode_of(tmp_path) == 0o755
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith("state.db-")) == ["state.db"]


async def test_a_closed_store_is_one_file(store: SQLiteBackend, path: Path) -> None:
    """After the last handle is closed everything is in the database file, and no kernel's lock file is left."""
    await create(store, creation("a"))
    await store.close()

    assert sorted(file.name for file in path.parent.iterdir()) == ["state.db", "state.db-kernels"]
    assert {file.name for file in path.with_name("state.db-kernels").iterdir()} == {
        ".gitignore",
        "reserve",
        "store.lock",
    }
    assert ask(path, "SELECT count(*) FROM runs") == 1


async def test_the_lock_file_names_the_process(store: SQLiteBackend, path: Path) -> None:
    """A live kernel's lock file holds its process id for people, and its descriptor is the one handed to children."""
    lock = path.with_name("state.db-kernels") / "one.lock"
    assert store.liveness_fd is not None

    assert lock.read_text() == f"{os.getpid()}\n"
    assert os.fstat(store.liveness_fd).st_ino == lock.stat().st_ino


async def test_lock_files_of_the_dead_are_removed(store: SQLiteBackend, path: Path, open_store: Open) -> None:
    """Opening a store removes the lock files that dead kernels left, and no others."""
    kernels = path.with_name("state.db-kernels")
    (kernels / "dead.lock").write_text("1\n")
    await open_store("two")

    assert sorted(file.name for file in kernels.glob("*.lock")) == ["one.lock", "store.lock", "two.lock"]


async def test_names_may_hold_anything(tmp_path: Path) -> None:
    """A path with blanks, percent signs, question marks and other scripts is just a path."""
    path = tmp_path / "a b%20c?d#e" / "größe.db"
    handle = SQLiteBackend(path)
    await handle.open("one")
    await create(handle, creation("a"))
    await handle.close()

    assert path.is_file()
    assert ask(path, "SELECT run_id FROM runs") == "a"


async def test_an_empty_file_becomes_a_store(path: Path, open_store: Open) -> None:
    """An existing file of no bytes is no store for a reader, and becomes one for an owner, with the mode it had."""
    path.touch(mode=0o640)
    path.chmod(0o640)
    with pytest.raises(StoreNotFoundError):
        await open_store(None)
    assert path.stat().st_size == 0
    await create(await open_store("one"), creation("a"))

    assert mode_of(path) == 0o640
    assert ask(path, "SELECT count(*) FROM runs") == 1


async def test_remains_of_an_unfinished_creation_do_no_harm(path: Path, open_store: Open) -> None:
    """A store whose creation was cut short by a crash is created anew."""
    kernels = path.with_name("state.db-kernels")
    kernels.mkdir()
    (kernels / "new.db").write_bytes(b"half")
    (kernels / "new.db-journal").write_bytes(b"a")
    await create(await open_store("one"), creation("a"))

    assert ask(path, "SELECT count(*) FROM runs") == 1
    assert not list(kernels.glob("new.db*"))


# -- what is not ours ---------------------------------------------------------------------------------------------


def foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE pages (id); INSERT INTO pages VALUES (1)")
    connection.close()


def empty_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def newer_store(path: Path) -> None:
    own_store(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()


def own_store(path: Path) -> None:
    async def make() -> None:
        handle = SQLiteBackend(path)
        await handle.open("maker")
        await create(handle, *(creation(f"run{number}") for number in range(200)))
        await handle.close()

    thread = threading.Thread(target=anyio.run, args=[make])  # the test's own loop is running already
    thread.start()
    thread.join()


def cut_to(size: int) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        own_store(path)
        os.truncate(path, size)

    return cut


def scribbled(path: Path) -> None:
    own_store(path)
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996  # the schema's page
    path.write_bytes(content)


REFUSED: dict[str, tuple[Callable[[Path], object], type[StoreError]]] = {
    "text": (lambda path: path.write_text("name: report\n" * 100), ForeignStoreError),
    "short text": (lambda path: path.write_text("x"), ForeignStoreError),
    "zeros": (lambda path: path.write_bytes(bytes(4096)), ForeignStoreError),
    "another program's database": (foreign_database, ForeignStoreError),
    "an empty database": (empty_database, ForeignStoreError),
    "a newer store": (newer_store, NewerStoreError),
    "a store cut to 60 bytes": (cut_to(60), ForeignStoreError),
    "a store cut to 2,000 bytes": (cut_to(2_000), CorruptStoreError),
    "a store cut to two pages": (cut_to(8_192), CorruptStoreError),
    "a store with a broken schema": (scribbled, CorruptStoreError),
}


@pytest.mark.parametrize("owner", [None, "one"], ids=["reader", "owner"])
@pytest.mark.parametrize(("make", "error"), REFUSED.values(), ids=REFUSED)
async def test_other_files_are_refused_unchanged(
    path: Path, open_store: Open, make: Callable[[Path], object], error: type[StoreError], owner: str | None
) -> None:
    """A file that is no store of this release is refused with the right error, and not a byte of it changes."""
    make(path)
    before, changed_at = path.read_bytes(), path.stat().st_mtime_ns
    beside = sorted(path.parent.iterdir())
    for _ in range(2):
        with pytest.raises(error) as caught:
            await open_store(owner)
        assert caught.value.store == f"sqlite:{path}"

    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == changed_at
    if error is not CorruptStoreError:  # to call a store damaged one has to look at its log too
        assert sorted(path.parent.iterdir()) == beside


@pytest.mark.parametrize("owner", [None, "one"], ids=["reader", "owner"])
async def test_a_folder_is_no_store(path: Path, open_store: Open, owner: str | None) -> None:
    """A folder in the place of a store is refused and left alone."""
    path.mkdir()
    with pytest.raises(ForeignStoreError, match="directory"):
        await open_store(owner)

    assert [file.name for file in path.parent.iterdir()] == ["state.db"]


async def test_damage_met_later_is_reported(store: SQLiteBackend, path: Path, open_store: Open) -> None:
    """Damage in a page that opening does not read is reported as CorruptStoreError by the call that meets it."""
    await create(store, *(creation(f"run{number}") for number in range(500)))
    await store.close()
    root = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'runs'")
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    reader = await open_store(None)
    with pytest.raises(CorruptStoreError):
        await reader.load("run7")

    assert path.read_bytes() == content


# -- waiting for the store ----------------------------------------------------------------------------------------


async def test_a_foreign_transaction_is_busy_not_locked(store: SQLiteBackend, path: Path) -> None:
    """A database shell in the middle of a transaction makes StoreBusyError, never "database is locked"."""
    assert store._writer is not None
    await store._writer.run(lambda connection: connection.execute("PRAGMA busy_timeout = 0").fetchall())
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError):
        await store.append([creation("a")])
    shell.close()

    await create(store, creation("a"))


async def test_a_cancellation_storm_leaves_no_transaction_open(store: SQLiteBackend) -> None:
    """However often calls are cancelled, no transaction stays open and each batch is there wholly or not at all."""
    assert store._writer is not None
    answered: list[str] = []

    async def append(name: str) -> None:
        await store.append([creation(f"{name}-{part}") for part in range(3)])
        answered.append(name)

    for ticks in range(60):
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(append, f"run{ticks}-{number}")
                tasks.start_soon(store.count, RunFilter())
            for _ in range(ticks % 12):
                await checkpoint()
            tasks.cancel_scope.cancel()
        assert not await store._writer.run(lambda connection: connection.in_transaction)
    ids = {run.run_id.rpartition("-")[0] for run in (await store.list(RunFilter(), limit=1_000)).runs}

    assert await store.count(RunFilter()) == 3 * len(ids)
    assert ids >= set(answered)
    assert len(answered) < 60 * 4  # some were cancelled


async def test_units_and_answers_stay_together(store: SQLiteBackend) -> None:
    """Many tasks that use one connection at once each get their own answer."""
    assert store._writer is not None
    answers: dict[int, int] = {}

    async def ask_for(number: int) -> None:
        assert store._writer is not None
        answers[number] = await store._writer.run(lambda _: number)

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask_for, number)

    assert answers == {number: number for number in range(50)}


# -- full disks ---------------------------------------------------------------------------------------------------


async def test_a_full_disk_is_said_and_harmless(store: SQLiteBackend, path: Path) -> None:
    """When the database cannot grow, StoreFullError; what was acknowledged is intact and later commits work."""
    (summary,) = await create(store, creation("a"))
    large = following(summary)
    large = large._replace(rows=(large.rows[0]._replace(payload="x" * 1_000_000),))
    assert store._writer is not None
    await store._writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 40").fetchall())
    with pytest.raises(StoreFullError):
        await store.append([large, creation("b")])
    assert await store._writer.run(lambda connection: connection.in_transaction) is False
    assert await store.load("a") == summary
    assert await store.count(RunFilter()) == 1
    await store._writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchall())

    assert await store.append([large, creation("b")]) == {}
    assert ask(path, "PRAGMA integrity_check") == "ok"


# -- the write-ahead log ------------------------------------------------------------------------------------------


async def test_the_log_does_not_grow_for_ever(store: SQLiteBackend, path: Path) -> None:
    """Checkpoints keep the write-ahead log to a few megabytes, however much is written."""
    (summary,) = await create(store, creation("a"))
    for _ in range(40):
        commit = following(summary)
        payload = f"{summary.seq} {'x' * 1_000_000}"  # each another one, because equal ones are stored once
        commit = commit._replace(rows=(commit.rows[0]._replace(payload=payload),))
        await store.append([commit])
        summary = commit.summary

    assert path.with_name("state.db-wal").stat().st_size < 16_000_000
    assert path.stat().st_size > 35_000_000


async def test_a_long_reader_delays_the_log_only(store: SQLiteBackend, path: Path) -> None:
    """A reader that holds a snapshot lets the log grow; nothing fails, and it is cut once the reader has gone."""
    (summary,) = await create(store, creation("a"))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM runs").fetchall()

    async def write(megabytes: int) -> None:
        nonlocal summary
        for _ in range(megabytes):
            commit = following(summary)
            payload = f"{summary.seq} {'x' * 1_000_000}"
            commit = commit._replace(rows=(commit.rows[0]._replace(payload=payload),))
            assert await store.append([commit]) == {}
            summary = commit.summary

    await write(22)
    assert path.with_name("state.db-wal").stat().st_size > 16_000_000
    reader.close()
    await write(10)

    assert path.with_name("state.db-wal").stat().st_size < 16_000_000
    assert (await store.load("a")).seq == 33


@pytest.mark.parametrize("owner", [None, "two"], ids=["reader", "owner"])
async def test_an_unfinished_checkpoint_is_no_damage(
    store: SQLiteBackend, path: Path, tmp_path: Path, owner: str | None
) -> None:
    """A store whose checkpoint a crash cut short, with its log beside it, opens and has everything."""
    assert store._writer is not None
    size = path.stat().st_size
    await create(store, *(creation(f"run{number}") for number in range(300)))
    await store._writer.run(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())
    assert path.stat().st_size > size
    copy = tmp_path / "crashed" / "state.db"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes()[:size])  # its first page speaks of many more
    copy.with_name("state.db-wal").write_bytes(path.with_name("state.db-wal").read_bytes())
    crashed = SQLiteBackend(copy)
    await crashed.open(owner)

    assert await crashed.count(RunFilter()) == 300
    await crashed.close()
    if owner is not None:
        assert ask(copy, "PRAGMA integrity_check") == "ok"


async def test_pruned_pages_are_used_again(store: SQLiteBackend, path: Path) -> None:
    """The space of deleted runs is used by later ones instead of growing the file."""

    async def write(name: str) -> None:
        commits = [creation(f"{name}{number}", owner=None) for number in range(200)]
        payload = '"' + "x" * 4_000 + '"'
        await create(store, *(commit._replace(rows=(commit.rows[0]._replace(payload=payload),)) for commit in commits))

    def pages(connection: sqlite3.Connection) -> int:
        ((number,),) = connection.execute("PRAGMA page_count").fetchall()
        return int(number)

    assert store._writer is not None
    await write("first")
    before = await store._writer.run(pages)
    assert (await store.prune(RunFilter(), limit=1_000, dry_run=False)).total == 200
    await write("second")

    assert await store._writer.run(pages) <= before + 2
    assert ask(path, "PRAGMA integrity_check") == "ok"
    assert ask(path, "SELECT count(*) FROM events") == 200


# -- several processes --------------------------------------------------------------------------------------------


async def test_a_killed_process_leaves_whole_batches(path: Path, open_store: Open) -> None:
    """A batch is one transaction in the log, so after SIGKILL it is there for all of its runs or for none."""
    for round in range(3):
        victim = f"victim{round}"
        with processes(f"sqlite:{path}", victim, runs=20, commits=100_000) as (child,):
            let_write(child)
            assert next_line(child) == "created"
            acknowledged = [int(next_line(child)) for _ in range(5 + round)][-1]
            assert path.with_name("state.db-wal").stat().st_size > 0
            watcher = await open_store(None)
            child.kill()
            child.wait()
        seen = [run.steps_done for run in (await watcher.list(RunFilter(owner=victim), limit=100)).runs]
        assert len(seen) == 20
        assert len(set(seen)) == 1
        assert seen[0] >= acknowledged
    await watcher.close()

    assert ask(path, "PRAGMA integrity_check") == "ok"


@pytest.mark.parametrize("leftover", ["wal and shm", "wal"])
async def test_a_reader_needs_nobody_to_clean_up(path: Path, open_store: Open, leftover: str) -> None:
    """Right after SIGKILL a reader alone sees every acknowledged commit in the log that was left behind."""
    with processes(f"sqlite:{path}", "victim", runs=3, commits=100_000) as (child,):
        let_write(child)
        assert next_line(child) == "created"
        acknowledged = [int(next_line(child)) for _ in range(4)][-1]
        child.kill()
        child.wait()
    if leftover == "wal":
        path.with_name("state.db-shm").unlink()
    reader = await open_store(None)
    runs = (await reader.list(RunFilter(), limit=10)).runs

    assert [run.steps_done >= acknowledged for run in runs] == [True] * 3
    for run in runs:
        assert len(await journal(reader, run)) == run.seq


@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_acknowledged_on_a_file_that_was_removed(
    store: SQLiteBackend, path: Path, replaced: bool
) -> None:
    """Whoever deletes a store in use takes its runs with it; its kernel is told at the next commit, and never writes to
    a file that no name leads to."""
    (summary,) = await create(store, creation("a"))
    for file in path.parent.glob("state.db*"):
        if file.is_file():
            file.unlink()
    if replaced:
        other = SQLiteBackend(path)
        await other.open("other")
        await other.close()

    with pytest.raises(StoreError, match=f"its file was {'replaced' if replaced else 'removed'} while it was in use"):
        await store.append([following(summary, 2)])


async def test_nothing_is_told_of_a_file_that_was_removed(store: SQLiteBackend, path: Path, open_store: Open) -> None:
    """What is read from it is of a store that nobody else sees, so a kernel and a reader are told, and what to do."""
    await create(store, creation("a"))
    reader = await open_store(None)
    path.unlink()

    reads = [[partial(each.load, "a"), each.integrity, partial(each.stats, 0)] for each in (store, reader)]
    for read in chain(*reads):
        with pytest.raises(StoreError, match="its file was removed while it was in use") as caught:
            await read()
    with pytest.raises(StoreError, match="its file was removed"):
        await store.wait_for_dead_owners()  # which is how an idle kernel notices

    assert any("flujoctl db restore BACKUP --force" in hint for hint in caught.value.hints)
    await reader.close()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not tell where an open file is")
async def test_a_store_that_was_moved_while_in_use_goes_on_when_it_is_put_back(
    store: SQLiteBackend, path: Path
) -> None:
    """The error says where it is now, and the command that puts it back, with all that was acknowledged."""
    (summary,) = await create(store, creation("a"))
    elsewhere = path.with_name("else where.db")
    path.rename(elsewhere)

    with pytest.raises(StoreError, match=re.escape(f"its file was moved to {elsewhere} while it")) as caught:
        await store.append([following(summary, 2)])
    await anyio.run_process(caught.value.hints[0])

    await store.append([following(summary)])
    assert (await store.load("a")).seq == summary.seq + 1


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not tell where an open file is")
async def test_a_store_that_was_moved_and_replaced_is_found(store: SQLiteBackend, path: Path) -> None:
    """Nothing that the error says to type takes the new store away."""
    (summary,) = await create(store, creation("a"))
    elsewhere = path.with_name("elsewhere.db")
    path.rename(elsewhere)
    path.write_bytes(b"")

    with pytest.raises(StoreError, match=re.escape(f"its file was moved to {elsewhere} and replaced")) as caught:
        await store.append([following(summary, 2)])

    assert caught.value.hints[0].startswith("end every process that uses it")
    path.unlink()
    elsewhere.rename(path)


@pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
async def test_modes_are_the_same_under_any_umask(umask: int, tmp_path: Path) -> None:
    """A umask that takes everything away leaves no folder that its owner cannot enter, and no file he cannot read."""
    before = os.umask(umask)
    try:
        store = SQLiteBackend(tmp_path / ".flujo" / "state.db")
        await store.open("one")
        await create(store, creation("a"))
        await store.backup(tmp_path / "copy.db")
    finally:
        os.umask(before)

    made = [*tmp_path.rglob("*")]
    assert {path.name for path in made} >= {"state.db", "state.db-wal", "state.db-shm", "state.db-kernels", "copy.db"}
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in made if path.is_dir()} == {"0o700"}
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in made if path.is_file()} == {"0o600"}
    await store.close()


async def test_a_store_at_rest_is_read_without_a_log(store: SQLiteBackend, path: Path, open_store: Open) -> None:
    """A store that nobody has open, with no log beside it, is read like any other."""
    (summary,) = await create(store, creation("a"))
    await store.close()
    reader = await open_store(None)

    assert await reader.load("a") == summary
    await reader.close()
    assert ask(path, "PRAGMA integrity_check") == "ok"
