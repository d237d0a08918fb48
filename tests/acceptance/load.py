"""One of the processes that use one store at the same time, each in its own way, until they are told to stop:

    python tests/acceptance/load.py ROLE URL FOLDER

    runner   one hundred runs at a time advance, more as these end, and others are started that nobody waits for
    lister   pages through the runs by several filters, counts them, adds them up, reads histories
    pruner   forgets the runs that nobody waits for as soon as they have ended
    keeper   makes a backup, restores it elsewhere, and checks what it holds

Each prints a line of JSON for every round, and one with "done" at the end. It stops when the file FOLDER/stop is there.
Any error ends it with a traceback, and the test with it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, Observer, RunStatus, step, workflow
from flujo.kernel.backend import Order
from flujo.kernel.checking import check

AT_ONCE = 100
STEPS = 5


@step
async def add(number: int, one: int) -> int:
    return number + one


@workflow(name="chain")
async def chain(ctx: Context) -> int:
    number = 0
    for _ in range(STEPS):
        number = await ctx.step(add, number, 1)
    return number


@workflow(name="forgotten")
async def forgotten(ctx: Context) -> None:
    await ctx.step(add, 1, 1)


def say(**fields: Any) -> None:
    """Report a round."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


async def run_many(url: str, stop: Path) -> int:
    """Keep a hundred runs going; returns how many have ended with the right result."""
    ended = 0
    names = (f"chain-{number}" for number in count())

    async def go_on(kernel: Kernel) -> None:
        nonlocal ended
        while not await anyio.Path(stop).exists():
            run = await kernel.start(chain, run_id=next(names), labels={"kept": "yes"})
            await kernel.start(forgotten)
            result = await run.result()
            assert result == STEPS, result
            ended += 1
            say(ended=ended)

    async with Kernel(open_backend(url), workflows=[chain, forgotten]) as kernel, anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(go_on, kernel)
    return ended


async def look_on(url: str) -> None:
    """Everything a person might ask of a store, once."""
    async with open_backend(url) as backend:
        observer = Observer(backend)
        asks: list[dict[str, Any]] = [
            {},
            {"workflow": "chain"},
            {"statuses": [RunStatus.COMPLETED]},
            {"labels": {"kept": "yes"}, "order": Order.UPDATED},
            {"id_prefix": "chain-1"},
        ]
        for ask in asks:
            page = await observer.list(limit=40, **ask)
            if page.next is not None:
                await observer.list(limit=40, page=page.next, **ask)
            kept = [run for run in page.runs if run.workflow == "chain"]  # the others may go at any time
            if kept:
                state = await observer.inspect(kept[0].run_id)
                assert state.workflow == "chain"
                await observer.explain(kept[0].run_id)
        await observer.stats()


async def forget(url: str) -> None:
    """What has ended and is of no use goes."""
    async with open_backend(url) as backend:
        pruned = await Observer(backend).prune(older_than_seconds=0, workflow="forgotten", limit=100)
        assert all(run.workflow == "forgotten" for run in pruned.runs)


async def keep(url: str, folder: Path) -> None:
    """A backup is made, restored, and found sound."""
    backup, restored = folder / "backup", folder / "restored"
    async with open_backend(url) as backend:
        await backend.backup(backup)
    await open_backend(f"{url.partition(':')[0]}:{restored}").restore(backup)
    async with open_backend(f"{url.partition(':')[0]}:{restored}") as copy:
        report = await check(copy)
    assert report.is_sound, report
    say(held=report.runs)
    await to_thread.run_sync(empty, folder)


def empty(folder: Path) -> None:
    """Remove what is in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


async def repeat(stop: Path, work: Callable[[], Awaitable[None]]) -> int:
    """Work until told to stop; how often."""
    for rounds in count():
        if await anyio.Path(stop).exists():
            return rounds
        await work()
        say(rounds=rounds + 1)
    raise AssertionError("it never ends")


def main() -> None:
    role, url, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    stop = folder / "stop"
    own = folder / role
    own.mkdir()
    works: dict[str, Callable[[], Awaitable[int]]] = {
        "runner": lambda: run_many(url, stop),
        "lister": lambda: repeat(stop, lambda: look_on(url)),
        "pruner": lambda: repeat(stop, lambda: forget(url)),
        "keeper": lambda: repeat(stop, lambda: keep(url, own)),
    }
    say(done=anyio.run(works[role]))


if __name__ == "__main__":
    main()
