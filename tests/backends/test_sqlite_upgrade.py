"""SQLite stores of earlier schemas, written by real runs (fixtures/README.md), are migrated and gone on with."""

# ruff: noqa: ASYNC221, ASYNC240 - files are what these tests look at, and nothing else runs in their loops meanwhile

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backends.fixtures.make_store import INBOX, STATUSES, WORKFLOWS, from_text
from flujo.backends import SQLiteBackend
from flujo.backends.locks import KernelLocks
from flujo.backends.sqlite import connection, copies, files, migrations, schema
from flujo.kernel import Kernel, Observer
from flujo.kernel.checking import check
from flujo.kernel.errors import CorruptStoreError, OlderStoreError, StoreError, StoreInUseError

FIXTURES = Path(__file__).with_name("fixtures")
KILLED = {**STATUSES, "asked": "waiting", "killed": "running"}
"""The runs of a store whose process was killed."""


@pytest.fixture
def anyio_backend() -> str:
    """aiosqlite runs on asyncio only."""
    return "asyncio"


EARLIER = [f"schema-{number}/{how}" for number in (1, 2, 3, 4) for how in ("closed", "killed")]
PRESENT = ["schema-5/closed", "schema-5/killed"]


@pytest.fixture(params=EARLIER)
def earlier(request: pytest.FixtureRequest) -> str:
    """A store of an earlier schema."""
    return str(request.param)


@pytest.fixture
def path(earlier: str, tmp_path: Path) -> Path:
    """A copy of that store."""
    shutil.copytree(FIXTURES / earlier, tmp_path / "store")
    return tmp_path / "store" / "state.db"


def number_of(earlier: str) -> int:
    """The schema of a store."""
    return int(earlier.removeprefix("schema-").partition("/")[0])


def copy_of(path: Path, earlier: str) -> Path:
    """Where the copy lies that was made of a store before it was migrated."""
    return path.with_name(f"state.db.schema-{number_of(earlier)}.backup")


def expected(earlier: str) -> dict[str, str]:
    return KILLED if earlier.endswith("killed") else STATUSES


def ask(database: Path, question: str) -> Any:
    """The rows of an answer, asked of a database nobody uses; its log is read if there is one."""
    immutable = "" if files.size_of(database.with_name(database.name + "-wal")) else "&immutable=1"
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro{immutable}", uri=True)) as shell:
        return shell.execute(question).fetchall()


