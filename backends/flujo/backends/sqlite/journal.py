"""Writing: a batch of commits as a handful of statements.

A batch of any size takes a few statements over many rows instead of a few per row, which is most of what it costs. They
come in fixed sizes, so that SQLite's statement cache knows them all. Summaries go first, and how many rows they changed
tells whether every commit stands, as nearly always. If not, they are written a second time and answer which ones do.
Only the events of those follow, so a refused commit does the others no harm.

Everything here runs inside one transaction, on the thread of the writing connection, over frozen values.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from flujo.kernel.backend import FIXED_COLUMNS, Commit, Refused, RunSummary, StoredDefinition, refusal
from flujo.kernel.events import EventRow

from . import blobs, checksums, segments
from .checksums import HOT

SIZES = (32, 8, 2, 1)
"""Rows per statement. A batch of 100 takes 3 × 32, 2 × 2. Longer statements are no faster."""

_EVERY = tuple(name for name in RunSummary._fields if name not in FIXED_COLUMNS)
_COLD = tuple(name for name in _EVERY if name not in HOT)
_EVENT = EventRow._fields


def _values_of(names: Sequence[str]) -> Callable[[RunSummary], tuple[Any, ...]]:
    """Return a fast `tuple(getattr(summary, name) for name in names)`."""
    return itemgetter(*map(RunSummary._fields.index, names))


_every, _hot, _cold = _values_of(_EVERY), _values_of(HOT), _values_of(_COLD)


MOST_CACHED = 10_000
"""How many runs' summaries are remembered; one that is not is written in full."""


class _CachedSummary(NamedTuple):
    """What this connection last wrote of a run. Nobody else writes a run as long as its token stays the same."""

    run: int
    token: int
    cold: tuple[Any, ...]
    steady: int
    """The checksum of what a step does not change, and that of the owner."""

    ownership: int
    segment: int
    """Where its last events went; NOWHERE before the first that this connection writes."""


NOWHERE = -1


