"""Removing a long run: it is gone for everybody in one short transaction, and its events go in slices after that.

A row of `runs` goes with all its events in one statement, which takes seconds for a run of a hundred thousand. So the
row of a long run gets names that no run can have, the status `removed`, and instants before all others, where no
listing begins. Its id is free from that moment on, and a late commit meets another uid. The row itself stays until the
last event is gone. Whoever is ended in between leaves it for the next kernel that opens the store, and the next prune.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import NamedTuple

from flujo.kernel.backend import RunSummary

from . import blobs, checksums, segments

LONG = 1_000
"""More events than this go in slices; fewer take some milliseconds."""

EVENTS_PER_LOOK = 50
"""Removed between two looks at the clock."""

REMOVED = "removed"
"""The status of what is left of a run."""

_BEFORE_ALL = -(1 << 63)
FIRST = _BEFORE_ALL + 1
"""The earliest instant that a run can have."""

_COLUMNS = (*RunSummary._fields, "checksum")
_MARK = f"UPDATE runs SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE run = ?"
_NO_LABELS = """
DELETE FROM labels WHERE run = ? AND (name, value, created_at, run_id) IN (
    SELECT key, value, runs.created_at, runs.run_id
    FROM runs, json_each(CASE WHEN json_valid(labels) THEN labels ELSE '{}' END) WHERE runs.run = ?
)
"""


class Swept(NamedTuple):
    """What one slice has removed of what is left of runs."""

    events: int
    bytes: int
    more: bool  # whether there is more to remove


def is_long(run: int, connection: sqlite3.Connection) -> bool:
    """True for a run of so many events that it goes in slices."""
    query = f"SELECT count(*) FROM (SELECT 1 FROM {segments.JOURNALS} WHERE run_segments.run = ? LIMIT ?)"
    ((found,),) = connection.execute(query, (run, LONG + 1)).fetchall()
    return bool(found > LONG)


def remove(run: int, connection: sqlite3.Connection) -> bool:
    """Remove a run; True for a long one, whose events are still to go in slices (`sweep`)."""
    if is_long(run, connection):
        _mark(run, connection)
        return True
    connection.execute("DELETE FROM runs WHERE run = ?", (run,))  # all else goes with it
    return False


def _mark(run: int, connection: sqlite3.Connection) -> None:
    ((uid, token),) = connection.execute("SELECT uid, token FROM runs WHERE run = ?", (run,)).fetchall()
    connection.execute(_NO_LABELS, (run, run))
    connection.execute("DELETE FROM inbox WHERE run = ?", (run,))
    nothing = dict.fromkeys(RunSummary._fields)
    numbers = dict.fromkeys(("seq", "steps_done", "retries", "resume_count"), 0)
    left = RunSummary(
        **nothing  # type: ignore[arg-type]  # the texts and numbers follow
        | numbers
        | {"run_id": f"~{uid}", "uid": f"~{uid}", "token": token + 1, "workflow": "", "labels": "{}"}
        | {"status": REMOVED, "created_at": _BEFORE_ALL, "updated_at": _BEFORE_ALL}
    )
    connection.execute(_MARK, (*left, checksums.of_summary(left), run))


def are_left(connection: sqlite3.Connection) -> bool:
    """True if something of a run is left to `sweep`."""
    query = "SELECT 1 FROM runs INDEXED BY runs_by_status WHERE status = ? LIMIT 1"
    return connection.execute(query, (REMOVED,)).fetchone() is not None


def sweep(connection: sqlite3.Connection, clock: Callable[[], float] = time.perf_counter, hold: float = 0.0) -> Swept:
    """Remove events of what is left of runs for so many seconds, some at least."""
    give_up_at = clock() + hold
    events = size = 0
    while (left := _next_left(connection)) is not None:
        removed, removed_bytes = _remove_some(left, connection)
        events += removed
        size += removed_bytes
        if clock() >= give_up_at:
            break
    return Swept(events, size, _next_left(connection) is not None)


def _next_left(connection: sqlite3.Connection) -> int | None:
    query = "SELECT run FROM runs INDEXED BY runs_by_status WHERE status = ? LIMIT 1"
    found: tuple[int] | None = connection.execute(query, (REMOVED,)).fetchone()
    return None if found is None else found[0]


def _remove_some(run: int, connection: sqlite3.Connection) -> tuple[int, int]:
    query = f"SELECT pos, {blobs.SIZE} FROM {segments.JOURNALS} WHERE run_segments.run = ? LIMIT ?"
    found = connection.execute(query, (run, EVENTS_PER_LOOK)).fetchall()
    if len(found) < EVENTS_PER_LOOK:
        connection.execute("DELETE FROM runs WHERE run = ?", (run,))
    else:
        connection.executemany("DELETE FROM events WHERE pos = ?", [(pos,) for pos, _ in found])
    return len(found), sum(size for _, size in found)
