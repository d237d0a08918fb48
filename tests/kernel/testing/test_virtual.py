"""Virtual time: everything that waits by the event loop is over at once, in the right order."""

from __future__ import annotations

import time
from datetime import timedelta

import anyio
import pytest

from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.testing import Loop, Stuck, VirtualClock, run_virtually, run_workflow
from kernel.testing.flows import DAY, loops, subscription


@loops
def test_many_years_pass(loop: Loop) -> None:
    """Nor does time become too coarse for timers, however much of it passes."""

    async def naps() -> float:
        for _ in range(240):
            await anyio.sleep(30 * DAY)
            await anyio.sleep(0.001)
        return anyio.current_time()

    assert run_virtually(naps, loop=loop) >= 240 * 30 * DAY


def test_time_stands_still_for_a_thread() -> None:
    """A plain function that works in a thread does not make the timeouts around it run out."""

    def work() -> str:
        time.sleep(0.02)
        return "done"

    @workflow(name="threaded", timeout="1m")
    async def threaded(ctx: Context) -> str:
        return await ctx.step(work)

    assert run_workflow(threaded) == "done"


@loops
def test_a_kernel_of_ones_own(loop: Loop) -> None:
    """Whatever runs on the event loop shares its virtual time, and the clock begins where it is told to."""

    async def scenario(days: int) -> timedelta:
        from flujo.backends.memory import InMemoryBackend

        clock = VirtualClock(start=0)
        async with Kernel(InMemoryBackend(), [subscription], clock=clock) as kernel:
            await kernel.run(subscription, {"months": days // 30})
        return timedelta(microseconds=clock.now())

    passed = run_virtually(scenario, 60, loop=loop)

    assert timedelta(days=60) < passed < timedelta(days=61)


def test_nothing_can_ever_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for what nobody does is said to be stuck, and does not wait for ever."""
    monkeypatch.setattr("flujo.kernel.testing.virtual.STUCK_SECONDS", 0.05)

    with pytest.raises(Stuck):
        run_virtually(anyio.sleep_forever)
