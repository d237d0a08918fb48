"""A store with runs in every state, in each kind of store, and what they come to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from flujo.kernel import Context, Kernel, Observer, RetryPolicy, StoredDefinition, Workflow, workflow
from flujo.kernel.backend import Commit, Request, RunFilter, StateBackend
from flujo.kernel.errors import RunCancelled, RunFailed
from kernel.harness import Harness, JumpingClock, ManualClock, crash, recorded, until
from shipped import HARNESSES, ON_EVERY_LOOP

LARGE = "naïve 東京 🙂 " * 60_000


DEFINITION = StoredDefinition("d1", "written", "3", "the text: é")


class Script:
    """The workflows of these tests. `bodies` are the steps whose body has run; `mended` lets what fails succeed."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.mended = False
        self.hanging = anyio.Event()
        self.workflows = [self._program(name) for name in PROGRAMS]

    def body(self, ctx: Context, name: str, value: Any = None) -> Callable[[], Awaitable[Any]]:
        async def body() -> Any:
            self.bodies.append(f"{ctx.run_id}/{name}")
            return value

        return body

    def _program(self, name: str) -> Workflow:
        @workflow(name=name)
        async def program(ctx: Context) -> Any:
            first = await ctx.step(self.body(ctx, "first", name), name="first")
            return [first, await PROGRAMS[name](self, ctx)]

        return program


async def _quick(script: Script, ctx: Context) -> Any:
    return await ctx.step(script.body(ctx, "large", LARGE), name="large")


async def _flaky(script: Script, ctx: Context) -> Any:
    async def body() -> str:
        if not script.mended:
            raise ValueError("not yet")
        return "mended"

    return await ctx.step(body, name="second")


async def _retried(script: Script, ctx: Context) -> Any:
    async def body() -> str:
        if not script.mended:
            raise ConnectionError("not yet")
        return "mended"

    return await ctx.step(body, name="second", retry=RetryPolicy(max_attempts=5, delay=60))


async def _hanging(script: Script, ctx: Context) -> Any:
    async def body() -> str:
        if not script.mended:
            script.hanging.set()
            await anyio.sleep_forever()
        return "through"

    return await ctx.step(body, name="second")


async def _sleepy(script: Script, ctx: Context) -> Any:
    await ctx.sleep("30d")
    return (await ctx.now()).isoformat()[:4]


async def _listening(script: Script, ctx: Context) -> Any:
    return [await ctx.wait_signal("go"), await ctx.wait_signal("go")]


async def _parent(script: Script, ctx: Context) -> Any:
    return await ctx.run_child("listening", name="child")


PROGRAMS: dict[str, Callable[[Script, Context], Awaitable[Any]]] = {
    "quick": _quick,
    "flaky": _flaky,
    "retried": _retried,
    "hanging": _hanging,
    "sleepy": _sleepy,
    "listening": _listening,
    "parent": _parent,
}


async def world() -> Harness:
    """A store in memory, left by a kernel that died, with a run in every state there is."""
    harness = Harness(ManualClock())
    script = Script()
    async with harness.kernel(*script.workflows) as kernel:
        await kernel.run("quick", run_id="completed", labels={"team": "a", "é": "ü"})
        for run_id in ("failed", "forked"):
            with pytest.raises(RunFailed):
                await kernel.run("flaky", run_id=run_id)
        await kernel.start("listening", run_id="cancelled")
        await until(kernel, "cancelled", "step_waiting")
        await kernel.cancel("cancelled", "enough")
        with pytest.raises(RunCancelled):
            await kernel.result("cancelled")
        for run_id, name in (
            ("paused", "listening"),
            ("waiting", "listening"),
            ("signalled", "listening"),
            ("to-cancel", "listening"),
            ("sleeping", "sleepy"),
            ("family", "parent"),
        ):
            await kernel.start(name, run_id=run_id, labels={"team": "b"})
            await until(kernel, run_id, "step_waiting")
        await recorded(harness, "family.child", "step_waiting")
        await kernel.signal("waiting", "go", 1)
        await until(kernel, "waiting", "step_waiting", count=2)
        await kernel.pause("paused")
        await until(kernel, "paused", "run_paused")
        await kernel.start("retried", run_id="retrying")
        await until(kernel, "retrying", "attempt_failed")
        await kernel.start("hanging", run_id="interrupted")
        await script.hanging.wait()
        await until(kernel, "interrupted", "step_started", step="second")
        crash(kernel)
    async with harness.backend() as backend:
        observer = Observer(backend, clock=harness.clock)
        for run_id, payload in (("signalled", "é"), ("signalled", 2), ("family.child", 3), ("paused", 4)):
            await observer.signal(run_id, "go", payload)
        await backend.post("to-cancel", Request("cancel", '{"reason":"no more","by":"ann"}', harness.clock.now()))
    return harness


