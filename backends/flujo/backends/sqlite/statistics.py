"""What runs add up to, by workflow: what `selection.tally` says, without a summary leaving SQLite."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from flujo.backends.selection import most_first, rank
from flujo.kernel.backend import WorkflowStats
from flujo.kernel.state import FINAL, RunStatus

from .queries import Statement

_TOOK = "max(0, finished_at - coalesce(started_at, created_at))"


class _Ended(NamedTuple):
    """Runs that ended alike."""

    workflow: str
    status: str
    failed_step: str | None
    number: int
    retried: int


def read(since: int, workflow: str | None, connection: sqlite3.Connection) -> Sequence[WorkflowStats]:
    """What the runs of each workflow, or of one, add up to, in the order of their names."""
    runs: defaultdict[str, dict[str, int]] = defaultdict(dict)
    created: Counter[str] = Counter()
    for name, status, number, new in stored(since, workflow).rows(connection):
        runs[name][status] = number
        created[name] += new
    ended: defaultdict[str, list[_Ended]] = defaultdict(list)
    for row in ended_since(since, workflow).rows(connection):
        ended[row[0]].append(_Ended(*row))
    found: list[WorkflowStats] = []
    for name in sorted(runs):
        completed = sum(alike.number for alike in ended[name] if alike.status == RunStatus.COMPLETED)
        durations = spread_of(since, name, completed).rows(connection) if completed else [(None,)] * 3
        found.append(_stats_of(name, runs[name], created[name], ended[name], [took for (took,) in durations]))
    return found


def _stats_of(
    workflow: str, runs: dict[str, int], created: int, ended: Sequence[_Ended], durations: Sequence[int | None]
) -> WorkflowStats:
    by_status: Counter[str] = Counter()
    failed_steps: Counter[str] = Counter()
    for alike in ended:
        by_status[alike.status] += alike.number
        if alike.status == RunStatus.FAILED and alike.failed_step is not None:
            failed_steps[alike.failed_step] += alike.number
    retried = sum(alike.retried for alike in ended)
    return WorkflowStats(workflow, runs, created, by_status, retried, most_first(failed_steps), *durations)


# -- statements ---------------------------------------------------------------------------------------------------


def stored(since: int, workflow: str | None) -> Statement:
    """(workflow, status, how many are stored, how many of them were created since), all from one index."""
    which, values = ("", ()) if workflow is None else ("WHERE workflow = ? ", (workflow,))
    sql = (
        "SELECT workflow, status, count(*), sum(created_at >= ?) FROM runs INDEXED BY runs_by_workflow_and_status "
        f"{which}GROUP BY workflow, status"
    )
    return Statement(sql, (since, *values))


def ended_since(since: int, workflow: str | None) -> Statement:
    """(workflow, status, failed_step, how many ended since, how many of them had tried a step again)."""
    ended = _ended("workflow, status, failed_step, retries", since, FINAL, workflow)
    sql = (
        f"SELECT workflow, status, failed_step, count(*), sum(retries > 0) FROM ({ended.sql}) "
        "GROUP BY workflow, status, failed_step"
    )
    return Statement(sql, ended.parameters)


def spread_of(since: int, workflow: str, number: int) -> Statement:
    """Three rows: `p50`, `p95` and the longest of what so many completed runs took."""
    took = _ended(f"{_TOOK} AS took", since, (RunStatus.COMPLETED,), workflow)
    places = rank(50, number), rank(95, number), number - 1
    sql = (
        f"SELECT took FROM (SELECT took, row_number() OVER (ORDER BY took) - 1 AS place FROM ({took.sql})) "
        "JOIN (SELECT column1 AS wanted FROM (VALUES (?), (?), (?))) ON place = wanted ORDER BY place"
    )
    return Statement(sql, (*took.parameters, *places))


def _ended(columns: str, since: int, statuses: Iterable[str], workflow: str | None) -> Statement:
    """These columns of the runs that ended since; those that have an owner are not in the first index."""
    chosen = sorted(statuses)
    tests = f"finished_at >= ? AND status IN ({', '.join('?' * len(chosen))})"
    values: list[Any] = [since, *chosen]
    if workflow is not None:
        tests += " AND +workflow = ?"
        values.append(workflow)
    sql = (
        f"SELECT {columns} FROM runs INDEXED BY runs_by_rest "
        f"WHERE owner IS NULL AND coalesce(finished_at, updated_at) >= ? AND {tests} "
        f"UNION ALL SELECT {columns} FROM runs INDEXED BY runs_by_owner WHERE owner IS NOT NULL AND {tests}"
    )
    return Statement(sql, [since, *values, *values])
