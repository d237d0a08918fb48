"""What runs add up to, by workflow: what `selection.tally` says, without a summary leaving SQLite."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from flujo.backends.selection import most_first, rank
from flujo.kernel.backend import WorkflowStats
from flujo.kernel.state import FINAL, RunStatus

from . import removals
from .queries import Statement

_INDEX = "runs INDEXED BY runs_by_workflow_and_status"
_TOOK = "max(0, finished_at - coalesce(started_at, created_at))"


class _Alike(NamedTuple):
    """Runs of one workflow in one status."""

    workflow: str
    status: str
    number: int
    created: int
    finished: int
    retried: int


def read(since: int, workflow: str | None, connection: sqlite3.Connection) -> Sequence[WorkflowStats]:
    """Return what the runs of each workflow, or of one, add up to, in the order of their names."""
    by_workflow: defaultdict[str, list[_Alike]] = defaultdict(list)
    for row in runs_alike(since, workflow).rows(connection):
        if row[1] == removals.REMOVED or not (isinstance(row[0], str) and isinstance(row[1], str)):
            continue  # the latter of a damaged row, which `check` names
        by_workflow[row[0]].append(_Alike(*row))
    return [_stats_of(name, found, since, connection) for name, found in sorted(by_workflow.items())]


def _stats_of(workflow: str, found: Sequence[_Alike], since: int, connection: sqlite3.Connection) -> WorkflowStats:
    ended = [alike for alike in found if alike.status in FINAL and alike.finished]
    completed = sum(alike.finished for alike in ended if alike.status == RunStatus.COMPLETED)
    p50 = p95 = longest = None
    if completed:
        places = rank(50, completed), rank(95, completed), completed - 1
        p50, p95, longest = _at(places, connection.execute(*durations(since, workflow)))
    return WorkflowStats(
        workflow=workflow,
        runs={alike.status: alike.number for alike in found},
        created=sum(alike.created for alike in found),
        ended={alike.status: alike.finished for alike in ended},
        retried=sum(alike.retried for alike in ended),
        failed_steps=most_first({str(step): number for step, number in failed_steps(since, workflow).rows(connection)}),
        p50=p50,
        p95=p95,
        longest=longest,
    )


def _at(places: Sequence[int], rows: Iterable[tuple[int]]) -> Sequence[int]:
    """Return the values at these places. Rows go by one at a time, because there may be very many."""
    found = {place: value for place, (value,) in enumerate(rows) if place in places}
    return [found[place] for place in places]


# -- statements ---------------------------------------------------------------------------------------------------


def runs_alike(since: int, workflow: str | None) -> Statement:
    """(workflow, status, how many are stored, were created since, finished since, did that and had tried again)."""
    which, values = ("", ()) if workflow is None else ("WHERE workflow = ? ", (workflow,))
    sql = (
        "SELECT workflow, status, count(*), sum(created_at >= ?), "
        "coalesce(sum(finished_at >= ?), 0), coalesce(sum(finished_at >= ? AND retries > 0), 0) "
        f"FROM {_INDEX} {which}GROUP BY workflow, status"
    )
    return Statement(sql, (since, since, since, *values))


def failed_steps(since: int, workflow: str) -> Statement:
    """(step, how many runs of a workflow failed in it since)."""
    sql = (
        f"SELECT failed_step, count(*) FROM {_INDEX} WHERE workflow = ? AND status = ? AND finished_at >= ? "
        "AND failed_step IS NOT NULL GROUP BY failed_step"
    )
    return Statement(sql, (workflow, RunStatus.FAILED, since))


def durations(since: int, workflow: str) -> Statement:
    """Return what each completed run took, ascending."""
    sql = f"SELECT {_TOOK} AS took FROM {_INDEX} WHERE workflow = ? AND status = ? AND finished_at >= ? ORDER BY took"
    return Statement(sql, (workflow, RunStatus.COMPLETED, since))
