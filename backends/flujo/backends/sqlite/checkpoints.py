"""Moving the write-ahead log into the database, and cutting it off. The caller holds the store lock."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from . import files

LONG_LOG = 6 * 1024 * 1024  # bytes of the log's file; it is used again from its beginning, but never shrinks by itself
LONG_WAIT = 1_000  # milliseconds for readers to go, when the log is long and each time it has doubled since
SHORT_WAIT = 100  # in between; others are waiting for the store lock


def move(log: Path, patient: bool, wait_long_at: int, connection: sqlite3.Connection) -> int:
    """Move the WAL into the database as far as readers allow; cut it off when its file has grown long all the same.
    With `patient` wait a moment for readers who are in the way of that, and longer when it has `wait_long_at` bytes.
    Returns at how many to wait so long again: one reader may stay for as long as a backup takes.

    The commit before it is durable already, so a failure here is no failure of the commit: the next one tries again.
    """
    try:
        ((_, pages, moved),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        before = files.size_of(log)
        if before < LONG_LOG or not (pages == moved or patient):
            return wait_long_at
        waits_long = patient and before >= wait_long_at
        empty_log(LONG_WAIT if waits_long else SHORT_WAIT, connection)
        after = files.size_of(log)
    except (sqlite3.Error, OSError):
        return wait_long_at
    if after < before:
        return LONG_LOG
    return 2 * after if waits_long else wait_long_at


def empty_log(wait: int, connection: sqlite3.Connection) -> None:
    """Move the whole WAL and cut it off, if readers go within so many milliseconds; what fails is for the next time."""
    try:
        connection.execute(f"PRAGMA busy_timeout = {wait}").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error:
        pass
    finally:
        connection.execute("PRAGMA busy_timeout = 5000").fetchall()