class Journal:
    """The writing side of a store. Remembers what it last wrote of the runs its kernel is working on.

    The memory is a hint: every UPDATE checks uid, token and seq, and a run that is not in it is looked up.
    """

    def __init__(self) -> None:
        self._cached: dict[str, _CachedSummary] = {}
        self._segment = NOWHERE  # to which events go
        self._room = 0  # how many more go there
        self._pages = 0  # written to the WAL, estimated

    def trim(self) -> None:
        """Keep what is remembered small: runs that wait for a day need not be."""
        if len(self._cached) > MOST_CACHED:
            self._cached.clear()

    def forget(self) -> None:
        """Trust nothing from before: a transaction failed, or owners changed."""
        self._cached.clear()
        self._room = 0

    def append(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, Refused]:
        """Make the commits; the uids of those that were refused, and why. Their rows are not written."""
        creations = [commit for commit in commits if commit.expected_seq == 0]
        updates = [commit for commit in commits if commit.expected_seq != 0] if creations else commits
        runs = self._extend(updates, connection) if updates else {}
        left = [commit for commit in updates if commit.uid not in runs]
        refused = _refusals(left, connection) if left else {}
        if creations:
            created = self._create(creations, connection)
            refused.update((commit.uid, Refused.EXISTS) for commit in creations if commit.uid not in created)
            runs |= created
        standing = [commit for commit in commits if commit.uid in runs] if refused else commits
        self._enter_segment(standing, runs, connection)
        events, size = _write_rest(standing, runs, self._segment, connection)
        self._room -= events
        self._pages += 4 + len(standing) // 4 + size // 4096  # summaries and the end of the index, and payloads
        for commit in commits:
            if commit.summary.owner is None or commit.uid in refused:  # settled, most likely for good
                self._cached.pop(commit.uid, None)
        self.trim()
        return refused

    def take_pages(self) -> int:
        """Return about how many pages of 4 KiB were written to the WAL since the last time."""
        pages, self._pages = self._pages, 0
        return pages

    def _enter_segment(self, commits: Sequence[Commit], runs: dict[str, int], connection: sqlite3.Connection) -> None:
        """Choose the segment for the events of these commits, and note which runs had none in it yet."""
        if self._room > 0 and not self._outside(commits):
            return
        position = segments.last_position(connection)
        self._segment, self._room = position // segments.SIZE, segments.SIZE - position % segments.SIZE
        outside = self._outside(commits)
        segments.enter(((runs[commit.uid], commit.expected_seq + 1) for commit in outside), self._segment, connection)
        for commit in outside:
            self._cached[commit.uid] = self._cached[commit.uid]._replace(segment=self._segment)

    def _outside(self, commits: Sequence[Commit]) -> list[Commit]:
        """Return those whose runs are not known to have events in the segment."""
        cached, segment = self._cached, self._segment
        return [commit for commit in commits if cached[commit.uid].segment != segment]

    def _create(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, int]:
        """Add runs; uid → run of those whose id was free."""
        created: dict[str, int] = {}
        values: list[Any] = []
        for commit in commits:
            values += commit.summary
            values.append(checksums.of_summary(commit.summary))
        for size, parameters in _in_sizes(values, len(RunSummary._fields) + 1):
            created.update(connection.execute(_insert_runs(size), parameters).fetchall())
        for commit in commits:
            if commit.uid in created:
                self._remember(commit, created[commit.uid], _cold(commit.summary))
        return created

    def _extend(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, int]:
        """Move the summaries of existing runs on; uid → run of those that were where the commit expects them."""
        runs = self._find(commits, connection)
        hot: list[Any] = []
        every: list[Any] = []
        of_hot = checksums.of_hot
        for commit in commits:
            _, uid, token, expected_seq, _, summary, _, _ = commit
            run = runs.get(uid)
            if run is None:
                continue
            cold = _cold(summary)
            cached = self._cached.get(uid)
            if cached is not None and cached.run == run and cached.token == token and cached.cold == cold:
                changed = _hot(summary)
                hot += (run, uid, token, expected_seq, of_hot(cached.steady, cached.ownership, changed))
                hot += changed
            else:
                every += (run, uid, token, expected_seq, checksums.of_summary(summary))
                every += _every(summary)
                self._remember(commit, run, cold)
        updates = [
            (_update(columns, size), parameters)
            for columns, values in ((HOT, hot), (_EVERY, every))
            for size, parameters in _in_sizes(values, 5 + len(columns))
        ]
        if sum(connection.execute(sql, parameters).rowcount for sql, parameters in updates) == len(runs):
            return runs
        # Not all were where they should be. RETURNING says which, and makes an UPDATE a third dearer, so it is left for
        # now. These updates are all the transaction holds, and the store lock keeps others out until they are repeated.
        connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        moved: set[int] = set()
        for sql, parameters in updates:
            moved.update(run for (run,) in connection.execute(f"{sql} RETURNING run", parameters).fetchall())
        return {uid: run for uid, run in runs.items() if run in moved}

    def _find(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, int]:
        """uid → run of those that exist."""
        runs = {commit.uid: cached.run for commit in commits if (cached := self._cached.get(commit.uid))}
        if len(runs) < len(commits):
            missing = json.dumps([commit.uid for commit in commits if commit.uid not in runs])
            query = "SELECT uid, run FROM runs WHERE uid IN (SELECT value FROM json_each(?))"
            runs.update(connection.execute(query, (missing,)).fetchall())
        return runs

    def _remember(self, commit: Commit, run: int, cold: tuple[Any, ...]) -> None:
        summary = commit.summary
        ownership = checksums.of_ownership(summary.owner, summary.token)
        before = self._cached.get(commit.uid)
        segment = before.segment if before is not None and before.token == commit.token else NOWHERE
        steady = checksums.of_steady(summary)
        self._cached[commit.uid] = _CachedSummary(run, commit.token, cold, steady, ownership, segment)


