"""Runs that only wait leave memory and come back; new runs wait for their turn. Nothing of it is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import (
    CancelOutcome,
    Context,
    Delivery,
    Kernel,
    RetryPolicy,
    RunStatus,
    Why,
    WorkflowState,
    events,
    step,
    workflow,
)
from flujo.kernel.backend import Posted
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.transitions import fold, summarize
from kernel.harness import Harness, JumpingClock, crash, settled, until

entered: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_has_been_entered() -> None:
    entered.clear()


@workflow()
async def sleeper(ctx: Context, seconds: float = 60) -> str:
    entered.append(ctx.run_id)
    await ctx.sleep(seconds)
    return ctx.run_id


@workflow()
async def listener(ctx: Context) -> Any:
    entered.append(ctx.run_id)
    return await ctx.wait_signal("go")


async def asleep(harness: Harness, kernel: Kernel, count: int, **inputs: Any) -> list[str]:
    """Start runs that sleep; their ids."""
    names = [f"r{number}" for number in range(count)]
    for name in names:
        await kernel.start(sleeper, inputs, run_id=name)
        await until(kernel, name, "step_waiting")
    return names


async def test_the_runs_that_waited_longest_leave_memory_and_wake_in_time() -> None:
    """Beyond `max_resident` the first ones are away; each is entered again when it is due, and only then."""
    harness = Harness()
    async with harness.kernel(sleeper, max_resident=2) as kernel:
        names = await asleep(harness, kernel, 5)
        await settled(lambda: "2 live runs" in repr(kernel))
        journals = {name: harness.types(name) for name in names}

        harness.clock.advance(60)
        results = [await kernel.result(name) for name in names]

    assert results == names
    assert sorted(entered) == sorted([*names, "r0", "r1", "r2"])
    assert set(map(tuple, journals.values())) == {("run_created", "step_waiting")}
    assert {tuple(harness.types(name)) for name in names} == {
        ("run_created", "step_waiting", "step_completed", "run_completed")
    }


async def test_a_run_that_is_away_takes_a_signal_and_a_cancel() -> None:
    """It is brought back for that, and the answer is as durable as for one in memory."""
    harness = Harness()
    async with harness.kernel(listener, max_resident=1) as kernel:
        for name in ("a", "b", "c"):
            await kernel.start(listener, run_id=name)
            await until(kernel, name, "step_waiting")
        await settled(lambda: "1 live runs" in repr(kernel))

        assert await kernel.signal("a", "go", 1) is Delivery.RECORDED
        assert await kernel.result("a") == 1
        assert await kernel.cancel("b") is CancelOutcome.REQUESTED
        assert (await kernel.wait("b")).status is RunStatus.CANCELLED
        assert (await kernel.explain("c")).reasons[0].why is Why.SIGNAL


class SlowlyReadBackend(InMemoryBackend):
    """Its inbox is read only while `open`; `readers` counts who is at it."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.open_for_reading = anyio.Event()
        self.readers: list[int] = []
        self._now = 0

    async def take(self) -> Sequence[Posted]:
        self._now += 1
        self.readers.append(self._now)
        try:
            await self.open_for_reading.wait()
            return await super().take()
        finally:
            self._now -= 1


async def test_runs_that_leave_faster_than_the_inbox_is_read_do_not_queue_up_for_it() -> None:
    """One look that begins after the last of them has left is enough; a hundred would pile up in memory."""
    harness = Harness()
    backend = SlowlyReadBackend(harness.store)
    async with harness.kernel(listener, backend=backend, max_resident=1) as kernel:
        for number in range(20):
            await kernel.start(listener, run_id=f"r{number}")
            await until(kernel, f"r{number}", "step_waiting")
        await settled(lambda: "1 live runs" in repr(kernel))
        assert max(backend.readers) == 2  # the look at the start, and one for all that have left
        assert len(backend.readers) == 2

        backend.open_for_reading.set()
        assert await kernel.signal("r0", "go", 1) is Delivery.RECORDED
        assert await kernel.result("r0") == 1
    assert len(backend.readers) <= 6


async def test_a_request_of_another_process_brings_a_run_back() -> None:
    """A signal that is posted to the store reaches a run that is not in its owner's memory."""
    harness = Harness()
    async with harness.kernel(listener, max_resident=1) as kernel, harness.kernel(recover=False) as other:
        for name in ("a", "b"):
            await kernel.start(listener, run_id=name)
            await until(kernel, name, "step_waiting")
        await settled(lambda: "1 live runs" in repr(kernel))

        assert await other.signal("a", "go", 7) is Delivery.POSTED
        assert await kernel.result("a") == 7


async def test_a_program_with_tasks_of_its_own_stays() -> None:
    """A wait in a branch, or beside a task of the program's making, is no reason to leave: that task would be lost."""
    harness = Harness()
    woken: list[str] = []

    @workflow()
    async def busy(ctx: Context) -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            await ctx.sleep(60)
            woken.append(ctx.run_id)
            group.cancel_scope.cancel()
        return "done"

    async with harness.kernel(busy, sleeper, max_resident=1) as kernel:
        await kernel.start(busy, run_id="busy")
        await until(kernel, "busy", "step_waiting")
        await asleep(harness, kernel, 3)
        await settled(lambda: "1 live runs" in repr(kernel) or "2 live runs" in repr(kernel))
        harness.clock.advance(60)

        assert await kernel.result("busy") == "done"
        assert woken == ["busy"]


