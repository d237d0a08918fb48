"""Format events as lines of text, one each."""

from __future__ import annotations

from typing import assert_never

from flujo.kernel import Event, StepState, SystemClock, WorkflowState, events
from flujo.kernel.durations import MICROSECONDS, format_duration, format_instant, to_datetime
from flujo.kernel.json_core import from_json
from flujo.kernel.programs import loop_of
from flujo.kernel.state import ITEMS

from .text import cut_outputs, elapsed, first_line, instant, items_done, loop_progress, printable, progress, value


def event_time(at: int, style: str | None) -> str:
    """Return when an event happened: as --time has it, or else the local time of day."""
    if style is None:
        return to_datetime(at).astimezone().strftime("%H:%M:%S")
    return instant(at, SystemClock().now(), style)


def event_line(event: Event, state: WorkflowState) -> str:
    """Return an event on one line; `state` is the run after it. Any word of it may be a program's."""
    return printable(_event_line(event, state))


def _event_line(event: Event, state: WorkflowState) -> str:
    match fact := event.fact:
        case (
            events.RunCreated()
            | events.RunResumed()
            | events.RunPaused()
            | events.RunCompleted()
            | events.RunFailed()
            | events.RunCancelled()
            | events.RunTakenOver()
            | events.CleanUpStarted()
        ):
            return _run_line(fact)
        case events.CancelRequested() | events.PauseRequested() | events.SignalReceived():
            return _request_line(fact)
        case (
            events.StepStarted()
            | events.StepWaiting()
            | events.StepCompleted()
            | events.AttemptFailed()
            | events.StepFailed()
            | events.StepInterrupted()
            | events.StepCancelled()
            | events.StepSkipped()
            | events.StepOutputSet()
            | events.ValueRecorded()
            | events.SignalSetAside()
        ):
            return f"{fact.step}: {_step_line(fact, state.steps[fact.step], event.at)}"
        case events.VariableSet():
            by_step = "" if fact.step is None else f"{fact.step}: "
            return f"{by_step}variable {fact.name} set to {_recorded(fact.value)}" + _by(fact.by)
        case events.ProgressReported():
            said = state.report if fact.step is None else state.steps[fact.step].progress
            shown = loop_progress if fact.step is not None and state.steps[fact.step].kind == ITEMS else progress
            return f"{fact.step or 'run'}: {'progress reported' if said is None else shown(said)}"
        case events.UnknownFact():
            return f"{printable(fact.type)}: an event of a newer release"
        case _:
            assert_never(fact)


RunFact = (
    events.RunCreated
    | events.RunResumed
    | events.RunPaused
    | events.RunCompleted
    | events.RunFailed
    | events.RunCancelled
    | events.RunTakenOver
    | events.CleanUpStarted
)
RequestFact = events.CancelRequested | events.PauseRequested | events.SignalReceived
StepFact = (
    events.StepStarted
    | events.StepWaiting
    | events.StepCompleted
    | events.AttemptFailed
    | events.StepFailed
    | events.StepInterrupted
    | events.StepCancelled
    | events.StepSkipped
    | events.StepOutputSet
    | events.ValueRecorded
    | events.SignalSetAside
)


def _run_line(fact: RunFact) -> str:
    match fact:
        case events.RunCreated():
            return f"run of {fact.workflow} created"
        case events.RunResumed():
            since = f" from step {fact.from_step}" if fact.from_step else ""
            again = f"; runs again: {', '.join(fact.reset[:10])}" if fact.reset else ""
            return f"run resumed{since}{again}"
        case events.RunPaused():
            return f"run paused: {fact.reason}" + (f" of step {fact.step}" if fact.step else "")
        case events.RunCompleted():
            return "run completed" + _by(fact.by) + _because(fact.reason)
        case events.RunFailed():
            where = f" in step {fact.step}" if fact.step else ""
            return f"run failed{where}: {fact.type}: {first_line(fact.message)}"
        case events.RunCancelled():
            return "run cancelled"
        case events.RunTakenOver():
            return f"run taken over: its owner {fact.former_owner} has died; it goes on at {fact.owner}"
        case events.CleanUpStarted():
            return f"run cleans up: it {'takes too long' if fact.reason == 'timeout' else 'is cancelled'}"
        case _:
            assert_never(fact)


def _request_line(fact: RequestFact) -> str:
    match fact:
        case events.CancelRequested():
            return "cancel requested" + _because(fact.reason)
        case events.PauseRequested():
            return "pause requested" + _because(fact.reason)
        case events.SignalReceived():
            return f"signal {fact.name} received"
        case _:
            assert_never(fact)


def _because(reason: str | None) -> str:
    return f": {printable(reason)}" if reason else ""


def _by(who: str | None) -> str:
    return "" if who is None else f" by {printable(who)}"


def _step_line(fact: StepFact, step: StepState, at: int) -> str:
    match fact:
        case events.StepStarted():
            return "started" if fact.attempt == 1 else f"attempt {fact.attempt} started"
        case events.StepWaiting():
            return _wait_line(fact)
        case events.StepCompleted():
            is_task = step.kind == "task"
            if step.kind == ITEMS:
                counts = "" if step.progress is None else f": {items_done(step.progress)}"
                return f"completed in {elapsed(step.started_at, at, at)}{counts}"
            if not is_task:
                return "finished waiting"
            cut = cut_outputs(fact.output)
            return f"completed in {format_duration(round(step.active_seconds, 3))}" + (f"; its {cut}" if cut else "")
        case events.AttemptFailed():
            wait = format_duration(round(max(0, fact.next_attempt_at - at) / MICROSECONDS, 1))
            return f"attempt {fact.attempt} failed: {fact.type}: {first_line(fact.message)}; next attempt in {wait}"
        case events.StepFailed():
            attempt = f" at attempt {fact.attempt}" if fact.attempt else ""
            return f"failed{attempt}: {fact.type}: {first_line(fact.message)}"
        case events.StepInterrupted():
            return f"attempt {fact.attempt} was interrupted"
        case events.StepCancelled():
            return "cancelled"
        case events.StepSkipped():
            return f"skipped: {first_line(fact.reason)}" + _by(fact.by)
        case events.StepOutputSet():
            return f"output set: {_recorded(fact.output)}" + _by(fact.by)
        case events.ValueRecorded():
            return _recorded(fact.output)
        case events.SignalSetAside():
            problem = first_line(f"{fact.path}: {fact.problem}")
            return f"the signal {fact.signal} of event {fact.signal_seq} does not fit and is set aside: {problem}"
        case _:
            assert_never(fact)


def _wait_line(fact: events.StepWaiting) -> str:
    if fact.kind == ITEMS:
        return "started"
    if fact.signal is not None:
        return f"waits for the signal {fact.signal}"
    return f"sleeps until {format_instant(fact.until)}" if fact.child is None else f"waits for run {fact.child}"


def _recorded(json_text: str) -> str:
    """Return recorded JSON text as a short value."""
    return value(from_json(json_text), 60)


def is_routine(event: Event, state: WorkflowState) -> bool:
    """True for the start, a mere wait and the success of an item of a loop, which reports its progress."""
    fact = event.fact
    if not isinstance(fact, events.StepStarted | events.StepCompleted | events.StepWaiting):
        return False
    if isinstance(fact, events.StepWaiting) and fact.signal is not None:
        return False
    loop = state.steps.get(loop_of(fact.step) or "")
    return loop is not None and loop.kind == ITEMS
