"""Kernels that are opened in one task and closed in another, as fixtures, applications and notebooks do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from flujo.backends import open_backend
from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.errors import KernelClosedError, StoreError, WrongEventLoopError
from kernel.flows import doubling, stuck, waiting
from kernel.harness import Harness, recorded, until
from kernel.test_lifetimes import in_another_task


async def test_a_kernel_outlives_the_task_that_opens_it() -> None:
    """Runs of one task go on in the next, until a third one closes it."""
    harness = Harness()
    kernel = harness.kernel(waiting)

    async def start() -> None:
        await kernel.open()
        await kernel.start(waiting, run_id="r")

    async def go_on() -> None:
        await until(kernel, "r", "step_waiting")
        await kernel.signal("r", "go", 7)
        assert await kernel.result("r") == 7

    await in_another_task(start)
    await in_another_task(go_on)
    await in_another_task(kernel.close)

    assert harness.store.alive == set()


async def _provided(harness: Harness, way: str) -> AsyncGenerator[Kernel, None]:
    """A fixture, written in either way."""
    kernel = harness.kernel(stuck)
    if way == "async with":
        async with kernel:
            yield kernel
    else:
        await kernel.open()
        yield kernel
        await kernel.close()


@pytest.mark.parametrize("way", ["async with", "open and close"])
async def test_a_generator_fixture_may_be_resumed_in_another_task(way: str) -> None:
    """As pytest-asyncio does: each half runs in a task of its own, and the test in a third one."""
    harness = Harness()
    fixture = _provided(harness, way)
    kernels: list[Kernel] = []

    async def set_up() -> None:
        kernels.append(await anext(fixture))

    async def test() -> None:
        await kernels[0].start(stuck, run_id="r")
        await until(kernels[0], "r", "step_started")

    async def tear_down() -> None:
        assert await anext(fixture, None) is None

    for half in (set_up, test, tear_down):
        await in_another_task(half)

    assert harness.types("r")[-1] == "step_interrupted"
    assert harness.summary("r").owner is None


async def test_a_second_entry_shares_the_kernel() -> None:
    """It changes nothing, and leaving it neither; the last one out closes the kernel."""
    harness = Harness()

    async with harness.kernel(doubling) as kernel:
        async with kernel as same:
            assert same is kernel
            assert await kernel.run(doubling, {"number": 2}) == 4
        await kernel.open()
        assert await kernel.run(doubling, {"number": 3}) == 6

    assert harness.store.alive == set()
    with pytest.raises(KernelClosedError):
        await kernel.run(doubling, {"number": 3})


async def test_a_kernel_may_be_opened_again() -> None:
    """It recovers what it has left; a notebook does that."""
    harness = Harness()
    kernel = harness.kernel(waiting)
    async with kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")

    async with kernel:
        await kernel.signal("r", "go", 7)
        assert await kernel.result("r") == 7


@pytest.mark.parametrize("url", ["memory:", "sqlite:{}/state.db", "file:{}/runs"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_store_may_be_opened_again(tmp_path: Path, url: str) -> None:
    """With the same handle; a store in memory has forgotten nothing either."""
    kernel = Kernel(open_backend(url.format(tmp_path)), [doubling])

    for number in (1, 2):
        async with kernel:
            await kernel.run(doubling, {"number": number}, run_id=f"r-{number}")
            assert await kernel.count() == number


@pytest.mark.parametrize("url", ["memory:", "sqlite:{}/state.db", "file:{}/runs"])
def test_a_kernel_may_be_opened_again_in_another_event_loop(tmp_path: Path, url: str) -> None:
    """As by each of several calls of `asyncio.run`; nothing in it waits for the loop that is gone."""
    kernel = Kernel(open_backend(url.format(tmp_path)), [doubling, waiting])

    async def wait() -> None:
        async with kernel:
            await kernel.start(waiting, run_id="r")
            await until(kernel, "r", "step_waiting")

    async def go_on() -> int:
        async with kernel:
            await kernel.signal("r", "go", 7)
            assert await kernel.run(doubling, {"number": 2}) == 4
            result: int = await kernel.result("r")
            return result

    asyncio.run(wait())
    assert asyncio.run(go_on()) == 7


async def test_a_run_that_closes_its_kernel_does_not_wait_for_itself() -> None:
    """The kernel closes, and the run goes on with the next one."""
    harness = Harness()
    kernels: list[Kernel] = []

    async def close() -> int:
        if len(kernels) == 1:
            await kernels[0].close()
            await anyio.sleep_forever()
        return 1

    @workflow()
    async def closing(ctx: Context) -> int:
        return await ctx.step(close)

    kernels.append(harness.kernel(closing))
    await kernels[0].open()
    await kernels[0].start(closing, run_id="r")
    await recorded(harness, "r", "step_interrupted")
    await kernels[0].close()

    kernels.append(harness.kernel(closing))
    async with kernels[1]:
        assert await kernels[1].result("r") == 1


async def test_waits_end_when_another_task_closes_the_kernel() -> None:
    """Nobody waits for ever for a run that nobody drives any more."""
    kernel = Harness().kernel(waiting)
    await kernel.open()
    await kernel.start(waiting, run_id="r")
    failures: list[str] = []

    async def wait(call: Callable[[], Awaitable[Any]]) -> None:
        try:
            await call()
        except Exception as error:
            failures.append(type(error).__name__)

    async def watch() -> None:
        async for _ in kernel.watch("r"):
            pass

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for call in (lambda: kernel.result("r"), lambda: kernel.wait("r"), watch):
                group.start_soon(wait, call)
            await until(kernel, "r", "step_waiting")
            group.start_soon(kernel.close)

    assert len(failures) == 3


class UnreadableBackend(InMemoryBackend):
    """Gives out no runs while it is broken."""

    broken = True

    async def claim_idle(self, *arguments: Any, **options: Any) -> Any:
        if self.broken:
            raise StoreError(self.url, "the disk is on fire")
        return await super().claim_idle(*arguments, **options)


async def test_a_kernel_whose_store_fails_while_it_opens_may_be_opened_later() -> None:
    """The error comes out of `open` as itself, and nothing of the kernel is left."""
    harness = Harness()
    backend = UnreadableBackend(harness.store)
    kernel = harness.kernel(doubling, backend=backend)

    for enter in (kernel.open, kernel.__aenter__):
        with pytest.raises(StoreError, match="on fire"):
            await enter()
        assert harness.store.alive == set()
    backend.broken = False
    async with kernel:
        assert await kernel.run(doubling, {"number": 2}) == 4


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_kernel_that_is_open_in_another_loop_is_not_opened_here() -> None:
    """Nor closed; the loop that has opened it still can."""
    kernel = Harness().kernel(doubling)
    await kernel.open()

    async def elsewhere(name: str) -> None:
        await getattr(kernel, name)()

    for name in ("open", "close", "__aenter__"):
        with pytest.raises(WrongEventLoopError):
            await to_thread.run_sync(lambda name: asyncio.run(elsewhere(name)), name)
    assert await kernel.run(doubling, {"number": 2}) == 4
    await kernel.close()


SCRIPT = """
import os, sys
import anyio
from flujo.backends import open_backend
from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Kernel, workflow

@workflow()
async def adding(ctx: Context, a: int) -> int:
    return a + 1

kernel = Kernel(open_backend(sys.argv[1]), [adding])

async def live(number):
    async with kernel:
        found = await kernel.run(adding, {"a": number})
        os.write(1, f"{found} {kernel.id.split('-')[-2] == str(os.getpid())}\\n".encode())

children = []
for number in (1, 2):
    child = os.fork()
    if child == 0:
        anyio.run(live, number)
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
anyio.run(live, 3)
"""


@pytest.mark.parametrize("url", ["sqlite:{}/state.db", "file:{}/runs"])
def test_a_kernel_that_is_made_before_a_fork_opens_in_each_child(tmp_path: Path, url: str) -> None:
    """As a server does that loads its application first: each process is an owner of its own."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, url.format(tmp_path)], capture_output=True, text=True, env=dict(os.environ)
    )

    assert (found.returncode, found.stderr) == (0, "")
    assert sorted(found.stdout.splitlines()) == ["2 True", "3 True", "4 True"]
