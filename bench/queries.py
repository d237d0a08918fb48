"""What the first page of a listing costs in a store with a long history, beside the bare SQL for the same page.

    python bench/queries.py [--runs N] [--folder DIR]

Both sides read the same file in one process, turn by turn. Each figure stands beside the limit it must keep; the exit
status is 1 if one does not.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import anyio

from figures import Report  # beside this file, which python puts on the path of a script; so is the next
from filling import FIRST, SECOND, fill, require_space
from flujo.backends import open_backend
from flujo.kernel import RunFilter
from flujo.kernel.backend import Page, RunSummary, StateBackend

PAGE = 50
ROUNDS = 300
FAR = 1_000
SHARE_LIMIT = 10
FAR_LIMIT = 2
COUNT_LIMIT_SECONDS = 0.2
STATS_LIMIT_SECONDS = 2.0
DRY_RUN_LIMIT_SECONDS = 5.0

COLUMNS = ", ".join(RunSummary._fields)
NEWEST = f"ORDER BY created_at DESC, run_id DESC LIMIT {PAGE + 1}"


class Query(NamedTuple):
    """A first page: what is asked of the port, and what of SQLite."""

    name: str
    filter: RunFilter
    sql: str
    parameters: Sequence[Any]


QUERIES = (
    Query(
        "a rare status",
        RunFilter(statuses=("paused",)),
        f"SELECT {COLUMNS} FROM runs WHERE status = ? {NEWEST}",
        ("paused",),
    ),
    Query(
        "a workflow",
        RunFilter(workflow="workflow-3"),
        f"SELECT {COLUMNS} FROM runs WHERE workflow = ? {NEWEST}",
        ("workflow-3",),
    ),
    Query(
        "a label",
        RunFilter(labels=(("team", "team-4"),)),
        f"SELECT {', '.join(f'runs.{name}' for name in RunSummary._fields)} FROM labels JOIN runs USING (run) "
        f"WHERE name = ? AND value = ? ORDER BY labels.created_at DESC, labels.run_id DESC LIMIT {PAGE + 1}",
        ("team", "team-4"),
    ),
    Query(
        "an id prefix",
        RunFilter(id_prefix="special-"),
        f"SELECT {COLUMNS} FROM runs WHERE run_id COLLATE NOCASE BETWEEN ? AND ? {NEWEST}",
        ("special-", "special-\U0010ffff"),
    ),
)


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def measure(database: Path, runs: int, report: Report) -> None:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, isolation_level=None)
    async with open_backend(f"sqlite:{database}") as backend:
        for query in QUERIES:
            await compare(backend, connection, query, report)
        await turn_pages(backend, report)
        teams = RunFilter(labels=(("team", "team-4"),))
        end = FIRST + runs * SECOND
        half = RunFilter(settled_before=FIRST + runs // 2 * SECOND)
        await answer("counting all runs", partial(backend.count, RunFilter()), COUNT_LIMIT_SECONDS, report)
        await answer("counting those of a label", partial(backend.count, teams), COUNT_LIMIT_SECONDS, report)
        await answer(
            "statistics of the last day", partial(backend.stats, end - 86_400 * SECOND), STATS_LIMIT_SECONDS, report
        )
        await answer("statistics of ever", partial(backend.stats, 0), STATS_LIMIT_SECONDS, report)
        dry_run = partial(backend.prune, half, limit=100, dry_run=True)
        await answer("a dry run of pruning half of them", dry_run, DRY_RUN_LIMIT_SECONDS, report)
    connection.close()


async def answer(what: str, ask: Callable[[], Awaitable[object]], limit: float, report: Report) -> None:
    """How long a question about all runs takes, the second time; and how much of that a processor was at work."""
    await ask()
    at_work = time.process_time()
    took = await seconds(ask)
    print(f"{what}: {time.process_time() - at_work:.2f} s of a processor")
    report.figure(what, took, limit, " s")


async def compare(backend: StateBackend, connection: sqlite3.Connection, query: Query, report: Report) -> None:
    """The first page of a query through the port, and straight from SQLite."""
    through: list[float] = []
    raw: list[float] = []
    page = Page((), None)
    for _ in range(ROUNDS):
        started = time.perf_counter()
        page = await backend.list(query.filter, limit=PAGE)
        between = time.perf_counter()
        rows = connection.execute(query.sql, query.parameters).fetchall()
        raw.append(time.perf_counter() - between)
        through.append(between - started)
    if list(page.runs) != [RunSummary(*row) for row in rows[:PAGE]]:
        raise AssertionError(f"the page of {query.name} is another one than SQL gives")
    print(f"{query.name}: {1e6 * median(through):.0f} us, raw {1e6 * median(raw):.0f} us for {len(page.runs)} runs")
    report.figure(f"the first page of {query.name}, times raw", median(through) / median(raw), SHARE_LIMIT)


async def turn_pages(backend: StateBackend, report: Report) -> None:
    """A page far down against the first one."""
    token: str | None = None
    turned = 1
    while turned < FAR:
        next = (await backend.list(RunFilter(), limit=PAGE, page=token)).next
        if next is None:
            break
        token, turned = next, turned + 1
    first: list[float] = []
    far: list[float] = []
    for _ in range(ROUNDS):
        first.append(await seconds(partial(backend.list, RunFilter(), limit=PAGE)))
        far.append(await seconds(partial(backend.list, RunFilter(), limit=PAGE, page=token)))
    report.figure(f"page {turned}, times page 1", median(far) / median(first), FAR_LIMIT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the store goes; default: the system's temporary folder")
    arguments = parser.parse_args()
    report = Report("A store of a million runs")
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="flujo-bench-") as folder:
        database = Path(folder) / "state.db"
        require_space(database.parent, arguments.runs)
        started = time.perf_counter()
        fill(database, arguments.runs)
        print(
            f"{arguments.runs} runs in {database.stat().st_size / 1e6:.0f} MB, "
            f"written in {time.perf_counter() - started:.0f} s",
            flush=True,
        )
        anyio.run(measure, database, arguments.runs, report)
    sys.exit(0 if report.all_kept else 1)


if __name__ == "__main__":
    main()
