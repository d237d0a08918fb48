"""Reading: one statement per question, each through an index, all rows fetched at once.

A cursor left open would keep the WAL from being truncated for as long as a slow caller likes, so there are none. What
chooses among many runs is in `listing`, what adds them up in `statistics`.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from flujo.backends import row_damage
from flujo.kernel.backend import (
    READ_BYTES,
    WORKFLOW_KEYS,
    FoundRun,
    RunSummary,
    StoredDefinition,
    StoredRun,
    size_of_rows,
)
from flujo.kernel.errors import RunNotFoundError
from flujo.kernel.state import RunStatus

from . import blobs, checksums, removals, segments
from .connection import damage_error, is_damage

logger = logging.getLogger("flujo.backends.sqlite")

_EVENT = checksums.EVENT.replace("events.payload", blobs.PAYLOAD)


class Statement(NamedTuple):
    """SQL text and what goes into it."""

    sql: str
    parameters: Sequence[Any]

    def rows(self, connection: sqlite3.Connection) -> list[Any]:
        """Return every row at once."""
        return connection.execute(self.sql, self.parameters).fetchall()


def find_run(run_id: str) -> Statement:
    """(run, *summary) of one run, by its exact id. The index knows ids regardless of case, so both are compared."""
    sql = f"SELECT run, {checksums.SUMMARY} FROM runs WHERE run_id = ? COLLATE NOCASE AND run_id = ?"
    return Statement(sql, (run_id, run_id))


def events_of(run: int, after_seq: int, limit: int) -> Statement:
    """Return the rows of a journal after one of them, in order, as `checksums.journal_of` takes them."""
    sql = (
        f"SELECT {_EVENT} FROM {segments.JOURNALS} "
        f"WHERE run_segments.run = ? AND run_segments.segment >= {segments.BEGINS_AT} AND events.seq > ? "
        "ORDER BY run_segments.segment, events.seq LIMIT ?"
    )
    return Statement(sql, (run, run, after_seq + 1, after_seq, limit))


def changes_after(position: int, limit: int) -> Statement:
    """(pos, run_id, uid, *event) of the events of all runs after a position, in their order, as
    `checksums.change_of` takes them; without what is left of runs that are being removed."""
    sql = (
        f"SELECT pos, run_id, uid, {_EVENT} FROM events CROSS JOIN runs ON runs.run = events.run "
        f"WHERE runs.status <> '{removals.REMOVED}' AND pos > ? ORDER BY pos LIMIT ?"
    )
    return Statement(sql, (position, limit))


def read_runs(store: str, run_ids: Sequence[str], events: int, connection: sqlite3.Connection) -> list[FoundRun]:
    """Return what `StateBackend.read_runs` does, in one transaction."""
    rows = {row[1]: row for row in find_runs(run_ids).rows(connection)}
    waited_for = {run for (run,) in runs_with_requests([row[0] for row in rows.values()]).rows(connection)}
    found: list[FoundRun] = []
    size = 0
    for run_id in run_ids:
        if size > READ_BYTES:
            break
        if (row := rows.get(run_id)) is None:
            found.append(RunNotFoundError(run_id, store))
            continue
        run, *columns = row
        try:
            summary = checksums.summary_of(columns)
            journal = events_of(run, 0, events).rows(connection) if events else ()
            stored = checksums.journal_of(summary, 0, journal, events)
            posted = checksums.posted_of(requests_to(run).rows(connection)) if run in waited_for else ()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            found.append(damage_error(store, error))
        else:
            found.append(StoredRun(summary, stored, posted))
            size += size_of_rows(stored)
    return found


def find_runs(run_ids: Sequence[str]) -> Statement:
    """(run, *summary) of some runs, and of those whose ids differ from these in case."""
    chosen = "run_id COLLATE NOCASE IN (SELECT value FROM json_each(?))"
    return Statement(f"SELECT run, {checksums.SUMMARY} FROM runs WHERE {chosen}", (json.dumps(run_ids),))


def runs_with_requests(runs: Sequence[int]) -> Statement:
    """(run) of those of some runs that have open requests."""
    chosen = "run IN (SELECT value FROM json_each(?))"
    return Statement(f"SELECT DISTINCT run FROM inbox WHERE {chosen}", (json.dumps(runs),))


def discard(uid: str, ids: Collection[int], connection: sqlite3.Connection) -> None:
    """Remove requests from the inbox of a run."""
    mine = "run = (SELECT run FROM runs WHERE uid = ?)"
    connection.execute(
        f"DELETE FROM inbox WHERE id IN (SELECT value FROM json_each(?)) AND {mine}", (json.dumps(list(ids)), uid)
    )


def requests_for(owner: str) -> Statement:
    """Return the open requests to an owner, as `checksums.posted_of` takes them. CROSS JOIN begins with the inbox,
    which is short."""
    sql = f"SELECT {checksums.REQUEST} FROM inbox CROSS JOIN runs ON runs.run = inbox.run WHERE owner = ? ORDER BY id"
    return Statement(sql, (owner,))


def requests_to(run: int) -> Statement:
    """Return the open requests to a run, as `checksums.posted_of` takes them."""
    sql = f"SELECT {checksums.REQUEST} FROM inbox JOIN runs USING (run) WHERE run = ? ORDER BY id"
    return Statement(sql, (run,))


def paused_with(kind: str) -> Statement:
    """Return (run_id, uid) of the paused runs without an owner that have an open request of this kind. CROSS JOIN
    begins with the inbox, as above."""
    idle = f"status = '{RunStatus.PAUSED}' AND owner IS NULL"
    sql = f"SELECT DISTINCT run_id, uid FROM inbox CROSS JOIN runs ON runs.run = inbox.run WHERE kind = ? AND {idle}"
    return Statement(sql, (kind,))


def next_request() -> Statement:
    """Return the id of the request that is posted next. What was given out once is never given out again."""
    given_out = "SELECT seq FROM sqlite_sequence WHERE name = 'inbox'"
    return Statement(f"SELECT max(ifnull((SELECT max(id) FROM inbox), 0), ifnull(({given_out}), 0)) + 1", ())


def last_request() -> Statement:
    """Return the id of the last request that was ever posted, if there was one."""
    return Statement("SELECT seq FROM sqlite_sequence WHERE name = 'inbox'", ())


def definition_of(digest: str) -> Statement:
    """Return the stored definition, as `checksums.definition_of` takes it."""
    return Statement(f"SELECT {checksums.DEFINITION} FROM definitions WHERE digest = ?", (digest,))


def definitions_by_name() -> Statement:
    """Return the definitions that are stored under the names of their workflows, as `checksums.definition_of` takes
    them."""
    sql = f"SELECT {checksums.DEFINITION} FROM definitions WHERE digest GLOB ? ORDER BY workflow"
    return Statement(sql, (f"{WORKFLOW_KEYS}*",))


def replace_definition(definition: StoredDefinition) -> Statement:
    """Return what stores a definition in the place of what is under its key."""
    values = (*definition, checksums.of_values(*definition))
    return Statement("INSERT OR REPLACE INTO definitions VALUES (?, ?, ?, ?, ?)", values)


def delete_definition(digest: str) -> Statement:
    """Return what removes a definition; it returns a row if there was one."""
    return Statement("DELETE FROM definitions WHERE digest = ? RETURNING digest", (digest,))


def idle_runs(
    alive: Sequence[str], statuses: Sequence[str], workflows: Sequence[str], limit: int, owner: str | None = None
) -> Statement:
    """(run, *summary) of runs in one of these statuses that no owner `alive` has, and that have a definition or one of
    these workflows, oldest first; with `owner` only the runs of that one."""
    sql = (
        f"SELECT run, {checksums.SUMMARY} FROM runs WHERE status IN (SELECT value FROM json_each(?)) "
        "AND (owner IS NULL OR owner NOT IN (SELECT value FROM json_each(?))) "
        "AND (definition IS NOT NULL OR workflow IN (SELECT value FROM json_each(?))) "
        f"{'' if owner is None else 'AND owner = ? '}ORDER BY created_at, run_id LIMIT ?"
    )
    lists = (json.dumps(list(each)) for each in (statuses, alive, workflows))
    return Statement(sql, (*lists, *(() if owner is None else (owner,)), limit))


def sound_idle_runs(
    idle: Callable[[int], Statement], limit: int, connection: sqlite3.Connection
) -> list[tuple[int, RunSummary]]:
    """Return (run, summary) of up to `limit` of the `idle` runs. Damaged ones stay, for `check` to name."""
    asked = limit
    while True:
        rows = idle(asked).rows(connection)
        sound = row_damage.sound(_with_key, rows, checksums.DamagedRow, logger)
        if len(rows) < asked or len(sound) >= limit:
            return sound[:limit]
        asked += len(rows) - len(sound)


def _with_key(row: Sequence[Any]) -> tuple[int, RunSummary]:
    run, *summary = row
    return run, checksums.summary_of(summary)


def change_owner(run: int, summary: RunSummary) -> Statement:
    """Write the owner and the token of a summary."""
    values = summary.owner, summary.token, checksums.of_summary(summary), run
    return Statement("UPDATE runs SET owner = ?, token = ?, checksum = ? WHERE run = ?", values)


DISOWN = f"UPDATE runs SET owner = NULL, checksum = {checksums.with_ownership('NULL', 'token')}"
"""The runs of a WHERE clause have no owner from now on. Needs `checksums.register`."""


def runs_by_wake(owner: str, limit: int) -> Statement:
    """Summaries of the runs of an owner that wait for an instant, soonest first."""
    sql = f"SELECT {checksums.SUMMARY} FROM runs WHERE owner = ? AND wake_at IS NOT NULL ORDER BY wake_at LIMIT ?"
    return Statement(sql, (owner, limit))
