"""What runs add up to, by workflow: what `selection.tally` says, in two questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from flujo.backends.selection import most_first
from flujo.kernel.backend import WorkflowStats
from flujo.kernel.state import FINAL, RunStatus

from .connection import Connection

_OF_ONE = "($2::text IS NULL OR r.workflow = $2)"
_TOOK = "greatest(0, r.finished_at - coalesce(r.started_at, r.created_at))"
_ALIKE = f"""
SELECT r.workflow, r.status, count(*), count(*) FILTER (WHERE r.created_at >= $1),
    count(*) FILTER (WHERE r.finished_at >= $1), count(*) FILTER (WHERE r.finished_at >= $1 AND r.retries > 0),
    percentile_disc(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY {_TOOK})
        FILTER (WHERE r.finished_at >= $1 AND r.status = '{RunStatus.COMPLETED}')
FROM @.runs r WHERE {_OF_ONE} GROUP BY r.workflow, r.status ORDER BY r.workflow"""
_FAILED = f"""
SELECT r.workflow, r.failed_step, count(*) FROM @.runs r
WHERE {_OF_ONE} AND r.status = '{RunStatus.FAILED}' AND r.finished_at >= $1 AND r.failed_step IS NOT NULL
GROUP BY r.workflow, r.failed_step"""


async def read(since: int, workflow: str | None, connection: Connection) -> Sequence[WorkflowStats]:
    """Return what the runs of each workflow, or of one, add up to, in the order of their names."""
    by_workflow: defaultdict[str, list[Sequence[Any]]] = defaultdict(list)
    failed: defaultdict[str, dict[str, int]] = defaultdict(dict)
    async with connection.transaction(snapshot=True):
        for name, *alike in await connection.fetch(_ALIKE, since, workflow, timeout=None):
            by_workflow[name].append(alike)
        for name, step, number in await connection.fetch(_FAILED, since, workflow, timeout=None):
            failed[name][step] = number
    return [_stats_of(name, alike, failed[name]) for name, alike in sorted(by_workflow.items())]


def _stats_of(workflow: str, alike: Sequence[Sequence[Any]], failed_steps: dict[str, int]) -> WorkflowStats:
    ended = [each for each in alike if each[0] in FINAL and each[3]]
    took = next((each[5] for each in alike if each[5] is not None), (None, None, None))
    return WorkflowStats(
        workflow=workflow,
        runs={status: number for status, number, *_ in alike},
        created=sum(each[2] for each in alike),
        ended={each[0]: each[3] for each in ended},
        retried=sum(each[4] for each in ended),
        failed_steps=most_first(failed_steps),
        p50=took[0],
        p95=took[1],
        longest=took[2],
    )
