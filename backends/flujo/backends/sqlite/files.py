"""The files of a store: which there are, how they come into being, and which ones are not ours to touch.

    PATH                     the database; PATH-wal and PATH-shm beside it while it is in use
    PATH-kernels/            the lock files, see `locks`
    PATH-kernels/reserve     takes room that deleting and pruning need, for when the disk is full
    PATH-kernels/unchecked   there while a store that was left behind uncleanly has not been looked through yet
    PATH.schema-N.backup     what a migration from schema N began with, see `migrations`
    PATH.replaced            what a restore has put another store in the place of, see `maintenance`

A database is built aside and renamed into place, so whoever looks sees a whole store or none. Nothing here opens the
database except through SQLite: closing a second descriptor of it would drop the locks this process holds on it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import suppress
from glob import escape
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from flujo.kernel.errors import CorruptStoreError, ForeignStoreError, NewerStoreError, OlderStoreError, StoreError
from flujo.kernel.trust import (
    make_own_folder,
    open_own,
    remove_own,
    require_own_file,
    require_own_folder,
    set_mode,
    write_own,
)

from . import schema

APPLICATION_ID = 0x666C756A  # "fluj", at byte 68 of the file, where file(1) looks
SCHEMA = 5  # the database's user_version
NEW_IDENTITY = "lower(hex(randomblob(16)))"
"""SQL: a text that no other store has."""

RESERVE_BYTES = 512 * 1024
"""Enough for the log of some hundred runs that go, and for its index."""

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, where fsync stops at the drive's cache
_CORRUPT = sqlite3.SQLITE_CORRUPT


class StoreFiles(NamedTuple):
    """Where everything of one store is; `store` is its URL, for error messages. Paths are absolute, without links."""

    store: str
    database: Path
    kernels: Path
    lock: Path

    @classmethod
    def at(cls, store: str, path: Path) -> StoreFiles:
        """Return the files of the store at `path`. Links are followed, so that all names of a store share its locks.

        Raises ForeignStoreError for the root of all folders, which has no name and nothing beside it."""
        database = Path(os.path.realpath(path))
        if not database.name:
            raise ForeignStoreError(store, "it is a directory")
        kernels = database.with_name(database.name + "-kernels")
        return cls(store, database, kernels, kernels / "store.lock")

    def beside(self, ending: str) -> Path:
        """Return a file that belongs to the database and lies beside it."""
        return self.database.with_name(self.database.name + ending)

    @property
    def log(self) -> Path:
        """Return the write-ahead log."""
        return self.beside("-wal")

    @property
    def logs(self) -> Sequence[Path]:
        """Everything that SQLite would play into the database when it is opened."""
        return self.log, self.rollback_journal

    @property
    def rollback_journal(self) -> Path:
        """Return what SQLite takes a change back with; only a store that is being restored, or made, has one."""
        return self.beside("-journal")

    @property
    def reserve(self) -> Path:
        """Return what may be removed when the disk is full, so that runs can be deleted and pruned."""
        return self.kernels / "reserve"

    @property
    def unchecked(self) -> Path:
        """Return the mark of a store that was left behind uncleanly and has not been looked through."""
        return self.kernels / "unchecked"


def find(places: StoreFiles) -> int | None:
    """Return the schema of the store that is there, None if there is none; an empty file is none. Changes nothing.

    Raises ForeignStoreError, NewerStoreError, CorruptStoreError and sqlite3.DatabaseError for a file that is something
    else. The schema may be higher by now if a log lies beside the database: `check` knows.

    It looks more than once (at the file, at its first page, at the log), and without the locks of SQLite. So what it
    raises of a store that `may_be_moving` is a verdict only if the caller holds the store lock.

    Raises PlaceTakenError for what others have put where flujo and SQLite keep what belongs to the store.
    """
    _require_own(places)
    try:
        found = places.database.stat()
    except FileNotFoundError:
        _require_no_log(places)
        return None
    if stat.S_ISDIR(found.st_mode):
        raise ForeignStoreError(places.store, "it is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise ForeignStoreError(places.store, "it is not a regular file")
    if found.st_size == 0:
        _require_no_log(places)
        return None
    try:
        # `immutable` keeps SQLite from leaving a -wal beside a file that may not be ours.
        header = _read_header(places.database, "mode=ro&immutable=1")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != _CORRUPT or not size_of(places.log):
            raise
        # A checkpoint that a crash cut short looks like damage unless the log is read too.
        header = _read_header(places.database, "mode=ro")
    return _require_ours(places.store, *header)


def _require_own(places: StoreFiles) -> None:
    """Refuse what somebody else has put beside the database: what is in it would be taken for the store's.

    Whoever owns the database is trusted; the user has named it, or `discovery` has looked."""
    require_own_folder(places.kernels, places.database)
    for file in (*places.logs, places.beside("-shm")):
        require_own_file(file, places.database)


def require_one_name(places: StoreFiles) -> None:
    """Raise StoreError for a database that has a second name, as a hard link: SQLite keeps a log, and flujo its locks,
    beside each name, so processes that come by different ones write over each other, and neither notices.

    Looks more than once; a verdict on a store that `may_be_moving` needs the store lock, as that of `find`."""
    try:
        found = places.database.stat()
    except FileNotFoundError:
        return
    others = found.st_nlink - 1
    if others > 0 and others > sum(_is_name_of(found, path) for path in _passing_names(places)):
        name = quote(str(places.database))
        raise StoreError(
            places.store,
            f"its file has {found.st_nlink} names (hard links), and SQLite keeps a log beside each of them; "
            "nothing was changed",
            [
                f"find / -xdev -samefile {name} 2>/dev/null  # its names; remove all but the one that processes use",
                f"or, if no process uses any of them: cp {name} {name}.own && mv {name}.own {name}",
            ],
        )


def _passing_names(places: StoreFiles) -> Sequence[Path]:
    """Names that a restore or a backup gives a database for a moment, and leaves if it dies."""
    unfinished = places.database.parent.glob(f"{escape(places.database.name)}.*.unfinished")
    return [places.beside(".replacing"), places.beside(".replaced"), *unfinished]


def _is_name_of(found: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(os.lstat(path), found)
    except FileNotFoundError:
        return False


def may_be_moving(places: StoreFiles) -> bool:
    """True if another process may be creating or replacing the database, or moving the log into it, at this moment.

    Whatever does that holds the store lock, so where there is no lock file nothing does. No lock file is made for a
    look: the database may not be ours.
    """
    return places.lock.exists()


def _require_no_log(places: StoreFiles) -> None:
    """SQLite would take the log of a store that is gone for the new one's."""
    for log in places.logs:
        if size_of(log):
            raise CorruptStoreError(
                places.store,
                f"{places.database.name} is gone, its log {log.name} is not",
                ["put the database back beside its log", f"or move the log away: mv {quote(str(log))} OTHER-PLACE"],
            )


