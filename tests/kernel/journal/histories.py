"""Histories of one run, a second between any two events."""

from __future__ import annotations

from copy import deepcopy

from flujo.kernel import WorkflowState
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.events import Event, Fact, RunCreated, StepCompleted, StepStarted
from flujo.kernel.transitions import fold
from kernel.harness import START

CREATED = RunCreated("flow", "{}")


def history(*facts: Fact, seconds: float = 1) -> WorkflowState:
    """The state after these facts, recorded one second apart."""
    state = WorkflowState(run_id="r", uid="u")
    for number, fact in enumerate(facts, 1):
        fold(state, Event(number, START + round(number * seconds * MICROSECONDS), fact))
    return state


def then(state: WorkflowState, *facts: Fact, at: float) -> WorkflowState:
    """The same state some facts later, all of them recorded `at` seconds after the start."""
    later = deepcopy(state)
    for fact in facts:
        fold(later, Event(later.seq + 1, START + round(at * MICROSECONDS), fact))
    return later


def done(*names: str) -> list[Fact]:
    """Return what steps with these names record that run one after another and succeed."""
    facts: list[Fact] = []
    for name in names:
        facts += [StepStarted(name), StepCompleted(name, "1")]
    return facts
