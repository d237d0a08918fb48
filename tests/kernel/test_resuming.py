"""Resuming: where a run goes on, once, and what is refused."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, RunFailed, RunInterrupted, Workflow, workflow
from flujo.kernel.errors import (
    InvalidInputError,
    RunActiveError,
    RunNotResumableError,
    StepNotFoundError,
    StoreFullError,
    WorkflowNotFoundError,
)
from kernel.flows import Flaky, doubling, waiting
from kernel.harness import Harness, crash, settled, until


async def test_a_store_that_fails_in_a_resume_leaves_the_run_to_be_resumed_again() -> None:
    """An error between the claim of a run and its first commit gives the run up again."""

    class Full(InMemoryBackend):
        broken = False

        async def take(self) -> Any:
            if self.broken:
                raise StoreFullError(self.url)
            return await super().take()

    harness = Harness()
    async with harness.kernel(doubling) as kernel:
        await kernel.run(doubling, run_id="r")
    backend = Full(harness.store)

    async with harness.kernel(doubling, backend=backend) as kernel:
        backend.broken = True
        with pytest.raises(StoreFullError):
            await kernel.resume("r", from_step="double")
        backend.broken = False
        await kernel.resume("r", from_step="double")
        assert await kernel.result("r") == 2


async def test_a_failed_run_resumes_at_its_failure() -> None:
    """A resume runs the failed step and what follows; what completed is not repeated, inputs may be changed."""
    flaky = Flaky()

    async with Harness().kernel(flaky.workflow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(flaky.workflow, {"extra": 1}, run_id="r")
        flaky.broken = False
        handle = await kernel.resume("r", inputs={"extra": 2})

        assert await handle.result() == [1, 2, 1, 2]
        assert flaky.counter.calls == ["first", "middle", "middle", "third"]
        state = await handle.inspect()
        assert (state.resume_count, state.inputs, state.error) == (1, {"extra": 2}, None)


async def test_a_completed_run_resumes_only_from_a_step() -> None:
    """Without `from_step` a completed run has nothing to resume; with it, that step and every later one run again."""
    flaky = Flaky()
    flaky.broken = False

    async with Harness().kernel(flaky.workflow) as kernel:
        await kernel.run(flaky.workflow, run_id="r")
        with pytest.raises(RunNotResumableError):
            await kernel.resume("r")
        with pytest.raises(StepNotFoundError, match="first, middle, third"):
            await kernel.resume("r", from_step="fourth")
        handle = await kernel.resume("r", from_step="middle")

        assert await handle.result() == [1, 2, 2, 0]
        assert flaky.counter.calls == ["first", "middle", "third", "middle", "third"]


async def test_a_cancelled_run_resumes_where_it_was_stopped() -> None:
    """The step a cancel has stopped runs afresh after a resume."""
    begun = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> int:
        async def body() -> int:
            if not begun.is_set():
                begun.set()
                await anyio.sleep_forever()
            return 7

        return await ctx.step(body)

    async with Harness().kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await begun.wait()
        await handle.cancel()
        await handle.wait()

        assert await (await kernel.resume("r")).result() == 7
        assert (await handle.inspect()).steps["body"].generation == 2


async def test_an_interrupted_run_resumes_on_request() -> None:
    """A kernel that does not recover by itself takes up an interrupted run when asked to."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)

    async with harness.kernel(waiting, recover=False) as kernel:
        with pytest.raises(RunInterrupted):
            await kernel.result("r")
        handle = await kernel.resume("r")
        await handle.signal("go", 1)

        assert await handle.result() == 1


async def test_a_live_run_cannot_be_resumed() -> None:
    """Neither its owner nor another kernel can resume a run that is being run, or delete it."""
    harness = Harness()

    async with harness.kernel(waiting) as owner, harness.kernel(waiting) as other:
        await owner.start(waiting, run_id="r")

        for kernel in (owner, other):
            with pytest.raises(RunActiveError):
                await kernel.resume("r")
            with pytest.raises(RunActiveError):
                await kernel.delete("r")
        assert harness.summary("r").owner == owner.id


