"""Clean-ups of a program: after a cancel and when its time is over, recorded like all else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from flujo.kernel import Context, Kernel, RunStatus, Workflow, workflow
from flujo.kernel.errors import DeclarationError
from flujo.kernel.events import CleanUpStarted, Event
from kernel.harness import Harness, ManualClock, crash, settled, until


class Building:
    """A workflow that builds and then never ends, and whose clean-up is given."""

    def __init__(self, clean_up: Callable[[Building, Context], Awaitable[None]] | None = None) -> None:
        self.harness = Harness(ManualClock())
        self.did: list[str] = []
        self.held = {"rest"}
        chosen = clean_up or Building.remove

        async def tidy(ctx: Context, place: str) -> None:
            self.did.append(f"clean-up of {place}: {ctx.ending}")
            await chosen(self, ctx)

        @workflow(name="building", timeout="1h", clean_up=tidy, clean_up_timeout="30s")
        async def building(ctx: Context, place: str = "here") -> str:
            try:
                await ctx.step(self.step("build"), name="build")
                await ctx.step(self.step("rest"), name="rest")
            except BaseException:
                self.did.append("left")
                raise
            return "done"

        self.workflow: Workflow[str] = building

    def step(self, name: str) -> Callable[[], Awaitable[str]]:
        """A body that notes that it ran, and returns its name unless it is held."""

        async def body() -> str:
            self.did.append(name)
            if name in self.held:
                await anyio.sleep_forever()
            return name

        return body

    async def remove(self, ctx: Context) -> None:
        """Take away what was built."""
        assert await ctx.step(self.step("build"), name="build") == "build"  # handed out, not done again
        for name in ("first", "second"):
            await ctx.step(self.step(name), name=name)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Kernel]:
        """A kernel in which the run has come to the step that does not end."""
        async with self.harness.kernel(self.workflow) as kernel:
            await kernel.start(self.workflow, {"place": "there"}, run_id="r")
            await settled(lambda: "rest" in self.did)
            yield kernel

    async def stop(self, kernel: Kernel, how: str) -> None:
        """Cancel the run, or let its time go by."""
        if how == "cancelled":
            await kernel.cancel("r")
        else:
            self.harness.clock.advance(3600)

    def begun(self) -> list[CleanUpStarted]:
        """What the journal says of clean-ups."""
        journal: list[Event] = self.harness.journal("r")
        return [event.fact for event in journal if isinstance(event.fact, CleanUpStarted)]


stops = pytest.mark.parametrize(
    ("how", "status"), [("cancelled", RunStatus.CANCELLED), ("timeout", RunStatus.FAILED)], ids=["cancel", "timeout"]
)


@stops
async def test_a_program_that_was_stopped_is_followed_by_its_clean_up(how: str, status: RunStatus) -> None:
    """With its inputs, once it has been left, and told why; the run ends as it would have."""
    building = Building()
    async with building.at_work() as kernel:
        await building.stop(kernel, how)
        state = await kernel.wait("r")

    assert building.did == ["build", "rest", "left", f"clean-up of there: {how}", "first", "second"]
    assert state.status is status
    assert building.begun() == [CleanUpStarted(how, ["rest"])]
    if how == "timeout":
        assert state.error is not None
        assert (state.error.type, list(state.failed_steps)) == ("TimeoutError", ["rest"])


async def test_a_program_that_ends_by_itself_cleans_up_by_itself() -> None:
    """It has `finally` for that."""
    building = Building()
    building.held.clear()
    async with building.harness.kernel(building.workflow) as kernel:
        assert await kernel.run(building.workflow, run_id="r") == "done"

    assert building.begun() == []


@stops
async def test_after_a_crash_the_clean_up_goes_on(how: str, status: RunStatus) -> None:
    """What it has done is handed out to it, and why it runs is recorded."""
    building = Building()
    building.held.add("second")
    async with building.at_work() as kernel:
        await building.stop(kernel, how)
        await settled(lambda: "second" in building.did)
        crash(kernel)
    building.held.clear()
    building.did.clear()

    async with building.harness.kernel(building.workflow) as kernel:
        state = await kernel.wait("r")

    assert building.did == [f"clean-up of there: {how}", "second"]
    assert state.status is status
    assert len(building.begun()) == 1


async def test_a_clean_up_that_kills_its_owners_is_given_up() -> None:
    """The run ends then, instead of pausing: somebody wants it to be over."""
    building = Building()
    building.held.add("first")
    async with building.at_work() as kernel:
        await kernel.cancel("r")
        await settled(lambda: "first" in building.did)
        crash(kernel)
    for _ in range(2):
        building.did.clear()
        async with building.harness.kernel(building.workflow) as kernel:
            await settled(lambda: "first" in building.did)
            crash(kernel)

    async with building.harness.kernel(building.workflow) as kernel:
        assert (await kernel.wait("r")).status is RunStatus.CANCELLED


async def test_a_kernel_that_is_closed_leaves_the_rest_to_the_next() -> None:
    """Which counts against nothing, and has the whole time again."""
    building = Building()
    building.held.add("second")
    async with building.at_work() as kernel:
        await kernel.cancel("r")
        await settled(lambda: "second" in building.did)
        building.harness.clock.advance(29)
    building.did.clear()

    async with building.harness.kernel(building.workflow) as kernel:
        await settled(lambda: "second" in building.did)
        building.harness.clock.advance(29)
        assert (await kernel.inspect("r")).status is RunStatus.RUNNING
        building.harness.clock.advance(1)
        assert (await kernel.wait("r")).status is RunStatus.CANCELLED


@stops
async def test_after_a_resume_the_clean_up_runs_anew_when_it_is_due(how: str, status: RunStatus) -> None:
    """What it did then is no part of what the program has completed."""
    building = Building()
    async with building.at_work() as kernel:
        await building.stop(kernel, how)
        await kernel.wait("r")
        building.did.clear()
        await kernel.resume("r")
        await settled(lambda: "rest" in building.did)
        await building.stop(kernel, how)
        assert (await kernel.wait("r")).status is status
        assert building.did == ["rest", "left", f"clean-up of there: {how}", "first", "second"]
        building.held.clear()
        await kernel.resume("r")
        assert (await kernel.wait("r")).status is RunStatus.COMPLETED


async def test_a_step_that_was_cut_short_may_be_done_again() -> None:
    """In a new generation."""

    async def again(building: Building, ctx: Context) -> None:
        building.held.clear()
        assert await ctx.step(building.step("rest"), name="rest") == "rest"

    building = Building(again)
    async with building.at_work() as kernel:
        await kernel.cancel("r")
        state = await kernel.wait("r")

    assert (state.steps["rest"].generation, state.steps["rest"].status) == (2, "completed")


async def test_a_clean_up_that_fails_changes_nothing_about_the_end() -> None:
    """What has failed of it is recorded with its steps."""

    async def fail(building: Building, ctx: Context) -> None:
        await ctx.step(building.step("first"), name="first")
        raise ValueError("not like this")

    building = Building(fail)
    async with building.at_work() as kernel:
        await kernel.cancel("r", "enough")
        state = await kernel.wait("r")

    assert (state.status, state.cancel_reason, state.error) == (RunStatus.CANCELLED, "enough", None)
    assert state.steps["first"].status == "completed"


async def test_a_clean_up_may_wait_for_time_and_signals() -> None:
    """As any program does."""

    async def wait(building: Building, ctx: Context) -> None:
        await ctx.sleep("5s")
        await ctx.wait_signal("go")

    building = Building(wait)
    async with building.at_work() as kernel:
        await kernel.cancel("r")
        await building.harness.clock.asleep(5)
        building.harness.clock.advance(5)
        await until(kernel, "r", "step_waiting", "go")
        await kernel.signal("r", "go")
        state = await kernel.wait("r")

    assert (state.status, state.steps["go"].status) == (RunStatus.CANCELLED, "completed")


async def test_a_child_that_was_cut_short_is_cancelled_and_cleans_up() -> None:
    """Cancel goes down to it, and it ends as every cancelled run does."""
    child = Building()

    @workflow(name="parent")
    async def parent(ctx: Context) -> None:
        await ctx.run_child(child.workflow, {"place": "below"}, name="child")

    async with child.harness.kernel(parent, child.workflow) as kernel:
        await kernel.start(parent, run_id="r")
        await settled(lambda: "rest" in child.did)
        await kernel.cancel("r")
        assert (await kernel.wait("r")).status is RunStatus.CANCELLED
        assert (await kernel.wait("r.child")).status is RunStatus.CANCELLED

    assert child.did[-3:] == ["clean-up of below: cancelled", "first", "second"]


async def test_a_run_that_is_deleted_by_force_cleans_up_first() -> None:
    """What it has left lies outside of the store."""
    building = Building()
    async with building.at_work() as kernel:
        await kernel.delete("r", force=True)

    assert building.did[-2:] == ["first", "second"]


def test_a_clean_up_is_an_async_function() -> None:
    """As the workflow itself."""

    async def program(ctx: Context) -> None:
        pass

    def tidy(ctx: Context) -> None:
        pass

    with pytest.raises(DeclarationError, match="the clean-up of workflow 'w' must be an async def"):
        workflow(name="w", clean_up=tidy)(program)  # type: ignore[arg-type]
