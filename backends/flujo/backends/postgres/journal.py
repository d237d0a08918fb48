"""Writing: a batch of commits as one statement, which is one round trip, one transaction and one sync.

The rows of all runs come as one text for each column, its values joined: the driver would look at each element of an
array by itself, which takes longer than all else that a batch costs a client. The UPDATE of the summaries is the fence:
it locks each row and looks at its uid, token and last event again once it has the lock, so a commit of an earlier owner
moves nothing, and only the events of runs that have moved are inserted. A step changes five columns of a summary; that
form of the statement is the usual one, and keeps the update out of all indexes. Creations, and commits that change
more, take a statement each of their own.

All events have one order: the number of the transaction, which grows, and the place in it. A transaction with a smaller
number may still commit after one with a greater one, so whoever reads in this order stops before the first number that
is still at work (`changes`); nothing can appear behind him then. No lock, and no commit that waits for another one, as
a counter in a row would have it.

A batch whose answer was lost is sent again: what stands as its commit leaves it, under its token, was made by the first
try, as nobody else writes under that token."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from flujo.backends import row_checksums
from flujo.backends.payloads import LARGEST_INLINE, digest_of
from flujo.backends.selection import overlapping
from flujo.kernel.backend import FIXED_COLUMNS, Commit, Refused, RunFilter, RunSummary, in_the_way_of, refusal
from flujo.kernel.state import RunStatus

from . import rows
from .connection import Connection, Row
from .rows import COLUMNS, TYPES

_HOT = row_checksums.HOT
_EVERY = tuple(name for name in COLUMNS if name not in FIXED_COLUMNS)
_hot: Callable[[RunSummary], tuple[Any, ...]] = itemgetter(*map(COLUMNS.index, _HOT))
_cold: Callable[[RunSummary], tuple[Any, ...]] = itemgetter(
    *(place for place, name in enumerate(COLUMNS) if name not in (*_HOT, "token"))
)
_every_place = tuple(map(COLUMNS.index, _EVERY))
SHIFT = 20
"""So many bits of a position are the place in its transaction."""

_POSITION = f"(pg_current_xact_id()::text::bigint << {SHIFT})"

_SEPARATOR, _NULL, _NO_NUMBER = "\x1f", "\x1e", "None"
"""Between joined values, and for the absence of a text and of a number. Neither names nor JSON have control characters,
and texts that may have any are bytes here."""

_EVENT = ("uid", "seq", "at", "type", "format", "body", "payload", "blob", "checksum")
_EVENT_TYPES = ("text", "bigint", "bigint", "text", "int", "text", "text", "bytea", "bigint")
_REST = "coalesce(finished_at, updated_at)"
_BLOB = ("bytea", "text")
_LABEL = ("text", "bytea", "bytea")
_DEFINITION = ("text", "text", "text", "bytea", "bytea", "bigint")
_TAKEN = ("bigint", "text")

_RUN_TYPES = (*(TYPES.get(name, "text") for name in COLUMNS), "bigint", "bigint")

MOST_CACHED = 10_000
"""How many runs' summaries are remembered; one that is not is written in full."""


class _CachedSummary(NamedTuple):
    """What this handle last wrote of a run. Nobody else writes a run as long as its token stays the same."""

    token: int
    cold: tuple[Any, ...]
    steady: int  # its checksum without what a step changes


class Batch(NamedTuple):
    """Some commits as statements and their arguments, and those commits by what they do."""

    statements: Sequence[tuple[str, Sequence[Any]]]
    creations: dict[str, Commit]
    updates: dict[str, Commit]


