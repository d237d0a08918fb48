"""What a resume asks for, what it records, and what forbids it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flujo.kernel import Context, RunStatus, workflow
from flujo.kernel.errors import InvalidInputError, RunExistsError, RunNotPausedError, StateIncompatibilityError
from flujo.kernel.events import (
    Fact,
    RunCreated,
    RunFailed,
    RunPaused,
    RunResumed,
    StepCancelled,
    StepSkipped,
    StepStarted,
)
from flujo.kernel.journal.requests import Fingerprint
from flujo.kernel.ownership.resumption import Resumption, require_fit, require_paused, resumed
from kernel.journal.histories import done, history


@workflow(name="flow")
async def flow(ctx: Context, number: int = 1, name: str = "n") -> None:
    pass


@workflow(name="other")
async def other(ctx: Context) -> None:
    pass


CREATED = RunCreated("flow", '{"number": 1, "name": "n"}')
FAILED = [CREATED, *done("a"), RunFailed("ValueError", "no")]


def test_a_resume_without_words_goes_on_where_the_run_failed() -> None:
    """Nothing is run again, nothing is changed."""
    (fact,) = resumed(history(*FAILED), flow, Resumption(), None)

    assert isinstance(fact, RunResumed)
    assert (list(fact.reset), fact.from_step, fact.inputs, fact.changes_accepted) == ([], None, None, False)


def test_a_resume_from_a_step_runs_it_again() -> None:
    """And says who asked, under which request."""
    (fact,) = resumed(history(*FAILED), flow, Resumption(from_step="a", by="ann"), Fingerprint("x", "digest"))

    assert isinstance(fact, RunResumed)
    assert (list(fact.reset), fact.from_step, fact.by, fact.request) == (["a"], "a", "ann", Fingerprint("x", "digest"))


def test_new_inputs_are_merged_over_the_recorded_ones_and_checked() -> None:
    """What is not named keeps its value; what does not fit the workflow is refused."""
    (fact,) = resumed(history(*FAILED), flow, Resumption(inputs={"number": 7}), None)

    assert isinstance(fact, RunResumed)
    assert fact.inputs == '{"number":7,"name":"n"}'
    with pytest.raises(InvalidInputError):
        resumed(history(*FAILED), flow, Resumption(inputs={"number": "many"}), None)


def test_steps_to_skip_are_recorded_behind_the_resume() -> None:
    """In the order in which they were named, with an output or without."""
    begun = [fact for name in "bc" for fact in (StepStarted(name), StepCancelled(name))]
    state = history(CREATED, *begun, RunFailed("ValueError", "no"))

    facts = resumed(state, flow, Resumption(skip={"b": None, "c": [1]}, by="ann"), None)

    assert [(fact.step, fact.output, fact.by) for fact in facts if isinstance(fact, StepSkipped)] == [
        ("b", None, "ann"),
        ("c", "[1]", "ann"),
    ]
    assert isinstance(facts[0], RunResumed)


def test_a_run_goes_on_with_its_own_workflow_only() -> None:
    """Another one is refused by its name."""
    with pytest.raises(RunExistsError, match="flow"):
        resumed(history(*FAILED), other, Resumption(), None)


PLANNED = RunCreated("flow", "{}", plan=[["a", "1"], ["b", "2"]])


def test_a_program_that_contradicts_completed_steps_is_refused_with_their_names() -> None:
    """Unless those are run again."""
    state = history(PLANNED, *done("a"), RunFailed("ValueError", "no"))
    changed = replace(flow, plan=[("a", "changed"), ("b", "2")])

    with pytest.raises(StateIncompatibilityError) as refused:
        require_fit(state, changed, invalidated=())
    require_fit(state, changed, invalidated=["a"])

    assert [difference.step for difference in refused.value.differences] == ["a"]


@pytest.mark.parametrize(
    ("facts", "paused"), [([RunPaused("PauseRequested")], True), ([], False), ([RunFailed("E", "no")], False)]
)
def test_only_a_paused_run_is_unpaused(facts: list[Fact], paused: bool) -> None:
    """The error names the status that was found instead."""
    state = history(CREATED, *facts)
    if paused:
        require_paused(state)
        return
    with pytest.raises(RunNotPausedError, match=str(state.status)):
        require_paused(state)
    assert state.status in (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.FAILED)


@pytest.mark.parametrize(
    "change",
    [
        {"from_step": "a"},
        {"retry": ["a"]},
        {"skip": {"a": 1}},
        {"inputs": {"number": 2}},
        {"accept_changes": True},
        {"by": "ann"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_resume_under_one_id_has_another_mark(change: dict[str, Any]) -> None:
    """Every part that changes what is done is part of what makes a request the same."""
    assert Resumption(request_id="x").fingerprint() != Resumption(request_id="x", **change).fingerprint()
    assert (
        Resumption(request_id="x", retry=["b", "a"]).fingerprint()
        == Resumption(request_id="x", retry=["a", "b"]).fingerprint()
    )
    assert Resumption().fingerprint() is None
