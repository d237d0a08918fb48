"""Every kind of deadline, against everything that may come between: it is met, and not early."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Kernel, RetryPolicy, StepFailed, SystemClock, Workflow, step, workflow
from flujo.kernel.testing.virtual import EPOCH, Loop, run_virtually
from kernel.harness import crash, until

SECONDS = 10.0
"""How far away each deadline is when its run begins."""

HALF = 4.0
"""When something comes between."""

LATE = 2.5
"""How late a deadline may be met: a kernel takes over from a dead one within two seconds."""

OTHERS = 40
"""Runs that wait besides, more than may stay in memory."""

# -- deadlines ----------------------------------------------------------------------------------------------------


@workflow(name="run", timeout=SECONDS)
async def run_timeout(ctx: Context) -> None:
    await ctx.wait_signal("never")


@workflow(name="wait")
async def durable_wait(ctx: Context) -> None:
    await ctx.sleep(SECONDS)


@workflow(name="own")
async def own_deadline(ctx: Context) -> None:
    with anyio.move_on_after(SECONDS):
        await ctx.wait_signal("never")


@step(timeout=SECONDS)
async def endless() -> None:
    await anyio.sleep_forever()


@workflow(name="step")
async def step_timeout(ctx: Context) -> None:
    with pytest.raises(StepFailed):
        await ctx.step(endless)


@workflow(name="signal")
async def signal_wait(ctx: Context) -> None:
    with pytest.raises(StepFailed, match="TimeoutError"):
        await ctx.wait_signal("never", timeout=SECONDS)


@step(retry=RetryPolicy(max_attempts=2, delay=SECONDS, jitter=0))
async def refused() -> None:
    raise ConnectionError


@workflow(name="backoff")
async def backoff(ctx: Context) -> None:
    try:
        await ctx.step(refused)
    except StepFailed:
        return


@workflow(name="child")
async def child(ctx: Context) -> None:
    await ctx.run_child(durable_wait)


async def _clean_up(ctx: Context) -> None:
    await ctx.step(_never_clean)


@step
async def _never_clean() -> None:
    await anyio.sleep_forever()


@step
async def made() -> None:
    """Something to clean up after."""


@workflow(name="clean-up", clean_up=_clean_up, clean_up_timeout=SECONDS)
async def cleaned_up(ctx: Context) -> None:
    await ctx.step(made)
    await ctx.wait_signal("never")


@workflow
async def other(ctx: Context) -> None:
    await ctx.wait_signal("never")


@workflow
async def waiting(ctx: Context) -> None:
    await ctx.wait_signal("go")


WITH_A_DEADLINE = [run_timeout, durable_wait, own_deadline, step_timeout, signal_wait, backoff, child, cleaned_up]

WORKFLOWS = [*WITH_A_DEADLINE, other, waiting]

BEGIN_ANEW = {"own", "step", "clean-up"}
"""Deadlines that only the process knows: the next one counts them from when it goes on (docs/python-workflows.md)."""

# -- what comes between --------------------------------------------------------------------------------------------


class Place:
    """One store on virtual time, with a wall clock that can be set."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.set_by = 0.0  # seconds

    def kernel(self, **options: Any) -> Kernel:
        """A kernel on the store, with a clock of its own on this machine's."""

        def monotonic() -> int:
            return round(anyio.current_time() * 10**9)

        def wall() -> int:
            return monotonic() + EPOCH * 1000 + round(self.set_by * 10**9)

        return Kernel(InMemoryBackend(self.store), WORKFLOWS, clock=SystemClock(wall, monotonic), **options)


class Event(NamedTuple):
    """What happens: to the kernel that runs, and what the next one is like, if there is one."""

    crashes: bool = False
    is_taken_over: bool = False
    next_one: Mapping[str, Any] | None = None
    first: Mapping[str, Any] = MappingProxyType({})
    others: int = 0
    set_by: float = 0.0

    @property
    def is_new_life(self) -> bool:
        """Whether another kernel goes on."""
        return self.next_one is not None or self.is_taken_over


