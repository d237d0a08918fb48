"""Where the journals of a simulated world are: in memory, in a SQLite file, or in a folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from flujo.backends.file import FileBackend
from flujo.backends.file.backend import Lane
from flujo.backends.file.journal import from_json, scan
from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.backends.postgres import PostgresBackend
from flujo.backends.postgres.connection import Connection, Refusal
from flujo.backends.postgres.url import parse
from flujo.backends.sqlite import SQLiteBackend
from flujo.kernel.backend import Request, StateBackend
from flujo.kernel.errors import StoreError
from flujo.kernel.events import EventRow

Result = TypeVar("Result")


class Store(Protocol):
    """Where the journals of a world are: memory or a file."""

    def open(self) -> StateBackend:
        """A new, unopened handle."""
        ...

    def kill(self, handle: StateBackend) -> None:
        """End a handle as the death of its process does."""
        ...

    def rows(self, run_id: str) -> Sequence[EventRow]:
        """The durable journal of a run right now, empty if there is no such run."""
        ...

    def requests(self, run_id: str) -> Sequence[Request]:
        """The inbox of a run right now."""
        ...

    def close(self) -> None:
        """Give back what looking at the store has taken."""
        ...


class MemoryPlace:
    """A store in memory, which can be looked at without waiting."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def open(self) -> InMemoryBackend:
        return InMemoryBackend(self.store)

    def kill(self, handle: StateBackend) -> None:
        assert isinstance(handle, InMemoryBackend)
        handle.kill()

    def rows(self, run_id: str) -> Sequence[EventRow]:
        run = self.store.runs.get(run_id.lower())
        return () if run is None else run.events

    def requests(self, run_id: str) -> Sequence[Request]:
        run = self.store.runs.get(run_id.lower())
        if run is None:
            return ()
        return [posted.request for posted in self.store.inbox.values() if posted.uid == run.summary.uid]

    def close(self) -> None:
        pass


class SQLitePlace:
    """A SQLite store, looked at through a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> SQLiteBackend:
        return SQLiteBackend(self._path)

    def kill(self, handle: StateBackend) -> None:
        """Nothing: a dead life's handle is refused every call, and its locks are free once it is closed."""

    def rows(self, run_id: str) -> Sequence[EventRow]:
        columns = ", ".join(EventRow._fields)
        found = "SELECT run, segment FROM run_segments WHERE run = (SELECT run FROM runs WHERE run_id = ?)"
        query = f"SELECT {columns} FROM events WHERE (run, segment) IN ({found}) ORDER BY seq"
        return [EventRow(*row) for row in self._query(query, run_id)]

    def requests(self, run_id: str) -> Sequence[Request]:
        columns = ", ".join(Request._fields)
        query = f"SELECT {columns} FROM inbox WHERE run = (SELECT run FROM runs WHERE run_id = ?) ORDER BY id"
        return [Request(*row) for row in self._query(query, run_id)]

    def _query(self, query: str, run_id: str) -> list[tuple[Any, ...]]:
        if self._connection is None:
            if not self._path.exists():
                return []
            self._connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        return self._connection.execute(query, [run_id]).fetchall()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class PostgresPlace:
    """A store on PostgreSQL, looked at by a thread that has an event loop and a connection of its own."""

    _ROWS = "SELECT e.seq, e.at, e.type, e.format, e.body, e.payload FROM @.events e JOIN @.runs r USING (run)"
    _REQUESTS = "SELECT i.kind, i.body, i.at FROM @.inbox i JOIN @.runs r USING (run)"

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._connection: Connection | None = None

    def open(self) -> PostgresBackend:
        return PostgresBackend(self._url)

    def kill(self, handle: StateBackend) -> None:
        if isinstance(handle, PostgresBackend):
            handle.kill()

    def rows(self, run_id: str) -> Sequence[EventRow]:
        return [EventRow(*row) for row in self._ask(f"{self._ROWS} WHERE r.run_id = $1 ORDER BY e.seq", run_id)]

    def requests(self, run_id: str) -> Sequence[Request]:
        return [Request(*row) for row in self._ask(f"{self._REQUESTS} WHERE r.run_id = $1 ORDER BY i.id", run_id)]

    def _ask(self, query: str, run_id: str) -> Sequence[Sequence[Any]]:
        if self._portal is None:
            self._portal = self._stack.enter_context(start_blocking_portal())
            self._connection = self._portal.call(Connection.connect, parse(self._url))
        assert self._connection is not None
        try:
            return self._portal.call(self._connection.fetch, query, run_id)
        except Refusal as error:
            if error.code not in ("3F000", "42P01"):  # there is no store yet
                raise
            return []

    def close(self) -> None:
        if self._portal is not None and self._connection is not None:
            self._portal.call(self._connection.close)
        self._stack.close()
        self._portal = self._connection = None


class FilePlace:
    """A file store, looked at as anybody can. With `in_loop` its calls happen in the event loop, between two ticks, so
    that they take no virtual time and come in one order."""

    def __init__(self, folder: Path, *, in_loop: bool) -> None:
        self._folder = folder
        self._backend = InLoopFileBackend if in_loop else FileBackend

    def open(self) -> FileBackend:
        return self._backend(self._folder, "normal")  # no power is cut here

    def kill(self, handle: StateBackend) -> None:
        """What waits for its turn never gets it; all else is as for SQLite."""
        if isinstance(handle, InLoopFileBackend):
            handle.is_dead = True

    def rows(self, run_id: str) -> Sequence[EventRow]:
        journal = self._folder / "runs" / run_id / "journal"
        return _rows_of(journal.read_bytes()) if journal.exists() else ()

    def requests(self, run_id: str) -> Sequence[Request]:
        inbox = self._folder / "runs" / run_id / "inbox"
        files = sorted(inbox.iterdir()) if inbox.exists() else ()
        return [Request(*json.loads(scan(file.read_bytes()).lines[0].content)[1:]) for file in files]

    def close(self) -> None:
        pass


@lru_cache(maxsize=100)
def _rows_of(journal: bytes) -> Sequence[EventRow]:
    return [row for record in scan(journal).lines for row in from_json(record.content).rows]


class InLoopFileBackend(FileBackend):
    """A file store that blocks the event loop instead of a thread."""

    # Or kernels would look for child processes of dead ones, in a thread, while virtual time flies. There are none.
    capabilities = FileBackend.capabilities._replace(durable=False)
    is_dead = False

    async def _in_thread(self, unit: Callable[[], Result], lane: Lane) -> Result:
        async with lane.turns:
            if self.is_dead and unit not in (self._close, self._readers_lock.close):
                raise StoreError(self.url, "its process was killed")
            return unit()
