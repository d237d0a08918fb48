"""`resume(from_step=…)` of programs whose steps nobody knows beforehand: what runs again, in which generation, and
under which idempotency key. Sequences, graphs and jumps are in tests/workflows."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import Context, RetryPolicy, StepFailed, Workflow, current_attempt, step, workflow
from kernel.harness import Harness, JumpingClock

keys: list[str] = []
"""The idempotency keys of the attempts of one test, in the order they began."""


@pytest.fixture(autouse=True)
def fresh() -> None:
    keys.clear()


@step
async def visit(number: int = 0) -> int:
    """Note that it ran."""
    keys.append(current_attempt().idempotency_key)
    return number


@step(retry=RetryPolicy(max_attempts=2, delay=1, jitter=0))
async def shaky() -> None:
    """Fails twice, which its program handles."""
    keys.append(current_attempt().idempotency_key)
    raise ConnectionError("no route")


@workflow()
async def loop(ctx: Context) -> None:
    """The same step, four times."""
    for number in range(4):
        await ctx.step(visit, number)
    await ctx.step(visit, name="last")


@workflow()
async def mapped(ctx: Context) -> None:
    """A map between two steps, one item at a time."""
    await ctx.step(visit, name="first")
    await ctx.map(visit, [1, 2, 3], limit=1)
    await ctx.step(visit, name="last")


@workflow()
async def handled(ctx: Context) -> None:
    """A failure that the program handles."""
    await ctx.step(visit, name="first")
    try:
        await ctx.step(shaky)
    except StepFailed:
        await ctx.step(visit, name="instead")
    await ctx.step(visit, name="last")


@pytest.mark.parametrize(
    ("program", "from_step", "again"),
    [
        (loop, "visit", ["visit", "visit#2", "visit#3", "visit#4", "last"]),
        (loop, "visit#3", ["visit#3", "visit#4", "last"]),
        (loop, "last", ["last"]),
        (mapped, "first", ["first", "visit[0]", "visit[1]", "visit[2]", "last"]),
        (mapped, "visit", ["visit[0]", "visit[1]", "visit[2]", "last"]),
        (mapped, "visit[1]", ["visit[1]", "visit[2]", "last"]),
        (mapped, "last", ["last"]),
        (handled, "first", ["first", "shaky", "shaky", "instead", "last"]),
        (handled, "shaky", ["shaky", "shaky", "instead", "last"]),
        (handled, "instead", ["instead", "last"]),
        (handled, "last", ["last"]),
    ],
)
async def test_what_runs_again(program: Workflow, from_step: str, again: list[str]) -> None:
    """That step and all that began later, in a second generation; the rest keeps its outcome, also a failure."""
    harness = Harness(JumpingClock())
    async with harness.kernel(program) as kernel:
        await kernel.run(program, run_id="r")
        before = list(keys)
        keys.clear()
        await (await kernel.resume("r", from_step=from_step)).result()
        state = await kernel.inspect("r")

    assert all(key.endswith("@1") for key in before)
    assert keys == [f"r/{name}@2" for name in again]
    assert {step.name: step.generation for step in state.steps.values()} == {
        step.name: 2 if step.name in again else 1 for step in state.steps.values()
    }


async def test_a_plain_resume_keeps_the_generation_of_what_it_keeps() -> None:
    """Only the step whose failure ended the run gets another generation, and with it another idempotency key."""
    failing = [True]

    @step
    async def last() -> None:
        keys.append(current_attempt().idempotency_key)
        if failing.pop() if failing else False:
            raise ValueError("as told")

    @workflow()
    async def ending(ctx: Context) -> Any:
        await ctx.step(visit)
        try:
            await ctx.step(shaky)
        except StepFailed:
            pass
        return await ctx.step(last)

    harness = Harness(JumpingClock())
    async with harness.kernel(ending) as kernel:
        await kernel.start(ending, run_id="r")
        assert (await kernel.wait("r")).status == "failed"
        await (await kernel.resume("r")).result()

    assert keys == ["r/visit@1", "r/shaky@1", "r/shaky@1", "r/last@1", "r/last@2"]
