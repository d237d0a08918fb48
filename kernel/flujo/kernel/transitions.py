"""What an event does to a run, and what may happen next. Nothing here waits, reads a clock or touches a store.

    fold          the only thing that changes a WorkflowState: live, on recovery, for inspect and in tests alike
    after_failure whether a failed attempt is followed by another, and when
    at_recovery   what has to be recorded before a run goes on under a new owner
    at_resume     what a resume invalidates
    at_end        how a run ends, from how its program ended

docs/state-machines.md draws both machines; tests/kernel/test_transitions.py holds them against this file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any

from pydantic_core import to_json

from . import events, plans
from .backend import RunSummary
from .durations import MICROSECONDS
from .errors import CorruptStoreError, Difference, RunNotResumableError, StepCompletedError, StepNotFoundError
from .events import Event, EventRow, Fact
from .retry import RetryPolicy
from .state import FINAL, LIVE, SETTLED, Failure, Progress, RunStatus, Signal, StepState, StepStatus, WorkflowState
from .values import NULL, decode

# ---------------------------------------------------------------------------------------------------------------
# The fold
# ---------------------------------------------------------------------------------------------------------------

# The statuses that every event is compared with. Reading a member off its enum is a slow lookup, and a fold needs many.
_PENDING, _RUNNING, _RETRYING, _WAITING, _COMPLETED = (
    StepStatus.PENDING,
    StepStatus.RUNNING,
    StepStatus.RETRYING,
    StepStatus.WAITING,
    StepStatus.COMPLETED,
)
_RUN_RUNNING, _RUN_WAITING = RunStatus.RUNNING, RunStatus.WAITING

_new = tuple.__new__  # what RunSummary(…) comes to, in half the time; built for every commit


def fold(state: WorkflowState, event: Event) -> None:
    """Apply the next event to a state."""
    apply(state, *event)


def apply(state: WorkflowState, seq: int, at: int, fact: Fact) -> None:
    """`fold` for an event in parts, as one is while it is recorded."""
    if seq != state.seq + 1:
        raise CorruptStoreError(state.run_id, f"event {seq} follows event {state.seq}")
    _HANDLERS[fact.__class__](state, seq, at, fact)
    state.seq = seq
    state.updated_at = at
    if state.waiting or state.status is not _RUN_RUNNING:
        _follow_steps(state)


def _follow_steps(state: WorkflowState) -> None:
    """A live run that has begun runs or waits, as its steps do."""
    if state.started_at is not None and state.status in LIVE:
        state.status = _RUN_WAITING if state.waiting and not state.running else _RUN_RUNNING


def replay(run_id: str, uid: str, rows: Iterable[EventRow]) -> WorkflowState:
    """The state a journal adds up to, as it is stored."""
    return add_up(run_id, uid, map(events.decode, rows))


def add_up(run_id: str, uid: str, journal: Iterable[Event]) -> WorkflowState:
    """The state the events of a journal add up to."""
    state = WorkflowState(run_id=run_id, uid=uid)
    for event in journal:
        fold(state, event)
    return state


def _run_created(state: WorkflowState, seq: int, at: int, fact: events.RunCreated) -> None:
    state.workflow = fact.workflow
    state.version = fact.version
    state.inputs_json = fact.inputs
    state.definition = fact.definition
    state.plan = fact.plan
    state.labels = fact.labels
    state.labels_json = to_json(dict(fact.labels)).decode()
    state.timeout_seconds = fact.timeout_seconds
    state.environment = fact.environment
    state.parent_run_id = fact.parent_run_id
    state.forked_from = fact.forked_from
    state.created_at = at
    _remember(state, fact.request)


def _run_resumed(state: WorkflowState, seq: int, at: int, fact: events.RunResumed) -> None:
    for name in fact.reset:
        step = state.steps[name]
        _begin_generation(state, step, step.generation + 1, at)
    for step in state.open_steps():
        step.interruptions = 0
    if fact.inputs is not None:
        state.inputs_json = fact.inputs
    if fact.definition is not None:
        state.definition, state.plan, state.version = fact.definition, fact.plan, fact.version
    if fact.timeout_seconds is not None:
        state.timeout_seconds = fact.timeout_seconds or None
    state.status = RunStatus.PENDING if state.started_at is None else RunStatus.RUNNING
    state.output_json = state.error = state.finished_at = state.paused_reason = None
    state.cancel_requested_at = state.cancel_reason = state.pause_requested_at = None
    state.failed_steps = state.differences = ()
    state.changes_accepted = fact.changes_accepted
    state.resumed_at, state.resumed_by = at, fact.by
    state.resume_count += 1
    _remember(state, fact.request)


def _run_paused(state: WorkflowState, seq: int, at: int, fact: events.RunPaused) -> None:
    state.status = RunStatus.PAUSED
    state.paused_reason = fact.reason
    state.differences = fact.differences


def _pause_requested(state: WorkflowState, seq: int, at: int, fact: events.PauseRequested) -> None:
    state.pause_requested_at = at
    _remember(state, fact.request)


def _run_completed(state: WorkflowState, seq: int, at: int, fact: events.RunCompleted) -> None:
    state.output_json = fact.output
    _finish(state, RunStatus.COMPLETED, at)


def _run_failed(state: WorkflowState, seq: int, at: int, fact: events.RunFailed) -> None:
    state.error = Failure(fact.type, fact.message, fact.step, fact.attempt, fact.details)
    state.failed_steps = fact.steps
    _finish(state, RunStatus.FAILED, at)


def _cancel_requested(state: WorkflowState, seq: int, at: int, fact: events.CancelRequested) -> None:
    state.cancel_requested_at = at
    state.cancel_reason = fact.reason
    _remember(state, fact.request)


def _run_cancelled(state: WorkflowState, seq: int, at: int, fact: events.RunCancelled) -> None:
    state.cancel_reason = fact.reason
    _finish(state, RunStatus.CANCELLED, at)


def _finish(state: WorkflowState, status: RunStatus, at: int) -> None:
    for step in list(state.open_steps()):
        _move(state, step, StepStatus.CANCELLED, at)
        step.finished_at = at
        step.interrupted = False
        step.next_attempt_at = None
    state.status = status
    state.finished_at = at
    state.started_at = state.started_at or at


def _step_started(state: WorkflowState, seq: int, at: int, fact: events.StepStarted) -> None:
    name, attempt, generation, max_attempts, digest = fact
    step = _begin(state, seq, at, name, generation)
    if step.status is not _PENDING:
        _leave(state, step, at)
    step.status = _RUNNING
    step.attempt_started_at = at
    state.running += 1
    if state.active == 0:
        state.active_since = at
    state.active += 1
    step.kind = "task"
    step.attempt = attempt
    step.max_attempts = max_attempts
    step.digest = digest
    step.interrupted = False
    step.next_attempt_at = None


def _step_waiting(state: WorkflowState, seq: int, at: int, fact: events.StepWaiting) -> None:
    step = _begin(state, seq, at, fact.step, fact.generation)
    _move(state, step, StepStatus.WAITING, at)
    step.kind = fact.kind
    step.until = fact.until
    step.signal = fact.signal
    step.interrupted = False
    step.next_attempt_at = None
    if fact.child is not None:
        step.child = fact.child
        step.child_resumes = fact.child_resumes
        step.attempt += 1
        step.max_attempts = fact.max_attempts


def _step_completed(state: WorkflowState, seq: int, at: int, fact: events.StepCompleted) -> None:
    name, output, signal_seq = fact
    step = state.steps[name]
    step.output_json = output
    step.error = None
    if signal_seq is not None and step.signal is not None:
        step.signal_seq = signal_seq
        state.signals[step.signal] = [each for each in state.signals[step.signal] if each.seq != signal_seq]
    _settle(state, step, _COMPLETED, seq, at)


def _attempt_failed(state: WorkflowState, seq: int, at: int, fact: events.AttemptFailed) -> None:
    step = state.steps[fact.step]
    step.failures += 1
    step.error = Failure(fact.type, fact.message, fact.step, fact.attempt, fact.details)
    step.next_attempt_at = fact.next_attempt_at
    state.retries += 1
    _move(state, step, StepStatus.RETRYING, at)


def _step_failed(state: WorkflowState, seq: int, at: int, fact: events.StepFailed) -> None:
    step = state.steps[fact.step]
    step.failures += 1
    step.error = Failure(fact.type, fact.message, fact.step, fact.attempt, fact.details)
    _settle(state, step, StepStatus.FAILED, seq, at)


def _step_interrupted(state: WorkflowState, seq: int, at: int, fact: events.StepInterrupted) -> None:
    step = state.steps[fact.step]
    # The owner may have been gone for days: its body has run until the last event at most, as far as anybody knows.
    _stop_clock(state, step, state.updated_at if fact.counted else at)
    step.interrupted = True
    step.interruptions += fact.counted


def _step_cancelled(state: WorkflowState, seq: int, at: int, fact: events.StepCancelled) -> None:
    step = state.steps[fact.step]
    _move(state, step, StepStatus.CANCELLED, at)
    step.settled_seq = seq
    step.finished_at = at
    step.interrupted = False
    step.next_attempt_at = None


def _step_skipped(state: WorkflowState, seq: int, at: int, fact: events.StepSkipped) -> None:
    step = _begin(state, seq, at, fact.step, fact.generation)
    step.output_json = fact.output
    step.error = None
    _settle(state, step, StepStatus.SKIPPED, seq, at)
    _remember(state, fact.request)


def _step_output_set(state: WorkflowState, seq: int, at: int, fact: events.StepOutputSet) -> None:
    step = _begin(state, seq, at, fact.step, fact.generation)
    step.output_json = fact.output
    step.error = None
    _settle(state, step, _COMPLETED, seq, at)
    _remember(state, fact.request)


def _value_recorded(state: WorkflowState, seq: int, at: int, fact: events.ValueRecorded) -> None:
    step = _begin(state, seq, at, fact.step, fact.generation)
    step.kind = fact.kind
    step.output_json = fact.output
    _settle(state, step, _COMPLETED, seq, at)


def _variable_set(state: WorkflowState, seq: int, at: int, fact: events.VariableSet) -> None:
    state.variables[fact.name] = decode(fact.value)
    if fact.step is not None:
        step = _begin(state, seq, at, fact.step, fact.generation)
        step.kind = "variable"
        step.output_json = NULL
        _settle(state, step, _COMPLETED, seq, at)
    _remember(state, fact.request)


def _progress_reported(state: WorkflowState, seq: int, at: int, fact: events.ProgressReported) -> None:
    progress = Progress(fact.done, fact.total, fact.message, fact.metrics, at)
    if fact.step is None:
        state.report = progress
    else:
        state.steps[fact.step].progress = progress


def _signal_received(state: WorkflowState, seq: int, at: int, fact: events.SignalReceived) -> None:
    state.signals.setdefault(fact.name, []).append(Signal(seq, fact.payload))
    _remember(state, fact.request)


def _remember(state: WorkflowState, request: Sequence[str] | None) -> None:
    """Keep what somebody has asked for, so that asking again changes nothing (requests.py)."""
    if request is not None:
        request_id, digest = request
        state.requests[request_id] = digest


_HANDLERS: dict[type[Any], Callable[[WorkflowState, int, int, Any], None]] = {
    events.RunCreated: _run_created,
    events.RunResumed: _run_resumed,
    events.RunPaused: _run_paused,
    events.RunCompleted: _run_completed,
    events.RunFailed: _run_failed,
    events.CancelRequested: _cancel_requested,
    events.RunCancelled: _run_cancelled,
    events.StepStarted: _step_started,
    events.StepWaiting: _step_waiting,
    events.StepCompleted: _step_completed,
    events.AttemptFailed: _attempt_failed,
    events.StepFailed: _step_failed,
    events.StepInterrupted: _step_interrupted,
    events.StepCancelled: _step_cancelled,
    events.StepSkipped: _step_skipped,
    events.StepOutputSet: _step_output_set,
    events.ValueRecorded: _value_recorded,
    events.VariableSet: _variable_set,
    events.ProgressReported: _progress_reported,
    events.PauseRequested: _pause_requested,
    events.SignalReceived: _signal_received,
}


def _begin(state: WorkflowState, seq: int, at: int, name: str, generation: int) -> StepState:
    """The step that an event begins or goes on with, in the generation the event names."""
    step = state.steps.get(name)
    if step is None:
        step = state.steps[name] = StepState(name, "task", _PENDING, generation)  # keywords take half as long again
        step.first_seq = seq
    elif step.generation != generation:
        _begin_generation(state, step, generation, at)
    if step.started_at is None:
        step.started_at = at
    if state.started_at is None:
        state.started_at = at
    state.current_step = name
    return step


def _begin_generation(state: WorkflowState, step: StepState, generation: int, at: int) -> None:
    """Forget the outcome and the attempts of the generation before; the journal keeps them. A child that has not
    completed is remembered: it goes on."""
    child = None if step.status is _COMPLETED else step.child
    _move(state, step, StepStatus.PENDING, at)
    fresh = StepState(step.name, kind=step.kind, generation=generation, first_seq=step.first_seq, child=child)
    for field in StepState.__slots__:
        setattr(step, field, getattr(fresh, field))


def _settle(state: WorkflowState, step: StepState, status: StepStatus, seq: int, at: int) -> None:
    _leave(state, step, at)
    step.status = status
    state.done += 1
    step.settled_seq = seq
    step.finished_at = at
    step.interrupted = False
    step.next_attempt_at = None


def _move(state: WorkflowState, step: StepState, status: StepStatus, at: int) -> None:
    """Give a step a status in which it neither runs nor has an outcome."""
    _leave(state, step, at)
    step.status = status
    if status is _RETRYING or status is _WAITING:
        state.waiting += 1


def _leave(state: WorkflowState, step: StepState, at: int) -> None:
    """Take a step out of the run's counts, before it enters another status and is counted there."""
    status = step.status
    if status is _RUNNING:
        state.running -= 1
        _stop_clock(state, step, at)
    elif status is _RETRYING or status is _WAITING:
        state.waiting -= 1
    elif status in SETTLED:
        state.done -= 1


