"""What looks and listings cost on PostgreSQL in a store with a long history and many waiting runs.

    python bench/postgres_history.py [--runs 1000000] [--waiting 100000]

A server of its own, in memory. Each listing takes turns with the bare SQL for the same page, and a look is what every
kernel asks again and again while nothing happens. Each figure stands beside the limit it must keep; the exit status is
1 if one does not."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import asyncpg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import postgres_server
from flujo.backends import PostgresBackend
from flujo.backends.postgres import queries, rows
from flujo.backends.postgres.url import parse
from flujo.kernel.backend import RunFilter, RunSummary

SECOND = 1_000_000
FIRST = 1_700_000_000 * SECOND
PAGE = 50
ROUNDS = 50
AT_ONCE = 20_000
RARE = 5_000  # one run in so many is paused, and one has a special id
LOOK_LIMIT_SECONDS = 0.010
SHARE_LIMIT = 3.0

COLUMNS = (*rows.COLUMNS, "fixed_checksum", "checksum", "moved_at", "rest_at")
_PLAIN = ", ".join(RunSummary._fields)
_NEWEST = f"ORDER BY created_at DESC, run_id DESC LIMIT {PAGE + 1}"


class Listing(NamedTuple):
    """A first page: what is asked of the port, and what of the server."""

    name: str
    filter: RunFilter
    where: str


LISTINGS = (
    Listing("everything", RunFilter(), "true"),
    Listing("a rare status", RunFilter(statuses=("paused",)), "status = 'paused'"),
    Listing("a status of many", RunFilter(statuses=("waiting",)), "status = 'waiting'"),
    Listing("a workflow", RunFilter(workflow="workflow-3"), "workflow = 'workflow-3'"),
    Listing("an id prefix", RunFilter(id_prefix="special-"), "run_id >= 'special-' AND run_id < 'special.'"),
)


def run(number: int, waiting: int, owner: str) -> RunSummary:
    """Return the summary of a run that ended long ago, or waits for a signal."""
    at, waits = FIRST + number * SECOND, number < waiting
    status = "waiting" if waits else "paused" if number % RARE == 7 else "failed" if number % 20 == 3 else "completed"
    ended = at + (1 + number * 7919 % 600) * SECOND
    name = "special" if number % RARE == 11 else "nightly"
    known: dict[str, Any] = {
        "run_id": f"{name}-{number:08}",
        "uid": f"{number:032x}",
        "workflow": f"workflow-{number % 10}",
        "version": "1",
        "status": status,
        "seq": 4,
        "owner": owner if waits else None,
        "token": 1,
        "labels": "{}",
        "created_at": at,
        "started_at": at,
        "updated_at": ended,
        "finished_at": ended if status in ("completed", "failed") else None,
        "failed_step": "load" if status == "failed" else None,
        "steps_done": 1,
        "retries": 0,
        "resume_count": 0,
    }
    return RunSummary._make(known.get(name) for name in RunSummary._fields)


def record(summary: RunSummary) -> tuple[Any, ...]:
    """Return a row of the table of runs."""
    checksum = rows.changing_checksum(summary, rows.steady_checksum(summary))
    rest_at = None if summary.owner is not None else summary.finished_at or summary.updated_at
    return (*rows.to_values(summary), rows.fixed_checksum(summary), checksum, summary.updated_at, rest_at)


def chunks(runs: int, waiting: int, owner: str) -> Iterator[list[tuple[Any, ...]]]:
    for start in range(0, runs, AT_ONCE):
        yield [record(run(number, waiting, owner)) for number in range(start, min(start + AT_ONCE, runs))]


async def fill(url: str, runs: int, waiting: int, owner: str) -> None:
    """Put runs into an open store; those that wait are the owner's."""
    address = parse(url)
    connection = await asyncpg.connect(address.dsn)
    try:
        for chunk in chunks(runs, waiting, owner):
            await connection.copy_records_to_table(
                "runs", schema_name=address.schema, columns=COLUMNS, records=chunk, timeout=600
            )
        await connection.execute(f'VACUUM ANALYZE "{address.schema}".runs', timeout=600)
    finally:
        await connection.close()


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def in_turns(*works: Callable[[], Awaitable[object]]) -> Sequence[float]:
    """Return the median seconds of each, after a first round that counts for nothing."""
    found = [[await seconds(work) for work in works] for _ in range(ROUNDS + 1)][1:]
    return [median(column) for column in zip(*found, strict=True)]


def told(name: str, figure: float, limit: float, unit: str) -> bool:
    """Print a figure; True if it keeps its limit."""
    print(f"{name:<34}{figure:>10.2f} {unit}   limit {limit:g} {unit}{'' if figure < limit else '   TOO MUCH'}")
    return figure < limit


async def measure(url: str, runs: int, waiting: int) -> bool:
    """Print all figures; True if they keep their limits."""
    backend = PostgresBackend(url)
    await backend.open("owner")
    address = parse(url)
    plain = await asyncpg.connect(address.dsn)
    try:
        began = time.perf_counter()
        await fill(url, runs, waiting, "owner")
        print(f"{runs} runs, {waiting} of them waiting, in {time.perf_counter() - began:.0f} s")
        connection = backend._reader.connection
        assert connection is not None

        async def look() -> None:
            await backend._bury()
            await connection.fetch(queries.OWNERS_GONE)
            await connection.fetch(queries.HAS_IDLE)

        good = [told("a look for what nobody has", 1000 * (await in_turns(look))[0], 1000 * LOOK_LIMIT_SECONDS, "ms")]
        for listing in LISTINGS:
            sql = f'SELECT {_PLAIN} FROM "{address.schema}".runs WHERE {listing.where} {_NEWEST}'
            ours, bare = await in_turns(
                lambda listing=listing: backend.list(listing.filter, limit=PAGE),  # type: ignore[misc]
                lambda sql=sql: plain.fetch(sql),  # type: ignore[misc]
            )
            good.append(told(f"list {listing.name} ({1000 * bare:.2f} ms bare)", ours / bare, SHARE_LIMIT, "times"))
        return all(good)
    finally:
        await plain.close()
        await backend.close()


def main() -> int:
    """Make a store, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    chosen = parser.parse_args()
    with postgres_server.own_server({"max_wal_size": "2GB", "maintenance_work_mem": "256MB"}) as server:
        url = postgres_server.new_store("", base=server.url)
        return 0 if asyncio.run(measure(url, chosen.runs, chosen.waiting)) else 1


if __name__ == "__main__":
    sys.exit(main())
