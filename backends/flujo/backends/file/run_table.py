"""All runs of a store in memory, as the index tells: by folder, in order of any instant, by what filters ask. Pure.

A listing walks its order from the newest run on and takes what matches. Where few runs can match, as the sets and
orders kept here tell without a look at any, those few are sorted instead: rare runs among many are found as fast.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from flujo.backends.pages import Position, place
from flujo.backends.selection import Families, chooser, settled_at
from flujo.kernel.backend import Order, RunFilter, RunSummary

from .index import Entry

Key = TypeVar("Key", bound=tuple[Any, ...])

_FEW = 2_000
"""So many runs are sorted faster than a listing of ten thousand is walked to its end."""

_LAST = chr(0x10FFFF)  # sorts after every character of an id


class RunTable:
    """What one handle knows of the runs of its store."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._created: list[tuple[int, str, str]] = []  # (created_at, run_id, folder), ascending
        self._updated: list[tuple[int, str, str]] = []  # (updated_at, run_id, folder), ascending
        self._finished: list[tuple[int, str]] = []  # (finished_at, folder) of the runs that have one, ascending
        self._settled: list[tuple[int, str]] = []  # (settled_at, folder) of the runs that rest, ascending
        self._positions: list[tuple[int, str]] = []  # (position of the last event, folder), ascending
        self._ids: list[tuple[str, str]] = []  # (run_id, folder), ascending
        self._wakes: list[tuple[str, int, str]] = []  # (owner, wake_at, folder) of the runs that have both, ascending
        self._traits: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)  # folders by what filters ask for

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, folder: str) -> Entry | None:
        """Return the run in a folder, if there is one."""
        return self._entries.get(folder)

    def put(self, entry: Entry) -> None:
        """Learn how a run stands."""
        before = self._entries.get(entry.folder)
        self._entries[entry.folder] = entry
        self._move(before, entry)

    def drop(self, folder: str) -> None:
        """Learn that there is no such run."""
        self._move(self._entries.pop(folder, None), None)

    def _move(self, before: Entry | None, after: Entry | None) -> None:
        _move(self._created, before and _created(before), after and _created(after))
        _move(self._updated, before and _updated(before), after and _updated(after))
        _move(self._finished, before and _finished(before), after and _finished(after))
        _move(self._settled, before and _settled(before), after and _settled(after))
        _move(self._positions, before and _position(before), after and _position(after))
        _move(self._ids, before and _id(before), after and _id(after))
        _move(self._wakes, before and _wake(before), after and _wake(after))
        if before is None or after is None or _ASKED_FOR(before.summary) != _ASKED_FOR(after.summary):
            self._mark(before, after)

    def _mark(self, before: Entry | None, after: Entry | None) -> None:
        old = _traits(before.summary) if before is not None else set()
        new = _traits(after.summary) if after is not None else set()
        for trait in old - new:
            assert before is not None
            self._traits[trait].discard(before.folder)
            if not self._traits[trait]:
                del self._traits[trait]
        for trait in new - old:
            assert after is not None
            self._traits[trait].add(after.folder)

    # -- finding ------------------------------------------------------------------------------------------------

    def waiting(self, owner: str) -> Iterator[RunSummary]:
        """Yield the runs of an owner that wait for an instant, soonest first."""
        for number in range(bisect_left(self._wakes, (owner,)), len(self._wakes)):
            holder, _, folder = self._wakes[number]
            if holder != owner:
                return
            yield self._entries[folder].summary

    def changed(self, after: int) -> list[Entry]:
        """Return the runs that have an event after a position."""
        start = bisect_left(self._positions, (after + 1,))
        return [self._entries[folder] for _, folder in self._positions[start:]]

    def newest(self, filter: RunFilter, order: Order, below: Position | None) -> Iterator[Entry]:
        """Yield the runs that match, newest first, from those that sort below a position."""
        fits = chooser(filter)
        few = self._few(filter)
        if few is not None:
            chosen = (entry for entry in few if fits(entry.summary))
            rest = (entry for entry in chosen if below is None or place(order, entry.summary) < below)
            yield from sorted(rest, key=lambda entry: place(order, entry.summary), reverse=True)
            return
        ordered = self._created if order is Order.CREATED else self._updated
        end = len(ordered) if below is None else bisect_left(ordered, tuple(below))
        for number in range(end - 1, -1, -1):
            entry = self._entries[ordered[number][2]]
            if fits(entry.summary):
                yield entry

    def oldest(self, filter: RunFilter) -> Iterator[Entry]:
        """Yield the runs that match, oldest first."""
        fits = chooser(filter)
        few = self._few(filter)
        entries = (self._entries[folder] for *_, folder in self._created) if few is None else sorted(few, key=_created)
        return (entry for entry in entries if fits(entry.summary))

    def matching(self, filter: RunFilter) -> Iterator[Entry]:
        """Yield the runs that match, in any order."""
        fits = chooser(filter)
        few = self._few(filter)
        return (entry for entry in (self if few is None else few) if fits(entry.summary))

    def families(self) -> Families:
        """Return who has started whom."""

        def find(run_id: str) -> RunSummary | None:
            at = bisect_left(self._ids, (run_id,))
            if at == len(self._ids) or self._ids[at][0] != run_id:
                return None
            return self._entries[self._ids[at][1]].summary

        def children(parent: str) -> Iterable[RunSummary]:
            return sorted(self._entries[folder].summary for folder in self._traits.get(("parent", parent), ()))

        return Families(find, children)

    def _few(self, filter: RunFilter) -> Collection[Entry] | None:
        """Return some runs, among them all that match; None if those are not few."""
        asked = sorted(self._asked(filter), key=len)
        if asked and len(common := asked[0].intersection(*asked[1:])) <= _FEW:
            return [self._entries[folder] for folder in common]
        for ordered, start, end in self._ranges(filter):
            if end - start <= _FEW:
                return [self._entries[folder] for *_, folder in ordered[start:end]]
        return None

    def _asked(self, filter: RunFilter) -> Iterator[set[str]]:
        """Yield the folders of the runs that match each part which asks for one value."""
        nothing: set[str] = set()
        if filter.statuses:
            yield nothing.union(*(self._traits.get(("status", status), nothing) for status in filter.statuses))
        named = (
            ("workflow", filter.workflow),
            ("failed_step", filter.failed_step),
            ("parent", filter.parent),
            ("owner", filter.owner),
        )
        for name, value in named:
            if value is not None:
                yield self._traits.get((name, value), nothing)
        for name, value in filter.labels:
            yield self._traits.get(("label", name, value), nothing)

    def _ranges(self, filter: RunFilter) -> Iterator[tuple[Sequence[tuple[Any, ...]], int, int]]:
        """Yield where the runs that match each part which asks for a range stand in the order of it."""
        if (prefix := filter.id_prefix) is not None:
            yield self._ids, bisect_left(self._ids, (prefix,)), bisect_left(self._ids, (prefix + _LAST,))
        instants: Sequence[tuple[Sequence[tuple[Any, ...]], int | None, int | None]] = (
            (self._created, filter.created_from, filter.created_before),
            (self._updated, filter.updated_from, filter.updated_before),
            (self._finished, filter.finished_from, filter.finished_before),
            (self._settled, None, filter.settled_before),
        )
        for ordered, start, end in instants:
            if (start, end) != (None, None):
                first = 0 if start is None else bisect_left(ordered, (start,))
                yield ordered, first, len(ordered) if end is None else max(first, bisect_left(ordered, (end,)))


