"""What a journal tells of the children of a run: who is waited for, who was given up, who was outlived."""

from __future__ import annotations

import pytest

from flujo.kernel import WorkflowState
from flujo.kernel.events import (
    Event,
    Fact,
    RunCreated,
    RunResumed,
    StepCancelled,
    StepCompleted,
    StepSkipped,
    StepStarted,
    StepWaiting,
)
from flujo.kernel.events import RunFailed as RunFailedFact
from flujo.kernel.journal.children import abandoned_by, given_up, is_outlived, was_abandoned
from flujo.kernel.transitions import add_up, summarize
from kernel.harness import START


def state_of(run_id: str, *facts: Fact, since: int = START) -> WorkflowState:
    return add_up(run_id, f"uid of {run_id}", [Event(seq, since + seq, fact) for seq, fact in enumerate(facts, 1)])


WAITS = StepWaiting("c", "child", child="p.c")


@pytest.mark.parametrize(
    ("facts", "given"),
    [
        ([WAITS], []),
        ([WAITS, StepCompleted("c", "1")], []),
        ([WAITS, StepCancelled("c")], [("p.c", START + 3)]),
        ([WAITS, StepSkipped("c", "no")], [("p.c", START + 3)]),
        ([WAITS, RunFailedFact("E", "no")], [("p.c", START + 3)]),
        ([StepStarted("c"), StepCancelled("c")], []),
    ],
    ids=["waits", "completed", "cancelled", "skipped", "ended around it", "no child"],
)
def test_which_children_a_run_has_given_up(facts: list[Fact], given: list[tuple[str, int]]) -> None:
    """Those of steps that came to an end without their child's."""
    assert list(given_up(state_of("p", RunCreated("flow", "{}"), *facts)).items()) == given


@pytest.mark.parametrize(
    ("parent", "child", "outlived"),
    [
        ([RunFailedFact("E", "no")], [], True),
        ([RunFailedFact("E", "no")], [RunFailedFact("E", "no"), RunResumed(by="run p")], True),
        ([RunFailedFact("E", "no")], [RunFailedFact("E", "no"), RunResumed(by="ann")], False),
        ([WAITS, StepCancelled("c"), RunFailedFact("E", "no")], [RunFailedFact("E", "no"), RunResumed(by="ann")], True),
        ([WAITS], [], False),
    ],
    ids=["its parent ended", "having resumed it", "and then somebody resumed it", "after that", "its parent lives"],
)
def test_which_child_should_have_ended_with_its_parent(parent: list[Fact], child: list[Fact], outlived: bool) -> None:
    """One whose parent has ended, unless somebody else has resumed it."""
    above = summarize(state_of("p", RunCreated("flow", "{}"), *parent), None, 1)
    below = state_of("p.c", RunCreated("child", "{}", parent_run_id="p"), *child)

    assert is_outlived(below, above) is outlived
    older = state_of("p.c", RunCreated("child", "{}", parent_run_id="p"), *child, since=START - 10)
    assert not is_outlived(older, above)


@pytest.mark.parametrize(
    ("reason", "abandoned"),
    [
        (abandoned_by("p"), True),
        ("abandoned by parent p", True),
        ("its parent p waits for it no longer", True),  # as earlier releases have written it
        (abandoned_by("other"), False),
        ("enough", False),
        (None, False),
    ],
)
def test_a_child_that_its_parent_abandoned_is_known_by_the_reason_of_its_end(
    reason: str | None, abandoned: bool
) -> None:
    """A parent that is resumed goes on with such a child, and with no other that was cancelled."""
    assert was_abandoned(reason, "p") is abandoned
