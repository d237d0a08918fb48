"""Looking through a store: what rows say of each other, in SQL, and whether each is what was written, by its checksum.

Everything is of one moment, a snapshot that is read in slices; others go on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flujo.backends import row_checksums
from flujo.backends.payloads import digest_of
from flujo.kernel.backend import Problem

from . import rows
from .connection import Connection
from .rows import SUMMARY, Damaged

MOST_PROBLEMS = 100
"""Of one kind; a store that has more of them has them for one reason."""

SLICE_ROWS = 500

_CONTRADICTIONS = f"""
SELECT run_id, format('its summary says %s events, its journal has %s, the last is number %s', seq, number, last)
FROM (SELECT r.run_id, r.seq, count(e.seq) AS number, coalesce(max(e.seq), 0) AS last, coalesce(min(e.seq), 1) AS first
      FROM @.runs r LEFT JOIN @.events e ON e.run = r.run GROUP BY r.run) AS f
WHERE number <> seq OR last <> seq OR first <> 1 LIMIT {MOST_PROBLEMS};

SELECT NULL, format('there are %s events of a run that is gone, number %s', count(*), e.run) FROM @.events e
WHERE NOT EXISTS (SELECT FROM @.runs r WHERE r.run = e.run) GROUP BY e.run LIMIT {MOST_PROBLEMS};

SELECT r.run_id, format('its definition %s is missing', r.definition) FROM @.runs r
WHERE r.definition IS NOT NULL AND NOT EXISTS (SELECT FROM @.definitions d WHERE d.digest = r.definition)
LIMIT {MOST_PROBLEMS};

SELECT r.run_id, 'the index of labels does not say what its labels are' FROM @.runs r
WHERE (SELECT count(*) FROM @.labels l WHERE l.run = r.run AND l.run_id = r.run_id AND l.created_at = r.created_at)
    <> CASE WHEN r.labels ~ '^\\{{' THEN (SELECT count(*) FROM json_object_keys(r.labels::json)) ELSE -1 END
LIMIT {MOST_PROBLEMS};

SELECT (SELECT r.run_id FROM @.events e JOIN @.runs r ON r.run = e.run WHERE e.blob = b.digest LIMIT 1),
    format('no event has the payload %s', encode(b.digest, 'hex')) FROM @.blobs b
WHERE NOT EXISTS (SELECT FROM @.events e WHERE e.blob = b.digest) LIMIT {MOST_PROBLEMS}"""

_Judge = Callable[[Sequence[Any]], Problem | None]


async def integrity(connection: Connection) -> Sequence[Problem]:
    """Return everything that is wrong with a store."""
    async with connection.transaction(snapshot=True):
        return [*await _contradictions(connection), *await _changed(connection, _EVERYTHING)]


async def integrity_beside_runs(connection: Connection) -> Sequence[Problem]:
    """Return the same, without the rows of runs that do not match their checksums: whoever reads a run finds those."""
    async with connection.transaction(snapshot=True):
        return [*await _contradictions(connection), *await _changed(connection, [_DEFINITIONS])]


async def _contradictions(connection: Connection) -> list[Problem]:
    found: list[Problem] = []
    for query in _CONTRADICTIONS.split(";"):
        found += [Problem(*row) for row in await connection.fetch(query, timeout=None)]
    return found


async def _changed(connection: Connection, kinds: Sequence[tuple[str, _Judge]]) -> list[Problem]:
    found: list[Problem] = []
    for query, judge in kinds:
        of_kind: list[Problem] = []
        async for row in connection.stream(query, SLICE_ROWS):
            if (problem := judge(tuple(row))) is not None:
                of_kind.append(problem)
                if len(of_kind) >= MOST_PROBLEMS:
                    break
        found += of_kind
    return found


def _judge_summary(row: Sequence[Any]) -> Problem | None:
    summary, problem = rows.judged(row)
    return None if problem is None else Problem(summary.run_id, "its summary is not what was written")


def _judge_event(row: Sequence[Any]) -> Problem | None:
    run_id, uid, *values, blob, checksum = row
    if row_checksums.of_event(row_checksums.of_uid(uid), values, blob) == checksum:
        return None
    return Problem(run_id, f"its event {values[0]} is not what was written")


def _judge_request(row: Sequence[Any]) -> Problem | None:
    run_id, *columns = row
    try:
        rows.posted_of([columns])
    except Damaged:
        return Problem(run_id, f"request {columns[0]} in its inbox is not what was written")
    return None


def _judge_definition(row: Sequence[Any]) -> Problem | None:
    try:
        rows.definition_of(row)
    except Damaged as error:
        return Problem(None, str(error))
    return None


def _judge_blob(row: Sequence[Any]) -> Problem | None:
    run_id, digest, text = row
    if digest_of(text) == digest:
        return None
    return Problem(run_id, f"the payload {digest.hex()} is not the text it was")


_DEFINITIONS: tuple[str, _Judge] = (f"SELECT {rows.DEFINITION} FROM @.definitions d", _judge_definition)
_EVERYTHING: Sequence[tuple[str, _Judge]] = (
    (f"SELECT {SUMMARY} FROM @.runs r", _judge_summary),
    (
        "SELECT r.run_id, r.uid, e.seq, e.at, e.type, e.format, e.body, e.payload, e.blob, e.checksum "
        "FROM @.events e JOIN @.runs r ON r.run = e.run",
        _judge_event,
    ),
    (
        f"SELECT r.run_id, {rows.REQUEST} FROM @.inbox i JOIN @.runs r ON r.run = i.run",
        _judge_request,
    ),
    (
        "SELECT (SELECT r.run_id FROM @.events e JOIN @.runs r ON r.run = e.run WHERE e.blob = b.digest LIMIT 1), "
        "b.digest, b.text FROM @.blobs b",
        _judge_blob,
    ),
    _DEFINITIONS,
)
