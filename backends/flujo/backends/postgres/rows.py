"""What a row of the store means to Python, and whether it is what was written.

Rows come as the driver reads them: texts that may hold U+0000 are bytes, and the checksum is the last column."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from flujo.backends import row_checksums, row_damage
from flujo.backends.payloads import digest_of
from flujo.kernel.backend import (
    FIXED_COLUMNS,
    Change,
    ClaimedRun,
    EventRow,
    Posted,
    Request,
    RunSummary,
    StoredDefinition,
)
from flujo.kernel.errors import CorruptStoreError
from flujo.kernel.state import RunStatus

logger = logging.getLogger("flujo.backends.postgres")

_NUMBERS = "seq token created_at started_at updated_at finished_at wake_at steps_done steps_total retries resume_count"
TYPES = dict.fromkeys(_NUMBERS.split(), "bigint") | dict.fromkeys(("version", "error_type", "error_message"), "bytea")
"""The types of the columns of a summary that are no text."""

COLUMNS = RunSummary._fields
SUMMARY = ", ".join(f"r.{name}" for name in (*COLUMNS, "fixed_checksum", "checksum"))
PAYLOAD = "CASE WHEN e.blob IS NULL THEN e.payload ELSE (SELECT b.text FROM @.blobs b WHERE b.digest = e.blob) END"
EVENT = f"e.seq, e.at, e.type, e.format, e.body, {PAYLOAD}, e.blob, e.checksum"
REQUEST = "i.id, r.uid, i.kind, i.body, i.at, i.checksum"
DEFINITION = "d.digest, d.workflow, d.version, d.text, d.checksum"

_AS_BYTES = tuple(place for place, name in enumerate(COLUMNS) if TYPES.get(name) == "bytea")
_FIXED = tuple(name for name in FIXED_COLUMNS if name != "token")
_fixed: Callable[[RunSummary], tuple[Any, ...]] = itemgetter(*map(COLUMNS.index, _FIXED))
_steady: Callable[[RunSummary], tuple[Any, ...]] = itemgetter(
    *(place for place, name in enumerate(COLUMNS) if name not in (*_FIXED, *row_checksums.HOT, "owner", "token"))
)
_new = tuple.__new__  # what EventRow(…) comes to, in half the time


class Damaged(Exception):
    """A row does not match its checksum, or is missing."""


# -- writing ------------------------------------------------------------------------------------------------------


def to_values(summary: RunSummary) -> list[Any]:
    """Return the values of a summary as they are stored."""
    values: list[Any] = list(summary)
    for place in _AS_BYTES:
        if values[place] is not None:
            values[place] = values[place].encode()
    return values


def fixed_checksum(summary: RunSummary) -> int:
    """Return the checksum of what only the creation of a run sets."""
    return row_checksums.of_values(*_fixed(summary))


def steady_checksum(summary: RunSummary) -> int:
    """Return the part of the checksum of all else that a step does not change."""
    return row_checksums.of_values(*_steady(summary))


def changing_checksum(summary: RunSummary, steady: int) -> int:
    """Return the checksum of all else. It leaves out the owner and the token, which claims change in SQL."""
    return row_checksums.of_unowned(summary, steady)


def request_checksum(uid: str, kind: str, body: str, at: int) -> int:
    """Return the checksum of a request. It leaves out the id, which the server gives."""
    return row_checksums.of_values(uid, kind, body, at)


# -- reading ------------------------------------------------------------------------------------------------------


def judged(row: Sequence[Any]) -> tuple[RunSummary, str | None]:
    """Return the summary in a row of SUMMARY, and what is wrong with it."""
    values = list(row)
    checksum, fixed = values.pop(), values.pop()
    for place in _AS_BYTES:
        if values[place] is not None:
            values[place] = values[place].decode(errors="replace")
    summary: RunSummary = _new(RunSummary, values)
    if fixed_checksum(summary) == fixed and changing_checksum(summary, steady_checksum(summary)) == checksum:
        return summary, None
    return summary, f"the summary of run {summary.run_id!r} is not what was written"


def summary_of(row: Sequence[Any]) -> RunSummary:
    """Return the summary in such a row; raises Damaged."""
    summary, problem = judged(row)
    if problem is not None:
        raise Damaged(problem)
    return summary


def claimed(row: Sequence[Any]) -> ClaimedRun:
    """Return the run in a row of its former owner and SUMMARY; raises Damaged."""
    return ClaimedRun.of(summary_of(row[1:]), row[0])


def soundly_claimed(rows: Sequence[Sequence[Any]]) -> list[ClaimedRun]:
    """Return the runs in such rows without those that are damaged."""
    return row_damage.sound(claimed, rows, Damaged, logger)


def sound(rows: Sequence[Sequence[Any]]) -> list[RunSummary]:
    """Return the summaries in such rows without those that are damaged."""
    return row_damage.sound(summary_of, rows, Damaged, logger)


def listed(rows: Sequence[Sequence[Any]]) -> list[RunSummary]:
    """Return the summaries of a listing. A damaged one is in nobody's way: it is listed as failed, and says why."""
    return [_as_listed(*judged(row)) for row in rows]


