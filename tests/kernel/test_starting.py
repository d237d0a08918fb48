"""Starting a run: once under one id, checked first, driven whatever becomes of the caller."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel import Context, Kernel, RunFailed, RunHandle, workflow
from flujo.kernel.errors import (
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    RunExistsError,
    WorkflowNotFoundError,
)
from kernel.flows import doubling, waiting
from kernel.harness import Harness, is_cancelled_after, until


async def test_starting_twice_under_one_id_is_starting_once() -> None:
    """The same id with the same workflow and inputs is the same run, live or finished."""
    async with Harness().kernel(doubling) as kernel:
        first = await kernel.start(doubling, {"number": 3}, run_id="r")
        second = await kernel.start("doubling", {"number": 3}, run_id="r")
        await first.result()
        third = await kernel.start(doubling, {"number": 3}, run_id="r")

        assert [each.created for each in (first, second, third)] == [True, False, False]
        assert await third.result() == 6


async def test_two_starts_at_the_same_moment_make_one_run() -> None:
    """Of two concurrent starts under one id one creates the run, and both have its result."""
    handles: list[RunHandle] = []
    results: list[int] = []

    async def begin(kernel: Kernel) -> None:
        handle = await kernel.start(doubling, {"number": 3}, run_id="r")
        handles.append(handle)
        results.append(await handle.result())

    async with Harness().kernel(doubling) as kernel, anyio.create_task_group() as group:
        group.start_soon(begin, kernel)
        group.start_soon(begin, kernel)

    assert sorted(handle.created for handle in handles) == [False, True]
    assert results == [6, 6]


@pytest.mark.parametrize(
    ("flow", "inputs", "run_id", "difference"),
    [
        (doubling, {"number": 4}, "Run", "other inputs"),
        (waiting, {}, "Run", "the workflow 'doubling'"),
        (doubling, {"number": 3}, "rUN", "upper and lower case"),
    ],
    ids=["other inputs", "another workflow", "another case"],
)
async def test_an_id_that_is_taken_is_refused(flow: Any, inputs: dict[str, Any], run_id: str, difference: str) -> None:
    """An id belongs to one workflow with one set of inputs, and ids are unique regardless of case."""
    async with Harness().kernel(doubling, waiting) as kernel:
        await kernel.run(doubling, {"number": 3}, run_id="Run")

        with pytest.raises(RunExistsError, match=difference):
            await kernel.start(flow, inputs, run_id=run_id)


async def test_inputs_are_checked_before_anything_is_stored() -> None:
    """Inputs that do not fit are refused with every problem by field, and no run exists afterwards."""
    harness = Harness()

    async with harness.kernel(doubling) as kernel:
        with pytest.raises(InvalidInputError) as refused:
            await kernel.start(doubling, {"number": "many", "colour": "red"}, run_id="r")
        with pytest.raises(InvalidNameError):
            await kernel.start(doubling, run_id="not an id")
        with pytest.raises(WorkflowNotFoundError, match="doubling"):
            await kernel.start("tripling")

    assert set(refused.value.problems) == {"number", "colour"}
    assert harness.store.runs == {}


async def test_a_start_whose_caller_is_cancelled_goes_on() -> None:
    """A run whose creation is recorded is driven, whatever becomes of the task that asked for it."""
    left_to_itself = 0
    for ticks in range(12):
        harness = Harness()
        async with harness.kernel(doubling) as kernel:
            cancelled = await is_cancelled_after(ticks, partial(kernel.start, doubling, run_id="r"))
            if "r" in harness.store.runs:  # the cancellation may have come before the start
                assert await kernel.result("r") == 2
                left_to_itself += cancelled

    assert left_to_itself > 0


@pytest.mark.parametrize("request_", ["resume", "start", "cancel"])
async def test_a_caller_who_is_cancelled_half_way_leaves_no_run_that_nobody_drives(request_: str) -> None:
    """Whatever await a cancellation hits: a run this kernel has claimed goes on, and one it has not can be taken up."""

    @workflow()
    async def waiter(ctx: Context) -> int:
        answer: int = await ctx.wait_signal("answer")
        return answer

    cancelled: list[bool] = []
    for ticks in range(30):
        harness = Harness()
        async with harness.kernel(waiter) as kernel:
            await kernel.start(waiter, run_id="r")
            await until(kernel, "r", "step_waiting")
        async with harness.kernel(waiter, recover=False) as kernel:
            calls = {
                "resume": lambda kernel=kernel: kernel.resume("r"),
                "start": lambda kernel=kernel: kernel.start(waiter, run_id="r"),
                "cancel": lambda kernel=kernel: kernel.cancel("r"),
            }
            cancelled.append(await is_cancelled_after(ticks, calls[request_]))
            for _ in range(40):
                await checkpoint()

            if harness.summary("r").status != "cancelled":
                await kernel.start(waiter, run_id="r")  # refused, or of no use, if the run is claimed by nobody's task
                await kernel.signal("r", "answer", 42)
                with anyio.fail_after(30):
                    assert await kernel.result("r") == 42

    assert cancelled.count(True) >= 3  # at different awaits, not only before the request had begun
    assert not cancelled[-1]


@pytest.mark.parametrize("where", ["labels", "environment", "cancel", "signal", "resume", "skip", "error type"])
async def test_text_that_is_not_utf8_is_refused_and_the_kernel_goes_on(where: str) -> None:
    """A file name or variable of other bytes fails the call that carries it, or its run, and nothing else."""
    odd = "\udcff"

    class OddError(Exception):
        type = odd

    @workflow()
    async def program(ctx: Context) -> None:
        if where == "skip":
            ctx.skip("later", odd)
        if where == "error type":
            raise OddError
        await ctx.wait_signal("never")

    if where == "environment":
        program = replace(program, environment=lambda beginning: {"workspace": odd})

    kernel = Harness().kernel(program)
    calls: dict[str, Any] = {
        "cancel": lambda: kernel.cancel("r", odd),
        "signal": lambda: kernel.signal("r", "never", by=odd),
        "resume": lambda: kernel.resume("r", by=odd),
        "skip": lambda: kernel.result("r"),
        "error type": lambda: kernel.result("r"),
    }

    async with kernel:
        calls["labels"] = calls["environment"] = partial(
            kernel.start, program, run_id="r", labels={"team": odd if where == "labels" else "a"}
        )
        if where not in ("labels", "environment"):
            await kernel.start(program, run_id="r")
        with anyio.fail_after(30), pytest.raises((InvalidValueError, RunFailed)):
            await calls[where]()
        assert await kernel.run(doubling) == 2


async def test_a_run_started_by_a_steps_body_is_a_run_like_any_other() -> None:
    """A body may open a kernel, or use its own, and run a workflow there: that one's steps are not inside the body."""
    harness, elsewhere = Harness(), Harness()

    async def here() -> Any:
        return await kernel.run(doubling)

    async def there() -> Any:
        async with elsewhere.kernel(doubling) as inner:
            return await inner.run(doubling)

    @workflow()
    async def program(ctx: Context) -> Any:
        return [await ctx.step(here), await ctx.step(there)]

    async with harness.kernel(program) as kernel:
        assert await kernel.run(program) == [2, 2]


@pytest.mark.parametrize("value", [float("nan"), {"deep": [float("inf")]}], ids=["NaN", "infinity inside"])
async def test_an_input_that_json_cannot_hold_is_refused_with_its_place(value: Any) -> None:
    """Nothing becomes null on its way into the journal."""

    @workflow()
    async def takes(ctx: Context, value: Any) -> Any:
        return value

    async with Harness().kernel(takes) as kernel:
        with pytest.raises(InvalidValueError, match=r"\$\.value"):
            await kernel.start(takes, {"value": value})