async def test_a_backoff_is_a_wait_too() -> None:
    """A step whose next attempt is due later leaves with its run, and keeps count and instant."""
    harness = Harness()
    tries: list[str] = []

    @step(retry=RetryPolicy(max_attempts=2, delay=60, jitter=0))
    async def flaky(name: str) -> str:
        tries.append(name)
        if tries.count(name) == 1:
            raise ConnectionError("no")
        return name

    @workflow()
    async def program(ctx: Context, name: str) -> str:
        return await ctx.step(flaky, name)

    async with harness.kernel(program, max_resident=1) as kernel:
        for name in "abc":
            await kernel.start(program, {"name": name}, run_id=name)
            await until(kernel, name, "attempt_failed")
        await settled(lambda: "1 live runs" in repr(kernel))
        harness.clock.advance(60)

        assert [await kernel.result(name) for name in "abc"] == ["a", "b", "c"]
        assert sorted(tries) == ["a", "a", "b", "b", "c", "c"]


async def test_waiting_runs_are_not_entered_when_a_kernel_recovers_them() -> None:
    """After a crash they are owned at once, and entered when they are due."""
    harness = Harness()
    async with harness.kernel(sleeper) as kernel:
        names = await asleep(harness, kernel, 3)
        crash(kernel)
    entered.clear()

    async with harness.kernel(sleeper) as kernel:
        assert entered == []
        assert {(harness.summary(name).owner, harness.summary(name).token) for name in names} == {(kernel.id, 2)}
        assert not (await kernel.inspect("r0")).unowned
        await harness.clock.asleep(60)
        harness.clock.advance(60)

        assert [await kernel.result(name) for name in names] == names


async def test_a_run_that_is_due_is_woken_beside_many_that_are_not() -> None:
    """A sooner instant ends the nap that waits for a later one."""
    harness = Harness(JumpingClock())
    async with harness.kernel(sleeper, max_resident=1) as kernel:
        await kernel.start(sleeper, {"seconds": 100}, run_id="late")
        await kernel.start(sleeper, {"seconds": 50}, run_id="soon")
        await kernel.start(sleeper, {"seconds": 75}, run_id="between")

        for name in ("late", "soon", "between"):
            assert await kernel.result(name) == name


async def test_new_runs_wait_for_their_turn_in_the_order_they_came() -> None:
    """With `max_runs` no more than so many are at work; the others are pending, say so, and begin one by one."""
    harness = Harness()
    gates = {name: anyio.Event() for name in "abcd"}
    begun: list[str] = []

    @step
    async def work(name: str) -> str:
        begun.append(name)
        await gates[name].wait()
        return name

    @workflow()
    async def program(ctx: Context, name: str) -> str:
        return await ctx.step(work, name)

    async with harness.kernel(program, max_runs=2) as kernel:
        for name in "abcd":
            await kernel.start(program, {"name": name}, run_id=name)
        await settled(lambda: len(begun) == 2)

        explained = await kernel.explain("c")
        assert (explained.status, explained.reasons[0].why) == (RunStatus.PENDING, Why.LIMIT)
        assert harness.summary("d").status == "pending"
        gates["b"].set()
        await settled(lambda: len(begun) == 3)
        assert [*sorted(begun[:2]), *begun[2:]] == ["a", "b", "c"]  # the first two go side by side
        assert await kernel.cancel("d") is CancelOutcome.REQUESTED
        assert (await kernel.wait("d")).status is RunStatus.CANCELLED
        for gate in gates.values():
            gate.set()
        assert [await kernel.result(name) for name in "abc"] == ["a", "b", "c"]
    assert len(begun) == 3


async def test_a_run_that_waits_makes_room_for_another() -> None:
    """Waiting is not being at work: the next in line begins meanwhile."""
    harness = Harness()
    async with harness.kernel(listener, max_runs=1) as kernel:
        await kernel.start(listener, run_id="first")
        await kernel.start(listener, run_id="second")
        await until(kernel, "second", "step_waiting")

        await kernel.signal("second", "go", 2)
        await kernel.signal("first", "go", 1)
        assert [await kernel.result("first"), await kernel.result("second")] == [1, 2]


async def test_runs_in_line_survive_a_crash() -> None:
    """What was acknowledged and had not begun begins with the next kernel, as many at a time as may."""
    harness = Harness()
    async with harness.kernel(listener, max_runs=1) as kernel:
        await kernel.start(sleeper, {"seconds": 1}, run_id="a")
        crash(kernel)
    async with harness.kernel(listener, sleeper, max_runs=1) as kernel:
        harness.clock.advance(1)
        assert await kernel.result("a") == "a"


def test_a_run_that_is_to_end_is_due_at_once() -> None:
    """One that crashed between the request to cancel and its end must not wait for its own instant."""
    state = WorkflowState(run_id="r", uid="u")
    fold(state, events.Event(1, 1, events.RunCreated("flow", "{}")))
    fold(state, events.Event(2, 2, events.StepWaiting("sleep", "sleep", until=9 * MICROSECONDS)))
    fold(state, events.Event(3, 3, events.CancelRequested()))

    assert summarize(state, "me", 1).wake_at == 3
