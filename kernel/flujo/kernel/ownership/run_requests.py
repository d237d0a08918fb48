"""The one ladder for requests to a run: signal, cancel, pause, set a variable.

    recorded here    the run is in memory of this kernel, or can be: its journal has the request on return
    posted           another live kernel owns the run: the request lies in its inbox
    decided at once  the run has no live owner: this kernel does with it what the request asks for

A run of this kernel that is stopping records what still reaches it before its end. One that has ended, or leaves
memory, is looked at again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from flujo.kernel.clock import Clock
from flujo.kernel.errors import RunActiveError, RunFinishedError
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.journal.events import Fact, PauseRequested, RunPaused, SignalReceived
from flujo.kernel.journal.requests import RequestFact, request_kind
from flujo.kernel.journal.state import FINAL, LIVE, PauseReason, RunStatus, WorkflowState
from flujo.kernel.journal.summaries import RunSummary
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.reading import post

from .inbox import record_request
from .live_runs import LiveRuns
from .local_runs import KernelRuns
from .takeover import Takeover

Answer = TypeVar("Answer")

LOOKS = 100
"""How often a request looks at a run whose owner changes all the while, before it raises RunActiveError."""


class Answers(NamedTuple, Generic[Answer]):
    """What the caller is told, by how far the request has come."""

    repeated: Callable[[WorkflowState], Answer]
    recorded: Answer
    posted: Answer


class RunRequests:
    """Delivers the requests that one kernel is asked to make."""

    def __init__(
        self, backend: StateBackend, clock: Clock, runs: LiveRuns, local_runs: KernelRuns, takeover: Takeover
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._runs = runs
        self._local_runs = local_runs
        self._takeover = takeover

    async def deliver(
        self,
        run_id: str,
        fact: RequestFact,
        answers: Answers[Answer],
        decide: Callable[[RunSummary], Awaitable[Answer]],
    ) -> Answer:
        """Bring a request to a run and return what the caller is told. `decide` does what is asked of a run without a
        live owner, and raises RunActiveError if it has one by then.

        Raises RunNotFoundError, RequestReusedError, StoreError, SignalMisfitError for the payload of a signal that a
        run in memory waits for and cannot read, and what `decide` raises."""
        self._local_runs.require_here()
        owner = ""
        for look in range(LOOKS):
            run = await self._in_memory(run_id)
            if (state := await self._local_runs.recorded(run_id, fact.request)) is not None:
                return answers.repeated(state)
            if run is not None:
                if isinstance(fact, SignalReceived) and run.takes_requests:
                    if look == 0:  # once only: a run that is to leave memory leaves as soon as it gets there
                        await run.signals.until_reached(fact.name)
                    run.signals.require_fit(fact)
                if run.takes_requests and await self._record(run, fact):
                    return answers.recorded
                await run.ended.wait()
                continue
            summary = await self._backend.load(run_id)
            self._local_runs.raise_if_unrecoverable(summary)
            if summary.status in LIVE and summary.owner is not None and await self._backend.is_alive(summary.owner):
                reached = await post(self._backend, run_id, fact, self._clock.now())
                if reached.status in LIVE or not request_kind(fact).overruled:
                    return answers.posted
                continue  # it has paused between the two looks, and then nobody takes a cancel out of its inbox
            try:
                return await decide(summary)
            except RunActiveError as error:  # another kernel, or another call, was faster
                owner = error.owner
        raise RunActiveError(run_id, owner)

    async def _in_memory(self, run_id: str) -> LiveRun | None:
        """Return the run, brought back if it is outside memory; None if it is not owned here, or cannot go on here."""
        uid = self._runs.uid_of(run_id)
        if uid is not None and self._runs.is_outside(uid):
            await self._takeover.revive(run_id)
        return self._runs.find(run_id)

    async def _record(self, run: LiveRun, fact: RequestFact) -> bool:
        batch = record_request(run, fact)
        await batch.durable()
        return run.uid not in batch.refused and run.stopped is not Stop.FENCED


def unfinished(state: WorkflowState) -> WorkflowState:
    """Return the state; raise RunFinishedError for a run that has completed and takes no amendment."""
    if state.status is RunStatus.COMPLETED:
        raise RunFinishedError(state.run_id, state.status)
    return state


def paused(state: WorkflowState, fact: PauseRequested) -> list[Fact]:
    """Return what pauses a run without a live owner; it may have ended since it was looked at."""
    if state.status in FINAL:
        raise RunFinishedError(state.run_id, state.status)
    return [] if state.status is RunStatus.PAUSED else [fact, RunPaused(PauseReason.REQUESTED)]
