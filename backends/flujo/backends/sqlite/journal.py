"""Writing: a batch of commits as a handful of statements.

A batch of any size takes a few statements over many rows instead of a few per row, which is most of what it costs. They
come in fixed sizes, so that SQLite's statement cache knows them all. Summaries go first and answer which commits stand;
only the events of those follow. So one refused commit costs the others nothing, and there is no second attempt.

Everything here runs inside one transaction, on the thread of the writing connection, over frozen values.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from flujo.kernel.backend import Commit, Refused, RunSummary
from flujo.kernel.events import EventRow

Row = TypeVar("Row")

SIZES = (128, 32, 8, 2, 1)
"""Rows per statement. A batch of 100 takes 3 × 32, 2 × 2."""

_FIXED = ("run_id", "uid", "workflow", "token", "created_at", "parent_run_id")
"""What a commit to an existing run does not change, whatever its summary says."""

_EVERY = tuple(name for name in RunSummary._fields if name not in _FIXED)
_HOT = ("seq", "updated_at", "current_step", "steps_done")
"""What a step changes. An UPDATE that names more columns than these costs twice as much, and one that names an indexed
column rewrites its index entries even if the value stays."""

_COLD = tuple(name for name in _EVERY if name not in _HOT)


def _values_of(names: Sequence[str]) -> Callable[[RunSummary], tuple[Any, ...]]:
    """A fast `tuple(getattr(summary, name) for name in names)`."""
    return itemgetter(*map(RunSummary._fields.index, names))


_every, _hot, _cold = _values_of(_EVERY), _values_of(_HOT), _values_of(_COLD)


class _Filed(NamedTuple):
    """What this connection last wrote of a run. Nobody else writes a run as long as its token stays the same."""

    run: int
    token: int
    summary: RunSummary


class Journal:
    """The writing side of a store. Remembers what it last wrote of the runs its kernel is working on.

    The memory is a hint: every UPDATE checks uid, token and seq, and a run that is not in it is looked up.
    """

    def __init__(self) -> None:
        self._filed: dict[str, _Filed] = {}

    def forget(self) -> None:
        """Trust nothing from before: a transaction failed, or owners changed."""
        self._filed.clear()

    def append(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, Refused]:
        """Make the commits; the uids of those that were refused, and why. Their rows are not written."""
        creations = [commit for commit in commits if commit.expected_seq == 0]
        updates = [commit for commit in commits if commit.expected_seq != 0]
        numbers = self._extend(updates, connection) if updates else {}
        refused = {commit.uid: Refused.STALE for commit in updates if commit.uid not in numbers}
        if creations:
            created = _create(creations, connection)
            refused.update((commit.uid, Refused.EXISTS) for commit in creations if commit.uid not in created)
            numbers |= created
        standing = [commit for commit in commits if commit.uid in numbers] if refused else commits
        _write_events(standing, numbers, connection)
        _write_rest(standing, connection)
        self._remember(standing, numbers)
        for uid in refused:
            self._filed.pop(uid, None)
        return refused

    def _extend(self, commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, int]:
        """Move the summaries of existing runs on; uid → run of those that were where the commit expects them."""
        numbers = {uid: filed.run for uid in (commit.uid for commit in commits) if (filed := self._filed.get(uid))}
        if len(numbers) < len(commits):
            missing = json.dumps([commit.uid for commit in commits if commit.uid not in numbers])
            query = "SELECT uid, run FROM runs WHERE uid IN (SELECT value FROM json_each(?))"
            numbers.update(connection.execute(query, (missing,)).fetchall())
        warm: list[tuple[Any, ...]] = []
        hot: list[tuple[Any, ...]] = []
        for commit in commits:
            if commit.uid in numbers:
                where = (numbers[commit.uid], commit.uid, commit.token, commit.expected_seq)
                if self._is_hot(commit):
                    hot.append(where + _hot(commit.summary))
                else:
                    warm.append(where + _every(commit.summary))
        moved: dict[str, int] = {}
        for columns, rows in ((_HOT, hot), (_EVERY, warm)):
            for size, parameters in _in_sizes(rows):
                moved.update(connection.execute(_update(columns, size), parameters).fetchall())
        return moved

    def _is_hot(self, commit: Commit) -> bool:
        """Whether the stored summary differs from the new one in the hot columns only, as far as we know."""
        filed = self._filed.get(commit.uid)
        return filed is not None and filed.token == commit.token and _cold(filed.summary) == _cold(commit.summary)

    def _remember(self, commits: Sequence[Commit], numbers: dict[str, int]) -> None:
        for commit in commits:
            summary = commit.summary
            if summary.owner is None:  # settled, most likely for good
                self._filed.pop(commit.uid, None)
            else:
                self._filed[commit.uid] = _Filed(numbers[commit.uid], commit.token, summary)


def _create(commits: Sequence[Commit], connection: sqlite3.Connection) -> dict[str, int]:
    """Add runs; uid → run of those whose id was free."""
    created: dict[str, int] = {}
    for size, parameters in _in_sizes([commit.summary for commit in commits]):
        created.update(connection.execute(_insert_runs(size), parameters).fetchall())
    return created


def _write_events(commits: Sequence[Commit], numbers: dict[str, int], connection: sqlite3.Connection) -> None:
    rows = [(numbers[commit.uid], *row) for commit in commits for row in commit.rows]
    for size, parameters in _in_sizes(rows):
        connection.execute(_insert_events(size), parameters)


def _write_rest(commits: Sequence[Commit], connection: sqlite3.Connection) -> None:
    taken = [id for commit in commits for id in commit.taken]
    if taken:
        query = "DELETE FROM inbox WHERE id IN (SELECT value FROM json_each(?))"
        connection.execute(query, (json.dumps(taken),))
    definitions = {commit.definition for commit in commits if commit.definition is not None}
    if definitions:
        connection.executemany("INSERT INTO definitions VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", definitions)


def _in_sizes(rows: Sequence[Iterable[Any]]) -> Iterator[tuple[int, list[Any]]]:
    """(size, parameters) of the statements that take all rows, in order, largest first."""
    done = 0
    for size in SIZES:
        while len(rows) - done >= size:
            yield size, list(chain.from_iterable(rows[done : done + size]))
            done += size


@cache
def _insert_runs(size: int) -> str:
    columns = ", ".join(RunSummary._fields)
    values = _values(len(RunSummary._fields), size)
    return f"INSERT INTO runs ({columns}) {values} ON CONFLICT DO NOTHING RETURNING uid, run"


@cache
def _insert_events(size: int) -> str:
    columns = ", ".join(EventRow._fields)
    return f"INSERT INTO events (run, {columns}) {_values(1 + len(EventRow._fields), size)}"


@cache
def _update(columns: tuple[str, ...], size: int) -> str:
    changes = ", ".join(f"{name} = new.column{number}" for number, name in enumerate(columns, start=5))
    return (
        f"UPDATE runs SET {changes} FROM ({_values(4 + len(columns), size)}) AS new "
        "WHERE run = new.column1 AND uid = new.column2 AND token = new.column3 AND seq = new.column4 RETURNING uid, run"
    )


def _values(width: int, size: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([row] * size)}"
