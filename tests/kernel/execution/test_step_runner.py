"""One step: attempted until it has an outcome, which is recorded once and handed out ever after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from pydantic import BaseModel

from flujo.kernel import (
    Attempt,
    Context,
    Kernel,
    RetryPolicy,
    RunFailed,
    StepFailed,
    StepStatus,
    Wait,
    Workflow,
    current_attempt,
    step,
    workflow,
)
from flujo.kernel.errors import DeclarationError
from kernel.harness import Counter, JumpingClock, ManualClock, Stage, crash, until


def one_step(function: Any, *args: Any, **options: Any) -> Workflow:
    """A workflow that performs one step, called `it`, and returns its output."""

    @workflow(name="one_step")
    async def program(ctx: Context) -> Any:
        return await ctx.step(function, *args, name="it", **options)

    return program


async def outcome(flow: Workflow, clock: ManualClock | None = None) -> Any:
    """Run a workflow on a stage of its own; returns its output, raises RunFailed."""
    async with Stage(clock or JumpingClock()).kernel(flow) as kernel:
        return await kernel.run(flow, run_id="r")


@asynccontextmanager
async def crashed(stage: Stage, flow: Workflow, type: str, step: str | None = None) -> AsyncIterator[Kernel]:
    """Start the run `r`, crash its kernel once an event of this type is durable, and hand out its successor."""
    async with stage.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", type, step)
        crash(kernel)
    async with stage.kernel(flow) as successor:
        yield successor


# -- retries -------------------------------------------------------------------------------------------------------


async def test_a_failing_step_is_tried_again_after_the_recorded_delays() -> None:
    """Every failed attempt is recorded with the instant of the next one, and that is when the next one starts."""
    clock = JumpingClock()
    stage = Stage(clock)
    counter = Counter()

    async def flaky() -> str:
        if counter.count("flaky") < 4:
            raise ConnectionError("no route")
        return "there"

    flow = one_step(flaky, retry=RetryPolicy(max_attempts=4, delay=10, jitter=0))
    async with stage.kernel(flow) as kernel:
        output = await kernel.run(flow, run_id="r")

    assert output == "there"
    assert clock.naps == [10.0, 20.0, 40.0]
    failures = [event for event in stage.journal("r") if event.type == "attempt_failed"]
    starts = [event for event in stage.journal("r") if event.type == "step_started"]
    assert [event.fact.next_attempt_at for event in failures] == [event.at for event in starts[1:]]  # type: ignore[union-attr]
    assert [event.fact.attempt for event in starts] == [1, 2, 3, 4]  # type: ignore[union-attr]


async def test_an_error_the_policy_does_not_name_is_not_retried() -> None:
    """A ValueError under `on_error=[ConnectionError]` fails the step at its first attempt."""
    counter = Counter()

    async def wrong() -> None:
        counter.count("wrong")
        raise ValueError("seven is not even")

    with pytest.raises(RunFailed) as failed:
        await outcome(one_step(wrong, retry=RetryPolicy(max_attempts=5, on_error=["ConnectionError"])))

    assert counter.calls == ["wrong"]
    assert (failed.value.type, failed.value.error, failed.value.step) == ("ValueError", "seven is not even", "it")


async def test_a_value_that_cannot_be_recorded_is_not_retried() -> None:
    """An output that is no JSON fails its step once, with the path of the value, whatever the policy says."""
    counter = Counter()

    async def strange() -> Any:
        counter.count("strange")
        return {"rows": [1, float("nan")]}

    with pytest.raises(RunFailed, match=r"\$\.rows\[1\]"):
        await outcome(one_step(strange, retry=RetryPolicy(max_attempts=5)))

    assert counter.calls == ["strange"]


async def test_a_retry_that_was_pending_in_a_crash_waits_for_what_is_left() -> None:
    """The due time of the next attempt survives its kernel, and so does the number of failures."""
    stage = Stage()
    counter = Counter()

    async def flaky() -> int:
        if counter.count("flaky") == 1:
            raise ConnectionError
        return current_attempt().attempt

    flow = one_step(flaky, retry=RetryPolicy(max_attempts=2, delay=60, jitter=0))
    async with crashed(stage, flow, "attempt_failed") as kernel:
        stage.clock.advance(45)
        await stage.clock.asleep(60)
        before = list(counter.calls)
        stage.clock.advance(15)

        assert await kernel.result("r") == 2
        assert before == ["flaky"]


async def test_a_crash_is_not_a_failure() -> None:
    """An attempt whose kernel died is followed by another, although the policy allows one failure only."""
    stage = Stage()

    async def body() -> int:
        if current_attempt().attempt == 1:
            await anyio.sleep_forever()
        return current_attempt().attempt

    async with crashed(stage, one_step(body), "step_started") as kernel:
        assert await kernel.result("r") == 2
        state = await kernel.inspect("r")

    assert (state.steps["it"].failures, state.steps["it"].interruptions) == (0, 1)


# -- how bodies end ------------------------------------------------------------------------------------------------


async def test_a_timeout_cancels_the_body() -> None:
    """A body that takes too long is cancelled, its cleanup runs, and the attempt fails with a TimeoutError."""
    cleaned = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.set()

    with pytest.raises(RunFailed, match=r"TimeoutError: it took longer than 0\.01s"):
        await outcome(one_step(slow, timeout=0.01))

    assert cleaned.is_set()


async def test_a_timeout_holds_for_each_attempt() -> None:
    """A timeout is retried as `on_error: [TimeoutError]` says, with its full time again."""

    async def slow_at_first() -> int:
        if current_attempt().attempt == 1:
            await anyio.sleep_forever()
        return current_attempt().attempt

    policy = RetryPolicy(max_attempts=2, on_error=["TimeoutError"])

    assert await outcome(one_step(slow_at_first, timeout=0.01, retry=policy)) == 2


@pytest.mark.parametrize("error", [SystemExit(3), SystemExit("bye"), BaseException("odd")])
async def test_a_body_that_wants_to_end_the_process_fails(error: BaseException) -> None:
    """SystemExit in a body is a failure of its step, and the kernel goes on."""

    async def leave() -> None:
        raise error

    with pytest.raises(RunFailed) as failed:
        await outcome(one_step(leave))

    assert failed.value.type == type(error).__name__


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(anyio_backend: str) -> None:
    """A body that awaits something which was cancelled by itself fails, and is retried like any failure."""
    counter = Counter()

    async def stray() -> str:
        if counter.count("stray") == 1:
            raise asyncio.CancelledError("the future was cancelled")
        return "second"

    assert await outcome(one_step(stray, retry=RetryPolicy(max_attempts=2))) == "second"


async def test_an_error_message_is_recorded_with_its_place() -> None:
    """The type, message and last frames of an error are in the journal, whatever characters the message holds."""

    async def odd() -> None:
        raise ValueError("\udcff is no text")

    flow = one_step(odd)
    async with Stage().kernel(flow) as kernel:
        state = await (await kernel.start(flow)).wait()

    error = state.steps["it"].error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "\\udcff is no text")
    assert "in odd" in str(error.details)


# -- kinds of bodies -----------------------------------------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread_and_knows_its_attempt() -> None:
    """A plain `def` leaves the event loop alone, and `current_attempt()` works in its thread."""

    def blocking() -> str:
        with pytest.raises(anyio.NoEventLoopError):
            anyio.get_current_task()
        return current_attempt().step

    assert await outcome(one_step(blocking)) == "it"


async def test_a_plain_function_cannot_have_a_timeout() -> None:
    """Nothing can stop a thread, so a timeout is refused when the step is declared, and when it is called."""

    def blocking() -> None: ...

    with pytest.raises(DeclarationError, match="plain def"):
        step(timeout=1)(blocking)
    with pytest.raises(RunFailed, match="plain def"):
        await outcome(one_step(blocking, timeout=1))


class Order(BaseModel):
    name: str
    prices: tuple[float, ...]


async def test_pydantic_models_go_in_and_out() -> None:
    """A model is what the inputs and the return annotation say, live and on replay."""
    stage = Stage()

    async def price(name: str) -> Order:
        return Order(name=name, prices=(3, 4.5))

    @workflow()
    async def shop(ctx: Context, order: Order) -> Order:
        priced = await ctx.step(price, order.name)
        assert isinstance(priced, Order)
        assert isinstance(priced.prices[0], float)
        await ctx.wait_signal("pay")
        return priced

    async with stage.kernel(shop) as kernel:
        await kernel.start(shop, {"name": "tea", "prices": []}, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with stage.kernel(shop) as kernel:
        await kernel.signal("r", "pay")
        output = await kernel.result("r")

    assert output == {"name": "tea", "prices": [3.0, 4.5]}


async def test_a_program_receives_what_is_recorded_the_first_time_too() -> None:
    """What a step returned later changes, or is a tuple, the program sees as it would on replay."""

    async def pair() -> Any:
        return (1, {"a": (2,)})

    @workflow()
    async def program(ctx: Context) -> None:
        assert await ctx.step(pair) == [1, {"a": [2]}]

    await outcome(program)


async def test_a_body_that_returns_a_wait_waits_durably() -> None:
    """`Wait(seconds)` ends the attempt, and the step completes with null when its time has come, also after a crash."""
    stage = Stage()
    counter = Counter()

    async def later() -> Any:
        counter.count("later")
        return Wait(seconds=30)

    async with crashed(stage, one_step(later), "step_waiting") as kernel:
        await stage.clock.asleep(30)
        stage.clock.advance(30)

        assert await kernel.result("r") is None
        assert counter.calls == ["later"]


async def test_a_body_may_wait_for_a_signal() -> None:
    """`Wait(signal=…)` completes the step with the payload of the signal."""
    stage = Stage()

    async def approval() -> Any:
        return Wait(signal="approved")

    flow = one_step(approval)
    async with stage.kernel(flow) as kernel:
        handle = await kernel.start(flow)
        await handle.signal("approved", {"by": "ann"})

        assert await handle.result() == {"by": "ann"}


# -- what a body knows ---------------------------------------------------------------------------------------------


async def test_a_body_knows_its_attempt() -> None:
    """`current_attempt()` names run, step, attempt and an idempotency key that all attempts of a generation share."""
    seen: list[Attempt] = []

    async def flaky() -> None:
        seen.append(current_attempt())
        if len(seen) == 1:
            raise ConnectionError

    await outcome(one_step(flaky, retry=RetryPolicy(max_attempts=2)))

    assert [attempt.attempt for attempt in seen] == [1, 2]
    assert {attempt.idempotency_key for attempt in seen} == {"r/it@1"}
    assert seen[1].environment()["FLUJO_ATTEMPT"] == "2"
    with pytest.raises(RuntimeError, match="outside"):
        current_attempt()


async def test_the_idempotency_key_changes_with_the_generation() -> None:
    """A resume that runs a step again gives it another idempotency key, and its attempts count from 1."""
    stage = Stage()
    seen: list[tuple[str, int]] = []

    async def body() -> None:
        attempt = current_attempt()
        seen.append((attempt.idempotency_key, attempt.attempt))

    flow = one_step(body)
    async with stage.kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")
        await (await kernel.resume("r", from_step="it")).result()

    assert seen == [("r/it@1", 1), ("r/it@2", 1)]


# -- cancelled by the program --------------------------------------------------------------------------------------


async def test_a_step_its_program_cancels_is_recorded_so_and_waits_for_that_again() -> None:
    """After a crash, the step that lost against a deadline is not run again, but waits to be cancelled once more."""
    stage = Stage()
    counter = Counter()
    expire = [anyio.Event(), anyio.Event()]

    async def endless() -> None:
        counter.count("endless")
        await anyio.sleep_forever()

    async def after() -> int:
        return counter.count("after")

    @workflow()
    async def program(ctx: Context) -> int:
        expired = expire[counter.count("program") - 1]
        async with anyio.create_task_group() as group:

            async def deadline() -> None:
                await expired.wait()
                group.cancel_scope.cancel()

            group.start_soon(deadline)
            await ctx.step(endless)
        output = await ctx.step(after)
        await ctx.wait_signal("go")
        return output

    async with stage.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started")
        expire[0].set()
        await until(kernel, "r", "step_waiting")
        status = (await kernel.inspect("r")).steps["endless"].status
        crash(kernel)
    async with stage.kernel(program) as kernel:
        await anyio.wait_all_tasks_blocked()
        written = stage.summary("r").seq
        expire[1].set()
        await kernel.signal("r", "go")
        output = await kernel.result("r")

    assert status is StepStatus.CANCELLED
    assert output == 1
    assert counter.calls == ["program", "endless", "after", "program"]
    assert stage.journal("r")[written].type == "signal_received"


async def test_a_cancelled_step_does_not_upset_the_order_of_what_follows() -> None:
    """After a replayed step has waited for its cancellation, later outcomes still come in the order of the journal."""
    stage = Stage()
    gates = [anyio.Event() for _ in range(5)]
    orders: list[list[int]] = []

    async def finish(number: int) -> int:
        await gates[number].wait()
        return number

    @workflow()
    async def program(ctx: Context) -> None:
        order: list[int] = []
        orders.append(order)
        with anyio.move_on_after(0.01):
            await ctx.step(anyio.sleep_forever, name="endless")

        async def branch(number: int) -> None:
            order.append(await ctx.step(finish, number))

        await ctx.gather(*(branch(number) for number in range(5)))
        await ctx.wait_signal("go")

    async with stage.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started", count=6)
        for number in (3, 1, 4, 0, 2):
            gates[number].set()
            await until(kernel, "r", "step_completed", f"gather[{number}]/finish")
        crash(kernel)
    async with stage.kernel(program) as kernel:
        await kernel.signal("r", "go")
        await kernel.result("r")

    assert orders == [[3, 1, 4, 0, 2]] * 2


async def test_what_was_recorded_after_a_cancellation_waits_for_it_to_be_repeated() -> None:
    """A replay gives the program's own deadline its time before it hands out what was recorded behind it."""
    stage = Stage()
    second_is_done = anyio.Event()
    orders: list[list[str]] = []

    async def after_the_other_branch() -> None:
        await second_is_done.wait()

    @workflow()
    async def program(ctx: Context) -> None:
        order: list[str] = []
        orders.append(order)

        async def patient() -> None:
            with anyio.move_on_after(0.05):
                await ctx.step(anyio.sleep_forever, name="endless")
            await ctx.step(anyio.sleep, 0, name="second")
            order.append("patient")
            second_is_done.set()

        async def late() -> None:
            await ctx.step(after_the_other_branch, name="late")
            order.append("late")

        await ctx.gather(a=patient(), b=late())
        await ctx.wait_signal("go")

    async with crashed(stage, program, "step_waiting") as kernel:
        await kernel.signal("r", "go")
        await kernel.result("r")

    assert orders == [["patient", "late"]] * 2


