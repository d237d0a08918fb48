"""Cancelling: bodies are stopped and clean up, wherever the run is and whatever crashes meanwhile."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flujo.kernel import CancelOutcome, Context, RunCancelled, RunStatus, StepStatus, workflow
from kernel.flows import stuck, waiting
from kernel.harness import Harness, crash, recorded, until


async def test_cancelling_stops_the_body_and_waits_for_its_cleanup() -> None:
    """A body is cancelled, finishes its cleanup however long that takes, and only then is the run cancelled."""
    harness = Harness()
    begun, cleaning, done = anyio.Event(), anyio.Event(), anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        async def body() -> None:
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                cleaning.set()
                with anyio.CancelScope(shield=True):
                    await done.wait()

        await ctx.step(body)

    async with harness.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await begun.wait()
        asked = await handle.cancel("enough")
        await cleaning.wait()
        await anyio.wait_all_tasks_blocked()
        during = harness.summary("r").status
        done.set()
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result()

    assert asked is CancelOutcome.REQUESTED
    assert during == "running"


async def test_cancelling_twice_is_cancelling_once() -> None:
    """A second cancel changes nothing, and nothing of it is left to cancel a resumed run."""
    harness = Harness()

    async with harness.kernel(waiting) as kernel:
        handle = await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        outcomes: list[CancelOutcome] = []

        async def cancel() -> None:
            outcomes.append(await handle.cancel())

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(cancel)
        with pytest.raises(RunCancelled):
            await handle.result()
        assert await handle.cancel() is CancelOutcome.ALREADY_FINISHED

        resumed = await kernel.resume("r")
        await resumed.signal("go", "on")
        assert await resumed.result() == "on"
        assert outcomes == [CancelOutcome.REQUESTED] * 3


async def test_a_cancel_from_elsewhere_reaches_the_owner() -> None:
    """Another kernel cancels through the inbox; asking twice cancels once, also for a run that is resumed later."""
    harness = Harness()

    async with harness.kernel(waiting) as owner, harness.kernel() as other:
        handle = await owner.start(waiting, run_id="r")
        outcomes: list[CancelOutcome] = []

        async def cancel() -> None:
            outcomes.append(await other.cancel("r", "from afar"))

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            group.start_soon(cancel)
        with pytest.raises(RunCancelled, match="from afar"):
            await handle.result()
        resumed = await owner.resume("r")
        await resumed.signal("go", "on")

        assert await resumed.result() == "on"
        assert set(outcomes) <= {CancelOutcome.REQUESTED, CancelOutcome.ALREADY_FINISHED}
        assert harness.store.inbox == {}


async def test_a_run_nobody_runs_is_cancelled_at_once() -> None:
    """A kernel may cancel an interrupted run, even without having its workflow."""
    harness = Harness()
    async with harness.kernel(stuck) as kernel:
        await kernel.start(stuck, run_id="r")
        await until(kernel, "r", "step_started")
        crash(kernel)

    async with harness.kernel() as kernel:
        outcome = await kernel.cancel("r", "abandoned")
        state = await kernel.inspect("r")
        again = await kernel.cancel("r")

    assert (outcome, again) == (CancelOutcome.CANCELLED, CancelOutcome.ALREADY_FINISHED)
    assert state.status is RunStatus.CANCELLED
    assert state.steps["endless"].status is StepStatus.CANCELLED
    assert not state.interrupted


async def test_a_cancel_survives_a_crash() -> None:
    """A cancel that was recorded, but not yet carried out when the kernel died, is carried out by the next one."""
    harness = Harness()
    begun, cleaning, crashed = anyio.Event(), anyio.Event(), anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        async def body() -> None:
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                cleaning.set()
                with anyio.CancelScope(shield=True):
                    await crashed.wait()

        await ctx.step(body)

    async with harness.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await begun.wait()
        await handle.cancel("enough")
        await cleaning.wait()
        crash(kernel)
        crashed.set()
    async with harness.kernel(program) as kernel:
        with pytest.raises(RunCancelled, match="enough"):
            await kernel.result("r")

    assert harness.types("r")[-4:] == ["cancel_requested", "run_taken_over", "step_interrupted", "run_cancelled"]


async def test_a_run_that_was_dead_for_days_was_not_active_for_days() -> None:
    """Cancelling or resuming a run whose owner died counts its attempts up to the last event, not up to now."""
    harness = Harness()
    for run_id in ("cancelled", "resumed"):
        async with harness.kernel(stuck, recover=False) as kernel:
            await kernel.start(stuck, run_id=run_id)
            await until(kernel, run_id, "step_started")
            crash(kernel)
    harness.clock.advance(3 * 86_400)

    async with harness.kernel(stuck, recover=False) as kernel:
        await kernel.cancel("cancelled")
        await kernel.resume("resumed")
        states = [await kernel.inspect(run_id) for run_id in ("cancelled", "resumed")]

    assert [state.active_seconds for state in states] == [0, 0]
    assert [state.steps["endless"].interruptions for state in states] == [1, 0]


async def test_a_cancel_of_a_parent_that_nobody_runs_has_ended_its_children_on_return() -> None:
    """The process that cancels knows neither workflow and ends at once; children of children go too."""
    harness = Harness()

    @workflow()
    async def middle(ctx: Context) -> Any:
        return await ctx.run_child(waiting)

    @workflow()
    async def top(ctx: Context) -> Any:
        return await ctx.run_child(middle)

    async with harness.kernel(top, middle, waiting) as kernel:
        await kernel.start(top, run_id="r")
        await until(kernel, "r", "step_waiting")
        await recorded(harness, "r.middle.waiting", "step_waiting")
        crash(kernel)
    async with harness.kernel(recover=False) as other:
        assert await other.cancel("r") is CancelOutcome.CANCELLED
        crash(other)

    assert {run.summary.status for run in harness.store.runs.values()} == {"cancelled"}


async def test_a_skipped_child_step_that_nobody_runs_ends_its_child() -> None:
    """A child whose parent goes on without it does no work later."""
    harness = Harness()

    @workflow()
    async def top(ctx: Context) -> Any:
        return await ctx.run_child(waiting)

    async with harness.kernel(top, waiting) as kernel:
        await kernel.start(top, run_id="r")
        await until(kernel, "r", "step_waiting")
        await recorded(harness, "r.waiting", "step_waiting")
        crash(kernel)
    async with harness.kernel(recover=False) as other:
        await other.skip("r", "waiting", 1)
        crash(other)

    assert harness.summary("r.waiting").status == "cancelled"
