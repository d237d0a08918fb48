"""The committer: what is recorded together is committed together, and when it cannot be, everybody learns of it."""

from __future__ import annotations

from contextlib import aclosing
from itertools import pairwise
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Kernel, StoreError, step, workflow
from flujo.kernel.backend import Refused
from flujo.kernel.clock import SystemClock
from flujo.kernel.errors import KernelClosedError, RunInterrupted
from flujo.kernel.events import RunCreated
from flujo.kernel.execution.committer import LINGER_TICKS, Committer
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.loops import TOGETHER
from flujo.kernel.state import WorkflowState
from flujo.kernel.transitions import Stop
from kernel.harness import FailingBackend, GatedBackend, Harness, until, usurp

STEPS = 20


@step
async def work(number: int) -> int:
    return number


@step(timeout=60)
async def timed_work(number: int) -> int:
    return number


def chain(function: Any, checkpoints: int = 0, steps: int = STEPS) -> Workflow:
    """A workflow of steps in a row, with so many scheduler ticks between two of them."""

    @workflow(name="chain")
    async def program(ctx: Context) -> int:
        total = 0
        for number in range(steps):
            total += await ctx.step(function, number)
            for _ in range(checkpoints):
                await checkpoint()
        return total

    return program


@pytest.mark.parametrize("checkpoints", [0, 1, 2, 3])
@pytest.mark.parametrize("function", [work, timed_work], ids=["plain", "with a timeout each"])
@pytest.mark.parametrize("max_steps", [None, 1], ids=["unbounded", "max_steps"])
async def test_steps_in_a_row_take_two_commits_more_than_there_are_steps(
    checkpoints: int, function: Any, max_steps: int | None
) -> None:
    """S steps take S + 2 commits, also when a few ticks pass between them, with a timeout on each and with a limit."""
    chained = chain(function, checkpoints)

    async with Harness().kernel(chained, max_steps=max_steps) as kernel:
        await kernel.run(chained)

        assert kernel._runtime.driver.committer.commits == STEPS + 2


async def test_a_watcher_costs_no_commit() -> None:
    """S steps take S + 2 commits while somebody watches them, and the watcher sees every event."""
    chained = chain(work, checkpoints=1)
    seen: list[int] = []

    async def watch(kernel: Kernel) -> None:
        async with aclosing(kernel.watch("r")) as events:
            seen.extend([event.seq async for event in events])

    async with Harness().kernel(chained) as kernel, anyio.create_task_group() as group:
        await kernel.start(chained, run_id="r")
        group.start_soon(watch, kernel)
        await kernel.result("r")
        commits = kernel._runtime.driver.committer.commits

    assert commits == STEPS + 2
    assert seen == list(range(1, 2 * STEPS + 3))


async def test_concurrent_runs_share_commits() -> None:
    """A hundred runs of ten steps take about as many commits as one run does, not a thousand."""
    chained = chain(work, steps=10)

    async with Harness().kernel(chained) as kernel:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(kernel.run, chained)

        assert kernel._runtime.driver.committer.commits <= 40


async def test_a_refused_run_stops_and_the_others_of_its_batch_stand() -> None:
    """When one run of a batch belongs to somebody else by now, only that run ends here."""
    go = anyio.Event()
    harness = Harness()

    @workflow()
    async def program(ctx: Context, name: str) -> str:
        await ctx.step(go.wait, name="gate")
        await ctx.step(work, 1)
        return name

    async with harness.kernel(program, recover=False) as kernel:
        for name in ("lost", "kept"):
            await kernel.start(program, {"name": name}, run_id=name)
            await until(kernel, name, "step_started")
        usurp(harness, "lost")
        written = harness.summary("lost").seq
        go.set()

        assert await kernel.result("kept") == "kept"
        assert harness.summary("lost").seq == written
        with pytest.raises(RunInterrupted):
            await kernel.result("lost")


