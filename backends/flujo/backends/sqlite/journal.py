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
from collections.abc import Callable, Container, Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from flujo.backends.selection import overlapping
from flujo.kernel.backend import (
    FIXED_COLUMNS,
    Commit,
    EventRow,
    Refused,
    RunFilter,
    RunSummary,
    StoredDefinition,
    refusal,
)

from . import blobs, checksums, segments
from .checksums import HOT

SIZES = (32, 8, 2, 1)
"""Rows per statement. A batch of 100 takes 3 × 32, 2 × 2. Longer statements are no faster."""

_EVERY = tuple(name for name in RunSummary._fields if name not in FIXED_COLUMNS)
_COLD = tuple(name for name in _EVERY if name not in HOT)
_EVENT_COLUMNS = ("run", "segment", *EventRow._fields, "checksum")
_EVENT_WIDTH = len(_EVENT_COLUMNS)


def _values_of(names: Sequence[str]) -> Callable[[RunSummary], tuple[Any, ...]]:
    """Return a fast `tuple(getattr(summary, name) for name in names)`."""
    return itemgetter(*map(RunSummary._fields.index, names))


_every, _hot, _cold = _values_of(_EVERY), _values_of(HOT), _values_of(_COLD)


MOST_KNOWN = 10_000
"""How many runs are remembered; the summary of one that is not is written in full."""


NOWHERE = -1


class _KnownRun:
    """What this connection last wrote of a run. Nobody else writes a run as long as its token stays the same."""

    __slots__ = ("cold", "of_uid", "ownership", "run", "segment", "steady", "token")

    def __init__(self, run: int, uid: str, token: int) -> None:
        self.run = run
        self.token = token
        self.of_uid = checksums.of_uid(uid)
        self.cold: tuple[Any, ...] = ()  # before anything was written
        self.steady = self.ownership = 0  # checksums of what a step does not change, and of the owner
        self.segment = NOWHERE  # where its last events went

    def remember(self, summary: RunSummary, cold: tuple[Any, ...]) -> None:
        """Take note of what is about to be written."""
        self.cold = cold
        self.steady = checksums.of_steady(summary)
        self.ownership = checksums.of_ownership(summary.owner, summary.token)


