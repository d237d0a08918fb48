"""A Python program that was edited between two lives of a run: only what it has completed binds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flujo.kernel import Context, RunStatus, StateIncompatibilityError, Why, Workflow, step, workflow
from kernel.harness import Harness, crash, until

Program = Callable[[Context], Awaitable[Any]]

calls: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_has_been_called() -> None:
    calls.clear()


@step
async def note(name: str) -> str:
    calls.append(name)
    return name


def named(program: Program) -> Workflow:
    """The program as the workflow `flow`, whatever it does."""

    @workflow(name="flow")
    async def flow(ctx: Context) -> Any:
        return await program(ctx)

    return flow


async def original(ctx: Context) -> str:
    first = await ctx.step(note, "1", name="first")
    second = await ctx.step(note, "2", name="second")
    await ctx.wait_signal("go")
    return first + second


async def after_the_crash(changed: Program, *, signal: bool = True) -> Any:
    """The result of a run of `original` that crashed at its wait and goes on as `changed`."""
    harness = Harness()
    before, after = named(original), named(changed)
    async with harness.kernel(before) as kernel:
        await kernel.start(before, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(after) as kernel:
        if signal:
            await kernel.signal("r", "go")
        return await kernel.result("r")


async def test_what_comes_after_the_completed_steps_may_change() -> None:
    """New steps behind the last completed one, other code between steps, another result."""

    async def changed(ctx: Context) -> str:
        first = await ctx.step(note, "1", name="first")
        second = await ctx.step(note, "2", name="second")
        await ctx.wait_signal("go")
        third = await ctx.step(note, "3", name="third")
        return f"{first}-{second}-{third}"

    assert await after_the_crash(changed) == "1-2-3"
    assert calls == ["1", "2", "3"]


async def removed(ctx: Context) -> str:
    second = await ctx.step(note, "2", name="second")
    await ctx.wait_signal("go")
    return second


async def renamed(ctx: Context) -> str:
    first = await ctx.step(note, "1", name="erste")
    second = await ctx.step(note, "2", name="second")
    await ctx.wait_signal("go")
    return first + second


async def inserted(ctx: Context) -> str:
    await ctx.step(note, "0", name="zeroth")
    return await original(ctx)


async def returns_at_once(ctx: Context) -> str:
    return "nothing"


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        pytest.param(removed, {("first", "removed")}, id="removed"),
        pytest.param(renamed, {("erste", "inserted"), ("first", "removed"), ("second", "removed")}, id="renamed"),
        pytest.param(inserted, {("zeroth", "inserted"), ("first", "removed"), ("second", "removed")}, id="inserted"),
        pytest.param(returns_at_once, {("first", "removed"), ("second", "removed")}, id="returns at once"),
    ],
)
async def test_a_program_that_contradicts_what_it_completed_is_paused(
    changed: Program, found: set[tuple[str, str]]
) -> None:
    """Nothing new is run and nothing recorded is lost: the differences are named, with every remedy."""
    with pytest.raises(StateIncompatibilityError) as incompatible:
        await after_the_crash(changed)

    assert {(each.step, each.change) for each in incompatible.value.differences} == found
    assert calls == ["1", "2"]


async def test_a_paused_program_says_why_and_goes_on_as_it_was() -> None:
    """explain points to the change; with the old program the run goes on as if nothing had been."""
    harness = Harness()
    before, after = named(original), named(removed)
    async with harness.kernel(before) as kernel:
        await kernel.start(before, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(after) as kernel:
        await kernel.signal("r", "go")
        assert (await kernel.wait("r")).status is RunStatus.PAUSED
        explained = await kernel.explain("r")
        assert explained.reasons[0].why is Why.PAUSED
        assert "its program has changed" in explained.reasons[0].text

    async with harness.kernel(before) as kernel:
        await kernel.resume("r")
        assert await kernel.result("r") == "12"
    assert calls == ["1", "2"]


async def test_accepted_changes_are_accepted_for_good() -> None:
    """A resume with `accept_changes` lets the program leave out what it has completed, also after another crash."""
    harness = Harness()
    before, after = named(original), named(removed)
    async with harness.kernel(before) as kernel:
        await kernel.start(before, run_id="r")
        await until(kernel, "r", "step_waiting")
    async with harness.kernel(after, recover=False) as kernel:
        await kernel.resume("r", accept_changes=True)
        await until(kernel, "r", "run_resumed")
        crash(kernel)
    async with harness.kernel(after) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == "2"


async def test_a_program_that_decides_by_what_it_recorded_takes_the_same_path() -> None:
    """Branches, maps and values read once are no change: a replay asks for all of them again, and gets what was
    recorded although its kernel would draw another number."""
    harness = Harness()

    @workflow(name="flow")
    async def flow(ctx: Context) -> Any:
        side = "left" if await ctx.random() < 0.5 else "right"
        await ctx.gather(a=ctx.step(note, side), b=ctx.step(note, "b"))
        await ctx.map(note, ["x", "y", "z"], limit=2, name="mapped")
        await ctx.wait_signal("go")
        return side

    async with harness.kernel(flow, random=lambda count: b"\x00" * count) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    done = len(calls)
    async with harness.kernel(flow, random=lambda count: b"\xff" * count) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == "left"
    assert len(calls) == done == 5
