"""Reading: one statement per question, each through an index, all rows fetched at once.

A cursor left open would keep the WAL from being truncated for as long as a slow caller likes, so there are none. What
chooses among many runs is in `listing`, what adds them up in `statistics`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from flujo.kernel.backend import Posted, Request, RunSummary, StoredDefinition
from flujo.kernel.events import EventRow

from . import blobs

SUMMARY = ", ".join(RunSummary._fields)
_EVENT = ", ".join(blobs.PAYLOAD if name == "payload" else name for name in EventRow._fields)


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


def requests_to(run: int) -> Statement:
    """(id, uid, kind, body, at) of the open requests to a run."""
    sql = "SELECT id, uid, kind, body, at FROM inbox JOIN runs USING (run) WHERE run = ? ORDER BY id"
    return Statement(sql, (run,))


def last_request() -> Statement:
    """The id of the last request that was ever posted, if there was one."""
    return Statement("SELECT seq FROM sqlite_sequence WHERE name = 'inbox'", ())


def definition_of(digest: str) -> Statement:
    """The stored definition."""
    return Statement(f"SELECT {', '.join(StoredDefinition._fields)} FROM definitions WHERE digest = ?", (digest,))


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


def to_posted(row: Sequence[Any]) -> Posted:
    """A row of `requests_for` as a value."""
    id, uid, *request = row
    return Posted(id, uid, Request(*request))
