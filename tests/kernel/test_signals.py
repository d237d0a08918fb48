"""Signals: recorded by the owner, kept for the next one, refused by a final run."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import Context, Delivery, Observer, RunFailed, RunStatus, Why, workflow
from flujo.kernel.errors import InvalidNameError, RunFinishedError
from kernel.flows import doubling, stuck, waiting
from kernel.harness import Harness, crash, until


async def test_a_signal_from_elsewhere_reaches_the_owner() -> None:
    """Another kernel, or a mere reader of the store, can signal a run of this one."""
    harness = Harness()

    async with harness.kernel(waiting) as owner, harness.kernel() as other, harness.backend() as reader:
        handle = await owner.start(waiting, run_id="a")
        second = await owner.start(waiting, run_id="b")

        assert await other.signal("a", "go", 1) is Delivery.POSTED
        assert await handle.result() == 1
        assert await Observer(reader, clock=harness.clock).signal("b", "go", 2) is Delivery.POSTED
        assert await second.result() == 2
        assert harness.store.inbox == {}


async def test_a_signal_to_a_run_nobody_runs_is_kept() -> None:
    """A signal to an interrupted run is stored, and taken when somebody takes up the run."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")

    async with harness.backend() as reader:
        delivery = await Observer(reader).signal("r", "go", "kept")
    async with harness.kernel(waiting) as kernel:
        output = await kernel.result("r")

    assert delivery is Delivery.STORED
    assert output == "kept"


async def test_a_signal_to_a_paused_run_is_kept() -> None:
    """Nobody owns a paused run, so its signal waits for a resume, and the sender is told so."""
    harness = Harness()

    async with harness.kernel(stuck) as kernel:
        await kernel.start(stuck, run_id="r")
        await until(kernel, "r", "step_started")
        crash(kernel)
    async with harness.kernel(stuck, max_interruptions=1) as kernel:
        assert (await kernel.wait("r")).status is RunStatus.PAUSED
        assert await kernel.signal("r", "go") is Delivery.STORED


async def test_a_final_run_takes_no_signal() -> None:
    """A signal to a finished run, with a bad name or a payload that is no JSON is refused."""
    async with Harness().kernel(doubling, waiting) as kernel:
        handle = await kernel.start(doubling)
        await handle.result()

        with pytest.raises(RunFinishedError):
            await handle.signal("go")
        with pytest.raises(InvalidNameError):
            await handle.signal("no name")
        live = await kernel.start(waiting)
        with pytest.raises(ValueError, match=r"\$"):
            await live.signal("go", {1, 2})


async def test_a_signal_that_races_the_end_is_told_by_explain() -> None:
    """It was acknowledged, and the run ended before its owner looked: `explain` names it, and a resume takes it."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> Any:
        await ctx.wait_signal("end")
        raise ValueError("not yet")

    async with harness.kernel(program) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        kernel._runtime._inbox.answer = lambda posts: None  # type: ignore[method-assign]
        assert await other.signal("r", "late", 1) is Delivery.POSTED
        await kernel.signal("r", "end")
        with pytest.raises(RunFailed):
            await kernel.result("r")

        for reader in (kernel, other):
            told = [each.text for each in (await reader.explain("r")).reasons if each.why is Why.UNTAKEN]
            assert told == ["no wait has taken the signal 'late'; a resume takes it along"]
