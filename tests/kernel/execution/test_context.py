"""What a program does through its context: branches, maps, waits, and names that mean one place each."""

from __future__ import annotations

import contextvars
from functools import partial
from typing import Any

import anyio
import pytest

from flujo.kernel import Context, RetryPolicy, RunFailed, StepFailed, StepStatus, step, workflow
from flujo.kernel.errors import InvalidNameError, RunFinishedError, UnsafeStepNameError, WrongEventLoopError
from kernel.harness import Counter, Harness, crash, until


@step
async def double(number: int) -> int:
    return 2 * number


# -- gather --------------------------------------------------------------------------------------------------------


async def test_branches_of_a_gather_have_names_of_their_own() -> None:
    """Two branches may use the same step names: each name is in the branch it was used in."""

    @workflow()
    async def program(ctx: Context) -> Any:
        async def twice(number: int) -> int:
            return await ctx.step(double, await ctx.step(double, number))

        named = await ctx.gather(a=twice(1), b=twice(2))
        listed = await ctx.gather(twice(3), twice(4))
        again = await ctx.gather(twice(5))
        return [named, listed, again]

    async with Harness().kernel(program) as kernel:
        output = await kernel.run(program, run_id="r")
        steps = (await kernel.inspect("r")).steps

    assert output == [{"a": 4, "b": 8}, [12, 16], [20]]
    assert set(steps) == {
        f"{branch}/double{repeat}"
        for branch in ("a", "b", "gather[0]", "gather[1]", "gather#2[0]")
        for repeat in ("", "#2")
    }


async def test_a_failing_branch_cancels_its_siblings() -> None:
    """The failure of one branch cancels the others, which is recorded, and arrives in an ExceptionGroup."""
    harness = Harness()
    begun = anyio.Event()
    groups: list[ExceptionGroup[StepFailed]] = []

    async def endless() -> None:
        begun.set()
        await anyio.sleep_forever()

    async def broken() -> None:
        await begun.wait()
        raise ValueError("no")

    @workflow()
    async def program(ctx: Context) -> None:
        try:
            await ctx.gather(a=ctx.step(endless), b=ctx.step(broken))
        except* StepFailed as group:
            groups.append(group)

    async with harness.kernel(program) as kernel:
        await kernel.run(program, run_id="r")
        steps = (await kernel.inspect("r")).steps

    assert [failure.step for failure in groups[0].exceptions] == ["b/broken"]  # type: ignore[union-attr]
    assert steps["a/endless"].status is StepStatus.CANCELLED


async def test_a_run_that_a_failing_branch_ended_resumes_all_branches() -> None:
    """A resume gives the failed step and the siblings it cancelled a new generation each."""
    counter = Counter()
    begun = anyio.Event()

    async def sibling() -> int:
        if counter.count("sibling") == 1:
            begun.set()
            await anyio.sleep_forever()
        return 1

    async def broken() -> int:
        if counter.count("broken") == 1:
            await begun.wait()
            raise ValueError("no")
        return 2

    @workflow()
    async def program(ctx: Context) -> Any:
        return await ctx.gather(a=ctx.step(sibling), b=ctx.step(broken))

    async with Harness().kernel(program) as kernel:
        with pytest.raises(RunFailed) as failed:
            await kernel.run(program, run_id="r")
        output = await (await kernel.resume("r")).result()
        steps = (await kernel.inspect("r")).steps

    assert (failed.value.step, failed.value.type) == ("b/broken", "ValueError")
    assert output == {"a": 1, "b": 2}
    assert [each.generation for each in steps.values()] == [2, 2]


async def test_gather_takes_either_kind_of_branches() -> None:
    """Branches by position and by name in one call are refused, and no coroutine is left behind."""

    @workflow()
    async def program(ctx: Context) -> None:
        with pytest.raises(TypeError, match="not both"):
            await ctx.gather(ctx.step(double, 1), b=ctx.step(double, 2))  # type: ignore[call-overload]
        with pytest.raises(InvalidNameError):
            await ctx.gather(**{"no name": ctx.step(double, 1)})

    async with Harness().kernel(program) as kernel:
        await kernel.run(program)