def _stop_clock(state: WorkflowState, step: StepState, at: int) -> None:
    """The step's body runs no more: add the time it took, once."""
    began = step.attempt_started_at
    if began is None:
        return
    step.attempt_started_at = None
    if at > began:
        step.active_micros += at - began
    state.active -= 1
    if state.active == 0 and (since := state.active_since) is not None:
        state.active_since = None
        if at > since:
            state.active_micros += at - since


def summarize(state: WorkflowState, owner: str | None, token: int) -> RunSummary:
    """The summary that a commit stores beside the events; a run that nobody has to advance has no owner."""
    error = state.error
    status = state.status
    return _new(
        RunSummary,
        (
            state.run_id,
            state.uid,
            state.workflow,
            state.version,
            status._value_,  # `value` is a property, and a slow one
            state.seq,
            owner if status in LIVE else None,
            token,
            state.labels_json,
            state.created_at,
            state.started_at,
            state.updated_at,
            state.finished_at,
            state.wake_at if status is _RUN_WAITING else None,
            state.current_step,
            None if error is None else error.step,
            None if error is None else error.type,
            None if error is None else error.message,
            state.done,
            None if state.plan is None else len(state.plan),
            state.retries,
            state.resume_count,
            state.parent_run_id,
            state.definition,
        ),
    )


