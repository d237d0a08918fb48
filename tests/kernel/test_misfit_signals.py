"""Signals whose payload does not fit the type that a program declares: the sender is told, or else the journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel

from flujo.kernel import Context, Delivery, Kernel, Observer, RunStatus, Why, step, workflow
from flujo.kernel.errors import InvalidValueError, SignalMisfitError, StateIncompatibilityError
from flujo.kernel.events import SignalSetAside
from flujo.kernel.programs import Wait
from kernel.harness import Harness, crash, until


class Report(BaseModel):
    amount: int
    note: str | None = None


@dataclass
class Visit:
    day: date


def _even(number: int) -> int:
    return {2: 2}[number]  # a validator that did not expect another one


@workflow(version="1")
async def paying(ctx: Context) -> Any:
    report = await ctx.wait_signal("pay", type=Report)
    return report.amount


def waits_for(annotation: Any) -> Any:
    """A workflow that waits for one signal of a type."""

    @workflow(name="waits")
    async def program(ctx: Context) -> Any:
        return await ctx.wait_signal("pay", type=annotation)

    return program


async def set_aside(kernel: Kernel | Observer, run_id: str) -> list[SignalSetAside]:
    """What the journal of a run says of signals that did not fit."""
    return [each.fact for each in await kernel.events(run_id) if isinstance(each.fact, SignalSetAside)]


# -- the sender is told ---------------------------------------------------------------------------------------------


async def test_the_sender_of_a_payload_that_does_not_fit_is_told_and_the_wait_goes_on() -> None:
    """The kernel knows what its run waits for: it records nothing, says where the payload is wrong and what fits."""
    async with Harness().kernel(paying) as kernel:
        handle = await kernel.start(paying, run_id="r")
        await until(kernel, "r", "step_waiting")

        with pytest.raises(SignalMisfitError) as refused:
            await kernel.signal("r", "pay", {"amount": "much"}, request_id="q1")

        assert (refused.value.signal, refused.value.path) == ("pay", "$.amount")
        assert refused.value.fits == '{"amount": integer, "note"?: string | null}'
        assert "valid integer" in str(refused.value)
        assert refused.value.fits in str(refused.value)
        assert (await kernel.inspect("r")).status is RunStatus.WAITING
        assert "signal_received" not in [each.type for each in await kernel.events("r")]
        assert await kernel.signal("r", "pay", {"amount": 3}, request_id="q1") is Delivery.RECORDED
        assert await handle.result() == 3


@pytest.mark.parametrize(
    ("annotation", "payload", "place"),
    [
        (int, "one", "$"),
        (int, None, "$"),
        (list[int], [1, "two"], "$[1]"),
        (Visit, {"day": "someday"}, "$.day"),
        (Visit, {}, "$.day"),
        (Annotated[int, AfterValidator(_even)], 3, "$"),
        (Report | None, {"amount": []}, "$.amount"),
    ],
    ids=["text", "nothing", "an item", "a date", "missing", "a validator that breaks", "of several"],
)
async def test_whatever_does_not_fit_is_refused(annotation: Any, payload: Any, place: str) -> None:
    """Scalars, items, fields, absent ones, and validators of the program's own."""
    program = waits_for(annotation)
    async with Harness().kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")

        with pytest.raises(SignalMisfitError) as refused:
            await kernel.signal("r", "pay", payload)

        assert refused.value.path == place
        assert (await kernel.inspect("r")).status is RunStatus.WAITING


async def test_a_body_that_returns_a_wait_refuses_what_its_step_does_not_return() -> None:
    """The type of such a wait is what the step is annotated with."""

    @step
    async def ask() -> int:
        return Wait(signal="pay")  # type: ignore[return-value]

    @workflow()
    async def program(ctx: Context) -> Any:
        return await ctx.step(ask)

    async with Harness().kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")

        with pytest.raises(SignalMisfitError):
            await kernel.signal("r", "pay", "one")
        await kernel.signal("r", "pay", 1)

        assert await handle.result() == 1


