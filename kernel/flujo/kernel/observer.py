"""Reading a store, and leaving requests in it for whoever runs its runs. Needs no kernel and never becomes an owner."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any

from . import events
from .backend import Page, Request, RunFilter, RunSummary, StateBackend
from .clock import Clock, SystemClock
from .durations import MICROSECONDS
from .errors import (
    CorruptStoreError,
    CursorError,
    RunCancelled,
    RunDeletedError,
    RunFailed,
    RunInterrupted,
    RunNotFoundError,
    RunPaused,
    RunReplacedError,
)
from .events import Event
from .keys import check_step_name
from .state import FINAL, LIVE, RunStatus, StepStatus, WorkflowState
from .transitions import fold
from .values import encode

READ_EVENTS = 500
WATCH_EVENTS = 64
POLL_MICROS = MICROSECONDS // 5


class Delivery(StrEnum):
    """What became of a signal that was sent."""

    RECORDED = "recorded"
    """It is in the run's journal."""

    POSTED = "posted"
    """It is in the run's inbox, and the live owner takes it within a quarter of a second."""

    STORED = "stored"
    """It is in the run's inbox, and nobody runs that run: it is taken when somebody resumes it."""


class CancelOutcome(StrEnum):
    """What became of a request to cancel."""

    REQUESTED = "requested"
    """The live owner has been told, and stops the run."""

    CANCELLED = "cancelled"
    """Nobody ran the run: it is cancelled now."""

    ALREADY_FINISHED = "already_finished"
    """The run was final before."""


