"""What pruning a long history on PostgreSQL does to runs that go on meanwhile.

    python bench/postgres_pruning.py [--runs N] [--advancing N]

A server of its own, in memory. A process of its own advances runs all the time, each step after the other, and notes
how long every step takes. The figures stand beside the limits they must keep; the exit status is 1 if one does not."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import anyio
import asyncpg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import postgres_server
from figures import Report  # beside this file, which python puts on the path of a script; so are the next two
from flujo.backends import PostgresBackend
from flujo.backends.postgres.url import parse
from flujo.kernel import RunFilter
from postgres_history import FIRST, SECOND, fill
from pruning import BEFORE_SECONDS, PER_CALL, SLOWER_LIMIT, describe, others

EVENTS = """
INSERT INTO "{schema}".events (run, pos, seq, at, type, format, body, payload, checksum)
SELECT r.run, r.run * 4 + s - 4, s, r.created_at, 'step_completed', 1, '{{"step":"load"}}', repeat('x', 500), 0
FROM "{schema}".runs r, generate_series(1, 4) s"""


async def make(url: str, runs: int) -> None:
    """Make a store with so many runs that have ended, each with four events."""
    backend = PostgresBackend(url)
    await backend.open("owner")
    await backend.close()
    await fill(url, runs, 0, "owner")
    address = parse(url)
    connection = await asyncpg.connect(address.dsn)
    try:
        await connection.execute(EVENTS.format(schema=address.schema), timeout=600)
        await connection.execute(f'VACUUM ANALYZE "{address.schema}".events', timeout=600)
    finally:
        await connection.close()


async def prune(url: str, filter: RunFilter) -> int:
    """Prune as an operator would, call after call until no more is left; return how many have gone."""
    total, more = 0, True
    async with PostgresBackend(url) as backend:
        while more:
            removed = await backend.prune(filter, limit=PER_CALL, dry_run=False)
            total, more = total + removed.total, removed.more
    return total


def measure(url: str, advancing: int, report: Report) -> None:
    """Prune everything beside runs that go on."""
    with others(url, advancing) as process:
        time.sleep(BEFORE_SECONDS)
        begun = time.time()
        total = anyio.run(prune, url, RunFilter(settled_before=FIRST + 10**9 * SECOND))
        ended = time.time()
        output, _ = process.communicate("stop\n")
    print(f"{total} runs pruned in {ended - begun:.0f} s: {total / (ended - begun):.0f} runs/s")
    steps = [(float(at), float(took)) for at, took in map(str.split, output.splitlines())]
    before = [took for at, took in steps if begun - BEFORE_SECONDS / 2 <= at < begun]
    during = [took for at, took in steps if begun <= at < ended]
    print(f"a step before: {describe(before)}")
    print(f"a step meanwhile: {describe(during)}")
    report.figure("runs that failed", process.returncode, 0)
    report.figure("a step meanwhile, times one before", median(during) / median(before), SLOWER_LIMIT)


def main() -> int:
    """Make a store, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--advancing", type=int, default=100)
    chosen = parser.parse_args()
    report = Report("Pruning on PostgreSQL")
    with postgres_server.own_server({"max_wal_size": "2GB"}) as server:
        url = postgres_server.new_store("", base=server.url)
        anyio.run(make, url, chosen.runs)
        measure(url, chosen.advancing, report)
    return 0 if report.all_kept else 1


if __name__ == "__main__":
    sys.exit(main())
