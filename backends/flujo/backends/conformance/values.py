"""Runs, commits and definitions to store, and short words for storing and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from flujo.kernel.backend import (
    Commit,
    EventRow,
    Order,
    RunFilter,
    RunSummary,
    StateBackend,
    StoredDefinition,
)

_uids = count(1)


def event(seq: int, type: str = "step_started", payload: str | None = None) -> EventRow:
    """Return a row of a journal."""
    return EventRow(seq, 1_000 + seq, type, 1, f'{{"step":"s{seq}"}}', payload)


def creation(run_id: str, owner: str | None = "one", brings: StoredDefinition | None = None, **fields: Any) -> Commit:
    """Return a commit that creates a run with one event; `fields` replace what its summary says."""
    summary = RunSummary(
        run_id=run_id,
        uid=f"uid{next(_uids)}",
        workflow="report",
        version=None,
        status="running",
        seq=1,
        owner=owner,
        token=1,
        labels="{}",
        created_at=1_000,
        started_at=None,
        updated_at=1_000,
        finished_at=None,
        wake_at=None,
        current_step=None,
        failed_step=None,
        error_type=None,
        error_message=None,
        steps_done=0,
        steps_total=None,
        retries=0,
        resume_count=0,
        parent_run_id=None,
        definition=None,
    )._replace(**fields)
    rows = (event(1, "run_created", '{"day":1}'),)
    return Commit(run_id, summary.uid, summary.token, 0, rows, summary, definition=brings)


def following(summary: RunSummary, events: int = 1, taken: Sequence[int] = (), **fields: Any) -> Commit:
    """Return a commit that adds events to the run whose summary this is."""
    last = summary.seq + events
    rows = tuple(event(seq) for seq in range(summary.seq + 1, last + 1))
    after = summary._replace(seq=last, updated_at=1_000 + last, **fields)
    return Commit(summary.run_id, summary.uid, summary.token, summary.seq, rows, after, taken)


def settled(run_id: str, at: int, **fields: Any) -> Commit:
    """Return a commit that creates a run which nobody has to advance any more, completed at an instant."""
    given: dict[str, Any] = {"status": "completed", "finished_at": at, "updated_at": at, "created_at": min(at, 1_000)}
    return creation(run_id, None, **given | fields)


async def create(handle: StateBackend, *commits: Commit) -> list[RunSummary]:
    """Append creations that must stand; their summaries."""
    refused = await handle.append(commits)
    assert refused == {}, refused
    return [commit.summary for commit in commits]


async def journal(handle: StateBackend, summary: RunSummary) -> Sequence[EventRow]:
    """Return all events of a run."""
    return await handle.read_events(summary.run_id, summary.uid, 0, 10_000)


async def listed(handle: StateBackend, filter: RunFilter | None = None, order: Order = Order.CREATED) -> list[str]:
    """Return the ids of all runs that match, as one page lists them."""
    page = await handle.list(filter or RunFilter(), order=order, limit=1_000)
    return [summary.run_id for summary in page.runs]
