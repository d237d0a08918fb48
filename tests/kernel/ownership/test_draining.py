"""A kernel that drains takes no more runs, hands over those that wait, and interrupts nothing."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Kernel, RunStatus, workflow
from flujo.kernel.errors import StoreError
from kernel.flows import waiting
from kernel.harness import Harness, settled, until


class SharedBackend(InMemoryBackend):
    """A store of several hosts, whose kernels drain when told so."""

    capabilities = InMemoryBackend.capabilities._replace(several_hosts=True)

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.drains = anyio.Event()
        self.failures = 0

    async def drain(self, name: str) -> Sequence[str]:
        self.drains.set()
        return [name]

    async def wait_for_drain(self) -> None:
        await self.drains.wait()

    async def release(self, uids: Sequence[str] | None) -> None:
        if uids is not None and self.failures:
            self.failures -= 1
            raise StoreError(self.url, "it does not answer")
        await super().release(uids)


class Gate:
    """A workflow with a step that ends when it is opened."""

    def __init__(self) -> None:
        self.opened = anyio.Event()
        self.began = 0

        @workflow(name="gate")
        async def program(ctx: Context) -> str:
            await ctx.step(self._work, name="work")
            return str(await ctx.wait_signal("go"))

        self.workflow = program

    async def _work(self) -> None:
        self.began += 1
        await self.opened.wait()


async def drained(kernel: Kernel, backend: SharedBackend) -> None:
    """Have a kernel drain, as somebody asks it to by the store, and return when it has."""
    backend.drains.set()
    with anyio.fail_after(20):
        await kernel.drain()


async def test_what_waits_is_handed_over_and_goes_on_elsewhere() -> None:
    """In memory or not: neither a token grows nor is anything recorded until another kernel takes it."""
    harness = Harness()
    backend = SharedBackend(harness.store)
    async with harness.kernel(waiting, backend=backend, max_resident=1) as kernel:
        for number in range(4):
            await kernel.start(waiting, run_id=f"r{number}")
            await until(kernel, f"r{number}", "step_waiting")
        before = [harness.types(f"r{number}") for number in range(4)]
        await drained(kernel, backend)
        owners = {harness.summary(f"r{number}").owner for number in range(4)}
        assert [harness.types(f"r{number}") for number in range(4)] == before
        async with harness.kernel(waiting, backend=SharedBackend(harness.store)) as heir:
            for number in range(4):
                await heir.signal(f"r{number}", "go", number)
            results = [await heir.result(f"r{number}") for number in range(4)]

    assert owners == {None}
    assert results == [0, 1, 2, 3]


async def test_a_body_ends_where_it_has_begun_and_its_run_is_handed_over_then() -> None:
    """The kernel has drained once the run waits, and not before."""
    harness = Harness()
    backend, gate = SharedBackend(harness.store), Gate()
    async with harness.kernel(gate.workflow, backend=backend) as kernel:
        await kernel.start(gate.workflow, run_id="r")
        await until(kernel, "r", "step_started")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drained, kernel, backend)
            await harness.clock.asleep(0.5)
            assert harness.summary("r").owner == kernel.id
            gate.opened.set()
            await until(kernel, "r", "step_waiting")
            await anyio.wait_all_tasks_blocked()
            harness.clock.advance(0.5)
        summary = harness.summary("r")

    assert (summary.owner, summary.status) == (None, RunStatus.WAITING)
    assert "step_interrupted" not in harness.types("r")
    assert gate.began == 1


async def test_what_is_started_while_it_drains_is_left_to_others() -> None:
    """The run is there, and nobody has it."""
    harness = Harness()
    backend = SharedBackend(harness.store)
    async with harness.kernel(waiting, backend=backend) as kernel:
        await drained(kernel, backend)
        handle = await kernel.start(waiting, run_id="r")
        again = await kernel.start(waiting, run_id="r")
        recovered = await kernel.recover()

    assert (handle.created, again.created, recovered) == (True, False, 0)
    assert harness.summary("r").owner is None
    assert harness.types("r") == ["run_created"]


async def test_a_release_that_fails_is_made_good() -> None:
    """No run stays with a kernel that does not run it."""
    harness = Harness()
    backend = SharedBackend(harness.store)
    async with harness.kernel(waiting, backend=backend) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.failures = 1
        await drained(kernel, backend)
        assert harness.summary("r").owner == kernel.id
        await harness.clock.asleep(1)
        harness.clock.advance(1)
        await settled(lambda: harness.summary("r").owner is None)

    assert backend.failures == 0


async def test_where_nobody_else_can_take_runs_nothing_drains() -> None:
    """The kernels of a store of one host refuse, and go on."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        with pytest.raises(StoreError, match="all of one host"):
            await kernel.drain()
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.signal("r", "go", 1)

        assert await kernel.result("r") == 1
