"""One live run: its folded state, the task that drives its program, and everything that can stop it.

A `LiveRun` exists in the kernel that owns the run, from `start`, `resume` or recovery until the program has ended.
Its program runs in a shielded scope that only `stop` cancels, so the reason of every cancellation is known
(transitions.Stop)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence, Set
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from math import inf
from typing import Any, NamedTuple, NoReturn, cast

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from flujo.kernel import errors
from flujo.kernel.journal import events
from flujo.kernel.journal.children import awaited
from flujo.kernel.journal.compatibility import unasked
from flujo.kernel.journal.decisions import Stop, at_clean_up, at_end, stop_of
from flujo.kernel.journal.events import KIND_OF, Fact
from flujo.kernel.journal.failures import carried, describe, is_a
from flujo.kernel.journal.state import LIVE, WorkflowState
from flujo.kernel.loops import (
    cancel_once_more,
    context_of_this_task,
    exit_open_scopes,
    is_running_in,
    new_event,
    this_task,
)
from flujo.kernel.store.records import StoredDefinition

from .attempt_runner import cancelled_from_outside, holds_cancellation
from .begun_children import BegunChildren
from .committer import Batch, Committer, journal_logger
from .holdings import Holdings, Suspended
from .leaving import LooseWork, stands_guarded
from .limits import Ticket
from .programs import Workflow
from .replay import Replay
from .signal_waits import SignalWaits

logger = logging.getLogger("flujo.kernel")

_TAKES_NOTHING = (Stop.FENCED, Stop.LOST, Stop.LEAVE)
"""Stops after which the next life of the run, or the next owner, takes what is asked of it."""


_PATIENT = (Stop.CANCEL, Stop.TIMEOUT, Stop.PAUSE, Stop.INCOMPATIBLE, Stop.WORKSPACE_GONE)
"""Stops behind which the kernel goes on with other runs, however long this one takes."""

FREE_CALLS = 10
"""How often a task of a stopped program may call `ctx` again, as clean-ups do, before it is slowed down."""

INSIST_AFTER_SECONDS = 0.25
SLOWEST_SECONDS = 1.0


class _Wait(NamedTuple):
    """A wait in the kernel: until when deadlines of the program's own let it, and the scope it is in."""

    deadline: float
    scope: anyio.CancelScope


class Ended(BaseException):
    """The run is not ours to record any more; unwinds its program. Never leaves this package."""


