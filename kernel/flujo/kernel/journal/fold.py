"""What an event does to a run.

`fold` is the only thing that changes a `WorkflowState`: live, on recovery, for inspect and in tests alike. It waits for
nothing, reads no clock and touches no store. docs/state-machines.md draws both machines;
tests/kernel/journal/test_fold.py holds them against this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flujo.kernel.errors import CorruptStoreError, SignalMisfitError
from flujo.kernel.json_core import to_json
from flujo.kernel.values import NULL, decode

from . import events
from .events import Event, EventRow, Fact
from .state import (
    ITEMS,
    LIVE,
    SETTLED,
    Failure,
    Progress,
    RunStatus,
    Signal,
    StepState,
    StepStatus,
    TakenOver,
    WorkflowState,
)

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
    """Return the state a journal adds up to, as it is stored."""
    return add_up(run_id, uid, map(events.decode, rows))


def add_up(run_id: str, uid: str, journal: Iterable[Event]) -> WorkflowState:
    """Return the state the events of a journal add up to."""
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
    state.failed_steps = state.differences = state.cut_short = ()
    state.cleaning_up = state.clean_up_seq = None
    state.changes_accepted = fact.changes_accepted
    state.resumed_at, state.resumed_by = at, fact.by
    state.resume_count += 1
    _remember(state, fact.request)


def _run_paused(state: WorkflowState, seq: int, at: int, fact: events.RunPaused) -> None:
    state.status = RunStatus.PAUSED
    state.paused_reason = fact.reason
    state.differences = fact.differences


def _pause_requested(state: WorkflowState, seq: int, at: int, fact: events.PauseRequested) -> None:
    if state.cleaning_up is None:  # what is to end has no time to rest
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


def _run_taken_over(state: WorkflowState, seq: int, at: int, fact: events.RunTakenOver) -> None:
    state.taken_over = TakenOver(fact.former_owner, at, seq, state.last_alive_at)


def _clean_up_started(state: WorkflowState, seq: int, at: int, fact: events.CleanUpStarted) -> None:
    _cut_short(state, at)
    state.status = _RUN_RUNNING  # also of one that was paused
    state.paused_reason = state.pause_requested_at = None
    state.differences = ()
    state.cleaning_up, state.clean_up_seq, state.cut_short = fact.reason, seq, fact.steps


def _cut_short(state: WorkflowState, at: int) -> None:
    """Cancel the steps that have no outcome."""
    for step in list(state.open_steps()):
        _move(state, step, StepStatus.CANCELLED, at)
        step.finished_at = at
        step.interrupted = False
        step.next_attempt_at = None


def _finish(state: WorkflowState, status: RunStatus, at: int) -> None:
    _cut_short(state, at)
    state.cleaning_up = None
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
    _leave(state, step, at)
    step.kind, step.status = fact.kind, _WAITING
    if fact.kind == ITEMS:
        state.open_loops.append(step.name)
    else:
        state.waiting += 1
    step.until = fact.until
    step.signal = fact.signal
    step.reenter = fact.reenter
    step.interrupted = False
    step.next_attempt_at = None
    if fact.child is not None:
        step.child = fact.child
        step.child_resumes = fact.child_resumes
        step.attempt += 1
        step.max_attempts = fact.max_attempts


def _step_completed(state: WorkflowState, seq: int, at: int, fact: events.StepCompleted) -> None:
    name, output, signal_seq, redacted = fact
    step = state.steps[name]
    step.output_json = output
    step.error = None
    if redacted:
        step.redacted = True
    if signal_seq is not None and step.signal is not None:
        step.signal_seq = signal_seq
        state.signals[step.signal] = [each for each in state.signals[step.signal] if each.seq != signal_seq]
    _settle(state, step, _COMPLETED, seq, at)


def _attempt_failed(state: WorkflowState, seq: int, at: int, fact: events.AttemptFailed) -> None:
    step = state.steps[fact.step]
    step.failures += 1
    step.error = Failure(fact.type, fact.message, fact.step, fact.attempt, fact.details)
    step.next_attempt_at = fact.next_attempt_at
    step.reenter = fact.reenter
    step.redacted |= fact.redacted
    state.retries += 1
    _move(state, step, StepStatus.RETRYING, at)


def _step_failed(state: WorkflowState, seq: int, at: int, fact: events.StepFailed) -> None:
    step = state.steps[fact.step]
    step.failures += 1
    step.error = Failure(fact.type, fact.message, fact.step, fact.attempt, fact.details)
    step.redacted |= fact.redacted
    _settle(state, step, StepStatus.FAILED, seq, at)


def _step_interrupted(state: WorkflowState, seq: int, at: int, fact: events.StepInterrupted) -> None:
    step = state.steps[fact.step]
    # The owner may have been gone for days: its body has run until the last event at most, as far as is recorded.
    _stop_clock(state, step, (fact.last_alive_at or state.last_alive_at) if fact.counted else at)
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
    by_hand = (fact.by, fact.request, fact.principal, fact.output) != (None, None, None, None)
    step.left_out = state.status in LIVE and not by_hand
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


def _signal_set_aside(state: WorkflowState, seq: int, at: int, fact: events.SignalSetAside) -> None:
    state.signals[fact.signal] = [each for each in state.signals[fact.signal] if each.seq != fact.signal_seq]
    misfit = SignalMisfitError(state.run_id, fact.signal, fact.path, fact.problem, fact.fits)
    state.steps[fact.step].error = Failure(SignalMisfitError.__name__, misfit.message, fact.step)


def _remember(state: WorkflowState, request: Sequence[str] | None) -> None:
    """Keep what somebody has asked for, so that asking again changes nothing (requests.py)."""
    if request is not None:
        request_id, digest = request
        state.requests[request_id] = digest


def _unknown(state: WorkflowState, seq: int, at: int, fact: events.UnknownFact) -> None:
    """Change nothing: a client shows what it can of a run that a newer server advances."""


_HANDLERS: dict[type[Any], Callable[[WorkflowState, int, int, Any], None]] = {
    events.RunCreated: _run_created,
    events.RunResumed: _run_resumed,
    events.RunPaused: _run_paused,
    events.RunCompleted: _run_completed,
    events.RunFailed: _run_failed,
    events.CancelRequested: _cancel_requested,
    events.RunCancelled: _run_cancelled,
    events.RunTakenOver: _run_taken_over,
    events.CleanUpStarted: _clean_up_started,
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
    events.SignalSetAside: _signal_set_aside,
    events.UnknownFact: _unknown,
}


def _begin(state: WorkflowState, seq: int, at: int, name: str, generation: int) -> StepState:
    """Return the step that an event begins or goes on with, in the generation the event names."""
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
    if state.plan is None or step.name[-1] != "]":  # an item of a loop is part of a step
        state.done += 1
    step.settled_seq = seq
    step.finished_at = at
    step.interrupted = False
    step.next_attempt_at = None


def _move(state: WorkflowState, step: StepState, status: StepStatus, at: int) -> None:
    """Give a step a status in which it neither runs nor has an outcome."""
    _leave(state, step, at)
    step.status = status
    if status is _RETRYING:
        state.waiting += 1


def _leave(state: WorkflowState, step: StepState, at: int) -> None:
    """Take a step out of the run's counts, before it enters another status and is counted there."""
    status = step.status
    if status is _RUNNING:
        state.running -= 1
        _stop_clock(state, step, at)
    elif status is _WAITING and step.kind == ITEMS:
        state.open_loops.remove(step.name)
    elif status is _RETRYING or status is _WAITING:
        state.waiting -= 1
    elif status in SETTLED and (state.plan is None or step.name[-1] != "]"):
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
