"""Whenever a run is cancelled, or the scope around its kernel, nothing of it is left: with real stores and processes.

Cancelling at a tick of the event loop is cancelling at an await, since nothing can happen between two ticks."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal, TypeVarTuple

import anyio
import pytest
import trio

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, RunCancelled, current_attempt, step, workflow
from flujo.kernel.errors import RunNotFoundError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

Loop = Literal["asyncio", "trio"]
How = Literal["a run", "everything"]
Arguments = TypeVarTuple("Arguments")

STRIDE = 7
"""Every seventh tick; that is some 25 histories of each kind."""


@step
async def child_process() -> str:
    """An attempt with a process of its own."""
    ended = await current_attempt().children.run(["/bin/sh", "-c", "sleep 0.02; echo done"], cwd="/", env={})
    return ended.stdout.decode().strip()


@step
async def square(number: int) -> int:
    """The item of a map."""
    await anyio.sleep(0.001)
    return number * number


@workflow()
async def child(ctx: Context) -> int:
    """What the run starts."""
    await ctx.sleep(0.002)
    return await ctx.step(square, 3)


@workflow()
async def everything(ctx: Context) -> Any:
    """A step, a map, a sleep, a child run and a signal, some of them side by side."""
    said = await ctx.step(child_process)
    squares = await ctx.map(square, [1, 2, 3], limit=2)
    _, ninth = await ctx.gather(ctx.sleep(0.002), ctx.run_child(child))
    return [said, squares, ninth]


class CountingLoop(asyncio.SelectorEventLoop):
    """Announces every callback before it is run."""

    on_tick: Callable[[], None]

    def call_soon(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        def counted() -> None:
            self.on_tick()
            callback(*args)

        return super().call_soon(counted, context=context)


class CountingInstrument(trio.abc.Instrument):
    """Announces every step of a task."""

    def __init__(self, on_tick: Callable[[], None]) -> None:
        self._on_tick = on_tick

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._on_tick()


def run(loop: Loop, function: Callable[[], Any], on_tick: Callable[[], None]) -> None:
    """Run an async function in real time, with every tick announced."""
    if loop == "trio":
        anyio.run(function, backend="trio", backend_options={"instruments": [CountingInstrument(on_tick)]})
        return

    def make() -> CountingLoop:
        counting = CountingLoop()
        counting.on_tick = on_tick
        return counting

    anyio.run(function, backend_options={"loop_factory": make})


class History:
    """One run on a store of its own, which is cancelled at a tick."""

    def __init__(self, store: str, how: How, at: int) -> None:
        self._store = store
        self._how = how
        self._at = at
        self._ticks = 0
        self._now: anyio.Event | None = None
        self.was_reached = False

    def tick(self) -> None:
        """Called at every tick."""
        self._ticks += 1
        if self._ticks == self._at and self._now is not None:
            self.was_reached = True
            self._now.set()

    async def live(self) -> None:
        """Start the run, cancel when it is time, and look what is left."""
        before = {task.id for task in anyio.get_running_tasks()}
        with anyio.CancelScope() as scope:
            kernel = Kernel(open_backend(self._store), workflows=[everything, child])
            async with kernel, anyio.create_task_group() as group:
                self._now = anyio.Event()
                self._ticks = 0
                group.start_soon(self._cancel, kernel, scope)
                await kernel.start(everything, run_id="r")
                try:
                    await kernel.result("r")
                except RunCancelled:
                    pass
                group.cancel_scope.cancel()
        assert {task.id for task in anyio.get_running_tasks()} == before

    async def _cancel(self, kernel: Kernel, scope: anyio.CancelScope) -> None:
        assert self._now is not None
        await self._now.wait()
        if self._how == "everything":
            scope.cancel()
            return
        try:
            await kernel.cancel("r")
        except RunNotFoundError:
            scope.cancel()  # it was not there yet


def histories(loop: Loop, kind: str, how: How, tmp_path: Path) -> Iterator[Path]:
    """The store of a history for every point at which one can be cancelled."""
    at = 1
    while True:
        store = tmp_path / str(at)
        history = History(f"{kind}:{store}", how, at)
        run(loop, history.live, history.tick)
        yield store
        if not history.was_reached:
            return
        at += STRIDE


def open_files() -> set[str]:
    """What this process has open."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.add(f"{each.name} {each.readlink()}")
    return found


def children() -> list[int]:
    """The processes this one has started and that are not gone."""
    pid = os.getpid()
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # it has just ended
            found += [int(child) for child in (thread / "children").read_text(encoding="ascii").split()]
    return found


@pytest.mark.parametrize("how", ["a run", "everything"])
@pytest.mark.parametrize(("loop", "kind"), [("asyncio", "sqlite"), ("asyncio", "file"), ("trio", "file")])
def test_nothing_is_left(loop: Loop, kind: str, how: How, tmp_path: Path) -> None:
    """No task, no process, no open file, no transaction."""
    files, processes = open_files(), children()
    count = 0
    for store in histories(loop, kind, how, tmp_path):
        count += 1

        assert children() == processes
        assert open_files() == files
        if kind == "sqlite":
            with closing(sqlite3.connect(store, timeout=0)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
    assert count > 20
