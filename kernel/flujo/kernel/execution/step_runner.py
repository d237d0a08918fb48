"""The story of one step: hand out what is recorded of it, or attempt it until it has an outcome, and record that.

    recorded outcome      handed out in journal order (replay.py)
    started               durable before the body runs
    slots                 one of each limit it is under, acquired before it is started; there may be a line (limits.py)
    resources             what commands have used, reported before the outcome of an attempt that ran some
    value                 recorded; returned without waiting, so that the next step's start shares its commit
    failure               recorded with the instant of the next attempt, or for good (transitions.after_failure)
    wait                  recorded; nothing runs until its instant or its signal comes
    cancelled by program  recorded, so that a replay waits for the same cancellation again

Between a recorded outcome and the next step's start nothing here may yield, and few calls should stand there: this is
the path every step takes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import count, takewhile
from math import inf
from typing import Any, NoReturn

import anyio

from flujo.kernel import errors, traces
from flujo.kernel.clock import Clock, sleep_out
from flujo.kernel.codecs import PLAIN, Codec
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.journal import events
from flujo.kernel.journal.decisions import MISFIT, Stop, after_failure
from flujo.kernel.journal.failures import MAX_MESSAGE, bounded, describe, is_a
from flujo.kernel.journal.plans import loop_of
from flujo.kernel.journal.retry import RetryPolicy
from flujo.kernel.journal.state import ITEMS, OPEN, SETTLED, StepState, StepStatus, Usage
from flujo.kernel.keys import item_key
from flujo.kernel.loops import this_task
from flujo.kernel.values import NULL

from .arguments import Change, change
from .attempt_runner import Body, Completed, Failed, StepOptions, described, run_attempt
from .child_runs import ChildCall, ChildRuns
from .current_attempt import Attempt, Wait
from .limits import Limit, Limiter, Ticket
from .live_run import LiveRun
from .progress import Reporter
from .subprocesses import Children

logger = logging.getLogger("flujo.kernel")

_TO_BEGIN = (StepStatus.PENDING, StepStatus.CANCELLED)
"""A step that its program asks for although it is cancelled was cut short before the clean-ups began."""

_new = tuple.__new__  # what StepStarted(…) comes to, in half the time


class StepRunner:
    """Performs the steps of one live run."""

    def __init__(
        self,
        run: LiveRun,
        clock: Clock,
        reporter: Reporter,
        children: Children,
        limiter: Limiter,
        threads: anyio.CapacityLimiter,
    ) -> None:
        self._run = run
        self._clock = clock
        self._reporter = reporter
        self._report = reporter.report
        self._children = children
        self._limiter = limiter
        self._threads = threads
        parent = traces.parent_of(run.state.environment)
        span = None if parent is None else traces.of_run(run.uid, parent)
        self._redacted: set[str] = set()  # steps that secrets were cut out of, until that is recorded
        self._tools = children, reporter.report, span, self._redacted.add  # what every attempt is given
        self._used: dict[str, Usage] = {}  # by commands of failed attempts; a body may report over what is recorded

    async def perform(
        self, key: str, body: Body, terms: StepOptions, digest: str | None = None, *, is_item: bool = False
    ) -> Any:
        """Perform a step with a body and return its output; raises StepFailed.

        `digest` tells its arguments from others (arguments.py). A completed step with others contradicts its record,
        unless it is an item of a map, which runs again."""
        run = self._run
        _, codec, retry, _, limit = terms
        step = run.state.steps.get(key)
        if step is not None:
            await self._require_call(step, "step")
            if step.status in SETTLED and not await self._runs_again(step, digest, is_item):
                return await self._recorded(step, codec)
        try:
            if step is not None or run.stopped is not None or not run.replay.over:
                await self._begin(key, step)
            if step is not None and step.status is StepStatus.WAITING:
                return await self._wait_out(key, codec)
            generation, number = (1, 0) if step is None else await self._due(step)
            limiter = self._limiter
            while True:  # until an attempt settles the step; not in a coroutine of its own, which every step would pay
                number += 1
                if run.state.pause_requested_at is not None:
                    await run.hold()
                started = _new(events.StepStarted, (key, number, generation, retry.max_attempts, digest))
                limits, ticket = limiter.limits_of(limit) if limiter.has_limits else (), None
                if limits and not limiter.try_acquire(run.uid, limits):
                    ticket = await self._wait_for_slot(started, limits)
                try:
                    await run.record(started).durable()
                    if run.stopped is not None:
                        await run.unwind()
                    told = (run.state.run_id, run.uid, key, generation, number, *self._tools)
                    outcome = await run_attempt(_new(Attempt, told), body, terms, self._threads)
                finally:
                    if limits:
                        limiter.release(limits, ticket)
                if self._children.used or self._reporter.kept or self._reporter.mail:
                    self._report_rest(key, more_may_follow=isinstance(outcome, Failed))
                if isinstance(outcome, Completed):
                    redacted = bool(self._redacted) and self._take_redacted(key)
                    run.record(_new(events.StepCompleted, (key, outcome.output, None, redacted)))
                    return outcome.value
                if isinstance(outcome, Wait):
                    self._start_waiting(key, generation, outcome)
                    return await self._wait_out(key, codec, outcome.seconds)
                await self._after_failure(key, outcome, retry)
        except BaseException as error:
            self._left(key, error)
            raise

    async def wait(self, key: str, wait: Wait, codec: Codec = PLAIN) -> Any:
        """Perform a step without a body, a durable sleep or a wait for a signal, and return what it brought."""
        step = self._run.state.steps.get(key)
        if step is not None:
            await self._require_call(step, wait.kind)
            if step.status in SETTLED:
                return await self._recorded(step, codec)
        try:
            await self._begin(key, step)
            seconds = None
            if step is None or step.status in _TO_BEGIN:
                self._start_waiting(key, _next_generation(step), wait)
                seconds = wait.seconds
            return await self._wait_out(key, codec, seconds)
        except BaseException as error:
            self._left(key, error)
            raise

    async def value(self, key: str, kind: str, read: Callable[[], str]) -> Any:
        """Return what `read` returned the first time, which is JSON text, on every replay."""
        step = self._run.state.steps.get(key)
        if step is not None:
            await self._require_call(step, kind)
            if step.status in SETTLED:
                return await self._recorded(step, PLAIN)
        await self._begin(key, step)
        recorded = read()
        self._run.record(events.ValueRecorded(key, kind, recorded, generation=1 if step is None else step.generation))
        return PLAIN.decode(recorded)

    async def set_variable(self, key: str, name: str, value: str) -> None:
        """Set a variable of the run, unless this call has done so before."""
        step = self._run.state.steps.get(key)
        if step is not None:
            await self._require_call(step, "variable")
            if step.status in SETTLED:
                await self._recorded(step, PLAIN)
                return
        await self._begin(key, step)
        self._run.record(events.VariableSet(name, value, key, generation=1 if step is None else step.generation))

    async def child(self, key: str, call: ChildCall, child_runs: ChildRuns, retry: RetryPolicy, codec: Codec) -> Any:
        """Start another run and return its output once it has completed; raises StepFailed when it has not."""
        run, state = self._run, self._run.state
        step = state.steps.get(key)
        if step is not None:
            await self._require_call(step, "child")
            if step.status in SETTLED:
                await self._require_same_inputs(step, call, child_runs)
                return await self._recorded(step, codec)
        try:
            await self._begin(key, step)
            self._limiter.forget(run.uid)
            if step is not None and step.next_attempt_at is not None:
                with run.waits():
                    await self._clock.sleep_until(step.next_attempt_at)
                if run.stopped is not None:
                    await run.unwind()
            while True:
                step = state.steps.get(key)
                if step is None or step.status is not StepStatus.WAITING:
                    generation = _next_generation(step)
                    child, resumes = await child_runs.resolve_child(run, key, generation, step, call)
                    if run.stopped is not None:  # in the tick in which the store answered, or in a task of asyncio's
                        await run.unwind()
                    if run.held:
                        await run.hold()
                    waiting = events.StepWaiting(
                        key, "child", generation, child=child, child_resumes=resumes, max_attempts=retry.max_attempts
                    )
                    await run.record(waiting).durable()  # or a child might be there of which nobody knows
                    if run.stopped is not None:
                        await run.unwind()
                with run.waits():
                    outcome = await child_runs.outcome(run, state.steps[key], call)
                if run.stopped is not None:
                    await run.unwind()
                if isinstance(outcome, str):
                    run.record(events.StepCompleted(key, outcome))
                    return codec.decode(outcome)
                await self._after_failure(key, outcome, retry)
        except BaseException as error:
            child_runs.abandoned(run, key)
            self._left(key, error)
            raise

    async def loop(self, key: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Perform a step that waits for others, which `work` performs, and return the output that `work` gives it;
        raises StepFailed with the error that `work` raises (items.py)."""
        run = self._run
        step = run.state.steps.get(key)
        if step is not None:
            await self._require_call(step, ITEMS)
            if step.status in SETTLED:
                return await self._recorded(step, PLAIN)
        try:
            if step is None or step.status in _TO_BEGIN:
                await self._begin(key, step)
                if run.held:
                    await run.hold()
                run.record(events.StepWaiting(key, ITEMS, _next_generation(step)))
            outcome: str | Exception
            try:
                outcome = PLAIN.encode(await work())
            except Exception as error:
                outcome = error
            if run.stopped is not None:
                await run.unwind()
            self._reporter.flush(key)
            redacted = self._has_redacted_items(key)
            if isinstance(outcome, str):
                run.record(events.StepCompleted(key, outcome, redacted=redacted))
                return PLAIN.decode(outcome)
            failure, _, _, is_cut = described(outcome, key, 0)
            run.record(events.StepFailed(key, 0, failure.type, failure.message, redacted=redacted or is_cut))
            raise errors.StepFailed(key, failure.type, failure.message, 0) from outcome
        except BaseException as error:
            self._left(key, error)
            raise

    def skip(self, key: str, reason: str) -> None:
        """Record that a step is not run, unless that or another outcome is recorded already."""
        step = self._run.state.steps.get(key)
        if step is None or step.status is StepStatus.PENDING:
            self._run.record(events.StepSkipped(key, reason, generation=1 if step is None else step.generation))

    # -- what is recorded ---------------------------------------------------------------------------------------

    async def _require_call(self, step: StepState, kind: str) -> None:
        """Stop a program that calls what is recorded under a key by another kind of call: a step where a signal was
        waited for would complete with its payload. Accepted changes let recorded outcomes stand for it."""
        recorded = step.call
        if recorded is None or recorded == kind or step.status is StepStatus.PENDING:
            return
        if not (self._run.state.changes_accepted and step.status in SETTLED):
            before, now = ("loop" if each == ITEMS else each for each in (recorded, kind))
            await self._refuse(step, f"it is recorded as a {before}, and the program asks for a {now} by this name")

    async def _runs_again(self, step: StepState, digest: str | None, is_item: bool) -> bool:
        """True if a settled step has to run again; stops a program that calls a completed one with other arguments."""
        state = self._run.state
        if is_item:
            again = digest is not None and step.digest is not None and step.digest != digest
        else:
            changed = change(step.digest, digest)
            if changed is Change.ARGUMENTS and step.status is StepStatus.COMPLETED and not state.changes_accepted:
                of_a_loop = "the item it was made of has" if loop_of(step.name) is not None else "its arguments have"
                await self._refuse(step, f"{of_a_loop} changed since it completed")
            again = changed is Change.VERSION
        if again:
            logger.warning("run %s: %s is not called as before, it runs again", state.run_id, step.name)
        return again

    async def _require_same_inputs(self, step: StepState, call: ChildCall, child_runs: ChildRuns) -> None:
        """Stop a program that calls a completed child with other inputs than those it was started with."""
        run = self._run
        if step.status is not StepStatus.COMPLETED or step.child is None or run.state.changes_accepted:
            return
        if not await child_runs.was_called_with(run, step.child, call):
            await self._refuse(step, "the inputs of its run have changed since it completed")

    async def _refuse(self, step: StepState, detail: str, change: str = "changed") -> NoReturn:
        self._run.refuse([errors.Difference(step.name, change, detail)])
        await self._run.unwind()

    async def _recorded(self, step: StepState, codec: Codec) -> Any:
        assert step.settled_seq is not None
        await self._run.replay.until_due(step.settled_seq)
        if self._run.stopped is not None:
            await self._run.unwind()
        if step.status is StepStatus.FAILED:
            assert step.error is not None
            raise errors.StepFailed(step.name, step.error.type, step.error.message, step.attempt)
        if step.output_json is None:
            return None
        try:
            return codec.decode(step.output_json)
        except errors.InvalidValueError as error:
            detail = f"its recorded output no longer fits its type: {error.path}: {error.problem}"
            await self._refuse(step, detail, MISFIT)

    async def _begin(self, key: str, step: StepState | None) -> None:
        """Wait until this step may make new history; a step the program once cancelled waits to be cancelled again."""
        if self._run.stopped is not None:
            # The program tidies up, perhaps inside a shield: nothing begins any more, and nothing may hold up the end.
            await self._run.unwind()
        if step is not None and step.status is StepStatus.CANCELLED and step.settled_seq is not None:
            # Before any turn: this makes no new history, and what is recorded after it has still to come in order.
            await self._run.replay.await_recorded_cancellation(step.settled_seq)
        if not self._run.replay.over:
            await self._run.replay.until_due()
            if step is None and self._run.replay.has_skipped_some:
                self._run.require_asked(key)  # nobody has asked for anything for a while, and now comes something new
            if self._run.stopped is not None:
                await self._run.unwind()

    # -- attempts -----------------------------------------------------------------------------------------------

    async def _wait_for_slot(self, started: events.StepStarted, limits: Sequence[Limit]) -> Ticket:
        """Return once this step has a slot of each of its limits, with the ticket that has them.

        One that its program cancels in line is recorded as one that was cancelled while its start was: else a replay
        would take it for new, where the program goes on by its own cancellation."""
        run, limiter, key = self._run, self._limiter, started.step
        ticket = limiter.enqueue(run.state.run_id, run.uid, key, limits)
        if ticket.is_granted:  # while the run was away
            return ticket
        run.queued[key] = ticket
        try:
            with run.lull(ticket):
                await ticket.woken.wait()
            if run.stopped is not None:
                await run.unwind()
            if run.held:
                limiter.withdraw(ticket)
                await run.hold()
        except BaseException as error:
            if run.stopped is Stop.LEAVE and this_task() == run.task:
                limiter.park(ticket)
            else:
                limiter.withdraw(ticket)
            step = run.state.steps.get(key)
            if _is_cancelled_by_program(run, error) and not run.held and (step is None or step.status not in OPEN):
                run.record(started)
            raise
        finally:
            del run.queued[key]
        return ticket

    async def _due(self, step: StepState) -> tuple[int, int]:
        """Wait until a step that has a history is due, and return its generation and the number of its last attempt."""
        if step.status in SETTLED or step.status is StepStatus.CANCELLED:  # with other arguments; or it was cut short
            return step.generation + 1, 0
        if step.next_attempt_at is not None and step.next_attempt_at > self._clock.now():
            with self._lull():
                await self._clock.sleep_until(step.next_attempt_at)
            if self._run.stopped is not None:
                await self._run.unwind()
        return step.generation, step.attempt

    async def _after_failure(self, key: str, failed: Failed, policy: RetryPolicy) -> None:
        """Record the failure, then wait for the next attempt's time; raises StepFailed when there is none."""
        run = self._run
        state = run.state
        now = self._clock.now()
        fact = after_failure(state, state.steps[key], policy, failed.failure, failed.kinds, now, failed.least_seconds)
        if isinstance(fact, events.AttemptFailed) and not run.only_waits():
            fact = fact._replace(reenter=True)
        if self._take_redacted(key) or failed.redacted:
            fact = fact._replace(redacted=True)
        batch = run.record(fact, at=now)
        if isinstance(fact, events.StepFailed):
            raise errors.StepFailed(key, fact.type, fact.message, fact.attempt)
        logger.info("run %s: %s failed (%s), tried again", state.run_id, key, fact.type)
        await batch.durable()
        if run.stopped is not None:
            await run.unwind()
        with self._lull():
            await sleep_out(self._clock, fact.next_attempt_at, (fact.next_attempt_at - now) / MICROSECONDS)
        if run.stopped is not None:
            await run.unwind()

    def _take_redacted(self, key: str) -> bool:
        """True if secrets were cut out of what is recorded of a step, or of its log, since its last outcome."""
        is_redacted = key in self._redacted
        self._redacted.discard(key)
        return is_redacted

    def _has_redacted_items(self, key: str) -> bool:
        """True if secrets were cut out of what is recorded of an item of a loop: its output is made of that."""
        steps = self._run.state.steps
        items = takewhile(bool, (steps.get(item_key(key, index)) for index in count()))
        return any(item is not None and item.redacted for item in items)

    def _report_rest(self, key: str, *, more_may_follow: bool = False) -> None:
        """Record what an attempt has reported and used, before its outcome."""
        self._report_used(key, more_may_follow)
        self._reporter.flush(key)

    def _report_used(self, key: str, more_may_follow: bool) -> None:
        """Record what the commands of the attempt that has just ended have used, together with those of the attempts
        before it, as metrics of the step's progress."""
        if (used := self._children.used.pop((self._run.uid, key), None)) is None:
            return
        step = self._run.state.steps[key]
        told = None if step.progress is None else step.progress.used  # in another life
        before = self._used.pop(key, told)
        if before is not None:
            used = used.plus(before)
        if more_may_follow:
            self._used[key] = used
        said = self._reporter.kept.pop(key, None) or step.progress or events.ProgressReported(key, 0)
        metrics = {**said.metrics, **used.metrics()}
        self._run.record(events.ProgressReported(key, said.done, said.total, said.message, metrics))

    # -- waits --------------------------------------------------------------------------------------------------

    def _start_waiting(self, key: str, generation: int, wait: Wait) -> None:
        now = self._clock.now()
        until = None if wait.seconds is None else now + round(wait.seconds * MICROSECONDS)
        kind = "sleep" if wait.signal is None else "signal"
        reenter = not self._run.only_waits()
        fact = events.StepWaiting(key, kind, generation, until=until, signal=wait.signal, reenter=reenter)
        self._run.record(fact, at=now)

    async def _wait_out(self, key: str, codec: Codec, seconds: float | None = None) -> Any:
        """Wait for what a waiting step waits for, record that it came, and return what it brought.

        `seconds` is how long that takes at most, if the wait has just begun."""
        at_most = inf if seconds is None else seconds
        step = self._run.state.steps[key]
        if step.signal is not None:
            with self._run.signals.waiting(step.signal, key, codec):
                return await self._wait_for_signal(step, step.signal, codec, at_most)
        assert step.until is not None
        with self._lull():
            await sleep_out(self._clock, step.until, at_most)
        if self._run.stopped is not None:  # in the tick in which it was woken
            await self._run.unwind()
        self._run.record(events.StepCompleted(key, NULL))
        return codec.decode(NULL)

    async def _wait_for_signal(self, step: StepState, name: str, codec: Codec, seconds: float) -> Any:
        run = self._run
        is_over = False
        while (taken := self._take(step, name, codec)) is None:
            if is_over:
                failure = describe(TimeoutError(f"no signal {name!r} came in time"))
                run.record(events.StepFailed(step.name, step.attempt, failure.type, failure.message))
                raise errors.StepFailed(step.name, failure.type, failure.message, step.attempt)
            with self._lull():
                is_over = not await self._arrives_before(name, step.until, seconds)
            if run.stopped is not None:
                await run.unwind()
        return taken[0]

    def _take(self, step: StepState, name: str, codec: Codec) -> tuple[Any] | None:
        """Take the oldest signal that this wait can read, and record that; None if there is none. One that no wait of
        its name can read is set aside: nobody would ever take it, and the sender has gone on."""
        run = self._run
        for signal in run.state.signals.get(name, ()):
            try:
                value = codec.decode(signal.payload)
            except errors.InvalidValueError as error:
                if not run.signals.may_be_read(name, signal.payload):
                    logger.warning("run %s: %s: the signal %r does not fit: %s", run.uid, step.name, name, error)
                    where, problem = bounded(error.path, MAX_MESSAGE), bounded(error.problem, MAX_MESSAGE)
                    run.record(events.SignalSetAside(step.name, name, signal.seq, where, problem, codec.fits))
            else:
                run.record(events.StepCompleted(step.name, signal.payload, signal_seq=signal.seq))
                return (value,)
        return None

    async def _arrives_before(self, name: str, instant: int | None, seconds: float) -> bool:
        """Wait until there may be a signal to take, and return False if an instant came first; with None, wait without
        end."""
        alarm = anyio.CancelScope()
        with anyio.CancelScope() as patience:
            if instant is not None:
                # Not in a task group here: then the run could not leave memory, for this task would have a child.
                self._run.spawn(partial(self._give_up, instant, seconds, patience, alarm))
            try:
                await self._run.signals.until_woken(name)
            finally:
                alarm.cancel()
        return not patience.cancelled_caught

    async def _give_up(
        self, instant: int, seconds: float, patience: anyio.CancelScope, alarm: anyio.CancelScope
    ) -> None:
        with alarm:
            await sleep_out(self._clock, instant, seconds)
            patience.cancel()

    def _lull(self) -> AbstractContextManager[None]:
        """LiveRun.lull, for a wait that is not for a slot: a run that left waiting for one does not ask for it now."""
        self._limiter.forget(self._run.uid)
        return self._run.lull()

    # -- leaving ------------------------------------------------------------------------------------------------

    def _left(self, key: str, error: BaseException) -> None:
        """Record, when a step is left by a cancellation the kernel did not cause, that the program cancelled it."""
        step = self._run.state.steps.get(key)
        if _is_cancelled_by_program(self._run, error) and step is not None and step.status in OPEN:
            self._report_rest(key)
            self._run.record(events.StepCancelled(key))
        self._children.used.pop((self._run.uid, key), None)  # of an attempt whose outcome is not recorded
        self._redacted.discard(key)


def _next_generation(step: StepState | None) -> int:
    """Return the generation in which a step begins, or goes on."""
    return 1 if step is None else step.generation + (step.status is StepStatus.CANCELLED)


def _is_cancelled_by_program(run: LiveRun, error: BaseException) -> bool:
    return run.stopped is None and not is_a(error, Exception, KeyboardInterrupt, GeneratorExit)
