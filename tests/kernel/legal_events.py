"""Every event the kernel may record on a run, and every move of the two state machines that can come of it.

`legal` lists what may follow a state; it is this folder's own account of what step_runner.py, live_run.py and kernel.py
record, of a run that has a live owner as of one that has none, and `journal/test_fold.py` holds it against real runs.
`explore` folds every legal history of two steps up to a depth."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple

from flujo.kernel import events
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import FlujoError
from flujo.kernel.events import KIND_OF, Event, Fact
from flujo.kernel.state import FINAL, LIVE, RunStatus, StepState, StepStatus, WorkflowState
from flujo.kernel.transitions import at_resume, fold

NAMES = ("a", "b")


class Move(NamedTuple):
    """One row of a table in docs/state-machines.md; `—` is where nothing has begun yet."""

    before: str
    event: str
    after: str


def legal(state: WorkflowState) -> Iterator[Fact]:
    """The facts that may be recorded next."""
    if state.seq == 0:
        yield events.RunCreated("flow", "{}")
    elif state.status in LIVE:
        yield from _while_live(state)
    if state.status is RunStatus.PAUSED:
        yield events.CancelRequested()
        if state.cancel_requested_at is not None:
            yield events.RunCancelled()
        yield from _clean_ups(state)  # behind the request, which takes nothing away and adds nothing to the moves
    if state.seq:
        yield from _resumptions(state)
    if state.seq and state.status is not RunStatus.COMPLETED:
        yield events.VariableSet("mode", "1", by="ann")
        for name in NAMES:
            yield from _amendments(state.steps.get(name) or StepState(name))


def _while_live(state: WorkflowState) -> Iterator[Fact]:
    for name in NAMES:
        step = state.steps.get(name)
        yield from _of_step(name, step or StepState(name))
        if step is not None and step.status is StepStatus.CANCELLED and state.cleaning_up is not None:
            yield events.StepStarted(name, 1, step.generation + 1)  # it was cut short, and a clean-up does it again
            yield events.StepWaiting(name, "sleep", step.generation + 1, until=1)
        if step is not None and step.status is StepStatus.WAITING and step.signal is not None:
            for signal in state.signals.get(step.signal, ()):
                yield events.SignalSetAside(name, step.signal, signal.seq, "$", "no")
    yield events.RunTakenOver("dead", "heir")
    yield events.SignalReceived("go", "null")
    yield events.ProgressReported(None, 1.0)
    yield events.CancelRequested()
    if state.cancel_requested_at is not None:
        yield events.RunCancelled()
    yield from _clean_ups(state)
    yield events.PauseRequested()
    if state.pause_requested_at is not None and not state.active:
        yield events.RunPaused("PauseRequested")
    if not state.current_steps and state.cleaning_up is None:
        yield events.RunCompleted("null")
    failed = [step.name for step in state.steps.values() if step.status is StepStatus.FAILED]
    yield events.RunFailed("ValueError", "no", steps=failed)
    if state.interrupted:
        yield events.RunPaused("StepInterrupted")


def _clean_ups(state: WorkflowState) -> Iterator[Fact]:
    """What follows on a cancel, or on the end of the run's time, if the workflow has clean-ups."""
    if state.steps and state.cleaning_up is None:
        yield events.CleanUpStarted("cancelled", tuple(state.current_steps))


def _of_step(name: str, step: StepState) -> Iterator[Fact]:
    generation, attempt = step.generation, step.attempt
    match step.status:
        case StepStatus.PENDING:
            yield events.StepStarted(name, 1, generation)
            yield events.StepWaiting(name, "sleep", generation, until=1)
            yield events.StepWaiting(name, "signal", generation, signal="go")
            yield events.StepWaiting(name, "child", generation, child=f"r.{name}")
            yield events.StepWaiting(name, "items", generation)
            yield events.StepSkipped(name, "not today", generation=generation)
            yield events.ValueRecorded(name, "now", "1", generation)
            yield events.VariableSet("mode", "1", name, generation)
        case StepStatus.RUNNING if step.interrupted:
            yield events.StepStarted(name, attempt + 1, generation)
            yield events.StepCancelled(name)
        case StepStatus.RUNNING:
            yield events.ProgressReported(name, 1.0)
            yield events.StepCompleted(name, "null")
            yield events.AttemptFailed(name, attempt, "ValueError", "no", 1)
            yield events.StepFailed(name, attempt, "ValueError", "no")
            yield events.StepWaiting(name, "signal", generation, signal="go")
            yield events.StepCancelled(name)
            yield events.StepInterrupted(name, attempt)
        case StepStatus.RETRYING:
            if step.kind == "child":
                yield events.StepWaiting(name, "child", generation, child=step.child, child_resumes=1)
            else:
                yield events.StepStarted(name, attempt + 1, generation)
            yield events.StepCancelled(name)
        case StepStatus.WAITING:
            if step.is_open_loop:
                yield events.StepFailed(name, 0, "ValueError", "no")
            yield events.StepCompleted(name, "null")
            yield events.StepCancelled(name)
            if step.kind in ("signal", "child"):
                yield events.StepFailed(name, attempt, "TimeoutError", "no signal")
            if step.kind == "child":
                yield events.AttemptFailed(name, attempt, "ValueError", "no", 1)
        case StepStatus.COMPLETED | StepStatus.FAILED:
            yield events.StepStarted(name, 1, generation + 1)  # an item of a map, with another argument


