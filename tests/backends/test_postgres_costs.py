"""What a fleet costs its server, as counts: questions, commits, bytes of its log, and updates that touch no index.

The server is this file's own, so that nobody else's work is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

import postgres_server
from flujo.backends import PostgresBackend
from flujo.backends.conformance import creation
from flujo.backends.postgres.connection import Connection
from flujo.backends.postgres.url import parse
from flujo.kernel import Context, Kernel, step, workflow
from flujo.kernel.backend import RunFilter

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


WAITING = 10_000
IDLE_SECONDS = 6.0
MOST_PER_SECOND = 20


async def wait_in_the_store(url: str, number: int) -> None:
    """Have so many runs wait for a signal, without an owner."""
    backend = PostgresBackend(url)
    await backend.open("filler")
    try:
        for start in range(0, number, 1000):
            commits = [creation(f"w{each}", None) for each in range(start, min(start + 1000, number))]
            await backend.append(
                [each._replace(summary=each.summary._replace(status="waiting", workflow="report")) for each in commits]
            )
    finally:
        await backend.close()


async def test_an_idle_fleet_asks_little(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three kernels with ten thousand waiting runs ask fewer than twenty questions a second, all of them together."""
    async with AsyncExitStack() as stack:
        kernels: list[Kernel] = []
        for place in range(3):
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / f"host{place}"))
            kernels.append(await stack.enter_async_context(Kernel(PostgresBackend(url), [report])))
        await wait_in_the_store(url, WAITING)
        with anyio.fail_after(60):
            while not all([await hears(each) for each in kernels]) or sum(await shares(kernels)) < WAITING:  # noqa: ASYNC110
                await anyio.sleep(0.1)
        with counted(monkeypatch) as asked:
            await anyio.sleep(IDLE_SECONDS)
        owned = await shares(kernels)

    assert min(owned) > WAITING / 10
    assert 0 < asked.total() < MOST_PER_SECOND * IDLE_SECONDS, asked


async def hears(kernel: Kernel) -> bool:
    """True once a kernel knows that it hears what is posted."""
    return bool((await kernel.backend.details())["hears"])


async def shares(kernels: Sequence[Kernel]) -> Sequence[int]:
    """How many runs each has."""
    return [await each.backend.count(RunFilter(owner=each.id)) for each in kernels]


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
