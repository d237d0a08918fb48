"""What a run returns or raises to those who wait for it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flujo.kernel import (
    Context,
    Kernel,
    Observer,
    RunCancelled,
    RunFailed,
    RunInterrupted,
    RunNotFoundError,
    workflow,
)
from kernel.flows import Flaky, doubling, waiting
from kernel.harness import Harness


async def test_results_say_how_a_run_ended() -> None:
    """`result` returns the output, or raises RunFailed or RunCancelled; for an unknown id RunNotFoundError."""
    flaky = Flaky()

    async with Harness().kernel(doubling, flaky.workflow, waiting) as kernel:
        assert await kernel.run(doubling, {"number": 4}) == 8
        with pytest.raises(RunFailed) as failed:
            await kernel.run(flaky.workflow)
        handle = await kernel.start(waiting)
        await handle.cancel("changed my mind")
        with pytest.raises(RunCancelled, match="changed my mind"):
            await handle.result()
        with pytest.raises(RunNotFoundError):
            await kernel.result("nobody")

    assert (failed.value.step, failed.value.type, failed.value.error) == ("middle", "ValueError", "broken")


async def test_an_interrupted_run_has_no_result() -> None:
    """Who waits for a run that nobody runs is told so."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")

    async with harness.backend() as backend:
        with pytest.raises(RunInterrupted):
            await Observer(backend).result("r")


@pytest.mark.parametrize("call", ["result", "wait"])
@pytest.mark.parametrize("in_step", [True, False], ids=["step", "program"])
async def test_a_run_that_waits_for_its_own_end_is_told_so(call: str, in_step: bool) -> None:
    """It would wait for ever, and `explain` would say that it is at work."""
    opened: list[Kernel] = []

    @workflow()
    async def program(ctx: Context) -> Any:
        async def wait() -> None:
            await getattr(opened[0], call)(ctx.run_id)

        await (ctx.step(wait) if in_step else wait())

    async with Harness().kernel(program) as kernel:
        opened.append(kernel)
        with (
            anyio.fail_after(30),
            pytest.raises(RunFailed, match="waiting for run 'r' never ends: it is the run itself"),
        ):
            await kernel.run(program, run_id="r")


async def test_what_a_step_starts_may_be_waited_for_there() -> None:
    """Another run, or one that another body waits for."""
    opened: list[Kernel] = []

    @workflow()
    async def program(ctx: Context) -> Any:
        async def other() -> Any:
            return await opened[0].run(doubling, {"number": 2})

        return await ctx.step(other)

    async with Harness().kernel(program, doubling) as kernel:
        opened.append(kernel)
        assert await kernel.run(program) == 4
