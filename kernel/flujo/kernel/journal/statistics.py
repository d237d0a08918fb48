"""What the runs of a store add up to: counts, rates, durations, and where the time goes. Pure.

Counts and durations of runs are exact: a backend has them of all runs (`backend.WorkflowStats`). How long steps take
is only in the journals, so the slowest ones are told by a sample: the runs that completed last.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from flujo.kernel.durations import MICROSECONDS

from .state import RunStatus, StepStatus, WorkflowState
from .summaries import RunSummary, WorkflowStats

SAMPLED_RUNS = 200
"""How many runs of one workflow are read at most to tell its slowest steps."""

SAMPLED_RUNS_IN_ALL = 1000
"""The same for all workflows of one answer together; each has at least one."""

SAMPLED_EVENTS = 20_000
"""How many events these runs have together at most, for one workflow. The newest run is read however long it is."""

SHOWN_STEPS = 10

_ITEM = r"\[[^\]]*\]"
_REPEAT = r"#\d+"


class StepDurations(NamedTuple):
    """How long a step was at work in the runs that were sampled: its bodies, over all attempts, without waits."""

    step: str
    """Its name. Repeats count as the same step, and so do the items of a map, as `resize[*]`."""

    times: int
    """How often it completed."""

    median_seconds: float
    longest_seconds: float

    p95_seconds: float
    """What 95 of 100 of these took at most."""


class WorkflowStatistics(NamedTuple):
    """What the runs of one workflow add up to. Rates are parts of 1, of the runs that ended in the window."""

    workflow: str

    runs: Mapping[str, int]
    """How many are stored, by status; statuses without any are left out."""

    created: int
    """How many of these were created in the window."""

    ended: Mapping[str, int]
    """How many became final in the window, by status."""

    retried: int
    """How many of those that ended had tried some step again."""

    failure_rate: float | None
    """Which part of those that ended failed; None when none has ended."""

    retry_rate: float | None
    """Which part of those that ended had tried some step again; None when none has ended."""

    p50_seconds: float | None
    """What half of the runs that completed in the window took at most, from their start; None when none has."""

    p95_seconds: float | None
    """The same for 95 of 100."""

    longest_seconds: float | None
    """The most that one of them took."""

    failing_steps: Mapping[str, int]
    """How many of those that failed did so in which step, the most failing first, ten at most."""

    slowest_steps: Sequence[StepDurations]
    """The steps with the longest median, the slowest first, ten at most: of a sample."""

    sampled: int
    """How many runs were read for the slowest steps: those that completed last in the window, 200 at most."""


class Statistics(NamedTuple):
    """What the runs of a store add up to. Instants in microseconds UTC."""

    since: int
    """Where the window begins: an instant that belongs to it."""

    until: int
    """Where it ends: when the question was asked."""

    workflows: Sequence[WorkflowStatistics]
    """In the order of their names; those without any stored run are left out."""


def sampled_runs(workflows: int) -> int:
    """Return how many runs of each of so many workflows are read at most."""
    return max(1, min(SAMPLED_RUNS, SAMPLED_RUNS_IN_ALL // max(1, workflows)))


def sample(runs: Sequence[RunSummary]) -> Sequence[RunSummary]:
    """Return as many of these runs, the first ones, as do not have too many events together; at least one."""
    chosen: list[RunSummary] = []
    events = 0
    for run in runs:
        events += run.seq
        if chosen and events > SAMPLED_EVENTS:
            break
        chosen.append(run)
    return chosen


def step_durations(states: Iterable[WorkflowState]) -> Sequence[StepDurations]:
    """Return the slowest steps of these runs. Only what a task did counts: a step that waits for people is not slow."""
    took: defaultdict[str, list[float]] = defaultdict(list)
    for state in states:
        for step in state.steps.values():
            if step.kind == "task" and step.status is StepStatus.COMPLETED:
                took[general_name(step.name)].append(step.active_seconds)
    found = [_durations(step, sorted(each)) for step, each in took.items()]
    return sorted(found, key=lambda each: (-each.median_seconds, each.step))[:SHOWN_STEPS]


def _durations(step: str, took: Sequence[float]) -> StepDurations:
    """Return what the durations of a step add up to, of which the shortest is the first."""
    p95 = took[math.ceil(0.95 * len(took)) - 1]
    # In whole microseconds: the mean of two floats has digits that mean nothing, and a message does not hold.
    return StepDurations(step, len(took), round(median(took), 6), round(took[-1], 6), round(p95, 6))


def median(ordered: Sequence[float]) -> float:
    """Return the middle one of some numbers, of which the least is the first, or the mean of the two in the middle.

    The one in the standard library brings random numbers and fractions along, which every run would wait for."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def general_name(step: str) -> str:
    """Return what the repeats of a step and the items of a map have in common: `resize[*]` for `resize[17]#2`."""
    return re.sub(_REPEAT, "", re.sub(_ITEM, "[*]", step))


def workflow_statistics(
    stats: WorkflowStats, slowest_steps: Sequence[StepDurations], sampled: int
) -> WorkflowStatistics:
    """Return what a backend has counted and a sample has shown, as people read it."""
    ended = sum(stats.ended.values())
    return WorkflowStatistics(
        workflow=stats.workflow,
        runs=dict(stats.runs),
        created=stats.created,
        ended=dict(stats.ended),
        retried=stats.retried,
        failure_rate=_part(stats.ended.get(RunStatus.FAILED, 0), ended),
        retry_rate=_part(stats.retried, ended),
        p50_seconds=_seconds(stats.p50),
        p95_seconds=_seconds(stats.p95),
        longest_seconds=_seconds(stats.longest),
        failing_steps=dict(list(stats.failed_steps.items())[:SHOWN_STEPS]),
        slowest_steps=slowest_steps,
        sampled=sampled,
    )


def _part(some: int, all: int) -> float | None:
    return some / all if all else None


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / MICROSECONDS
