"""The ladder of requests: recorded here, posted to the live owner, or decided at once; whatever the owner is doing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flujo.kernel import CancelOutcome, Context, Delivery, Kernel, PauseOutcome, RunStatus, workflow
from flujo.kernel.errors import RunFinishedError
from kernel.flows import waiting
from kernel.harness import Harness, crash, settled, until

Ask = Callable[[Kernel], Awaitable[Any]]

ASKED: dict[str, tuple[str, Ask]] = {
    "signal": ("signal_received", lambda kernel: kernel.signal("r", "late", 1)),
    "set variable": ("variable_set", lambda kernel: kernel.set_variable("r", "late", 1)),
    "pause": ("pause_requested", lambda kernel: kernel.pause("r")),
    "cancel": ("cancel_requested", lambda kernel: kernel.cancel("r", "again")),
}


class Stopping:
    """A run that was told to stop and whose body takes its time."""

    def __init__(self) -> None:
        self.begun, self.may_end = anyio.Event(), anyio.Event()

        async def body() -> None:
            self.begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await self.may_end.wait()

        @workflow()
        async def program(ctx: Context) -> None:
            await ctx.step(body)

        self.program = program


@pytest.mark.parametrize("what", ASKED)
async def test_a_run_that_stops_records_what_is_asked_of_it_before_its_end(what: str) -> None:
    """All four kinds alike: nothing is acknowledged and then lies in an inbox that is not read any more."""
    harness, run = Harness(), Stopping()
    type, ask = ASKED[what]
    async with harness.kernel(run.program) as kernel:
        await kernel.start(run.program, run_id="r")
        await run.begun.wait()
        await kernel.cancel("r", "first")
        before = harness.types("r").count(type)

        answer = await ask(kernel)

        assert answer.value in ("recorded", "requested")
        assert harness.types("r").count(type) == before + 1
        run.may_end.set()
        assert (await kernel.wait("r")).cancel_reason in ("first", "again")
    assert harness.store.inbox == {}


@pytest.mark.parametrize("what", ASKED)
async def test_another_process_reaches_a_run_that_stops(what: str) -> None:
    """The owner records what is posted to it as long as the run has not ended."""
    harness, run = Harness(), Stopping()
    type, ask = ASKED[what]
    async with harness.kernel(run.program) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(run.program, run_id="r")
        await run.begun.wait()
        await kernel.cancel("r", "first")
        before = harness.types("r").count(type)

        await ask(other)
        await settled(lambda: harness.types("r").count(type) == before + 1)

        run.may_end.set()
        await kernel.wait("r")
    assert harness.store.inbox == {}


async def test_a_cancel_overrules_a_pause_that_is_under_way() -> None:
    """A run that unwinds to pause is cancelled by a cancel that is acknowledged meanwhile."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        async with anyio.create_task_group() as group:
            group.start_soon(kernel.pause, "r")
            group.start_soon(kernel.cancel, "r")
        state = await kernel.wait("r")
        if state.status is RunStatus.PAUSED:
            assert await kernel.cancel("r") is CancelOutcome.CANCELLED
        assert (await kernel.inspect("r")).status is RunStatus.CANCELLED


async def test_a_run_without_a_live_owner_is_decided_on_at_once() -> None:
    """After a crash each request has its effect on return, from a process that does not know the workflow."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(recover=False) as other:
        assert await other.signal("r", "go", 1) is Delivery.STORED
        assert await other.set_variable("r", "name", 1) is Delivery.RECORDED
        assert await other.pause("r") is PauseOutcome.PAUSED
        assert await other.pause("r") is PauseOutcome.ALREADY_PAUSED
        assert await other.cancel("r") is CancelOutcome.CANCELLED
        assert await other.cancel("r") is CancelOutcome.ALREADY_FINISHED
        with pytest.raises(RunFinishedError):
            await other.pause("r")
        with pytest.raises(RunFinishedError):
            await other.signal("r", "go", 1)