def schema_of(database: Path) -> Any:
    """What SQLite knows of a schema, without the comments and line breaks of whoever wrote it."""

    def plain(sql: str | None) -> str:
        lines = (line.partition("--")[0] for line in (sql or "").splitlines())
        return (
            " ".join(" ".join(lines).split())
            .replace("( ", "(")
            .replace(" )", ")")
            .replace(", ", ",")
            .replace(" ,", ",")
        )

    master = ask(database, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
    columns = {
        name: ask(database, f"SELECT * FROM pragma_table_xinfo('{name}')")
        for kind, name, _, _ in master
        if kind == "table"
    }
    header = [ask(database, f"PRAGMA {name}") for name in ("application_id", "user_version", "auto_vacuum")]
    return [(kind, name, table, plain(sql)) for kind, name, table, sql in master], columns, header


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# -- what becomes of a store --------------------------------------------------------------------------------------


async def test_a_migrated_store_is_like_a_new_one(path: Path, tmp_path: Path) -> None:
    """A store of an earlier schema has, once migrated, the tables, indexes and triggers of a new one."""
    for place in (path, tmp_path / "new.db"):
        store = SQLiteBackend(place)
        await store.open("one")
        await store.close()

    assert schema_of(path) == schema_of(tmp_path / "new.db")


@pytest.mark.parametrize("earlier", EARLIER + PRESENT)
async def test_a_migrated_store_has_everything(path: Path, earlier: str) -> None:
    """Every run of an earlier store is listed with its status, folds to the same one, and its requests are there."""
    store = SQLiteBackend(path)
    await store.open("one")
    try:
        observer = Observer(store)
        listed = {run.run_id: run for run in (await observer.list(limit=100)).runs}
        folded = {run_id: await observer.inspect(run_id) for run_id in listed}
        inboxes = {run_id: len(await store.requests(run_id, run.uid)) for run_id, run in listed.items()}

        assert {run_id: run.status for run_id, run in listed.items()} == expected(earlier)
        assert {run_id: state.status for run_id, state in folded.items()} == expected(earlier)
        assert {run_id: state.seq for run_id, state in folded.items()} == {r.run_id: r.seq for r in listed.values()}
        asked = {"asked": 1} if earlier.endswith("killed") else {}
        assert {run_id: number for run_id, number in inboxes.items() if number} == INBOX | asked
        labelled = (await observer.list(labels={"team": "b"}, limit=100)).runs
        assert {run.run_id for run in labelled} == {"family", "broken"}
        report = await check(store)
        assert (report.runs, report.findings) == (len(listed), [])
    finally:
        await store.close()


@pytest.mark.parametrize("earlier", EARLIER + PRESENT)
async def test_runs_of_an_earlier_store_go_on(path: Path, earlier: str, tmp_path: Path) -> None:
    """Runs that wait, are paused, cancelled or interrupted go on after a migration, and what was posted is taken."""
    kernel = Kernel(SQLiteBackend(path), WORKFLOWS, workspaces=tmp_path, load_definition=from_text)
    async with kernel:
        assert await kernel.result("waiting") == "{'n': 0}"
        assert await kernel.result("letters-open") == {"text": "c-d"}
        await kernel.unpause("held")
        await kernel.signal("held", "go", "now")
        assert await kernel.result("held") == "now"
        handle = await kernel.resume("stopped")
        await kernel.signal("stopped", "go", "again")
        assert await handle.result() == "again"
        if earlier.endswith("killed"):
            assert await kernel.result("asked") == "{'n': 3}"
            assert await kernel.result("killed") == "alive"
        assert (await kernel.inspect("added")).output == 10


async def test_a_copy_is_made_first(path: Path, earlier: str) -> None:
    """Beside a migrated store lies a copy of what it was, of the earlier schema, whole and in one file."""
    before = ask(path, "SELECT run_id, uid, status, seq, token FROM runs ORDER BY run_id")
    events = ask(path, "SELECT * FROM events ORDER BY pos")
    store = SQLiteBackend(path)
    await store.open("one")
    await store.close()
    copy = copy_of(path, earlier)

    assert sorted(file.name for file in path.parent.iterdir()) == ["state.db", "state.db-kernels", copy.name]
    assert not list(path.with_name("state.db-kernels").glob("backup*"))
    assert ask(copy, "PRAGMA user_version") == [(number_of(earlier),)]
    assert ask(copy, "PRAGMA integrity_check") == [("ok",)]
    assert ask(copy, "SELECT run_id, uid, status, seq, token FROM runs ORDER BY run_id") == before
    assert ask(copy, "SELECT * FROM events ORDER BY pos") == events
    assert (copy.stat().st_mode & 0o777) == (path.stat().st_mode & 0o777)


async def test_a_store_of_this_schema_is_not_copied(path: Path, earlier: str) -> None:
    """A store is migrated once: opening it again leaves the copy alone."""
    for owner in ("one", "two"):
        store = SQLiteBackend(path)
        await store.open(owner)
        await store.close()
        copy = copy_of(path, earlier)
        if owner == "one":
            copy.write_text("seen")

    assert copy.read_text() == "seen"


# -- what is refused ----------------------------------------------------------------------------------------------


async def test_a_reader_does_not_migrate(path: Path, earlier: str) -> None:
    """Whoever only reads is told that the store has to be migrated first, and by which command; nothing changes."""
    before = contents(path.parent)
    with pytest.raises(OlderStoreError) as caught:
        await SQLiteBackend(path).open(None)
    after = contents(path.parent)

    assert (caught.value.found, caught.value.known) == (number_of(earlier), files.SCHEMA)
    assert "flujoctl db migrate" in caught.value.hints[0]
    assert {name: after[name] for name in before} == before


async def test_no_store_is_migrated_under_a_live_kernel(path: Path) -> None:
    """While a kernel of an earlier release is alive, opening is refused with its name, and nothing changes."""
    folder = path.with_name("state.db-kernels")
    folder.mkdir()
    earlier_release = KernelLocks(folder)
    assert earlier_release.hold("old-kernel")
    before = contents(path.parent)
    with pytest.raises(StoreInUseError, match="old-kernel") as caught:
        await SQLiteBackend(path).open("one")
    after = contents(path.parent)
    assert caught.value.kernels == ("old-kernel",)
    assert caught.value.hints
    assert {name: after[name] for name in before} == before
    earlier_release.release()
    store = SQLiteBackend(path)
    await store.open("one")
    await store.close()

    assert ask(path, "PRAGMA user_version") == [(files.SCHEMA,)]


async def test_no_store_is_migrated_under_a_reader(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While anybody else has the database open, for reading only, opening is refused, and nothing changes."""
    monkeypatch.setattr(connection, "EXCLUSIVE_SECONDS", 0.0)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
        reader.execute("SELECT count(*) FROM runs").fetchall()
        before = contents(path.parent)
        with pytest.raises(StoreInUseError, match="another process has it open"):
            await SQLiteBackend(path).open("one")
        after = contents(path.parent)

        assert {name: after[name] for name in before if not name.endswith("-shm")} == {
            name: content for name, content in before.items() if not name.endswith("-shm")
        }


async def test_a_damaged_store_is_not_migrated(path: Path, earlier: str) -> None:
    """A store of an earlier schema with a broken page is refused as damaged, before anything is written to it."""
    if earlier.endswith("killed"):
        store = sqlite3.connect(path)
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        store.close()
    ((root,),) = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'runs_by_age'")
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError):
        await SQLiteBackend(path).open("one")

    assert path.read_bytes() == content
    assert not copy_of(path, earlier).exists()


# -- crashes and errors in the middle -----------------------------------------------------------------------------


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


async def test_a_migration_may_be_killed_anywhere(path: Path, earlier: str, tmp_path: Path) -> None:
    """After SIGKILL at any point of a migration the store is as before or as after, and opens with all its runs."""
    script = Path(__file__).with_name("sqlite_crashes.py")
    work = tmp_path / "work"
    command = [sys.executable, str(script), "open", str(path.parent), str(work)]
    killed = int(subprocess.run(command, check=True, env=environment(), capture_output=True, text=True).stdout)
    assert killed > 40
    seen = set()
    for point in range(killed):
        database = work / str(point) / "state.db"
        seen.add(ask(database, "PRAGMA user_version")[0][0])
        copy = copy_of(database, earlier)
        if copy.exists():
            assert ask(copy, "PRAGMA quick_check") == [("ok",)]
        store = SQLiteBackend(database)
        await store.open("one")
        assert await store.integrity() == []
        assert {run.run_id: run.status for run in (await Observer(store).list(limit=100)).runs} == expected(earlier)
        await store.close()

    assert seen == set(range(number_of(earlier), files.SCHEMA + 1))


class Failing(sqlite3.Connection):
    """A connection whose statements fail from some point on, as on a disk that is full."""

    left = 0

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if Failing.left == 0 and sql != "ROLLBACK":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        Failing.left -= 1
        return super().execute(sql, *parameters)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that migrates fails when `Failing.left` statements were made."""
    original = sqlite3.connect

    def connect(address: Any, **options: Any) -> Any:
        if str(address).endswith("mode=rw") and "factory" not in options:
            options["factory"] = Failing
        return original(address, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)


@pytest.mark.parametrize("earlier", ["schema-1/killed", "schema-2/killed"])
@pytest.mark.usefixtures("failing")
async def test_a_migration_may_fail_anywhere(earlier: str, tmp_path: Path) -> None:
    """Whichever statement fails, opening raises StoreError, the store is of the earlier schema, and opens later."""
    point = 0
    while True:
        folder = tmp_path / str(point)
        shutil.copytree(FIXTURES / earlier, folder)
        Failing.left = point
        store = SQLiteBackend(folder / "state.db")
        try:
            await store.open("one")
        except StoreError:
            ((schema_now,),) = ask(folder / "state.db", "PRAGMA user_version")
            assert number_of(earlier) <= schema_now < files.SCHEMA
        else:
            break
        finally:
            await store.close()
        Failing.left = 1_000_000
        await store.open("one")
        assert {run.run_id: run.status for run in (await Observer(store).list(limit=100)).runs} == expected(earlier)
        assert await store.integrity() == []
        await store.close()
        point += 1

    assert point > 15


# -- the decisions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "known", "needed"), [(1, 1, []), (1, 2, [2]), (1, 4, [2, 3, 4]), (3, 4, [4]), (4, 4, [])]
)
def test_migrations_are_made_in_order(schema: int, known: int, needed: Sequence[int]) -> None:
    """A store needs every migration from its schema to the one this release knows."""
    assert list(migrations.pending(schema, known)) == needed


def test_there_is_a_file_for_each_migration() -> None:
    """From the first schema to this one no migration is missing."""
    folder = Path(migrations.__file__).with_name("migrations")

    assert sorted(int(file.stem) for file in folder.glob("*.sql")) == list(migrations.pending(1))


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("", []),
        ("-- nothing\n", []),
        ("SELECT 1;\nSELECT\n 2;\n", ["SELECT 1;", "SELECT\n 2;"]),
        (
            "CREATE TRIGGER a AFTER DELETE ON b BEGIN\n  DELETE FROM c;\n  DELETE FROM d;\nEND;\nSELECT ';';",
            ["CREATE TRIGGER a AFTER DELETE ON b BEGIN\n  DELETE FROM c;\n  DELETE FROM d;\nEND;", "SELECT ';';"],
        ),
    ],
)
def test_scripts_are_cut_into_statements(script: str, parts: Sequence[str]) -> None:
    """A script is cut where statements end, and not inside of triggers and texts."""
    assert list(schema.statements(script)) == parts


def test_a_copy_with_other_rows_is_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that does not have the rows of the original is no copy, and nothing is left of it."""
    counted = iter([{"runs": 10}, {"runs": 9}])
    monkeypatch.setattr(copies, "_counts", lambda _: next(counted))
    with closing(sqlite3.connect(path, isolation_level=None)) as source, pytest.raises(CorruptStoreError):
        copies.copy("sqlite:state.db", source, tmp_path / "copy.db", 0o600)

    assert not (tmp_path / "copy.db").exists()