async def test_a_sender_is_told_by_a_kernel_that_has_just_taken_the_run_over() -> None:
    """The program is on its way back to the wait that is recorded: the answer waits for it to get there."""
    harness = Harness()
    async with harness.kernel(paying) as kernel:
        await kernel.start(paying, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)

    async with harness.kernel(paying) as kernel:
        with pytest.raises(SignalMisfitError):
            await kernel.signal("r", "pay", "nothing")
        await kernel.signal("r", "pay", {"amount": 1})
        assert await kernel.result("r") == 1


async def test_a_run_that_has_left_memory_refuses_what_does_not_fit() -> None:
    """It is brought back for the signal, and so for its refusal."""
    harness = Harness()
    async with harness.kernel(paying, max_resident=1) as kernel:
        for number in range(6):
            await kernel.start(paying, run_id=f"r{number}")
            await until(kernel, f"r{number}", "step_waiting")

        with pytest.raises(SignalMisfitError):
            await kernel.signal("r0", "pay", [])
        await kernel.signal("r0", "pay", {"amount": 5})

        assert await kernel.result("r0") == 5


# -- nobody can tell the sender -------------------------------------------------------------------------------------


async def test_a_signal_that_came_before_its_wait_is_set_aside() -> None:
    """When it is sent nobody knows its type: the journal says why it was not taken, and the wait goes on."""

    @workflow()
    async def program(ctx: Context) -> Any:
        await ctx.wait_signal("first")
        return (await ctx.wait_signal("pay", type=Report)).amount

    async with Harness().kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await kernel.signal("r", "pay", {"amount": None})
        await kernel.signal("r", "first")
        await until(kernel, "r", "signal_set_aside")

        (fact,) = await set_aside(kernel, "r")
        assert (fact.step, fact.signal, fact.path) == ("pay", "pay", "$.amount")
        state = await kernel.inspect("r")
        assert state.status is RunStatus.WAITING
        assert state.steps["pay"].error is not None
        (told,) = [each for each in (await kernel.explain("r")).reasons if each.why is Why.SIGNAL]
        assert "set aside" in told.text
        assert "$.amount" in told.text
        assert "flujoctl signal r pay" in told.commands[0]

        await kernel.signal("r", "pay", {"amount": 2})
        assert await handle.result() == 2
        assert (await kernel.inspect("r")).steps["pay"].error is None


async def test_a_signal_from_another_process_is_set_aside() -> None:
    """Who posts it does not know the program; whoever looks afterwards is told."""
    harness = Harness()
    async with harness.kernel(paying) as owner, harness.kernel() as other, harness.backend() as reader:
        handle = await owner.start(paying, run_id="r")
        await until(owner, "r", "step_waiting")

        assert await other.signal("r", "pay", "no report") is Delivery.POSTED
        await until(owner, "r", "signal_set_aside")

        observer = Observer(reader, clock=harness.clock)
        (told,) = [each.text for each in (await observer.explain("r")).reasons if each.why is Why.SIGNAL]
        assert "no report" not in told  # it may be a secret
        assert '{"amount": integer' in told
        assert harness.store.inbox == {}
        assert await other.signal("r", "pay", {"amount": 4}) is Delivery.POSTED
        assert await handle.result() == 4


async def test_a_signal_to_a_run_that_nobody_runs_is_set_aside_when_it_goes_on() -> None:
    """It was stored while nobody could tell whether it fits."""
    harness = Harness()
    async with harness.kernel(paying) as kernel:
        await kernel.start(paying, run_id="r")
        await until(kernel, "r", "step_waiting")
    async with harness.backend() as reader:
        assert await Observer(reader).signal("r", "pay", 7) is Delivery.STORED

    async with harness.kernel(paying) as kernel:
        await until(kernel, "r", "signal_set_aside")
        await kernel.signal("r", "pay", {"amount": 1})
        assert await kernel.result("r") == 1


async def test_a_signal_is_set_aside_once_whatever_becomes_of_the_run() -> None:
    """A replay finds the wait where it was: nothing is taken or set aside anew, in any life."""
    harness = Harness()
    async with harness.kernel(paying) as owner, harness.kernel(recover=False) as other:
        await owner.start(paying, run_id="r")
        await until(owner, "r", "step_waiting")
        await other.signal("r", "pay", 7)
        await until(owner, "r", "signal_set_aside")
        crash(owner)

    async with harness.kernel(paying) as kernel:
        await kernel.signal("r", "pay", {"amount": 9})
        assert await kernel.result("r") == 9
        await (await kernel.fork("r", from_step="pay", new_run_id="f")).signal("pay", {"amount": 8})
        assert await kernel.result("f") == 8
        (fact,) = await set_aside(kernel, "r")
        assert fact.signal_seq < (await kernel.inspect("r")).seq


