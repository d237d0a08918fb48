"""Programs that swallow the cancellation of their run: they are slowed down, and `explain` says where they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from flujo.kernel import Context, Kernel, RetryPolicy, RunStatus, Why, workflow
from flujo.kernel.execution import live_run
from flujo.kernel.testing import Loop, run_virtually
from kernel.harness import Harness, recorded, settled, until

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


class Stubborn:
    """A workflow that swallows whatever an await raises, until it is let go."""

    def __init__(self, wait: Callable[[Context], Awaitable[Any]]) -> None:
        self.swallowed = 0
        self.is_let_go = False

        @workflow(name="stubborn")
        async def program(ctx: Context) -> int:
            await ctx.set_variable("mood", "fine")
            while not self.is_let_go:
                try:
                    await wait(ctx)
                except BaseException:
                    self.swallowed += 1
            return self.swallowed

        self.workflow = program


async def _sleep_durably(ctx: Context) -> None:
    await ctx.sleep(58)


async def _wait_for_a_signal(ctx: Context) -> None:
    await ctx.wait_signal("go")


async def _perform_a_step(ctx: Context) -> None:
    await ctx.step(anyio.sleep_forever, name="endless")


async def _gather(ctx: Context) -> None:
    await ctx.gather(a=ctx.sleep(58), b=ctx.wait_signal("go"))


async def _wait_for_something_of_its_own(ctx: Context) -> None:
    await anyio.sleep_forever()


WAITS = [_sleep_durably, _wait_for_a_signal, _perform_a_step, _gather, _wait_for_something_of_its_own]


async def stopping(kernel: Kernel, run_id: str) -> list[str]:
    """What `explain` says of a run that does not stop."""
    return [each.text for each in (await kernel.explain(run_id)).reasons if each.why is Why.STOPPING]


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__)
async def test_a_program_that_swallows_its_cancel_does_not_burn_a_core(
    wait: Any, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets its cancellation ever more rarely, and the kernel has time for other runs; let go, it is cancelled."""
    if wait is _wait_for_something_of_its_own and anyio_backend_name == "trio":
        pytest.skip("trio raises in every await of a cancelled scope, and nothing of ours is asked")
    monkeypatch.setattr(live_run, "INSIST_AFTER_SECONDS", 0.01)
    stubborn = Stubborn(wait)
    harness = Harness()
    async with harness.kernel(stubborn.workflow) as kernel:
        await kernel.start("stubborn", run_id="r")
        await until(kernel, "r", "variable_set")
        await kernel.cancel("r")
        await recorded(harness, "r", "cancel_requested")
        await anyio.sleep(0.5)
        await settled(lambda: stubborn.swallowed > 0)
        swallowed = stubborn.swallowed
        await anyio.sleep(0.5)  # in which a slow machine swallows less

        assert stubborn.swallowed - swallowed < 50  # it was tens of thousands
        (text,) = await stopping(kernel, "r")
        assert "has not stopped yet" in text or "has not ended yet" in text

        stubborn.is_let_go = True
        with anyio.fail_after(30):
            assert (await kernel.wait("r")).status is RunStatus.CANCELLED


