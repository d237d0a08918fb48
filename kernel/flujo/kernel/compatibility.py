"""Whether a definition still fits what a run has recorded. Only completed steps bind: everything else may change
freely."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .errors import Difference
from .state import StepStatus, WorkflowState

Plan = Sequence[Sequence[str]]
"""The steps of a definition in order, each with the digest of its task, inputs and condition as they are written."""


def differences(state: WorkflowState, current: Plan | None, *, invalidated: Collection[str] = ()) -> list[Difference]:
    """Every way the plan `current` contradicts the completed steps of a run, by name and in plan order.

    `invalidated` are steps that a resume is about to give a new generation: they bind no longer. A run or a definition
    without a plan, as every Python program, has nothing to compare before it runs.
    """
    if state.plan is None or current is None:
        return []
    stored = {name: digest for name, digest in state.plan}  # noqa: C416 - a row is a list in JSON, not a pair
    given = {name: digest for name, digest in current}  # noqa: C416
    bound = [
        name
        for name in stored
        if name not in invalidated and (step := state.steps.get(name)) and step.status is StepStatus.COMPLETED
    ]
    return [
        *_changed(bound, stored, given),
        *_missing(bound, stored, given),
        *_moved(bound, list(stored), list(given)),
        *_inserted(bound, stored, given),
    ]


def _changed(bound: Sequence[str], stored: dict[str, str], given: dict[str, str]) -> list[Difference]:
    return [
        Difference(name, "changed", "its task, inputs or condition have changed since it completed")
        for name in bound
        if name in given and given[name] != stored[name]
    ]


def _missing(bound: Sequence[str], stored: dict[str, str], given: dict[str, str]) -> list[Difference]:
    found: list[Difference] = []
    for name in bound:
        if name not in given:
            twins = [other for other, digest in given.items() if digest == stored[name] and other not in stored]
            if twins:
                found.append(Difference(name, "renamed", f"it has completed, and seems to be called {twins[0]!r} now"))
            else:
                found.append(Difference(name, "removed", "it has completed, and is no longer in the definition"))
    return found


def _moved(bound: Sequence[str], stored: Sequence[str], given: Sequence[str]) -> list[Difference]:
    """A completed step that now stands behind a known step it used to stand before."""
    before, now = _positions(stored), _positions(given)
    found: list[Difference] = []
    for name in bound:
        if name not in now:
            continue
        ahead = [other for other in given if now[other] < now[name] and before.get(other, -1) > before[name]]
        if ahead:
            found.append(Difference(name, "reordered", f"it has completed, and now comes after {ahead[0]!r}"))
    return found


def _inserted(bound: Sequence[str], stored: dict[str, str], given: dict[str, str]) -> list[Difference]:
    """A new step in front of a completed one, unless it is the completed one under a new name."""
    now = _positions(list(given))
    last = max((now[name] for name in bound if name in now), default=-1)
    renamed = {stored[name] for name in bound if name not in given}
    return [
        Difference(name, "inserted", f"it is new, and stands before the completed step {list(given)[last]!r}")
        for name in given
        if now[name] < last and name not in stored and given[name] not in renamed
    ]


def _positions(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}
