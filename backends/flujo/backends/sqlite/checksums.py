"""A checksum in every row: it tells that something in the row has changed since the row was made.

It is of 62 bits, made with XXH3: of all that is quick enough for a step, which makes three of them, the quickest by far
on a kilobyte (ADR 0012). It is no protection against anyone who means to change a store.

What it is computed of is what Python has at hand. Text is in UTF-8; numbers are added up, and the hash begins with the
sum, so that no changed byte of one leaves it as it was. xxhash itself takes the sum modulo 2 to the power of 64.

    event      from hash(uid) + at + 256 × seq + format: type, U+001F, body; plus hash(payload, or its digest, if any)
    summary    from hash(the rest) + updated_at + 256 × seq + steps_done: current_step; plus hash(owner, token)
    others     the values with U+001F between them, numbers in decimal, NULL as U+001E

The owner and the token of a summary change without the rest, and so does the part of the sum that is theirs. All this
is part of the schema: another formula is another schema, and a migration.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from xxhash import xxh3_64_intdigest as hash_of

from flujo.kernel.backend import Change, Posted, Request, RunSummary, StoredDefinition
from flujo.kernel.errors import CorruptStoreError
from flujo.kernel.events import EventRow
from flujo.kernel.state import RunStatus

from .blobs import digest_of

logger = logging.getLogger("flujo.backends.sqlite")

HOT = ("seq", "updated_at", "current_step", "steps_done")
"""What a step changes in a summary. An UPDATE that names more columns than these costs twice as much, and one that
names an indexed column rewrites its index entries even if the value stays. They come last, so that the checksum of the
others need not be computed again."""

_OWNERSHIP = ("owner", "token")
_STEADY = tuple(name for name in RunSummary._fields if name not in (*HOT, *_OWNERSHIP))

_steady: Callable[[RunSummary], tuple[Any, ...]] = itemgetter(*map(RunSummary._fields.index, _STEADY))
_hot: Callable[[RunSummary], tuple[Any, ...]] = itemgetter(*map(RunSummary._fields.index, HOT))

_new = tuple.__new__  # what EventRow(…) comes to, in half the time
_BITS = (1 << 62) - 1  # so that SQL can add two of them

SUMMARY = ", ".join((*RunSummary._fields, "runs.checksum"))
EVENT = ", ".join(f"events.{name}" for name in (*EventRow._fields, "blob", "checksum"))
REQUEST = "id, uid, kind, body, at, inbox.checksum"
DEFINITION = ", ".join((*StoredDefinition._fields, "checksum"))
"""SQL: the columns a checksum is of, and the checksum."""


class DamagedRow(sqlite3.DatabaseError):
    """A row does not match its checksum. It is an error of SQLite's, so that it is told as any other damage is."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def register(connection: sqlite3.Connection) -> None:
    """Let the SQL of a connection compute checksums."""
    connection.create_function("checksum_of", -1, of_values, deterministic=True)
    connection.create_function("checksum_of_event", 8, _of_event_in_sql, deterministic=True)
    connection.create_function("checksum_of_summary", -1, lambda *row: of_summary(RunSummary(*row)), deterministic=True)


def _of_event_in_sql(uid: str, *row: Any) -> int:
    *values, blob = row
    return of_event(of_uid(uid), values, blob)


def are_in(connection: sqlite3.Connection) -> bool:
    """True if the rows of a database have checksums, as they have since schema 3."""
    ((found,),) = connection.execute("PRAGMA user_version").fetchall()
    return bool(found >= 3)


# -- making -------------------------------------------------------------------------------------------------------


def of_event(run: int, row: Sequence[Any], blob: bytes | None = None) -> int:
    """Return the checksum of an event. `run` is `of_uid` of its run, `blob` the digest of a payload that lies
    elsewhere."""
    seq, at, type, format, body, payload = row
    checksum = hash_of(f"{type}\x1f{body}".encode(), run + at + (seq << 8) + format)
    if blob is not None:
        checksum += hash_of(blob)
    elif payload is not None:
        checksum += hash_of(payload.encode())  # to begin with a sum makes XXH3 of a long text a microsecond slower
    return checksum & _BITS


@lru_cache(maxsize=10_000)
def of_uid(uid: str) -> int:
    """Return the part of the checksums of a run's events that is the same for all of them."""
    return hash_of(uid.encode())


def of_summary(summary: RunSummary) -> int:
    """Return the checksum of a summary."""
    return of_hot(of_steady(summary), of_ownership(summary.owner, summary.token), _hot(summary))


def of_steady(summary: RunSummary) -> int:
    """Return the checksum of what a step does not change, without owner and token: `of_hot` completes it."""
    return of_values(*_steady(summary))