async def test_explain_says_where_a_program_does_not_stop_and_since_when() -> None:
    """Not that it sleeps and goes on: nothing that it waits for will be seen to."""
    stubborn = Stubborn(_sleep_durably)
    harness = Harness()
    async with harness.kernel(stubborn.workflow) as kernel:
        await kernel.start("stubborn", run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.cancel("r")
        await settled(lambda: stubborn.swallowed > 0)
        harness.clock.advance(30)

        assert [(each.why, each.step) for each in (await kernel.explain("r")).reasons] == [(Why.STOPPING, "sleep")]
        (text,) = await stopping(kernel, "r")
        assert text.startswith("a cancel was asked for 30s ago, and its program has not stopped yet: it is at 'sleep'")
        stubborn.is_let_go = True
        assert (await kernel.wait("r")).status is RunStatus.CANCELLED


async def test_a_swallowed_timeout_is_explained_as_well() -> None:
    """The run ought to have failed."""
    is_let_go = False
    swallowed = 0

    @workflow(timeout=10)
    async def program(ctx: Context) -> None:
        nonlocal swallowed
        while not is_let_go:
            try:
                await ctx.sleep(1000)
            except BaseException:
                swallowed += 1

    harness = Harness()
    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        harness.clock.advance(40)
        await settled(lambda: swallowed > 0)

        (text,) = [each.text for each in (await kernel.explain("r")).reasons if each.why is Why.TIMEOUT]
        assert text.startswith("its timeout was over 30s ago, and its program has not stopped yet: it is at 'sleep'")
        is_let_go = True
        assert (await kernel.wait("r")).status is RunStatus.FAILED


@loops
def test_clean_ups_are_not_slowed_down(loop: Loop) -> None:
    """A few calls behind a cancellation, one branch each of many, cost no time."""
    ended: list[int] = []

    @workflow()
    async def program(ctx: Context) -> None:
        async def branch(number: int) -> None:
            try:
                await ctx.wait_signal("go", name=f"wait-{number}")
            finally:
                ended.append(number)

        await ctx.gather(*(branch(number) for number in range(50)))

    async def scenario() -> float:
        async with Harness().kernel(program) as kernel:
            await kernel.start(program, run_id="r")
            await until(kernel, "r", "step_waiting", count=50)
            began = anyio.current_time()
            await kernel.cancel("r")
            assert (await kernel.wait("r")).status is RunStatus.CANCELLED
            return anyio.current_time() - began

    assert run_virtually(scenario, loop=loop) < live_run.INSIST_AFTER_SECONDS
    assert len(ended) == 50


async def test_a_clean_up_is_not_cancelled_by_what_insists_on_the_end_of_its_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It runs because of the cancel, and takes its time."""
    monkeypatch.setattr(live_run, "INSIST_AFTER_SECONDS", 0.01)
    done: list[str] = []

    async def tidy(ctx: Context) -> None:
        await anyio.sleep(0.2)
        done.append("tidy")

    @workflow(clean_up=tidy)
    async def program(ctx: Context) -> None:
        await ctx.wait_signal("go")

    async with Harness().kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.cancel("r")
        assert (await kernel.wait("r")).status is RunStatus.CANCELLED
    assert done == ["tidy"]


LATE_WAITS: dict[str, Callable[[Context], Awaitable[Any]]] = {
    "a sleep": lambda ctx: ctx.sleep("30d", name="nap"),
    "a signal": lambda ctx: ctx.wait_signal("go"),
    "a signal with a timeout": lambda ctx: ctx.wait_signal("go", timeout="30d"),
    "a child": lambda ctx: ctx.run_child("child", name="its-child"),
    "a backoff": lambda ctx: ctx.step(_fail, name="fail", retry=RetryPolicy(max_attempts=9, delay="30d")),
}


async def _fail() -> None:
    raise ConnectionError("the line is down")


@workflow()
async def child(ctx: Context) -> None:
    await ctx.wait_signal("go")


@pytest.mark.parametrize("wait", LATE_WAITS.values(), ids=LATE_WAITS)
@pytest.mark.parametrize("stop", ["close", "cancel", "pause"])
async def test_a_wait_in_a_task_that_has_swallowed_its_cancel_ends_with_the_run(
    wait: Callable[[Context], Awaitable[Any]], stop: str, anyio_backend_name: str
) -> None:
    """A task group of asyncio sends each of its tasks one cancel, and one that asyncio.wait_for, a `finally` or an
    `except` has swallowed may wait for a month. No scope of anyio's reaches it, so the wait itself ends."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has no tasks outside of its scopes")

    async def deaf(ctx: Context) -> None:
        try:
            await anyio.sleep_forever()
        except BaseException:
            pass
        await wait(ctx)

    async def fails() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("a sibling has failed")

    @workflow()
    async def program(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(deaf(ctx))
            group.create_task(fails())

    harness = Harness()
    began = anyio.current_time()
    async with harness.kernel(program, child) as kernel:
        await kernel.start(program, run_id="r")
        while not (state := await kernel.inspect("r")).waiting:
            await anyio.lowlevel.checkpoint()
        if stop == "cancel":
            await kernel.cancel("r")
        elif stop == "pause":
            await kernel.pause("r")
        if stop != "close":
            state = await kernel.wait("r")
    ended = {"close": RunStatus.WAITING, "cancel": RunStatus.CANCELLED, "pause": RunStatus.PAUSED}
    assert state.status is ended[stop]
    assert anyio.current_time() - began < 20