async def test_a_run_that_is_refused_while_its_end_is_queued_does_not_hold_up_the_close() -> None:
    """What was recorded behind a refused commit is dropped, and whoever waits for it goes on."""
    harness = Harness()
    backend = GatedBackend(harness.store)
    ending = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(work, 1)
        await ending.wait()

    with anyio.fail_after(30):
        async with harness.kernel(program, backend=backend) as kernel:
            await kernel.start(program, run_id="r")
            await until(kernel, "r", "step_started")
            backend.close_gate()
            await backend.waiting.wait()  # the step's outcome is on its way
            usurp(harness, "r")
            ending.set()
            await anyio.wait_all_tasks_blocked()  # the run's end is queued behind it, and waited for
            backend.gate.set()

    assert harness.types("r") == ["run_created", "step_started"]


async def test_a_failing_append_ends_every_run_with_the_store_error() -> None:
    """After a failed append no run goes on, those that merely waited included, and whoever asks gets the StoreError."""
    go = anyio.Event()
    harness = Harness()
    backend = FailingBackend(harness.store)
    went_on: list[str] = []

    @workflow()
    async def active(ctx: Context) -> None:
        await ctx.step(go.wait, name="gate")
        await ctx.step(work, 1)
        went_on.append("active")

    @workflow()
    async def idle(ctx: Context) -> None:
        await ctx.wait_signal("never")

    async def expect_store_error(kernel: Kernel, run_id: str) -> None:
        with pytest.raises(StoreError, match="on fire"):
            await kernel.result(run_id)

    async with harness.kernel(active, idle, backend=backend) as kernel:
        await kernel.start(active, run_id="active")
        await kernel.start(idle, run_id="idle")
        await until(kernel, "active", "step_started")
        await until(kernel, "idle", "step_waiting")
        async with anyio.create_task_group() as group:
            group.start_soon(expect_store_error, kernel, "active")
            group.start_soon(expect_store_error, kernel, "idle")
            await anyio.wait_all_tasks_blocked()
            backend.broken = True
            go.set()
        with pytest.raises(StoreError, match="on fire"):
            await kernel.start(active)

    assert went_on == []


async def test_whoever_waits_for_the_end_of_a_kernel_is_told_that_its_store_has_failed() -> None:
    """It records nothing any more, and what is stored can be read; opened again it goes on with its runs."""
    harness = Harness()
    backend = FailingBackend(harness.store)
    program = Workflow(name="program", program=lambda ctx, inputs: ctx.wait_signal("go"))
    told: list[str] = []

    async def wait(kernel: Kernel) -> None:
        try:
            await kernel.wait_closed()
        except StoreError as error:
            told.append(error.problem)

    async with harness.kernel(program, backend=backend) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        async with anyio.create_task_group() as group:
            group.start_soon(wait, kernel)
            await anyio.wait_all_tasks_blocked()
            backend.broken = True
            with pytest.raises(StoreError, match="on fire"):
                await kernel.signal("r", "go", 1)
        backend.broken = False
        assert (await kernel.inspect("r")).status == "waiting"
        with pytest.raises(StoreError, match="on fire"):
            await kernel.signal("r", "go", 1)
    async with kernel:
        await kernel.signal("r", "go", 2)
        assert await kernel.result("r") == 2

    assert told == ["the disk is on fire"]


async def test_nothing_is_written_after_a_failed_append() -> None:
    """What was recorded while the failing batch was under way is dropped with it: the store keeps what it had."""
    harness = Harness()
    backend = FailingBackend(harness.store)
    gate = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(gate.wait, name="gate")

    async def start_and_fail(kernel: Kernel) -> None:
        with pytest.raises(StoreError):
            await kernel.start(program, run_id="late")

    async with harness.kernel(program, backend=backend) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started")
        written = harness.summary("r").seq
        backend.broken = True
        gate.set()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(start_and_fail, kernel)
                await checkpoint()
        backend.broken = False
        await anyio.wait_all_tasks_blocked()

    assert harness.summary("r").seq == written
    assert "late" not in harness.store.runs