async def test_outcomes_come_back_in_the_order_they_had() -> None:
    """A program that reacts to the first of several results sees the same first one after a crash."""
    harness = Harness()
    gates = {name: anyio.Event() for name in "abc"}
    firsts: list[str] = []

    async def finish(name: str) -> str:
        await gates[name].wait()
        return name

    @workflow()
    async def program(ctx: Context) -> str:
        order: list[str] = []

        async def branch(name: str) -> None:
            order.append(await ctx.step(finish, name))

        await ctx.gather(**{name: branch(name) for name in "abc"})
        firsts.append("".join(order))
        await ctx.wait_signal("go")
        return order[0]

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started", count=3)
        for name in "cab":
            gates[name].set()
            await until(kernel, "r", "step_completed", f"{name}/finish")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(program) as kernel:
        await kernel.signal("r", "go")

        assert await kernel.result("r") == "c"
        assert firsts == ["cab", "cab"]


# -- map -----------------------------------------------------------------------------------------------------------


async def test_map_returns_outputs_in_the_order_of_the_items() -> None:
    """Every item is a step of its own, `NAME[index]`; an empty list is an empty list."""

    @workflow()
    async def program(ctx: Context) -> Any:
        return [await ctx.map(double, [3, 1, 2]), await ctx.map(double, [])]

    async with Harness().kernel(program) as kernel:
        output = await kernel.run(program, run_id="r")
        steps = list((await kernel.inspect("r")).steps)

    assert output == [[6, 2, 4], []]
    assert steps == ["double[0]", "double[1]", "double[2]"]


async def test_map_respects_its_limit() -> None:
    """Never more than `limit` items run at a time, and all of them run."""
    running: list[int] = []
    most: list[int] = []

    async def body(number: int) -> None:
        running.append(number)
        most.append(len(running))
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        running.remove(number)

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.map(body, range(10), limit=3)

    async with Harness().kernel(program) as kernel:
        await kernel.run(program)

    assert len(most) == 10
    assert max(most) == 3


async def test_a_failing_item_lets_running_ones_finish_and_starts_no_more() -> None:
    """With `on_error="raise"`, items that run when one fails complete, the others never begin."""
    finish = anyio.Event()
    harness = Harness()

    async def body(number: int) -> int:
        if number == 0:
            raise ValueError("zero")
        await finish.wait()
        return number

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.map(body, range(5), limit=2)

    async with harness.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_failed")
        finish.set()
        with pytest.raises(RunFailed, match="ValueError: zero"):
            await handle.result()
        steps = (await handle.inspect()).steps

    assert {name: each.status.value for name, each in steps.items()} == {
        "body[0]": "failed",
        "body[1]": "completed",
    }


async def test_a_failed_map_resumes_with_its_failed_items_only() -> None:
    """Items that completed keep their outputs; the failed ones and those never begun run."""
    counter = Counter()

    async def body(number: int) -> int:
        if counter.count(str(number)) == 1 and number == 1:
            raise ValueError
        return number

    @workflow()
    async def program(ctx: Context) -> Any:
        return await ctx.map(body, range(4), limit=1)

    async with Harness().kernel(program) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(program, run_id="r")
        output = await (await kernel.resume("r")).result()

    assert output == [0, 1, 2, 3]
    assert counter.calls == ["0", "1", "1", "2", "3"]


async def test_collected_failures_stand_in_the_list() -> None:
    """With `on_error="collect"` every item runs and a failure is a value like others."""

    async def body(number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number

    @workflow()
    async def program(ctx: Context) -> Any:
        outputs = await ctx.map(body, range(4), on_error="collect")
        return [each.error if isinstance(each, StepFailed) else each for each in outputs]

    async with Harness().kernel(program) as kernel:
        assert await kernel.run(program) == [0, "1 is odd", 2, "3 is odd"]


async def test_items_may_have_keys() -> None:
    """`key=` names an item, so that the order and number of items may change between two runs of the program."""

    @workflow()
    async def program(ctx: Context) -> Any:
        return await ctx.map(double, [3, 4], key=lambda number: f"n{number}")

    async with Harness().kernel(program) as kernel:
        await kernel.run(program, run_id="r")

        assert list((await kernel.inspect("r")).steps) == ["double[n3]", "double[n4]"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"key": lambda number: "same"}, UnsafeStepNameError),
        ({"key": lambda number: "a b"}, InvalidNameError),
        ({"limit": 0}, ValueError),
    ],
    ids=["equal keys", "a key with a space", "a limit of 0"],
)
async def test_map_refuses_what_it_cannot_keep(options: dict[str, Any], error: type[Exception]) -> None:
    """Keys must be valid and different, and at least one item must be allowed to run."""
    counter = Counter()

    async def body(number: int) -> int:
        return counter.count("body")

    @workflow()
    async def program(ctx: Context) -> None:
        with pytest.raises(error):
            await ctx.map(body, [1, 2], **options)

    async with Harness().kernel(program) as kernel:
        await kernel.run(program)

    assert counter.calls == []


