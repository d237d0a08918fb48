"""Reading runs from a store: the state their journal adds up to, its events, and whether their owner is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flujo.kernel.errors import (
    CorruptStoreError,
)
from flujo.kernel.journal import events
from flujo.kernel.journal.events import Event, EventRow
from flujo.kernel.journal.fold import fold
from flujo.kernel.journal.state import LIVE, WorkflowState
from flujo.kernel.journal.summaries import RunSummary

from .backend import StateBackend

READ_EVENTS = 500


async def read_state(backend: StateBackend, summary: RunSummary) -> WorkflowState:
    """What the journal of a run adds up to; raises CorruptStoreError for a malformed one."""
    state = WorkflowState(run_id=summary.run_id, uid=summary.uid)
    while rows := await backend.read_events(summary.run_id, summary.uid, state.seq, READ_EVENTS):
        for row in rows:
            with _corrupt_on_error(summary, row):
                fold(state, events.decode(row))
    return state


async def read_journal(backend: StateBackend, summary: RunSummary) -> list[Event]:
    """All events of a run; raises CorruptStoreError for a malformed one."""
    journal: list[Event] = []
    while rows := await backend.read_events(summary.run_id, summary.uid, len(journal), READ_EVENTS):
        for row in rows:
            with _corrupt_on_error(summary, row):
                journal.append(events.decode(row))
    return journal


@contextmanager
def _corrupt_on_error(summary: RunSummary, row: EventRow) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise CorruptStoreError(summary.run_id, f"event {row.seq} ({row.type}) is malformed: {error!r}") from error


async def is_interrupted(backend: StateBackend, summary: RunSummary) -> bool:
    """Whether somebody ought to run this run and nobody does."""
    if summary.status not in LIVE:
        return False
    return summary.owner is None or not await backend.is_alive(summary.owner)