RUNS = [
    *("completed", "failed", "forked", "cancelled", "paused", "waiting", "signalled", "to-cancel", "sleeping"),
    *("family", "family.child", "retrying", "interrupted"),
]


async def ends(backend: StateBackend) -> dict[str, Any]:
    """How every run of `world` ends in a store: a kernel recovers it, and people resume and signal what needs it."""
    script = Script()
    script.mended = True
    async with Kernel(backend, script.workflows, clock=JumpingClock()) as kernel:
        await kernel.signal("waiting", "go", 5)
        await kernel.signal("family.child", "go", 6)
        for run_id in ("failed", "cancelled", "paused"):
            await kernel.resume(run_id)
        for run_id in ("cancelled", "cancelled", "paused"):
            await kernel.signal(run_id, "go", 7)
        await kernel.fork("forked", new_run_id="fork")
        found: dict[str, Any] = {}
        for run_id in sorted({*RUNS, "fork"} - {"forked"}):
            state = await kernel.wait(run_id)
            found[run_id] = (state.status.value, state.output, state.cancel_reason, dict(state.labels))
        found["bodies"] = sorted(script.bodies)
        found["forked"] = (await kernel.inspect("forked")).status
        return found


Open = Callable[[], StateBackend]


def place(kind: str, folder: Path) -> Open:
    """A place for a store, and how to get a handle on it."""
    return HARNESSES[kind](folder).handle


Handle = TypeVar("Handle", bound=StateBackend)


@asynccontextmanager
async def opened(handle: Handle, owner: str | None = "mover") -> AsyncIterator[Handle]:
    """A handle while it is open, as an owner unless it is told otherwise."""
    await handle.open(owner)
    try:
        yield handle
    finally:
        await handle.close()


async def fill(backend: StateBackend, harness: Harness) -> None:
    """Write the runs of a store in memory into another one as the port allows it, with nothing but the port."""
    for run in harness.store.runs.values():
        summary = run.summary._replace(owner=None)
        definition = harness.store.definitions.get(summary.definition or "")
        commit = Commit(summary.run_id, summary.uid, summary.token, 0, run.events, summary, definition=definition)
        assert await backend.append([commit]) == {}
    for posted in harness.store.inbox.values():
        (run_id,) = (run.summary.run_id for run in harness.store.runs.values() if run.summary.uid == posted.uid)
        await backend.post(run_id, posted.request)


async def contents(backend: StateBackend) -> dict[str, Any]:
    """Everything a store holds, but for owners."""
    found: dict[str, Any] = {}
    for listed in (await backend.list(RunFilter(), limit=1000)).runs:
        summary = (await backend.load(listed.run_id))._replace(owner=None)
        rows = list(await backend.read_events(summary.run_id, summary.uid, 0, 10_000))
        waiting = [posted.request for posted in await backend.requests(summary.run_id, summary.uid)]
        found[summary.run_id] = (summary, rows, waiting)
    return found


between_any_two_stores = pytest.mark.parametrize(
    ("pair", "anyio_backend"),
    [
        pytest.param((source, target), loop, id=f"{source}-to-{target}-{loop}")
        for source, loop in ON_EVERY_LOOP
        for target in HARNESSES
        if (target, loop) in ON_EVERY_LOOP
    ],
    indirect=["pair"],
)


async def small_world(*run_ids: str) -> tuple[Harness, Script]:
    """A store in memory with runs that wait for signals, and whose owner is dead."""
    harness = Harness()
    script = Script()
    async with harness.kernel(*script.workflows) as kernel:
        for run_id in run_ids:
            await kernel.start("listening", run_id=run_id)
            await until(kernel, run_id, "step_waiting")
        crash(kernel)
    return harness, script