async def test_a_fork_takes_over_what_was_set_aside() -> None:
    """The signal has another number in the new run, and nobody there takes it for untaken."""
    harness = Harness()

    @workflow(name="two")
    async def program(ctx: Context) -> Any:
        await ctx.wait_signal("first")
        paid = await ctx.wait_signal("pay", type=int)
        return [paid, await ctx.wait_signal("end")]

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await kernel.signal("r", "pay", "early")
        await kernel.signal("r", "first")
        await until(kernel, "r", "signal_set_aside")
        await kernel.signal("r", "pay", 1)
        await until(kernel, "r", "step_waiting", step="end")
        fork = await kernel.fork("r", new_run_id="f")
        await fork.signal("end", 2)

        assert await fork.result() == [1, 2]
        assert (await kernel.inspect("f")).signals["pay"] == []


async def test_the_time_of_a_wait_goes_on_behind_a_signal_that_was_set_aside() -> None:
    """What is set aside does not end a wait, and does not lengthen it."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> Any:
        return await ctx.wait_signal("pay", type=int, timeout=10)

    async with harness.kernel(program) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        await other.signal("r", "pay", "no")
        await until(kernel, "r", "signal_set_aside")
        harness.clock.advance(10)
        state = await kernel.wait("r")

        assert state.error is not None
        assert state.error.type == "TimeoutError"


# -- several waits --------------------------------------------------------------------------------------------------


async def test_a_signal_goes_to_the_wait_that_can_read_it() -> None:
    """Of two branches that wait for one name with two types, each gets its own, also after a restart."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> Any:
        found = await ctx.gather(number=ctx.wait_signal("go", type=int), day=ctx.wait_signal("go", type=date))
        return [found["number"], found["day"].isoformat()]

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting", count=2)
        with pytest.raises(SignalMisfitError):
            await kernel.signal("r", "go", "neither")
    async with harness.backend() as reader:
        await Observer(reader).signal("r", "go", "2026-11-22")

    async with harness.kernel(program) as kernel:
        await until(kernel, "r", "step_completed", step="day/go")
        await kernel.signal("r", "go", 5)
        assert await kernel.result("r") == [5, "2026-11-22"]
        assert await set_aside(kernel, "r") == []


async def test_a_signal_of_another_name_or_for_a_later_wait_is_not_judged() -> None:
    """Only what a wait that is there now would take is refused."""

    @workflow()
    async def program(ctx: Context) -> Any:
        return [await ctx.wait_signal("go", type=int), await ctx.wait_signal("go", type=str, name="second")]

    async with Harness().kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        assert await kernel.signal("r", "other", "anything") is Delivery.RECORDED
        await kernel.signal("r", "go", 1)
        await until(kernel, "r", "step_waiting", step="second")
        await kernel.signal("r", "go", "two")

        assert await handle.result() == [1, "two"]


# -- what is recorded already ---------------------------------------------------------------------------------------


async def test_a_payload_that_was_taken_before_the_type_changed_pauses_the_run() -> None:
    """A signal that a wait has taken is part of history: that it fits no more is a difference, as it always was."""
    harness = Harness()

    def of(annotation: Any) -> Any:
        @workflow(name="changing")
        async def program(ctx: Context) -> Any:
            paid = await ctx.wait_signal("pay", type=annotation)
            return [paid, await ctx.wait_signal("end")]

        return program

    async with harness.kernel(of(str)) as kernel:
        await kernel.start("changing", run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.signal("r", "pay", "five")
        await until(kernel, "r", "step_waiting", step="end")

    async with harness.kernel(of(int)) as kernel:
        await kernel.signal("r", "end")
        state = await kernel.wait("r")
        assert (state.status, state.differences[0][0]) == (RunStatus.PAUSED, "pay")


def test_the_error_is_one_of_values() -> None:
    """Who handles invalid values handles this one."""
    assert issubclass(SignalMisfitError, InvalidValueError)
    assert not issubclass(SignalMisfitError, StateIncompatibilityError)