class LiveRun:
    """A run this kernel owns and drives."""

    def __init__(
        self,
        state: WorkflowState,
        workflow: Workflow,
        *,
        owner: str | None,
        token: int,
        committer: Committer,
        spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
        on_idle: Callable[[LiveRun, bool], None] = lambda run, waits: None,
    ) -> None:
        """`on_idle` is told when the program's own task begins or ends a mere wait."""
        self.state = state
        self.workflow = workflow
        self.owner = owner
        self.token = token
        self.uid = state.uid
        self.entered_seq = state.seq  # what was recorded before this life
        self.replay: Replay
        self.stopped: Stop | None = None
        self.is_closing = False  # it is left to its next owner, whatever it was stopped for before
        self.ended = new_event()  # set by the kernel once nothing of the run is left in it
        self.failure: errors.FlujoError | None = None
        self._driven = False
        self._over = False
        self._committer = committer
        self.spawn = spawn  # a task of the kernel, which outlives the run
        self._scope = anyio.CancelScope(shield=True)
        self._released: anyio.Event | None = None  # whoever is held waits for it: the run stops
        self.signals = SignalWaits(state)
        self.queued: dict[str, Ticket] = {}  # steps that wait for a slot
        self.task: int | None = None  # the program's own
        self._program: Awaitable[Any] | None = None
        self._surroundings: tuple[Context, Context] | None = None  # variables before the program, and as they are now
        self.is_in_line = False  # it waits for an earlier run of its workflow to end, and has not begun
        self.ticket: Ticket | None = None  # what that task waits for, if it is a slot
        self._waits: dict[int, _Wait] = {}  # tasks that wait in the kernel
        self._on_idle = on_idle
        self.differences: Sequence[errors.Difference] = ()  # why it is stopped as incompatible
        self._newest: Batch | None = None
        self._dropped: list[int] = []  # requests of the inbox that change nothing
        self.given_up: set[str] = set()  # children that are being cancelled, because the program has left them
        self.begun_children: BegunChildren | None = None  # once a replay asks for a completed one
        self.child_ids: dict[str, str] | None = None  # in lower case → as they are; once a child begins
        self.orphans: dict[str, int] = {}  # children it still waited for when it ended, and when that was
        self._unwound: dict[int, int] = {}  # by task, how often it has called again since the run was stopped
        self._insisted: anyio.CancelScope | None = None  # what `_insist` sees to

    def __repr__(self) -> str:
        return f"<run {self.state.run_id} {self.state.status} seq={self.state.seq} token={self.token}>"

    @property
    def takes_requests(self) -> bool:
        """True while a request can become part of this life of the run; one that is stopping records it before its
        end."""
        return not self._over and self.stopped not in _TAKES_NOTHING and self.state.status in LIVE

    @property
    def is_lost(self) -> bool:
        """True once this kernel may no longer record: the run was fenced, or the store failed."""
        return self.stopped in (Stop.FENCED, Stop.LOST)

    @property
    def has_settled(self) -> bool:
        """True once the run is final or paused, durably."""
        lost = self.failure is not None or self.is_lost
        return self.ended.is_set() and not lost and self.state.status not in LIVE

    def record(
        self,
        fact: Fact,
        taken: Sequence[int] = (),
        definition: StoredDefinition | None = None,
        at: int | None = None,
    ) -> Batch:
        """Make a fact part of this run's history (committer.record); unwinds the program of a run that is lost to
        us."""
        if self.stopped is not None and self.stopped in (Stop.FENCED, Stop.LOST):
            raise Ended
        if self._over:  # a task of the program's own making has outlived it
            raise errors.RunFinishedError(self.state.run_id, self.state.status)
        if self._dropped:
            taken, self._dropped = [*taken, *self._dropped], []
        batch = self._newest = self._committer.record(self, fact, taken, definition, at)
        if batch.is_logged:
            _log(self.state.run_id, fact)
        if self._driven and self.state.pause_requested_at is not None:
            self._pause_when_idle()
        return batch

    def keep_apart(self, alone_from: int) -> None:
        """Have what was just recorded refused while another run of the workflow is not final (Commit.alone_from)."""
        self._committer.keep_apart(self, alone_from)

    def drop(self, request: int) -> None:
        """Have a request that changes nothing leave the inbox with whatever is recorded next."""
        self._dropped.append(request)

    async def unwind(self) -> NoReturn:
        """Leave the program of a stopped run. One that swallows that and calls again is slowed down."""
        task = this_task()
        swallowed = self._unwound[task] = self._unwound.get(task, -1) + 1
        if swallowed < FREE_CALLS:
            await checkpoint_if_cancelled()  # raises at once, unless the program has shielded itself from that
        else:
            if swallowed == FREE_CALLS:
                at = ", ".join(self.state.current_steps) or self.state.current_step or "its beginning"
                logger.warning("run %s: its program swallows its %s and goes on, at %s", self.uid, self.stopped, at)
            with anyio.CancelScope(shield=True):
                await anyio.sleep(min(SLOWEST_SECONDS, 0.001 * 2 ** min(swallowed - FREE_CALLS, 20)))
        raise Ended

    def stop(self, why: Stop) -> None:
        """Make the program unwind. The first reason stands, unless the run is lost to this kernel, or a pause becomes a
        cancel."""
        if self.stopped is None or why in (Stop.FENCED, Stop.LOST) or (self.stopped, why) == (Stop.PAUSE, Stop.CANCEL):
            self.stopped = why
        self.is_closing = self.is_closing or why is Stop.CLOSE
        self.signals.leave()
        self._scope.cancel()
        if self._released is not None:
            self._released.set()
        if self._driven and self._insisted is not self._scope and self.stopped in _PATIENT:
            self._insisted = self._scope
            self.spawn(partial(self._insist, self._scope))
        for wait in tuple(self._waits.values()):
            wait.scope.cancel()
        for ticket in self.queued.values():  # inside a shield, nothing else would tell them
            ticket.woken.set()
        if self._driven:
            self.replay.stop()

    async def _insist(self, scope: anyio.CancelScope) -> None:
        """Repeat the cancellation of a program that does not stop, ever more slowly. Clean-ups have another scope."""
        delay = INSIST_AFTER_SECONDS
        while True:
            with anyio.move_on_after(delay):
                await self.ended.wait()
            if self.ended.is_set() or scope is not self._scope:
                return
            cancel_once_more(scope)
            delay = min(SLOWEST_SECONDS, 2 * delay)

    # -- a program that has changed -----------------------------------------------------------------------------

    def require_asked(self, key: str) -> None:
        """Stop a program whose own task begins the new step `key` although it has not asked for what it completed
        before. Other tasks are not judged here: what they ask for comes in any order, and may still come."""
        if self.state.cleaning_up is not None:
            return  # clean-ups need not ask for what the program has completed
        found = unasked(self.state, self.replay.is_unasked, branch="") if this_task() == self.task else []
        if found and not self._has_other_tasks():
            detail = f"it is new, and the program asks for it before {found[0].step!r}"
            self.refuse([errors.Difference(key, "inserted", detail), *found])

    def refuse(self, differences: Sequence[errors.Difference]) -> None:
        """Stop a program that contradicts what is recorded of its run."""
        if self.stopped is None:
            self.differences = differences
            self.stop(Stop.INCOMPATIBLE)

    def _refuse_misfits(self, error: BaseException) -> None:
        """Stop a program that found at its beginning that the inputs of its run no longer fit (programs.py)."""
        if is_a(error, errors.StateIncompatibilityError):
            found = cast("errors.StateIncompatibilityError", error)
            if found.run_id == self.state.run_id:
                self.refuse(found.differences)

    def _require_all_asked(self) -> None:
        """Stop a program as incompatible that has returned without asking for all that it has completed."""
        found = unasked(self.state, self.replay.is_unasked) if self.stopped is None else []
        if found and not self._has_other_tasks():
            self.refuse(found)

    def _has_other_tasks(self) -> bool:
        return self.task is not None and LooseWork().has_tasks(self.uid, self.task)

    # -- only waiting -------------------------------------------------------------------------------------------

    def only_waits(self) -> bool:
        """True if nothing but the call that asks could wake the program: it runs in the program's own task, under no
        deadline and inside of no handler of the user's. Tasks and timers that the program has left on the event loop
        are not looked for here (leaving.LooseWork)."""
        if self.state.cleaning_up is not None:
            return False  # its time is counted in this process
        if this_task() != self.task or anyio.current_effective_deadline() != inf:
            return False
        return not stands_guarded(until=LiveRun._run_alone.__code__)

    def look_into(self, holdings: Holdings) -> Suspended:
        """Look at what the program holds, which only waits, together with other programs."""
        variables: list[object] = []
        if self._surroundings is not None:
            before, now = self._surroundings
            variables = [value for each, value in now.items() if before.get(each) is not value]
        return holdings.add(self.uid, self._program, variables)

    @contextmanager
    def lull(self, ticket: Ticket | None = None) -> Iterator[None]:
        """Inside, this task waits for an instant, a signal or a slot. If nothing else could wake the program, the run
        may leave memory meanwhile."""
        with self.waits():
            yield from self._lull(ticket)

    def _lull(self, ticket: Ticket | None) -> Iterator[None]:
        if not self.only_waits():
            yield
            return
        self.ticket = ticket
        self._on_idle(self, True)
        try:
            yield
        finally:
            self._on_idle(self, False)
            self.ticket = None

    @contextmanager
    def waits(self) -> Iterator[None]:
        """Inside, this task waits for what the kernel knows of: an instant, a signal, a slot or a child run.

        A stop of the run ends the wait in whatever task it is, and the caller looks at `stopped` afterwards. A task
        that asyncio started without anyio is in no scope of the program's, and may have swallowed the one cancel that
        its task group sends (tests/kernel/test_swallowed_cancels.py)."""
        task = this_task()
        with anyio.CancelScope() as scope:
            self._waits[task] = _Wait(anyio.current_effective_deadline(), scope)
            try:
                yield
            finally:
                self._waits.pop(task, None)

    def seconds_at_rest(self) -> float | None:
        """Return for how many seconds the program does nothing, as far as it does not wait for what is recorded: until
        the first deadline of its own. None if one of its tasks is at something else than a wait.

        A task that waits for tasks it has started is not at something else. Of tasks that asyncio started without
        anyio the parent is not known, so the program's own task is taken to wait for those that wait."""
        if not self._driven or self.stopped is not None or not self.replay.over or not self._waits:
            return None
        below: dict[int | None, list[int]] = {}
        for task in anyio.get_running_tasks():
            below.setdefault(task.parent_id, []).append(task.id)
        todo = [] if self.task in self._waits else list(below.get(self.task, ()))
        while todo:
            if (task_id := todo.pop()) not in self._waits:
                if not (started := below.get(task_id)):
                    return None
                todo += started
        return min(wait.deadline for wait in self._waits.values()) - anyio.current_time()

    async def written(self) -> None:
        """Return when all that was recorded is durable."""
        while (newest := self._newest) is not None:
            await newest.durable()
            if newest is self._newest:
                return

    # -- pausing ------------------------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """True once a pause was asked for: no attempt may start any more."""
        return self.state.pause_requested_at is not None

    async def hold(self) -> NoReturn:
        """Wait, instead of starting an attempt, until the last body has ended and the run is paused."""
        if self.stopped is None:
            self._released = self._released or anyio.Event()
            await self._released.wait()
        await self.unwind()

    def _pause_when_idle(self) -> None:
        if self.state.active == 0 and self.stopped is None and self.state.status in LIVE:
            self.stop(Stop.PAUSE)

    # -- signals ------------------------------------------------------------------------------------------------

    def receive(self, signal: events.SignalReceived, taken: Sequence[int] = ()) -> Batch:
        """Record a signal and wake whoever waits for one of its name."""
        batch = self.record(signal, taken=taken)
        self.signals.wake(signal.name)
        return batch

    # -- the program --------------------------------------------------------------------------------------------

    async def drive(
        self,
        program: Callable[[], Awaitable[Any]],
        clean_up: Callable[[], Awaitable[Any]] | None = None,
        turn: Callable[[], Awaitable[None]] | None = None,
        part: Callable[[Set[str]], Awaitable[bool]] | None = None,
    ) -> None:
        """Run the program to its end in this task, once its `turn` has come, and record how it ended, after `part` from
        the children it still waited for; where that returns False, its end is left to the next owner.

        After a cancel, or when the time of the run is over, `clean_up` runs once the program has stopped; if it had
        begun before this life of the run, nothing else does."""
        output: str | None = None
        failure: events.RunFailed | None = None
        self._driven = True
        self.task = this_task()
        if self.state.cleaning_up is None:
            output, failure = await self._perform(program, turn)
        children = awaited(self.state)
        if clean_up is not None and self._is_to_clean_up():
            await self._clean_up(clean_up)
        children |= awaited(self.state)
        ends = self.stopped in (None, Stop.CANCEL, Stop.TIMEOUT)
        if ends and part is not None and not await part(children) and not self.is_lost:
            self.stopped = Stop.CLOSE
        await self._end(output, failure, children)

    def _is_to_clean_up(self) -> bool:
        if self.state.status not in LIVE:
            return False
        if self.state.cleaning_up is not None:
            return self.stopped is None
        return self.stopped in (Stop.CANCEL, Stop.TIMEOUT) and bool(self.state.steps)

    async def _clean_up(self, clean_up: Callable[[], Awaitable[Any]]) -> None:
        """Run the clean-ups. Another stop ends them; the run ends for the reason for which its program was stopped."""
        if self.state.cleaning_up is None:
            assert self.stopped is not None
            self.record(at_clean_up(self.state, self.stopped))
        self.stopped = None
        self._scope, self._released = anyio.CancelScope(shield=True), None
        self._unwound.clear()
        _, failure = await self._perform(clean_up, is_clean_up=True)
        if failure is not None:
            logger.warning("run %s: its clean-up failed: %s: %s", self.state.run_id, failure.type, failure.message)
        if self.stopped in (None, Stop.CANCEL, Stop.TIMEOUT):
            self.stopped = stop_of(self.state)

    async def _perform(
        self,
        program: Callable[[], Awaitable[Any]],
        turn: Callable[[], Awaitable[None]] | None = None,
        *,
        is_clean_up: bool = False,
    ) -> tuple[str | None, events.RunFailed | None]:
        """Run a program until it has ended or was stopped, and return its output or its failure."""
        output: str | None = None
        # Not earlier: a resume has to be recorded first, and what it invalidates is not handed out.
        self.replay = Replay(self.state, self.spawn)
        if self.held:  # asked for before there was a program to stop
            self._pause_when_idle()
        if self.stopped is not None:
            self.replay.stop()
        try:
            with self._scope:
                if turn is not None:
                    await turn()
                # Called here and not before: it must begin in the task that drives it, inside the scope that can
                # stop it.
                value = await self._run_alone(program)
                if not is_clean_up:
                    self._require_all_asked()
                    output = self.workflow.codec.encode(value)
        except Ended:
            pass
        except BaseException as error:
            self._refuse_misfits(error)
            if await self._is_torn_down(error):
                # Not through our scope: the event loop itself is being ended, as by a second Ctrl-C.
                self.stop(Stop.CLOSE)
                await self._end(None, None, set())
                raise
            return None, _run_failed(error)
        return output, None

    async def _run_alone(self, program: Callable[[], Awaitable[Any]]) -> Any:
        """Return what the program returns; raises RuntimeError if it has left a cancel scope open."""
        left = 0
        if (variables := context_of_this_task()) is not None:
            self._surroundings = variables.copy(), variables
        self._program = program()
        try:
            value = await self._program
        finally:
            left = exit_open_scopes(self._scope)
        if left:
            raise RuntimeError(
                "the program has returned inside of a cancel scope or task group: leave it, as `with` does"
            )
        return value

    async def _is_torn_down(self, error: BaseException) -> bool:
        """True if an error of the program is the end of the event loop, as by a second Ctrl-C, and not its own."""
        if is_a(error, GeneratorExit):
            return self.task is None or not is_running_in(self.task)
        if is_a(error, KeyboardInterrupt):
            return True
        return holds_cancellation(error) and cancelled_from_outside() and await self._is_committer_gone()

    async def _is_committer_gone(self) -> bool:
        """True if everything is being cancelled. If the committer lives on, just this task was cancelled, with
        Task.cancel(): that is a failure of this run, and no reason to end the kernel."""
        with anyio.CancelScope(shield=True):
            for _ in range(3):
                await checkpoint()
        return self._committer.failure is not None

    async def _end(self, output: str | None, failure: events.RunFailed | None, children: Set[str]) -> None:
        """Record how the run ends, and which of the children that it has waited for outlive it."""
        try:
            batch: Batch | None = None
            children = children - self.given_up
            for fact in at_end(self.state, self.stopped, output, failure, self.differences):
                batch = self.record(fact)
            self._over = True
            if batch is not None:
                with anyio.CancelScope(shield=True):
                    await batch.durable()
            if self.state.finished_at is not None and not self.is_lost:
                self.orphans = dict.fromkeys(sorted(children), self.state.finished_at)
        except (errors.StoreError, errors.KernelClosedError) as error:
            self.failure = error
        except Ended:
            self.failure = self._committer.failure


