"""Whether a definition still fits what a run has recorded. Only completed steps bind: everything else may change
freely.

In a sequence the order binds, in a graph what a step waits for. If only one of the two plans is a graph, the other is
compared as the chain it is.

    differences   between the plan that a run has stored and the one it is to go on with
    outdated      steps that keep what they have made of other inputs
    unasked       what a program has completed and does not ask for
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from flujo.kernel.errors import Difference
from flujo.kernel.values import encode

from .plans import ANY, Plan, dependencies, digests, is_graph, loop_of, planned_name, reached
from .state import StepStatus, WorkflowState


def differences(state: WorkflowState, current: Plan | None, *, invalidated: Collection[str] = ()) -> list[Difference]:
    """Return every way the plan `current` contradicts the completed steps of a run, by name and in plan order.

    `invalidated` are steps that a resume is about to give a new generation: they bind no longer. A run or a definition
    without a plan, as every Python program, has nothing to compare before it runs.
    """
    if state.plan is None or current is None:
        return []
    stored, given = digests(state.plan), digests(current)
    completed = _planned(state, (StepStatus.COMPLETED,), invalidated)
    bound = [name for name in stored if name in completed]
    whole = {planned_name(name) for name, step in state.steps.items() if step.is_completed and loop_of(name) is None}
    found = [*_changed(bound, whole, stored, given), *_missing(bound, stored, given)]
    if is_graph(state.plan) or is_graph(current):
        renamed = {name: twin for name in bound if name not in given and (twin := _twin(name, stored, given))}
        before, now = dependencies(state.plan), dependencies(current)
        return [*found, *_rewired(bound, before, now, renamed), *_needed(bound, stored, now, renamed)]
    return [*found, *_moved(bound, list(stored), list(given)), *_inserted(bound, stored, given)]


def outdated(
    state: WorkflowState,
    mentions: Mapping[str, Collection[str]],
    inputs: Mapping[str, Any],
    *,
    invalidated: Collection[str] = (),
) -> list[Difference]:
    """Every step of a run that keeps what it has made of inputs which now have another value, in plan order.

    `mentions` says by step which inputs it is written with, and as `NAME[]` those of the items of a loop, whose list
    may change until it has completed; `inputs` are those of the run from now on. A step that was skipped or waits binds
    as well: its condition is not judged again, its wait does not begin anew."""
    recorded = state.inputs
    changed = [name for name in {**recorded, **inputs} if not _is_same(name, recorded, inputs)]
    if not changed:
        return []
    found: list[Difference] = []
    stays = _planned(state, _KEPT, invalidated)
    for step in [row[0] for row in state.plan or () if row[0] in stays]:
        is_whole = step in state.steps and state.steps[step].status in _KEPT
        mentioned = mentions.get(step if is_whole else f"{step}[]", mentions.get(step, ()))
        if its := [name for name in changed if name in mentioned or ANY in mentioned]:
            told = ", ".join(f"`{name}` {_shown(recorded, name)}, now {_shown(inputs, name)}" for name in its[:3])
            found.append(Difference(step, "outdated", f"{_KEPT[stays[step]]} with {told}"))
    return found


_KEPT = {
    StepStatus.COMPLETED: "it has completed",
    StepStatus.SKIPPED: "it was skipped",
    StepStatus.WAITING: "it waits",
}


def _is_same(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return name in before and name in now and encode(before[name]) == encode(now[name])


def _shown(inputs: Mapping[str, Any], name: str) -> str:
    text = encode(inputs[name]) if name in inputs else "not set"
    return text if len(text) <= 60 else f"{text[:59]}…"


def _planned(
    state: WorkflowState, statuses: Collection[StepStatus], invalidated: Collection[str]
) -> dict[str, StepStatus]:
    """The steps of a plan that have one of these statuses, themselves or in a later repeat, and keep it."""
    return {
        planned_name(step.name): step.status
        for step in state.steps.values()
        if step.status in statuses and step.name not in invalidated and not step.is_open_loop
    }


def unasked(state: WorkflowState, is_unasked: Callable[[int], bool], branch: str | None = None) -> list[Difference]:
    """Return the completed steps that a program has not asked for, with `branch` only those of that branch's own.

    `is_unasked` tells of the event of an outcome whether it was handed out. A program whose changes were accepted may
    leave out what it likes. The items of a loop that has an outcome are asked for by nobody."""
    if state.changes_accepted:
        return []
    return [
        Difference(step.name, "removed", "it has completed, and the program no longer asks for it")
        for step in state.steps.values()
        if step.status is StepStatus.COMPLETED
        and step.settled_seq is not None
        and (branch is None or _branch_of(step.name) == branch)
        and is_unasked(step.settled_seq)
        and not state.has_settled_loop(step.name)
    ]


def _branch_of(key: str) -> str:
    """Return the prefix of the branch that asks for a key: `a/` for `a/fetch`, and nothing for `fetch` and
    `resize[17]`."""
    return key[: key.rindex("/") + 1] if "/" in key else ""


_CHANGED = "its task, inputs or condition have changed since it completed, or a setting that they mention"


def _changed(
    bound: Sequence[str], whole: Collection[str], stored: Mapping[str, str], given: Mapping[str, str]
) -> list[Difference]:
    """Return the steps that do something else now. Of a loop that is not completed, only some of its items are: its
    list may change, and each item is compared when it is asked for."""
    parts = {name: None if name in whole else 1 for name in bound}
    return [
        Difference(name, "changed", _CHANGED)
        for name in bound
        if name in given and _binding(given[name], parts[name]) != _binding(stored[name], parts[name])
    ]


def _binding(digest: str, parts: int | None) -> tuple[int, Sequence[str]]:
    """Return what binds of a digest: all of it, or of a loop's, `ITEM/LIST`, the first of its parts."""
    found = digest.split("/")
    return len(found), found[:parts]


