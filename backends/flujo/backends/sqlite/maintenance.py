"""Keeping a store: copying it, putting a copy back, and saying what it is made of.

Nothing here is on the way of a step. Everything blocks and opens connections of its own, so it belongs in a thread, and
what takes long asks now and then whether to stop.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from flujo.backends.locks import KernelLocks, StoreLock
from flujo.backends.urls import parse
from flujo.kernel.errors import (
    CorruptStoreError,
    NewerStoreError,
    StoreBusyError,
    StoreError,
    StoreExistsError,
    StoreFullError,
    StoreInUseError,
    StoreNotFoundError,
)
from flujo.kernel.trust import remove_own

from . import checksums, copies, files, filesystems, removals
from .connection import Result, Work, in_transaction, is_damage, open_exclusively, open_reader, store_errors
from .interruption import Cancellation, never, stoppable

RESTORE_SECONDS = 30.0
"""How long a restore waits for the store lock."""

_UNKNOWN_TOKENS = 1_000_000  # more often than a run changes hands, for a store whose tokens cannot be read


def ask(places: files.StoreFiles, question: Work[Result], stop: Cancellation = never) -> Result:
    """Return the answer to a long question about a store, of one moment."""
    with closing(open_reader(places)) as connection, stoppable(connection, stop):
        return in_transaction("BEGIN", question, connection)


# -- what the store is made of ------------------------------------------------------------------------------------


def details(
    places: files.StoreFiles, kernels: KernelLocks, durability: str, stop: Cancellation = never
) -> Mapping[str, Any]:
    """Return what an operator wants to know; docs/sqlite-store.md explains the names."""
    with closing(open_reader(places)) as connection:

        def ask(question: str) -> Any:
            ((answer,),) = connection.execute(question).fetchall()
            return answer

        def look(_: sqlite3.Connection) -> dict[str, Any]:
            return {
                "path": str(places.database),
                "schema": ask("PRAGMA user_version"),
                "sqlite_version": sqlite3.sqlite_version,
                "wal_reset_bug": has_wal_reset_bug(sqlite3.sqlite_version_info),
                "wal_reset_bug_note": WAL_RESET_NOTE if has_wal_reset_bug(sqlite3.sqlite_version_info) else None,
                "journal_mode": ask("PRAGMA journal_mode"),
                "synchronous": durability,
                "file_system": filesystems.type_of(places.database),
                "file_bytes": files.size_of(places.database),
                "wal_bytes": files.size_of(places.log),
                "free_bytes": ask("PRAGMA freelist_count") * ask("PRAGMA page_size"),
                "runs": ask(f"SELECT count(*) FROM runs WHERE status <> '{removals.REMOVED}'"),
                "being_removed": ask(f"SELECT count(*) FROM runs WHERE status = '{removals.REMOVED}'"),
                "events": ask("SELECT count(*) FROM events"),
                "kernels_alive": kernels.live_owners(),
                "unchecked": places.unchecked.exists(),
            }

        with stoppable(connection, stop):
            return in_transaction("BEGIN", look, connection)


WAL_RESET_NOTE = (
    "this SQLite can damage a database when a commit races the checkpoint of another connection; flujo holds the store "
    "lock for both, which rules that out, but programs that do not (a database shell) must not write here"
)


def has_wal_reset_bug(version: Sequence[int]) -> bool:
    """True if a release of SQLite can lose pages when a commit races another connection's checkpoint: 3.7.0 to 3.51.2,
    except for 3.44.6 and later 3.44, 3.50.7 and later 3.50."""
    major, minor, patch = version[:3]
    repaired = {44: 6, 50: 7}
    if minor in repaired and major == 3:
        return patch < repaired[minor]
    return (3, 7, 0) <= (major, minor, patch) < (3, 51, 3)


# -- copying ------------------------------------------------------------------------------------------------------


def backup(places: files.StoreFiles, target: Path, stop: Cancellation = never) -> int:
    """Copy the store, as of one moment, to `target`, and return the bytes of the copy; nothing is left on an error.

    Raises StoreExistsError if something is there, CorruptStoreError if the store is damaged, StoreFullError and
    StoreError, naming the target, for what its disk does.
    """
    target = target.expanduser().absolute()
    if os.path.lexists(target):
        raise StoreExistsError(str(target))
    unfinished = target.with_name(f"{target.name}.{os.urandom(4).hex()}.unfinished")
    with closing(open_reader(places)) as source:
        files.schema_of(places.store, source)  # reads; what the disk of the store does is told of the store
        with _errors_of_target(target):
            size = copies.copy(places.store, source, unfinished, files.mode_for(places.database), stop)
            try:
                copies.put_into_place(unfinished, target)
            finally:
                unfinished.unlink(missing_ok=True)
    return size


@contextmanager
def _errors_of_target(target: Path) -> Iterator[None]:
    """Turn what is raised while a backup is written into errors that name its target."""
    try:
        with store_errors(str(target), target):
            yield
    except StoreFullError as error:
        hints = [f"free some space in {quote(str(target.parent))}, or: flujoctl db backup OTHER-PLACE"]
        raise StoreFullError(str(target), hints) from error


# -- putting a copy back ------------------------------------------------------------------------------------------


def restore(backup: Path | str, store: Path | str, *, force: bool = False, stop: Cancellation = never) -> int:
    """Make a store of a backup, and return its bytes. `store` is a path or the URL `sqlite:PATH`. Blocks.

    The backup is read through first and stays as it is; so does its schema, so an older release can use it. In the
    restored store nobody owns a run, and no kernel that did before can commit to one. It is there wholly or not at all.

    Raises StoreExistsError if a store is there, unless `force` asks to replace it; what it was is then kept as
    PATH.replaced, in the place of what an earlier restore has kept. Raises StoreInUseError while anybody has it open,
    ForeignStoreError if something else is there, and StoreBusyError, StoreFullError, StoreError. StoreNotFoundError,
    ForeignStoreError, NewerStoreError and CorruptStoreError are also raised of the backup, and name it then.
    """
    path = parse(store, "path").path if isinstance(store, str) and store.startswith("sqlite:") else store
    places = files.StoreFiles.at(f"sqlite:{path}", Path(path).expanduser().absolute())
    source = files.StoreFiles.at(f"sqlite:{backup}", Path(backup).expanduser().absolute())
    with store_errors(source.store, source.lock):
        if _find(source) is None:
            raise StoreNotFoundError(source.store)
    with store_errors(places.store, places.lock):
        filesystems.require_local(places.store, places.database)
        _require_room(places, force)
        files.make_folders(places)
        with _locked(places):
            alive = KernelLocks(places.kernels).live_owners()
            if alive:
                raise StoreInUseError(places.store, "restoring", alive, places.database)
            return _replace(source, places, _require_room(places, force), stop)


def _find(places: files.StoreFiles) -> int | None:
    """Return the schema of a store, None if there is none; raises what `files.find` raises. Without the store lock."""
    try:
        return files.find(places)
    except (CorruptStoreError, sqlite3.DatabaseError):
        if not files.may_be_moving(places):
            raise
    with _locked(places):
        return files.find(places)


def _require_room(places: files.StoreFiles, force: bool) -> bool:
    """True if a store is there, damaged or not. Raises StoreExistsError if it must not be replaced, ForeignStoreError
    if it is none."""
    try:
        is_there = files.find(places) is not None
    except (CorruptStoreError, NewerStoreError):
        is_there = True
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        is_there = True
    if is_there and not force:
        raise StoreExistsError(
            places.store,
            ["restore to another place, and look at it there", "or replace this one: --force"],
        )
    return is_there


@contextmanager
def _locked(places: files.StoreFiles) -> Iterator[None]:
    lock = StoreLock(places.lock)
    try:
        if not lock.acquire(RESTORE_SECONDS):
            raise StoreBusyError(places.store, places.lock, RESTORE_SECONDS)
        try:
            yield
        finally:
            lock.release()
    finally:
        lock.close()


def _replace(source: files.StoreFiles, places: files.StoreFiles, is_there: bool, stop: Cancellation) -> int:
    """Copy the backup beside the store, and put the copy in its place. Needs the store lock and nobody alive."""
    unfinished = places.kernels / "restored.db"
    _remove(unfinished)  # of a process that died in here
    try:
        _copy_backup(source, unfinished, files.mode_for(places.database), stop)
        with _held_alone(places) if is_there else nullcontext(_Old(0, ())) as old:
            _make_new(unfinished, old.highest)
            size = unfinished.stat().st_size
            if is_there:
                _keep_old(places, old.logs)
            unfinished.replace(places.database)
            files.sync(places.database.parent)
    finally:
        _remove(unfinished)
    if is_there:
        _name_old(places)
    files.unmark_unchecked(places)
    KernelLocks(places.kernels).remove_dead()
    return size


def _remove(unfinished: Path) -> None:
    for remains in unfinished.parent.glob(f"{unfinished.name}*"):
        remove_own(remains)


def _copy_backup(source: files.StoreFiles, target: Path, mode: int, stop: Cancellation) -> None:
    """Write what is in a backup to the new file `target`. A backup may be a store that other processes use.

    One that no process uses is read without locks, which leaves nothing beside it. If a process has used it meanwhile,
    what was read may be of several moments: it is read again, with locks.
    """
    before = _state_at_rest(source)
    if before is not None:
        try:
            with closing(_open_unused(source)) as connection:
                copies.copy(source.store, connection, target, mode, stop)
        except CorruptStoreError:
            if _state_at_rest(source) == before:
                raise
        if _state_at_rest(source) == before:
            return
        _remove(target)
    with closing(open_reader(source)) as connection:
        copies.copy(source.store, connection, target, mode, stop)


def _state_at_rest(source: files.StoreFiles) -> tuple[int, ...] | None:
    """Return what changes when a process writes to the file of a backup; None while one uses it, or has left a log."""
    if source.log.exists() or KernelLocks(source.kernels).live_owners():
        return None
    found = source.database.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _open_unused(source: files.StoreFiles) -> sqlite3.Connection:
    """Connect to a file that no process changes, leaving nothing beside it."""
    return sqlite3.connect(f"{source.database.as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


class _Old(NamedTuple):
    """The store that is to be replaced."""

    highest: int  # the highest token in it
    logs: Sequence[Path]  # what of it may still lie beside it, and would be taken for that of the new one


@contextmanager
def _held_alone(places: files.StoreFiles) -> Iterator[_Old]:
    """Keep everybody out of the store that is there, and make it one file. A damaged one cannot be made one file."""
    connection = _open_old(places)
    if connection is None:
        yield _Old(_UNKNOWN_TOKENS, places.logs)
        return
    with closing(connection):
        ((highest,),) = connection.execute("SELECT coalesce(max(token), 0) FROM runs").fetchall()
        yield _Old(highest, ())


def _open_old(places: files.StoreFiles) -> sqlite3.Connection | None:
    """Return a connection that nobody else has besides, to a store that has no log any more; None if it is damaged."""
    if not files.size_of(places.database):
        return None
    connection: sqlite3.Connection | None = None
    try:
        connection = open_exclusively(places, "restoring", ())
        connection.execute("SELECT token FROM runs").fetchone()
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()  # the lock stays ours
    except sqlite3.DatabaseError as error:
        if connection is not None:
            connection.close()
        if not is_damage(error):
            raise
        return None
    return connection


def _keep_old(places: files.StoreFiles, logs: Sequence[Path]) -> None:
    """Give what is there a second name, and take away what belongs to it. From here to the rename a crash leaves the
    old store, complete; a damaged one may then lie without its log, which is under its second name.

    The second name is not the last one yet: that may be the backup's own, when a restore is taken back.
    """
    for file in (places.database, *places.logs):
        remove_own(_beside(places, ".replacing", file))
    try:
        if files.size_of(places.database):
            os.link(places.database, places.beside(".replacing"))
    except OSError as error:
        raise StoreError(
            places.store,
            f"the store that is there cannot be kept: {error}",
            [f"move it away by hand: mv {quote(str(places.database))}* OTHER-PLACE"],
        ) from error
    for log in logs:
        if log.exists():
            log.rename(_beside(places, ".replacing", log))
    places.beside("-shm").unlink(missing_ok=True)
    files.sync(places.database.parent)


def _name_old(places: files.StoreFiles) -> None:
    """Give what was kept its last name, in the place of what an earlier restore has kept."""
    for file in (places.database, *places.logs):
        kept, last = _beside(places, ".replacing", file), _beside(places, ".replaced", file)
        if kept.exists():
            kept.replace(last)
        else:
            last.unlink(missing_ok=True)
    files.sync(places.database.parent)


def _beside(places: files.StoreFiles, word: str, file: Path) -> Path:
    """Another name of a file of the store."""
    return places.beside(word + file.name.removeprefix(places.database.name))


def _make_new(database: Path, highest: int) -> None:
    """Let nobody own a run, raise every token above those of the backup and of the store it takes the place of, and
    give the store an identity of its own: what comes now is not what came after the backup."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        connection.execute("PRAGMA journal_mode = OFF").fetchall()  # a file that is cut short is thrown away
        connection.execute("PRAGMA synchronous = OFF")
        token = f"token + {highest + 1:d}"
        change = f"UPDATE runs SET owner = NULL, token = {token}"
        if checksums.are_in(connection):
            checksums.register(connection)
            change += f", checksum = {checksums.with_ownership('NULL', token)}"
        connection.execute(change)
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'store'").fetchone():  # since schema 5
            connection.execute(f"UPDATE store SET identity = {files.NEW_IDENTITY}")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    files.sync(database)