async def test_two_resumes_at_the_same_moment_make_one() -> None:
    """Of two concurrent resumes one takes up the run, the other learns that it is active."""
    flaky = Flaky()
    outcomes: list[str] = []

    async with Harness().kernel(flaky.workflow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(flaky.workflow, run_id="r")
        flaky.broken = False

        async def resume() -> None:
            try:
                await kernel.resume("r")
                outcomes.append("resumed")
            except RunActiveError:
                outcomes.append("active")

        async with anyio.create_task_group() as group:
            group.start_soon(resume)
            group.start_soon(resume)
        await kernel.result("r")

        assert sorted(outcomes) == ["active", "resumed"]
        assert (await kernel.inspect("r")).resume_count == 1


async def test_a_refused_resume_changes_nothing() -> None:
    """Inputs that do not fit, or a workflow that is not there, leave the run as it was."""
    harness = Harness()
    flaky = Flaky()

    async with harness.kernel(flaky.workflow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(flaky.workflow, run_id="r")
        before = harness.summary("r")
        with pytest.raises(InvalidInputError):
            await kernel.resume("r", inputs={"extra": "much"})
    async with harness.kernel() as kernel:
        with pytest.raises(WorkflowNotFoundError):
            await kernel.resume("r")

    assert harness.summary("r") == before


async def test_a_resume_takes_the_timeout_of_the_definition_it_goes_on_with() -> None:
    """A run that took too long goes on once its workflow allows it more time."""
    harness = Harness()

    async def program(ctx: Context, inputs: dict[str, Any]) -> Any:
        return await ctx.wait_signal("go")

    short = Workflow(name="slow", program=program, timeout_seconds=60)
    async with harness.kernel(short) as kernel:
        handle = await kernel.start(short, run_id="r")
        await harness.clock.asleep(60)
        harness.clock.advance(60)
        with pytest.raises(RunFailed, match="TimeoutError"):
            await handle.result()
    async with harness.kernel(Workflow(name="slow", program=program)) as kernel:
        handle = await kernel.resume("r")
        await until(kernel, "r", "step_waiting", count=2)
        harness.clock.advance(3600)
        await handle.signal("go", "late, and in time")

        assert await handle.result() == "late, and in time"


@workflow
async def countdown(ctx: Context, number: int, broken: list[int]) -> int:
    if number == 0:
        await ctx.step(_last, broken)
        return 0
    return 1 + int(await ctx.run_child("countdown", {"number": number - 1, "broken": broken}))


@workflow
async def patient(ctx: Context) -> Any:
    return await ctx.wait_signal("go")


def _last(broken: list[int]) -> None:
    if broken:
        raise ValueError("not yet")


@pytest.mark.parametrize("how", ["resume", "fork"])
async def test_a_program_named_in_a_resume_or_fork_is_known_by_its_name(how: str) -> None:
    """As the one named in a start: it may call itself by name, in a kernel that was given no workflow."""
    harness = Harness()
    async with harness.kernel() as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(countdown, {"number": 1, "broken": [1]}, run_id="r")

    async with harness.kernel() as kernel:
        inputs: dict[str, Any] = {"broken": []}
        if how == "resume":
            handle = await kernel.resume("r", inputs=inputs, workflow=countdown)
        else:
            handle = await kernel.fork("r", inputs=inputs, workflow=countdown)

        assert await handle.result() == 1


async def test_a_run_resumed_with_a_program_comes_back_when_it_has_left_memory() -> None:
    """Whoever brings it back finds its program by its name."""
    harness = Harness()
    async with harness.kernel() as kernel:
        await kernel.start(patient, run_id="r")
        await until(kernel, "r", "step_waiting")

    async with harness.kernel(max_resident=0) as kernel:
        await kernel.resume("r", workflow=patient)
        await settled(lambda: "0 live runs" in repr(kernel))
        await kernel.signal("r", "go", "went")

        assert await kernel.result("r") == "went"


@pytest.mark.parametrize("most", [0, 100])
@pytest.mark.parametrize("how", ["resume", "fork"])
async def test_one_run_may_go_on_with_another_program_than_the_one_that_the_kernel_has(how: str, most: int) -> None:
    """That is how an edited program is tried on one run, also on one that leaves memory; the kernel keeps its own for
    all others."""

    @workflow(name="patient")
    async def edited(ctx: Context) -> Any:
        return ["edited", await ctx.wait_signal("go")]

    harness = Harness()
    async with harness.kernel(patient, max_resident=most) as kernel:
        await kernel.start(patient, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.pause("r")
        await kernel.wait("r")
        if how == "resume":
            handle = await kernel.resume("r", workflow=edited)
        else:
            handle = await kernel.fork("r", workflow=edited)
        await until(kernel, handle.run_id, "step_waiting")
        if not most:
            await settled(lambda: "0 live runs" in repr(kernel))
        await kernel.signal(handle.run_id, "go", 1)

        assert await handle.result() == ["edited", 1]
        assert kernel.workflows["patient"] is patient
