"""A kernel as a context: what closes it, in which order, and what it says when it is not open."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from flujo.kernel import Context, Observer, RunStatus, workflow
from flujo.kernel.errors import KernelClosedError
from kernel.flows import doubling, stuck
from kernel.harness import Harness, until


async def test_a_kernel_that_is_not_open_says_so() -> None:
    """Starting on a kernel outside of `async with` is an error, not a wait."""
    kernel = Harness().kernel(doubling)

    with pytest.raises(KernelClosedError):
        await kernel.start(doubling)
    async with kernel:
        pass
    with pytest.raises(KernelClosedError):
        await kernel.start(doubling)


async def test_an_orderly_close_counts_against_nothing() -> None:
    """Leaving the kernel records running attempts as interrupted, uncounted, and gives the run up."""
    harness = Harness()

    for _ in range(5):
        async with harness.kernel(stuck) as kernel:
            await kernel.start(stuck, run_id="r")
            await anyio.wait_all_tasks_blocked()
        state = await _inspect(harness, "r")
        assert state.steps["endless"].interrupted
        assert harness.summary("r").owner is None

    assert (state.status, state.steps["endless"].interruptions) == (RunStatus.RUNNING, 0)


async def _inspect(harness: Harness, run_id: str) -> Any:
    async with harness.backend() as backend:
        return await Observer(backend).inspect(run_id)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyError("mine"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("recover", [True, False])
async def test_an_error_inside_the_kernels_block_comes_out_as_itself(error: BaseException, recover: bool) -> None:
    """What is raised in `async with Kernel` leaves it unchanged, in no group, and the store is closed."""
    harness = Harness()
    caught: BaseException | None = None

    try:
        async with harness.kernel(stuck, recover=recover) as kernel:
            if recover:
                await kernel.start(stuck)
            raise error
    except BaseException as raised:
        caught = raised

    assert caught is error
    assert harness.store.alive == set()


async def test_leaving_at_once_is_fine() -> None:
    """A kernel that is opened and left without anything in between opens and closes its store."""
    harness = Harness()

    async with harness.kernel(recover=False):
        pass

    assert harness.store.created
    assert harness.store.alive == set()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_second_cancellation_of_the_block_does_not_hang_the_close(anyio_backend: str) -> None:
    """Task.cancel() knows no shield; a close that it hits goes on to its end all the same."""
    harness = Harness()
    tidying = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            tidying.set()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(slow)

    async def block() -> None:
        async with harness.kernel(program) as kernel:
            await kernel.start(program, run_id="r")
            await until(kernel, "r", "step_started")
            await kernel.result("r")

    task = asyncio.create_task(block())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    await tidying.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=60)

    assert done
    assert harness.types("r")[-1] == "step_interrupted"
    assert harness.summary("r").owner is None


async def test_cancelling_the_block_closes_in_good_order() -> None:
    """A kernel whose surrounding scope is cancelled records what was running, and lets the cancellation through."""
    harness = Harness()

    with anyio.CancelScope() as scope:
        async with harness.kernel(stuck) as kernel:
            await kernel.start(stuck, run_id="r")
            await until(kernel, "r", "step_started")
            scope.cancel()
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert harness.types("r")[-1] == "step_interrupted"
    assert harness.summary("r").owner is None