# ---------------------------------------------------------------------------------------------------------------
# Decisions
# ---------------------------------------------------------------------------------------------------------------


def after_failure(
    state: WorkflowState, step: StepState, policy: RetryPolicy, failure: Failure, names: tuple[str, ...], now: int
) -> events.AttemptFailed | events.StepFailed:
    """What follows the failed attempt of a running step.

    `names` are the names its policy may know the error by; without any, the error is one that no retry can mend.
    """
    failures = step.failures + 1
    delay = policy.delay_seconds(failures, seed=f"{state.uid}/{step.name}@{step.generation}")
    elapsed = (now - (step.started_at or now)) / MICROSECONDS
    if names and policy.retries(names, failures, elapsed, delay):
        due = now + round(delay * MICROSECONDS)
        return events.AttemptFailed(
            step.name, step.attempt, failure.type, failure.message, next_attempt_at=due, details=failure.details
        )
    return events.StepFailed(step.name, step.attempt, failure.type, failure.message, details=failure.details)


PAUSE_REQUESTED = "PauseRequested"
"""The reason of a pause that somebody asked for."""

INCOMPATIBLE = "StateIncompatible"
"""The reason of a pause of a run whose program contradicts what it has completed."""


def at_recovery(state: WorkflowState, max_interruptions: int) -> list[Fact]:
    """What a new owner records before the program runs again: attempts that died with the old one, a cancel carried
    out, or a pause when one step has now outlived `max_interruptions` owners."""
    died = at_takeover(state)
    if state.cancel_requested_at is not None:
        return [*died, events.RunCancelled(state.cancel_reason)]
    if state.pause_requested_at is not None:
        return [*died, events.RunPaused(PAUSE_REQUESTED)]
    for fact in died:
        if state.steps[fact.step].interruptions + 1 >= max_interruptions:
            return [*died, events.RunPaused("StepInterrupted", fact.step)]
    return [*died]


