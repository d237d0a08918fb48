"""Reading: one statement per question, each through an index, all rows fetched at once.

A cursor left open would keep the WAL from being truncated for as long as a slow caller likes, so there are none.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from flujo.backends.pages import Position
from flujo.kernel.backend import Order, Posted, Request, RunFilter, RunSummary, StoredDefinition
from flujo.kernel.events import EventRow

SUMMARY = ", ".join(RunSummary._fields)
_EVENT = ", ".join(EventRow._fields)
_BIGGEST = "\U0010ffff"

_Condition = tuple[str, Sequence[Any]]
"""A part of a WHERE clause and its parameters."""


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


def newest_runs(filter: RunFilter, order: Order, limit: int, below: Position | None) -> Statement:
    """Summaries, newest first."""
    instant = "created_at" if order is Order.CREATED else "updated_at"
    beyond: list[_Condition] = [] if below is None else [(f"({instant}, run_id) < (?, ?)", below)]
    return _in_order(SUMMARY, filter, beyond, f"{instant} DESC, run_id DESC", limit)


def requests_to(run: int) -> Statement:
    """(id, uid, kind, body, at) of the open requests to a run."""
    sql = "SELECT id, uid, kind, body, at FROM inbox JOIN runs USING (run) WHERE run = ? ORDER BY id"
    return Statement(sql, (run,))


def size_of(uid: str) -> Statement:
    """One row: the bytes of the bodies and payloads of a journal."""
    size = "length(CAST(body AS BLOB)) + coalesce(length(CAST(payload AS BLOB)), 0)"
    return Statement(
        f"SELECT coalesce(sum({size}), 0) FROM events WHERE run = (SELECT run FROM runs WHERE uid = ?)", (uid,)
    )


def idle_runs(owners: Sequence[str], statuses: Sequence[str], workflows: Sequence[str], limit: int) -> Statement:
    """(run, *summary) of runs in one of these statuses that none of `owners` has, and that have a definition or one of
    these workflows; oldest first."""
    sql = (
        f"SELECT run, {SUMMARY} FROM runs WHERE status IN (SELECT value FROM json_each(?)) "
        "AND (owner IS NULL OR owner NOT IN (SELECT value FROM json_each(?))) "
        "AND (definition IS NOT NULL OR workflow IN (SELECT value FROM json_each(?))) "
        "ORDER BY created_at, run_id LIMIT ?"
    )
    return Statement(sql, (json.dumps(list(statuses)), json.dumps(list(owners)), json.dumps(list(workflows)), limit))


def runs_by_wake(owner: str, limit: int) -> Statement:
    """Summaries of the runs of an owner that wait for an instant, soonest first."""
    sql = f"SELECT {SUMMARY} FROM runs WHERE owner = ? AND wake_at IS NOT NULL ORDER BY wake_at LIMIT ?"
    return Statement(sql, (owner, limit))


def number_of_runs(filter: RunFilter) -> Statement:
    """One row: how many match."""
    conditions = _conditions(filter)
    if filter.statuses:
        conditions.append(("status IN (SELECT value FROM json_each(?))", (json.dumps(list(filter.statuses)),)))
    return _where("SELECT count(*) FROM runs", conditions)


def _in_order(columns: str, filter: RunFilter, beyond: Sequence[_Condition], order: str, limit: int) -> Statement:
    """A page. Each status is read in the order of its own index; SQLite merges them and stops when the page is full."""
    conditions = [*beyond, *_conditions(filter, created_at="+created_at" if beyond else "created_at")]
    if filter.statuses:
        parts = [
            _where(f"SELECT {columns} FROM runs", [("status = ?", (status,)), *conditions])
            for status in dict.fromkeys(filter.statuses)
        ]
    else:
        parts = [_where(f"SELECT {columns} FROM runs", conditions)]
    sql = f"{' UNION ALL '.join(part.sql for part in parts)} ORDER BY {order} LIMIT ?"
    return Statement(sql, [*(value for part in parts for value in part.parameters), limit])


def _conditions(filter: RunFilter, created_at: str = "created_at") -> list[_Condition]:
    """What a filter asks for, apart from the status. A plus before `created_at` keeps its index out of this.

    A page after the first has to begin where the last one ended, and not at `created_before`.
    """
    conditions: list[_Condition] = []
    if filter.workflow is not None:
        conditions.append(("workflow = ?", (filter.workflow,)))
    if filter.id_prefix:
        prefix = filter.id_prefix
        conditions.append(("run_id COLLATE NOCASE BETWEEN ? AND ?", (prefix, prefix + _BIGGEST)))
        conditions.append(("substr(run_id, 1, ?) = ?", (len(prefix), prefix)))
    has_label = "EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ? AND value = ?)"
    conditions.extend((has_label, label) for label in filter.labels)
    ranges = [
        (created_at, filter.created_from, filter.created_before),
        ("updated_at", filter.updated_from, filter.updated_before),
        ("finished_at", filter.finished_from, filter.finished_before),
    ]
    for instant, start, end in ranges:
        if start is not None:
            conditions.append((f"{instant} >= ?", (start,)))
        if end is not None:
            conditions.append((f"{instant} < ?", (end,)))
    if filter.failed_step is not None:
        conditions.append(("failed_step = ?", (filter.failed_step,)))
    if filter.parent is not None:
        conditions.append(("parent_run_id = ?", (filter.parent,)))
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