def _run_failed(error: BaseException) -> events.RunFailed:
    """Return the fact of a program that raised: a step's failure stands for itself, also when a group carries it."""
    failed = {each.step: each for each in _step_failures(error)}
    first = next(iter(failed.values()), None)
    if first is not None and is_a(error, errors.StepFailed, BaseExceptionGroup):
        return events.RunFailed(first.type, first.error, first.step, first.attempt, steps=tuple(failed))
    failure = describe(error)
    step = None if first is None else first.step
    return events.RunFailed(failure.type, failure.message, step, steps=tuple(failed), details=failure.details)


def _step_failures(error: BaseException) -> list[errors.StepFailed]:
    """Return the failures of steps that an error carries at any depth."""
    return [cast(errors.StepFailed, each) for each in carried(error) if is_a(each, errors.StepFailed)]


def _log(run_id: str, fact: Fact) -> None:
    """Log a fact that is being recorded, with what it is about as attributes for those who collect logs."""
    kind = KIND_OF[fact.__class__].type
    step, attempt = getattr(fact, "step", None), getattr(fact, "attempt", None)
    request = getattr(fact, "request", None)
    about = {"step": step, "attempt": attempt, "request_id": None if request is None else request[0]}
    said = "".join(f" {name}={value}" for name, value in about.items() if value is not None)
    level = logging.INFO if step is None and kind.startswith("run_") else logging.DEBUG
    journal_logger.log(level, "run %s: %s%s", run_id, kind, said, extra={"run_id": run_id, **about})
