"""Driving the runs of one kernel: each in a task of its own, from the moment it is owned until it has ended or leaves
memory.

A caller that starts or resumes a run hands it over here and may go away: no run depends on a caller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple, NoReturn

import anyio

from flujo.kernel.clock import RandomBytes, sleep_out
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import KernelClosedError, StoreError, StoreLeaseLostError
from flujo.kernel.execution.child_runs import ChildRuns
from flujo.kernel.execution.committer import Batch, Committer
from flujo.kernel.execution.context import Context
from flujo.kernel.execution.limits import Limiter, Ticket
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.execution.progress import Reporter
from flujo.kernel.execution.step_runner import StepRunner
from flujo.kernel.execution.subprocesses import Children
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.journal.overlap import Overlap
from flujo.kernel.journal.state import FINAL, RunStatus, WorkflowState
from flujo.kernel.journal.summaries import is_overdue, next_wake

from .admission import Admission
from .eviction import Eviction
from .fleet_limits import FleetLimits
from .inbox import Inbox
from .line import Line
from .live_runs import WAITING, Residence
from .parts import Parts


class Limits(NamedTuple):
    """What bounds a kernel: step bodies that run at once, runs that are at work at once, runs that are held in memory
    although they only wait; with `named`, the bodies of those steps that name it; how many owners one step may outlive
    before its run is paused; and the threads of plain functions. None means no bound."""

    max_steps: int | None = None
    max_runs: int | None = None
    max_resident: int = 1000
    named: Mapping[str, int] = {}
    max_interruptions: int = 3
    max_threads: int = 40


class Engine(NamedTuple):
    """What drives runs while a kernel is open."""

    committer: Committer
    children: Children
    child_runs: ChildRuns
    threads: anyio.CapacityLimiter


ANY_RUN = ""
"""In the place of a uid: whichever run it is."""


class Driver:
    """Drives the runs of one kernel."""

    def __init__(self, parts: Parts, random: RandomBytes, limits: Limits, inbox: Inbox) -> None:
        self.owner = parts.owner
        self.is_shared = parts.backend.capabilities.several_hosts  # what is too much for this kernel is for others
        self.admission = Admission(parts.runs, parts.recalls, limits.max_runs)
        self._clock = parts.clock
        self._runs = parts.runs
        self._tasks = parts.tasks
        self._recalls = parts.recalls
        self._alarm = parts.alarm
        self._random = random
        self._inbox = inbox
        self._latecomers, self._left_tasks = parts.latecomers, parts.left_tasks
        self._limits = limits
        self._eviction = Eviction(parts.runs, parts.clock, parts.tasks.spawn, limits.max_resident)
        self._limiter = Limiter(limits.max_steps, limits.named, self._slot_granted)
        self.fleet_limits = FleetLimits(parts.backend, parts.clock, self._limiter)
        self._changes: dict[str, anyio.Event] = {}  # by uid, for watchers of runs held here
        self._line = Line(parts.backend, parts.clock, parts.runs, self.change)
        self._engine: Engine | None = None
        self.is_draining = False  # whether this kernel takes no more runs
        self.is_doubtful = False  # whether others may take this kernel for dead
        self._certain = anyio.Event()
        self.stopped_unrecorded: set[str] = set()
        self._lost = anyio.Event()  # nothing can be recorded any more

    def open(self, engine: Engine) -> None:
        """Drive runs with this engine from now on."""
        self._engine = engine

    async def stop_all(self) -> None:
        """Stop every run in good order and return when they have ended."""
        live = list(self._runs)
        for run in live:
            run.stop(Stop.CLOSE)
        for run in live:
            await run.ended.wait()

    async def until_certain(self) -> None:
        """Return once runs may be brought back into memory: others do not take this kernel for dead."""
        while self.is_doubtful:
            await self._certain.wait()

    def be_certain(self) -> None:
        """Let runs be brought back into memory again."""
        self.is_doubtful = False
        self._certain.set()

    async def stop_unrecorded(self) -> None:
        """End every run in memory without recording that, and return when they have ended. They stay this kernel's, and
        none comes back before `is_doubtful` is false again."""
        self.is_doubtful, self._certain = True, anyio.Event()
        live = list(self._runs)
        self.stopped_unrecorded = {run.uid for run in live}
        for run in live:
            run.stop(Stop.LOST)
        for run in live:
            await run.ended.wait()

    def lose_all(self) -> None:
        """End every run because the store has failed, also those that had nothing to record, and wake every watcher."""
        for run in self._runs:
            run.stop(Stop.LOST)
        for change in self._changes.values():
            change.set()
        self._changes.clear()
        self._lost.set()

    async def raise_once_failed(self) -> NoReturn:
        """Raise the failure of the store since which nothing is recorded here, once there is one, unless the kernel
        ends by itself."""
        await self._lost.wait()
        if isinstance(self.failure, StoreError) and not isinstance(self.failure, StoreLeaseLostError):
            raise self.failure.with_traceback(None)
        await anyio.sleep_forever()
        raise AssertionError("it sleeps for ever")

    @property
    def leaves_runs_to_others(self) -> bool:
        """True if a new run is left without an owner, for another kernel of the fleet to take."""
        return self.is_shared and (self.is_draining or self.admission.is_full)

    @property
    def failure(self) -> StoreError | KernelClosedError | None:
        """Return what has kept this kernel from recording, if anything has."""
        return None if self._engine is None else self._engine.committer.failure

    @property
    def committer(self) -> Committer:
        """Return the committer; raises KernelClosedError while the kernel is not open, StoreError once the store has
        failed."""
        engine = self.engine
        if engine.committer.failure is not None:
            # Anew for each caller it is raised to, or it would keep what the frames of all of them hold.
            raise engine.committer.failure.with_traceback(None)
        return engine.committer

    def require_here(self) -> None:
        """Raise WrongEventLoopError when called in another event loop than that of the kernel."""
        self._tasks.require_here()

    @property
    def engine(self) -> Engine:
        """Return what drives runs; raises KernelClosedError while the kernel is not open, and WrongEventLoopError when
        called in another event loop."""
        self._tasks.require_here()
        if self._engine is None or not self._tasks.are_open:
            raise KernelClosedError
        return self._engine

    def queued_steps(self, uid: str) -> Mapping[str, str | None]:
        """Return the steps of a run that wait for a slot, each with the name of the limit, or None for the general
        one."""
        return {ticket.step: ticket.waits_for for ticket in self._tickets_of(uid)}

    def awaited_slots(self, uid: str) -> Collection[str] | None:
        """Return the names of the steps of a run that wait for a slot; None if the whole run waits for room."""
        if self._runs.where(uid) is Residence.QUEUED:
            return None
        return [ticket.step for ticket in self._tickets_of(uid) if not ticket.is_granted]

    def _tickets_of(self, uid: str) -> Sequence[Ticket]:
        run, parked = self._runs.get(uid), self._limiter.parked.get(uid)
        return [*(() if run is None else run.queued.values()), *(() if parked is None else (parked,))]

    # -- beginning and ending -----------------------------------------------------------------------------------

    def make(self, state: WorkflowState, workflow: Workflow, token: int, *, is_owned: bool = True) -> LiveRun:
        """Return a run of this kernel, or of no kernel, that is not driven yet. Raises KernelClosedError."""
        return LiveRun(
            state,
            workflow,
            owner=self.owner if is_owned else None,
            token=token,
            committer=self.committer,
            spawn=self._tasks.spawn,
            on_idle=self._on_idle,
        )

    def begin(self, run: LiveRun, batch: Batch) -> None:
        """Drive a new run once `batch` is durable, or queue it while as many as may are at work. One that no kernel
        owns is left to whoever has room for it."""
        if run.owner is None:
            run.ended.set()
        elif self.admission.is_full:
            self._runs.admit(run)
            self._tasks.spawn(partial(self._queue, run, batch))
        else:
            self.drive(run, batch)

    def drive(self, run: LiveRun, batch: Batch | None) -> None:
        """Drive the run in a task of its own, once `batch` is durable."""
        self._runs.admit(run)
        self._tasks.spawn(partial(self._live_through, run, batch))

    async def end_former_life(self, uid: str) -> None:
        """Return when what this kernel has in memory of a run from before it lost it has ended: the kernel owns the run
        anew, and the former life does not know that yet."""
        if (run := self._runs.get(uid)) is not None:
            run.stop(Stop.FENCED)
            self.committer.drop(run)
            await run.ended.wait()

    def disown(self, uid: str) -> None:
        """Forget a run that does not go on here, and have those look who wait for it."""
        self._limiter.forget(uid)
        self._runs.disown(uid)
        self.committed(uid)

    async def _queue(self, run: LiveRun, batch: Batch) -> None:
        """Have a new run leave for the queue once it is in the store."""
        try:
            with anyio.CancelScope(shield=True):
                await batch.durable()
                await run.written()  # what was asked of it meanwhile
        except (StoreError, KernelClosedError):
            pass
        finally:
            if run.uid in batch.refused or run.stopped not in (None, Stop.CANCEL):
                self._runs.disown(run.uid)
            elif run.stopped is None:
                self._runs.move(run.uid, Residence.QUEUED)
                self._alarm.note(next_wake(run.state))
            else:  # cancelled already: the takeover ends it, and that needs no place in the queue
                self._runs.move(run.uid, Residence.AWAY)
                self._recalls.ask(run.state.run_id)
            run.ended.set()
            self.committed(run.uid)

    async def _live_through(self, run: LiveRun, batch: Batch | None) -> None:
        try:
            await self._drive(run, batch)
            if run.stopped is Stop.LEAVE:
                with anyio.CancelScope(shield=True):
                    await run.written()  # or it might be reloaded from a journal that lacks its newest events
        finally:
            if run.stopped is Stop.LEAVE:
                self._left(run)
            else:
                self._ended(run)

    def _ended(self, run: LiveRun) -> None:
        self._limiter.forget(run.uid)
        if self.is_doubtful and run.stopped is Stop.LOST:
            self._runs.move(run.uid, Residence.AWAY)
        else:
            self._runs.disown(run.uid)
        run.ended.set()
        self.committed(run.uid)
        if run.has_settled:
            self._latecomers.ended(run.state.run_id, run.uid)
            if run.state.is_final:
                self._left_tasks.ended(run.state.run_id, run.uid)

    def _left(self, run: LiveRun) -> None:
        """Say by what a run that has left memory is recalled."""
        ticket = self._limiter.parked.get(run.uid)
        self._runs.move(run.uid, Residence.AWAY if ticket is None else Residence.PARKED)
        run.ended.set()
        self.committed(run.uid)
        if ticket is not None:
            if (instant := run.state.timeout_at) is not None:
                self._alarm.note_timeout(instant, run.uid, run.state.run_id)
            if ticket.is_granted:  # while it was leaving
                self._slot_granted(ticket)
        elif run.state.status is RunStatus.WAITING and not self._goes_on_at_once(run):
            self._alarm.note(next_wake(run.state))
        else:  # something came in the tick in which it was told to leave
            self._recalls.ask(run.state.run_id)
        self._inbox.look_again()

    def _goes_on_at_once(self, run: LiveRun) -> bool:
        """True if a run that has left memory has something to do, though its instant lies in the future of a clock that
        was set back. One that has recorded nothing since it was taken up for that really waits for the clock, as a
        timer does: it would leave again, for ever."""
        if run.state.seq == run.entered_seq:
            return False
        return is_overdue(next_wake(run.state), run.state.updated_at, self._clock.now())

    async def _drive(self, run: LiveRun, batch: Batch | None) -> None:
        if batch is not None:
            try:
                with anyio.CancelScope(shield=True):
                    await batch.durable()
            except (StoreError, KernelClosedError):
                return
        if run.is_lost or run.state.status in FINAL or run.state.status is RunStatus.PAUSED:
            return
        assert self._engine is not None
        child_runs = self._engine.child_runs
        alarm: anyio.CancelScope | None = None
        if (instant := run.state.timeout_at) is not None:
            alarm = anyio.CancelScope()
            if instant <= self._clock.now():  # over while it was queued, or while it had no owner: nothing begins
                run.stop(Stop.TIMEOUT)
            self._tasks.spawn(partial(self._time_out, run, instant, run.state.timeout_seconds or 0.0, alarm))

        async def clean_up() -> None:
            nonlocal alarm
            if alarm is not None:
                alarm.cancel()
            alarm = anyio.CancelScope()
            end = self._clock.now() + round(run.workflow.clean_up_seconds * MICROSECONDS)
            self._tasks.spawn(partial(self._time_out, run, end, run.workflow.clean_up_seconds, alarm))
            await self._context(run).run_clean_up()

        try:
            cleans_up = None if run.workflow.clean_up is None else clean_up
            turn = partial(self._line.wait_for_turn, run) if run.workflow.on_overlap is Overlap.QUEUE else None
            await run.drive(self._context(run).run_program, cleans_up, turn, partial(child_runs.part, run))
        finally:
            if alarm is not None:
                alarm.cancel()
        if run.orphans:
            self._tasks.spawn(partial(child_runs.cancel_given_up, run.orphans, run.state))

    def _context(self, run: LiveRun) -> Context:
        assert self._engine is not None
        reporter = Reporter(run, self._clock)
        steps = StepRunner(run, self._clock, reporter, self._engine.children, self._limiter, self._engine.threads)
        return Context(run, steps, reporter, self._engine.child_runs, self._clock, self._random)

    async def _time_out(self, run: LiveRun, instant: int, seconds: float, alarm: anyio.CancelScope) -> None:
        with alarm:
            await sleep_out(self._clock, instant, seconds)
            run.stop(Stop.TIMEOUT)

    # -- what runs and limits report ----------------------------------------------------------------------------

    def _on_idle(self, run: LiveRun, waits: bool) -> None:
        """The task of the run's program begins or ends a mere wait. One that leaves already keeps leaving."""
        if not waits:
            if self._runs.where(run.uid) in WAITING:
                self._runs.move(run.uid, Residence.RESIDENT)
        elif self._runs.where(run.uid) is Residence.RESIDENT:
            self._runs.move(run.uid, Residence.IDLE)
            self.admission.call_next()
            self._eviction.call()

    def _slot_granted(self, ticket: Ticket) -> None:
        """Recall a run whose ticket has got all its slots, once it has left; one that is back finds its ticket."""
        if self._runs.where(ticket.uid) is Residence.PARKED:
            self._recalls.ask(ticket.run_id)

    # -- watching -----------------------------------------------------------------------------------------------

    def change(self, uid: str) -> Callable[[], Awaitable[None]]:
        """Return something to await until a run held here has committed something, or has ended."""
        return self._changes.setdefault(uid, anyio.Event()).wait

    def any_change(self) -> anyio.Event:
        """Return what is set when any run held here has committed something; there is another one then."""
        return self._changes.setdefault(ANY_RUN, anyio.Event())

    def committed(self, uid: str) -> None:
        """Tell of one run what `committed_together` tells of those of a batch."""
        self.committed_together((uid,))

    def committed_together(self, uids: Collection[str]) -> None:
        """Wake the watchers of some runs, and those of all runs, and start what is in the queue if these wait now."""
        self.admission.call_next()
        if self._changes:
            for watched in (*uids, ANY_RUN):
                if (change := self._changes.pop(watched, None)) is not None:
                    change.set()
