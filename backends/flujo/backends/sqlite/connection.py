"""Units of work: one hop to a connection's thread runs a whole transaction, and nothing can cut it in two.

aiosqlite gives a connection its thread, but offers one awaited call per statement, and a cancellation between two of
them would leave a transaction open. Its `commit()` calls `commit()` of the connection class it was told to make, on
that thread: ours runs the next queued function there. The functions are queued rather than kept in one attribute,
because several tasks may be waiting for the thread at once.

A cancelled caller goes on waiting for its unit, in a shield, so the unit's outcome is known and belongs to the caller.

A caller without an event loop, as a command that lists runs, has a connection without a thread (`DirectReader`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from shlex import quote
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import anyio

from flujo.backends.disk_errors import FULL, disk_error
from flujo.backends.urls import Durability
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignStoreError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreInUseError,
)

from . import checksums
from .files import StoreFiles

if TYPE_CHECKING:
    import aiosqlite

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

EXCLUSIVE_SECONDS = 2.0
"""How long to wait for others to close a store that is to be had alone: longer than a command that lists runs takes."""

BUSY_SECONDS = 5.0
"""How long SQLite itself waits for a lock. Writers hold the store lock, so only a crash's recovery makes it wait."""


_NEEDS_TO_WRITE = (
    "make the file, its -wal and -shm and its folder writable for this user; reading needs that too",
    "on a disk that may only be read: copy the file, and its -wal if there is one, and name the copy with --store",
)
_MOVED = "put it back, or end every process that uses it: nothing they do from now on is kept"


class Reader(Protocol):
    """A connection that runs functions on it."""

    async def run(self, work: Work[Result]) -> Result: ...
    async def close(self) -> None: ...


class DirectReader:
    """A connection in the thread of a caller that has no event loop, which nothing can cancel and nobody else uses."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def run(self, work: Work[Result]) -> Result:
        """Return what `work(connection)` returns or raises."""
        return work(self._connection)

    async def close(self) -> None:
        """Close it."""
        self._connection.close()


class Database:
    """One connection with its thread, on asyncio. `connect` makes it, `close` must end it."""

    def __init__(self, connection: aiosqlite.Connection, units: SimpleQueue[_Unit[Any]]) -> None:
        self._connection = connection
        self._units = units

    @classmethod
    async def connect(cls, path: Path, mode: Literal["ro", "rw"], settings: Work[None]) -> Database:
        """Open an existing file and apply `settings`; raises sqlite3.Error, and then nothing stays open."""
        import aiosqlite  # and with it asyncio, which costs more than a direct reader altogether

        units: SimpleQueue[_Unit[Any]] = SimpleQueue()
        opening = aiosqlite.connect(
            f"{path.as_uri()}?mode={mode}",
            factory=partial(_UnitConnection, units),
            uri=True,
            isolation_level=None,  # transactions begin and end where we write it
            timeout=BUSY_SECONDS,
        )
        with anyio.CancelScope(shield=True):
            database = cls(await opening, units)
            try:
                await database.run(settings)
            except BaseException:
                await database.close()
                raise
        return database

    async def run(self, work: Work[Result]) -> Result:
        """Return what `work(connection)` returns or raises, run on the connection's thread; a cancellation waits for
        it."""
        unit = _Unit(work)
        with anyio.CancelScope(shield=True):
            self._units.put(unit)
            try:
                await self._connection.commit()  # queues its hop before it waits, so units and hops keep one order
            except ValueError as error:  # from aiosqlite, when somebody has closed the handle under this call
                raise sqlite3.ProgrammingError("it was closed meanwhile") from error
        return unit.outcome()

    async def close(self) -> None:
        """End the thread after what is queued on it."""
        with anyio.CancelScope(shield=True):
            await self._connection.close()


class _Unit(Generic[Result]):
    """A function on its way to the thread, and what came of it."""

    def __init__(self, work: Work[Result]) -> None:
        self._work = work
        self._result: list[Result] = []
        self._error: BaseException | None = None

    def __call__(self, connection: sqlite3.Connection) -> None:
        try:
            self._result.append(self._work(connection))
        except BaseException as error:  # raised again in the task that asked
            self._error = error

    def outcome(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._result[0]


class _UnitConnection(sqlite3.Connection):
    """A connection whose `commit` is "run the next unit"; transactions end with the statement COMMIT."""

    def __init__(self, units: SimpleQueue[_Unit[Any]], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._units = units

    def commit(self) -> None:
        self._units.get_nowait()(self)


def in_transaction(begin: str, work: Work[Result], connection: sqlite3.Connection) -> Result:
    """Run `work` between `begin` and COMMIT; whatever it raises takes everything back."""
    connection.execute(begin)
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk or a failed write has rolled back already
            connection.execute("ROLLBACK")
        raise
    return result


def open_reader(places: StoreFiles) -> sqlite3.Connection:
    """Connect to a store that is there, for reading; blocks."""
    connection = sqlite3.connect(
        f"{places.database.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_SECONDS
    )
    try:
        reader_settings(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_taking_back(places: StoreFiles) -> sqlite3.Connection:
    """Connect to a store in which a change was not completed; what reads first takes it back. Needs the store lock,
    blocks."""
    return sqlite3.connect(
        f"{places.database.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=EXCLUSIVE_SECONDS
    )


def open_exclusively(places: StoreFiles, purpose: str, alive: Sequence[str]) -> sqlite3.Connection:
    """Return a connection to an existing store that nobody else has open or can open until it is closed, which also
    moves the log into the file. `alive` are the kernels that are. Needs the store lock, blocks.

    Raises StoreInUseError, which says what for; sqlite3.Error if the file is no sound database.
    """
    if alive:
        raise StoreInUseError(places.store, purpose, alive, places.database)
    connection = sqlite3.connect(
        f"{places.database.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=EXCLUSIVE_SECONDS
    )
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA mmap_size = 0").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        in_transaction("BEGIN IMMEDIATE", lambda _: None, connection)  # takes the lock, and keeps it
    except sqlite3.Error as error:
        connection.close()
        if kind_of(error) == sqlite3.SQLITE_BUSY:
            raise StoreInUseError(places.store, purpose, (), places.database) from error
        raise
    return connection


def reader_settings(connection: sqlite3.Connection) -> None:
    """Prepare a connection that reads."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA mmap_size = 0").fetchall()  # an I/O error is an error then, and not a signal