class Journal:
    """The writing side of a store. Remembers what it last wrote of the runs its kernel is working on.

    The memory is a hint: every UPDATE checks uid, token and seq, and a run that is not in it is looked up. A batch of
    steps, which is nearly every one, is gone through three times: for runs that are not known, for summaries, for
    events.
    """

    def __init__(self) -> None:
        self._known: dict[str, _KnownRun] = {}
        self._segment = NOWHERE  # to which events go
        self._room = 0  # how many more go there
        self._pages = 0  # written to the WAL, estimated

    def trim(self) -> None:
        """Keep what is remembered small: runs that wait for a day need not be."""
        if len(self._known) > MOST_KNOWN:
            self._known.clear()

    def forget(self) -> None:
        """Trust nothing from before: a transaction failed, or owners changed."""
        self._known.clear()
        self._room = 0

    def take_pages(self) -> int:
        """Return about how many pages of 4 KiB were written to the WAL since the last time."""
        pages, self._pages = self._pages, 0
        return pages

    def append(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, Refused]:
        """Make the commits; the uids of those that were refused, and why. Their rows are not written."""
        if blocked := _blocked(commits, connection):
            commits = [commit for commit in commits if commit.uid not in blocked]
        known = self._known
        strangers = [
            commit
            for commit in commits
            if (run := known.get(commit.uid)) is None or run.token != commit.token or commit.expected_seq == 0
        ]
        creations = [commit for commit in strangers if commit.expected_seq == 0]
        if len(creations) < len(strangers):
            self._look_up([commit for commit in strangers if commit.expected_seq != 0], connection)
        refused, settled = self._extend(commits, connection) if len(creations) < len(commits) else ({}, [])
        if creations:
            created = self._create(creations, connection)
            refused.update((commit.uid, Refused.EXISTS) for commit in creations if commit.uid not in created)
            settled += [commit.uid for commit in creations if commit.summary.owner is None]
        if strangers or self._room <= 0:
            position = segments.last_position(connection)
            self._segment, self._room = position // segments.SIZE, segments.SIZE - position % segments.SIZE
        self._write_rest([each for each in commits if each.uid not in refused] if refused else commits, connection)
        for uid in (*refused, *settled):
            known.pop(uid, None)
        self.trim()
        return blocked | refused

    def _look_up(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> None:
        """Find runs that are not known, or had another token."""
        query = "SELECT uid, run FROM runs WHERE uid IN (SELECT value FROM json_each(?))"
        runs = dict(connection.execute(query, (json.dumps([commit.uid for commit in commits]),)).fetchall())
        for commit in commits:
            if commit.uid in runs:
                self._known[commit.uid] = _KnownRun(runs[commit.uid], commit.uid, commit.token)
            else:
                self._known.pop(commit.uid, None)

    def _create(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> Container[str]:
        """Add runs; return the uids of those whose id was free."""
        created: dict[str, int] = {}
        values: list[Any] = []
        for commit in commits:
            values += commit.summary
            values.append(checksums.of_summary(commit.summary))
        for size, parameters in _in_sizes(values, len(RunSummary._fields) + 1):
            created.update(connection.execute(_insert_runs(size), parameters).fetchall())
        for commit in commits:
            if commit.uid in created:
                run = self._known[commit.uid] = _KnownRun(created[commit.uid], commit.uid, commit.token)
                run.remember(commit.summary, _cold(commit.summary))
        return created

    def _extend(
        self, commits: Sequence[Commit], connection: sqlite3.Connection
    ) -> tuple[dict[str, Refused], list[str]]:
        """Move the summaries of existing runs on. Return the uids of those that were not where the commit expects them,
        with the reason, and of those that nobody has to advance any more."""
        hot: list[Any] = []
        every: list[Any] = []
        settled: list[str] = []
        number = 0
        known, of_hot = self._known, checksums.of_hot
        for _, uid, token, expected_seq, _, summary, _, _, _ in commits:
            if expected_seq == 0 or (run := known.get(uid)) is None:
                continue
            number += 1
            if run.cold == (cold := _cold(summary)):
                changed = _hot(summary)
                hot += (run.run, uid, token, expected_seq, of_hot(run.steady, run.ownership, changed), *changed)
                continue
            run.remember(summary, cold)
            checksum = of_hot(run.steady, run.ownership, _hot(summary))
            every += (run.run, uid, token, expected_seq, checksum, *_every(summary))
            if summary.owner is None:
                settled.append(uid)
        updates = [
            (_update(columns, size), parameters)
            for columns, values in ((HOT, hot), (_EVERY, every))
            for size, parameters in _in_sizes(values, 5 + len(columns))
        ]
        moved = sum(connection.execute(sql, parameters).rowcount for sql, parameters in updates)
        if moved == number == len(commits):
            return {}, settled
        existing = [commit for commit in commits if commit.expected_seq != 0]
        if moved == number:
            return _refusals([commit for commit in existing if commit.uid not in known], connection), settled
        # Not all were where they should be. RETURNING says which, and makes an UPDATE a third dearer, so it is left for
        # now. These updates are all the transaction holds, and the store lock keeps others out until they are repeated.
        connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        uids: set[str] = set()
        for sql, parameters in updates:
            uids.update(uid for (uid,) in connection.execute(f"{sql} RETURNING runs.uid", parameters).fetchall())
        return _refusals([commit for commit in existing if commit.uid not in uids], connection), settled

    def _write_rest(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> None:
        """Write what goes with the summaries of commits that stand."""
        values: list[Any] = []
        entering: list[tuple[int, int, int]] = []
        taken: list[int] = []
        definitions: set[StoredDefinition] = set()
        characters = longest = 0
        known, segment, of_event = self._known, self._segment, checksums.of_event
        for _, uid, _, expected_seq, rows, _, ids, definition, _ in commits:
            run = known[uid]
            if run.segment != segment:
                run.segment = segment
                entering.append((run.run, segment, expected_seq + 1))
            for row in rows:
                values += (run.run, segment, *row, of_event(run.of_uid, row))
                if (payload := row[5]) is not None:  # by place: every event comes here
                    length = len(payload)
                    characters += length
                    if length > longest:
                        longest = length
            if ids:
                taken += ids
            if definition is not None:
                definitions.add(definition)
        if entering:
            segments.enter(entering, connection)
        if longest > blobs.LARGEST_INLINE:
            self._write_large(commits, connection)
        else:
            for size, parameters in _in_sizes(values, _EVENT_WIDTH):
                connection.execute(_insert_events(_EVENT_COLUMNS, size), parameters)
        self._room -= len(values) // _EVENT_WIDTH
        self._pages += 4 + len(commits) // 4 + characters // 4096  # summaries, the end of the index, and payloads
        if taken:
            query = "DELETE FROM inbox WHERE id IN (SELECT value FROM json_each(?))"
            connection.execute(query, (json.dumps(taken),))
        if definitions:
            texts = [(*definition, checksums.of_values(*definition)) for definition in definitions]
            connection.executemany("INSERT INTO definitions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", texts)

    def _write_large(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> None:
        """Write the events of a batch in which some have large payloads, in the same order, and those payloads beside
        them."""
        values: list[Any] = []
        texts: dict[bytes, str] = {}
        for commit in commits:
            run = self._known[commit.uid]
            for row, digest, text in blobs.split(commit.rows):
                values += (run.run, run.segment, *row, checksums.of_event(run.of_uid, row, digest), digest)
                if digest is not None and text is not None:
                    texts[digest] = text
        for size, parameters in _in_sizes(values, _EVENT_WIDTH + 1):
            connection.execute(_insert_events((*_EVENT_COLUMNS, "blob"), size), parameters)
        blobs.keep(texts.items(), connection)


def _refusals(commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, Refused]:
    """Return why each of these commits to runs was not made. Raises DamagedRow for a run that is there and is not found
    by its uid: whoever commits to it would take it for deleted, and wait for it for ever."""
    query = "SELECT uid, token, seq FROM runs WHERE uid IN (SELECT value FROM json_each(?))"
    rows = connection.execute(query, (json.dumps([commit.uid for commit in commits]),)).fetchall()
    stored = {row[0]: row for row in rows}
    for commit in commits:
        query = "SELECT 1 FROM runs WHERE run_id = ? COLLATE NOCASE AND +uid = ?"
        if commit.uid not in stored and connection.execute(query, (commit.run_id, commit.uid)).fetchone():
            raise checksums.DamagedRow(f"the index of uids has no entry of run {commit.run_id!r}", commit.run_id)
    return {commit.uid: refusal(stored.get(commit.uid), commit) for commit in commits}


def _blocked(commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, Refused]:
    """Return the commits that another run of their workflow is in the way of, unless their own id is taken."""

    def unfinished(filter: RunFilter) -> list[str]:
        marks = ", ".join("?" * len(filter.statuses))
        query = f"SELECT uid FROM runs WHERE workflow = ? AND status IN ({marks}) AND created_at >= ?"
        found = connection.execute(query, (filter.workflow, *filter.statuses, filter.created_from))
        return [uid for (uid,) in found.fetchall()]

    def is_taken(commit: Commit) -> bool:
        query = "SELECT 1 FROM runs WHERE run_id = ? COLLATE NOCASE"
        return commit.expected_seq == 0 and connection.execute(query, (commit.run_id,)).fetchone() is not None

    blocked = overlapping(commits, unfinished)
    by_uid = {commit.uid: commit for commit in commits if commit.uid in blocked}
    return {uid: Refused.EXISTS if is_taken(commit) else Refused.OVERLAPS for uid, commit in by_uid.items()}


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
    return f"INSERT INTO events ({', '.join(columns)}) {_values(len(columns), size)}"


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