def size_of(file: Path) -> int:
    """Return the bytes of a file; 0 if there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def inode(places: StoreFiles) -> tuple[int, int] | None:
    """Tells one database file from another at the same path; None if there is none. What is written to a file that was
    removed is lost, and nothing but this tells."""
    try:
        found = places.database.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _require_ours(store: str, application_id: int, found: int) -> int:
    """Return the schema; raises ForeignStoreError or NewerStoreError unless this release knows databases of such a
    header."""
    if application_id != APPLICATION_ID:
        raise ForeignStoreError(store, "its header does not name flujo")
    if found > SCHEMA:
        raise NewerStoreError(store, found, SCHEMA)
    if found < 1:
        raise CorruptStoreError(store, f"its header has schema {found}, which no release has written")
    return found


def schema_of(store: str, connection: sqlite3.Connection) -> int:
    """Return the schema of a database, its log included; raises what `find` raises."""
    return _require_ours(store, *_header(connection))


def check(store: str, connection: sqlite3.Connection) -> None:
    """Look again, with the WAL, and read the tables' definitions: damage there is found now and not in mid-run.

    Raises OlderStoreError too.
    """
    found = schema_of(store, connection)
    if found < SCHEMA:
        raise OlderStoreError(store, found, SCHEMA)
    schema.require_own_triggers(store, connection)
    connection.execute("SELECT 1 FROM runs LIMIT 0").fetchall()


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    """(application id, schema) of a database."""
    ((application_id,),) = connection.execute("PRAGMA application_id").fetchall()
    ((found,),) = connection.execute("PRAGMA user_version").fetchall()
    return application_id, found


def _read_header(database: Path, options: str) -> tuple[int, int]:
    connection = sqlite3.connect(f"{database.as_uri()}?{options}", uri=True)
    try:
        return _header(connection)
    finally:
        connection.close()


def make_folders(places: StoreFiles) -> None:
    """Make the folders a store needs. The lock folder and a new `.flujo` keep themselves out of version control."""
    missing = [folder for folder in places.database.parents if not folder.exists()]
    for folder in reversed(missing):
        _make_folder(folder, None, ignored=folder.name == ".flujo")
    if not places.kernels.exists():
        _make_folder(places.kernels, places.database, ignored=True)


def _make_folder(folder: Path, beside: Path | None, *, ignored: bool) -> None:
    make_own_folder(folder, beside)  # another process may be making it too
    if ignored:
        with suppress(FileExistsError):
            write_own(folder / ".gitignore", "*\n")
    sync(folder.parent)


def create(places: StoreFiles) -> None:
    """Put a new, empty store into place. Needs the store lock."""
    unfinished = places.kernels / "new.db"
    for remains in places.kernels.glob("new.db*"):  # of a process that died in here
        remove_own(remains)
    file = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        set_mode(file, mode_for(places.database))  # whatever the umask; the log and its index get the same from SQLite
    finally:
        os.close(file)
    connection = sqlite3.connect(unfinished, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # possible before the first table only
        connection.executescript(
            f"BEGIN; {schema.script('schema.sql')}; INSERT INTO store VALUES ({NEW_IDENTITY});"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; COMMIT"
        )
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    unfinished.rename(places.database)
    sync(places.database.parent)


def keep_reserve(places: StoreFiles) -> None:
    """Set room aside, unless it is or there is none. Needs the store lock."""
    if os.path.lexists(places.reserve):
        return
    file = open_own(places.reserve, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, RESERVE_BYTES)
        else:
            os.write(file, bytes(RESERVE_BYTES))
    except OSError:
        places.reserve.unlink()
    finally:
        os.close(file)


def unmark_unchecked(places: StoreFiles) -> None:
    """Say that the store was looked through, unless nothing says otherwise."""
    remove_own(places.unchecked)


def mark_unchecked(places: StoreFiles) -> None:
    """Say that the store has not been looked through yet, durably. Needs the store lock."""
    os.close(open_own(places.unchecked, os.O_CREAT | os.O_WRONLY))
    sync(places.kernels)


def mode_for(database: Path) -> int:
    """0600, or what somebody chose who has put an empty file there."""
    return stat.S_IMODE(database.stat().st_mode) if database.exists() else 0o600


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _FULL_SYNC is None:
            os.fsync(descriptor)
        else:
            fcntl.fcntl(descriptor, _FULL_SYNC)
    finally:
        os.close(descriptor)
