"""A state that somebody wants to have, and the changes that lead to it. Pure decisions: nothing here reads a store.

    shape            a run in the JSON shape of a state file
    amendment_of_step   what `update_step` asks for
    changes_between  what leads from a recorded run to a state in that shape

A journal records what has happened. So outputs, variables and completion can be given by hand, with who and why; a
failure, a start or an attempt that nobody made cannot, and neither can anything recorded be taken away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from shlex import quote
from typing import Any, NoReturn

from flujo.kernel.amendments import Amendment, Complete, SetOutput, SetVariable, Skip, apply_amendment
from flujo.kernel.errors import InvalidNameError, StateNotRecordableError
from flujo.kernel.state import RunStatus, StepStatus, WorkflowState

COMPLETED = RunStatus.COMPLETED.value
VALUES = ("now", "random", "uuid", "variable")
"""Kinds of recorded values that are no steps of a workflow."""


def shape(state: WorkflowState) -> dict[str, Any]:
    """workflow_id, name, start_time, last_updated (ISO 8601 in UTC), status, execution_state and variables."""
    return {
        "workflow_id": state.workflow_id,
        "name": state.name,
        "start_time": state.start_time,
        "last_updated": state.last_updated,
        "status": state.status.value,
        "execution_state": execution_of(state),
        "variables": dict(state.variables),
    }


def execution_of(state: WorkflowState) -> dict[str, Any]:
    """status, current_step, failed_step, step_outputs and retry_state. What a program only reads or sets, such as the
    time or a variable, has a place in the journal and is no step here."""
    return {**state.execution_state, "current_step": current_step_of(state), "step_outputs": outputs_of(state)}


def current_step_of(state: WorkflowState) -> str | None:
    """Return the step that began last."""
    if state.current_step is None or state.steps[state.current_step].kind not in VALUES:
        return state.current_step
    begun = [step for step in state.steps.values() if step.kind not in VALUES]
    return max(begun, key=lambda step: step.first_seq).name if begun else None


def outputs_of(state: WorkflowState) -> dict[str, dict[str, Any]]:
    """For every completed step its output, as `{name: {"result": output}}`."""
    return {name: output for name, output in state.step_outputs.items() if state.steps[name].kind not in VALUES}


def amendment_of_step(run_id: str, step: str, status: str, output: Any) -> Amendment:
    """Return the change that gives a step this status by hand. Raises StateNotRecordableError for one that only an
    attempt can have, InvalidNameError for one that does not exist."""
    match status:
        case StepStatus.COMPLETED:
            return SetOutput(step, output)
        case StepStatus.SKIPPED:
            return Skip(step, output)
        case StepStatus.FAILED:
            hints = [f"flujoctl skip {run_id} {quote(step)}  # go on without it", f"flujoctl cancel {run_id}"]
        case StepStatus.CANCELLED:
            hints = [f"flujoctl cancel {run_id}", f"flujoctl skip {run_id} {quote(step)}"]
        case StepStatus.PENDING | StepStatus.RUNNING | StepStatus.RETRYING | StepStatus.WAITING:
            hints = [f"flujoctl resume {run_id} --from-step {quote(step)}  # run it and all later ones again"]
        case _:
            raise InvalidNameError("step status", status, f"one of {', '.join(StepStatus)}")
    raise StateNotRecordableError(run_id, f"only an attempt makes step {step!r} {status}", hints)


def changes_between(state: WorkflowState, wanted: Mapping[str, Any]) -> list[Amendment]:
    """Return what leads from a run to a state in the shape that `shape` gives; parts that are left out stay.

    Raises StateNotRecordableError for whatever cannot be given by hand, or has moved on since, and what making the
    changes raises."""
    recorded = shape(state)
    _require_equal(state, recorded, wanted, "", apart=("status", "execution_state", "variables"))
    execution = _object(state, wanted, "execution_state")
    _require_equal(state, recorded["execution_state"], execution, "execution_state.", apart=("status", "step_outputs"))
    draft = deepcopy(state)
    asked = [
        *_outputs(state, execution),
        *_variables(state, wanted),
        *_end(state, wanted.get("status"), execution.get("status")),
    ]
    return [change for change in asked if apply_amendment(draft, change)]


def _outputs(state: WorkflowState, execution: Mapping[str, Any]) -> Iterator[Amendment]:
    if "step_outputs" not in execution:
        return
    wanted = _object(state, execution, "step_outputs")
    for step in outputs_of(state):
        if step not in wanted:
            hint = f"flujoctl resume {state.run_id} --from-step {quote(step)}  # run it and all later ones again"
            _refuse(state, f"step {step!r} has completed, and its output cannot be taken away", hint)
    for step, outcome in wanted.items():
        if not isinstance(outcome, Mapping) or set(outcome) != {"result"}:
            _refuse(state, f'the output of step {step!r} is not of the form {{"result": …}}')
        yield SetOutput(step, outcome["result"])


def _variables(state: WorkflowState, wanted: Mapping[str, Any]) -> Iterator[Amendment]:
    if "variables" not in wanted:
        return
    given = _object(state, wanted, "variables")
    for name in state.variables:
        if name not in given:
            _refuse(state, f"the variable {name!r} cannot be taken away", f"flujoctl set {state.run_id} {name}:=null")
    for name, value in given.items():
        yield SetVariable(name, value)


def _end(state: WorkflowState, *wanted: Any) -> Iterator[Amendment]:
    asked = {str(status) for status in wanted if status is not None} - {state.status.value}
    if asked == {COMPLETED}:
        yield Complete()
    elif asked:
        status = min(asked)
        verb = {"paused": "pause", "cancelled": "cancel", "failed": "cancel"}.get(status, "resume")
        _refuse(state, f"it is {state.status}, and saving does not make it {status}", f"flujoctl {verb} {state.run_id}")


def _object(state: WorkflowState, parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = parent.get(name, {})
    if not isinstance(found, Mapping):
        _refuse(state, f"{name} is not an object")
    return found


def _require_equal(
    state: WorkflowState, recorded: Mapping[str, Any], wanted: Mapping[str, Any], place: str, apart: tuple[str, ...]
) -> None:
    for name, value in wanted.items():
        if name not in recorded:
            _refuse(state, f"a state has no {place}{name}")
        if name not in apart and value != recorded[name]:
            _refuse(
                state,
                f"{place}{name} is {recorded[name]!r} and not {value!r}: it follows from what the run does, "
                "or the run has moved on since this state was read",
            )


def _refuse(state: WorkflowState, problem: str, *hints: str) -> NoReturn:
    raise StateNotRecordableError(state.run_id, problem, hints or [f"flujoctl inspect {state.run_id}"])