def of_ownership(owner: str | None, token: int) -> int:
    """Return the part of a summary's checksum that is about its owner."""
    return of_values(owner, token)


def of_hot(steady: int, ownership: int, hot: tuple[Any, ...]) -> int:
    """Return the checksum of a summary, of those of its other parts and the values of HOT."""
    seq, updated_at, current_step, steps_done = hot
    step = "\x1e" if current_step is None else current_step
    return (hash_of(step.encode(), steady + updated_at + (seq << 8) + steps_done) + ownership) & _BITS


def of_values(*values: str | int | None) -> int:
    """Return the checksum of any other row."""
    return hash_of("\x1f".join(["\x1e" if value is None else str(value) for value in values]).encode()) & _BITS


def with_ownership(owner: str, token: str) -> str:
    """Return SQL for the checksum of a row of `runs` whose owner and token become these. A row that does not match its
    checksum does not match this one either."""
    return f"(checksum - checksum_of(owner, token) + checksum_of({owner}, {token})) & {_BITS}"


# -- looking ------------------------------------------------------------------------------------------------------


def summary_of(row: Sequence[Any]) -> RunSummary:
    """Return the summary in a row of its columns and its checksum; raises DamagedRow."""
    summary, problem = judged(row)
    if problem is not None:
        raise DamagedRow(problem)
    return summary


def listed(rows: Sequence[Sequence[Any]]) -> list[RunSummary]:
    """Return the summaries of a listing. A damaged one is in nobody's way: it is listed as failed, and says why."""
    return [_as_listed(*judged(row)) for row in rows]


def judged(row: Sequence[Any]) -> tuple[RunSummary, str | None]:
    """Return the summary in such a row, and what is wrong with it."""
    *values, checksum = row
    summary = _new(RunSummary, values)
    if of_summary(summary) == checksum:
        return summary, None
    return summary, f"the summary of run {summary.run_id!r} is not what was written"


def _as_listed(summary: RunSummary, problem: str | None) -> RunSummary:
    if problem is None:
        return summary
    if not (
        isinstance(summary.run_id, str) and isinstance(summary.created_at, int) and isinstance(summary.updated_at, int)
    ):
        raise DamagedRow(problem)
    logger.error("%s", problem)
    return summary._replace(
        status=RunStatus.FAILED, labels="{}", error_type=CorruptStoreError.__name__, error_message=problem
    )


def posted_of(rows: Sequence[Sequence[Any]]) -> list[Posted]:
    """Return the requests in rows of id, uid, kind, body, instant and checksum; raises DamagedRow."""
    for *values, checksum in rows:
        if of_values(*values) != checksum:
            raise DamagedRow(f"request {values[0]} to the run with uid {values[1]!r} is not what was written")
    return [Posted(id, uid, Request(*request)) for id, uid, *request, _ in rows]


def journal_of(summary: RunSummary, after_seq: int, rows: Sequence[Sequence[Any]], limit: int) -> list[EventRow]:
    """Return the events of a run, of rows of EVENT: those after one of them, up to a limit. Raises DamagedRow for one
    that is damaged, or missing."""
    found: list[EventRow] = []
    run = of_uid(summary.uid)
    seq = after_seq
    for columns in rows:
        seq += 1
        if columns[0] != seq:
            break
        found.append(_event_in(columns, run, summary.run_id))
    if len(found) < min(limit, summary.seq - after_seq):
        raise DamagedRow(f"event {after_seq + len(found) + 1} of run {summary.run_id!r} is missing")
    return found


def change_of(row: Sequence[Any]) -> Change:
    """Return the event of any run in a row of its position, the id and uid of its run, and EVENT; raises DamagedRow."""
    position, run_id, uid, *columns = row
    return Change(position, run_id, uid, _event_in(columns, of_uid(uid), run_id))


def _event_in(columns: Sequence[Any], run: int, run_id: str) -> EventRow:
    row, blob = _new(EventRow, columns[:6]), columns[6]
    if of_event(run, row, blob) != columns[7] or (blob is not None and not _is_of(row.payload, blob)):
        raise DamagedRow(f"event {row.seq} of run {run_id!r} is not what was written")
    return row


def _is_of(payload: str | None, blob: bytes) -> bool:
    """True if a large payload is the text its digest stands for."""
    return payload is not None and digest_of(payload) == blob


def definition_of(row: Sequence[Any]) -> StoredDefinition:
    """Return the definition in a row of its columns and its checksum; raises DamagedRow."""
    *values, checksum = row
    if of_values(*values) != checksum:
        raise DamagedRow(f"the definition {values[0]} is not what was written")
    return StoredDefinition(*values)
