"""What a step costs, in counts: commits, syncs, SQL statements, bytes, tasks, calls and memory, against
bench/budget.toml."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import sys
import tomllib
from collections.abc import Callable, Coroutine, Iterator
from math import inf
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import anyio
import pytest

from flujo.backends import open_backend
from flujo.backends.sqlite import connection
from flujo.kernel import Context, Kernel, step, workflow
from flujo.kernel.ownership import left_tasks

BUDGET = tomllib.loads((Path(__file__).parent.parent / "bench" / "budget.toml").read_text())
PAYLOAD = "x" * 1022
SYNCS_PER_CHECKPOINT = 2  # the WAL, then the database


@pytest.fixture
def anyio_backend() -> str:
    """SQLite runs on asyncio."""
    return "asyncio"


@step(timeout="1h")
async def work() -> str:
    return PAYLOAD


@workflow()
async def chain(ctx: Context, steps: int) -> None:
    for _ in range(steps):
        await ctx.step(work)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that SQLite runs on a backend's writing connections."""
    seen: list[str] = []

    class Traced(connection._UnitConnection):
        def __init__(self, units: Any, address: str, *arguments: Any, **options: Any) -> None:
            super().__init__(units, address, *arguments, **options)
            if address.endswith("mode=rw"):
                self.set_trace_callback(seen.append)

    monkeypatch.setattr(connection, "_UnitConnection", Traced)
    return seen


async def commits_and_statements(folder: Path, statements: list[str], runs: int, steps: int) -> tuple[int, list[str]]:
    """Run `runs` chains of `steps` steps at once; the batches written and the statements it took."""
    first = len(statements)
    async with Kernel(open_backend(f"sqlite:{folder}/{runs}x{steps}.db"), max_steps=runs) as kernel:
        handles = [await kernel.start(chain, {"steps": steps}) for _ in range(runs)] if runs == 1 else []
        async with anyio.create_task_group() as group:
            for handle in handles:
                group.start_soon(watch_to_the_end, kernel, handle.run_id)
            for _ in range(runs - len(handles)):
                group.start_soon(kernel.run, chain, {"steps": steps})
        return kernel._runtime.driver.committer.commits, statements[first:]


async def watch_to_the_end(kernel: Kernel, run_id: str) -> None:
    async for _ in kernel.watch(run_id):
        pass


def syncs(statements: list[str]) -> int:
    """A commit is one sync under synchronous=FULL."""
    commits = sum(each == "COMMIT" for each in statements)
    checkpoints = sum("wal_checkpoint" in each for each in statements)
    return commits + SYNCS_PER_CHECKPOINT * checkpoints


async def test_s_steps_in_a_row_take_s_plus_two_commits(tmp_path: Path, statements: list[str]) -> None:
    """With a limit on steps, a timeout on each and a watcher on the run."""
    commits, _ = await commits_and_statements(tmp_path, statements, runs=1, steps=30)

    assert commits == 30 + BUDGET["commits"]["beyond_steps"]


async def test_a_lone_run_keeps_its_budget(tmp_path: Path, statements: list[str]) -> None:
    """One sync and a handful of statements for each further step."""
    _, short = await commits_and_statements(tmp_path, statements, runs=1, steps=20)
    _, long = await commits_and_statements(tmp_path, statements, runs=1, steps=120)

    assert marginal(syncs, short, long, 100) <= BUDGET["lone_run"]["syncs_per_step"]
    assert marginal(len, short, long, 100) <= BUDGET["lone_run"]["statements_per_step"]


async def test_concurrent_runs_share_their_syncs(tmp_path: Path, statements: list[str]) -> None:
    """Twenty runs at once take about a twentieth of a sync for each further step."""
    runs = BUDGET["concurrent_runs"]["runs"]

    _, short = await commits_and_statements(tmp_path, statements, runs=runs, steps=5)
    _, long = await commits_and_statements(tmp_path, statements, runs=runs, steps=25)

    assert marginal(syncs, short, long, 20 * runs) <= BUDGET["concurrent_runs"]["syncs_per_step"]
    per_step = marginal(len, short, long, 20 * runs)
    assert per_step <= BUDGET["concurrent_runs"]["statements_per_step"]


class Work(NamedTuple):
    """What a kernel did for some runs on a memory store."""

    tasks: int
    calls: int  # of Python functions
    blocks: int  # of memory that are still held at the end

    def further(self, longer: Work, steps: int) -> dict[str, float]:
        """What each further step of a longer piece of work costs."""
        counts = zip(self._fields, self, longer, strict=True)
        return {f"{name}_per_step": (there - here) / steps for name, here, there in counts}


@pytest.fixture(autouse=True)
def counts_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A line of the log for each event costs more than the step: a test before, in the same process, may have asked for
    them. And how often ended runs have all tasks looked through depends on how fast they end: it is once here."""
    monkeypatch.setattr(left_tasks, "LOOK_AFTER_SECONDS", inf)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def work_of(runs: int, steps: int) -> Work:
    """Run `runs` chains of `steps` steps at once, and count."""
    tasks = calls = 0

    def counted(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        nonlocal tasks
        tasks += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    asyncio.get_running_loop().set_task_factory(counted)  # type: ignore[arg-type]  # its type asks for more than is used
    async with Kernel(open_backend("memory:"), workflows=[chain]) as kernel:
        await kernel.run(chain, {"steps": 3})  # what is made once is there
        gc.collect()
        before, profiler = sys.getallocatedblocks(), sys.getprofile()
        sys.setprofile(count)
        try:
            async with anyio.create_task_group() as group:
                for _ in range(runs):
                    group.start_soon(kernel.run, chain, {"steps": steps})
        finally:
            sys.setprofile(profiler)
        await anyio.wait_all_tasks_blocked()  # what ended with the runs has let go of them
        gc.collect()
        return Work(tasks, calls, sys.getallocatedblocks() - before)


@pytest.mark.parametrize("name", ["lone_run", "concurrent_runs"])
async def test_a_step_begins_no_task_and_keeps_its_budget_of_calls_and_memory(name: str) -> None:
    """No task is spawned for a step; calls of Python functions stand for the time it takes, which no test can tell."""
    budget = BUDGET[name]
    runs = budget.get("runs", 1)

    await work_of(runs, 60)  # what is made once in a process is there, whatever test was the first to make it
    short, long = await work_of(runs, 10), await work_of(runs, 60)

    further = short.further(long, 50 * runs)
    assert {each: cost for each, cost in further.items() if cost > budget[each]} == {}


async def test_a_step_stores_its_output_once(tmp_path: Path, statements: list[str]) -> None:
    """A step adds its payload and a few hundred bytes to the journal, whatever its number."""
    await commits_and_statements(tmp_path, statements, runs=1, steps=50)

    with sqlite3.connect(tmp_path / "1x50.db") as store:
        size = "length(type) + length(body) + coalesce(length(payload), 0) + 40"  # 40: the integers, generously
        rows = store.execute(f"SELECT seq, {size} FROM events ORDER BY seq").fetchall()
    store.close()
    per_step = [rows[index][1] + rows[index + 1][1] for index in range(1, 99, 2)]
    assert max(per_step) <= len(PAYLOAD) + 2 + BUDGET["lone_run"]["bytes_per_step"]


def marginal(count: Callable[[list[str]], int], short: list[str], long: list[str], steps: int) -> float:
    return (count(long) - count(short)) / steps