class Journal:
    """The writing side of a store. Remembers what it last wrote of the runs its kernel is working on.

    The memory is a hint: every statement checks uid, token and last event."""

    def __init__(self) -> None:
        self._cached: dict[str, _CachedSummary] = {}
        self.base = 0  # what is added to the part of a transaction in a position, once the store is open

    def forget(self) -> None:
        """Trust nothing from before: owners changed, or a write failed."""
        self._cached.clear()

    def prepare(self, commits: Sequence[Commit]) -> Batch:
        """Return the statements that make these commits."""
        creations = [commit for commit in commits if commit.expected_seq == 0]
        hot: list[tuple[Commit, int]] = []
        every: list[tuple[Commit, int]] = []
        for commit in commits:
            if commit.expected_seq:
                cold = _cold(commit.summary)
                cached = self._cached.get(commit.uid)
                if cached is not None and cached.token == commit.token and cached.cold == cold:
                    hot.append((commit, cached.steady))
                else:
                    steady = rows.steady_checksum(commit.summary)
                    every.append((commit, steady))
                    self._remember(commit, cold, steady)
        statements: list[tuple[str, Sequence[Any]]] = []
        if creations:
            statements.append((CREATE, _creation_values(creations)))
        if every:
            statements.append((extend(_EVERY), _extension_values(every, _EVERY, _every_values)))
        if hot:
            statements.append((extend(_HOT), _extension_values(hot, _HOT, _hot)))
        updates = {commit.uid: commit for commit in commits if commit.expected_seq}
        return Batch(statements, {commit.uid: commit for commit in creations}, updates)

    def _remember(self, commit: Commit, cold: tuple[Any, ...], steady: int) -> None:
        # What rests or waits has more to change: the instant by which listings find it.
        if commit.summary.owner is None or commit.summary.status != RunStatus.RUNNING:
            self._cached.pop(commit.uid, None)
            return
        if len(self._cached) >= MOST_CACHED:
            self._cached.clear()
        self._cached[commit.uid] = _CachedSummary(commit.token, cold, steady)

    async def make_apart(
        self, commits: Sequence[Commit], connection: Connection, *, is_repeat: bool
    ) -> dict[str, Refused]:
        """Make commits some of which no run of their workflow may be in the way of. Whoever makes such commits of one
        workflow waits for the other, so that none of them passes unseen."""
        apart = [commit for commit in commits if commit.alone_from is not None]
        async with connection.transaction():
            for workflow in sorted({commit.summary.workflow for commit in apart}):
                await connection.fetch(_LOCK, f"flujo: runs of {workflow}")
            unfinished: dict[RunFilter, list[str]] = {}
            for filter in map(in_the_way_of, apart):
                found = await connection.fetch(_UNFINISHED, filter.workflow, list(filter.statuses), filter.created_from)
                unfinished[filter] = [uid for (uid,) in found]
            blocked = overlapping(commits, unfinished.__getitem__)
            refused: dict[str, Refused] = {}
            for commit in apart:
                if commit.uid in blocked:
                    is_taken = commit.expected_seq == 0 and await connection.fetch(_HAS_ID, commit.run_id)
                    refused[commit.uid] = Refused.EXISTS if is_taken else Refused.OVERLAPS
            batch = self.prepare([commit for commit in commits if commit.uid not in blocked])
            return refused | await self.make(batch, connection, is_repeat=is_repeat)

    async def make(self, batch: Batch, connection: Connection, *, is_repeat: bool) -> dict[str, Refused]:
        """Make the commits; the uids of those that were refused, and why. With `is_repeat` an earlier try may have made
        them already."""
        left: list[str] = []
        for sql, values in batch.statements:
            left += [uid for (uid,) in await connection.fetch(sql, *values, self.base)]
        if not left:
            return {}
        # Asked in a statement of its own: what an earlier try did while this one waited for it is seen only now.
        stored = {row[0]: tuple(row) for row in await connection.fetch(STANDING, left)}
        refused = {uid: _judge(batch, uid, stored.get(uid), is_repeat) for uid in left}
        for uid in left:
            self._cached.pop(uid, None)
        return {uid: why for uid, why in refused.items() if why is not None}


