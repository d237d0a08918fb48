"""A loop performs a step per item; what is recorded of them decides what a later life of its run does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flujo.kernel import Context, Kernel, Workflow, workflow
from flujo.kernel.errors import RunFailed
from flujo.kernel.execution.attempt_runner import StepOptions
from flujo.kernel.execution.items import Agenda, Loop, LoopEnd
from flujo.kernel.state import StepStatus, WorkflowState
from kernel.harness import FailingBackend, Harness, ManualClock, crash, settled, until

Item = Callable[[Any], Awaitable[Any]]


async def echo(item: Any) -> Any:
    return item


def looping(
    items: list[Any],
    body: Item = echo,
    *,
    at_once: int = 1,
    chunk_size: int | None = None,
    goes_on: bool = False,
    report_seconds: float | None = None,
    name: str = "flow",
) -> Workflow:
    """A workflow that is one loop over `items`, called `loop`."""

    async def read() -> Agenda:
        return Agenda(items, at_once, chunk_size)

    def conclude(end: LoopEnd) -> list[Any]:
        if not goes_on and any(outcome.failure for outcome in end.outcomes):
            raise ValueError("an item has failed")
        return [[outcome.status.value, outcome.output] for outcome in end.outcomes]

    @workflow(name=name)
    async def flow(ctx: Context) -> list[Any]:
        loop = Loop(
            read=read,
            body=lambda agenda, index: lambda: body(agenda.items[index]),
            options=StepOptions(),
            conclude=conclude,
            goes_on=goes_on,
            report_seconds=report_seconds,
        )
        found: list[Any] = await ctx.loop(loop, name="loop")
        return found

    return flow


async def ended(kernel: Kernel, flow: Workflow) -> WorkflowState:
    await kernel.start(flow, run_id="r")
    return await kernel.wait("r")


async def test_a_loop_waits_for_its_items_and_has_their_outcome() -> None:
    """It is recorded before them, and after them."""
    harness = Harness()
    flow = looping(["x", "y"])
    async with harness.kernel(flow) as kernel:
        state = await ended(kernel, flow)

    assert state.output == [["completed", "x"], ["completed", "y"]]
    assert {step.name: (step.kind, step.status) for step in state.steps.values()} == {
        "loop": ("items", "completed"),
        "loop[0]": ("task", "completed"),
        "loop[1]": ("task", "completed"),
    }


async def test_while_it_waits_a_run_is_at_work() -> None:
    """The loop is one of its current steps, and no wait; nothing has to wake it."""
    harness = Harness()
    seen: list[WorkflowState] = []

    async def look(item: Any) -> None:
        seen.append(await kernel.inspect("r"))

    flow = looping([1], look)
    async with harness.kernel(flow) as kernel:
        await ended(kernel, flow)

    (state,) = seen
    assert (state.status, state.current_steps, state.wait) == ("running", ["loop", "loop[0]"], [])
    assert (state.waiting, state.open_loops, state.wake_at) == (0, ["loop"], None)


async def test_a_failure_lets_no_other_item_begin() -> None:
    """Those at work come to their end."""
    harness = Harness()
    began: list[int] = []
    failed = anyio.Event()

    async def body(item: int) -> None:
        began.append(item)
        if item == 0:
            failed.set()
            raise ValueError("as told")
        await failed.wait()

    flow = looping([0, 1, 2, 3], body, at_once=2)
    async with harness.kernel(flow) as kernel:
        state = await ended(kernel, flow)

    assert sorted(began) == [0, 1]
    assert {step.name: step.status.value for step in state.steps.values()} == {
        "loop": "failed",
        "loop[0]": "failed",
        "loop[1]": "completed",
    }
    assert state.failed_step == "loop"


async def test_a_resume_gives_the_failed_items_and_the_loop_new_generations() -> None:
    """And nothing else."""
    harness = Harness()
    failing = {1}

    async def body(item: int) -> int:
        if item in failing:
            failing.clear()
            raise ValueError("as told")
        return item

    flow = looping([0, 1, 2], body)
    async with harness.kernel(flow) as kernel:
        await ended(kernel, flow)
        await kernel.resume("r")
        state = await kernel.wait("r")

    assert state.output == [["completed", 0], ["completed", 1], ["completed", 2]]
    assert {step.name: step.generation for step in state.steps.values()} == {
        "loop": 2,
        "loop[0]": 1,
        "loop[1]": 2,
        "loop[2]": 1,
    }


async def test_a_chunk_begins_once_the_one_before_has_come_to_its_end() -> None:
    """Within a chunk items are side by side."""
    harness = Harness()
    at_work: set[int] = set()
    together: list[set[int]] = []

    async def body(item: int) -> None:
        at_work.add(item)
        await anyio.lowlevel.checkpoint()
        together.append(set(at_work))
        await anyio.lowlevel.checkpoint()
        at_work.discard(item)

    flow = looping([0, 1, 2, 3, 4], body, at_once=5, chunk_size=2)
    async with harness.kernel(flow) as kernel:
        await ended(kernel, flow)

    assert all(each <= {0, 1} or each <= {2, 3} or each <= {4} for each in together)


@pytest.mark.parametrize("at_once", [1, 3])
async def test_a_loop_goes_on_where_its_kernel_died(at_once: int) -> None:
    """Completed items are handed out, and the interrupted one runs again."""
    harness = Harness()
    performed: list[int] = []
    is_held = [True]

    async def body(item: int) -> int:
        performed.append(item)
        if item == 2 and is_held[0]:
            await anyio.sleep_forever()
        return item

    flow = looping([0, 1, 2, 3], body, at_once=at_once)
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "step_started", "loop[2]")
        crash(kernel)
    before = {item for item in performed if item != 2 and f"loop[{item}]" in completed(harness)}
    performed.clear()
    is_held.clear()
    is_held.append(False)
    async with harness.kernel(flow) as kernel:
        state = await kernel.wait("r")

    assert set(performed) == {0, 1, 2, 3} - before
    assert state.output == [["completed", item] for item in range(4)]


def completed(harness: Harness) -> set[str]:
    """The steps whose success is durable."""
    return {event.step for event in harness.journal("r") if event.type == "step_completed" and event.step is not None}


async def test_another_item_in_the_place_of_a_completed_one_is_refused() -> None:
    """And so is a list without it; an item that has not completed may be another one."""
    harness = Harness()

    async def body(item: Any) -> Any:
        if item == "bad":
            raise ValueError("as told")
        return item

    flow = looping(["x", "bad"], body)
    async with harness.kernel(flow) as kernel:
        await ended(kernel, flow)
    found: list[list[tuple[str, ...]]] = []
    for items in (["y", "bad"], [], ["x", "good"]):
        async with harness.kernel(looping(items, body)) as kernel:
            await kernel.resume("r")
            state = await kernel.wait("r")
        found.append([tuple(row)[:2] for row in state.differences])

    assert found == [[("loop[0]", "changed")], [("loop[0]", "removed")], []]
    assert state.output == [["completed", "x"], ["completed", "good"]]


async def test_several_changed_items_are_one_difference_of_their_loop() -> None:
    """From which it can be run again as a whole; accepted, what they have made stands for the others."""
    harness = Harness()

    async def body(item: Any) -> Any:
        if item == "bad":
            raise ValueError("as told")
        return item

    flow = looping(["x", "y", "bad"], body)
    async with harness.kernel(flow) as kernel:
        await ended(kernel, flow)
    async with harness.kernel(looping(["u", "v", "good"], body)) as kernel:
        await kernel.resume("r")
        refused = await kernel.wait("r")
        await kernel.resume("r", accept_changes=True)
        state = await kernel.wait("r")

    detail = "2 items that have completed are others now: loop[0], loop[1]"
    assert [tuple(row) for row in refused.differences] == [("loop", "changed", detail)]
    assert state.output == [["completed", "x"], ["completed", "y"], ["completed", "good"]]


async def test_what_is_recorded_of_a_settled_loop_is_asked_for_by_nobody() -> None:
    """A later life hands out its outcome, and goes on behind it, whatever its list would be."""
    harness = Harness()

    def followed(items: list[Any]) -> Workflow:
        inner = looping(items)

        @workflow(name="flow")
        async def flow(ctx: Context, ready: bool = False) -> Any:
            found = await inner.program(ctx, {})
            await ctx.wait_signal("go")
            return found

        return flow

    flow = followed([1, 2])
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "step_waiting", "go")
        crash(kernel)
    async with harness.kernel(followed([])) as kernel:
        await kernel.signal("r", "go")
        state = await kernel.wait("r")

    assert state.output == [["completed", 1], ["completed", 2]]


@pytest.mark.parametrize(("items", "at_once", "most"), [(20, 1, 22), (40, 1, 42), (40, 4, 22)])
async def test_a_loop_costs_no_commits_of_its_own(items: int, at_once: int, most: int) -> None:
    """One after another, items take one commit each, and two for the run; side by side they share commits."""
    backend = FailingBackend()
    flow = looping(list(range(items)), at_once=at_once)
    async with Harness().kernel(flow, backend=backend) as kernel:
        await ended(kernel, flow)

    assert len(backend.appends) <= most


async def test_a_list_that_cannot_be_read_fails_the_loop() -> None:
    """Its error is that of the loop."""
    harness = Harness()

    async def read() -> Agenda:
        raise LookupError("no list")

    @workflow(name="flow")
    async def flow(ctx: Context) -> None:
        loop = Loop(read, lambda agenda, index: lambda: echo(index), StepOptions(), lambda end: None)
        await ctx.loop(loop, name="loop")

    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        with pytest.raises(RunFailed) as failed:
            await kernel.result("r")

    assert (failed.value.step, failed.value.type, failed.value.error) == ("loop", "LookupError", "no list")


async def test_progress_is_reported_at_its_interval_and_at_the_end() -> None:
    """With how many have failed, and the rate of this life."""
    clock = ManualClock()
    harness = Harness(clock)

    async def body(item: int) -> None:
        clock.advance(2)
        if item == 1:
            raise ValueError("as told")

    flow = looping(list(range(5)), body, goes_on=True, report_seconds=4)
    async with harness.kernel(flow) as kernel:
        state = await ended(kernel, flow)
    said = [event.fact for event in harness.journal("r") if event.type == "progress_reported"]

    assert [(fact.done, fact.total, dict(fact.metrics)) for fact in said] == [  # type: ignore[union-attr]
        (0, 5, {"failed": 0}),
        (2, 5, {"failed": 1, "per_second": 0.5}),
        (4, 5, {"failed": 1, "per_second": 0.5}),
        (5, 5, {"failed": 1, "per_second": 0.5}),
    ]
    assert state.steps["loop[1]"].status is StepStatus.FAILED


async def test_a_pause_keeps_the_items_that_have_not_begun() -> None:
    """The one at work comes to its end; a resume goes on behind it."""
    harness = Harness()
    performed: list[int] = []

    async def body(item: int) -> int:
        performed.append(item)
        if item == 0:
            await kernel.pause("r")
        return item

    flow = looping([0, 1], body)
    async with harness.kernel(flow) as kernel:
        paused = await ended(kernel, flow)
        assert (paused.status, performed) == ("paused", [0])
        await kernel.unpause("r")
        state = await kernel.wait("r")

    assert (state.status, performed) == ("completed", [0, 1])


async def test_a_cancel_ends_a_loop_and_a_resume_goes_back_into_it() -> None:
    """The item that was at work begins anew."""
    harness = Harness()
    performed: list[int] = []

    async def body(item: int) -> int:
        performed.append(item)
        if performed == [0, 1]:
            await anyio.sleep_forever()
        return item

    flow = looping([0, 1, 2], body)
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await settled(lambda: performed == [0, 1])
        await kernel.cancel("r")
        cancelled = await kernel.wait("r")
        await kernel.resume("r")
        state = await kernel.wait("r")

    assert (cancelled.status, cancelled.steps["loop"].status) == ("cancelled", "cancelled")
    assert performed == [0, 1, 1, 2]
    assert state.output == [["completed", 0], ["completed", 1], ["completed", 2]]