def at_takeover(state: WorkflowState) -> list[events.StepInterrupted]:
    """The attempts that died with the owner before: whatever a new owner does, it records these first."""
    return [
        events.StepInterrupted(step.name, step.attempt, counted=True)
        for step in state.open_steps()
        if step.status is StepStatus.RUNNING and not step.interrupted
    ]


def at_close(state: WorkflowState) -> list[Fact]:
    """What an owner records that stops in good order: its attempts are interrupted, which counts against nothing."""
    return [
        events.StepInterrupted(step.name, step.attempt, counted=False)
        for step in state.open_steps()
        if step.status is StepStatus.RUNNING and not step.interrupted
    ]


def at_resume(state: WorkflowState, from_step: str | None, retry: Collection[str] = ()) -> list[str]:
    """The steps a resume gives a new generation, in the order they first began.

    Without `from_step`: those whose failure ended the run, and those that were cancelled before it ended (in a run
    that has not ended they wait to be cancelled again, as after a recovery), and the clean-ups of what has ended. With
    it: that step, everything that follows on it, and the same ones besides. `from_step` may also name a map, a gather
    or a branch. Raises RunNotResumableError for a completed run without `from_step`, StepNotFoundError for a step that
    never began."""
    if from_step is None and state.status is RunStatus.COMPLETED:
        raise RunNotResumableError(state.run_id, state.status)
    ended = set(state.failed_steps)
    ended.update(_require_begun(state, name) for name in retry)
    follows = None if from_step is None else _following(state, from_step)
    ends_anew = from_step is not None or state.status in FINAL
    clean_ups = plans.clean_ups(state.plan) if state.plan is not None and ends_anew else frozenset()
    return [
        step.name
        for step in sorted(state.steps.values(), key=lambda step: step.first_seq)
        if step.status is not StepStatus.PENDING
        and (
            (step.name in ended and (step.status is StepStatus.FAILED or step.name in retry))
            or (step.status is StepStatus.CANCELLED and state.status in FINAL)
            or plans.planned_name(step.name) in clean_ups
            or (follows is not None and follows(step))
        )
    ]