_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_UNFINISHED = "SELECT r.uid FROM @.runs r WHERE r.workflow = $1 AND r.status = ANY ($2::text[]) AND r.created_at >= $3"
_HAS_ID = "SELECT 1 FROM @.runs r WHERE lower(r.run_id) = lower($1)"


def _judge(batch: Batch, uid: str, stored: Row | None, is_repeat: bool) -> Refused | None:
    if uid in batch.creations:
        return None if is_repeat and stored is not None else Refused.EXISTS
    commit = batch.updates[uid]
    if is_repeat and stored is not None and tuple(stored[1:]) == (commit.token, commit.expected_seq + len(commit.rows)):
        return None
    return refusal(None if stored is None else (stored[0], stored[1], stored[2]), commit)


STANDING = "SELECT uid, token, seq FROM @.runs WHERE uid = ANY($1::text[])"


# -- the order of all events --------------------------------------------------------------------------------------


async def transaction(connection: Connection) -> int:
    """Return the number of a transaction of its own, or of the one that is open."""
    ((number,),) = await connection.fetch("SELECT pg_current_xact_id()::text::bigint")
    return int(number)


async def rebase(connection: Connection) -> None:
    """See to it that new positions are greater than all that were given out. They are not by themselves on a server to
    which a dump was restored: its transactions have numbers of their own."""
    await connection.fetch(_REBASE)


_LAST = "greatest((SELECT last_position FROM @.store), coalesce((SELECT max(pos) FROM @.events), 0))"
_REBASE = f"""
UPDATE @.store SET position_base = {_LAST} - {_POSITION} WHERE position_base + {_POSITION} <= {_LAST}"""

BASE = "SELECT position_base FROM @.store"

_SAFE = f"""
SELECT s.last_position, s.position_base + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << {SHIFT}) AS border
FROM @.store s"""

LAST_POSITION = f"""
SELECT greatest(s.last_position, (SELECT max(e.pos) FROM @.events e WHERE e.pos < s.border)),
    EXISTS (SELECT FROM @.events e WHERE e.pos >= s.border) FROM ({_SAFE}) AS s"""
"""The last position before all that is still at work; and whether there are events behind that already."""

CHANGES = f"""
SELECT e.pos, e.pos < (SELECT border FROM ({_SAFE}) AS s), r.run_id, r.uid, {rows.EVENT}
FROM @.events e JOIN @.runs r ON r.run = e.run WHERE e.pos > $1 ORDER BY e.pos LIMIT $2"""
"""The events behind a position, and of each whether nothing can appear before it any more."""


# -- values -------------------------------------------------------------------------------------------------------


def _every_values(summary: RunSummary) -> Sequence[Any]:
    values = rows.to_values(summary)
    return [values[place] for place in _every_place]


def _extension_values(
    commits: Sequence[tuple[Commit, int]],
    columns: Sequence[str],
    values_of: Callable[[RunSummary], Sequence[Any]],
) -> list[str]:
    heads = [
        (uid, token, expected, rows.changing_checksum(summary, steady), *values_of(summary))
        for (_, uid, token, expected, _, summary, _, _, _), steady in commits
    ]
    taken = [(id, commit.uid) for commit, _ in commits for id in commit.taken]
    events = _event_values([commit for commit, _ in commits])
    return [*_joined(heads, _head_types(columns)), *events, *_joined(taken, _TAKEN)]


def _creation_values(commits: Sequence[Commit]) -> list[str]:
    heads = [
        (
            *rows.to_values(commit.summary),
            rows.fixed_checksum(commit.summary),
            rows.changing_checksum(commit.summary, rows.steady_checksum(commit.summary)),
        )
        for commit in commits
    ]
    labels = [
        (commit.uid, name.encode(), value.encode())
        for commit in commits
        if commit.summary.labels != "{}"
        for name, value in json.loads(commit.summary.labels).items()
    ]
    definitions = [
        (commit.uid, *rows.definition_values(commit.definition)) for commit in commits if commit.definition is not None
    ]
    return [
        *_joined(heads, _RUN_TYPES),
        *_event_values(commits),
        *_joined(labels, _LABEL),
        *_joined(definitions, _DEFINITION),
    ]