async def test_an_item_with_another_argument_runs_again() -> None:
    """When the items of a map are others after a resume, those whose argument changed run again, and only those."""
    items = [[1, 2, 3], [1, 5, 3]]
    counter = Counter()
    harness = Harness()

    async def body(number: int) -> int:
        counter.count(str(number))
        return number

    @workflow()
    async def program(ctx: Context) -> Any:
        outputs = await ctx.map(body, items[counter.count("program") - 1])
        await ctx.wait_signal("go")
        return outputs

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    counter.calls = ["program"]
    async with harness.kernel(program) as kernel:
        await kernel.signal("r", "go")

        assert await kernel.result("r") == [1, 5, 3]
        assert counter.calls == ["program", "program", "5"]
        assert (await kernel.inspect("r")).steps["body[1]"].generation == 2


# -- names ---------------------------------------------------------------------------------------------------------


async def test_a_step_inside_a_step_is_refused() -> None:
    """A body that calls its context fails, and says why, since a replay would not run it."""

    @workflow()
    async def program(ctx: Context) -> None:
        async def outer() -> None:
            await ctx.step(double, 1)

        await ctx.step(outer, retry=RetryPolicy(max_attempts=3))

    async with Harness().kernel(program) as kernel:
        with pytest.raises(RunFailed, match="inside of another step") as failed:
            await kernel.run(program, run_id="r")

        assert failed.value.step == "outer"
        assert (await kernel.inspect("r")).steps["outer"].attempt == 1


async def test_a_task_of_the_programs_own_needs_names() -> None:
    """In a task the kernel did not start a step needs a name of its own, used once."""
    refused: list[str] = []

    @workflow()
    async def program(ctx: Context) -> None:
        async def task() -> None:
            await ctx.step(double, 1, name="mine")
            for name in (None, "mine", "theirs"):
                try:
                    await ctx.step(double, 1, name=name)
                except UnsafeStepNameError as error:
                    refused.append(error.name)

        await ctx.step(double, 1, name="theirs")
        async with anyio.create_task_group() as group:
            group.start_soon(task)
        with pytest.raises(UnsafeStepNameError, match="concurrent task"):
            await ctx.step(double, 1, name="mine")

    async with Harness().kernel(program) as kernel:
        await kernel.run(program)

    assert refused == ["double", "mine", "theirs"]


async def test_skipped_and_peeked_names() -> None:
    """`peek` looks at the next step of a name without using it up; a skipped one is recorded with its reason."""
    looks: list[StepStatus | None] = []
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> None:
        found = ctx.peek("optional")
        looks.append(None if found is None else found.status)
        ctx.skip("optional", "not today")
        await ctx.step(double, 1)
        await ctx.wait_signal("go")

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(program) as kernel:
        await kernel.signal("r", "go")
        await kernel.result("r")

    assert looks == [None, StepStatus.SKIPPED]
    assert harness.types("r").count("step_skipped") == 1


# -- waits ---------------------------------------------------------------------------------------------------------


async def test_a_sleep_is_due_when_it_was_due_before_the_crash() -> None:
    """A durable sleep of an hour, interrupted after forty minutes, ends twenty minutes later."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> str:
        await ctx.sleep("1h")
        await ctx.sleep(0)
        return "rested"

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        harness.clock.advance(40 * 60)
        crash(kernel)
    async with harness.kernel(program) as kernel:
        await harness.clock.asleep(3600)
        waiting = (await kernel.inspect("r")).status
        harness.clock.advance(20 * 60)

        assert await kernel.result("r") == "rested"
        assert waiting == "waiting"


async def test_signals_are_taken_in_the_order_they_came() -> None:
    """A wait takes the oldest untaken signal of its name, also one that came before the wait, and no other's."""

    @workflow()
    async def program(ctx: Context) -> Any:
        await ctx.wait_signal("go")
        return [await ctx.wait_signal("news") for _ in range(3)]

    async with Harness().kernel(program) as kernel:
        handle = await kernel.start(program)
        await handle.signal("news", 1)
        await handle.signal("other", 0)
        await handle.signal("news", 2)
        await handle.signal("go")
        await until(kernel, handle.run_id, "step_waiting", "news#3")
        await handle.signal("news", 3)

        assert await handle.result() == [1, 2, 3]


