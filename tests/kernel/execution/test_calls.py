"""Calls of ctx that nobody has awaited: the program's end names them, and nothing else is named."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flujo.kernel import Context, step, workflow
from flujo.kernel.execution.calls import Calls
from kernel.harness import Harness, until


@step
async def pay(amount: int) -> int:
    return amount


@workflow()
async def child(ctx: Context) -> int:
    return 1


async def told(program: Callable[[Context], Awaitable[Any]], caplog: pytest.LogCaptureFixture) -> list[str]:
    """Run a program to its end, and return what it was told of dropped calls."""

    @workflow(name="dropping")
    async def dropping(ctx: Context) -> None:
        await program(ctx)

    async with Harness().kernel(dropping, child) as kernel:
        await (await kernel.start(dropping, run_id="r")).wait()
    gc.collect()  # Python would warn of what is left, and warnings are errors here
    return [each.getMessage().partition("has run: ")[2] for each in caplog.records if "await" in each.getMessage()]


DROPPED: dict[str, Callable[[Context], Any]] = {
    "ctx.step(pay)": lambda ctx: ctx.step(pay, 1),
    "ctx.step('second')": lambda ctx: ctx.step(pay, 1, name="second"),
    "ctx.sleep('1h')": lambda ctx: ctx.sleep("1h"),
    "ctx.sleep('nap')": lambda ctx: ctx.sleep(3, name="nap"),
    "ctx.wait_signal('go')": lambda ctx: ctx.wait_signal("go"),
    "ctx.run_child(child)": lambda ctx: ctx.run_child(child),
    "ctx.run_child('other')": lambda ctx: ctx.run_child("other"),
    "ctx.map(pay)": lambda ctx: ctx.map(pay, [1, 2]),
    "ctx.gather()": lambda ctx: ctx.gather(),
    "ctx.set_variable('x')": lambda ctx: ctx.set_variable("x", 1),
    "ctx.variable('x')": lambda ctx: ctx.variable("x"),
    "ctx.now()": lambda ctx: ctx.now(),
    "ctx.uuid()": lambda ctx: ctx.uuid(),
    "ctx.random()": lambda ctx: ctx.random(),
}


@pytest.mark.parametrize(("named", "call"), DROPPED.items(), ids=DROPPED)
async def test_a_call_that_was_dropped_is_named(
    named: str, call: Callable[[Context], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """However the rest of the program ends; and Python adds no words of its own."""

    async def dropping(ctx: Context) -> None:
        call(ctx)
        await ctx.step(pay, 1, name="last")

    assert await told(dropping, caplog) == [named]


async def test_a_call_that_is_kept_and_never_awaited_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A variable holds it to the end."""

    async def keeping(ctx: Context) -> None:
        kept = [ctx.step(pay, number, name=f"pay{number}") for number in range(3)]
        await kept[1]

    assert await told(keeping, caplog) == ["ctx.step('pay0'), ctx.step('pay2')"]


async def test_calls_that_were_awaited_in_whatever_way_are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    """Nor are those that were begun and cut short, and those that gather or the program have closed."""

    async def fail() -> None:
        raise ValueError

    async def awaiting(ctx: Context) -> None:
        await ctx.gather(ctx.step(pay, 1), ctx.sleep(0))
        for number in range(200):
            await ctx.step(pay, number)
        with anyio.move_on_after(0):
            await ctx.wait_signal("never")
        with pytest.raises(ExceptionGroup):
            await ctx.gather(broken=ctx.step(fail), other=ctx.step(pay, 1))
        ctx.step(pay, 1, name="closed").close()

    assert await told(awaiting, caplog) == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_was_cancelled_before_it_began_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    """It was awaited, as far as its program could."""

    async def cancelling(ctx: Context) -> None:
        task = asyncio.create_task(ctx.step(pay, 1, name="apart"))
        task.cancel()
        await asyncio.wait([task])

    assert await told(cancelling, caplog) == []


async def test_a_program_that_fails_is_told_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """What it has dropped may be the reason."""

    async def failing(ctx: Context) -> None:
        _ = ctx.step(pay, 1)
        raise ValueError("there is no receipt")

    assert await told(failing, caplog) == ["ctx.step(pay)"]


