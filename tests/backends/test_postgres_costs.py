"""What a fleet costs its server, as counts: questions, commits, bytes of its log, and updates that touch no index.

The server is this file's own, so that nobody else's work is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import anyio
import pytest

import postgres_server
from flujo.backends import PostgresBackend
from flujo.backends.postgres.connection import Connection
from flujo.backends.postgres.url import parse
from flujo.kernel import Context, Kernel, step, workflow

RUNS, STEPS, PAYLOAD = 100, 10, 1024
COMMIT = "WITH c AS"
FLUSH = "SELECT pg_stat_force_next_flush()"
COUNTED = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, s.n_tup_upd, s.n_tup_hot_upd
FROM pg_stat_user_tables s WHERE s.schemaname = $1 AND s.relname = 'runs'"""


@step
async def work(number: int) -> dict[str, str]:
    return {"text": "x" * PAYLOAD}


@workflow()
async def report(ctx: Context) -> None:
    for number in range(STEPS):
        await ctx.step(work, number, name=f"work{number}")


class Counts(NamedTuple):
    """What a server has done so far for a store."""

    log_bytes: int
    updates: int
    hot_updates: int

    def since(self, before: Counts) -> Counts:
        return Counts(*(now - then for now, then in zip(self, before, strict=True)))


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg knows asyncio only."""
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[postgres_server.Server]:
    with postgres_server.own_server({"checkpoint_timeout": "1h", "autovacuum": "off"}) as server:
        yield server


@pytest.fixture
def url(server: postgres_server.Server) -> str:
    """The URL of a store that is not there yet."""
    return postgres_server.new_store(base=server.url)


async def counts(url: str, backend: PostgresBackend) -> Counts:
    """What the server has counted, the session that writes included."""
    assert backend._writer.connection is not None
    await backend._writer.connection.fetch(FLUSH)
    asking = await Connection.connect(parse(url))
    try:
        ((log_bytes, updates, hot),) = await asking.fetch(COUNTED, parse(url).schema)
    finally:
        await asking.close()
    return Counts(log_bytes, updates, hot)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count the questions of this process by their first words."""
    asked: Counter[str] = Counter()
    fetch = Connection.fetch

    async def counting(self: Connection, sql: str, *values: Any, **options: Any) -> Any:
        asked[" ".join(sql.split()[:3])] += 1
        return await fetch(self, sql, *values, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "fetch", counting)
        yield asked


async def together(kernel: Kernel, number: int) -> None:
    """Run so many at once to their ends."""
    async with anyio.create_task_group() as runs:
        for _ in range(number):
            runs.start_soon(kernel.run, report)


async def test_runs_share_their_questions(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred runs of ten steps ask the server hardly more often than one, and so does the end of their kernel."""
    with counted(monkeypatch) as asked:
        async with Kernel(PostgresBackend(url), [report]) as kernel:
            asked.clear()
            await together(kernel, 1)
            alone = asked[COMMIT]
            asked.clear()
            await together(kernel, RUNS)
            at_once, others = asked[COMMIT], asked.total() - asked[COMMIT]
            asked.clear()

    assert alone == STEPS + 2  # one creates the run, and one ends it
    assert at_once <= alone + 4
    assert others <= 10  # looks for work and for the dead
    assert asked.total() <= RUNS / 5, asked  # of the end of the kernel


async def test_a_step_writes_little_and_touches_no_index(url: str) -> None:
    """Beside its payload the log of the server has a kilobyte of a step, and updates of summaries stay in their
    pages."""
    backend = PostgresBackend(url)
    async with Kernel(backend, [report]) as kernel:
        before = await counts(url, backend)
        await together(kernel, RUNS)
        used = (await counts(url, backend)).since(before)

    assert used.log_bytes / (RUNS * STEPS) < 2.5 * PAYLOAD
    assert used.updates >= RUNS * STEPS
    assert used.hot_updates / used.updates > 0.8  # of eleven updates two change a status
