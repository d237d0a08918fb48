"""What a program reads once: `now`, `random` and `uuid`, the same on every replay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import anyio
import pytest

from flujo.kernel import Context, RunFailed, StepStatus, workflow
from flujo.kernel.errors import InvalidNameError, InvalidValueError, PayloadTooLargeError
from kernel.harness import Harness, crash, until

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


async def test_a_replay_reads_what_was_read_first() -> None:
    """Time goes on and randomness is drawn anew, and the program sees none of it."""
    harness = Harness()
    seen: list[list[Any]] = []

    @workflow()
    async def program(ctx: Context) -> None:
        seen.append([await ctx.now(), await ctx.random(), await ctx.uuid(), await ctx.now(), await ctx.random()])
        await ctx.wait_signal("go")
        seen[-1].append(await ctx.now())

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    harness.clock.advance(60)
    async with harness.kernel(program) as kernel:
        await kernel.signal("r", "go")
        await kernel.result("r")
        steps = (await kernel.inspect("r")).steps

    first, second = seen
    assert second == [*first, BEGIN + timedelta(seconds=60)]
    assert first[0] == first[3] == BEGIN
    assert first[1] != first[4]
    assert list(steps) == ["now", "random", "uuid", "now#2", "random#2", "go", "now#3"]
    assert {(step.kind, step.status) for step in steps.values() if step.name != "go"} == {
        (kind, StepStatus.COMPLETED) for kind in ("now", "random", "uuid")
    }


async def test_values_are_what_they_say() -> None:
    """A random number lies in [0, 1), a UUID is one of version 4, and both come from the kernel's own source."""

    @workflow()
    async def program(ctx: Context) -> list[Any]:
        return [await ctx.random(), str(await ctx.uuid())]

    highest = Harness().kernel(program, random=lambda count: b"\xff" * count)
    lowest = Harness().kernel(program, random=lambda count: b"\x00" * count)
    async with highest as kernel:
        high = await kernel.run(program)
    async with lowest as kernel:
        low = await kernel.run(program)

    assert 0.9999 < high[0] < 1
    assert low[0] == 0
    assert UUID(high[1]).version == UUID(low[1]).version == 4


async def test_concurrent_branches_read_values_of_their_own() -> None:
    """Each branch has keys of its own, so that no race decides what a replay reads."""

    @workflow()
    async def program(ctx: Context) -> list[Any]:
        return await ctx.gather(ctx.random(), ctx.random())

    async with Harness().kernel(program) as kernel:
        one, two = await kernel.run(program, run_id="r")
        steps = (await kernel.inspect("r")).steps

    assert one != two
    assert sorted(steps) == ["gather[0]/random", "gather[1]/random"]


async def test_a_resume_from_an_earlier_step_reads_anew() -> None:
    """What follows on the step is new, values included; what came before stays."""
    harness = Harness()

    async def body() -> None:
        pass

    @workflow()
    async def program(ctx: Context) -> list[str]:
        before = await ctx.now()
        await ctx.step(body)
        return [before.isoformat(), (await ctx.now()).isoformat()]

    async with harness.kernel(program) as kernel:
        first = await kernel.run(program, run_id="r")
        harness.clock.advance(60)
        second = await (await kernel.resume("r", from_step="body")).result()

    assert first == [BEGIN.isoformat()] * 2
    assert second == [BEGIN.isoformat(), (BEGIN + timedelta(seconds=60)).isoformat()]


async def test_values_are_not_read_in_a_body_or_a_foreign_task() -> None:
    """There a replay could not tell which one is meant, and the refusal says so."""

    @workflow()
    async def in_a_body(ctx: Context) -> None:
        await ctx.step(ctx.now, name="outer")

    @workflow()
    async def in_a_task(ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.random)

    async with Harness().kernel(in_a_body, in_a_task) as kernel:
        with pytest.raises(RunFailed, match="inside of another step's body"):
            await kernel.run(in_a_body)
        with pytest.raises(RunFailed) as failed:
            await kernel.run(in_a_task, run_id="r")
        state = await kernel.inspect("r")

    assert failed.value.type == "flujo.kernel.errors.UnsafeStepNameError"
    assert state.steps == {}


async def test_a_variable_has_a_name_and_a_value_that_can_be_recorded() -> None:
    """Others are refused before anything is recorded."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> None:
        for name in ("", "no name", "1", "x" * 91):
            with pytest.raises(InvalidNameError):
                await ctx.set_variable(name, 1)
            with pytest.raises(InvalidNameError):
                await ctx.variable(name)
        with pytest.raises(PayloadTooLargeError, match="the variable 'big'"):
            await ctx.set_variable("big", "x" * (1024 * 1024 + 1))
        await ctx.set_variable("x" * 90, None)

    async with harness.kernel(program) as kernel:
        await kernel.run(program, run_id="r")
        variables = (await kernel.inspect("r")).variables

    assert variables == {"x" * 90: None}
    assert harness.types("r").count("variable_set") == 1


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, {1: 2}, object()])
async def test_a_variable_that_is_no_json_is_refused(value: Any) -> None:
    """With the path of what is wrong with it."""

    @workflow()
    async def program(ctx: Context) -> None:
        with pytest.raises(InvalidValueError):
            await ctx.set_variable("mode", [value])

    async with Harness().kernel(program) as kernel:
        await kernel.run(program)