def _event_values(commits: Sequence[Commit]) -> list[str]:
    """Return the columns of the events of some commits, and behind them the digests and texts of large payloads."""
    found: list[tuple[Any, ...]] = []
    blobs: dict[bytes, str] = {}
    of_event, of_uid = row_checksums.of_event, row_checksums.of_uid
    for _, uid, _, _, events, _, _, _, _ in commits:
        of_run = of_uid(uid)
        for row in events:
            payload = row[5]
            if payload is None or len(payload) <= LARGEST_INLINE:
                found.append((uid, *row, None, of_event(of_run, row)))
            else:
                digest = digest_of(payload)
                blobs[digest] = payload
                found.append((uid, *row[:5], None, digest, of_event(of_run, row, digest)))
    return [*_joined(found, _EVENT_TYPES), *_joined(sorted(blobs.items()), _BLOB)]


def _joined(found: Sequence[Sequence[Any]], types: Sequence[str]) -> list[str]:
    """Return one text for each column of some rows, as `_Arguments.unnest` takes it. Raises ValueError for a text with
    a character that stands between two."""
    if not found:
        return [""] * len(types)
    texts = [_JOIN[type](column) for type, column in zip(types, zip(*found, strict=True), strict=True)]
    if any(text.count(_SEPARATOR) != len(found) - 1 for text in texts):
        raise ValueError("a name or a JSON text has a control character")
    return texts


def _join_numbers(column: Sequence[int | None]) -> str:
    return _SEPARATOR.join(map(str, column))


def _join_texts(column: Sequence[str | None]) -> str:
    return _SEPARATOR.join([_NULL if text is None else text for text in column])


def _join_bytes(column: Sequence[bytes | None]) -> str:
    return _SEPARATOR.join([_NULL if text is None else f"\\x{text.hex()}" for text in column])


_JOIN: dict[str, Callable[[Sequence[Any]], str]] = {
    "bigint": _join_numbers,
    "int": _join_numbers,
    "text": _join_texts,
    "bytea": _join_bytes,
}


# -- statements ---------------------------------------------------------------------------------------------------


class _Arguments:
    """Numbers the arguments of a statement."""

    def __init__(self) -> None:
        self._number = 0

    def unnest(self, name: str, columns: Sequence[str], types: Sequence[str], *, with_ordinality: bool = False) -> str:
        """Return the next arguments, columns of joined values, as a table of this name; with a last column that numbers
        the rows, if asked for."""
        arrays = ", ".join(self._array(type) for type in types)
        numbers = " WITH ORDINALITY" if with_ordinality else ""
        return f"unnest({arrays}){numbers} AS {name}({', '.join(columns)})"

    def _array(self, type: str) -> str:
        self._number += 1
        absent = _NO_NUMBER if type in ("bigint", "int") else _NULL
        split = f"string_to_array(${self._number}::text, '{_SEPARATOR}', '{absent}')"
        return split if type == "text" else f"{split}::{type}[]"

    def base(self, sql: str) -> str:
        """Return SQL with the last argument in the place of BASE."""
        self._number += 1
        return sql.replace("BASE", f"${self._number}")


