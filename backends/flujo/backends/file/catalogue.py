"""All runs of a store in memory, as the index tells: found by folder, listed by age, chosen by filters. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, TypeVar

from flujo.backends.pages import Position, place
from flujo.backends.selection import matches
from flujo.kernel.backend import Order, RunFilter, RunSummary

from .index import Entry

Key = TypeVar("Key", bound=tuple[Any, ...])


class Catalogue:
    """What one handle knows of the runs of its store."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._order: list[tuple[int, str, str]] = []  # (created_at, run_id, folder), ascending
        self._wakes: list[tuple[str, int, str]] = []  # (owner, wake_at, folder) of the runs that have both, ascending

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, folder: str) -> Entry | None:
        """The run in a folder, if there is one."""
        return self._entries.get(folder)

    def put(self, entry: Entry) -> None:
        """Learn how a run stands."""
        before = self._entries.get(entry.folder)
        self._entries[entry.folder] = entry
        _move(self._order, before and _place(before), _place(entry))
        _move(self._wakes, before and _wake(before), _wake(entry))

    def drop(self, folder: str) -> None:
        """Learn that there is no such run."""
        before = self._entries.pop(folder, None)
        if before is not None:
            _move(self._order, _place(before), None)
            _move(self._wakes, _wake(before), None)

    def waiting(self, owner: str) -> Iterator[RunSummary]:
        """The runs of an owner that wait for an instant, soonest first."""
        for number in range(bisect_left(self._wakes, (owner,)), len(self._wakes)):
            holder, _, folder = self._wakes[number]
            if holder != owner:
                return
            yield self._entries[folder].summary

    def newest(self, filter: RunFilter, order: Order, below: Position | None) -> Iterator[Entry]:
        """The runs that match, newest first, from those that sort below a position."""
        if order is Order.UPDATED:
            rest = (entry for entry in self if below is None or place(order, entry.summary) < below)
            chosen = (entry for entry in rest if matches(filter, entry.summary))
            yield from sorted(chosen, key=lambda entry: place(order, entry.summary), reverse=True)
            return
        end = len(self._order) if below is None else bisect_left(self._order, tuple(below))
        for number in range(end - 1, -1, -1):
            entry = self._entries[self._order[number][2]]
            if matches(filter, entry.summary):
                yield entry

    def oldest(self, filter: RunFilter) -> Iterator[Entry]:
        """The runs that match, oldest first."""
        for _, _, folder in self._order:
            entry = self._entries[folder]
            if matches(filter, entry.summary):
                yield entry

    def count(self, filter: RunFilter) -> int:
        """How many match."""
        return sum(matches(filter, entry.summary) for entry in self._entries.values())


def _place(entry: Entry) -> tuple[int, str, str]:
    return entry.summary.created_at, entry.summary.run_id, entry.folder


def _wake(entry: Entry) -> tuple[str, int, str] | None:
    owner, wake_at = entry.summary.owner, entry.summary.wake_at
    return None if owner is None or wake_at is None else (owner, wake_at, entry.folder)


def _move(ordered: list[Key], before: Key | None, after: Key | None) -> None:
    """Let a sorted list hold `after` instead of `before`."""
    if before == after:
        return
    if before is not None:
        del ordered[bisect_left(ordered, before)]
    if after is not None:
        insort(ordered, after)
