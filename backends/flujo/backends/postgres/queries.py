"""Owning, asking and reading: one statement per question, each through an index."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import anyio

from flujo.kernel.backend import (
    READ_BYTES,
    Change,
    EventRow,
    FoundRun,
    Posted,
    Request,
    RunSummary,
    StoredRun,
    size_of_rows,
)
from flujo.kernel.errors import CorruptStoreError, RunNotFoundError, RunReplacedError
from flujo.kernel.state import FINAL, LIVE, RunStatus

from . import journal, listing, rows
from .connection import Connection, Row
from .leases import HAS_OWNER, LIVES
from .rows import EVENT, REQUEST, SUMMARY, Damaged

RUNS_AT_ONCE = 20
"""So many runs are read in one question of `read_runs`."""

_LIVE = ", ".join(f"'{status}'" for status in sorted(LIVE))
_FINAL = ", ".join(f"'{status}'" for status in sorted(FINAL))

FIND = f"SELECT {SUMMARY} FROM @.runs r WHERE r.run_id = $1"

# -- owning -------------------------------------------------------------------------------------------------------

CLAIM = f"""
WITH found AS MATERIALIZED (SELECT run, owner AS former FROM @.runs WHERE run_id = $1 FOR UPDATE)
UPDATE @.runs r SET owner = $2, token = token + 1, rest_at = NULL,
    moved_at = CASE WHEN r.status <> 'running' THEN r.updated_at END
FROM found WHERE r.run = found.run AND NOT {HAS_OWNER} RETURNING found.former, {SUMMARY}"""

RELEASE = """
UPDATE @.runs r SET owner = NULL, moved_at = updated_at, rest_at = coalesce(finished_at, updated_at)
WHERE r.owner = $1 AND ($2::text[] IS NULL OR r.uid = ANY($2::text[])) RETURNING r.uid"""

DELETE = f"DELETE FROM @.runs r WHERE r.run_id = $1 AND r.uid = $2 AND NOT {HAS_OWNER} RETURNING r.uid"

IS_BEATING = (
    "SELECT clock_timestamp() < expires_at FROM @.kernels WHERE kernel = $1 AND dead_at IS NULL AND closed_at IS NULL"
)

OWNERS_GONE = """
WITH RECURSIVE o (owner) AS (
    (SELECT owner FROM @.runs WHERE owner IS NOT NULL ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT r.owner FROM @.runs r WHERE r.owner > o.owner ORDER BY r.owner LIMIT 1) FROM o
    WHERE o.owner IS NOT NULL)