def _event_parts(arguments: _Arguments, moved: str) -> str:
    """Return the parts of a statement that insert events of the runs in `moved`, and their large payloads; `BASE` in
    them stands for an argument. A payload whose event is refused stays out."""
    names = ", ".join(_EVENT[1:])
    values = ", ".join(f"e.{name}" for name in _EVENT[1:])
    events = arguments.unnest("e", (*_EVENT, "place"), _EVENT_TYPES, with_ordinality=True)
    blobs = arguments.unnest("b", ("digest", "text"), _BLOB)
    return f"""
ev AS MATERIALIZED (SELECT m.run, BASE::bigint + {_POSITION} + e.place AS pos, {values}
                    FROM {events} JOIN {moved} m ON m.uid = e.uid),
bl AS (INSERT INTO @.blobs (digest, text) SELECT b.digest, b.text FROM {blobs}
       WHERE EXISTS (SELECT FROM ev WHERE ev.blob = b.digest) ON CONFLICT DO NOTHING),
ins AS (INSERT INTO @.events (run, pos, {names}) SELECT run, pos, {names} FROM ev)"""


@cache
def _head_types(columns: Sequence[str]) -> Sequence[str]:
    return ("text", "bigint", "bigint", "bigint", *(TYPES.get(name, "text") for name in columns))


@cache
def extend(columns: Sequence[str]) -> str:
    """Return the statement that moves runs on and changes these columns of their summaries. It gives the uids of those
    that are not where their commits expect them."""
    arguments = _Arguments()
    heads = ["uid", "token", "expected", "checksum", *columns]
    commits = arguments.unnest("c", [f"c_{name}" for name in heads], _head_types(columns))
    changes = ", ".join(f"{name} = c.c_{name}" for name in ("checksum", *columns))
    if "owner" in columns:
        changes += ", moved_at = CASE WHEN c.c_owner IS NULL OR c.c_status <> 'running' THEN c.c_updated_at END"
        changes += ", rest_at = CASE WHEN c.c_owner IS NULL THEN coalesce(c.c_finished_at, c.c_updated_at) END"
    sql = f"""
WITH c AS (SELECT * FROM {commits}),
moved AS (UPDATE @.runs r SET {changes} FROM c
          WHERE r.uid = c.c_uid AND r.token = c.c_token AND r.seq = c.c_expected RETURNING r.run, r.uid),
{_event_parts(arguments, "moved")},
tk AS (DELETE FROM @.inbox i USING {arguments.unnest("t", ("id", "uid"), _TAKEN)}, moved m
       WHERE i.id = t.id AND m.uid = t.uid)
SELECT c_uid FROM c WHERE c_uid NOT IN (SELECT uid FROM moved)"""
    return arguments.base(sql)


def _create() -> str:
    arguments = _Arguments()
    columns = (*COLUMNS, "fixed_checksum", "checksum")
    names = ", ".join(columns)
    runs = arguments.unnest("c", columns, _RUN_TYPES)
    events = _event_parts(arguments, "made")
    labels = arguments.unnest("l", ("uid", "name", "value"), _LABEL)
    definition = ("uid", "digest", "workflow", "version", "text", "checksum")
    definitions = arguments.unnest("d", definition, _DEFINITION)
    sql = f"""
WITH c AS (SELECT * FROM {runs}),
made AS (INSERT INTO @.runs ({names}, moved_at, rest_at)
         SELECT {names}, CASE WHEN owner IS NULL OR status <> 'running' THEN updated_at END,
             CASE WHEN owner IS NULL THEN {_REST} END
         FROM c ON CONFLICT DO NOTHING RETURNING run, uid, run_id, created_at),
{events},
lb AS (INSERT INTO @.labels (name, value, created_at, run_id, run)
       SELECT convert_from(l.name, 'UTF8'), l.value, m.created_at, m.run_id, m.run
       FROM {labels} JOIN made m ON m.uid = l.uid),
df AS (INSERT INTO @.definitions ({", ".join(definition[1:])})
       SELECT DISTINCT ON (d.digest) {", ".join(f"d.{name}" for name in definition[1:])}
       FROM {definitions} JOIN made m ON m.uid = d.uid ON CONFLICT DO NOTHING)
SELECT uid FROM c WHERE uid NOT IN (SELECT uid FROM made)"""
    return arguments.base(sql)


CREATE = _create()
