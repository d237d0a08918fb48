"""Cancelling a call at any moment: it has happened or it has not, and the handle works on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from anyio import create_task_group
from anyio.lowlevel import checkpoint

from flujo.kernel.backend import Request, RunFilter
from flujo.kernel.errors import RunNotFoundError

from .harness import Harness, behaviour
from .values import create, creation, following, journal, listed, settled

TICKS = range(10)


async def cut_short(call: Callable[[], Awaitable[Any]], ticks: int) -> None:
    """Begin a call and cancel it after so many ticks of the event loop."""

    async def run() -> None:
        await call()

    async with create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(ticks):
            await checkpoint()
        tasks.cancel_scope.cancel()


@behaviour
async def a_cancelled_delete_is_whole(harness: Harness) -> None:
    """A delete that is cancelled has removed the run with all it had, or nothing of it."""
    one = await harness.open("one")
    for ticks in TICKS:
        (summary,) = await create(one, creation(f"run{ticks}", None))
        await cut_short(partial(one.delete, summary.run_id, summary.uid), ticks)
        try:
            assert await one.load(summary.run_id) == summary
        except RunNotFoundError:
            assert summary.run_id not in await listed(one)
        else:
            assert len(await journal(one, summary)) == 1


@behaviour
async def a_cancelled_prune_leaves_whole_families(harness: Harness) -> None:
    """A prune that is cancelled has removed some families wholly, and nothing of the others."""
    one = await harness.open("one")
    for ticks in TICKS:
        roots = [settled(f"root{ticks}-{n}", 100 + n) for n in range(30)]
        children = [settled(f"child{ticks}-{n}", 100 + n, parent_run_id=f"root{ticks}-{n}") for n in range(30)]
        await create(one, *roots, *children)
        await cut_short(lambda: one.prune(RunFilter(), limit=40, dry_run=False), ticks)
        left = await listed(one)
        roots_left = {run_id.removeprefix("root") for run_id in left if run_id.startswith("root")}
        children_left = {run_id.removeprefix("child") for run_id in left if run_id.startswith("child")}
        assert roots_left == children_left


@behaviour
async def a_cancelled_post_is_whole(harness: Harness) -> None:
    """A post that is cancelled has left one request or none, and the next one arrives."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    for ticks in TICKS:
        before = list(await one.take())
        await cut_short(partial(one.post, "a", Request("signal", "{}", ticks)), ticks)
        after = list(await one.take())
        assert after[: len(before)] == before
        assert [posted.request.at for posted in after[len(before) :]] in ([], [ticks])
    await one.post("a", Request("cancel", "{}", 99))

    assert (await one.requests("a", summary.uid))[-1].request.kind == "cancel"


@behaviour
async def a_cancelled_release_is_whole(harness: Harness) -> None:
    """A release that is cancelled has given up runs wholly or not, and nothing else of them has changed."""
    one = await harness.open("one")
    for ticks in TICKS:
        (summary,) = await create(one, creation(f"run{ticks}"))
        await cut_short(partial(one.release, [summary.uid]), ticks)
        assert await one.load(summary.run_id) in (summary, summary._replace(owner=None))


@behaviour
async def a_cancelled_claim_of_idle_runs_is_whole(harness: Harness) -> None:
    """A claim of idle runs that is cancelled has changed owner and token of a run together, or neither."""
    one = await harness.open("one")
    for ticks in TICKS:
        runs = await create(one, *(creation(f"run{ticks}-{n}", None, status="waiting") for n in range(3)))
        await cut_short(lambda: one.claim_idle(["waiting"], ["report"], 3), ticks)
        for run in runs:
            assert await one.load(run.run_id) in (run, run._replace(owner="one", token=2))
        await one.claim_idle(["waiting"], ["report"], 100)


@behaviour
async def cancelled_reads_leave_nothing_behind(harness: Harness) -> None:
    """However often reads of every kind are cancelled, the handle reads and writes on."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", wake_at=5))
    reads: list[Callable[[], Awaitable[Any]]] = [
        lambda: one.load("a"),
        lambda: one.list(RunFilter(), limit=10),
        lambda: one.count(RunFilter()),
        lambda: one.stats(0),
        lambda: one.take(),
        lambda: one.requests("a", summary.uid),
        lambda: one.read_events("a", summary.uid, 0, 10),
        lambda: one.read_runs(["a", "b"], 10),
        lambda: one.due(10, 10),
        lambda: one.is_alive("one"),
        lambda: one.integrity(),
        lambda: one.details(),
        lambda: one.prune(RunFilter(), limit=10, dry_run=True),
    ]
    for read in reads:
        for ticks in range(4):
            await cut_short(read, ticks)
    commit = following(summary)

    assert await one.append([commit]) == {}
    assert await one.load("a") == commit.summary