def _following(state: WorkflowState, name: str) -> Callable[[StepState], bool]:
    """Whether a step follows on the one called `name`, or is that one.

    In a graph that is what depends on it. In a sequence it is what stands behind it, and what came to an outcome later,
    since a jump may have led back; only the latter counts for a repeat such as `fetch#3`. In a program whose steps
    nobody knows beforehand it is every step that first began later."""
    since = first_seq(state, name)
    if state.plan is None:
        return lambda step: step.first_seq >= since
    called = {key for key in state.steps if key == name or key.startswith((f"{name}[", f"{name}/"))}
    place = plans.planned_name(name)
    if plans.is_graph(state.plan):
        behind = plans.dependents(state.plan, place) - (frozenset() if name == place else {place})
        return lambda step: step.name in called or plans.planned_name(step.name) in behind
    order = [row[0] for row in state.plan]
    behind = frozenset(order[order.index(name) :] if name in order else ())
    settled = min(state.steps[key].settled_seq or state.seq for key in called)
    return lambda step: plans.planned_name(step.name) in behind or (step.settled_seq or state.seq) >= settled


def _require_begun(state: WorkflowState, name: str) -> str:
    if name not in state.steps:
        raise StepNotFoundError(state.run_id, name, list(state.steps))
    return name


def skip(
    state: WorkflowState,
    name: str,
    output: str | None,
    by: str | None = None,
    reset: Collection[str] = (),
    reason: str | None = None,
) -> events.StepSkipped:
    """What is recorded when somebody skips a step; `reset` are steps that a resume is about to give a new generation.

    Raises StepNotFoundError, StepCompletedError."""
    generation = _generation_to_settle(state, name, reset)
    return events.StepSkipped(name, reason or "somebody skipped it", output, generation, by)


