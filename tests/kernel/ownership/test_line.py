"""Runs of a workflow that must not overlap: what becomes of a second start, a resume, a child and a fork, on one store
with any number of kernels."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel import Context, Kernel, RunFailed, Why, Workflow, step, workflow
from flujo.kernel.errors import DeclarationError, RunOverlapError
from flujo.kernel.programs import Overlap
from kernel.harness import Harness, crash, until


class Job:
    """A workflow that waits for a signal, and counts how many of its runs are at work at once."""

    def __init__(self, on_overlap: str) -> None:
        self.at_work = 0
        self.most = 0
        self.order: list[str] = []
        self.fails = False

        @step
        async def begin(run_id: str) -> None:
            if self.fails:
                raise ValueError("no")
            self.at_work += 1
            self.most = max(self.most, self.at_work)
            self.order.append(run_id)

        @step
        async def end() -> None:
            self.at_work -= 1

        @workflow(name="job", on_overlap=on_overlap)
        async def program(ctx: Context) -> str:
            await ctx.step(begin, ctx.run_id)
            await ctx.wait_signal("go")
            await ctx.step(end)
            return ctx.run_id

        self.workflow: Workflow[str] = program


refusing = pytest.mark.parametrize("on_overlap", ["skip", "fail"])


@refusing
async def test_a_second_run_is_refused_until_the_first_has_ended(on_overlap: str) -> None:
    """The refusal names the run that is in the way, how it stands, and what to type; afterwards a start is a start."""
    job = Job(on_overlap)
    async with Harness().kernel(job.workflow) as kernel:
        await kernel.start(job.workflow, run_id="first")
        await until(kernel, "first", "step_waiting")
        with pytest.raises(RunOverlapError, match=f"run 'first' of 'job' is waiting, .*on_overlap: {on_overlap}") as no:
            await kernel.start(job.workflow, run_id="second")
        assert no.value.hints == ("flujoctl wait first", "flujoctl cancel first")
        again = await kernel.start(job.workflow, run_id="first")
        assert not again.created

        await kernel.signal("first", "go")
        await kernel.wait("first")
        assert (await kernel.start(job.workflow, run_id="second")).created


@refusing
async def test_of_many_starts_at_once_one_runs(on_overlap: str) -> None:
    """However many processes start at the same instant, one run begins, and the others leave nothing behind."""
    job, harness = Job(on_overlap), Harness()
    outcomes: list[Any] = []

    async def start(kernel: Kernel) -> None:
        try:
            outcomes.append((await kernel.start(job.workflow)).run_id)
        except RunOverlapError as error:
            outcomes.append(error)

    async with harness.kernel(job.workflow) as one, harness.kernel(job.workflow) as two:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(start, (one, two)[number % 2])
        listed = (await one.list()).runs

    (started,) = [each for each in outcomes if isinstance(each, str)]
    assert [run.run_id for run in listed] == [started]


async def test_queued_runs_begin_one_after_the_other() -> None:
    """Runs of two processes that queue are never at work together, and each begins when those before it have ended."""
    job, harness = Job("queue"), Harness()
    async with harness.kernel(job.workflow) as one, harness.kernel(job.workflow) as two:
        for number in range(6):
            kernel = (one, two)[number % 2]
            await kernel.start(job.workflow, run_id=f"r{number}")
        for number in range(6):
            await _begun(harness, job, number + 1)
            await one.signal(f"r{number}", "go")
        for number in range(6):
            await one.wait(f"r{number}")

    assert job.order == [f"r{number}" for number in range(6)]
    assert job.most == 1


async def test_a_clock_that_is_behind_lets_nobody_pass() -> None:
    """A run that is started by a process whose clock is slow stands behind those that are there."""
    job, harness = Job("queue"), Harness()
    async with harness.kernel(job.workflow) as kernel:
        await kernel.start(job.workflow, run_id="first")
        await until(kernel, "first", "step_waiting")
        harness.clock.instant -= 3_600_000_000
        await kernel.start(job.workflow, run_id="second")
        explanation = await kernel.explain("second")

        assert (await kernel.summary("second")).created_at == (await kernel.summary("first")).created_at + 1
        assert [reason.why for reason in explanation.reasons] == [Why.OVERLAP]
    assert job.order == ["first"]


async def test_a_run_in_line_can_be_cancelled_and_paused() -> None:
    """A cancel ends it before it has begun; a pause keeps its place, and those behind it wait."""
    job, harness = Job("queue"), Harness()
    async with harness.kernel(job.workflow) as kernel:
        for name in ("first", "gone", "held", "last"):
            await kernel.start(job.workflow, run_id=name)
        await kernel.cancel("gone")
        await kernel.pause("held")
        await kernel.wait("held")
        await until(kernel, "first", "step_waiting")
        await kernel.signal("first", "go")
        await kernel.wait("first")
        (reason,) = (await kernel.explain("last")).reasons

        assert (await kernel.summary("gone")).status == "cancelled"
        assert reason.text.startswith("it begins once run held, which is paused, has ended")
        assert reason.commands[0] == "flujoctl resume held"

        await kernel.unpause("held")
        await until(kernel, "held", "step_waiting")
    assert job.order == ["first", "held"]


async def test_a_run_in_line_outlives_its_process() -> None:
    """The next owner waits on in its place, and begins it when the run before has ended."""
    job, harness = Job("queue"), Harness()
    async with harness.kernel(job.workflow) as other:
        await other.start(job.workflow, run_id="first")
        await until(other, "first", "step_waiting")
        async with harness.kernel(job.workflow) as dying:
            await dying.start(job.workflow, run_id="second")
            crash(dying)
        async with harness.kernel(job.workflow):
            await other.signal("first", "go")
            await other.wait("first")
            await _begun(harness, job, 2)

    assert job.order == ["first", "second"]


@pytest.mark.parametrize("on_overlap", ["skip", "fail", "queue"])
async def test_a_run_that_has_ended_is_not_resumed_beside_another_one(on_overlap: str) -> None:
    """It goes on once the other one has ended too."""
    job, harness = Job(on_overlap), Harness()
    async with harness.kernel(job.workflow) as kernel:
        job.fails = True
        with pytest.raises(RunFailed):
            await kernel.run(job.workflow, run_id="failed")
        job.fails = False
        await kernel.start(job.workflow, run_id="other")
        await until(kernel, "other", "step_waiting")
        with pytest.raises(RunOverlapError, match="run 'other' of 'job' is waiting"):
            await kernel.resume("failed")
        assert (await kernel.inspect("failed")).resume_count == 0

        await kernel.signal("other", "go")
        await kernel.wait("other")
        await kernel.resume("failed")
        await until(kernel, "failed", "step_waiting")
    assert job.most == 1


async def test_an_interrupted_run_is_in_the_way_and_says_how_to_go_on() -> None:
    """A run whose process died is not finished: the next start names it as interrupted, and resume or cancel helps."""
    job, harness = Job("fail"), Harness()
    async with harness.kernel(job.workflow) as dying:
        await dying.start(job.workflow, run_id="dead")
        await until(dying, "dead", "step_waiting")
        crash(dying)
    async with harness.kernel(job.workflow, recover=False) as kernel:
        with pytest.raises(RunOverlapError, match="run 'dead' of 'job' is interrupted") as no:
            await kernel.start(job.workflow, run_id="next")
        assert no.value.hints == ("flujoctl resume dead", "flujoctl cancel dead")
        await kernel.cancel("dead")
        assert (await kernel.start(job.workflow, run_id="next")).created


@pytest.mark.parametrize("on_overlap", ["skip", "fail", "queue"])
async def test_a_run_that_starts_its_own_workflow_fails(on_overlap: str) -> None:
    """A child that would have to wait for the run that waits for it is refused, at any depth."""

    @workflow(name="outer", on_overlap=on_overlap)
    async def outer(ctx: Context) -> Any:
        return await ctx.run_child("inner", {})

    @workflow(name="inner")
    async def inner(ctx: Context) -> Any:
        return await ctx.run_child("outer", {})

    async with Harness().kernel(outer, inner) as kernel:
        with pytest.raises(RunFailed, match="run 'r' of 'outer' is") as failed:
            await kernel.run(outer, run_id="r")
    assert failed.value.type == "RunOverlapError"


def test_a_word_that_says_nothing_is_refused() -> None:
    """A workflow says allow, skip, queue or fail."""
    with pytest.raises(DeclarationError, match="must be allow, skip, queue, fail, not 'wait'"):
        workflow(name="w", on_overlap="wait")(_empty)
    assert workflow(name="w")(_empty).on_overlap is Overlap.ALLOW


async def _empty(ctx: Context) -> None: ...


async def _begun(harness: Harness, job: Job, number: int) -> None:
    """Return once so many runs have begun; the clock moves on meanwhile, by which another process looks again."""
    with anyio.fail_after(30):
        while len(job.order) < number:
            harness.clock.advance(0.5)
            await checkpoint()