def writer_settings(store: str, durability: Durability, connection: sqlite3.Connection) -> None:
    """Prepare a connection that writes; raises StoreError where there can be no log."""
    reader_settings(connection)
    ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
    if mode != "wal":
        raise StoreError(store, "this file system cannot hold a write-ahead log", ["put the store on a local disk"])
    connection.execute(f"PRAGMA synchronous = {durability.upper()}")
    connection.execute("PRAGMA fullfsync = ON")  # macOS; elsewhere it does nothing
    connection.execute("PRAGMA foreign_keys = ON")
    checksums.register(connection)
    connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    # A file that cannot be opened for writing SQLite opens for reading, in silence; a write that changes nothing tells.
    connection.execute("DELETE FROM runs WHERE FALSE")


@contextmanager
def store_errors(store: str, lock: Path) -> Iterator[None]:
    """Turn what SQLite and the operating system raise into StoreError and its kinds."""
    try:
        yield
    except sqlite3.Error as error:
        raise _store_error(store, lock, error) from error
    except OSError as error:
        if error.errno in FULL:
            raise _full(store, lock) from error
        raise disk_error(store, error) from error


def kind_of(error: sqlite3.Error) -> int:
    """Return the primary result code of an error. Python's own errors have none, and count as SQLITE_ERROR."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """True if an error says that what is stored cannot be read. Python gives no code to bytes that are no text."""
    return kind_of(error) == sqlite3.SQLITE_CORRUPT or "decode to UTF-8" in str(error)


def damage_error(store: str, error: sqlite3.Error) -> CorruptStoreError:
    """Return what is raised for damage that an error tells of."""
    if isinstance(error, checksums.DamagedRow):
        return CorruptStoreError(store, str(error), error.hints)
    return CorruptStoreError(store, str(error))


def _full(store: str, lock: Path) -> StoreFullError:
    """Return the error of a full disk, with the room that was set aside on it if there is some."""
    reserve = lock.with_name("reserve")
    if not reserve.exists():
        return StoreFullError(store)
    room = f"rm {quote(str(reserve))}  # room for this: flujoctl prune, or: flujoctl delete RUN_ID"
    return StoreFullError(store, ["free some space, then: flujoctl resume RUN_ID", room])


def _store_error(store: str, lock: Path, error: sqlite3.Error) -> StoreError:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # growing the index of the WAL; what a full disk looks like there
        return _full(store, lock)
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return StoreError(store, "its file was moved, removed or replaced while it was in use", [_MOVED])
    if is_damage(error):
        return damage_error(store, error)
    match kind_of(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return StoreBusyError(store, lock, BUSY_SECONDS)
        case sqlite3.SQLITE_FULL:
            return _full(store, lock)
        case sqlite3.SQLITE_NOTADB:
            return ForeignStoreError(store, "it is not an SQLite file")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return StoreError(store, str(error), _NEEDS_TO_WRITE)
        case _:
            return StoreError(store, str(error))
