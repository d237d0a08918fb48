"""What an operator wants to know of a store: the server, how it is reached, who is alive, and what makes it slow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from flujo.kernel.backend import Member, MemberState

from . import leases
from .connection import Connection

_SERVER = """
SELECT current_setting('server_version'), current_setting('synchronous_commit'),
    current_setting('synchronous_standby_names'), current_setting('fsync'), current_database(),
    extract(epoch FROM clock_timestamp())::float8"""
_SIZES = """
SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY c.relname"""
_ACTIVITY = """
SELECT relname, n_live_tup, n_dead_tup, n_tup_upd, n_tup_hot_upd,
    extract(epoch FROM greatest(last_autovacuum, last_vacuum))::float8
FROM pg_stat_user_tables WHERE schemaname = $1"""
_OLDEST = """
SELECT pid, coalesce(application_name, ''), extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity WHERE xact_start IS NOT NULL AND backend_xmin IS NOT NULL AND datname = current_database()
    AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1"""
_RUNS = "SELECT count(*) FROM (SELECT FROM @.runs LIMIT $1 + 1) AS r"
FEW = 100_000
"""So many runs are counted; of more, the statistics of the server know about how many there are."""

RECENTLY_SECONDS = 3600
"""Kernels that went longer ago are not told of."""

_KERNELS = f"""
SELECT k.kernel, k.host_name, k.pid, k.version, {leases.SEEMS_ALIVE}, k.draining_at IS NOT NULL,
    extract(epoch FROM clock_timestamp() - k.opened_at)::float8,
    extract(epoch FROM k.expires_at - clock_timestamp())::float8,
    extract(epoch FROM clock_timestamp() - coalesce(k.closed_at, k.dead_at))::float8,
    k.closed_at IS NOT NULL, (SELECT count(*) FROM @.runs r WHERE r.owner = k.kernel)
FROM @.kernels k ORDER BY k.opened_at DESC, k.kernel LIMIT 1000"""


async def read(schema: str, connection: Connection) -> Mapping[str, Any]:
    """Return what the server says, as JSON values."""
    before = time.time()
    (server,) = await connection.fetch(_SERVER)
    version, synced, standbys, fsync, database, instant = server
    offset = instant - (before + time.time()) / 2
    sizes: dict[str, int] = dict(map(tuple, await connection.fetch(_SIZES, schema)))
    activity = {row[0]: tuple(row[1:]) for row in await connection.fetch(_ACTIVITY, schema)}
    _, dead, updated, hot, _ = activity.get("runs", (0, 0, 0, 0, None))
    recent = [each._asdict() for each in await kernels(connection)]
    ((runs,),) = await connection.fetch(_RUNS, FEW)
    if runs > FEW:
        runs = max(runs, activity.get("runs", (0,))[0])
    return {
        "server": f"PostgreSQL {version}",
        "database": database,
        "schema": schema,
        "bytes": sum(sizes.values()),
        "tables": sizes,
        "durability": "normal" if synced == "off" or fsync == "off" else "full",
        "synchronous_commit": synced,
        "synchronous_standbys": standbys or None,
        "clock_offset_seconds": round(offset, 3),
        "dead_rows": dead,
        "hot_updates": round(hot / updated, 3) if updated else None,
        "runs": runs,
        "kernels": recent,
        "oldest_transaction": _oldest(await connection.fetch(_OLDEST)),
    }


def _oldest(found: Sequence[Sequence[Any]]) -> Mapping[str, Any] | None:
    """Return who has kept old rows from being removed for longer than a minute."""
    for pid, name, seconds in found:
        if seconds > 60:
            return {"pid": pid, "application": name, "seconds": round(seconds)}
    return None


async def kernels(connection: Connection) -> list[Member]:
    """Return the kernels that live, and those that went not long ago; the newest first."""
    found = [_member(row) for row in await connection.fetch(_KERNELS)]
    return [each for each in found if (each.gone_seconds or 0) < RECENTLY_SECONDS]


def _member(row: Sequence[Any]) -> Member:
    kernel, host, pid, version, lives, drains, age, left, gone, closed, runs = row
    state = MemberState.DRAINING if drains else MemberState.ALIVE
    if not lives:
        state = MemberState.CLOSED if closed else MemberState.DEAD
    return Member(
        kernel,
        host,
        pid,
        version,
        state,
        runs,
        round(age, 1),
        round(left, 1) if lives else None,
        None if gone is None else round(gone, 1),
    )