async def test_a_signal_is_read_into_the_type_that_was_asked_for() -> None:
    """`type=` is the annotation a payload is validated against."""

    @workflow()
    async def program(ctx: Context) -> bool:
        pair = await ctx.wait_signal("pair", type=tuple[int, float])
        return bool(pair == (1, 2.0))

    async with Harness().kernel(program) as kernel:
        handle = await kernel.start(program)
        await handle.signal("pair", [1, 2])

        assert await handle.result() is True


async def test_a_wait_for_a_signal_may_time_out() -> None:
    """Without a signal in time the wait fails with a TimeoutError, which is recorded and final for that step."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> str:
        try:
            await ctx.wait_signal("never", timeout=60)
        except StepFailed as failed:
            return failed.type
        return "unexpected"

    async with harness.kernel(program) as kernel:
        handle = await kernel.start(program)
        await harness.clock.asleep(60)
        harness.clock.advance(60)

        assert await handle.result() == "TimeoutError"


async def test_a_signal_in_time_wins_over_the_timeout() -> None:
    """A signal that comes before the timeout completes the wait, and the timeout is forgotten."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> Any:
        return await ctx.wait_signal("go", timeout=60)

    async with harness.kernel(program) as kernel:
        handle = await kernel.start(program)
        await harness.clock.asleep(60)
        await handle.signal("go", "in time")

        assert await handle.result() == "in time"
        assert harness.clock.sleepers == []


async def test_a_taken_signal_is_void_for_the_wait_that_runs_again() -> None:
    """`from_step` on a wait waits for another signal: the one it took before is not handed out twice."""

    @workflow()
    async def program(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    async with Harness().kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await handle.signal("go", 1)
        await handle.result()
        again = await kernel.resume("r", from_step="go")
        await again.signal("go", 2)

        assert await again.result() == 2


async def test_the_context_knows_its_run() -> None:
    """A program can read its run's id and labels."""

    @workflow()
    async def program(ctx: Context) -> Any:
        return [ctx.run_id, dict(ctx.labels), dict(ctx.environment)]

    async with Harness().kernel(program) as kernel:
        assert await kernel.run(program, run_id="r", labels={"team": "a"}) == ["r", {"team": "a"}, {}]


# -- a ctx outside of its program ----------------------------------------------------------------------------------


async def test_a_ctx_is_refused_on_another_event_loop() -> None:
    """A thread with an event loop of its own would wait for ever: no answer of the kernel reaches that loop."""
    raised: list[Exception] = []

    @workflow()
    async def program(ctx: Context) -> int:
        def in_thread() -> None:
            try:
                anyio.run(partial(ctx.step, double, 1, name="there"))
            except Exception as error:
                raised.append(error)

        await anyio.to_thread.run_sync(in_thread)
        return await ctx.step(double, 1, name="there")

    async with Harness().kernel(program) as kernel:
        assert await kernel.run(program, run_id="r") == 2

    assert [type(error) for error in raised] == [WrongEventLoopError]
    assert "run 'r'" in str(raised[0])


async def test_the_ctx_of_one_run_is_refused_in_the_program_of_another() -> None:
    """A replay of either could not tell whose step it was."""
    held: list[Context] = []

    @workflow()
    async def lends(ctx: Context) -> None:
        held.append(ctx)
        await ctx.wait_signal("go")

    @workflow()
    async def borrows(ctx: Context) -> int:
        return await held[0].step(double, 1, name="mine")

    async with Harness().kernel(lends, borrows) as kernel:
        await kernel.start(lends, run_id="lender")
        await until(kernel, "lender", "step_waiting")
        with pytest.raises(RunFailed, match=r"the ctx of run 'lender' .* in the program of another run"):
            await kernel.run(borrows)
        assert list((await kernel.inspect("lender")).steps) == ["go"]


async def test_a_ctx_where_its_variables_are_not_known_says_so() -> None:
    """As in a thread or a callback of the program's own; what it has ended with is said once it has ended."""
    held: list[Context] = []

    def call(ctx: Context) -> None:
        contextvars.Context().run(ctx.step(double, 1, name="mine").send, None)

    @workflow()
    async def program(ctx: Context) -> None:
        held.append(ctx)
        with pytest.raises(UnsafeStepNameError, match="outside of its program, where its context variables are not"):
            call(ctx)

    async with Harness().kernel(program) as kernel:
        await kernel.run(program, run_id="r")
        with pytest.raises(RunFinishedError, match="'r'"):
            call(held[0])
        with pytest.raises(RunFinishedError, match="'r'"):
            await held[0].sleep(1)
