"""Looking for the run of a workflow that another one must not overlap."""

from __future__ import annotations

from typing import NamedTuple

from flujo.kernel.errors import RunOverlapError
from flujo.kernel.journal.overlap import IN_LINE, Overlap
from flujo.kernel.journal.state import FINAL, UNFINISHED, WorkflowState
from flujo.kernel.journal.summaries import RunSummary

from .backend import StateBackend
from .listing import is_interrupted
from .records import Order, RunFilter


class Other(NamedTuple):
    """Another run of the same workflow, and how it stands: one without a live owner is `interrupted`."""

    summary: RunSummary
    status: str


async def unfinished_run(
    backend: StateBackend, workflow: str, *, but: str | None = None, created_before: int | None = None
) -> Other | None:
    """Return the newest run of a workflow that is not finished, other than the one with the uid `but`, and created
    before an instant if one is given; None if there is none."""
    filter = RunFilter(statuses=UNFINISHED, workflow=workflow, created_before=created_before)
    page = await backend.list(filter, order=Order.CREATED, limit=2)
    other = next((run for run in page.runs if run.uid != but), None)
    if other is None:
        return None
    return Other(other, "interrupted" if await is_interrupted(backend, other) else other.status)


async def ahead_of(backend: StateBackend, state: WorkflowState) -> Other | None:
    """Return the run that this one waits for before it begins; None if it has begun or waits for none."""
    if state.environment.get(IN_LINE) != Overlap.QUEUE or state.started_at is not None or state.status in FINAL:
        return None
    return await unfinished_run(backend, state.workflow, but=state.uid, created_before=state.created_at)


def overlap_of(other: Other, on_overlap: Overlap) -> RunOverlapError:
    """Return the error of a run that another one is in the way of."""
    summary = other.summary
    return RunOverlapError(summary.workflow, summary.run_id, other.status, on_overlap.value)
