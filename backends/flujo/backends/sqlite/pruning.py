"""Removing many runs while others work: looked for by the reader, decided on and removed in short transactions.

Looking takes the runs in the order in which they go, some at a time: from the index of that order, or, when few can
match, all of them at once by whatever way `listing` has. What it finds is a hint. Every transaction reads a root and
its family again, asks `selection` whether it goes, and removes it, until its time is used up. Nothing that stays is
looked at twice, however much of it there is.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from flujo.backends.locks import POLL_SECONDS
from flujo.backends.pages import Position
from flujo.backends.selection import Families, chooser, pruning_place
from flujo.kernel.backend import Order, Removal, RunFilter, RunSummary

from . import blobs, checksums, listing, removals, segments
from .listing import Condition
from .queries import Statement, find_run

HOLD_SECONDS = 0.015
"""How long a transaction goes on removing; with its end it keeps the store lock for a little longer."""

LOOK = 2_000
"""How many runs are looked at in one go: a few milliseconds of the reader's time."""

_REST = "coalesce(finished_at, updated_at)"


LEAST_PAUSE_SECONDS = 2 * POLL_SECONDS
"""Whoever waits for the store lock looks so often that he has it after this."""


class Slice(NamedTuple):
    """What one transaction of a long job has done."""

    pages: int  # about what it added to the log
    more: bool  # whether there is more to do


