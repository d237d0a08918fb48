"""Which runs: for every filter and order a page, and a number, through the index that has least to read.

Each part of a filter that has an index is a way to the runs; what the other parts ask is tested run by run. Some ways
have the newest run at their end, so a page of them ends when it is full. The others have to be read whole and sorted.
SQLite cannot know how many entries a way has without statistics that go stale, so they are counted, as far as FEW: a
way with fewer is always cheap. When there is none, the first one that needs no sorting will do, because what many runs
have in common is found soon. INDEXED BY keeps SQLite to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from flujo.backends.pages import Position
from flujo.kernel.backend import SAME_VALUE, Order, RunFilter, RunSummary

from . import checksums, removals
from .queries import Statement

FEW = 1_000
"""So many runs can be read and sorted in the time a page takes anyway, about a millisecond."""

_REST = "coalesce(finished_at, updated_at)"
_BIGGEST = "\U0010ffff"


class Condition(NamedTuple):
    """A part of a WHERE clause and its parameters."""

    sql: str
    values: Sequence[Any] = ()


class Branch(NamedTuple):
    """A stretch of one index: where it is, and what bounds it. `table` is what the index belongs to, `runs` or another
    one with the instants of creation, ids and keys of runs."""

    source: str
    bounds: Sequence[Condition]
    table: str = "runs"

    @property
    def runs(self) -> str:
        """Return the source with all that is known of its runs."""
        return self.source if self.table == "runs" else f"{self.source} CROSS JOIN runs ON runs.run = {self.table}.run"


class Way(NamedTuple):
    """How to get to the runs of a filter: by branches, none of which has a run of another one."""

    branches: Sequence[Branch]
    in_order: bool
    """Whether every branch has its runs in the order of the listing."""

    rest: RunFilter
    """What is still to be tested."""


def read_page(
    filter: RunFilter, order: Order, limit: int, below: Position | None, connection: sqlite3.Connection
) -> list[RunSummary]:
    """Return up to `limit` runs that match, newest first, from the one that sorts below a position."""
    way = choose(ways(filter if below is None else beyond(filter, order), order), connection)
    asked = limit
    while True:  # for more, as long as some are too damaged to be listed
        rows = page(way, order, asked, below).rows(connection)
        runs = checksums.listed(rows)
        if len(rows) < asked or len(runs) >= limit:
            return runs[:limit]
        asked += len(rows) - len(runs)


def read_number(filter: RunFilter, connection: sqlite3.Connection) -> int:
    """Return how many runs match."""
    way = choose(ways(filter, Order.CREATED), connection)
    ((number,),) = number_of_runs(way).rows(connection)
    return int(number)


def choose(candidates: Sequence[Way], connection: sqlite3.Connection) -> Way:
    """Return the best way in this store."""
    if len(candidates) == 1:
        return candidates[0]
    (sizes,) = sizes_of_ways(candidates).rows(connection)
    return best(candidates, sizes)


def is_few(way: Way, connection: sqlite3.Connection) -> bool:
    """True if a way has so few entries that all of them can be read at once."""
    ((size,),) = sizes_of_ways([way]).rows(connection)
    return bool(size < FEW)


def best(candidates: Sequence[Way], sizes: Sequence[int]) -> Way:
    """Return the way with the fewest entries, if they are few, or else the first one in order."""
    place = min(range(len(sizes)), key=sizes.__getitem__)
    return candidates[place] if sizes[place] < FEW else next(way for way in candidates if way.in_order)


def beyond(filter: RunFilter, order: Order) -> RunFilter:
    """Return a filter for the runs below one that matches: they cannot be too new for it. Asked for both, SQLite would
    begin every page where the first one began."""
    return filter._replace(created_before=None) if order is Order.CREATED else filter._replace(updated_before=None)


# -- ways ---------------------------------------------------------------------------------------------------------


def ways(filter: RunFilter, order: Order) -> Sequence[Way]:
    """Return every way to the runs a filter chooses; at least one of them is in order."""
    by_age = order is Order.CREATED
    found = [Way(branches, by_age, rest) for branches, rest in _ways_by_age(filter)]
    if by_age and not found:
        age = within("created_at", not_removed(filter.created_from), filter.created_before)
        found.append(Way([_indexed("runs_by_age", *age)], True, _without_age(filter)))
    found += [Way(branches, False, rest) for branches, rest in _other_ways(filter)]
    if not by_age:
        found.append(Way(_by_update(filter), True, filter))
    elif filter.updated_from is not None or filter.updated_before is not None:
        found.append(Way(_by_update(filter), False, filter))
    return found


def _ways_by_age(filter: RunFilter) -> Iterable[tuple[Sequence[Branch], RunFilter]]:
    """By indexes that have what is equal together, and there by age."""
    rest = _without_age(filter)
    statuses = list(dict.fromkeys(filter.statuses))
    age = within("created_at", filter.created_from, filter.created_before)
    labels = {(name, value) for name, value in filter.labels}
    for label in sorted(labels):
        others = tuple(other for other in labels if other != label)
        bounds = [
            Condition("labels.name = ? AND labels.value = ?", label),
            *within("labels.created_at", filter.created_from, filter.created_before),
        ]
        yield (
            [Branch("labels", bounds, "labels")],
            rest._replace(labels=others),
        )
    if filter.failed_step is not None:
        same = Condition("failed_step = ?", (filter.failed_step,))
        yield [_indexed("runs_by_failed_step", same, *age)], rest._replace(failed_step=None)
    if filter.parent is not None:
        same = Condition("parent_run_id = ?", (filter.parent,))
        yield [_indexed("runs_by_parent", same, *age)], rest._replace(parent=None)
    if filter.workflow is not None and statuses:
        pairs = [Condition("workflow = ? AND status = ?", (filter.workflow, status)) for status in statuses]
        branches = [_indexed("runs_by_workflow_and_status", pair, *age) for pair in pairs]
        yield branches, rest._replace(workflow=None, statuses=())
    elif filter.workflow is not None:
        same = Condition("workflow = ?", (filter.workflow,))
        yield [_indexed("runs_by_workflow", same, *age)], rest._replace(workflow=None)
    elif statuses:
        branches = [_indexed("runs_by_status", Condition("status = ?", (status,)), *age) for status in statuses]
        yield branches, rest._replace(statuses=())


def _other_ways(filter: RunFilter) -> Iterable[tuple[Sequence[Branch], RunFilter]]:
    """By indexes that have the runs in an order of their own."""
    if filter.owner is not None:
        same = Condition("owner = ?", (filter.owner,))
        yield [_indexed("runs_by_owner", same)], filter._replace(owner=None)
    if filter.id_prefix:
        # The index knows ids regardless of case, so the rest has to compare them once more.
        prefixed = Condition("run_id COLLATE NOCASE BETWEEN ? AND ?", (filter.id_prefix, filter.id_prefix + _BIGGEST))
        yield [_indexed("runs_by_id", prefixed)], filter
    if filter.finished_from is not None or filter.finished_before is not None:
        finished = within(_REST, not_removed(filter.finished_from), filter.finished_before)
        yield [_indexed("runs_by_rest", Condition("owner IS NULL"), *finished), OWNED], filter


def _by_update(filter: RunFilter) -> Sequence[Branch]:
    moved = within("updated_at", not_removed(filter.updated_from), filter.updated_before)
    return [_indexed("runs_by_update", Condition("owner IS NULL"), *moved), OWNED]


def not_removed(start: int | None) -> int:
    """Return where a range of instants begins that has no removed runs in it."""
    return removals.FIRST if start is None else max(start, removals.FIRST)


def _indexed(index: str, *bounds: Condition) -> Branch:
    return Branch(f"runs INDEXED BY {index}", bounds)


OWNED = _indexed("runs_by_owner", Condition("owner IS NOT NULL"))
"""The runs that somebody advances, which partial indexes leave out."""


def _without_age(filter: RunFilter) -> RunFilter:
    return filter._replace(created_from=None, created_before=None)


def within(instant: str, start: int | None, end: int | None) -> list[Condition]:
    """Return an instant not before `start`, and before `end`."""
    bounds = ((f"{instant} >= ?", start), (f"{instant} < ?", end))
    return [Condition(sql, (value,)) for sql, value in bounds if value is not None]


_EVERY_RUN = Way([_indexed("runs_by_age", *within("created_at", removals.FIRST, None))], True, RunFilter())


# -- statements ---------------------------------------------------------------------------------------------------


def sizes_of_ways(candidates: Sequence[Way]) -> Statement:
    """Return one row: how many entries each way has, counted up to FEW."""
    counts = [_union("SELECT 1", [(branch.source, branch.bounds) for branch in way.branches]) for way in candidates]
    columns = ", ".join(f"(SELECT count(*) FROM ({entries.sql} LIMIT {FEW}))" for entries in counts)
    return Statement(f"SELECT {columns}", [value for entries in counts for value in entries.parameters])


def page(way: Way, order: Order, limit: int, below: Position | None) -> Statement:
    """Summaries of a page, newest first. Branches in order are merged, and left when the page is full."""
    table = way.branches[0].table
    instant, edge = ("created_at", f"{table}.created_at") if order is Order.CREATED else ("updated_at", "updated_at")
    columns = ", ".join(f"{table}.{name} AS {name}" if name in _IN_BOTH else name for name in _PAGE)
    others = [] if below is None else [Condition(f"({edge}, {table}.run_id) < (?, ?)", below)]
    parts = everything(way, columns, *others)
    return Statement(f"{parts.sql} ORDER BY {instant} DESC, run_id DESC LIMIT ?", [*parts.parameters, limit])


_PAGE = (*RunSummary._fields, "checksum")

_IN_BOTH = ("created_at", "run_id")
"""Columns of `labels` too. Taken from there the order is that of its index, and SQLite sees it."""


def everything(way: Way, columns: str, *others: Condition) -> Statement:
    """These columns of all runs that match and pass other tests, in no order."""
    conditions = [*tests(way.rest, way.branches[0].table), *others]
    return _union(f"SELECT {columns}", [(branch.runs, [*branch.bounds, *conditions]) for branch in way.branches])


def number_of_runs(way: Way) -> Statement:
    """Return one row: how many runs match."""
    if way.rest != RunFilter():
        parts = everything(way, "count(*) AS number")
    elif way == _EVERY_RUN:  # for all rows SQLite knows a shorter way than any index
        removed = "SELECT count(*) FROM runs INDEXED BY runs_by_status WHERE status = ?"
        return Statement(f"SELECT (SELECT count(*) FROM runs) - ({removed})", (removals.REMOVED,))
    else:
        parts = _union("SELECT count(*) AS number", [(branch.source, branch.bounds) for branch in way.branches])
    return Statement(f"SELECT sum(number) FROM ({parts.sql})", parts.parameters)


def _union(select: str, parts: Iterable[tuple[str, Sequence[Condition]]]) -> Statement:
    texts: list[str] = []
    values: list[Any] = []
    for source, conditions in parts:
        clause = " AND ".join(condition.sql for condition in conditions)
        texts.append(f"{select} FROM {source}{' WHERE ' if clause else ''}{clause}")
        values += (value for condition in conditions for value in condition.values)
    return Statement(" UNION ALL ".join(texts), values)


def tests(filter: RunFilter, table: str) -> Iterable[Condition]:
    """Return what a filter asks of one run. `table` has its instant of creation and its id."""
    if filter.statuses:
        yield Condition(f"runs.status IN ({', '.join('?' * len(filter.statuses))})", filter.statuses)
    for part, column in SAME_VALUE.items():
        if (value := getattr(filter, part)) is not None:
            yield Condition(f"runs.{column} = ?", (value,))
    if filter.id_prefix:
        yield Condition(f"substr({table}.run_id, 1, ?) = ?", (len(filter.id_prefix), filter.id_prefix))
    for label in filter.labels:
        same_run = f"other.created_at = {table}.created_at AND other.run_id = {table}.run_id"
        yield Condition(
            f"EXISTS (SELECT 1 FROM labels AS other WHERE other.name = ? AND other.value = ? AND {same_run})", label
        )
    yield from within(f"{table}.created_at", filter.created_from, filter.created_before)
    yield from within("runs.updated_at", filter.updated_from, filter.updated_before)
    yield from within("runs.finished_at", filter.finished_from, filter.finished_before)
    yield from within(
        "CASE runs.status WHEN 'paused' THEN runs.updated_at ELSE runs.finished_at END", None, filter.settled_before
    )