def _as_listed(summary: RunSummary, problem: str | None) -> RunSummary:
    if problem is None:
        return summary
    logger.error("%s", problem)
    return summary._replace(
        status=RunStatus.FAILED, labels="{}", error_type=CorruptStoreError.__name__, error_message=problem
    )


def posted_of(rows: Sequence[Sequence[Any]]) -> list[Posted]:
    """Return the requests in rows of REQUEST; raises Damaged."""
    return [_posted_in(row) for row in rows]


def sound_posted_of(rows: Sequence[Sequence[Any]]) -> list[Posted]:
    """Return the same without those that are damaged."""
    return row_damage.sound(_posted_in, rows, Damaged, logger)


def _posted_in(row: Sequence[Any]) -> Posted:
    id, uid, kind, body, at, checksum = row
    if request_checksum(uid, kind, body, at) != checksum:
        raise Damaged(f"request {id} to the run with uid {uid!r} is not what was written")
    return Posted(id, uid, Request(kind, body, at))


def event_of(run_id: str, uid: str, columns: Sequence[Any]) -> EventRow:
    """Return the event of a run in a row of EVENT; raises Damaged."""
    row: EventRow = _new(EventRow, tuple(columns)[:6])
    blob, checksum = columns[6], columns[7]
    is_whole = blob is None or (row.payload is not None and digest_of(row.payload) == blob)
    if not is_whole or row_checksums.of_event(row_checksums.of_uid(uid), row, blob) != checksum:
        raise Damaged(f"event {row.seq} of run {run_id!r} is not what was written")
    return row


def journal_of(
    run_id: str, uid: str, last: int, after_seq: int, rows: Sequence[Sequence[Any]], limit: int
) -> list[EventRow]:
    """Return the events of a run with this last event, of rows of EVENT: those after one of them, up to a limit.
    Raises Damaged for one that is damaged, or missing."""
    found, missing = row_damage.journal_of(lambda columns: event_of(run_id, uid, columns), rows, after_seq, last, limit)
    if missing is not None:
        raise Damaged(f"{missing} of run {run_id!r} is missing")
    return found


def change_of(position: int, run_id: str, uid: str, columns: Sequence[Any]) -> Change:
    """Return an event of any run, with its damage."""
    try:
        return Change(position, run_id, uid, event_of(run_id, uid, columns))
    except Damaged as error:
        return Change(position, run_id, uid, _new(EventRow, tuple(columns)[:6]), str(error))


def definition_values(definition: StoredDefinition) -> tuple[Any, ...]:
    """Return the values of a definition as they are stored, with their checksum."""
    digest, workflow, version, text = definition
    checksum = row_checksums.of_values(*definition)
    return digest, workflow, None if version is None else version.encode(), text.encode(), checksum


def definition_of(row: Sequence[Any]) -> StoredDefinition:
    """Return the definition in a row of DEFINITION; raises Damaged."""
    digest, workflow, version, text, checksum = row
    found = StoredDefinition(
        digest, workflow, None if version is None else version.decode(errors="replace"), text.decode(errors="replace")
    )
    if row_checksums.of_values(*found) != checksum:
        raise Damaged(f"the definition {digest} is not what was written")
    return found
