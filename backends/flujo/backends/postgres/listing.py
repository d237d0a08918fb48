"""Which runs: filters and orders as SQL. The planner finds the index, from statistics that the server keeps; each
status has a part of its own, because an index has no order over several.

A listing by update has two parts: runs that rest or wait by their index, and those at work, which move all the time and
are few enough to be sorted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flujo.backends.pages import Position
from flujo.kernel.backend import SAME_VALUE, Order, RunFilter

from .rows import SUMMARY

_BIGGEST = "\U0010ffff"

IDENTITY = "SELECT s.identity || '-' || s.tableoid::text FROM @.store s"
"""What tells a store from every other. A dump that is restored makes another table, so the number of that is a part of
it."""

_STORE = f"({IDENTITY}) AS store"


class Statement(NamedTuple):
    """SQL text and what goes into it."""

    sql: str
    values: Sequence[Any]


class Conditions:
    """Parts of a WHERE clause on runs `r`, and the arguments they share."""

    def __init__(self, filter: RunFilter) -> None:
        self.values: list[Any] = []
        self._parts: list[str] = []
        if len(filter.statuses) == 1:
            self.add(f"r.status = {self.value(str(filter.statuses[0]))}")
        elif filter.statuses:
            self.add(f"r.status = ANY({self.value([str(each) for each in filter.statuses])}::text[])")
        self._add_equalities(filter)
        self._add_ranges(filter)

    def _add_equalities(self, filter: RunFilter) -> None:
        for part, column in SAME_VALUE.items():
            if (value := getattr(filter, part)) is not None:
                self.add(f"r.{column} = {self.value(value)}")
        if filter.id_prefix:
            first, last = self.value(filter.id_prefix), self.value(filter.id_prefix + _BIGGEST)
            self.add(f"r.run_id >= {first} AND r.run_id <= {last}")
        for name, value in filter.labels:
            same = f"l.name = {self.value(name)} AND l.value = {self.value(value.encode())}"
            self.add(
                f"EXISTS (SELECT FROM @.labels l WHERE {same} AND l.created_at = r.created_at AND l.run_id = r.run_id)"
            )

    def _add_ranges(self, filter: RunFilter) -> None:
        for instant in ("created", "updated", "finished"):
            if (start := getattr(filter, f"{instant}_from")) is not None:
                self.add(f"r.{instant}_at >= {self.value(start)}")
            if (end := getattr(filter, f"{instant}_before")) is not None:
                self.add(f"r.{instant}_at < {self.value(end)}")
        if filter.settled_before is not None:
            end = self.value(filter.settled_before)
            self.add(f"CASE r.status WHEN 'paused' THEN r.updated_at ELSE r.finished_at END < {end}")

    def value(self, value: Any) -> str:
        """Return the place of an argument."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str) -> None:
        """Ask for this as well."""
        self._parts.append(condition)

    def where(self, *others: str) -> str:
        """Return the WHERE clause, with other conditions for this place only."""
        parts = [*others, *self._parts]
        return f"WHERE {' AND '.join(parts)}" if parts else ""


def page(filter: RunFilter, order: Order, limit: int, below: Position | None) -> Statement:
    """Summaries of a page, newest first, from the run that sorts below a position; behind each stands the identity of
    the store, which the tokens of pages hold."""
    statuses = list(dict.fromkeys(map(str, filter.statuses))) if order is Order.CREATED else []
    conditions = Conditions(filter._replace(statuses=()) if statuses else filter)
    place: Sequence[str] = ()
    if below is not None:
        place = (f"({conditions.value(below.instant)}::bigint, {conditions.value(below.run_id)}::text)",)
    # Written out: a planner that plans for all arguments takes a limit that is one for a tenth of what matches, and
    # sorts all of that.
    size = str(int(limit))

    def part(instant: str, *others: str) -> str:
        beyond = [f"(r.{instant}, r.run_id) < {each}" for each in place]
        where = conditions.where(*others, *beyond)
        return f"SELECT {SUMMARY}, {_STORE} FROM @.runs r {where} ORDER BY r.{instant} DESC, r.run_id DESC LIMIT {size}"

    def part_of(status: str) -> str:
        # In the order of the index of statuses, and not `=`, so that no other index gives it: the planner would take
        # the one by age, as if runs of a status were spread evenly, and look through all that are newer than they are.
        same = f"{conditions.value(status)}::text"
        beyond = [f"(r.status, r.created_at, r.run_id) < ({same}, {each[1:-1]})" for each in place]
        where = conditions.where(f"r.status >= {same}", f"r.status <= {same}", *beyond)
        newest = "r.status DESC, r.created_at DESC, r.run_id DESC"
        return f"SELECT {SUMMARY}, {_STORE} FROM @.runs r {where} ORDER BY {newest} LIMIT {size}"

    if len(statuses) == 1:
        return Statement(part_of(statuses[0]), conditions.values)
    if statuses:
        parts = [part_of(status) for status in statuses]
    elif order is Order.CREATED:
        return Statement(part("created_at"), conditions.values)
    else:
        at_rest = part("moved_at", "r.moved_at IS NOT NULL", *_moved(filter, conditions))
        parts = [at_rest, part("updated_at", "r.moved_at IS NULL")]
    instant = "created_at" if order is Order.CREATED else "updated_at"
    all = " UNION ALL ".join(f"({each})" for each in parts)
    sql = f"SELECT * FROM ({all}) AS r ORDER BY r.{instant} DESC, r.run_id DESC LIMIT {size}"
    return Statement(sql, conditions.values)


def _moved(filter: RunFilter, conditions: Conditions) -> Sequence[str]:
    """Return what a filter asks of `updated_at`, of the column that has an index."""
    found: list[str] = []
    if filter.updated_from is not None:
        found.append(f"r.moved_at >= {conditions.value(filter.updated_from)}")
    if filter.updated_before is not None:
        found.append(f"r.moved_at < {conditions.value(filter.updated_before)}")
    return found


def number(filter: RunFilter) -> Statement:
    """Return one row: how many runs match."""
    conditions = Conditions(filter)
    return Statement(f"SELECT count(*) FROM @.runs r {conditions.where()}", conditions.values)
