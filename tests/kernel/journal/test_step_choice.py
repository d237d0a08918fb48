"""Which steps a run performs, as its environment has it."""

from __future__ import annotations

import pytest

from flujo.kernel.journal.step_choice import CHOSEN, EVERY_STEP, StepChoice, choice_in


@pytest.mark.parametrize(
    "choice",
    [
        StepChoice("ship", ("a", "b"), "c"),
        StepChoice(EVERY_STEP, ("a",)),
        StepChoice(EVERY_STEP, (), "c"),
        StepChoice("ship"),
    ],
)
def test_a_choice_is_read_back_as_it_was_recorded(choice: StepChoice) -> None:
    """From the environment of the run, beside whatever else that holds."""
    assert choice_in({"workspace": "w", **choice.recorded}) == choice


def test_every_step_is_recorded_as_nothing() -> None:
    """A run of an earlier release, whose environment knows no choice, performs all of them."""
    assert StepChoice(EVERY_STEP).recorded == {}
    assert choice_in({}) == StepChoice(EVERY_STEP)


def test_without_a_flow_the_steps_to_skip_are_those_of_every_step() -> None:
    """What a definition says of its default flow does not matter any more."""
    assert choice_in({CHOSEN: {"skip_steps": ["a"]}}) == StepChoice(EVERY_STEP, ("a",))


def test_nothing_chosen_leaves_it_to_the_definition() -> None:
    """Which may name a flow of its own, so it is not the same as every step."""
    assert StepChoice().is_open
    assert not StepChoice(EVERY_STEP).is_open