EVENTS = {
    "nothing": Event(),
    "a restart": Event(next_one={}),
    "a crash": Event(crashes=True, next_one={}),
    "a takeover": Event(crashes=True, is_taken_over=True),
    "leaving memory": Event(first={"max_resident": 2}, others=OTHERS),
    "a restart beside many": Event(next_one={"max_resident": 2}, others=OTHERS),
    "a queue": Event(crashes=True, next_one={"max_runs": 1}, others=1),
    "a clock set back": Event(set_by=-2 * 86400.0),
    "a clock set forward": Event(set_by=86400.0),
    "a clock set back over a restart": Event(next_one={}, set_by=-3600.0),
}


async def seconds_until_the_end(flow: Workflow, event: Event) -> float:
    """Run a workflow to its end with something in between, and return how long that took."""
    place = Place()
    async with anyio.create_task_group() as group:

        async def stand_by() -> None:
            async with place.kernel():
                await anyio.sleep_forever()

        async with place.kernel(**event.first) as first:
            if event.is_taken_over:
                group.start_soon(stand_by)
            await first.start(flow, run_id="r")
            for number in range(event.others):
                await first.start(other, run_id=f"other{number}")
            if flow is cleaned_up:
                await until(first, "r", "step_waiting")
                await first.cancel("r")
            await anyio.sleep(HALF)
            place.set_by = event.set_by
            if not event.is_new_life:
                return await _end(first, group)
            if event.crashes:
                crash(first)
        if event.is_taken_over:
            reader = place.kernel(recover=False)
            async with reader:
                return await _end(reader, group)
        assert event.next_one is not None
        async with place.kernel(**event.next_one) as second:
            return await _end(second, group)
    raise AssertionError


async def _end(kernel: Kernel, group: anyio.abc.TaskGroup) -> float:
    with anyio.move_on_after(10 * 86400):
        await kernel.wait("r")
    group.cancel_scope.cancel()
    return anyio.current_time()


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("flow", WITH_A_DEADLINE, ids=lambda flow: flow.name)
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_every_deadline_is_met_whatever_comes_between(loop: Loop, flow: Workflow, event: Event) -> None:
    """In its time, or where only memory knows of it within its time from when the run goes on."""
    seconds = run_virtually(seconds_until_the_end, flow, event, loop=loop)

    latest = SECONDS + LATE
    if event.is_new_life and flow.name in BEGIN_ANEW:
        latest += HALF
    elif event.is_new_life and event.set_by < 0:  # the instant is one of the wall clock (docs/clocks-and-disks.md)
        latest -= event.set_by
    earliest = HALF if event.set_by > 0 else SECONDS  # an instant that has come has come
    assert earliest - 0.1 <= seconds <= latest


async def seconds_until_it_goes_on(asked: str) -> float:
    """Let a run be asked for something right before its kernel dies, set the clock back by an hour, and return how long
    the next kernel takes for it."""
    place = Place()
    async with place.kernel() as first:
        await first.start(durable_wait if asked == "cancel" else waiting, run_id="r")
        await until(first, "r", "step_waiting")
        await anyio.sleep(HALF)
        match asked:
            case "signal":
                await first.signal("r", "go")
            case "cancel":
                await first.cancel("r")
        crash(first)
    place.set_by = -3600.0
    async with place.kernel() as second:
        if asked == "signal after the restart":
            await second.signal("r", "go")
        await second.wait("r")
    return anyio.current_time() - HALF


@pytest.mark.parametrize("asked", ["signal", "signal after the restart", "cancel"])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_what_is_to_happen_at_once_waits_for_no_clock(loop: Loop, asked: str) -> None:
    """Though its instant lies in the future of a clock that was set back meanwhile."""
    assert run_virtually(seconds_until_it_goes_on, asked, loop=loop) < LATE
