"""What leads from a recorded run to a state that somebody wants, and what no journal can come to."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from flujo.cli.program import program
from flujo.cli.session import Session
from flujo.kernel import WorkflowState
from flujo.kernel.errors import FlujoError, InvalidNameError, InvalidValueError, StateNotRecordableError
from flujo.kernel.events import (
    Fact,
    RunCompleted,
    RunCreated,
    RunFailed,
    StepCompleted,
    StepFailed,
    StepStarted,
    ValueRecorded,
    VariableSet,
)
from flujo.kernel.journal.amendments import Amendment, Complete, SetOutput, SetVariable, Skip
from flujo.kernel.state import StepStatus
from flujo.kernel.transitions import apply
from flujo.state.saving import amendment_of_step, changes_between, shape

DONE: list[Fact] = [
    RunCreated("flow", "{}", plan=[["a", "1"], ["b", "1"]]),
    ValueRecorded("now", "now", "1"),
    VariableSet("n", "1", "set.n"),
    StepStarted("a"),
    StepCompleted("a", '{"rows":[1]}'),
]
FAILED = [*DONE, StepStarted("b"), StepFailed("b", 1, "E", "no"), RunFailed("E", "no", "b", 1, ["b"])]


def history(facts: list[Fact]) -> WorkflowState:
    state = WorkflowState(run_id="r", uid="u")
    for fact in facts:
        apply(state, state.seq + 1, 1_767_225_600_000_000, fact)
    return state


def test_the_shape_leaves_out_what_is_no_step() -> None:
    """What a program has only read or set is not among the outputs, and is no current step."""
    state = history(DONE[:3])

    assert shape(state)["execution_state"]["current_step"] is None
    assert shape(history(FAILED)) == {
        "workflow_id": "r",
        "name": "flow",
        "start_time": "2026-01-01T00:00:00.000000Z",
        "last_updated": "2026-01-01T00:00:00.000000Z",
        "status": "failed",
        "execution_state": {
            "status": "failed",
            "current_step": "b",
            "failed_step": "b",
            "step_outputs": {"a": {"result": {"rows": [1]}}},
            "retry_state": {"b": {"attempt": 1, "max_attempts": 1}},
        },
        "variables": {"n": 1},
    }


def test_behind_a_step_the_current_step_is_that_step() -> None:
    """Also once the program has set a variable."""
    state = history([*DONE, VariableSet("n", "2", "set.n#2")])

    assert shape(state)["execution_state"]["current_step"] == "a"


def outputs(state: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = state["execution_state"]["step_outputs"]
    return found


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda state: None, []),
        (lambda state: state["variables"].update(n=2, m="x"), [SetVariable("n", 2), SetVariable("m", "x")]),
        (lambda state: state["variables"].update(n=True), [SetVariable("n", True)]),
        (lambda state: outputs(state).update(b={"result": None}), [SetOutput("b", None)]),
        (lambda state: outputs(state)["a"].update(result=3), [SetOutput("a", 3)]),
        (lambda state: state.update(status="completed"), [Complete()]),
        (lambda state: state["execution_state"].update(status="completed"), [Complete()]),
        (
            lambda state: (state.update(status="completed"), outputs(state).update(b={"result": 1})),
            [SetOutput("b", 1), Complete()],
        ),
        (lambda state: [state.pop(key) for key in list(state)], []),
        (lambda state: state["execution_state"].clear(), []),
    ],
)
def test_what_has_changed_becomes_changes(change: Callable[[dict[str, Any]], Any], changes: list[Amendment]) -> None:
    """Outputs, variables and the end, in this order; the rest of a state may be left out."""
    state = history(FAILED)
    wanted = deepcopy(shape(state))
    change(wanted)

    assert changes_between(state, wanted) == changes


REFUSED: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda state: state.update(status="paused"), "saving does not make it paused"),
    (lambda state: state.update(status="running"), "saving does not make it running"),
    (lambda state: state["execution_state"].update(status="cancelled"), "saving does not make it cancelled"),
    (lambda state: state.update(name="other"), "name is 'flow' and not 'other'"),
    (lambda state: state.update(last_updated="2030-01-01T00:00:00Z"), "the run has moved on"),
    (lambda state: state["execution_state"].update(current_step="a"), "execution_state.current_step is 'b'"),
    (lambda state: state["execution_state"].update(retry_state={}), "execution_state.retry_state"),
    (lambda state: state.update(step_index=3), "a state has no step_index"),
    (lambda state: state["execution_state"].update(step=3), "a state has no execution_state.step"),
    (lambda state: state.update(execution_state=[]), "execution_state is not an object"),
    (lambda state: state.update(variables=None), "variables is not an object"),
    (lambda state: state["variables"].clear(), "the variable 'n' cannot be taken away"),
    (lambda state: outputs(state).clear(), "step 'a' has completed, and its output cannot be taken away"),
    (lambda state: outputs(state).update(b="plain"), "the output of step 'b' is not of the form"),
]


@pytest.mark.parametrize(("change", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_what_cannot_be_recorded_is_refused(change: Callable[[dict[str, Any]], Any], says: str) -> None:
    """It is said what, and what does it instead, in commands that exist."""
    state = history(FAILED)
    wanted = deepcopy(shape(state))
    change(wanted)

    with pytest.raises(StateNotRecordableError, match=re.escape(says)) as refused:
        changes_between(state, wanted)
    require_commands(refused.value)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda state: state["variables"].update({"no name": 1}), InvalidNameError),
        (lambda state: state["variables"].update(m={1}), InvalidValueError),
    ],
)
def test_what_is_not_well_formed_is_refused(change: Callable[[dict[str, Any]], Any], kind: type[FlujoError]) -> None:
    """As everywhere in flujo."""
    state = history(FAILED)
    wanted = deepcopy(shape(state))
    change(wanted)

    with pytest.raises(kind):
        changes_between(state, wanted)


def test_a_completed_run_is_no_more_to_be_failed() -> None:
    """An end is recorded once."""
    state = history([*DONE, RunCompleted("null")])

    assert changes_between(state, shape(state)) == []
    with pytest.raises(StateNotRecordableError):
        changes_between(state, {"status": "failed"})


@pytest.mark.parametrize("status", StepStatus)
def test_a_step_gets_an_outcome_by_hand_and_nothing_else(status: StepStatus) -> None:
    """What only an attempt can bring is refused, with the commands that come nearest to it."""
    if status is StepStatus.COMPLETED:
        assert amendment_of_step("r", "b", status, 1) == SetOutput("b", 1)
    elif status is StepStatus.SKIPPED:
        assert amendment_of_step("r", "b", status, 1) == Skip("b", 1)
    else:
        with pytest.raises(StateNotRecordableError, match=f"only an attempt makes step 'b' {status}") as refused:
            amendment_of_step("r", "b", status, 1)
        require_commands(refused.value)


def require_commands(error: FlujoError) -> None:
    """flujoctl knows each command that an error hints at, with its options."""
    assert error.hints
    for hint in error.hints:
        arguments = shlex.split(hint.removeprefix("flujoctl "), comments=True)
        with program.make_context("flujoctl", arguments, obj=Session()) as context:
            name, found, rest = program.resolve_command(context, arguments)
            assert found is not None
            found.make_context(name, rest, parent=context)
