"""No run can end its kernel: whatever a program, a step or a child raises becomes that run's failure, and only that."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from flujo.kernel import Context, RetryPolicy, RunFailed, current_attempt, workflow
from kernel.awkward import makers
from kernel.harness import Harness, JumpingClock


async def leave_a_scope_open() -> None:
    anyio.CancelScope().__enter__()


@pytest.mark.parametrize("make", list(makers()))
@pytest.mark.parametrize("place", ["program", "step", "thread", "branch", "child"])
async def test_whatever_a_run_raises_it_fails_and_its_neighbour_goes_on(
    place: str, make: Callable[[], BaseException]
) -> None:
    """The run fails with what can be said of its error; the kernel lives, and so does the next one on that store."""
    harness = Harness(JumpingClock())

    async def in_body() -> None:
        raise make()

    def in_thread() -> None:
        raise make()

    @workflow()
    async def child(ctx: Context) -> None:
        raise make()

    @workflow()
    async def awkward(ctx: Context) -> None:
        match place:
            case "program":
                raise make()
            case "step":
                await ctx.step(in_body, name="it")
            case "thread":
                await ctx.step(in_thread, name="it")
            case "branch":
                await ctx.gather(a=in_body())
            case "child":
                await ctx.run_child(child)

    @workflow()
    async def sound(ctx: Context) -> str:
        await ctx.wait_signal("go")
        return "went"

    async with harness.kernel(awkward, sound, child) as kernel:
        await kernel.start(sound, run_id="sound")
        with pytest.raises(RunFailed) as failed:
            await kernel.run(awkward, run_id="awkward")
        assert failed.value.type
        assert failed.value.error
        await kernel.signal("sound", "go")
        assert await (await kernel.start(sound, run_id="sound")).result() == "went"
    async with harness.kernel(awkward, sound, child) as kernel:
        assert (await kernel.inspect("awkward")).status == "failed"


@pytest.mark.parametrize("make", list(makers()))
async def test_a_rule_tries_an_awkward_error_again(make: Callable[[], BaseException]) -> None:
    """The attempts are the body's own, and none is failed by how its error is described."""
    attempts = []

    async def body() -> None:
        attempts.append(current_attempt().attempt)
        raise make()

    @workflow()
    async def awkward(ctx: Context) -> None:
        await ctx.step(body, name="it", retry=RetryPolicy(max_attempts=2, delay=0))

    async with Harness(JumpingClock()).kernel(awkward) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(awkward, run_id="r")
        step = (await kernel.inspect("r")).steps["it"]

    assert attempts == [1, 2]
    assert (step.status, step.failures) == ("failed", 2)


async def test_a_cancel_scope_that_a_program_leaves_open_fails_that_run_only() -> None:
    """The event loop notices it when the program ends; the run fails, and the kernel goes on."""
    harness = Harness(JumpingClock())

    @workflow()
    async def careless(ctx: Context) -> str:
        await leave_a_scope_open()
        return "returned"

    @workflow()
    async def sound(ctx: Context) -> str:
        await ctx.sleep(5)
        return "slept"

    async with harness.kernel(careless, sound) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(careless, run_id="careless")
        assert await kernel.run(sound, run_id="sound") == "slept"
