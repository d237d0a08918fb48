"""What somebody may change in a run from outside: skip a step, give it its output, set a variable, and what a resume is
told to run again or to skip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flujo.kernel import Context, Delivery, Kernel, RunFailed, RunStatus, StepFailed, StepStatus, Workflow, workflow
from flujo.kernel.errors import (
    InvalidNameError,
    InvalidValueError,
    PayloadTooLargeError,
    RunActiveError,
    RunFinishedError,
    RunNotFoundError,
    RunNotResumableError,
    StepCompletedError,
    StepNotFoundError,
)
from flujo.kernel.events import StepOutputSet, StepSkipped, VariableSet
from kernel.harness import Counter, Harness, crash, recorded, until

Arrange = Callable[[Harness, Kernel], Awaitable[None]]


class Three:
    """A workflow of three steps, the second of which does not come to an end by itself: it fails, or never ends."""

    def __init__(self, *, fails: bool) -> None:
        self.counter = Counter()
        self.begun = anyio.Event()

        async def second() -> Any:
            self.counter.count("second")
            self.begun.set()
            if fails:
                raise ValueError("no")
            await anyio.sleep_forever()
            return "never"

        @workflow(name="three")
        async def program(ctx: Context) -> list[Any]:
            first = await ctx.step(self.counter.body("first"), name="first")
            outcome = await ctx.step(second)
            return [first, outcome, await ctx.step(self.counter.body("third"), name="third")]

        self.workflow = program


async def failed(harness: Harness, three: Three) -> None:
    async with harness.kernel(three.workflow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(three.workflow, run_id="r")


async def cancelled(harness: Harness, three: Three) -> None:
    async with harness.kernel(three.workflow) as kernel:
        await kernel.start(three.workflow, run_id="r")
        await three.begun.wait()
        await kernel.cancel("r")
        await kernel.wait("r")


async def interrupted(harness: Harness, three: Three) -> None:
    async with harness.kernel(three.workflow) as kernel:
        await kernel.start(three.workflow, run_id="r")
        await three.begun.wait()
        crash(kernel)


async def paused(harness: Harness, three: Three) -> None:
    await interrupted(harness, three)
    async with harness.kernel(three.workflow, recover=False) as kernel:
        await kernel.pause("r")


idle = pytest.mark.parametrize("arrange", [failed, cancelled, interrupted, paused])


def after(harness: Harness, seq: int) -> list[Any]:
    return [event.fact for event in harness.journal("r")[seq:]]


@idle
async def test_a_step_is_skipped_by_hand(arrange: Callable[[Harness, Three], Awaitable[None]]) -> None:
    """The run keeps its status; the resume goes on behind the step and does not begin it anew."""
    harness = Harness()
    three = Three(fails=arrange is failed)
    await arrange(harness, three)
    before = harness.summary("r")
    async with harness.kernel(three.workflow, recover=False) as kernel:
        await kernel.skip("r", "second", "by hand", reason="it was done already", by="ann")
        state = await kernel.inspect("r")
        output = await (await kernel.resume("r")).result()
        step = (await kernel.inspect("r")).steps["second"]

    skipped = StepSkipped("second", "it was done already", '"by hand"', 1, "ann")
    assert skipped in after(harness, before.seq)
    assert (state.status, harness.summary("r").owner) == (before.status, None)
    assert (state.steps["second"].status, state.steps["second"].error) == (StepStatus.SKIPPED, None)
    assert output == [1, "by hand", 1]
    assert (step.status, step.generation) == (StepStatus.SKIPPED, 1)
    assert three.counter.calls == ["first", "second", "third"]


@idle
async def test_a_step_is_given_its_output(arrange: Callable[[Harness, Three], Awaitable[None]]) -> None:
    """As a skip, but the step counts as completed."""
    harness = Harness()
    three = Three(fails=arrange is failed)
    await arrange(harness, three)
    before = harness.summary("r")
    async with harness.kernel(three.workflow, recover=False) as kernel:
        await kernel.set_output("r", "second", {"rows": 3}, reason="read off the log", by="ann")
        state = await kernel.inspect("r")
        output = await (await kernel.resume("r")).result()

    assert StepOutputSet("second", '{"rows":3}', 1, "read off the log", "ann") in after(harness, before.seq)
    assert (state.status, harness.summary("r").owner) == (before.status, None)
    assert state.step_outputs["second"] == {"result": {"rows": 3}}
    assert output == [1, {"rows": 3}, 1]
    assert three.counter.calls == ["first", "second", "third"]


@idle
async def test_a_variable_is_set_by_hand(arrange: Callable[[Harness, Three], Awaitable[None]]) -> None:
    """On any run that may go on, who and why included."""
    harness = Harness()
    three = Three(fails=arrange is failed)
    await arrange(harness, three)
    before = harness.summary("r")
    async with harness.kernel(three.workflow, recover=False) as kernel:
        assert await kernel.set_variable("r", "mode", ["slow"], reason="calm", by="ann") is Delivery.RECORDED
        state = await kernel.inspect("r")

    assert after(harness, before.seq)[-1] == VariableSet("mode", '["slow"]', None, 1, "calm", "ann")
    assert (state.variables, state.status) == ({"mode": ["slow"]}, before.status)


async def test_a_skip_may_come_without_an_output() -> None:
    """The program then gets None, and the reason is a general one."""
    harness = Harness()
    three = Three(fails=True)
    await failed(harness, three)
    async with harness.kernel(three.workflow) as kernel:
        await kernel.skip("r", "second")
        assert await (await kernel.resume("r")).result() == [1, None, 1]

    assert StepSkipped("second", "somebody skipped it", None, 1, None) in after(harness, 0)


async def test_the_last_amendment_before_the_resume_counts() -> None:
    """A step that was skipped may still be given an output; what it has completed with stands."""
    harness = Harness()
    three = Three(fails=True)
    await failed(harness, three)
    async with harness.kernel(three.workflow) as kernel:
        await kernel.skip("r", "second", 1)
        await kernel.set_output("r", "second", 2)
        with pytest.raises(StepCompletedError, match="'second' of run 'r' has completed"):
            await kernel.skip("r", "second", 3)
        with pytest.raises(StepCompletedError):
            await kernel.set_output("r", "first", 3)
        assert await (await kernel.resume("r")).result() == [1, 2, 1]


async def test_an_amendment_of_what_is_not_there_is_refused() -> None:
    """A step nobody has begun, a run there is not, a value that is none; nothing is recorded."""
    harness = Harness()
    three = Three(fails=True)
    await failed(harness, three)
    before = harness.journal("r")
    async with harness.kernel(three.workflow) as kernel:
        with pytest.raises(StepNotFoundError, match="it has begun: first, second"):
            await kernel.skip("r", "third")
        with pytest.raises(StepNotFoundError):
            await kernel.set_output("r", "third", 1)
        with pytest.raises(RunNotFoundError):
            await kernel.skip("nobody", "first")
        with pytest.raises(InvalidValueError):
            await kernel.set_output("r", "second", float("nan"))
        with pytest.raises(PayloadTooLargeError):
            await kernel.skip("r", "second", "x" * (1024 * 1024 + 1))
        with pytest.raises(InvalidValueError):
            await kernel.skip("r", "second", reason="\udc80")
        with pytest.raises(InvalidNameError):
            await kernel.set_variable("r", "no name", 1)

    assert harness.journal("r") == before


async def test_a_planned_step_can_be_amended_before_it_has_begun() -> None:
    """A definition whose steps are known beforehand names those that are still to come."""

    async def program(ctx: Context, inputs: dict[str, Any]) -> Any:
        first = await ctx.step(one, name="a")
        return [first, await ctx.step(one, name="b")]

    async def one() -> Any:
        if not ready:
            raise ValueError("no")
        return 1

    ready: list[bool] = []
    planned = Workflow(name="planned", program=program, plan=[("a", "1"), ("b", "2")])
    async with Harness().kernel(planned) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(planned, run_id="r")
        await kernel.skip("r", "b", "not today")
        with pytest.raises(StepNotFoundError):
            await kernel.skip("r", "c")
        ready.append(True)
        assert await (await kernel.resume("r")).result() == [1, "not today"]


async def test_a_live_run_is_not_amended() -> None:
    """Its owner is at it, here or elsewhere: only a variable can be set."""
    harness = Harness()
    three = Three(fails=False)
    async with harness.kernel(three.workflow) as kernel, harness.kernel() as other:
        await kernel.start(three.workflow, run_id="r")
        await three.begun.wait()
        for somebody in (kernel, other):
            with pytest.raises(RunActiveError):
                await somebody.skip("r", "second")
            with pytest.raises(RunActiveError):
                await somebody.set_output("r", "second", 1)
        assert await kernel.set_variable("r", "mode", 1) is Delivery.RECORDED
        assert await other.set_variable("r", "mode", 2, by="ann") is Delivery.POSTED
        await recorded(harness, "r", "variable_set", 2)
        state = await kernel.inspect("r")

    assert state.variables == {"mode": 2}


async def test_a_completed_run_takes_no_amendment() -> None:
    """It has come to its end, and nothing would read what is changed in it."""

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(Counter().body("only"), name="only")

    async with Harness().kernel(program) as kernel:
        await kernel.run(program, run_id="r")
        with pytest.raises(RunFinishedError):
            await kernel.skip("r", "only")
        with pytest.raises(RunFinishedError):
            await kernel.set_output("r", "only", 1)
        with pytest.raises(RunFinishedError):
            await kernel.set_variable("r", "mode", 1)


# -- variables -----------------------------------------------------------------------------------------------------


async def test_a_program_reads_what_was_set_from_outside() -> None:
    """The value is that of the moment in which the program first asked, and stays so on replay."""
    harness = Harness()
    seen: list[Any] = []

    @workflow()
    async def program(ctx: Context) -> Any:
        await ctx.set_variable("mode", {"speed": 1})
        first = await ctx.variable("mode")
        await ctx.wait_signal("go")
        second = await ctx.variable("mode")
        seen.append([first, second, await ctx.variable("other", "default")])
        await ctx.wait_signal("end")
        return seen[-1]

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting", "go")
        await kernel.set_variable("r", "mode", 2, by="ann")
        await kernel.signal("r", "go")
        await until(kernel, "r", "step_waiting", "end")
        await kernel.set_variable("r", "mode", 3)
        await kernel.set_variable("r", "other", 3)
        crash(kernel)
    async with harness.kernel(program) as kernel:
        await kernel.signal("r", "end")
        output = await kernel.result("r")
        state = await kernel.inspect("r")

    assert output == [{"speed": 1}, 2, "default"]
    assert seen == [output, output]
    assert state.variables == {"mode": 3, "other": 3}  # the replayed set_variable did not set it again


# -- resumes -------------------------------------------------------------------------------------------------------


async def test_a_resume_skips_what_it_is_told_to() -> None:
    """The failed step would be tried afresh; instead it is skipped, in the generation that begins."""
    harness = Harness()
    three = Three(fails=True)
    await failed(harness, three)
    async with harness.kernel(three.workflow) as kernel:
        output = await (await kernel.resume("r", skip={"second": [1, 2]}, by="ann")).result()
        step = (await kernel.inspect("r")).steps["second"]

    assert output == [1, [1, 2], 1]
    assert (step.status, step.generation) == (StepStatus.SKIPPED, 2)
    assert StepSkipped("second", "somebody skipped it", "[1,2]", 2, "ann") in after(harness, 0)


async def test_a_resume_skips_a_step_that_was_running() -> None:
    """An interrupted attempt is not begun again, and its step keeps its generation."""
    harness = Harness()
    three = Three(fails=False)
    await interrupted(harness, three)
    async with harness.kernel(three.workflow, recover=False) as kernel:
        assert await (await kernel.resume("r", skip={"second": None})).result() == [1, None, 1]
        step = (await kernel.inspect("r")).steps["second"]

    assert (step.status, step.generation, three.counter.calls.count("second")) == (StepStatus.SKIPPED, 1, 1)


async def test_a_resume_runs_again_what_it_is_told_to() -> None:
    """`retry` gives those steps a new generation and leaves later ones alone; the failure is tried afresh as ever."""
    harness = Harness()
    three = Three(fails=True)
    await failed(harness, three)
    async with harness.kernel(three.workflow) as kernel:
        with pytest.raises(RunFailed):
            await (await kernel.resume("r", retry=["first"])).result()
        steps = (await kernel.inspect("r")).steps

    assert {name: (step.generation, step.output) for name, step in steps.items()} == {
        "first": (2, 2),
        "second": (2, None),
    }
    assert three.counter.calls == ["first", "second", "first", "second"]


async def test_a_resume_runs_a_handled_failure_again() -> None:
    """A failure the program has dealt with is kept by a plain resume, and tried again when it is named."""
    counter = Counter()
    fixed: list[bool] = []

    async def careful() -> str:
        counter.count("careful")
        if not fixed:
            raise ValueError("no")
        return "fine"

    async def last() -> str:
        if not fixed:
            raise KeyError("no")
        return "done"

    @workflow()
    async def program(ctx: Context) -> list[str]:
        try:
            first = await ctx.step(careful)
        except StepFailed:
            first = "handled"
        return [first, await ctx.step(last)]

    async with Harness().kernel(program) as kernel:
        outputs: list[list[str]] = []
        for retry in ([], ["careful"]):
            run_id = f"r{len(outputs)}"
            fixed.clear()
            with pytest.raises(RunFailed):
                await kernel.run(program, run_id=run_id)
            fixed.append(True)
            outputs.append(await (await kernel.resume(run_id, retry=retry)).result())

    assert outputs == [["handled", "done"], ["fine", "done"]]
    assert counter.calls == ["careful"] * 3


async def test_a_resume_that_makes_no_sense_changes_nothing() -> None:
    """Steps nobody knows, steps that have completed, values that are none, and a completed run."""
    harness = Harness()
    three = Three(fails=True)
    await failed(harness, three)
    before = harness.journal("r")
    async with harness.kernel(three.workflow) as kernel:
        with pytest.raises(StepNotFoundError):
            await kernel.resume("r", retry=["third"])
        with pytest.raises(StepNotFoundError):
            await kernel.resume("r", skip={"third": None})
        with pytest.raises(StepCompletedError):
            await kernel.resume("r", skip={"first": 1})
        with pytest.raises(InvalidValueError):
            await kernel.resume("r", skip={"second": float("inf")})
        assert harness.journal("r") == before
        assert (await kernel.inspect("r")).status is RunStatus.FAILED
        await (await kernel.resume("r", skip={"second": None})).result()
        with pytest.raises(RunNotResumableError):
            await kernel.resume("r", retry=["first"])