def set_output(
    state: WorkflowState, name: str, output: str, by: str | None = None, reason: str | None = None
) -> events.StepOutputSet:
    """What is recorded when somebody gives a step its output. Raises StepNotFoundError, StepCompletedError."""
    return events.StepOutputSet(name, output, _generation_to_settle(state, name, ()), reason, by)


def _generation_to_settle(state: WorkflowState, name: str, reset: Collection[str]) -> int:
    """The generation of a step that may get an outcome from somebody."""
    if (step := state.steps.get(name)) is None:
        if state.plan is None or name not in {row[0] for row in state.plan}:
            known = [row[0] for row in state.plan] if state.plan is not None else list(state.steps)
            raise StepNotFoundError(state.run_id, name, known)
        return 1
    if name in reset:
        return step.generation + 1
    if step.status is StepStatus.COMPLETED:
        raise StepCompletedError(state.run_id, name)
    return step.generation


def first_seq(state: WorkflowState, name: str) -> int:
    """The number of the event that first began a step, or anything inside of a map, gather or branch of this name.

    Raises StepNotFoundError."""
    exact = state.steps.get(name)
    if exact is not None:
        return exact.first_seq
    inside = [step.first_seq for key, step in state.steps.items() if key.startswith((f"{name}[", f"{name}/"))]
    if not inside:
        raise StepNotFoundError(state.run_id, name, list(state.steps))
    return min(inside)


class Stop(StrEnum):
    """Why the kernel stops a program that has not ended by itself."""

    CANCEL = "cancel"
    """Somebody asked for it: the run becomes cancelled."""

    TIMEOUT = "timeout"
    """The run has taken longer than its workflow allows: it fails."""

    PAUSE = "pause"
    """Somebody asked for it, and the last body has ended: the run becomes paused."""

    CLOSE = "close"
    """The kernel closes in good order: the run stays as it is, for its next owner."""

    INCOMPATIBLE = "incompatible"
    """The program has changed, and contradicts what it has completed: the run becomes paused."""

    LEAVE = "leave"
    """It only waits, and others need the memory: it stays as it is in the store until its time comes."""

    FENCED = "fenced"
    """Another kernel owns the run: nothing more may be recorded or reported."""

    LOST = "lost"
    """The store failed: what is in it is not known, so nothing more may be recorded."""


def at_end(
    state: WorkflowState,
    stop: Stop | None,
    output: str | None,
    failure: events.RunFailed | None,
    differences: Sequence[Difference] = (),
) -> list[Fact]:
    """What is recorded when the program has ended, by itself or because it was stopped.

    `output` or `failure` is how it ended by itself. A stop that came first wins: the program was told to unwind,
    and what it returns then is not its result."""
    match stop:
        case Stop.CANCEL:
            return [events.RunCancelled(state.cancel_reason)]
        case Stop.TIMEOUT:
            message = f"the run took longer than {state.timeout_seconds:g} seconds"
            steps = tuple(step.name for step in state.open_steps())
            return [events.RunFailed("TimeoutError", message, steps=steps)]
        case Stop.PAUSE:
            return [*at_close(state), events.RunPaused(PAUSE_REQUESTED)]
        case Stop.INCOMPATIBLE:
            rows = [tuple(difference) for difference in differences]
            return [*at_close(state), events.RunPaused(INCOMPATIBLE, rows[0][0], rows)]
        case Stop.CLOSE:
            return at_close(state)
        case Stop.LEAVE | Stop.FENCED | Stop.LOST:
            return []
    if failure is not None:
        return [failure]
    assert output is not None
    return [events.RunCompleted(output)]
