"""What a kernel does while it cannot know whether others take it for dead, and once they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Kernel, current_attempt, workflow
from flujo.kernel.errors import KernelClosedError, StoreError, StoreLeaseLostError
from kernel.execution.processes import ENV, Fifo, fifo
from kernel.harness import Counter, Harness, settled, until

__all__ = ["fifo"]


class LeasedBackend(InMemoryBackend):
    """Doubts when told so."""

    capabilities = InMemoryBackend.capabilities._replace(lease_seconds=15.0)

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.doubts = anyio.Event()
        self.is_certain = anyio.Event()
        self.lives = True
        self.seconds = 3600.0
        self.renewal = anyio.Event()

    def certain_seconds(self) -> float:
        return self.seconds

    async def wait_for_renewal(self) -> None:
        await self.renewal.wait()
        self.renewal = anyio.Event()

    async def wait_for_doubt(self) -> None:
        await self.doubts.wait()
        self.doubts = anyio.Event()

    async def wait_for_certainty(self) -> bool:
        await self.is_certain.wait()
        self.is_certain = anyio.Event()
        return self.lives


async def test_bodies_stop_while_a_kernel_doubts_and_go_on_once_it_is_sure() -> None:
    """A body is cancelled although nothing is recorded of it; what it had recorded stands, and it begins again."""
    harness = Harness()
    backend = LeasedBackend(harness.store)
    counter = Counter()
    stopped: list[str] = []

    @workflow()
    async def program(ctx: Context) -> Any:
        before = await ctx.step(counter.body("before"), name="before")

        async def long() -> str:
            if counter.count("long") == 1:
                try:
                    await anyio.sleep_forever()
                finally:
                    stopped.append("long")
            return "done"

        return [before, await ctx.step(long, name="long")]

    async with harness.kernel(program, backend=backend) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started", count=2)
        await anyio.wait_all_tasks_blocked()
        backend.doubts.set()
        await settled(lambda: stopped == ["long"])
        assert "step_interrupted" not in harness.types("r")
        assert harness.summary("r").owner == kernel.id
        backend.is_certain.set()
        result = await kernel.result("r")

    assert result == [1, "done"]
    assert counter.calls == ["before", "long", "long"]
    assert harness.types("r").count("step_interrupted") == 1
    assert harness.summary("r").token == 1


async def test_a_run_that_waits_goes_on_after_a_doubt() -> None:
    """Its signal reaches it, and its nap ends."""
    harness = Harness()
    backend = LeasedBackend(harness.store)

    @workflow()
    async def program(ctx: Context) -> Any:
        signalled = await ctx.wait_signal("go")
        await ctx.sleep(60)
        return signalled

    async with harness.kernel(program, backend=backend) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.doubts.set()
        await anyio.wait_all_tasks_blocked()
        backend.is_certain.set()
        await kernel.signal("r", "go", 7)
        await until(kernel, "r", "step_waiting", count=2)
        backend.doubts.set()
        await anyio.wait_all_tasks_blocked()
        backend.is_certain.set()
        await anyio.wait_all_tasks_blocked()
        harness.clock.advance(60)
        assert await kernel.result("r") == 7


async def test_a_kernel_that_is_taken_for_dead_ends() -> None:
    """It records nothing of that, refuses what is asked of it, and whoever waits for its end is told why; opened again
    it is another kernel."""
    harness = Harness()
    backend = LeasedBackend(harness.store)

    @workflow()
    async def program(ctx: Context) -> str:
        return str(await ctx.wait_signal("go"))

    kernel = Kernel(backend, [program], clock=harness.clock)
    await kernel.open()
    first = kernel.id
    await kernel.start(program, run_id="r")
    await until(kernel, "r", "step_waiting")
    before = harness.types("r")
    backend.lives = False
    backend.doubts.set()
    backend.is_certain.set()
    with pytest.raises(StoreLeaseLostError, match="taken for dead"):
        await kernel.wait_closed()
    with pytest.raises((KernelClosedError, StoreError)):
        await kernel.start(program, run_id="s")
    assert harness.types("r") == before

    await kernel.open()
    try:
        assert kernel.id != first
        await kernel.signal("r", "go", "on")
        assert await kernel.result("r") == "on"
    finally:
        await kernel.close()


async def test_a_step_whose_commands_were_killed_because_its_kernel_was_late_begins_again(
    tmp_path: Path, fifo: Fifo
) -> None:
    """As after a doubt: how its command ended is not recorded, and no attempt has failed."""
    harness = Harness()
    backend = LeasedBackend(harness.store)
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> str:
        async def work() -> str:
            if counter.count("work") == 1:
                script = f"{fifo.opening}; trap '' TERM; echo up >&9; while :; do sleep 9; done"
                await current_attempt().children.run(["sh", "-c", script], cwd=tmp_path, env=ENV)
            return "done"

        return await ctx.step(work)

    async with harness.kernel(program, backend=backend) as kernel:
        await kernel.start(program, run_id="r")
        await fifo.line()
        backend.seconds = 0.0
        backend.renewal.set()
        await anyio.to_thread.run_sync(fifo.wait_for_the_end)
        backend.seconds = 3600.0
        backend.is_certain.set()
        result = await kernel.result("r")

    assert result == "done"
    assert counter.calls == ["work", "work"]
    assert harness.types("r").count("step_interrupted") == 1
    assert "attempt_failed" not in harness.types("r")
