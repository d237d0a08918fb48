"""One step: attempted until it has an outcome, which is recorded once and handed out ever after."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel import (
    Context,
    RetryPolicy,
    RunFailed,
    StepFailed,
    StepStatus,
    current_attempt,
    workflow,
)
from flujo.kernel.durations import MICROSECONDS
from kernel.execution.steps import crashed, one_step, outcome
from kernel.harness import Counter, Harness, JumpingClock, crash, until


async def test_a_failing_step_is_tried_again_after_the_recorded_delays() -> None:
    """Every failed attempt is recorded with the instant of the next one, and that is when the next one starts."""
    clock = JumpingClock()
    harness = Harness(clock)
    counter = Counter()

    async def flaky() -> str:
        if counter.count("flaky") < 4:
            raise ConnectionError("no route")
        return "there"

    flow = one_step(flaky, retry=RetryPolicy(max_attempts=4, delay=10, jitter=0))
    async with harness.kernel(flow) as kernel:
        output = await kernel.run(flow, run_id="r")

    assert output == "there"
    assert clock.naps == [10.0, 20.0, 40.0]
    failures = [event for event in harness.journal("r") if event.type == "attempt_failed"]
    starts = [event for event in harness.journal("r") if event.type == "step_started"]
    assert [event.fact.next_attempt_at for event in failures] == [event.at for event in starts[1:]]  # type: ignore[union-attr]
    assert [event.fact.attempt for event in starts] == [1, 2, 3, 4]  # type: ignore[union-attr]


class SlowClock(JumpingClock):
    """Moves on by a second with every look at it, as that of a machine that stalls between any two."""

    def now(self) -> int:
        self.instant += MICROSECONDS
        return self.instant


async def test_what_is_put_off_is_put_off_from_the_instant_of_its_event() -> None:
    """A backoff or a sleep ends its recorded seconds behind its recorded instant, however slow the machine is."""
    harness = Harness(SlowClock())
    counter = Counter()

    @workflow()
    async def flow(ctx: Context) -> None:
        async def flaky() -> None:
            if counter.count("flaky") < 2:
                raise ConnectionError("no route")

        await ctx.step(flaky, retry=RetryPolicy(max_attempts=2, delay=10, jitter=0))
        await ctx.sleep(7)

    async with harness.kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")

    [failed] = [event for event in harness.journal("r") if event.type == "attempt_failed"]
    [slept] = [event for event in harness.journal("r") if event.type == "step_waiting"]
    assert failed.fact.next_attempt_at - failed.at == 10 * MICROSECONDS  # type: ignore[union-attr]
    assert slept.fact.until - slept.at == 7 * MICROSECONDS  # type: ignore[union-attr,operator]


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
    harness = Harness()
    counter = Counter()

    async def flaky() -> int:
        if counter.count("flaky") == 1:
            raise ConnectionError
        return current_attempt().attempt

    flow = one_step(flaky, retry=RetryPolicy(max_attempts=2, delay=60, jitter=0))
    async with crashed(harness, flow, "attempt_failed") as kernel:
        harness.clock.advance(45)
        await harness.clock.asleep(60)
        before = list(counter.calls)
        harness.clock.advance(15)

        assert await kernel.result("r") == 2
        assert before == ["flaky"]


async def test_a_crash_is_not_a_failure() -> None:
    """An attempt whose kernel died is followed by another, although the policy allows one failure only."""
    harness = Harness()

    async def body() -> int:
        if current_attempt().attempt == 1:
            await anyio.sleep_forever()
        return current_attempt().attempt

    async with crashed(harness, one_step(body), "step_started") as kernel:
        assert await kernel.result("r") == 2
        state = await kernel.inspect("r")

    assert (state.steps["it"].failures, state.steps["it"].interruptions) == (0, 1)


async def test_a_step_its_program_cancels_is_recorded_so_and_waits_for_that_again() -> None:
    """After a crash, the step that lost against a deadline is not run again, but waits to be cancelled once more."""
    harness = Harness()
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

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started")
        expire[0].set()
        await until(kernel, "r", "step_waiting")
        status = (await kernel.inspect("r")).steps["endless"].status
        crash(kernel)
    async with harness.kernel(program) as kernel:
        await anyio.wait_all_tasks_blocked()
        written = harness.summary("r").seq
        expire[1].set()
        await kernel.signal("r", "go")
        output = await kernel.result("r")

    assert status is StepStatus.CANCELLED
    assert output == 1
    assert counter.calls == ["program", "endless", "after", "program"]
    assert harness.types("r")[written : written + 2] == ["run_taken_over", "signal_received"]


async def test_a_cancelled_step_does_not_upset_the_order_of_what_follows() -> None:
    """After a replayed step has waited for its cancellation, later outcomes still come in the order of the journal."""
    harness = Harness()
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

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started", count=6)
        for number in (3, 1, 4, 0, 2):
            gates[number].set()
            await until(kernel, "r", "step_completed", f"gather[{number}]/finish")
        crash(kernel)
    async with harness.kernel(program) as kernel:
        await kernel.signal("r", "go")
        await kernel.result("r")

    assert orders == [[3, 1, 4, 0, 2]] * 2


async def test_what_was_recorded_after_a_cancellation_waits_for_it_to_be_repeated() -> None:
    """A replay gives the program's own deadline its time before it hands out what was recorded behind it."""
    harness = Harness()
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

    async with crashed(harness, program, "step_waiting") as kernel:
        await kernel.signal("r", "go")
        await kernel.result("r")

    assert orders == [["patient", "late"]] * 2


