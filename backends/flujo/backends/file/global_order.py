"""The events of all runs in one order, out of a journal for each run.

Every record says which position its last event has among those of all runs; positions are given out under the store
lock, so they grow in the order of the commits. A page is merged from the journals that go on after it. So that a page
of many runs does not open every journal, it is remembered where each one goes on after a position.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from flujo.kernel.backend import Change

from .index import Entry
from .layout import StorePaths
from .run_folder import EventReader, UnsoundError

_position = attrgetter("position")


class _Next(NamedTuple):
    """The first event of a run after the position `after` has the position `first`."""

    uid: str
    after: int
    first: int


class GlobalOrder:
    """The order of the events in one store. One call at a time."""

    def __init__(self, paths: StorePaths, events: EventReader) -> None:
        self._paths = paths
        self._events = events
        self._next: dict[str, _Next] = {}  # by folder

    def changes(self, entries: Sequence[Entry], after: int, limit: int) -> list[Change]:
        """Return up to `limit` events after a position of these runs, which have one; in order. Raises UnsoundError
        with the id of a run whose journal has to be examined first."""
        waiting = [(self._at_least(entry, after), number) for number, entry in enumerate(entries)]
        heapq.heapify(waiting)
        found: list[Change] = []
        while waiting and (len(found) < limit or waiting[0][0] <= found[limit - 1].position):
            _, number = heapq.heappop(waiting)
            found += self._read(entries[number], after, limit)
            found.sort(key=_position)
        return self._remember(entries, after, found[:limit])

    def _at_least(self, entry: Entry, after: int) -> int:
        """Return a position before which the run has no event after `after`."""
        known = self._next.get(entry.folder)
        if known is not None and known.uid == entry.summary.uid and known.after <= after < known.first:
            return known.first
        return after + 1

    def _read(self, entry: Entry, after: int, limit: int) -> list[Change]:
        try:
            rows = self._events.changes(self._paths.runs / entry.folder, entry, after, limit)
        except UnsoundError as error:
            raise UnsoundError(entry.summary.run_id) from error
        if rows:
            self._next[entry.folder] = _Next(entry.summary.uid, after, rows[0].position)
        return rows

    def _remember(self, entries: Sequence[Entry], after: int, found: list[Change]) -> list[Change]:
        """Forget the runs that have nothing after the position any more; there are as many as there are runs."""
        if len(self._next) > 2 * len(entries) + 1000:
            live = {entry.folder for entry in entries}
            self._next = {folder: known for folder, known in self._next.items() if folder in live}
        return found
