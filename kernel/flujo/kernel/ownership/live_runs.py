"""The runs one kernel has in memory, each driven by a task of its own from the moment it is ours until it has ended.

Whoever starts or resumes a run hands it over here and may go away: no run depends on a caller.

Not every run of ours is in memory. When there are more than `max_resident`, those that only wait leave, the longest
waiting first; they are `away`, and `timers` or the inbox bring them back. One that waits for a slot keeps its place in
that line and is brought back when it is granted (limits.py); of these the last in line leave first. With `max_runs`, a
new run that finds as many at work is away in the `queue` until one of them ends or waits. Nothing is recorded of any
of this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple, TypeVar

import anyio
from anyio.abc import TaskGroup

from flujo.kernel.clock import Clock, RandomBytes
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import KernelClosedError, StoreError
from flujo.kernel.execution.child_runs import ChildRuns
from flujo.kernel.execution.committer import Batch, Committer
from flujo.kernel.execution.context import Context
from flujo.kernel.execution.leaving import LooseWork
from flujo.kernel.execution.limits import Limiter, Ticket
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.execution.progress import Reporter
from flujo.kernel.execution.step_runner import StepRunner
from flujo.kernel.execution.subprocesses import Children
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.journal.state import FINAL, RunStatus, WorkflowState

Result = TypeVar("Result")


SLACK = 16
"""One run more than `max_resident` in so many may stay: looking for those that can leave costs a look at all tasks."""


class Limits(NamedTuple):
    """What bounds a kernel: step bodies that run at once, runs that are at work at once, runs that are held in memory
    although they only wait; and with `named`, the bodies of those steps that name it. None means no bound."""

    max_steps: int | None = None
    max_runs: int | None = None
    max_resident: int = 1000
    named: Mapping[str, int] = {}


class Residents:
    """The live runs of the kernel `owner`."""

    def __init__(self, owner: str, clock: Clock, random: RandomBytes, limits: Limits) -> None:
        self.owner = owner
        self._clock = clock
        self._random = random
        self._limits = limits
        self._limiter = Limiter(limits.max_steps, limits.named, self._call_in)
        self._live: dict[str, LiveRun] = {}  # by uid
        self._lulled: dict[str, LiveRun] = {}  # those that only wait, the longest waiting first
        self._leaving: set[str] = set()  # those that have been told to leave
        self.away: dict[str, str] = {}  # uid → run id of our runs that are not in memory
        self.in_line: set[str] = set()  # those of them that wait for a slot
        self.queue: deque[str] = deque()  # ids of those that wait for their turn to begin
        self._beginning: set[str] = set()  # ids of those that were called from the queue and are not live yet
        self.left: Callable[[LiveRun], None] = lambda run: None  # told of every run that has gone away
        self.room: Callable[[str], Coroutine[Any, Any, bool]] | None = None  # brings a run back; if not, try again
        self._changes: dict[str, anyio.Event] = {}  # by uid, for watchers of live runs
        self._group: TaskGroup | None = None
        self._surroundings = copy_context()  # the context variables that tasks of the kernel begin with
        self._committer: Committer | None = None
        self._children: Children | None = None
        self._child_runs: ChildRuns | None = None

    def open(self, group: TaskGroup, committer: Committer, children: Children, child_runs: ChildRuns) -> None:
        """From now on runs can be brought up; their tasks belong to `group`."""
        self._surroundings = copy_context()
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
        """The store has failed: end every run, also those that had nothing to record, and tell whoever watches one."""
        for run in self._live.values():
            run.stop(Stop.LOST)
        for change in self._changes.values():
            change.set()
        self._changes.clear()

    @property
    def committer(self) -> Committer:
        """The committer; raises KernelClosedError before `open` and after `close`, StoreError once the store has
        failed."""
        if self._committer is None or self._group is None:
            raise KernelClosedError
        if self._committer.failure is not None:
            # Anew for each of those it is raised to, or it would keep what the frames of all of them hold.
            raise self._committer.failure.with_traceback(None)
        return self._committer

    @property
    def child_runs(self) -> ChildRuns:
        """The children of these runs; raises KernelClosedError before `open`."""
        if self._child_runs is None:
            raise KernelClosedError
        return self._child_runs

    # -- finding ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[LiveRun]:
        return iter(self._live.values())

    def __contains__(self, uid: str) -> bool:
        return uid in self._live

    def has(self, uid: str) -> bool:
        """Whether a run is ours to go on with: live, or away."""
        return uid in self._live or uid in self.away

    def get(self, uid: str) -> LiveRun | None:
        """The live run with this uid."""
        return self._live.get(uid)

    def find(self, run_id: str) -> LiveRun | None:
        """The live run with this id."""
        return next((run for run in self._live.values() if run.state.run_id == run_id), None)

    def queued(self, uid: str) -> Mapping[str, str | None]:
        """The steps of a run of ours that wait for a slot, each with the name of the limit, or None for the general
        one."""
        run, left = self._live.get(uid), self._limiter.parked.get(uid)
        tickets = [*(() if run is None else run.queued.values()), *(() if left is None else (left,))]
        return {ticket.step: ticket.waits_for for ticket in tickets}

    # -- driving ------------------------------------------------------------------------------------------------

    def make(self, state: WorkflowState, workflow: Workflow, token: int) -> LiveRun:
        """A run of ours, not driven yet. Raises KernelClosedError."""
        return LiveRun(state, workflow, owner=self.owner, token=token, committer=self.committer, spawn=self.spawn)

    async def let_go(self, uid: str) -> None:
        """We own this run anew. What is still in memory of it is from before we lost it, and does not know that yet:
        return when it has ended."""
        if (run := self._live.get(uid)) is not None:
            run.stop(Stop.FENCED)
            self.committer.drop(run)
            await run.ended.wait()

    def bring_up(self, run: LiveRun, batch: Batch | None) -> None:
        """Drive the run in a task of its own, once `batch` is durable."""
        self._live[run.uid] = run
        self.away.pop(run.uid, None)
        self.in_line.discard(run.uid)
        run.lulled = self._lull
        self.spawn(partial(self._live_through, run, batch))

    async def _live_through(self, run: LiveRun, batch: Batch | None) -> None:
        try:
            await self._drive(run, batch)
            if run.stopped is Stop.LEAVE:
                with anyio.CancelScope(shield=True):
                    await run.written()  # or it might be brought back from a journal that lacks its newest events
        finally:
            self._gone(run)

    def _gone(self, run: LiveRun) -> None:
        del self._live[run.uid]
        self._lulled.pop(run.uid, None)
        self._leaving.discard(run.uid)
        ticket = self._limiter.parked.get(run.uid)
        if run.stopped is Stop.LEAVE:
            self.away[run.uid] = run.state.run_id
            if ticket is not None:
                self.in_line.add(run.uid)
        else:
            self._limiter.forget(run.uid)
        run.ended.set()
        self.committed(run.uid)
        if run.stopped is Stop.LEAVE:
            self.left(run)
            if ticket is not None and ticket.is_granted:  # while it was leaving
                self._call_in(ticket)
        self._call_next()

    # -- leaving and coming back --------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """As many runs as may are at work. One that waits is not: what it waits for may be a child in the queue."""
        if self._limits.max_runs is None:
            return False
        at_work = sum(run.state.status is not RunStatus.WAITING for run in self._live.values())
        return at_work + len(self.in_line) + len(self._beginning) >= self._limits.max_runs

    def line_up(self, run: LiveRun, batch: Batch) -> None:
        """Let a new run wait for its turn, in the store."""
        self._live[run.uid] = run

        async def wait() -> None:
            try:
                with anyio.CancelScope(shield=True):
                    await batch.durable()
                    await run.written()  # what was asked of it meanwhile
            except (StoreError, KernelClosedError):
                pass
            finally:
                del self._live[run.uid]
                if run.uid not in batch.refused and run.stopped in (None, Stop.CANCEL):
                    self.away[run.uid] = run.state.run_id
                    if run.stopped is None:
                        self.queue.append(run.state.run_id)
                    else:  # cancelled already: whoever brings it back ends it, and that needs no turn
                        self.spawn(partial(self._bring_back, run.state.run_id))
                run.ended.set()
                self.committed(run.uid)
                self._call_next()

        self.spawn(wait)

    def _call_next(self) -> None:
        if self.queue and self.room is not None and not self.is_full:
            self._beginning.add(run_id := self.queue.popleft())
            self.spawn(partial(self._begin, run_id))

    async def _begin(self, run_id: str) -> None:
        try:
            await self._bring_back(run_id)
        finally:
            self._beginning.discard(run_id)
            self._call_next()  # it may have ended while it was in the queue

    def _call_in(self, ticket: Ticket) -> None:
        """Bring a run back that was granted its slots, once it has gone; one that is back already finds its ticket."""
        if ticket.uid in self.in_line:
            self.spawn(partial(self._let_in, ticket))

    async def _let_in(self, ticket: Ticket) -> None:
        await self._bring_back(ticket.run_id)
        if ticket.uid not in self._live and self._limiter.parked.get(ticket.uid) is ticket:  # it cannot go on here
            self.in_line.discard(ticket.uid)
            self._limiter.forget(ticket.uid)

    async def _bring_back(self, run_id: str) -> None:
        assert self.room is not None
        while not await self.room(run_id):
            await self._clock.sleep_until(self._clock.now() + MICROSECONDS)

    def _lull(self, run: LiveRun, waits: bool) -> None:
        if not waits:
            self._lulled.pop(run.uid, None)
            return
        self._lulled[run.uid] = run
        self._call_next()
        excess = len(self._live) - len(self._leaving) - self._limits.max_resident
        if excess > self._limits.max_resident // SLACK:
            self._make_room(excess)

    def _make_room(self, excess: int) -> None:
        """Tell the runs to leave that have waited longest, then those that will wait longest for a slot; none that is
        due, or whose program has tasks of its own."""
        loose = LooseWork()
        now = self._clock.now()
        in_line = [run for run in self._lulled.values() if run.ticket is not None]
        others = [run for run in self._lulled.values() if run.ticket is None]
        for run in [*others, *reversed(in_line)][:excess]:
            if not _is_due(run, now) and run.may_leave(loose):
                del self._lulled[run.uid]
                self._leaving.add(run.uid)
                run.stop(Stop.LEAVE)

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
        if (instant := run.state.timeout_at) is not None:
            self.spawn(partial(self._time_out, run, instant, alarm))
        try:
            await run.drive(self._context(run).run_program)
        finally:
            alarm.cancel()

    def _context(self, run: LiveRun) -> Context:
        assert self._children is not None
        assert self._child_runs is not None
        reporter = Reporter(run, self._clock)
        steps = StepRunner(run, self._clock, reporter, self._children, self._limiter)
        return Context(run, steps, reporter, self._child_runs, self._clock, self._random)

    async def _time_out(self, run: LiveRun, instant: int, alarm: anyio.CancelScope) -> None:
        with alarm:
            await self._clock.sleep_until(instant)
            run.stop(Stop.TIMEOUT)

    # -- watching -----------------------------------------------------------------------------------------------

    def change(self, uid: str) -> Callable[[], Awaitable[None]]:
        """Something to await until a live run has committed something, or has ended."""
        return self._changes.setdefault(uid, anyio.Event()).wait

    def committed(self, uid: str) -> None:
        """Tell whoever watches the run, and the next in the queue if it waits now."""
        self._call_next()
        if (change := self._changes.pop(uid, None)) is not None:
            change.set()

    # -- tasks --------------------------------------------------------------------------------------------------

    def spawn(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a function in a task of the kernel, unless it closes."""
        if self._group is not None:
            # Not in the context of the caller: a program would see the caller's variables in its first life only, and
            # the kernel's own tasks would pass for tasks of the program that they serve.
            self._surroundings.copy().run(self._group.start_soon, function)

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


def _is_due(run: LiveRun, now: int) -> bool:
    """Whether a run that waits goes on in this moment, or ends."""
    timeout_at = run.state.timeout_at
    if timeout_at is not None and timeout_at <= now:
        return True
    if run.ticket is not None:
        return run.ticket.is_granted or run.held
    wake_at = run.state.wake_at
    return wake_at is not None and wake_at <= now
