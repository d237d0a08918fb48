"""Removing many runs while others work: candidates by an index, families in one question, short transactions.

What a look finds is a hint. A transaction locks the families of some candidates, passes over what others have locked,
reads them again, has `selection` decide which of them go, and removes those."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NamedTuple

from flujo.backends.pages import Position
from flujo.backends.selection import Families, prunable, pruning_place
from flujo.kernel.backend import Removal, RunFilter, RunSummary

from . import leases, queries, rows
from .connection import Connection
from .listing import Conditions, Statement
from .rows import SUMMARY

LOOK = 1_000
"""How many candidates are found in one go."""

AT_ONCE = 100
"""How many families go in a transaction: some ten milliseconds."""

_REST = "coalesce(r.finished_at, r.updated_at)"
_ORPHAN = """NOT EXISTS (SELECT FROM @.runs p WHERE p.run_id = r.parent_run_id AND p.created_at <= r.created_at)"""
_FAMILY = """
WITH RECURSIVE family (run, run_id, created_at) AS (
    SELECT run, run_id, created_at FROM @.runs WHERE run = ANY($1::bigint[])
    UNION
    SELECT c.run, c.run_id, c.created_at FROM family f, LATERAL (
        SELECT run, run_id, created_at FROM @.runs WHERE parent_run_id = f.run_id AND created_at >= f.created_at
        ORDER BY created_at, run_id OFFSET 0) AS c)"""
_MEMBERS = "FROM @.runs r WHERE r.run IN (SELECT run FROM family)"
_LOCK = f"{_FAMILY} SELECT r.run {_MEMBERS} ORDER BY r.run FOR UPDATE SKIP LOCKED"
_READ = f"{_FAMILY} SELECT r.run, {SUMMARY} {_MEMBERS}"
_PARENTS = "SELECT r.run_id, r.created_at FROM @.runs r WHERE r.run_id = ANY($1::text[])"
_BYTES = """
octet_length(e.body) + CASE WHEN e.blob IS NULL THEN coalesce(octet_length(e.payload), 0)
    ELSE (SELECT octet_length(b.text) FROM @.blobs b WHERE b.digest = e.blob) END"""
_SIZE = f"SELECT coalesce(sum({_BYTES}), 0)::bigint FROM @.events e WHERE e.run = ANY($1::bigint[])"
_DELETE = "DELETE FROM @.runs WHERE run = ANY($1::bigint[])"
_LIVE = f"SELECT k.kernel FROM @.kernels k WHERE {leases.LIVES}"


class Candidate(NamedTuple):
    """A run that looked as if it could be the root of a family that goes."""

    place: Position
    run: int


class Pruning:
    """One call of `prune` on its way."""

    def __init__(self, filter: RunFilter, limit: int) -> None:
        self._filter = filter
        self._limit = limit
        self._after: Position | None = None
        self._seen_all = False
        self._line: list[Candidate] = []
        self._gone: list[RunSummary] = []
        self._bytes = 0

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

    async def look(self, connection: Connection) -> None:
        """Find the next candidates, unless there are some. Reads only."""
        if self._line or self._seen_all:
            return
        gone = [owner for (owner,) in await connection.fetch(queries.OWNERS_GONE)]
        sql, values = next_at_rest(self._filter, self._after, LOOK, gone)
        found = await connection.fetch(sql, *values, timeout=None)
        self._line = [Candidate(Position(instant, run_id), run) for instant, run_id, run in found]
        self._seen_all = len(found) < LOOK
        if found:
            self._after = self._line[-1].place

    async def remove_some(self, connection: Connection, *, dry_run: bool = False) -> None:
        """Remove families from the front of the line, no more than are wanted. May be called again after a failure."""
        size = max(1, min(AT_ONCE, self._limit - len(self._gone)))
        roots = self._line[:size]
        whole: AbstractAsyncContextManager[None] = nullcontext() if dry_run else connection.transaction()
        async with whole:
            gone, bytes = await self._take(roots, connection, dry_run=dry_run)
        is_enough = len(self._gone) + len(gone) >= self._limit
        last = max(
            (pruning_place(run) for run in gone if run.run_id in {each.place.run_id for each in roots}), default=None
        )
        del self._line[: sum(each.place <= last for each in roots) if is_enough and last is not None else size]
        self._gone += gone
        self._bytes += bytes

    async def _take(
        self, roots: Sequence[Candidate], connection: Connection, *, dry_run: bool
    ) -> tuple[Sequence[RunSummary], int]:
        keys = [candidate.run for candidate in roots]
        locked: set[int] | None = None
        if not dry_run:
            locked = {run for (run,) in await connection.fetch(_LOCK, keys, timeout=None)}
        found: dict[str, tuple[int, RunSummary]] = {}
        damaged: set[str] = set()
        for key, *columns in await connection.fetch(_READ, keys, timeout=None):
            summary, problem = rows.judged(columns)
            found[summary.run_id] = key, summary
            if problem is not None or (locked is not None and key not in locked):
                damaged.add(summary.run_id)  # it stays, and its family with it
        families = await self._families({run_id: summary for run_id, (_, summary) in found.items()}, connection)
        live = {kernel for (kernel,) in await connection.fetch(_LIVE)}
        places = {candidate.run: candidate.place for candidate in roots}
        chosen = [
            summary
            for key, summary in found.values()
            if key in places and pruning_place(summary) == places[key] and summary.run_id not in damaged
        ]
        gone: list[RunSummary] = []
        for family in prunable(self._filter, chosen, families, live.__contains__):
            if len(self._gone) + len(gone) >= self._limit:
                break
            if not any(member.run_id in damaged for member in family):
                gone += family
        going = [found[summary.run_id][0] for summary in gone]
        ((size,),) = await connection.fetch(_SIZE, going, timeout=None)
        if not dry_run and going:
            await connection.fetch(_DELETE, going, timeout=None)
        return gone, size

    async def _families(self, known: dict[str, RunSummary], connection: Connection) -> Families:
        """Return who has started whom among these, and whether one of them has a parent beside them."""
        asked = [run.parent_run_id for run in known.values() if run.parent_run_id not in (None, *known)]
        parents = dict(map(tuple, await connection.fetch(_PARENTS, asked)))
        children: defaultdict[str | None, list[RunSummary]] = defaultdict(list)
        for run in sorted(known.values(), key=lambda run: (run.created_at, run.run_id)):
            children[run.parent_run_id].append(run)
        some = next(iter(known.values()), None)

        def find(run_id: str) -> RunSummary | None:
            if run_id in known or run_id not in parents or some is None:
                return known.get(run_id)
            return some._replace(run_id=run_id, created_at=parents[run_id])

        return Families(find, lambda parent: children.get(parent, ()))


async def preview(filter: RunFilter, limit: int, connection: Connection) -> Removal:
    """Return what pruning without a limit would remove, and the first of it. Reads only, all in one snapshot."""
    async with connection.transaction(snapshot=True):
        sql, values = totals(filter)
        ((total, size),) = await connection.fetch(sql, *values, timeout=None)
        work = Pruning(filter, limit)
        while not work.is_done:
            await work.look(connection)
            await work.remove_some(connection, dry_run=True)
    runs = work.removal().runs[:limit]
    return Removal(runs, total, size, total > len(runs))


# -- statements ---------------------------------------------------------------------------------------------------


def next_at_rest(filter: RunFilter, after: Position | None, limit: int, gone: Sequence[str]) -> Statement:
    """(instant, run_id, run) of the next roots that match, in the order in which they would go; of those with an owner
    only the ones of owners that are `gone`."""
    conditions = Conditions(filter)
    conditions.add(_ORPHAN)
    beyond = "true"
    if after is not None:
        beyond = f"> ({conditions.value(after.instant)}::bigint, {conditions.value(after.run_id)}::text)"
    size = conditions.value(limit)

    def part(instant: str, owned: str) -> str:
        others = [owned] if after is None else [owned, f"({instant}, r.run_id) {beyond}"]
        where = conditions.where(*others)
        return f"SELECT {instant} AS instant, r.run_id, r.run FROM @.runs r {where} ORDER BY 1, 2 LIMIT {size}"

    at_rest, owned = (
        part("r.rest_at", "r.rest_at IS NOT NULL"),
        part(_REST, f"r.owner = ANY({conditions.value(list(gone))}::text[])"),
    )
    sql = f"SELECT * FROM (({at_rest}) UNION ALL ({owned})) AS f ORDER BY 1, 2 LIMIT {size}"
    return Statement(sql, conditions.values)


def totals(filter: RunFilter) -> Statement:
    """(number, bytes) of all runs that would go."""
    conditions = Conditions(filter)
    conditions.add(_ORPHAN)
    sql = f"""
WITH RECURSIVE family (root, run, run_id, created_at, owner) AS (
    SELECT r.run, r.run, r.run_id, r.created_at, r.owner FROM @.runs r {conditions.where()}
    UNION ALL
    SELECT f.root, c.run, c.run_id, c.created_at, c.owner FROM family f JOIN @.runs c
        ON c.parent_run_id = f.run_id AND c.created_at >= f.created_at),
spared AS (SELECT root FROM family WHERE owner IN ({_LIVE}))
SELECT count(*), coalesce(sum((SELECT sum({_BYTES}) FROM @.events e WHERE e.run = f.run)), 0)::bigint
FROM family f WHERE f.root NOT IN (SELECT root FROM spared)"""
    return Statement(sql, conditions.values)
