"""The runs one kernel has in memory, each driven by a task of its own from the moment it is ours until it has ended.

Whoever starts or resumes a run hands it over here and may go away: no run depends on a caller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from .childruns import ChildRuns
from .clock import Clock, RandomBytes
from .committer import Batch, Committer
from .context import Context
from .durations import MICROSECONDS
from .errors import KernelClosedError, StoreError
from .processes import Children
from .programs import Workflow
from .reporting import Reporter
from .runs import LiveRun
from .state import FINAL, RunStatus, WorkflowState
from .steps import StepRunner
from .transitions import Stop

Result = TypeVar("Result")


class Residents:
    """The live runs of the kernel `owner`. `slots` bounds how many step bodies run at once."""

    def __init__(self, owner: str, clock: Clock, random: RandomBytes, slots: anyio.Semaphore | None) -> None:
        self.owner = owner
        self._clock = clock
        self._random = random
        self._slots = slots
        self._live: dict[str, LiveRun] = {}  # by uid
        self._changes: dict[str, anyio.Event] = {}  # by uid, for watchers of live runs
        self._group: TaskGroup | None = None
        self._committer: Committer | None = None
        self._children: Children | None = None
        self._child_runs: ChildRuns | None = None

    def open(self, group: TaskGroup, committer: Committer, children: Children, child_runs: ChildRuns) -> None:
        """From now on runs can be brought up; their tasks belong to `group`."""
        self._group, self._committer, self._children, self._child_runs = group, committer, children, child_runs

    def close(self) -> None:
        """From now on no run is brought up any more."""
        self._group = None

    async def stop_all(self) -> None:
        """Stop every run in good order and return when they have ended."""
        live = list(self._live.values())
        for run in live:
            run.stop(Stop.CLOSE)
        for run in live:
            await run.ended.wait()

    def lose_all(self) -> None:
        """The store has failed: end every run, also those that had nothing to record."""
        for run in self._live.values():
            run.stop(Stop.LOST)

    @property
    def committer(self) -> Committer:
        """The committer; raises KernelClosedError before `open` and after `close`."""
        if self._committer is None or self._group is None:
            raise KernelClosedError
        return self._committer

    # -- finding ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[LiveRun]:
        return iter(self._live.values())

    def __contains__(self, uid: str) -> bool:
        return uid in self._live

    def get(self, uid: str) -> LiveRun | None:
        """The live run with this uid."""
        return self._live.get(uid)

    def find(self, run_id: str) -> LiveRun | None:
        """The live run with this id."""
        return next((run for run in self._live.values() if run.state.run_id == run_id), None)

    # -- driving ------------------------------------------------------------------------------------------------

    def make(self, state: WorkflowState, workflow: Workflow, token: int) -> LiveRun:
        """A run of ours, not driven yet. Raises KernelClosedError."""
        return LiveRun(state, workflow, owner=self.owner, token=token, committer=self.committer, spawn=self.spawn)

    def bring_up(self, run: LiveRun, batch: Batch | None) -> None:
        """Drive the run in a task of its own, once `batch` is durable."""
        self._live[run.uid] = run

        async def live() -> None:
            try:
                await self._drive(run, batch)
            finally:
                del self._live[run.uid]
                run.ended.set()
                self.committed(run)

        self.spawn(live)

    async def _drive(self, run: LiveRun, batch: Batch | None) -> None:
        if batch is not None:
            try:
                with anyio.CancelScope(shield=True):
                    await batch.durable()
            except (StoreError, KernelClosedError):
                return
        if run.stopped is not None and run.stopped in (Stop.FENCED, Stop.LOST):
            return
        if run.state.status in FINAL or run.state.status is RunStatus.PAUSED:
            return
        alarm = anyio.CancelScope()
        if run.state.timeout_seconds is not None:
            self.spawn(partial(self._time_out, run, run.state.timeout_seconds, alarm))
        try:
            await run.drive(self._context(run))
        finally:
            alarm.cancel()

    def _context(self, run: LiveRun) -> Context:
        assert self._children is not None
        assert self._child_runs is not None
        reporter = Reporter(run, self._clock)
        steps = StepRunner(run, self._clock, reporter, self._children, self._slots)
        return Context(run, steps, reporter, self._child_runs, self._clock, self._random)

    async def _time_out(self, run: LiveRun, seconds: float, alarm: anyio.CancelScope) -> None:
        with alarm:
            since = run.state.resumed_at or run.state.created_at
            await self._clock.sleep_until(since + round(seconds * MICROSECONDS))
            run.stop(Stop.TIMEOUT)

    # -- watching -----------------------------------------------------------------------------------------------

    def change(self, uid: str) -> Callable[[], Awaitable[None]]:
        """Something to await until a live run has committed something, or has ended."""
        return self._changes.setdefault(uid, anyio.Event()).wait

    def committed(self, run: LiveRun) -> None:
        """Tell whoever watches the run."""
        if (change := self._changes.pop(run.uid, None)) is not None:
            change.set()

    # -- tasks --------------------------------------------------------------------------------------------------

    def spawn(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a function in a task of the kernel, unless it closes."""
        if self._group is not None:
            self._group.start_soon(function)

    async def to_the_end(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """What `work` returns or raises, done in a task of the kernel: a caller who is cancelled half-way must leave no
        run claimed that nobody drives. Raises KernelClosedError."""
        ended = anyio.Event()
        results: list[Result] = []
        failures: list[Exception] = []

        async def task() -> None:
            try:
                results.append(await work())
            except Exception as error:
                failures.append(error)
            finally:
                ended.set()

        if self._group is None:
            raise KernelClosedError
        self._group.start_soon(task)
        await ended.wait()
        if failures:
            raise failures[0]
        if not results:  # this kernel has closed meanwhile
            raise KernelClosedError
        return results[0]