SELECT owner FROM o WHERE owner IS NOT NULL AND NOT EXISTS (
    SELECT FROM @.kernels k WHERE k.kernel = o.owner AND k.dead_at IS NULL AND k.closed_at IS NULL)"""
"""The owners of runs who are not alive: one look into an index for each owner there is."""

_FIRST = "ORDER BY created_at, run_id LIMIT 1"  # in the order of the index: the planner expects to find one anywhere

HAS_IDLE = f"""
SELECT (SELECT run FROM @.runs WHERE owner IS NULL AND status IN ({_LIVE}) {_FIRST}) IS NOT NULL
    OR EXISTS ({OWNERS_GONE})"""


_FITS = """(definition IS NOT NULL OR workflow = ANY($3::text[])) AND NOT EXISTS (
    SELECT FROM unnest($7::text[], $8::bigint[]) AS u(uid, seq) WHERE u.uid = q.uid AND u.seq = q.seq)"""


async def share_of(statuses: Sequence[str], connection: Connection, *values: Any) -> tuple[int, int]:
    """Return how many runs more this kernel is to have so that all have equally many, and how many there are for each.
    The values are those of `claim_idle`."""
    heir, _, workflows, _, gone, _, *unfit = values
    asked = (heir, list(statuses), workflows, gone, *unfit)
    is_there = await connection.fetch(_IS_FREE, *asked)
    if not is_there[0][0] and not (gone and (await connection.fetch(_IS_LEFT, *asked))[0][0]):
        return 0, 0
    ((alive, mine, owned, idle),) = await connection.fetch(_SHARE, *asked)
    alive = max(1, alive)
    return -(-(owned + idle) // alive) - mine, -(-idle // alive)


_FIT = f"status = ANY($2::text[]) AND {_FITS.replace('$7', '$5').replace('$8', '$6')}"
_FREE = f"FROM @.runs q WHERE owner IS NULL AND status IN ({_LIVE}) AND {_FIT}"
_LEFT = f"FROM @.runs q WHERE owner = ANY($4::text[]) AND {_FIT}"
_IS_FREE = f"SELECT (SELECT run {_FREE} {_FIRST}) IS NOT NULL, $1::text, $4::text[]"
_IS_LEFT = f"SELECT EXISTS (SELECT {_LEFT}), $1::text"
_SHARE = f"""
SELECT (SELECT count(*) FROM @.kernels k WHERE {LIVES} AND k.draining_at IS NULL),
    (SELECT count(*) FROM @.runs WHERE owner = $1),
    (SELECT count(*) FROM @.runs WHERE owner IS NOT NULL AND owner <> ALL($4::text[])
        AND owner NOT IN (SELECT kernel FROM @.kernels WHERE draining_at IS NOT NULL)),
    (SELECT count(*) {_FREE}) + (SELECT count(*) {_LEFT})"""


def claim_idle(statuses: Sequence[str]) -> str:
    """Return the statement that claims runs of statuses $2 with a definition or a workflow of $3, up to $4 of them:
    those without an owner if $6, and those of the owners $5, for the kernel $1; but none with a uid of $7 and the last
    event of $8 beside it."""
    fits = f"status = ANY($2::text[]) AND {_FITS}"
    if set(statuses) <= set(LIVE):
        fits += f" AND status IN ({_LIVE})"  # what the index is partial by
    bounds = "ORDER BY created_at, run_id LIMIT $4 FOR UPDATE SKIP LOCKED"
    return f"""
WITH free AS MATERIALIZED (
    SELECT run, owner, created_at, run_id FROM @.runs q WHERE $6::bool AND owner IS NULL AND {fits} {bounds}),
left_behind AS MATERIALIZED (
    SELECT run, owner, created_at, run_id FROM @.runs q WHERE owner = ANY($5::text[]) AND {fits} {bounds}),
idle AS MATERIALIZED (
    SELECT run, owner FROM (SELECT * FROM free UNION ALL SELECT * FROM left_behind) AS f
    ORDER BY created_at, run_id LIMIT $4)
UPDATE @.runs r SET owner = $1, token = token + 1, rest_at = NULL,
    moved_at = CASE WHEN r.status <> 'running' THEN r.updated_at END
