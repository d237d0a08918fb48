"""A run in the hands of its owner: how its program ends, and what a program can do about being ended."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from flujo.kernel import Context, RunFailed, workflow
from kernel.flows import doubling
from kernel.harness import Counter, Harness, until


async def test_a_program_that_raises_fails_its_run() -> None:
    """An error of the program itself, not of a step, is the run's error; a failed step it comes from is named."""

    @workflow()
    async def raises(ctx: Context) -> None:
        raise LookupError("in the program")

    async with Harness().kernel(raises) as kernel:
        with pytest.raises(RunFailed) as failed:
            await kernel.run(raises)

    assert (failed.value.type, failed.value.error, failed.value.step) == ("LookupError", "in the program", None)


@pytest.mark.parametrize("kind", ["step", "sleep", "signal"])
async def test_a_program_that_shields_its_cleanup_does_not_hold_up_the_close(kind: str) -> None:
    """What a program begins in a shielded scope, while its kernel closes, does not run and does not hang."""
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> None:
        try:
            await ctx.step(anyio.sleep_forever, name="endless")
        finally:
            with anyio.CancelScope(shield=True):
                match kind:
                    case "step":
                        await ctx.step(counter.body("cleanup"), name="cleanup")
                    case "sleep":
                        await ctx.sleep("1h")
                    case _:
                        await ctx.wait_signal("never")

    harness = Harness()
    with anyio.fail_after(30):
        async with harness.kernel(program) as kernel:
            await kernel.start(program, run_id="r")
            await until(kernel, "r", "step_started")

    assert counter.calls == []
    assert harness.types("r")[-1] == "step_interrupted"
    assert harness.summary("r").status == "running"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_program_that_cancels_its_own_task_fails_alone(anyio_backend: str) -> None:
    """Task.cancel() on one run's task is that run's failure: its kernel and the other runs go on."""

    @workflow()
    async def program(ctx: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.sleep_forever()

    async with Harness().kernel(program) as kernel:
        with anyio.fail_after(30), pytest.raises(RunFailed, match="CancelledError"):
            await kernel.run(program)
        assert await kernel.run(doubling) == 2


async def test_a_run_that_takes_too_long_fails() -> None:
    """A workflow's timeout is wall time since the start; a resume gives the run its full time again."""
    harness = Harness()

    @workflow(timeout="1h")
    async def program(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    async with harness.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        await harness.clock.asleep(3600)
        harness.clock.advance(3600)
        with pytest.raises(RunFailed, match="TimeoutError"):
            await handle.result()
        again = await kernel.resume("r")
        await until(kernel, "r", "step_waiting", count=2)
        harness.clock.advance(3599)
        await again.signal("go", "in time")

        assert await again.result() == "in time"
