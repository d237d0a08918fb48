"""Looking through a store: what SQLite says of the file, what each row says of itself, and what rows say of each other.

Everything blocks, so it belongs in a thread; it asks now and then whether to stop. Each question is about one moment,
and the log can be cut off between two of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import Any

from flujo.kernel.backend import Problem

from . import blobs, checksums, files, removals, schema
from .connection import is_damage, open_reader
from .interruption import Cancellation, Stopped, never, stoppable

MOST_PROBLEMS = 100
"""Of one kind; a store that has more of them has them for one reason."""

SLICE_ROWS = 500
"""Read at once: some milliseconds, and some megabytes at most."""


def integrity(places: files.StoreFiles, stop: Cancellation = never) -> Sequence[Problem]:
    """Return everything that is wrong with a store."""
    return _found_by((_contradictions, changed_rows), places, stop)


def integrity_beside_runs(places: files.StoreFiles, stop: Cancellation = never) -> Sequence[Problem]:
    """Return the same, without the rows of runs that do not match their checksums: whoever reads a run finds those."""
    return _found_by((_contradictions, changed_definitions), places, stop)


def _found_by(
    looks: Sequence[Callable[[sqlite3.Connection, Cancellation], list[Problem]]],
    places: files.StoreFiles,
    stop: Cancellation,
) -> Sequence[Problem]:
    with closing(open_reader(places)) as connection:
        connection.text_factory = _as_text
        with stoppable(connection, stop):
            found = _damage(connection)
            for look in looks:
                try:
                    found += look(connection, stop)
                except sqlite3.DatabaseError as error:
                    if not is_damage(error):
                        raise
                    found += [] if found else [Problem(None, str(error))]
    if not found:
        with suppress(OSError):  # of another user, or on a disk that takes no writes
            files.unmark_unchecked(places)  # nobody has to look through it any more (tests/cli/test_doctor_fixes.py)
    return found


# -- the file -----------------------------------------------------------------------------------------------------


def find_damage(connection: sqlite3.Connection, stop: Cancellation = never) -> str | None:
    """Read every page; return the first thing that is wrong, in one line."""
    try:
        with stoppable(connection, stop):
            found = [text for (text,) in connection.execute("PRAGMA quick_check(1)").fetchall()]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        found = [str(error)]
    return None if found == ["ok"] else _in_one_line(found[0])


def _damage(connection: sqlite3.Connection) -> list[Problem]:
    """Return what SQLite itself finds: torn pages, indexes that do not fit their tables, rows that refer to nothing."""
    try:
        texts = [text for (text,) in connection.execute(f"PRAGMA integrity_check({MOST_PROBLEMS})") if text != "ok"]
        lost = connection.execute("PRAGMA foreign_key_check").fetchmany(MOST_PROBLEMS)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return [Problem(None, str(error))]
    return [
        *(Problem(None, _in_one_line(text)) for text in texts),
        *(
            Problem(None, f"row {row} of {table} refers to a row of {parent} that is not there")
            for table, row, parent, _ in lost
        ),
    ]


def _in_one_line(damage: str) -> str:
    """Return what SQLite says of damage, without the heading it puts before that."""
    return " ".join(damage.removeprefix("*** in database main ***").split())


# -- rows and each other ------------------------------------------------------------------------------------------


def _contradictions(connection: sqlite3.Connection, stop: Cancellation) -> list[Problem]:
    """Return what the queries of checks.sql find."""
    connection.create_function("digest_of", 1, _digest_of, deterministic=True)
    found: list[Problem] = []
    for query in schema.statements(schema.script("checks.sql")):
        found += [_problem(*row) for row in islice(connection.execute(query), MOST_PROBLEMS)]
    return found


def _problem(run_id: Any, text: Any) -> Problem:
    """Return what a query has found. A text that is made with a value that is missing is missing itself."""
    told = "a value is missing where there must be one" if text is None else str(text)
    return Problem(None if run_id is None else str(run_id), told)


def _as_text(data: bytes) -> str:
    """Return what is stored as text and need not be any."""
    return data.decode(errors="replace")


def _digest_of(data: bytes) -> bytes:
    return blobs.digest_of(_as_text(data))


# -- rows and themselves ------------------------------------------------------------------------------------------


def changed_rows(connection: sqlite3.Connection, stop: Cancellation = never) -> list[Problem]:
    """Return the rows that do not match their checksums. Blobs have digests, for which checks.sql looks."""
    return _changed(_CHECKSUMMED, connection, stop)


def changed_definitions(connection: sqlite3.Connection, stop: Cancellation = never) -> list[Problem]:
    """Return the definitions that do not match their checksums."""
    return _changed([_DEFINITIONS], connection, stop)


def _changed(checksummed: Sequence[_Checksummed], connection: sqlite3.Connection, stop: Cancellation) -> list[Problem]:
    found: list[Problem] = []
    if not checksums.are_in(connection):
        return found
    for query, judge in checksummed:
        wrong = (problem for row in _rows(query, connection, stop) if (problem := judge(*row)) is not None)
        found += islice(wrong, MOST_PROBLEMS)
    return found


def _rows(query: str, connection: sqlite3.Connection, stop: Cancellation) -> Iterator[Sequence[Any]]:
    """Yield all rows of a query that goes by a key, which is its first column, in slices."""
    after = -1
    while rows := connection.execute(query, (after, SLICE_ROWS)).fetchall():
        if stop():
            raise Stopped
        yield from (row for _, *row in rows)
        last = max(key for key, *_ in rows)
        if last <= after:  # a damaged page hands out keys in no order, again and again; SQLite's own look names it
            return
        after = last


def _judge_summary(*row: Any) -> Problem | None:
    summary, problem = checksums.judged(row)
    return None if problem is None else Problem(str(summary.run_id), "its summary is not what was written")


def _judge_event(run_id: str, uid: str, *row: Any) -> Problem | None:
    *values, blob, checksum = row
    if checksums.is_event(uid, values, blob, checksum):
        return None
    return Problem(str(run_id), f"its event {values[0]} is not what was written")


def _judge_request(run_id: str, *row: Any) -> Problem | None:
    *values, checksum = row
    if checksums.fits(checksum, checksums.of_values, *values):
        return None
    return Problem(str(run_id), f"request {values[0]} in its inbox is not what was written")


def _judge_definition(*row: Any) -> Problem | None:
    *values, checksum = row
    if checksums.fits(checksum, checksums.of_values, *values):
        return None
    return Problem(None, f"the definition {values[0]} is not what was written")


_Checksummed = tuple[str, Callable[..., Problem | None]]
"""A query for rows by a key, after one and up to a number, and what judges each row without the key."""

_DEFINITIONS: _Checksummed = (
    f"SELECT rowid, {checksums.DEFINITION} FROM definitions WHERE rowid > ? ORDER BY rowid LIMIT ?",
    _judge_definition,
)
_CHECKSUMMED: Sequence[_Checksummed] = (
    (f"SELECT run, {checksums.SUMMARY} FROM runs WHERE run > ? ORDER BY run LIMIT ?", _judge_summary),
    (
        f"SELECT pos, run_id, uid, {checksums.EVENT} FROM events CROSS JOIN runs ON runs.run = events.run "
        f"WHERE runs.status <> '{removals.REMOVED}' AND pos > ? ORDER BY pos LIMIT ?",
        _judge_event,
    ),
    (
        f"SELECT id, run_id, {checksums.REQUEST} FROM inbox CROSS JOIN runs ON runs.run = inbox.run "
        "WHERE id > ? ORDER BY id LIMIT ?",
        _judge_request,
    ),
    _DEFINITIONS,
)
