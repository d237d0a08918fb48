"""Stores with a long history for the benchmarks: runs that ended long ago, written by SQL because that is fast.

Of a hundred thousand runs in ten workflows, 20 are paused and 20 have ids that begin with `special`; every twentieth
failed, every other one has one of twenty labels, and the uids are as random as real ones. A run has four events, one of
them with an output of 300 bytes, and ends up to ten minutes after its creation, so few end in the order in which they
began.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path

import anyio

from flujo.backends import SQLiteBackend
from flujo.backends.sqlite import checksums, schema

SECOND = 1_000_000
FIRST = 1_700_000_000 * SECOND
RARE = 5_000  # one run in so many is paused, and one has a special id
_CHUNK = 20_000

_RUNS = f"""
WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last),
drawn AS (
    SELECT n, {FIRST} + n * {SECOND} AS at, 1 + n * 7919 % 600 AS seconds,
        CASE WHEN n % {RARE} = 7 THEN 'paused' WHEN n % 20 = 3 THEN 'failed' ELSE 'completed' END AS status,
        CASE WHEN n % {RARE} = 11 THEN 'special-' ELSE 'nightly-' END || printf('%08d', n) AS run_id,
        CASE n % 2 WHEN 0 THEN json_object('team', 'team-' || (n / 2 % 20)) ELSE '{{}}' END AS labels
    FROM numbers
)
INSERT INTO runs (run, run_id, uid, workflow, version, status, seq, token, labels, created_at, started_at, updated_at,
    finished_at, failed_step, error_type, error_message, steps_done, steps_total, retries, resume_count, definition)
SELECT n, run_id, lower(hex(randomblob(16))), 'workflow-' || (n % 10), '1', status, 4, 1, labels, at, at,
    at + seconds * {SECOND}, CASE WHEN status <> 'paused' THEN at + seconds * {SECOND} END,
    CASE status WHEN 'failed' THEN 'load' END, CASE status WHEN 'failed' THEN 'ValueError' END,
    CASE status WHEN 'failed' THEN 'no such page' END, 1, 1, n % 50 = 3, 0, NULL
FROM drawn
"""

_SEGMENTS = """
INSERT INTO run_segments SELECT run, run / 1000, 1 FROM runs WHERE run BETWEEN :first AND :last
"""

_EVENTS = """
INSERT INTO events (run, segment, seq, at, type, format, body, payload)
SELECT run, run / 1000, event.seq, created_at, type, 1, body, payload FROM runs CROSS JOIN (
    SELECT 1 AS seq, 'run_created' AS type, '{"workflow":"nightly","version":"1"}' AS body, '{"day":"today"}' AS payload
    UNION ALL SELECT 2, 'step_started', '{"step":"load"}', NULL
    UNION ALL SELECT 3, 'step_completed', '{"step":"load"}', '"' || printf('%.298c', 'x') || '"'
    UNION ALL SELECT 4, 'run_completed', '{}', '1'
) AS event WHERE run BETWEEN :first AND :last
"""


def fill(database: Path, runs: int) -> None:
    """Make a store of so many runs."""
    anyio.run(_create, database)
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -500000")
    for first in range(1, runs + 1, _CHUNK):
        stretch = {"first": first, "last": min(first + _CHUNK - 1, runs)}
        connection.execute("BEGIN")
        connection.execute(_RUNS, stretch)
        connection.execute(_SEGMENTS, stretch)
        connection.execute(_EVENTS, stretch)
        connection.execute("COMMIT")
    checksums.register(connection)
    for statement in schema.statements(schema.script("migrations/3.sql")):
        if "UPDATE " in statement:  # the rows above have no checksums yet
            connection.execute(statement)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def _create(database: Path) -> None:
    handle = SQLiteBackend(database)
    await handle.open("maker")
    await handle.close()


def require_space(folder: Path, runs: int) -> None:
    """End the program where a store of so many runs, with its log and a copy's worth of room, does not fit."""
    needed, free = 3_000 * runs, shutil.disk_usage(folder).free
    if free < needed:
        sys.exit(f"{folder} has {free / 1e9:.1f} GB left, and {needed / 1e9:.1f} GB are needed; name another --folder")