class Observer:
    """Inspect, list and watch the runs of a store, and send them signals."""

    def __init__(self, backend: StateBackend, *, clock: Clock | None = None) -> None:
        self.backend = backend
        self.clock: Clock = clock or SystemClock()

    # -- reading ------------------------------------------------------------------------------------------------

    async def inspect(self, run_id: str) -> WorkflowState:
        """Everything recorded of a run, folded; raises RunNotFoundError.

        Steps whose owner died, or left, are marked `interrupted`.
        """
        summary = await self.backend.load(run_id)
        state = await self._fold(summary)
        state.unowned = await self.is_interrupted(summary)
        if state.unowned:
            for step in state.open_steps():
                step.interrupted = step.status is StepStatus.RUNNING
        return state

    async def is_interrupted(self, summary: RunSummary) -> bool:
        """Whether somebody ought to run this run and nobody does."""
        if summary.status not in LIVE:
            return False
        return summary.owner is None or not await self.backend.is_alive(summary.owner)

    async def list(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        id_prefix: str | None = None,
        labels: dict[str, str] | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> Page:
        """One page of runs, newest first; every filter that is given must match."""
        wanted = RunFilter(
            statuses=tuple(statuses), workflow=workflow, id_prefix=id_prefix, labels=tuple((labels or {}).items())
        )
        return await self.backend.list(wanted, limit=limit, page=page)

    async def watch(self, run_id: str, after_seq: int = 0) -> AsyncGenerator[Event, None]:
        """The events of a run after `after_seq`, stored ones first and then as they are committed, each once and in
        order.

        Ends when everything is delivered and the run is final at that moment. Close it (`aclose`, or
        `contextlib.aclosing`) when you leave early. Raises RunNotFoundError, CursorError, RunDeletedError,
        RunReplacedError, and StoreError when the store has failed the kernel that ran the run."""
        summary = await self.backend.load(run_id)
        if after_seq > summary.seq:
            raise CursorError(run_id, after_seq, summary.seq)
        uid = summary.uid
        while True:
            changed = self._change(uid)  # asked for before reading, so that no commit falls in between
            try:
                rows = await self.backend.read_events(run_id, uid, after_seq, WATCH_EVENTS)
                for row in rows:
                    yield events.decode(row)
                    after_seq = row.seq
                if len(rows) == WATCH_EVENTS:
                    continue
                summary = await self.backend.load(run_id)
            except RunNotFoundError:
                raise RunDeletedError(run_id) from None
            if summary.uid != uid:
                raise RunReplacedError(run_id)
            if summary.seq > after_seq:
                continue
            if summary.status in FINAL:
                return
            self._require_hope(summary)
            await changed()

    async def wait(self, run_id: str) -> WorkflowState:
        """The run once it is final or paused; raises RunInterrupted when nobody runs it."""
        while True:
            summary = await self.backend.load(run_id)
            changed = self._change(summary.uid)
            if summary.status in FINAL or summary.status == RunStatus.PAUSED:
                return await self.inspect(run_id)
            if await self._is_abandoned(summary):
                raise RunInterrupted(run_id)
            await changed()

    async def result(self, run_id: str) -> Any:
        """The output of a run once it completed; raises RunFailed, RunCancelled, RunPaused or RunInterrupted."""
        return result_of(await self.wait(run_id))

    # -- asking -------------------------------------------------------------------------------------------------

    async def signal(self, run_id: str, name: str, payload: Any = None, *, by: str | None = None) -> Delivery:
        """Send a signal to a run, durable on return; raises RunNotFoundError, or RunFinishedError for a final run."""
        check_step_name(name)
        body = encode({"name": name, "payload": encode(payload), "by": by})
        summary = await self.backend.post(run_id, Request("signal", body, self.clock.now()))
        has_owner = summary.owner is not None and await self.backend.is_alive(summary.owner)
        return Delivery.POSTED if has_owner else Delivery.STORED

    async def delete(self, run_id: str) -> None:
        """Forget a run; raises RunNotFoundError, or RunActiveError while a live process runs it."""
        summary = await self.backend.load(run_id)
        await self.backend.delete(run_id, summary.uid)

    async def prune(
        self,
        *,
        older_than_seconds: float,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        limit: int = 1000,
        dry_run: bool = False,
    ) -> Sequence[RunSummary]:
        """Forget up to `limit` runs that settled that long ago, final ones unless `statuses` says otherwise.

        Runs with a live owner stay. Returns the runs that went, or with `dry_run` would go.
        """
        wanted = RunFilter(
            statuses=tuple(statuses) or tuple(FINAL),
            workflow=workflow,
            settled_before=self.clock.now() - round(older_than_seconds * MICROSECONDS),
        )
        return await self.backend.prune(wanted, limit=limit, dry_run=dry_run)

    # -- for the kernel to refine -------------------------------------------------------------------------------

    def _change(self, uid: str) -> Callable[[], Awaitable[None]]:
        """Something to await until the run may have changed. Runs of other processes are looked at again and again."""
        due = self.clock.now() + POLL_MICROS

        async def look_again() -> None:
            await self.clock.sleep_until(due)

        return look_again

    def _require_hope(self, summary: RunSummary) -> None:
        """Raise what keeps this run from ever going on, if that is known."""

    async def _is_abandoned(self, summary: RunSummary) -> bool:
        return await self.is_interrupted(summary)

    async def _fold(self, summary: RunSummary) -> WorkflowState:
        state = WorkflowState(run_id=summary.run_id, uid=summary.uid)
        while rows := await self.backend.read_events(summary.run_id, summary.uid, state.seq, READ_EVENTS):
            for row in rows:
                try:
                    fold(state, events.decode(row))
                except (LookupError, TypeError, ValueError) as error:
                    raise CorruptStoreError(
                        summary.run_id, f"event {row.seq} ({row.type}) makes no sense: {error!r}"
                    ) from error
        return state


def result_of(state: WorkflowState) -> Any:
    """The output of a completed run; raises what says how it ended otherwise."""
    match state.status:
        case RunStatus.COMPLETED:
            return state.output
        case RunStatus.FAILED:
            assert state.error is not None
            raise RunFailed(state.run_id, state.error.type, state.error.message, state.error.step)
        case RunStatus.CANCELLED:
            raise RunCancelled(state.run_id, state.cancel_reason)
        case _:
            raise RunPaused(state.run_id, state.paused_reason)
