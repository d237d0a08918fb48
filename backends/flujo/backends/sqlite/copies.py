"""Whole copies of a store: written in slices, proved sound, made durable, and only then given their name.

A copy is what one read transaction sees, so it is of one moment however long it takes, and nobody who writes waits for
it. It is complete in one file: what the log of the original holds is in it.

Everything here blocks, and belongs in a thread.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from flujo.kernel.errors import CorruptStoreError, StoreExistsError
from flujo.kernel.trust import set_mode

from . import files
from .connection import in_transaction, is_damage
from .integrity import changed_rows, find_damage
from .interruption import Cancellation, Stopped, never, stoppable

SLICE_PAGES = 2_048
"""Copied between two looks at whether to stop: 8 MiB, some milliseconds."""

SLICES_PER_SYNC = 4
"""After so many the copy is synced as far as it is. At the end a cancellation would have to wait for all of it."""


def copy(store: str, source: sqlite3.Connection, target: Path, mode: int, stop: Cancellation = never) -> int:
    """Write what `source` sees to the new file `target`, durably, and return its bytes; on an error nothing is left.

    Raises CorruptStoreError if the copy is not sound, which means that the store `store` is not.
    """
    file = os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        set_mode(file, mode)  # whatever the umask
    finally:
        os.close(file)
    try:
        counts = in_transaction("BEGIN", lambda source: _fill(target, source, stop), source)
        with closing(_open_alone(target)) as copied:
            damage = find_damage(copied, stop)
            if damage is not None:
                raise CorruptStoreError(store, damage)
            with stoppable(copied, stop):
                found = _counts(copied)
            if found != counts:
                raise CorruptStoreError(store, "a copy of it does not have as many rows")
            for changed in changed_rows(copied, stop):
                raise CorruptStoreError(
                    store, changed.text if changed.run_id is None else f"run {changed.run_id!r}: {changed.text}"
                )
        files.sync(target)
        return target.stat().st_size
    except sqlite3.DatabaseError as error:
        target.unlink(missing_ok=True)
        if is_damage(error):
            raise CorruptStoreError(store, str(error)) from error
        raise
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _fill(target: Path, source: sqlite3.Connection, stop: Cancellation) -> dict[str, int]:
    """Copy page by page; the numbers of rows that are to be found in the copy."""

    slices = 0

    def look(_status: int, _remaining: int, _total: int) -> None:
        nonlocal slices
        if stop():
            raise Stopped
        slices += 1
        if slices % SLICES_PER_SYNC == 0:
            files.sync(target)

    with stoppable(source, stop):
        counts = _counts(source)
    with closing(sqlite3.connect(target, isolation_level=None)) as copied:
        copied.execute("PRAGMA journal_mode = OFF").fetchall()  # a copy that is cut short is thrown away
        copied.execute("PRAGMA synchronous = OFF")
        source.backup(copied, pages=SLICE_PAGES, progress=look)
    return counts


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of rows of each table."""
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
    names = [name for (name,) in connection.execute(query).fetchall()]
    return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0][0] for name in names}


def _open_alone(file: Path) -> sqlite3.Connection:
    """Return a connection to a file nobody else has and that has no log; SQLite leaves nothing beside it."""
    return sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


def put_into_place(unfinished: Path, target: Path) -> None:
    """Give a finished file its name, durably, unless something has it; raises StoreExistsError."""
    try:
        os.link(unfinished, target)  # a rename would take the place of what came there meanwhile
    except FileExistsError as error:
        raise StoreExistsError(str(target)) from error
    except OSError:  # not every file system has links
        if os.path.lexists(target):
            raise StoreExistsError(str(target)) from None
        unfinished.rename(target)
    else:
        unfinished.unlink()
    files.sync(target.parent)