def _missing(bound: Sequence[str], stored: Mapping[str, str], given: Mapping[str, str]) -> list[Difference]:
    found: list[Difference] = []
    for name in bound:
        if name not in given:
            if twin := _twin(name, stored, given):
                found.append(Difference(name, "renamed", f"it has completed, and seems to be called {twin!r} now"))
            else:
                found.append(Difference(name, "removed", "it has completed, and is no longer in the definition"))
    return found


def _twin(name: str, stored: Mapping[str, str], given: Mapping[str, str]) -> str | None:
    """Return a new step that does what the step `name`, which is gone, did."""
    return next((other for other, digest in given.items() if digest == stored[name] and other not in stored), None)


# -- sequences --------------------------------------------------------------------------------------------------------


def _moved(bound: Sequence[str], stored: Sequence[str], given: Sequence[str]) -> list[Difference]:
    """Return a completed step that now stands behind a known step it used to stand before."""
    before, now = _positions(stored), _positions(given)
    found: list[Difference] = []
    for name in bound:
        if name not in now:
            continue
        ahead = [other for other in given if now[other] < now[name] and before.get(other, -1) > before[name]]
        if ahead:
            found.append(Difference(name, "reordered", f"it has completed, and now comes after {ahead[0]!r}"))
    return found


def _inserted(bound: Sequence[str], stored: Mapping[str, str], given: Mapping[str, str]) -> list[Difference]:
    """Return a new step in front of a completed one, unless it is the completed one under a new name."""
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


# -- graphs -----------------------------------------------------------------------------------------------------------

Dependencies = Mapping[str, frozenset[str]]


def _rewired(
    bound: Sequence[str], before: Dependencies, now: Dependencies, renamed: Mapping[str, str]
) -> list[Difference]:
    """Return a completed step that waits for other steps than it did, but for those that only have a new name."""
    return [
        Difference(name, "changed", "its dependencies have changed since it completed")
        for name in bound
        if name in now and now[name] != {renamed.get(other, other) for other in before[name]}
    ]


def _needed(
    bound: Sequence[str], stored: Mapping[str, str], now: Dependencies, renamed: Mapping[str, str]
) -> list[Difference]:
    """Return a new step that a completed one waits for, directly or not."""
    needed_by: dict[str, str] = {}
    for name in bound:
        if name in now:
            for other in reached(name, now):
                needed_by.setdefault(other, name)
    return [
        Difference(name, "inserted", f"it is new, and the completed step {needed_by[name]!r} depends on it")
        for name in now
        if name in needed_by and name not in stored and name not in renamed.values()
    ]