async def test_a_failure_reaches_the_program_alike_live_and_on_replay() -> None:
    """A program that handles a failure sees the same StepFailed again after a crash, and takes the same path."""
    harness = Harness()
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

    async with crashed(harness, program, "step_waiting") as kernel:
        await kernel.signal("r", "go")

        assert await kernel.result("r") == "handled"
        assert seen == [("broken", "LookupError", "nothing there", 1)] * 2


def append(numbers: list[int]) -> list[int]:
    numbers.append(len(numbers))
    return numbers


async def append_on_the_loop(numbers: list[int]) -> list[int]:
    return append(numbers)


async def append_inside(nested: dict[str, Any]) -> dict[str, Any]:
    append(nested["pair"][0])
    return nested


@pytest.mark.parametrize(
    ("body", "given", "where"),
    [
        (append_on_the_loop, [0], "step"),
        (append, [0], "step"),
        (append_inside, {"pair": ([0], 1)}, "step"),
        (append_on_the_loop, [0], "keyword"),
        (append_on_the_loop, [0], "map"),
    ],
    ids=["on the loop", "in a thread", "inside of a dict and a tuple", "by keyword", "of a map"],
)
async def test_a_body_changes_its_own_copy_of_lists_and_dicts(body: Any, given: Any, where: str) -> None:
    """What a body does to its arguments would be seen by the program in its first life only: a replay does not call it.
    So the program's own stay as they are, the next step is called with the same arguments again, and both lives agree.
    """
    harness = Harness()
    lives: list[Any] = []

    @workflow()
    async def program(ctx: Context) -> None:
        own, results = deepcopy(given), []
        for name in ("first", "second"):
            if where == "map":
                results += await ctx.map(body, [own], name=name)
            elif where == "keyword":
                results.append(await ctx.step(body, name=name, numbers=own))
            else:
                results.append(await ctx.step(body, own, name=name))
        lives.append((own, results))
        await ctx.wait_signal("go")

    async with crashed(harness, program, "step_waiting") as kernel:
        await kernel.signal("r", "go")
        await kernel.result("r")

    (own, results), in_second_life = lives
    assert in_second_life == (own, results)
    assert own == given
    assert results[0] == results[1] != own


async def test_arguments_that_nest_too_deep_fail_their_step_and_say_so() -> None:
    """A list in a list in a list, thousands deep: Python cannot copy it, and no further attempt could."""
    harness = Harness()

    async def depth(nested: list[Any]) -> int:
        return 1

    @workflow()
    async def program(ctx: Context) -> int:
        nested: list[Any] = []
        for _ in range(100_000):
            nested = [nested]
        return await ctx.step(depth, nested, retry=RetryPolicy(max_attempts=3))

    async with harness.kernel(program) as kernel:
        with pytest.raises(
            RunFailed, match="they nest too deep to be copied for each attempt; make it flatter"
        ) as failed:
            await kernel.run(program)
        assert (await kernel.inspect(failed.value.run_id)).steps["depth"].attempt == 1


async def test_each_attempt_gets_the_arguments_as_the_program_gave_them() -> None:
    """What a failed attempt has changed is not there for the next one, as it is not after a crash between them."""
    seen: list[list[int]] = []

    async def body(numbers: list[int]) -> None:
        seen.append(list(numbers))
        numbers.append(1)
        if len(seen) < 3:
            raise ConnectionError

    await outcome(one_step(body, [0], retry=RetryPolicy(max_attempts=3)))

    assert seen == [[0]] * 3


async def test_a_body_gets_other_objects_as_they_are() -> None:
    """Only lists, dicts, sets and tuples are copied, with what they share and even a list that holds itself."""
    client, shared, endless = object(), [1], [1]
    endless.append(endless)  # type: ignore[arg-type]
    got: list[Any] = []

    async def body(*args: Any) -> None:
        got.extend(args)

    await outcome(one_step(body, client, [client, shared, shared], {1}, endless))

    assert got[0] is got[1][0] is client
    assert got[1][1] is got[1][2] is not shared
    assert got[2] == {1}
    assert got[3][1] is got[3] is not endless


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

    async with Harness().kernel(program, max_steps=2) as kernel, anyio.create_task_group() as group:
        group.start_soon(kernel.run, program)
        group.start_soon(kernel.run, program)

    assert len(most) == 6
    assert max(most) == 2