class Pacer:
    """The transactions of a long job and the pauses between them. While others write, they have half of the time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun_at = 0.0
        self._state: tuple[int, int] | None = None
        self._others_write = False
        self._hold = HOLD_SECONDS
        self.has_failed = False  # the last slice, for want of room

    def begin_again(self) -> bool:
        """True if a slice that found no room on the disk is worth another try, as small as can be."""
        is_first, self.has_failed, self._hold = not self.has_failed, True, 0.0
        return is_first

    def shrink(self, connection: sqlite3.Connection) -> Slice:
        """Do a slice of `shrink`."""
        return shrink(connection, hold=self._hold)

    def run(self, work: Callable[[sqlite3.Connection], Slice], connection: sqlite3.Connection) -> Slice:
        """Do a slice of the work, in a transaction under the store lock."""
        self._begun_at = self._clock()
        ((version,),) = connection.execute("PRAGMA data_version").fetchall()  # another one after others' commits
        self._others_write = self._state != (version, connection.total_changes)
        done = work(connection)
        self._state = version, connection.total_changes
        return done

    def sweep(self, connection: sqlite3.Connection) -> Slice:
        """Do a slice of `removals.sweep`."""
        swept = removals.sweep(connection, self._clock, self._hold)
        return Slice(pages_of(swept), swept.more)

    def pause(self) -> float:
        """Return how many seconds to leave to others now that the store lock is free again."""
        return self._clock() - self._begun_at if self._others_write else LEAST_PAUSE_SECONDS


class Candidate(NamedTuple):
    """A run that looked as if it could be the root of a family that goes."""

    place: Position
    run: int


class Pruning:
    """One call of `prune` on its way: what is next in line, and what has gone."""

    def __init__(
        self,
        filter: RunFilter,
        limit: int,
        live_owners: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._filter = filter
        self._chooses = chooser(filter)
        self._limit = limit
        self._live_owners = live_owners
        self._clock = clock
        self._line: deque[Candidate] = deque()
        self._owned: deque[Candidate] = deque()  # of dead owners, which the index leaves out
        self._begun = False
        self._after: Position | None = None  # where looking goes on
        self._seen_all = False
        self._gone: list[RunSummary] = []
        self._bytes = 0
        self._hold = HOLD_SECONDS
        self._taken: list[Candidate] = []  # by the last slice
        self._before = 0, 0  # that slice: how many were gone, and their bytes

    @property
    def is_done(self) -> bool:
        """True if enough have gone, or none is left."""
        return len(self._gone) >= self._limit or (self._seen_all and not self._line)

    @property
    def has_candidates(self) -> bool:
        """True if there is anything to remove before looking on."""
        return bool(self._line)

    def removal(self) -> Removal:
        """Return what has gone so far."""
        return Removal(self._gone, len(self._gone), self._bytes, bool(self._line) or not self._seen_all)

    def look(self, connection: sqlite3.Connection) -> None:
        """Find the next candidates, unless there are some. Reads only."""
        if self._line or self._seen_all:
            return
        if not self._begun:
            self._begun = True
            self._begin(connection)
        if not self._seen_all:
            rows = next_at_rest(self._filter, self._after, LOOK).rows(connection)
            found = [Candidate(Position(instant, run_id), run) for instant, run_id, run, fits in rows if fits]
            self._seen_all = len(rows) < LOOK
            self._after = None if self._seen_all else Position(*rows[-1][:2])
            while self._owned and (self._after is None or self._owned[0].place <= self._after):
                found.append(self._owned.popleft())
            self._line.extend(sorted(found))

    def _begin(self, connection: sqlite3.Connection) -> None:
        way = listing.choose(listing.ways(self._filter, Order.CREATED), connection)
        if listing.is_few(way, connection):
            self._line.extend(_candidates(of_way(way), connection))
            self._seen_all = True
        else:
            self._owned.extend(_candidates(owned(self._filter, self._live_owners()), connection))

    def remove(self, connection: sqlite3.Connection) -> Slice:
        """Remove families from the front of the line until the time is up, one at least."""
        self._taken, self._before = [], (len(self._gone), self._bytes)
        pages = self._take(partial(_delete, connection), connection)
        return Slice(pages, not self.is_done)

    def sweep(self, connection: sqlite3.Connection) -> Slice:
        """Remove events of long runs that have gone until the time is up."""
        self._taken, self._before = [], (len(self._gone), self._bytes)
        swept = removals.sweep(connection, self._clock, self._hold)
        self._bytes += swept.bytes
        return Slice(pages_of(swept), swept.more)

    def take_back(self) -> None:
        """Forget the last slice, which found no room on the disk, and remove one family at a time from now on."""
        self._line.extendleft(reversed(self._taken))
        removed, self._bytes = self._before
        del self._gone[removed:]
        self._hold = 0.0

    def foresee(self, connection: sqlite3.Connection) -> Sequence[RunSummary]:
        """Return the runs that would go, as far as the limit. Reads only."""
        while not self.is_done:
            self.look(connection)
            self._take(lambda _: 0, connection)
        return self._gone[: self._limit]

    def _take(self, remove: Callable[[RunSummary], int], connection: sqlite3.Connection) -> int:
        give_up_at = self._clock() + self._hold
        live = frozenset(self._live_owners())
        families = Families(partial(_find, connection), partial(_children, connection))
        pages = 0
        while self._line and len(self._gone) < self._limit:
            candidate = self._line.popleft()
            self._taken.append(candidate)
            for run in _sound_family(self._chooses, candidate, families, live, connection):
                size = remove(run)
                pages += PAGES_PER_RUN + size // PAGE
                self._gone.append(run)
                self._bytes += size
            if self._clock() >= give_up_at:
                break
        return pages


def _sound_family(
    chooses: Callable[[RunSummary], bool],
    candidate: Candidate,
    families: Families,
    live: frozenset[str],
    connection: sqlite3.Connection,
) -> Sequence[RunSummary]:
    """Return what `_family` does. A family with a damaged member stays, and is in the way of no other."""
    try:
        return _family(chooses, candidate, families, live, connection)
    except checksums.DamagedRow:
        return ()


def _family(
    chooses: Callable[[RunSummary], bool],
    candidate: Candidate,
    families: Families,
    live: frozenset[str],
    connection: sqlite3.Connection,
) -> Sequence[RunSummary]:
    """Return the runs that go with a candidate, and the candidate itself; none if it stays."""
    rows = connection.execute(f"SELECT {checksums.SUMMARY} FROM runs WHERE run = ?", (candidate.run,)).fetchall()
    if not rows:
        return ()
    root = checksums.summary_of(rows[0])
    if pruning_place(root) != candidate.place or not chooses(root) or families.has_parent(root):
        return ()
    family = families.of(root)
    return () if any(member.owner in live for member in family) else family


def _find(connection: sqlite3.Connection, run_id: str) -> RunSummary | None:
    rows = find_run(run_id).rows(connection)
    return checksums.summary_of(rows[0][1:]) if rows else None


def _children(connection: sqlite3.Connection, parent: str) -> list[RunSummary]:
    return [checksums.summary_of(row) for row in children_of(parent).rows(connection)]


PAGE = 4096
"""Bytes of a page."""

EVENTS_PER_PAGE = 20
"""About how many events that go next to each other change one page more of the table, or of its index."""

PAGES_PER_MOVE = 2
"""A page that moves, and the one that points to it."""

PAGES_PER_RUN = 4
"""How many pages of the log a run that goes takes, apart from its payloads: neighbours in an order share theirs, but
some indexes go by what is random."""


def pages_of(swept: removals.Swept) -> int:
    """Return about how many pages of the log a slice of `removals.sweep` takes."""
    return PAGES_PER_RUN + 2 * swept.events // EVENTS_PER_PAGE + swept.bytes // PAGE


def _delete(connection: sqlite3.Connection, run: RunSummary) -> int:
    """Remove a run; return the bytes that have gone with it, 0 for one whose events go in slices of their own."""
    ((number, size),) = size_of(run.uid, removals.LONG).rows(connection)
    if removals.remove(number, connection):
        return 0
    return int(size)


def _candidates(statement: Statement, connection: sqlite3.Connection) -> list[Candidate]:
    return sorted(Candidate(Position(instant, run_id), run) for instant, run_id, run in statement.rows(connection))


def preview(
    filter: RunFilter, limit: int, live_owners: Callable[[], Sequence[str]], connection: sqlite3.Connection
) -> Removal:
    """Return what pruning without a limit would remove, and the first of it. Reads only, all in one snapshot."""
    way = listing.choose(listing.ways(filter, Order.CREATED), connection)
    ((total, size),) = totals(way, live_owners()).rows(connection)
    runs = Pruning(filter, limit, live_owners).foresee(connection)
    return Removal(runs, total, size, total > len(runs))


def shrink(
    connection: sqlite3.Connection, clock: Callable[[], float] = time.perf_counter, hold: float = HOLD_SECONDS
) -> Slice:
    """Fill free pages with those at the end of the file until the time is up; the next checkpoint cuts the file."""
    ((free,),) = connection.execute("PRAGMA freelist_count").fetchall()
    give_up_at = clock() + hold
    moved = 0
    while moved < free and (moved == 0 or clock() < give_up_at):
        connection.execute("PRAGMA incremental_vacuum(1)").fetchall()
        moved += 1
    return Slice(PAGES_PER_MOVE * moved, moved < free)


# -- statements ---------------------------------------------------------------------------------------------------


def next_at_rest(filter: RunFilter, after: Position | None, limit: int) -> Statement:
    """(instant, run_id, run, fits) of the next runs without an owner, in the order in which they would go."""
    bounds = [
        Condition("owner IS NULL"),
        *listing.within(_REST, listing.not_removed(filter.finished_from), filter.finished_before),
    ]
    if filter.settled_before is not None:
        bounds.append(Condition(f"{_REST} < ?", (filter.settled_before,)))
    if after is not None:
        # SQLite does not find its way in an index of an expression by a pair.
        bounds.append(Condition(f"{_REST} >= ? AND ({_REST} > ? OR run_id > ?)", (after.instant, *after)))
    tests = list(listing.tests(filter, "runs"))
    fits = " AND ".join(test.sql for test in tests) or "1"
    clause = " AND ".join(bound.sql for bound in bounds)
    sql = (
        f"SELECT {_REST}, run_id, run, {fits} FROM runs INDEXED BY runs_by_rest WHERE {clause} "
        f"ORDER BY {_REST}, run_id LIMIT ?"
    )
    values: list[Any] = [value for condition in (*tests, *bounds) for value in condition.values]
    return Statement(sql, [*values, limit])


def of_way(way: listing.Way) -> Statement:
    """(instant, run_id, run) of all runs that match."""
    return listing.everything(way, f"{_REST}, runs.run_id, runs.run")


def owned(filter: RunFilter, live: Sequence[str]) -> Statement:
    """(instant, run_id, run) of the runs that match whose owner is gone."""
    way = listing.Way([listing.OWNED], False, filter)
    return listing.everything(way, f"{_REST}, runs.run_id, runs.run", _not_in(live, "runs.owner"))


def children_of(parent: str) -> Statement:
    """Summaries of the runs that name a run as their parent, the oldest first."""
    chosen = "runs INDEXED BY runs_by_parent WHERE parent_run_id = ?"
    sql = f"SELECT {checksums.SUMMARY} FROM {chosen} ORDER BY created_at, run_id"
    return Statement(sql, (parent,))


def size_of(uid: str, events: int) -> Statement:
    """Return one row: the key of a run, and the bytes of the bodies and payloads of its first events."""
    first = f"SELECT body, payload, blob FROM {segments.JOURNALS} WHERE run_segments.run = runs.run LIMIT ?"
    sql = f"SELECT run, (SELECT coalesce(sum({blobs.SIZE}), 0) FROM ({first})) FROM runs WHERE uid = ?"
    return Statement(sql, (events, uid))


def totals(way: listing.Way, live: Sequence[str]) -> Statement:
    """(number, bytes) of all runs that would go."""
    orphan = Condition(
        "NOT EXISTS (SELECT 1 FROM runs AS parent WHERE parent.run_id = runs.parent_run_id COLLATE NOCASE "
        "AND parent.run_id = runs.parent_run_id AND parent.created_at <= runs.created_at)"
    )
    roots = listing.everything(way, "runs.run, runs.run, runs.run_id, runs.created_at, runs.owner", orphan)
    sql = (
        f"WITH RECURSIVE family (root, run, run_id, created_at, owner) AS ({roots.sql} UNION ALL "
        "SELECT root, child.run, child.run_id, child.created_at, child.owner FROM family "
        "CROSS JOIN runs AS child INDEXED BY runs_by_parent "
        "ON child.parent_run_id = family.run_id AND child.created_at >= family.created_at), "
        "members AS MATERIALIZED (SELECT root, run, owner FROM family), "
        "spared AS MATERIALIZED (SELECT root FROM members WHERE owner IN (SELECT value FROM json_each(?))) "
        f"SELECT count(*), coalesce(sum((SELECT sum({blobs.SIZE}) FROM {segments.JOURNALS} "
        "WHERE run_segments.run = members.run)), 0) "
        "FROM members WHERE root NOT IN (SELECT root FROM spared)"
    )
    return Statement(sql, [*roots.parameters, json.dumps(list(live))])


def _not_in(owners: Sequence[str], column: str) -> Condition:
    return Condition(f"{column} NOT IN (SELECT value FROM json_each(?))", (json.dumps(list(owners)),))