def _amendments(step: StepState) -> Iterator[Fact]:
    """What somebody may make of a step while nobody runs the run; a body of it has ended by then."""
    if step.status is not StepStatus.COMPLETED and (step.interrupted or step.status is not StepStatus.RUNNING):
        yield events.StepSkipped(step.name, "by hand", "1", step.generation, "ann")
        yield events.StepOutputSet(step.name, "1", step.generation, "by hand", "ann")
    elif step.status is StepStatus.COMPLETED:
        yield events.StepOutputSet(step.name, "2", step.generation + 1, "by hand", "ann")


def _resumptions(state: WorkflowState) -> Iterator[Fact]:
    for from_step in (None, *state.steps):
        try:
            yield events.RunResumed(reset=at_resume(state, from_step), from_step=from_step)
        except FlujoError:
            continue


def moves(before: WorkflowState, after: WorkflowState, event: Event) -> tuple[set[Move], set[Move]]:
    """What an event did to the run, and to each step it is about or has changed."""
    kind = KIND_OF[event.fact.__class__].type
    was = "—" if before.seq == 0 else before.status.value
    of_steps: set[Move] = set()
    for name, step in after.steps.items():
        earlier = before.steps.get(name)
        status = "—" if earlier is None else earlier.status.value
        if status != step.status.value or (event.step == name and not kind.startswith("run_")):
            of_steps.add(Move(status, kind, step.status.value))
    return {Move(was, kind, after.status.value)}, of_steps


def explore(depth: int) -> tuple[set[Move], set[Move]]:
    """All moves of the run and of its steps in legal histories of this many events."""
    of_run: set[Move] = set()
    of_steps: set[Move] = set()
    for before, event, after in steps_of_histories(depth):
        run_moves, step_moves = moves(before, after, event)
        of_run |= run_moves
        of_steps |= step_moves
    return of_run, of_steps


def steps_of_histories(depth: int) -> Iterator[tuple[WorkflowState, Event, WorkflowState]]:
    """Every state that legal histories of this many events meet, one of a kind, with each event that may follow."""
    seen: set[object] = set()
    states = [WorkflowState(run_id="r", uid="u")]
    for _ in range(depth):
        successors: list[WorkflowState] = []
        for state in states:
            for fact in legal(state):
                after = deepcopy(state)
                event = Event(state.seq + 1, state.updated_at + MICROSECONDS, fact)
                fold(after, event)
                yield state, event, after
                if (shape := _shape(after)) not in seen:
                    seen.add(shape)
                    successors.append(after)
        states = successors


def _shape(state: WorkflowState) -> object:
    """What the future of a state depends on."""
    steps = tuple((each.name, each.status, each.kind, each.interrupted) for each in state.steps.values())
    asked = state.cancel_requested_at is None, state.pause_requested_at is None
    has_come = any(
        each.status is StepStatus.WAITING and state.signals.get(each.signal or "") for each in state.steps.values()
    )
    return state.status, steps, asked, has_come, tuple(state.failed_steps), state.started_at is None


def check_counts(state: WorkflowState) -> None:
    """The counts a state keeps are those of its steps, and a final run has nothing open."""
    statuses = [step.status for step in state.steps.values()]
    assert state.running == statuses.count(StepStatus.RUNNING)
    assert sorted(state.open_loops) == sorted(step.name for step in state.steps.values() if step.is_open_loop)
    waiting = statuses.count(StepStatus.RETRYING) + statuses.count(StepStatus.WAITING)
    assert state.waiting == waiting - len(state.open_loops)
    assert state.done == sum(status in ("completed", "failed", "skipped") for status in statuses)
    assert state.active == sum(step.attempt_started_at is not None for step in state.steps.values())
    assert not (state.status in FINAL and state.current_steps)
    assert not (state.status in FINAL and state.interrupted)
