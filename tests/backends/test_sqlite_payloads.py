"""Large payloads in the SQLite store: each text once, gone with the last event that has it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backends.sealing import seal
from flujo.backends import SQLiteBackend
from flujo.backends.conformance import create, creation, following, journal
from flujo.backends.sqlite.blobs import LARGEST_INLINE, digest_of
from flujo.kernel.backend import Commit, Refused, RunFilter

BACKEND = SQLiteBackend

LARGE = '"' + "ü" * LARGEST_INLINE + '"'
SMALL = '"' + "x" * (LARGEST_INLINE - 2) + '"'


@pytest.fixture
def anyio_backend() -> str:
    """aiosqlite runs on asyncio only."""
    return "asyncio"


def ask(path: Path, question: str) -> list[Any]:
    """What somebody else reads in the database."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def with_payloads(commit: Commit, *payloads: str | None) -> Commit:
    """A commit whose events have these payloads."""
    rows = tuple(row._replace(payload=payload) for row, payload in zip(commit.rows, payloads, strict=True))
    return commit._replace(rows=rows)


def settled(run_id: str, payload: str) -> Commit:
    return with_payloads(creation(run_id, None, status="completed"), payload)


async def test_equal_payloads_are_stored_once(store: SQLiteBackend, path: Path) -> None:
    """The same large payload in several events of several runs is one blob, and each journal reads it as it was."""
    (a, b) = await create(store, settled("a", LARGE), with_payloads(creation("b"), LARGE))
    assert await store.append([with_payloads(following(b, 3), SMALL, LARGE, None)]) == {}

    assert ask(path, "SELECT digest, text FROM blobs") == [(digest_of(LARGE), LARGE)]
    assert ask(path, "SELECT count(*) FROM events WHERE payload IS NOT NULL") == [(1,)]
    assert [row.payload for row in await journal(store, a)] == [LARGE]
    assert [row.payload for row in await journal(store, b)] == [LARGE, SMALL, LARGE, None]


async def test_the_last_use_takes_the_blob_along(store: SQLiteBackend, path: Path) -> None:
    """A blob stays while any run has it, and goes in the transaction that deletes the last one."""
    (a, b) = await create(store, settled("a", LARGE), settled("b", LARGE))
    await store.delete("a", a.uid)
    assert ask(path, "SELECT count(*) FROM blobs") == [(1,)]
    assert [row.payload for row in await journal(store, b)] == [LARGE]
    await store.delete("b", b.uid)

    assert ask(path, "SELECT count(*) FROM blobs") == [(0,)]


async def test_pruning_takes_blobs_along(store: SQLiteBackend, path: Path) -> None:
    """Pruning removes a blob with the last run that has it, and counts its bytes in UTF-8 for each of them."""
    await create(store, settled("a", LARGE), settled("b", LARGE))
    size = len(LARGE.encode())
    foretold = await store.prune(RunFilter(), limit=10, dry_run=True)
    first = await store.prune(RunFilter(), limit=1, dry_run=False)
    assert ask(path, "SELECT count(*) FROM blobs") == [(1,)]
    second = await store.prune(RunFilter(), limit=1, dry_run=False)

    assert first.bytes == second.bytes
    assert size < first.bytes < size + 100
    assert foretold.bytes == first.bytes + second.bytes
    assert ask(path, "SELECT count(*) FROM blobs") == [(0,)]


async def test_a_refused_commit_leaves_no_blob(store: SQLiteBackend, path: Path) -> None:
    """A commit that is refused stores no blob, beside one of its batch that stands."""
    (a,) = await create(store, creation("a"))
    late = with_payloads(following(a._replace(token=0)), LARGE)
    other = LARGE.replace("ü", "ö")
    answer = await store.append([late, settled("b", other)])

    assert answer == {a.uid: Refused.STALE}
    assert ask(path, "SELECT text FROM blobs") == [(other,)]


async def test_payloads_that_lie_in_events_are_read_there(store: SQLiteBackend, path: Path) -> None:
    """A large payload that an earlier schema has left in its event is read and counted like any other."""
    (a,) = await create(store, settled("a", SMALL))
    assert store._writer is not None

    def put(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE events SET payload = ?", (LARGE,))
        seal(connection)

    await store._writer.run(put)
    removal = await store.prune(RunFilter(), limit=1, dry_run=True)

    assert [row.payload for row in await journal(store, a)] == [LARGE]
    assert removal.bytes > len(LARGE.encode())
    assert ask(path, "SELECT count(*) FROM blobs") == [(0,)]
