"""Reading runs from a store: the state their journal adds up to, and its events; and leaving requests for the owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from flujo.kernel.errors import CorruptStoreError, RunNotFoundError
from flujo.kernel.journal import events
from flujo.kernel.journal.children import is_outlived
from flujo.kernel.journal.events import Event, EventRow
from flujo.kernel.journal.fold import fold
from flujo.kernel.journal.requests import REQUEST_KINDS, RequestFact, is_repeat, request_kind
from flujo.kernel.journal.state import FINAL, WorkflowState
from flujo.kernel.journal.summaries import RunSummary
from flujo.kernel.values import encode

from .backend import StateBackend
from .records import Request

READ_EVENTS = 500


async def read_state(backend: StateBackend, summary: RunSummary) -> WorkflowState:
    """Return what the journal of a run adds up to; raises CorruptStoreError for a malformed one."""
    state = WorkflowState(run_id=summary.run_id, uid=summary.uid)
    while rows := await backend.read_events(summary.run_id, summary.uid, state.seq, READ_EVENTS):
        _hand_over(summary, rows, partial(fold, state))
    return state


async def read_journal(backend: StateBackend, summary: RunSummary) -> list[Event]:
    """Return all events of a run; raises CorruptStoreError for a malformed one."""
    journal: list[Event] = []
    while rows := await backend.read_events(summary.run_id, summary.uid, len(journal), READ_EVENTS):
        _hand_over(summary, rows, journal.append)
    return journal


def _hand_over(summary: RunSummary, rows: Sequence[EventRow], take: Callable[[Event], None]) -> None:
    for row in rows:
        try:
            take(events.decode(row))
        except (LookupError, TypeError, ValueError) as error:
            raise CorruptStoreError(summary.run_id, f"event {row.seq} ({row.type}) is malformed: {error!r}") from error


async def recorded(backend: StateBackend, run_id: str, request: Sequence[str] | None) -> WorkflowState | None:
    """Return the run if it has recorded this very request, durably: asking again changes nothing.

    Raises RunNotFoundError, RequestReusedError."""
    if request is None:
        return None
    state = await read_state(backend, await backend.load(run_id))
    return state if is_repeat(state, request) else None


def read_request(request: Request) -> RequestFact | None:
    """Return what a request in an inbox asks for; None for a malformed one, and for a kind of a newer release."""
    kind = REQUEST_KINDS.get(request.kind)
    with suppress(ValueError):
        return None if kind is None else kind.read(request.body)
    return None


async def post(backend: StateBackend, run_id: str, fact: RequestFact, at: int) -> RunSummary:
    """Leave a request in the inbox of a run; return the run as it was at that moment.

    Raises RunNotFoundError, RunFinishedError."""
    kind = request_kind(fact)
    return await backend.post(run_id, Request(kind.name, encode(kind.to_body(fact)), at))


async def outlived_by(backend: StateBackend, state: WorkflowState) -> tuple[str, str] | None:
    """Return the id of the parent of a run, and how that has ended, if the run should have ended with it; else None."""
    if state.parent_run_id is None or state.status in FINAL:
        return None
    try:
        parent = await backend.load(state.parent_run_id)
    except RunNotFoundError:
        return None
    return (parent.run_id, str(parent.status)) if is_outlived(state, parent) else None