FROM idle WHERE r.run = idle.run RETURNING idle.owner, {SUMMARY}"""


DUE = f"""
SELECT {SUMMARY} FROM @.runs r WHERE r.owner = $1 AND r.wake_at IS NOT NULL ORDER BY r.wake_at, r.run_id LIMIT $2"""

# -- the inbox ----------------------------------------------------------------------------------------------------

_FOR_POST = f"SELECT r.run, {SUMMARY} FROM @.runs r WHERE r.run_id = $1 FOR SHARE"
_POST = "INSERT INTO @.inbox (run, kind, body, at, checksum) VALUES ($1, $2, $3, $4, $5)"

TAKE = f"""
SELECT {REQUEST} FROM @.inbox i JOIN @.runs r ON r.run = i.run WHERE r.owner = $1 ORDER BY i.id"""

PAUSED_WITH = f"""
SELECT DISTINCT r.run_id, r.uid FROM @.inbox i JOIN @.runs r ON r.run = i.run
WHERE i.kind = $1 AND r.status = '{RunStatus.PAUSED}' AND r.owner IS NULL"""

DISCARD = """
DELETE FROM @.inbox i USING @.runs r WHERE r.run = i.run AND r.uid = $1 AND i.id = ANY($2::bigint[])"""

_REQUESTS = f"""
SELECT r.uid, f.* FROM @.runs r LEFT JOIN LATERAL (
    SELECT {REQUEST} FROM @.inbox i WHERE i.run = r.run
) AS f ON true WHERE r.run_id = $1 ORDER BY f.id"""

NOTIFY = "SELECT pg_notify($1, '')"
"""In a transaction of its own: a commit that notifies holds a lock of the whole cluster until it is on disk."""


async def post(run_id: str, request: Request, store: str, connection: Connection) -> RunSummary:
    """Leave a request, and return the run as it was at that moment. Raises RunNotFoundError."""
    async with connection.transaction():
        found = await connection.fetch(_FOR_POST, run_id)
        if not found:
            raise RunNotFoundError(run_id, store)
        run, *columns = found[0]
        summary = rows.summary_of(columns)
        if summary.status not in FINAL:
            checksum = rows.request_checksum(summary.uid, *request)
            await connection.fetch(_POST, run, *request, checksum)
    return summary


# -- reading ------------------------------------------------------------------------------------------------------

DEFINITION = f"SELECT {rows.DEFINITION} FROM @.definitions d WHERE d.digest = $1"

DEFINITIONS_BY_NAME = (
    f"SELECT {rows.DEFINITION} FROM @.definitions d WHERE starts_with(d.digest, $1) "
    "ORDER BY convert_to(d.workflow, 'UTF8')"
)

REPLACE_DEFINITION = """
INSERT INTO @.definitions VALUES ($1, $2, $3, $4, $5) ON CONFLICT (digest) DO UPDATE SET
    workflow = excluded.workflow, version = excluded.version, text = excluded.text, checksum = excluded.checksum"""

DELETE_DEFINITION = "DELETE FROM @.definitions WHERE digest = $1 RETURNING digest"

_EVENTS = f"""
SELECT r.uid, r.seq, e.* FROM @.runs r LEFT JOIN LATERAL (
    SELECT {EVENT} FROM @.events e WHERE e.run = r.run AND e.seq > $2 ORDER BY e.seq LIMIT $3
) AS e ON true WHERE r.run_id = $1 ORDER BY e.seq"""

UNSAFE_SECONDS = 0.25
"""So long a reader of all events waits for transactions that are older than what is there: they take moments, and a
longer one of somebody else must not keep him."""

_UNSAFE_PAUSE_SECONDS = 0.002

_FIND_ALL = f"SELECT r.run, {SUMMARY} FROM @.runs r WHERE r.run_id = ANY($1::text[])"
_REQUESTS_OF_ALL = f"""
SELECT i.run, {REQUEST} FROM @.inbox i JOIN @.runs r ON r.run = i.run WHERE i.run = ANY($1::bigint[]) ORDER BY i.id"""
_EVENTS_OF_ALL = f"""
SELECT e.run, {EVENT} FROM @.events e WHERE e.run = ANY($1::bigint[]) AND e.seq <= $2 ORDER BY e.run, e.seq"""


async def find(run_id: str, store: str, connection: Connection) -> RunSummary:
    """Return the summary of a run; raises RunNotFoundError, Damaged."""
    found = await connection.fetch(FIND, run_id)
    if not found:
        raise RunNotFoundError(run_id, store)
    return rows.summary_of(found[0])


async def events(
    run_id: str, uid: str, after_seq: int, limit: int, store: str, connection: Connection
) -> list[EventRow]:
    """Return rows of a journal. Raises RunNotFoundError, RunReplacedError, Damaged."""
    found = await connection.fetch(_EVENTS, run_id, after_seq, limit)
    if not found:
        raise RunNotFoundError(run_id, store)
    if found[0][0] != uid:
        raise RunReplacedError(run_id)
    journal = [row[2:] for row in map(tuple, found) if row[2] is not None]
    return rows.journal_of(run_id, uid, found[0][1], after_seq, journal, limit)


async def requests(run_id: str, uid: str, store: str, connection: Connection) -> list[Posted]:
    """Return what waits in the inbox of a run. Raises RunNotFoundError, RunReplacedError, Damaged."""
    found = [tuple(row) for row in await connection.fetch(_REQUESTS, run_id)]
    if not found:
        raise RunNotFoundError(run_id, store)
    if found[0][0] != uid:
        raise RunReplacedError(run_id)
    return rows.posted_of([row[1:] for row in found if row[1] is not None])


async def identity(connection: Connection) -> str:
    """Return what tells this store from every other."""
    ((identity,),) = await connection.fetch(listing.IDENTITY)
    return str(identity)


async def last_position(connection: Connection) -> int:
    """Return the position of the last event that was ever committed, as far as none can appear before it."""
    give_up_at = time.monotonic() + UNSAFE_SECONDS
    while True:
        ((position, is_more),) = await connection.fetch(journal.LAST_POSITION)
        if not is_more or time.monotonic() >= give_up_at:
            return int(position)
        await anyio.sleep(_UNSAFE_PAUSE_SECONDS)


async def changes(after: int, limit: int, connection: Connection) -> list[Change]:
    """Return events of all runs behind a position, in order."""
    give_up_at = time.monotonic() + UNSAFE_SECONDS
    while True:
        found = [tuple(row) for row in await connection.fetch(journal.CHANGES, after, limit)]
        safe = list(itertools.takewhile(itemgetter(1), found))
        if safe or not found or time.monotonic() >= give_up_at:
            return [rows.change_of(position, run_id, uid, columns) for position, _, run_id, uid, *columns in safe]
        await anyio.sleep(_UNSAFE_PAUSE_SECONDS)


async def read_runs(run_ids: Sequence[str], limit: int, store: str, connection: Connection) -> list[FoundRun]:
    """Return what `StateBackend.read_runs` does, all of it of one moment."""
    found: list[FoundRun] = []
    size = 0
    async with connection.transaction(snapshot=True):
        for start in range(0, len(run_ids), RUNS_AT_ONCE):
            if size > READ_BYTES:
                break
            part = run_ids[start : start + RUNS_AT_ONCE]
            for run in await _read_some(part, limit, store, connection):
                if size > READ_BYTES:
                    break
                found.append(run)
                size += size_of_rows(run.events) if isinstance(run, StoredRun) else 0
    return found


async def _read_some(run_ids: Sequence[str], limit: int, store: str, connection: Connection) -> list[FoundRun]:
    by_id = {row[1]: tuple(row) for row in await connection.fetch(_FIND_ALL, list(run_ids))}
    keys = [row[0] for row in by_id.values()]
    requests = _grouped(await connection.fetch(_REQUESTS_OF_ALL, keys))
    journals = _grouped(await connection.fetch(_EVENTS_OF_ALL, keys, limit)) if limit else {}
    found: list[FoundRun] = []
    for run_id in run_ids:
        if (row := by_id.get(run_id)) is None:
            found.append(RunNotFoundError(run_id, store))
            continue
        try:
            summary = rows.summary_of(row[1:])
            journal = rows.journal_of(run_id, summary.uid, summary.seq, 0, journals.get(row[0], ()), limit)
            posted: Sequence[Posted] = rows.posted_of(requests.get(row[0], ()))
            found.append(StoredRun(summary, journal, posted))
        except Damaged as error:
            found.append(damage(store, str(error)))
    return found


def _grouped(found: Sequence[Row]) -> dict[int, list[Row]]:
    """Return rows by their first column, without it."""
    groups: dict[int, list[Row]] = {}
    for key, *row in found:
        groups.setdefault(key, []).append(row)
    return groups


def damage(store: str, problem: str) -> CorruptStoreError:
    """Return the error for a row that is not what was written."""
    return CorruptStoreError(store, problem, ["flujoctl db check", "restore a backup with the tools of the database"])
