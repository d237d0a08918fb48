"""Which spans an event of a run ends: of an attempt, of its step, of the run. Pure; `tracing` exports them.

Each is read off how the run stood before the event, so nothing is kept between two events but the state of the run, and
a server that has just begun ends the spans that another one has begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flujo.kernel import Event, StepState, StepStatus, WorkflowState, events, traces
from flujo.kernel.traces import TraceContext

Value = str | int


class Span(NamedTuple):
    """Something that took time, in microseconds UTC; `error` is the type of what it ended in and its text."""

    name: str
    context: TraceContext
    parent: TraceContext | None
    started_at: int
    ended_at: int
    attributes: Mapping[str, Value]
    error: tuple[str, str] | None = None


_ENDS_ATTEMPT = (
    events.StepCompleted,
    events.StepFailed,
    events.AttemptFailed,
    events.StepInterrupted,
    events.StepCancelled,
    events.StepWaiting,
)
_ENDS_STEP = (events.StepCompleted, events.StepFailed, events.StepCancelled)
_ENDS_RUN = (events.RunCompleted, events.RunFailed, events.RunCancelled)


def ended_by(state: WorkflowState, event: Event) -> Iterator[Span]:
    """Yield the spans that an event ends; `state` is the run before it."""
    parent = traces.parent_of(state.environment)
    run = traces.of_run(state.uid, parent)
    fact = event.fact
    if isinstance(fact, _ENDS_RUN):
        about: dict[str, Value] = {"flujo.run_id": state.run_id, "flujo.workflow": state.workflow}
        yield Span(f"run {state.workflow}", run, parent, state.created_at, event.at, about, _error(fact))
    elif isinstance(fact, _ENDS_ATTEMPT) and (step := state.steps.get(fact.step)) is not None:
        context = traces.of_step(run, state.uid, step.name, step.generation)
        if step.status is StepStatus.RUNNING and step.attempt_started_at is not None:
            yield _attempt(state, run, step, event, context)
        if isinstance(fact, _ENDS_STEP) and step.started_at is not None:
            about = {"flujo.run_id": state.run_id, "flujo.step": step.name, "flujo.generation": step.generation}
            yield Span(f"step {step.name}", context, run, step.started_at, event.at, about, _error(fact))


def _attempt(state: WorkflowState, run: TraceContext, step: StepState, event: Event, parent: TraceContext) -> Span:
    assert step.attempt_started_at is not None
    told: dict[str, Value] = {"flujo.run_id": state.run_id, "flujo.step": step.name, "flujo.attempt": step.attempt}
    context = traces.of_attempt(run, state.uid, step.name, step.generation, step.attempt)
    name = f"attempt {step.attempt} of {step.name}"
    return Span(name, context, parent, step.attempt_started_at, event.at, told, _error(event.fact))


def _error(fact: object) -> tuple[str, str] | None:
    match fact:
        case events.RunFailed() | events.StepFailed() | events.AttemptFailed():
            return fact.type, fact.message
        case events.RunCancelled():
            return "RunCancelled", fact.reason or "it was cancelled"
        case events.StepInterrupted():
            return "StepInterrupted", "its owner ended"
        case _:
            return None
