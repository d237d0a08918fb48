"""Reading: one statement per question, each through an index, all rows fetched at once.

A cursor left open would keep the WAL from being truncated for as long as a slow caller likes, so there are none.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from flujo.backends.pages import Position
from flujo.kernel.backend import Posted, Request, RunFilter, RunSummary, StoredDefinition
from flujo.kernel.events import EventRow

SUMMARY = ", ".join(RunSummary._fields)
_EVENT = ", ".join(EventRow._fields)
_BIGGEST = "\U0010ffff"


class Statement(NamedTuple):
    """SQL text and what goes into it."""

    sql: str
    parameters: Sequence[Any]

    def rows(self, connection: sqlite3.Connection) -> list[Any]:
        """Every row at once."""
        return connection.execute(self.sql, self.parameters).fetchall()


def find_run(run_id: str) -> Statement:
    """(run, *summary) of one run, by its exact id. The index knows ids regardless of case, so both are compared."""
    sql = f"SELECT run, {SUMMARY} FROM runs WHERE run_id = ? COLLATE NOCASE AND run_id = ?"
    return Statement(sql, (run_id, run_id))


def events_of(run: int, after_seq: int, limit: int) -> Statement:
    """The rows of a journal after one of them, in order."""
    sql = f"SELECT {_EVENT} FROM events WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?"
    return Statement(sql, (run, after_seq, limit))


def requests_for(owner: str) -> Statement:
    """(id, uid, kind, body, at) of the open requests to an owner. CROSS JOIN begins with the inbox, which is short."""
    sql = (
        "SELECT id, uid, kind, body, at FROM inbox CROSS JOIN runs ON runs.run = inbox.run WHERE owner = ? ORDER BY id"
    )
    return Statement(sql, (owner,))


def last_request() -> Statement:
    """The id of the last request that was ever posted, if there was one."""
    return Statement("SELECT seq FROM sqlite_sequence WHERE name = 'inbox'", ())


def definition_of(digest: str) -> Statement:
    """The stored definition."""
    return Statement(f"SELECT {', '.join(StoredDefinition._fields)} FROM definitions WHERE digest = ?", (digest,))


def newest_runs(filter: RunFilter, limit: int, below: Position | None) -> Statement:
    """Summaries, newest first. Each status is read in the order of its own index, and SQLite merges them lazily."""
    parts: list[str] = []
    parameters: list[Any] = []
    for status in dict.fromkeys(filter.statuses) or [None]:
        conditions = _conditions(filter, status)
        if below is not None:
            conditions.append(("(created_at, run_id) < (?, ?)", below))
        part = _where(f"SELECT {SUMMARY} FROM runs", conditions)
        parts.append(part.sql)
        parameters += part.parameters
    sql = f"{' UNION ALL '.join(parts)} ORDER BY created_at DESC, run_id DESC LIMIT ?"
    return Statement(sql, (*parameters, limit))


def oldest_runs_without(owners: Sequence[str], filter: RunFilter, limit: int, above: Position | None) -> Statement:
    """(run, *summary) of runs that none of `owners` has, oldest first."""
    conditions = _conditions(filter, None)
    if filter.statuses:
        conditions.append(("status IN (SELECT value FROM json_each(?))", (json.dumps(list(filter.statuses)),)))
    conditions.append(("(owner IS NULL OR owner NOT IN (SELECT value FROM json_each(?)))", (json.dumps(list(owners)),)))
    if above is not None:
        conditions.append(("(created_at, run_id) > (?, ?)", above))
    sql, parameters = _where(f"SELECT run, {SUMMARY} FROM runs", conditions)
    return Statement(f"{sql} ORDER BY created_at, run_id LIMIT ?", (*parameters, limit))


def number_of_runs(filter: RunFilter) -> Statement:
    """One row: how many match."""
    conditions = _conditions(filter, None)
    if filter.statuses:
        conditions.append(("status IN (SELECT value FROM json_each(?))", (json.dumps(list(filter.statuses)),)))
    return _where("SELECT count(*) FROM runs", conditions)


_Condition = tuple[str, Sequence[Any]]


def _conditions(filter: RunFilter, status: str | None) -> list[_Condition]:
    conditions: list[_Condition] = []
    if status is not None:
        conditions.append(("status = ?", (status,)))
    if filter.workflow is not None:
        conditions.append(("workflow = ?", (filter.workflow,)))
    if filter.id_prefix:
        prefix = filter.id_prefix
        conditions.append(("run_id COLLATE NOCASE BETWEEN ? AND ?", (prefix, prefix + _BIGGEST)))
        conditions.append(("substr(run_id, 1, ?) = ?", (len(prefix), prefix)))
    has_label = "EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ? AND value = ?)"
    conditions.extend((has_label, label) for label in filter.labels)
    if filter.created_before is not None:
        conditions.append(("created_at < ?", (filter.created_before,)))
    if filter.settled_before is not None:
        settled_at = "CASE status WHEN 'paused' THEN updated_at ELSE finished_at END"
        conditions.append((f"{settled_at} < ?", (filter.settled_before,)))
    if filter.owner is not None:
        conditions.append(("owner = ?", (filter.owner,)))
    return conditions


def _where(select: str, conditions: Sequence[_Condition]) -> Statement:
    if not conditions:
        return Statement(select, ())
    clause = " AND ".join(sql for sql, _ in conditions)
    return Statement(f"{select} WHERE {clause}", [value for _, values in conditions for value in values])


def to_posted(row: Sequence[Any]) -> Posted:
    """A row of `requests_for` as a value."""
    id, uid, *request = row
    return Posted(id, uid, Request(*request))
