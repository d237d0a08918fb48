"""Checksums in SQLite: rows with one, SQL that computes it, and what a row that does not match comes to.

`flujo.backends.row_checksums` says how each is computed. The owner and the token of a summary change without the rest,
and so does the part of the sum that is theirs.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from flujo.backends import row_damage
from flujo.backends.payloads import digest_of
from flujo.backends.row_checksums import BITS
from flujo.backends.row_checksums import HOT as HOT
from flujo.backends.row_checksums import of_event as of_event
from flujo.backends.row_checksums import of_hot as of_hot
from flujo.backends.row_checksums import of_ownership as of_ownership
from flujo.backends.row_checksums import of_steady as of_steady
from flujo.backends.row_checksums import of_summary as of_summary
from flujo.backends.row_checksums import of_uid as of_uid
from flujo.backends.row_checksums import of_values as of_values
from flujo.kernel.backend import Change, EventRow, Posted, Request, RunSummary, StoredDefinition
from flujo.kernel.errors import CorruptStoreError
from flujo.kernel.state import RunStatus

logger = logging.getLogger("flujo.backends.sqlite")

_TYPES = tuple(int if each in (int, int | None) else str for each in get_type_hints(RunSummary).values())
_new = tuple.__new__  # what EventRow(…) comes to, in half the time
SUMMARY = ", ".join((*RunSummary._fields, "runs.checksum"))
EVENT = ", ".join(f"events.{name}" for name in (*EventRow._fields, "blob", "checksum"))
REQUEST = "id, uid, kind, body, at, inbox.checksum"
DEFINITION = ", ".join((*StoredDefinition._fields, "checksum"))
"""SQL: the columns a checksum is of, and the checksum."""


class DamagedRow(sqlite3.DatabaseError):
    """A row does not match its checksum. It is an error of SQLite's, so that it is told as any other damage is; and it
    says what to do about a run, which need not be to restore a backup."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def __init__(self, problem: str, run_id: str | None = None) -> None:
        super().__init__(problem)
        forget = "flujoctl db check" if run_id is None else f"flujoctl delete {run_id}  # forget the run"
        self.hints = (forget, "flujoctl db restore BACKUP --force  # put a backup in its place")


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


# -- in SQL -------------------------------------------------------------------------------------------------------


def with_ownership(owner: str, token: str) -> str:
    """Return SQL for the checksum of a row of `runs` whose owner and token become these. A row that does not match its
    checksum does not match this one either."""
    return f"(checksum - checksum_of(owner, token) + checksum_of({owner}, {token})) & {BITS}"


# -- looking ------------------------------------------------------------------------------------------------------


def fits(checksum: Any, compute: Callable[..., int], *parts: Any) -> bool:
    """True if a checksum is that of these parts. On a damaged page a value may be of any type, and of some none can be
    computed."""
    try:
        return bool(compute(*parts) == checksum)
    except (TypeError, AttributeError, ValueError, OverflowError):
        return False


def is_event(uid: str, row: Sequence[Any], blob: Any, checksum: Any) -> bool:
    """True if an event of the run with this uid is what was written."""
    return fits(checksum, _of_event_in_sql, uid, *row, blob)


def summary_of(row: Sequence[Any]) -> RunSummary:
    """Return the summary in a row of its columns and its checksum; raises DamagedRow."""
    summary, problem = judged(row)
    if problem is not None:
        raise DamagedRow(problem, summary.run_id)
    return summary


def listed(rows: Sequence[Sequence[Any]]) -> list[RunSummary]:
    """Return the summaries of a listing. A damaged one is in nobody's way: it is listed as failed, and says why; or is
    left out, if it has no id or no instant to be listed by."""
    found = [_as_listed(*judged(row)) for row in rows]
    return [summary for summary in found if summary is not None]


def judged(row: Sequence[Any]) -> tuple[RunSummary, str | None]:
    """Return the summary in such a row, and what is wrong with it."""
    *values, checksum = row
    summary = _new(RunSummary, values)
    if fits(checksum, of_summary, summary):
        return summary, None
    return summary, f"the summary of run {summary.run_id!r} is not what was written"


def _as_listed(summary: RunSummary, problem: str | None) -> RunSummary | None:
    if problem is None:
        return summary
    logger.error("%s", problem)
    values = [value if isinstance(value, type) else None for value, type in zip(summary, _TYPES, strict=True)]
    told = _new(RunSummary, values)
    if None in (told.run_id, told.created_at, told.updated_at):
        return None
    return told._replace(
        uid=told.uid or "",
        workflow=told.workflow or "",
        seq=told.seq or 0,
        token=told.token or 0,
        steps_done=told.steps_done or 0,
        retries=told.retries or 0,
        resume_count=told.resume_count or 0,
        status=RunStatus.FAILED,
        labels="{}",
        error_type=CorruptStoreError.__name__,
        error_message=problem,
    )


def posted_of(rows: Sequence[Sequence[Any]]) -> list[Posted]:
    """Return the requests in rows of id, uid, kind, body, instant and checksum; raises DamagedRow."""
    return [_posted_in(row) for row in rows]


def sound_posted_of(rows: Sequence[Sequence[Any]]) -> list[Posted]:
    """Return the same without those that are damaged."""
    return row_damage.sound(_posted_in, rows, DamagedRow, logger)


def _posted_in(row: Sequence[Any]) -> Posted:
    *values, checksum = row
    if not fits(checksum, of_values, *values):
        raise DamagedRow(f"request {values[0]} to the run with uid {values[1]!r} is not what was written")
    id, uid, *request = values
    return Posted(id, uid, Request(*request))


def journal_of(summary: RunSummary, after_seq: int, rows: Sequence[Sequence[Any]], limit: int) -> list[EventRow]:
    """Return the events of a run, of rows of EVENT: those after one of them, up to a limit. Raises DamagedRow for one
    that is damaged, or missing."""
    run = of_uid(summary.uid)
    found, missing = row_damage.journal_of(
        lambda columns: _event_in(columns, run, summary.run_id), rows, after_seq, summary.seq, limit
    )
    if missing is not None:
        raise DamagedRow(f"{missing} of run {summary.run_id!r} is missing", summary.run_id)
    return found


def change_of(row: Sequence[Any]) -> Change:
    """Return the event of any run in a row of its position, the id and uid of its run, and EVENT, with its damage."""
    position, run_id, uid, *columns = row
    run = of_uid(uid) if isinstance(uid, str) else 0  # which no event has
    try:
        return Change(position, run_id, uid, _event_in(columns, run, run_id))
    except DamagedRow as error:
        return Change(position, run_id, uid, _new(EventRow, columns[:6]), str(error))


def _event_in(columns: Sequence[Any], run: int, run_id: str) -> EventRow:
    row, blob = _new(EventRow, columns[:6]), columns[6]
    if not fits(columns[7], of_event, run, row, blob) or (blob is not None and not _is_of(row.payload, blob)):
        raise DamagedRow(f"event {row.seq} of run {run_id!r} is not what was written", run_id)
    return row


def _is_of(payload: str | None, blob: bytes) -> bool:
    """True if a large payload is the text its digest stands for."""
    return payload is not None and digest_of(payload) == blob


def definition_of(row: Sequence[Any]) -> StoredDefinition:
    """Return the definition in a row of its columns and its checksum; raises DamagedRow."""
    *values, checksum = row
    if not fits(checksum, of_values, *values):
        raise DamagedRow(f"the definition {values[0]} is not what was written")
    return StoredDefinition(*values)