async def test_closing_while_recording_writes_what_was_recorded() -> None:
    """A kernel that is left while a batch is under way and the next one fills writes both before it is closed."""
    harness = Harness()
    backend = GatedBackend(harness.store)
    recorded = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(work, 1)
        recorded.set()
        await ctx.wait_signal("never")

    async with harness.kernel(program, backend=backend) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started")
        await recorded.wait()
        async with anyio.create_task_group() as group:
            backend.close_gate()
            group.start_soon(kernel.signal, "r", "other")
            await backend.waiting.wait()
            group.start_soon(kernel.signal, "r", "another")
            await anyio.wait_all_tasks_blocked()
            backend.gate.set()

    assert harness.types("r").count("signal_received") == 2
    assert harness.summary("r").owner is None


async def test_a_batch_that_somebody_waits_for_is_written_at_once() -> None:
    """It is kept for others as long only as nobody waits."""
    seen: list[int] = []
    ticks = 0

    class Told(InMemoryBackend):
        async def append(self, commits: Any) -> dict[str, Refused]:
            seen.append(ticks)
            return await super().append(commits)

    backend = Told(Harness().store)
    await backend.open("me")
    committer = Committer(backend, SystemClock(), lambda run: None)
    async with anyio.create_task_group() as group:
        group.start_soon(committer.serve)
        await anyio.wait_all_tasks_blocked()
        batch = committer.record(_live_run(committer), RunCreated("flow", "{}"))
        group.start_soon(batch.durable)
        while not seen:
            ticks += 1
            await checkpoint()
        committer.close()

    assert seen[0] < LINGER_TICKS


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_thousands_who_wait_for_a_batch_go_on_in_turns(anyio_backend: str) -> None:
    """They go on in the order in which they came, some hundred of them at a time, with a turn for others in between."""
    backend = InMemoryBackend(Harness().store)
    await backend.open("me")
    committer = Committer(backend, SystemClock(), lambda run: None)
    gone_on: list[int] = []
    seen: list[int] = []

    async def wait_for(batch: Any, number: int) -> None:
        await batch.durable()
        gone_on.append(number)

    async with anyio.create_task_group() as group:
        batch = committer.record(_live_run(committer), RunCreated("flow", "{}"))
        for number in range(10 * TOGETHER):
            group.start_soon(wait_for, batch, number)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(committer.serve)
        while len(gone_on) < 10 * TOGETHER:
            await checkpoint()
            seen.append(len(gone_on))
        committer.close()

    assert max(after - before for before, after in pairwise(seen)) <= 2 * TOGETHER
    if anyio_backend == "asyncio":  # trio runs the tasks of a turn in any order
        assert gone_on == sorted(gone_on)


def _live_run(committer: Committer, run_id: str = "r") -> LiveRun:
    async def program(ctx: Context, inputs: dict[str, Any]) -> None:
        raise AssertionError("it is never driven")

    state = WorkflowState(run_id=run_id, uid=run_id)
    flow = Workflow(name="flow", program=program)
    return LiveRun(state, flow, owner="me", token=1, committer=committer, spawn=lambda function: None)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_waiters_wake_when_the_committer_is_cancelled(anyio_backend: str) -> None:
    """A `serve` that is cancelled, as by the end of its event loop, leaves nobody waiting for its batches."""
    harness = Harness()
    backend = GatedBackend(harness.store)
    await backend.open("me")
    backend.close_gate()
    committer = Committer(backend, SystemClock(), lambda run: None)
    being_written, next_batch = _live_run(committer, "a"), _live_run(committer, "b")
    outcomes: list[str] = []

    async def wait_for(run: LiveRun, batch: Any) -> None:
        with pytest.raises(KernelClosedError):
            await batch.durable()
        outcomes.append(run.uid)

    async with anyio.create_task_group() as waiters, anyio.create_task_group() as server:
        server.start_soon(committer.serve)
        waiters.start_soon(wait_for, being_written, committer.record(being_written, RunCreated("flow", "{}")))
        await backend.waiting.wait()
        waiters.start_soon(wait_for, next_batch, committer.record(next_batch, RunCreated("flow", "{}")))
        await anyio.wait_all_tasks_blocked()
        server.cancel_scope.cancel()

    assert sorted(outcomes) == ["a", "b"]
    assert being_written.stopped is next_batch.stopped is Stop.LOST
    with pytest.raises(KernelClosedError):
        committer.record(next_batch, RunCreated("flow", "{}"))
