"""Limits of all kernels on one database: what the bodies themselves find, what dies with a kernel, what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import postgres_server
from flujo.backends import PostgresBackend
from flujo.backends.postgres.connection import Connection
from flujo.backends.postgres.url import parse
from flujo.kernel import Context, Kernel, step, workflow
from flujo.kernel.backend import SlotRequest

PATIENCE_SECONDS = 60.0

EARS = ["", "&listen=postgresql://nobody@/nowhere"]
"""With notifications, and as behind a pooler that lets none be heard."""


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg knows asyncio only."""
    return "asyncio"


class Ledger:
    """Where bodies write that they are at work, in the database of the store, and how many they find there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = anyio.Lock()
        self.found: list[int] = []

    async def ask(self, sql: str, *values: Any) -> Any:
        async with self._turn:
            return await self._connection.fetch(sql, *values)

    async def enter(self, name: str) -> None:
        await self.ask("INSERT INTO @.at_work VALUES ($1)", name)
        ((number,),) = await self.ask("SELECT count(*) FROM @.at_work")
        self.found.append(number)

    async def leave(self, name: str) -> None:
        await self.ask("DELETE FROM @.at_work WHERE name = $1", name)


@asynccontextmanager
async def ledger(url: str) -> AsyncIterator[Ledger]:
    """A ledger in the schema of a store that is there."""
    connection = await Connection.connect(parse(url))
    try:
        await connection.script("CREATE TABLE @.at_work (name text PRIMARY KEY)")
        yield Ledger(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def opened(url: str, *owners: str) -> AsyncIterator[list[PostgresBackend]]:
    """Handles on a store, as kernels of one host have them."""
    async with AsyncExitStack() as stack:
        handles = []
        for owner in owners:
            handle = PostgresBackend(url)
            await handle.open(owner)
            stack.push_async_callback(handle.close)
            handles.append(handle)
        yield handles


async def set_limit(url: str, slots: int | None) -> None:
    """Set a limit of all kernels, as an operator does."""
    async with PostgresBackend(url) as backend:
        await backend.set_fleet_limit("db", slots)


@pytest.mark.parametrize("listen", EARS, ids=["ears", "deaf"])
async def test_no_more_bodies_are_at_work_than_the_limit_of_all_kernels(
    listen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two kernels with two hundred steps and a limit of three, lowered and raised meanwhile: no body ever finds more
    than three at work in the database, and both kernels come to their turns."""
    url = postgres_server.new_store(listen)
    async with opened(url, "first"):  # makes the store
        pass
    await set_limit(url, 3)

    async with ledger(url) as at_work:

        @step(limit="db")
        async def query(name: str) -> str:
            await at_work.enter(name)
            await at_work.leave(name)
            return name

        @workflow()
        async def program(ctx: Context) -> None:
            await ctx.map(query, [f"{ctx.run_id}-{number}" for number in range(50)])

        async with AsyncExitStack() as stack:
            kernels = []
            for place in range(2):
                monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / f"host{place}"))
                kernels.append(await stack.enter_async_context(Kernel(PostgresBackend(url), [program])))
            for number, name in enumerate("abcd"):
                await kernels[number % 2].start(program, run_id=name)
            with anyio.fail_after(PATIENCE_SECONDS):
                while len(at_work.found) < 50:  # noqa: ASYNC110 - the bodies tell nobody
                    await anyio.sleep(0.01)
                await set_limit(url, 1)
                while len(at_work.found) < 60:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                await set_limit(url, 3)
                for number, name in enumerate("abcd"):
                    await kernels[number % 2].result(name)
        left = await at_work.ask("SELECT count(*) FROM @.slots")

    assert len(at_work.found) == 200
    assert max(at_work.found) <= 3
    assert [tuple(row) for row in left] == [(0,)]


def request(number: int) -> SlotRequest:
    return SlotRequest(number, "db", f"run{number}", f"uid{number}", "load")


async def ask(owner: PostgresBackend, *numbers: int) -> Collection[int]:
    """Ask for slots, and return the numbers of those that this owner has then."""
    return sorted((await owner.exchange_slots([request(number) for number in numbers], ())).granted)


async def until_granted(owner: PostgresBackend, numbers: list[int]) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while await ask(owner) != numbers:
            await owner.wait_for_slots()


DEAD = "SELECT FROM @.kernels WHERE kernel = 'one' AND dead_at IS NOT NULL"


@pytest.mark.parametrize("listen", EARS, ids=["ears", "deaf"])
async def test_the_slots_of_a_kernel_that_was_killed_are_free_after_its_lease(
    listen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another host nobody knows before that it is dead; its slot is not given to two before."""
    url = postgres_server.new_store("&lease=2" + listen)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "here"))
    async with opened(url, "one") as (one,):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "there"))
        async with opened(url, "two") as (two,):
            await two.set_fleet_limit("db", 1)
            assert await ask(one, 1) == [1]
            assert await ask(two, 1) == []
            one.kill()
            seen = Counter[str]()
            with anyio.fail_after(PATIENCE_SECONDS):
                while await ask(two) != [1]:
                    seen["dead" if await two._read(lambda each: each.fetch(DEAD)) else "alive"] += 1
                    await two.wait_for_slots()

    assert seen["alive"] > 0


async def test_a_limit_is_found_out_with_the_next_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is heard, a kernel without anybody who waits asks nothing, and is told all the same."""
    url = postgres_server.new_store("&lease=1" + EARS[1])
    async with opened(url, "one") as (one,):
        assert (await one.exchange_slots((), ())).limits == {}
        await set_limit(url, 7)
        with anyio.fail_after(PATIENCE_SECONDS):
            while not await one.wait_for_slots():
                pass
        assert (await one.exchange_slots((), ())).limits == {"db": 7}


async def test_a_slot_costs_a_question_and_no_limit_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty runs whose steps ask at once share their questions; without a limit the store is asked when a kernel opens,
    and once more when it hears of changes."""

    @step(limit="db")
    async def query() -> None:
        await anyio.lowlevel.checkpoint()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(query)

    asked: Counter[str] = Counter()
    fetch = Connection.fetch

    async def counting(self: Connection, sql: str, *values: Any, **options: Any) -> Any:
        asked["slots"] += "exchange_slots" in sql
        return await fetch(self, sql, *values, **options)

    monkeypatch.setattr(Connection, "fetch", counting)
    url = postgres_server.new_store()
    for most in (2, 20):
        asked.clear()
        async with Kernel(PostgresBackend(url), [program]) as kernel, anyio.create_task_group() as runs:
            for _ in range(50):
                runs.start_soon(kernel.run, program)
        assert asked["slots"] <= most
        await set_limit(url, 50)
