"""Several changes by hand to a run that nobody runs, which become one commit: all of them or none.

    Amendment     one of them: SetOutput, Skip, SetVariable, Complete
    decide     what is recorded of some changes, or the error of the first one that cannot be made
    apply_amendment  the same for one change, on a state that then shows it

What is recorded stays: a step that has completed gets another output as a new generation, behind the first one in the
journal, and keeps it in every replay. A change that changes nothing records nothing, so making it twice is harmless.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from flujo.kernel.errors import RunFinishedError
from flujo.kernel.keys import check_variable_name
from flujo.kernel.values import encode, encode_given

from . import events
from .decisions import set_output, skip
from .events import Fact
from .fold import apply
from .state import LIVE, RunStatus, StepStatus, WorkflowState


class SetOutput(NamedTuple):
    """The step has this output, as if it had completed."""

    step: str
    output: Any = None


class Skip(NamedTuple):
    """The run goes on without the step. An output of None is none."""

    step: str
    output: Any = None


class SetVariable(NamedTuple):
    """The variable of the run has this value."""

    name: str
    value: Any


class Complete(NamedTuple):
    """The run is over and counts as completed, with this output. What it waits for is skipped."""

    output: Any = None


Amendment = SetOutput | Skip | SetVariable | Complete


def decide(
    state: WorkflowState, changes: Sequence[Amendment], *, by: str | None = None, reason: str | None = None
) -> list[Fact]:
    """Return what is recorded of these changes, in their order.

    Raises RunFinishedError, StepNotFoundError, StepCompletedError, InvalidNameError, InvalidValueError,
    PayloadTooLargeError."""
    draft = deepcopy(state)
    return [fact for change in changes for fact in apply_amendment(draft, change, by=by, reason=reason)]


def apply_amendment(
    state: WorkflowState, change: Amendment, *, by: str | None = None, reason: str | None = None
) -> list[Fact]:
    """Return what is recorded of one change, applied to `state`. Raises as `decide`, and then leaves it as it is."""
    facts = list(_facts(state, change, by, reason))
    for fact in facts:
        apply(state, state.seq + 1, state.updated_at, fact)
    return facts


def _facts(state: WorkflowState, change: Amendment, by: str | None, reason: str | None) -> Iterator[Fact]:
    match change:
        case SetOutput(step, output):
            yield from _given(state, step, encode_given("the output", output), by, reason)
        case Skip(step, output):
            yield from _skipped(state, step, None if output is None else encode_given("the output", output), by, reason)
        case SetVariable(name, value):
            recorded = encode_given("the value", value)
            if check_variable_name(name) not in state.variables or encode(state.variables[name]) != recorded:
                _require_unfinished(state)
                yield events.VariableSet(name, recorded, reason=reason, by=by)
        case Complete(output):
            yield from _completed(state, encode_given("the output", output), by, reason)


def _given(state: WorkflowState, name: str, output: str, by: str | None, reason: str | None) -> Iterator[Fact]:
    step = state.steps.get(name)
    if step is None or step.status is not StepStatus.COMPLETED:
        yield set_output(_require_unfinished(state), name, output, by, reason)
    elif step.output_json != output:
        _require_unfinished(state)
        yield events.StepOutputSet(name, output, step.generation + 1, reason, by)


def _skipped(state: WorkflowState, name: str, output: str | None, by: str | None, reason: str | None) -> Iterator[Fact]:
    step = state.steps.get(name)
    if step is None or step.status is not StepStatus.SKIPPED or step.output_json != output:
        yield skip(_require_unfinished(state), name, output, by, reason=reason)


def _completed(state: WorkflowState, output: str, by: str | None, reason: str | None) -> Iterator[Fact]:
    if state.status is RunStatus.COMPLETED:
        return
    is_stopping = state.cancel_requested_at is not None or state.pause_requested_at is not None
    if state.status not in LIVE or is_stopping:  # an end or a pause is taken back as a resume takes it back
        yield events.RunResumed(by=by)
    for step in state.open_steps():
        yield skip(state, step.name, None, by, reason=reason)
    yield events.RunCompleted(output, reason or "somebody marked it as completed", by)


def _require_unfinished(state: WorkflowState) -> WorkflowState:
    """Return the state itself; raises RunFinishedError for a run that has completed and takes no change."""
    if state.status is RunStatus.COMPLETED:
        raise RunFinishedError(state.run_id, state.status)
    return state
