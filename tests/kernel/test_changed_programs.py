"""A Python program that was edited between two lives of a run: only what it has completed binds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from flujo.kernel import Context, RunStatus, StateIncompatibilityError, Why, Workflow, step, workflow
from flujo.kernel.errors import InvalidInputError, StepCompletedError
from kernel.harness import Harness, crash, until

Program = Callable[[Context], Awaitable[Any]]

calls: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_has_been_called() -> None:
    calls.clear()


@step
async def note(name: str) -> Any:
    calls.append(name)
    return name


def named(program: Program) -> Workflow:
    """The program as the workflow `flow`, whatever it does."""

    @workflow(name="flow")
    async def flow(ctx: Context) -> Any:
        return await program(ctx)

    return flow


async def original(ctx: Context) -> Any:
    first = await ctx.step(note, "1", name="first")
    second = await ctx.step(note, "2", name="second")
    await ctx.wait_signal("go")
    return first + second


async def after_the_crash(changed: Program, *, signal: bool = True) -> Any:
    """The result of a run of `original` that crashed at its wait and goes on as `changed`."""
    harness = Harness()
    before, after = named(original), named(changed)
    async with harness.kernel(before) as kernel:
        await kernel.start(before, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(after) as kernel:
        if signal:
            await kernel.signal("r", "go")
        return await kernel.result("r")


async def test_what_comes_after_the_completed_steps_may_change() -> None:
    """New steps behind the last completed one, other code between steps, another result."""

    async def changed(ctx: Context) -> str:
        first = await ctx.step(note, "1", name="first")
        second = await ctx.step(note, "2", name="second")
        await ctx.wait_signal("go")
        third = await ctx.step(note, "3", name="third")
        return f"{first}-{second}-{third}"

    assert await after_the_crash(changed) == "1-2-3"
    assert calls == ["1", "2", "3"]


async def removed(ctx: Context) -> Any:
    second = await ctx.step(note, "2", name="second")
    await ctx.wait_signal("go")
    return second


async def renamed(ctx: Context) -> Any:
    first = await ctx.step(note, "1", name="erste")
    second = await ctx.step(note, "2", name="second")
    await ctx.wait_signal("go")
    return first + second


async def inserted(ctx: Context) -> Any:
    await ctx.step(note, "0", name="zeroth")
    return await original(ctx)


async def returns_at_once(ctx: Context) -> str:
    return "nothing"


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        pytest.param(removed, {("first", "removed")}, id="removed"),
        pytest.param(renamed, {("erste", "inserted"), ("first", "removed"), ("second", "removed")}, id="renamed"),
        pytest.param(inserted, {("zeroth", "inserted"), ("first", "removed"), ("second", "removed")}, id="inserted"),
        pytest.param(returns_at_once, {("first", "removed"), ("second", "removed")}, id="returns at once"),
    ],
)
async def test_a_program_that_contradicts_what_it_completed_is_paused(
    changed: Program, found: set[tuple[str, str]]
) -> None:
    """Nothing new is run and nothing recorded is lost: the differences are named, with every remedy."""
    with pytest.raises(StateIncompatibilityError) as incompatible:
        await after_the_crash(changed)

    assert {(each.step, each.change) for each in incompatible.value.differences} == found
    assert calls == ["1", "2"]


async def test_a_paused_program_says_why_and_goes_on_as_it_was() -> None:
    """explain points to the change; with the old program the run goes on as if nothing had been."""
    harness = Harness()
    before, after = named(original), named(removed)
    async with harness.kernel(before) as kernel:
        await kernel.start(before, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(after) as kernel:
        await kernel.signal("r", "go")
        assert (await kernel.wait("r")).status is RunStatus.PAUSED
        explained = await kernel.explain("r")
        assert explained.reasons[0].why is Why.PAUSED
        assert "its program has changed" in explained.reasons[0].text

    async with harness.kernel(before) as kernel:
        await kernel.resume("r")
        assert await kernel.result("r") == "12"
    assert calls == ["1", "2"]


async def test_accepted_changes_are_accepted_for_good() -> None:
    """A resume with `accept_changes` lets the program leave out what it has completed, also after another crash."""
    harness = Harness()
    before, after = named(original), named(removed)
    async with harness.kernel(before) as kernel:
        await kernel.start(before, run_id="r")
        await until(kernel, "r", "step_waiting")
    async with harness.kernel(after, recover=False) as kernel:
        await kernel.resume("r", accept_changes=True)
        await until(kernel, "r", "run_resumed")
        crash(kernel)
    async with harness.kernel(after) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == "2"


async def test_a_program_that_decides_by_what_it_recorded_takes_the_same_path() -> None:
    """Branches, maps and values read once are no change: a replay asks for all of them again, and gets what was
    recorded although its kernel would draw another number."""
    harness = Harness()

    @workflow(name="flow")
    async def flow(ctx: Context) -> Any:
        side = "left" if await ctx.random() < 0.5 else "right"
        await ctx.gather(a=ctx.step(note, side), b=ctx.step(note, "b"))
        await ctx.map(note, ["x", "y", "z"], limit=2, name="mapped")
        await ctx.wait_signal("go")
        return side

    async with harness.kernel(flow, random=lambda count: b"\x00" * count) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    done = len(calls)
    async with harness.kernel(flow, random=lambda count: b"\xff" * count) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == "left"
    assert len(calls) == done == 5


# -- inputs and outputs whose types have changed ---------------------------------------------------------------------


def taking(function: Callable[..., Awaitable[Any]]) -> Workflow:
    """A function as the workflow `taking`."""
    return workflow(name="taking")(function)


@taking
async def two_inputs(ctx: Context, n: int, old: int = 0) -> int:
    await ctx.wait_signal("go")
    return n


@taking
async def one_input(ctx: Context, n: int) -> int:
    await ctx.wait_signal("go")
    return n


@taking
async def other_inputs(ctx: Context, n: list[int], new: str) -> list[int]:
    await ctx.wait_signal("go")
    return [*n, len(new)]


async def waiting_with(harness: Harness, before: Workflow, inputs: dict[str, Any], step: str = "go") -> None:
    """Leave the run `r` behind a crash, waiting in this step."""
    async with harness.kernel(before, child) as kernel:
        await kernel.start(before, inputs, run_id="r")
        await until(kernel, "r", "step_waiting", step)
        crash(kernel)


async def test_an_input_that_was_left_to_its_default_may_be_dropped() -> None:
    """Nobody gave it, so nobody misses it: the run goes on."""
    harness = Harness()
    await waiting_with(harness, two_inputs, {"n": 3})

    async with harness.kernel(one_input) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == 3


async def test_a_default_stays_what_it_was() -> None:
    """Another default in the next release is for the runs that are started with it."""

    @taking
    async def first(ctx: Context, n: int = 1) -> int:
        await ctx.wait_signal("go")
        return n

    @taking
    async def second(ctx: Context, n: int = 2) -> int:
        await ctx.wait_signal("go")
        return n

    harness = Harness()
    await waiting_with(harness, first, {})

    async with harness.kernel(second) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == 1


@pytest.mark.parametrize(
    ("after", "differences"),
    [
        (one_input, [["inputs.old", "removed", "the run was started with it, and the workflow takes it no longer"]]),
        (
            other_inputs,
            [
                ["inputs.n", "changed", "its recorded value no longer fits its type: Input should be a valid list"],
                ["inputs.new", "inserted", "the run was started without it, and the workflow needs it now"],
                ["inputs.old", "removed", "the run was started with it, and the workflow takes it no longer"],
            ],
        ),
    ],
    ids=["dropped", "all at once"],
)
async def test_inputs_that_no_longer_fit_pause_the_run_with_every_difference(
    after: Workflow, differences: list[list[str]]
) -> None:
    """Not a failure of the run: its inputs were fine when they were given."""
    harness = Harness()
    await waiting_with(harness, two_inputs, {"n": 3, "old": 4})

    async with harness.kernel(after) as kernel:
        await kernel.signal("r", "go")
        state = await kernel.wait("r")
        with pytest.raises(StateIncompatibilityError) as refused:
            await kernel.resume("r")

    assert (state.status, state.paused_reason) == (RunStatus.PAUSED, "StateIncompatible")
    assert [list(each) for each in state.differences] == differences
    assert [list(each) for each in refused.value.differences] == differences


async def test_an_input_that_is_dropped_is_accepted_away() -> None:
    """The resume records what is left."""
    harness = Harness()
    await waiting_with(harness, two_inputs, {"n": 3, "old": 4})

    async with harness.kernel(one_input) as kernel:
        await kernel.signal("r", "go")
        await kernel.wait("r")
        handle = await kernel.resume("r", accept_changes=True)
        assert await handle.result() == 3
        assert (await kernel.inspect("r")).inputs == {"n": 3}


async def test_inputs_that_do_not_fit_are_replaced() -> None:
    """With values of the new types; what is still missing is named."""
    harness = Harness()
    await waiting_with(harness, two_inputs, {"n": 3, "old": 4})

    async with harness.kernel(other_inputs) as kernel:
        await kernel.signal("r", "go")
        await kernel.wait("r")
        with pytest.raises(InvalidInputError, match="new: Field required"):
            await kernel.resume("r", inputs={"n": [1]}, accept_changes=True)
        handle = await kernel.resume("r", inputs={"n": [1], "new": "ab"}, accept_changes=True)
        assert await handle.result() == [1, 2]


async def test_a_fork_leaves_dropped_inputs_behind() -> None:
    """The new run takes what its workflow takes."""
    harness = Harness()
    await waiting_with(harness, two_inputs, {"n": 3, "old": 4})

    async with harness.kernel(one_input) as kernel:
        await kernel.signal("r", "go")
        await kernel.wait("r")
        fork = await kernel.fork("r", new_run_id="f")
        assert await fork.result() == 3


@step
async def measure() -> str:
    calls.append("measure")
    return "much"


@step(name="measure")
async def measure_number() -> int:
    calls.append("measure_number")
    return 7


async def test_an_output_that_no_longer_fits_its_type_pauses_the_run() -> None:
    """The step is named, and each remedy goes on: run it again, or give the output by hand."""

    async def before(ctx: Context) -> Any:
        await ctx.step(measure)
        return await ctx.wait_signal("go")

    async def after(ctx: Context) -> int:
        number = await ctx.step(measure_number)
        await ctx.wait_signal("go")
        return number + 1

    harness = Harness()
    await waiting_with(harness, named(before), {})
    flow = named(after)

    async with harness.kernel(flow) as kernel:
        await kernel.signal("r", "go")
        state = await kernel.wait("r")
        fork = await kernel.fork("r", new_run_id="f")
        await kernel.wait("f")
        await kernel.resume("f", retry=["measure"], skip={"measure": 9})
        await kernel.resume("r", from_step="measure")
        outputs = [await kernel.result("r"), await fork.result()]

    ((name, change, detail),) = state.differences
    assert (state.status, name, change) == (RunStatus.PAUSED, "measure", "misfit")
    assert detail.startswith("its recorded output no longer fits its type: $: Input should be a valid integer")
    assert outputs == [8, 10]
    assert calls == ["measure", "measure_number"]


@pytest.mark.parametrize("output", [9, 10])
async def test_an_output_that_no_longer_fits_is_replaced(output: int) -> None:
    """And no other one: what has completed and fits stays what it is. A later step keeps its output."""

    async def before(ctx: Context) -> Any:
        await ctx.step(measure)
        await ctx.step(note, "later")
        return await ctx.wait_signal("go")

    async def after(ctx: Context) -> list[Any]:
        number = await ctx.step(measure_number)
        later = await ctx.step(note, "later")
        await ctx.wait_signal("go")
        return [number, later]

    harness = Harness()
    await waiting_with(harness, named(before), {})
    flow = named(after)

    async with harness.kernel(flow) as kernel:
        await kernel.signal("r", "go")
        await kernel.wait("r")
        with pytest.raises(StepCompletedError):
            await kernel.set_output("r", "note", "other")
        await kernel.set_output("r", "measure", "still no number")
        await kernel.resume("r")
        assert (await kernel.wait("r")).differences[0][0] == "measure"
        await kernel.set_output("r", "measure", output)
        await kernel.resume("r")
        assert await kernel.result("r") == [output, "later"]
    assert calls == ["measure", "later"]


# -- arguments and kinds of calls ------------------------------------------------------------------------------------


@dataclass
class Order:
    """What a step is called with, as users declare it."""

    day: date
    service: object = None


def paying(amount: Any, pay: Any = note) -> Workflow:
    """A workflow that pays an amount and then waits."""

    async def program(ctx: Context) -> Any:
        paid = await ctx.step(pay, amount, name="pay")
        await ctx.wait_signal("go")
        return paid

    return named(program)


ARGUMENTS = "its arguments have changed since it completed"


async def test_other_arguments_of_a_completed_step_pause_the_run() -> None:
    """What was paid is not what the program now says, and no life may take the one for the other."""
    harness = Harness()
    await waiting_with(harness, paying({"amount": 5}), {})

    async with harness.kernel(paying({"amount": 50})) as kernel:
        await kernel.signal("r", "go")
        state = await kernel.wait("r")
        kept = await kernel.fork("r", new_run_id="f")
        await kernel.wait("f")
        await kernel.resume("f", accept_changes=True)
        await kernel.resume("r", from_step="pay")
        outputs = [await kept.result(), await kernel.result("r")]

    assert (state.status, state.paused_reason) == (RunStatus.PAUSED, "StateIncompatible")
    assert [list(each) for each in state.differences] == [["pay", "changed", ARGUMENTS]]
    assert outputs == [{"amount": 5}, {"amount": 50}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": 1, "b": (2,)}, {"b": [2], "a": 1}),
        (object(), object()),
        ([{"a", "b"}], [{"b", "a"}]),
        (Order(date(2026, 1, 1), object()), Order(date(2026, 1, 1), object())),
    ],
    ids=["the same in JSON", "objects", "a set", "a dataclass"],
)
async def test_arguments_that_are_the_same_or_cannot_be_compared_do_not_bind(before: Any, after: Any) -> None:
    """The order of keys does not matter, and an object that only its class knows is like any other."""

    @step
    async def pay(amount: Any) -> str:
        return "paid"

    harness = Harness()
    await waiting_with(harness, paying(before, pay), {})

    async with harness.kernel(paying(after, pay)) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == "paid"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((Order(date(2026, 1, 1)),), (Order(date(2026, 1, 2)),)),
        ((Order(date(2026, 1, 1), object()), 5), (Order(date(2026, 1, 1), object()), 50)),
        (([{1}],), ([{2}],)),
        ((), (5,)),
        ((5,), ()),
        ((5,), (5, None)),
    ],
    ids=["a date", "an amount beside an object", "a set", "none before", "none now", "one more"],
)
async def test_arguments_of_any_type_bind(before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
    """Dates, models, sets and what stands beside an object that cannot be compared: none is taken for another."""

    @step
    async def pay(*amounts: Any) -> str:
        return "paid"

    def paying_all(amounts: tuple[Any, ...]) -> Workflow:
        async def program(ctx: Context) -> None:
            await ctx.step(pay, *amounts)
            await ctx.wait_signal("go")

        return named(program)

    harness = Harness()
    await waiting_with(harness, paying_all(before), {})

    async with harness.kernel(paying_all(after)) as kernel:
        await kernel.signal("r", "go")
        state = await kernel.wait("r")

    assert [list(each) for each in state.differences] == [["pay", "changed", ARGUMENTS]]


async def test_an_item_of_any_type_that_has_changed_runs_again() -> None:
    """A map knows its items by what they hold."""

    @step
    async def pay(order: Order) -> str:
        calls.append(order.day.isoformat())
        return order.day.isoformat()

    def paying_each(*days: int) -> Workflow:
        async def program(ctx: Context) -> list[str]:
            paid = await ctx.map(pay, [Order(date(2026, 1, day)) for day in days])
            await ctx.wait_signal("go")
            return paid

        return named(program)

    harness = Harness()
    await waiting_with(harness, paying_each(1, 2), {})

    async with harness.kernel(paying_each(1, 3)) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == ["2026-01-01", "2026-01-03"]
    assert sorted(calls) == ["2026-01-01", "2026-01-02", "2026-01-03"]


class Hashed(frozenset[str]):
    """A set that the next process iterates in another order, as it does with each set of texts."""

    def __new__(cls, order: str) -> Hashed:
        hashed = super().__new__(cls, order)
        hashed.order = order
        return hashed

    order: str

    def __iter__(self) -> Iterator[str]:
        return iter(self.order)


async def test_the_items_of_a_set_are_the_same_in_each_process() -> None:
    """A set has no order: none of its items runs again because another process meets them in another one."""

    def noting(items: Hashed) -> Workflow:
        async def program(ctx: Context) -> dict[str, str]:
            noted = await ctx.map(note, items)
            await ctx.wait_signal("go")
            return dict(zip(items, noted, strict=True))

        return named(program)

    harness = Harness()
    await waiting_with(harness, noting(Hashed("abc")), {})
    assert sorted(calls) == ["a", "b", "c"]

    async with harness.kernel(noting(Hashed("cab"))) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == {"a": "a", "b": "b", "c": "c"}
    assert sorted(calls) == ["a", "b", "c"]


@workflow()
async def counting(ctx: Context, n: int) -> int:
    return n


def asking(n: int) -> Workflow:
    """A workflow that has a child count, and then waits."""

    async def program(ctx: Context) -> int:
        counted = await ctx.run_child(counting, {"n": n})
        await ctx.wait_signal("go")
        return counted

    return named(program)


async def test_other_inputs_of_a_completed_child_pause_the_run() -> None:
    """What it counted is not what the program now asks for."""
    harness = Harness()
    await waiting_with(harness, asking(5), {})

    async with harness.kernel(asking(50), counting) as kernel:
        await kernel.signal("r", "go")
        state = await kernel.wait("r")
        await kernel.resume("r", from_step="counting")
        output = await kernel.result("r")

    detail = "the inputs of its run have changed since it completed"
    assert [list(each) for each in state.differences] == [["counting", "changed", detail]]
    assert output == 50


async def test_a_child_that_is_gone_is_not_compared() -> None:
    """Its parent has its output; what it was started with is not known any more."""
    harness = Harness()
    await waiting_with(harness, asking(5), {})

    async with harness.kernel(counting, asking(5), recover=False) as kernel:
        await kernel.delete("r.counting")
    async with harness.kernel(asking(50), counting) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == 5


async def test_another_version_of_a_step_runs_again() -> None:
    """It says that the change is meant; the same version binds as none does."""

    def pay(version: str | None) -> Any:
        return step(name="pay", version=version)(note.function)

    harness = Harness()
    await waiting_with(harness, paying("5", pay(None)), {})

    async with harness.kernel(paying("50", pay("2"))) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == "50"
    assert calls == ["5", "50"]


async def test_a_key_says_which_arguments_tell_calls_apart() -> None:
    """A token that is another one in every life is no change."""

    @step(key=lambda amount: amount["order"])
    async def pay(amount: Any) -> str:
        return str(amount["order"])

    harness = Harness()
    await waiting_with(harness, paying({"order": 1, "token": "a"}, pay), {})

    async with harness.kernel(paying({"order": 1, "token": "b"}, pay)) as kernel:
        await kernel.signal("r", "go")
        assert await kernel.result("r") == "1"


@workflow()
async def child(ctx: Context) -> str:
    return "child"


async def _as_step(ctx: Context) -> Any:
    return await ctx.step(note, "charged", name="charge")


async def _as_signal(ctx: Context) -> Any:
    return await ctx.wait_signal("charge")


async def _as_sleep(ctx: Context) -> Any:
    return await ctx.sleep(0, name="charge")


async def _as_child(ctx: Context) -> Any:
    return await ctx.run_child(child, name="charge")


async def _as_value(ctx: Context) -> Any:
    return await ctx.uuid(name="charge")


KINDS = {"step": _as_step, "signal": _as_signal, "sleep": _as_sleep, "child": _as_child, "uuid": _as_value}


@pytest.mark.parametrize(("before", "after"), [(one, other) for one in KINDS for other in KINDS if one != other])
async def test_the_kind_of_a_call_binds_like_its_name(before: str, after: str) -> None:
    """A step does not complete with the payload of a signal, nor a signal with a step's output."""

    async def program(ctx: Context, call: Program) -> None:
        await call(ctx)
        await ctx.wait_signal("go")

    harness, waits_in = Harness(), "charge" if before == "signal" else "go"
    await waiting_with(harness, named(lambda ctx: program(ctx, KINDS[before])), {}, waits_in)

    async with harness.kernel(named(lambda ctx: program(ctx, KINDS[after])), child) as kernel:
        await kernel.signal("r", waits_in)
        state = await kernel.wait("r")

    detail = f"it is recorded as a {before}, and the program asks for a {after} by this name"
    assert [list(each) for each in state.differences] == [["charge", "changed", detail]]
    assert calls == ["charged"] * (before == "step")