async def test_a_program_that_is_left_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """It may await the call in its next life."""

    @workflow()
    async def patient(ctx: Context) -> int:
        payment = ctx.step(pay, 7)
        await ctx.wait_signal("go")
        return await payment

    harness = Harness()
    async with harness.kernel(patient) as kernel:
        await kernel.start(patient, run_id="r")
        await until(kernel, "r", "step_waiting")
    async with harness.kernel(patient) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == 7
    gc.collect()

    assert "await" not in caplog.text


async def test_what_has_ended_is_not_kept() -> None:
    """Of a program of a million steps, one after the other, the last one is here; of those side by side, the open
    ones."""

    async def nothing() -> None:
        pass

    calls = Calls()
    for _ in range(1000):
        call = nothing()
        calls.note(call)
        await call

    assert len(calls._made) == 1

    open_ones = [nothing() for _ in range(100)]
    for call in open_ones:
        calls.note(call)
    for call in open_ones[::2]:
        await call
    for _ in range(200):
        call = nothing()
        calls.note(call)
        await call

    assert set(open_ones[1::2]) <= set(calls._made)
    assert len(calls.end()) == 50
    assert calls._made == []


# -- steps that are called as plain functions -----------------------------------------------------------------------


@step(name="ship")
def shipped(to: str) -> str:
    return to


async def by_gather(ctx: Context) -> Any:
    return await ctx.gather(a=pay(1))


async def in_a_helper(ctx: Context) -> Any:
    async def helper() -> int:
        return await pay(1)

    return await helper()


async def in_a_task(ctx: Context) -> Any:
    async with anyio.create_task_group() as group:
        group.start_soon(pay, 1)


async def in_a_thread(ctx: Context) -> Any:
    return await anyio.to_thread.run_sync(shipped, "a")


async def again_and_again(ctx: Context) -> Any:
    return [await pay(1), await pay(2)]


async def in_a_step(ctx: Context) -> Any:
    async def outer() -> str:
        return shipped(str(await pay(1)))

    return await ctx.step(outer, name="outer")


async def in_a_step_in_a_thread(ctx: Context) -> Any:
    return await ctx.step(lambda: shipped("a"), name="outer")


async def for_each_item(ctx: Context) -> Any:
    async def item(number: int) -> int:
        return await pay(number)

    return await ctx.map(item, [1, 2], name="items")


async def as_steps(ctx: Context) -> Any:
    return [await ctx.step(pay, 1), await ctx.step(shipped, "a"), await ctx.map(pay, [1, 2], name="each")]


PLAIN: list[tuple[Callable[[Context], Awaitable[Any]], list[str]]] = [
    (lambda ctx: pay(1), ["pay"]),
    (by_gather, ["pay"]),
    (in_a_helper, ["pay"]),
    (in_a_task, ["pay"]),
    (in_a_thread, ["ship"]),
    (again_and_again, ["pay"]),
    (in_a_step, []),
    (in_a_step_in_a_thread, []),
    (for_each_item, []),
    (as_steps, []),
]


def plainly_called(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [each.getMessage() for each in caplog.records if "plain function" in each.getMessage()]
    return [each.partition("ctx.step(")[2].partition(",")[0] for each in messages]


@pytest.mark.parametrize(("program", "names"), PLAIN, ids=[program.__name__ for program, _ in PLAIN])
async def test_a_step_that_a_program_calls_as_a_plain_function_is_named(
    program: Callable[[Context], Awaitable[Any]], names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It runs, and a restart would run it again: the program is told once. The body of a step may call others."""
    await told(program, caplog)

    assert plainly_called(caplog) == names


async def test_outside_of_a_program_a_step_is_a_plain_function(caplog: pytest.LogCaptureFixture) -> None:
    """As in tests of it, or in a script."""
    assert (await pay(1), shipped("a")) == (1, "a")
    assert plainly_called(caplog) == []


async def test_a_replay_does_not_tell_again_what_was_called_before(caplog: pytest.LogCaptureFixture) -> None:
    """What comes after the last completed step is called for the first time."""

    @workflow(name="forgetful")
    async def forgetful(ctx: Context) -> None:
        await pay(1)
        await ctx.step(shipped, "a")
        await ctx.wait_signal("go")
        shipped("b")

    harness = Harness()
    async with harness.kernel(forgetful) as first:
        await first.start(forgetful, run_id="r")
        await until(first, "r", "step_waiting")
        assert plainly_called(caplog) == ["pay"]
    async with harness.kernel(forgetful) as second:
        await second.signal("r", "go")
        await second.wait("r")

    assert plainly_called(caplog) == ["pay", "ship"]
