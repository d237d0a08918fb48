"""Follow the events of a run until it rests, whichever process advances it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import anyio

from flujo.kernel import Event, RunStatus, StepState, StepStatus, StoredRuns, WorkflowState, events
from flujo.kernel.errors import CursorError, FlujoError
from flujo.kernel.transitions import fold

ShowEvent = Callable[[Event, WorkflowState], None]
Announce = Callable[[StepState], None]


def is_only_waiting(state: WorkflowState) -> bool:
    """True if only time or a signal advances the run. A step in backoff does not wait: it is being attempted."""
    return state.status is RunStatus.WAITING and all(
        step.status is not StepStatus.RETRYING for step in state.open_steps()
    )


class Follower:
    """Shows the events of one run after `after_seq` as they come, and announces each signal it waits for once."""

    def __init__(self, runs: StoredRuns, run_id: str, show: ShowEvent, announce: Announce, *, after_seq: int = 0):
        self._runs = runs
        self._run_id = run_id
        self._show = show
        self._announce = announce
        self._after_seq = after_seq
        self._head = 0
        self._signal_waits: set[str] = set()

    async def until_rest(self, *, no_wait: bool = False) -> WorkflowState:
        """Return when the run is final or paused; with `no_wait` also when it waits.

        Raises what StoredRuns.watch raises.
        """
        summary = await self._runs.summary(self._run_id)
        if self._after_seq > summary.seq:
            raise CursorError(self._run_id, self._after_seq, summary.seq)
        self._head = summary.seq
        state = WorkflowState(run_id=self._run_id, uid=summary.uid)
        async with aclosing(self._runs.watch(self._run_id)) as stream:
            async for event in stream:
                fold(state, event)
                if event.seq > self._after_seq:
                    self._show(event, state)
                await self._announce_waits(event, state)
                rests = state.status is RunStatus.PAUSED or (no_wait and is_only_waiting(state))
                if rests and await self._has_caught_up(state):
                    break
        return state

    async def _announce_waits(self, event: Event, state: WorkflowState) -> None:
        if isinstance(event.fact, events.StepWaiting) and event.fact.signal is not None:
            self._signal_waits.add(event.fact.step)
        self._signal_waits = {name for name in self._signal_waits if state.steps[name].status is StepStatus.WAITING}
        if self._signal_waits and await self._has_caught_up(state):
            for name in sorted(self._signal_waits):
                self._announce(state.steps[name])
            self._signal_waits.clear()

    async def _has_caught_up(self, state: WorkflowState) -> bool:
        """True if the state is the current one. In the past, a wait or a pause may have ended long ago."""
        if state.seq >= self._head:
            self._head = (await self._runs.summary(self._run_id)).seq
        return state.seq == self._head


@asynccontextmanager
async def alongside(watch: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run `watch` while the block runs; a FlujoError of it ends the block and is raised instead."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def guard() -> None:
            nonlocal failure
            try:
                await watch()
            except FlujoError as error:
                failure = error
                tasks.cancel_scope.cancel()

        tasks.start_soon(guard)
        try:
            yield
        except Exception as error:  # not to come out of the task group as a group of one
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