def _refusals(commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, Refused]:
    """Return why each of these commits to runs was not made."""
    query = "SELECT uid, token, seq FROM runs WHERE uid IN (SELECT value FROM json_each(?))"
    rows = connection.execute(query, (json.dumps([commit.uid for commit in commits]),)).fetchall()
    stored = {row[0]: row for row in rows}
    return {commit.uid: refusal(stored.get(commit.uid), commit) for commit in commits}


def _write_rest(
    commits: Sequence[Commit], runs: dict[str, int], segment: int, connection: sqlite3.Connection
) -> tuple[int, int]:
    """Write what goes with the summaries of commits that stand; return how many events that were, and the characters of
    their payloads."""
    values: list[Any] = []
    taken: list[int] = []
    definitions: set[StoredDefinition] = set()
    has_large = False
    characters = 0
    of_event, largest_inline = checksums.of_event, blobs.LARGEST_INLINE
    for _, uid, _, _, rows, _, ids, definition in commits:
        run, of_run = runs[uid], checksums.of_uid(uid)
        for row in rows:
            values += (run, segment, *row, of_event(of_run, row))
            if (payload := row[5]) is not None:  # by place: every event comes here
                length = len(payload)
                characters += length
                if length > largest_inline:
                    has_large = True
        taken += ids
        if definition is not None:
            definitions.add(definition)
    if has_large:
        _write_large(commits, runs, segment, connection)
    else:
        for size, parameters in _in_sizes(values, 3 + len(_EVENT)):
            connection.execute(_insert_events((*_EVENT, "checksum"), size), parameters)
    if taken:
        query = "DELETE FROM inbox WHERE id IN (SELECT value FROM json_each(?))"
        connection.execute(query, (json.dumps(taken),))
    if definitions:
        texts = [(*definition, checksums.of_values(*definition)) for definition in definitions]
        connection.executemany("INSERT INTO definitions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", texts)
    return len(values) // (3 + len(_EVENT)), characters


def _write_large(commits: Sequence[Commit], runs: dict[str, int], segment: int, connection: sqlite3.Connection) -> None:
    """The events of a batch in which some have large payloads, in the same order, and those payloads beside them."""
    values: list[Any] = []
    texts: dict[bytes, str] = {}
    for commit in commits:
        for row, digest, text in blobs.split(commit.rows):
            checksum = checksums.of_event(checksums.of_uid(commit.uid), row, digest)
            values += (runs[commit.uid], segment, *row, digest, checksum)
            if digest is not None and text is not None:
                texts[digest] = text
    for size, parameters in _in_sizes(values, 4 + len(_EVENT)):
        connection.execute(_insert_events((*_EVENT, "blob", "checksum"), size), parameters)
    blobs.keep(texts.items(), connection)


def _in_sizes(values: list[Any], width: int) -> Iterator[tuple[int, list[Any]]]:
    """(size, parameters) of the statements that take all rows of `width` values, in order, largest first."""
    start, rows = 0, len(values) // width
    for size in SIZES:
        while rows >= size:
            end = start + size * width
            yield size, values[start:end]
            start, rows = end, rows - size


@cache
def _insert_runs(size: int) -> str:
    columns = ", ".join((*RunSummary._fields, "checksum"))
    values = _values(len(RunSummary._fields) + 1, size)
    return f"INSERT INTO runs ({columns}) {values} ON CONFLICT DO NOTHING RETURNING uid, run"


@cache
def _insert_events(columns: tuple[str, ...], size: int) -> str:
    return f"INSERT INTO events (run, segment, {', '.join(columns)}) {_values(2 + len(columns), size)}"


@cache
def _update(columns: tuple[str, ...], size: int) -> str:
    changes = ", ".join(f"{name} = new.column{number}" for number, name in enumerate(("checksum", *columns), start=5))
    return (
        f"UPDATE runs SET {changes} FROM ({_values(5 + len(columns), size)}) AS new "
        "WHERE run = new.column1 AND uid = new.column2 AND token = new.column3 AND seq = new.column4"
    )


def _values(width: int, size: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([row] * size)}"
