"""Which runs, in which order, and what they add up to: what the words of the port mean, on summaries. Pure.

The memory and the file backend answer with these functions; SQLite says the same in SQL, and the conformance suite
holds them against each other.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from flujo.kernel.backend import (
    SAME_VALUE,
    Commit,
    RunFilter,
    RunSummary,
    WorkflowStats,
    in_the_way_of,
    is_child,
)
from flujo.kernel.state import FINAL, RunStatus

from .pages import Position

Condition = Callable[[RunSummary], bool]


def matches(filter: RunFilter, run: RunSummary) -> bool:
    """True if every part of a filter that is given fits a run."""
    return all(condition(run) for condition in conditions(filter))


def chooser(filter: RunFilter) -> Condition:
    """Return the same question for many runs, at less cost for each."""
    match conditions(filter):
        case []:
            return lambda run: True
        case [condition]:
            return condition
        case several:

            def fits(run: RunSummary) -> bool:
                for condition in several:  # noqa: SIM110 - a generator for each run costs more than it asks
                    if not condition(run):
                        return False
                return True

            return fits


def conditions(filter: RunFilter) -> list[Condition]:
    """Return what the parts of a filter that are given ask of a run, each by itself; the cheap ones first."""
    asked: list[Condition] = []
    if filter.statuses:
        statuses = frozenset(filter.statuses)
        asked.append(lambda run: run.status in statuses)
    for part, column in SAME_VALUE.items():
        if (value := getattr(filter, part)) is not None:
            asked.append(_is_same(attrgetter(column), value))
    if (prefix := filter.id_prefix) is not None:
        asked.append(lambda run: run.run_id.startswith(prefix))
    ranges: Sequence[tuple[Callable[[RunSummary], int | None], int | None, int | None]] = (
        (attrgetter("created_at"), filter.created_from, filter.created_before),
        (attrgetter("updated_at"), filter.updated_from, filter.updated_before),
        (attrgetter("finished_at"), filter.finished_from, filter.finished_before),
        (settled_at, None, filter.settled_before),
    )
    asked += (_is_within(*range) for range in ranges if range[1:] != (None, None))
    if filter.labels:
        labels = {(name, value) for name, value in filter.labels}
        asked.append(lambda run: labels <= json.loads(run.labels).items())
    return asked


def overlapping(commits: Sequence[Commit], unfinished: Callable[[RunFilter], Iterable[str]]) -> frozenset[str]:
    """Return the uids of the commits of a batch with `alone_from` that another run is in the way of. `unfinished` gives
    the uids of the runs in the store that match a filter.

    What an earlier commit ends is still in the way: that commit may be refused."""
    found: set[str] = set()
    for number, commit in enumerate(commits):
        if commit.alone_from is None:
            continue
        filter = in_the_way_of(commit)
        others = {*unfinished(filter), *(each.uid for each in commits[:number] if matches(filter, each.summary))}
        if others - found - {commit.uid}:
            found.add(commit.uid)
    return frozenset(found)


def settled_at(run: RunSummary) -> int | None:
    """Return the instant since when a run rests, None for one that goes on: `settled_before` asks for it."""
    return run.updated_at if run.status == RunStatus.PAUSED else run.finished_at


def _is_same(column: Callable[[RunSummary], object], value: object) -> Condition:
    return lambda run: column(run) == value


def _is_within(instant: Callable[[RunSummary], int | None], start: int | None, end: int | None) -> Condition:
    def is_within(run: RunSummary) -> bool:
        found = instant(run)
        return found is not None and (start is None or found >= start) and (end is None or found < end)

    return is_within


def pruning_place(run: RunSummary) -> Position:
    """Return where a run stands in the line of those that are to be pruned; the least goes first."""
    return Position(run.updated_at if run.finished_at is None else run.finished_at, run.run_id)


class Families:
    """Who has started whom among the runs of a store. `find` knows a run by its id, `children` those of a parent id."""

    def __init__(
        self, find: Callable[[str], RunSummary | None], children: Callable[[str], Iterable[RunSummary]]
    ) -> None:
        self._find = find
        self._children = children

    def has_parent(self, run: RunSummary) -> bool:
        """True if the run that started this one is in the store."""
        if run.parent_run_id is None:
            return False
        parent = self._find(run.parent_run_id)
        return parent is not None and is_child(run, parent.run_id, parent.created_at)

    def of(self, root: RunSummary) -> Sequence[RunSummary]:
        """Return a run and all that came of it, every one before those it has started."""
        family = [root]
        for member in family:
            family += (
                child for child in self._children(member.run_id) if is_child(child, member.run_id, member.created_at)
            )
        return family


def prunable(
    filter: RunFilter, runs: Iterable[RunSummary], families: Families, is_alive: Callable[[str], bool]
) -> Iterator[Sequence[RunSummary]]:
    """Yield the families that go, in the order in which they do."""
    fits = chooser(filter)
    chosen = [run for run in runs if fits(run) and not families.has_parent(run)]
    for root in sorted(chosen, key=pruning_place):
        family = families.of(root)
        if not any(member.owner is not None and is_alive(member.owner) for member in family):
            yield family


def tally(runs: Iterable[RunSummary], since: int) -> Sequence[WorkflowStats]:
    """Return what runs add up to, by workflow."""
    by_workflow: defaultdict[str, list[RunSummary]] = defaultdict(list)
    for run in runs:
        by_workflow[run.workflow].append(run)
    return [_tally_one(workflow, found, since) for workflow, found in sorted(by_workflow.items())]


def _tally_one(workflow: str, runs: Sequence[RunSummary], since: int) -> WorkflowStats:
    ended = [run for run in runs if run.status in FINAL and run.finished_at is not None and run.finished_at >= since]
    return WorkflowStats(
        workflow=workflow,
        runs=Counter(run.status for run in runs),
        created=sum(run.created_at >= since for run in runs),
        ended=Counter(run.status for run in ended),
        retried=sum(run.retries > 0 for run in ended),
        failed_steps=most_first(
            Counter(run.failed_step for run in ended if run.status == RunStatus.FAILED and run.failed_step is not None)
        ),
        **spread(sorted(_took(run) for run in ended if run.status == RunStatus.COMPLETED)),
    )


def _took(run: RunSummary) -> int:
    begun = run.created_at if run.started_at is None else run.started_at
    return max(0, (run.finished_at or 0) - begun)


def most_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the same counts, the greatest first, and by name where they are equal."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def spread(ascending: Sequence[int]) -> dict[str, int | None]:
    """`p50`, `p95` and `longest` of durations: each is one of them, the least that so many do not exceed."""
    return {
        "p50": ascending[rank(50, len(ascending))] if ascending else None,
        "p95": ascending[rank(95, len(ascending))] if ascending else None,
        "longest": ascending[-1] if ascending else None,
    }


def rank(percent: int, number: int) -> int:
    """Return the place, counted from 0, of a percentile among so many sorted values."""
    return max(0, -(-percent * number // 100) - 1)
