"""Follow the events of a run until it rests, whichever process advances it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, nullcontext
from functools import partial

import anyio

from flujo.kernel import Event, RunStatus, StepState, StepStatus, StoredRuns, WorkflowState, events
from flujo.kernel.errors import (
    CallTimeoutError,
    CursorError,
    FlujoError,
    KernelClosedError,
    RunNotFoundError,
    ServerUnreachableError,
)
from flujo.kernel.transitions import fold

ShowEvent = Callable[[Event, WorkflowState], None]
Announce = Callable[[StepState], None]

LOOK_SECONDS = 0.1
"""How often the kernel or the server is asked whether a run that waits rests."""


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
        self._considered = 0  # the last event whose wait was announced, or is about to be

    async def until_rest(self, *, no_wait: bool = False) -> WorkflowState:
        """Return when the run is final or paused; with `no_wait` also when nothing of it can happen before an instant,
        a signal or a command, which the kernel or the server says.

        Raises what StoredRuns.watch raises. A second call shows only what the first one has not.
        """
        summary = await self._runs.summary(self._run_id)
        if self._after_seq > summary.seq:
            raise CursorError(self._run_id, self._after_seq, summary.seq)
        self._head = summary.seq
        state = WorkflowState(run_id=self._run_id, uid=summary.uid)
        with anyio.CancelScope() as following:
            end_at_rest = partial(self._end_at_rest, state, following)
            async with alongside(end_at_rest) if no_wait else nullcontext():
                await self._show_events(state)
        return state

    async def _show_events(self, state: WorkflowState) -> None:
        async with aclosing(self._runs.watch(self._run_id)) as stream:
            async for event in stream:
                fold(state, event)
                if event.seq > self._after_seq:
                    self._show(event, state)
                    self._after_seq = event.seq
                await self._announce_waits(event, state)
                if state.status is RunStatus.PAUSED and await self._has_caught_up(state):
                    return

    async def _end_at_rest(self, state: WorkflowState, following: anyio.CancelScope) -> None:
        """Cancel the following once the run rests and all that was counted is shown."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            try:
                if (
                    any(step.status is StepStatus.RUNNING for step in state.open_steps())
                    and not await self._is_unowned()
                ):
                    continue
                rest = (await self._runs.explain(self._run_id)).rest
            except (ServerUnreachableError, KernelClosedError, CallTimeoutError, RunNotFoundError):
                continue  # the stream of events says so, or continues with the next server
            if rest is not None and state.seq >= rest.seq:
                following.cancel()
                return

    async def _is_unowned(self) -> bool:
        return await self._runs.is_interrupted(await self._runs.summary(self._run_id))

    async def _announce_waits(self, event: Event, state: WorkflowState) -> None:
        is_new = event.seq > self._considered
        self._considered = max(event.seq, self._considered)
        if is_new and isinstance(event.fact, events.StepWaiting) and event.fact.signal is not None:
            self._signal_waits.add(event.fact.step)
        self._signal_waits = {name for name in self._signal_waits if state.steps[name].status is StepStatus.WAITING}
        if self._signal_waits and await self._has_caught_up(state):
            for step in [state.steps[name] for name in sorted(self._signal_waits)]:
                if not state.signals.get(step.signal or ""):  # or it has come already, and is about to be taken
                    self._announce(step)
                    self._signal_waits.remove(step.name)

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