def _created(entry: Entry) -> tuple[int, str, str]:
    return entry.summary.created_at, entry.summary.run_id, entry.folder


def _updated(entry: Entry) -> tuple[int, str, str]:
    return entry.summary.updated_at, entry.summary.run_id, entry.folder


def _finished(entry: Entry) -> tuple[int, str] | None:
    finished_at = entry.summary.finished_at
    return None if finished_at is None else (finished_at, entry.folder)


def _settled(entry: Entry) -> tuple[int, str] | None:
    instant = settled_at(entry.summary)
    return None if instant is None else (instant, entry.folder)


def _position(entry: Entry) -> tuple[int, str]:
    return entry.position, entry.folder


def _id(entry: Entry) -> tuple[str, str]:
    return entry.summary.run_id, entry.folder


def _wake(entry: Entry) -> tuple[str, int, str] | None:
    owner, wake_at = entry.summary.owner, entry.summary.wake_at
    return None if owner is None or wake_at is None else (owner, wake_at, entry.folder)


_ASKED_FOR = attrgetter("status", "workflow", "failed_step", "parent_run_id", "owner", "labels")


def _traits(run: RunSummary) -> set[tuple[str, ...]]:
    """Return what filters can ask of a run by one value."""
    status, workflow, failed_step, parent, owner, labels = _ASKED_FOR(run)
    named = (("failed_step", failed_step), ("parent", parent), ("owner", owner))
    return {
        ("status", status),
        ("workflow", workflow),
        *(each for each in named if each[1] is not None),
        *(("label", name, value) for name, value in json.loads(labels).items()),
    }


def _move(ordered: list[Key], before: Key | None, after: Key | None) -> None:
    """Let a sorted list hold `after` instead of `before`."""
    if before == after:
        return
    if before is not None:
        del ordered[bisect_left(ordered, before)]
    if after is not None:
        insort(ordered, after)