async def test_a_failure_reaches_the_program_alike_live_and_on_replay() -> None:
    """A program that handles a failure sees the same StepFailed again after a crash, and takes the same path."""
    stage = Stage()
    seen: list[tuple[str, str, str, int]] = []

    async def broken() -> None:
        raise LookupError("nothing there")

    @workflow()
    async def program(ctx: Context) -> str:
        try:
            await ctx.step(broken)
        except StepFailed as failed:
            seen.append((failed.step, failed.type, failed.error, failed.attempt))
        await ctx.wait_signal("go")
        return "handled"

    async with crashed(stage, program, "step_waiting") as kernel:
        await kernel.signal("r", "go")

        assert await kernel.result("r") == "handled"
        assert seen == [("broken", "LookupError", "nothing there", 1)] * 2


# -- limits --------------------------------------------------------------------------------------------------------


async def test_max_steps_bounds_how_many_bodies_run_at_once() -> None:
    """With `max_steps=2`, six concurrent steps of two runs never run more than two bodies at a time."""
    running: list[int] = []
    most: list[int] = []

    async def body(number: int) -> None:
        running.append(number)
        most.append(len(running))
        for _ in range(3):
            await checkpoint()
        running.remove(number)

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.map(body, [1, 2, 3])

    async with Stage().kernel(program, max_steps=2) as kernel, anyio.create_task_group() as group:
        group.start_soon(kernel.run, program)
        group.start_soon(kernel.run, program)

    assert len(most) == 6
    assert max(most) == 2
