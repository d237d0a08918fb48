"""Simulated time passes without waiting, and a simulation can be repeated exactly."""

from __future__ import annotations

from functools import partial

import anyio
import anyio.lowlevel
import pytest

from simulation.clock import EPOCH, Loop, SimulatedClock, run_simulated
from simulation.mutants import replays_newest_first
from simulation.scenario import LEAN
from simulation.sweep import replay, simulate, sweep
from simulation.world import Fault, Point, Violation

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])

DAY = 86_400


@loops
def test_a_day_passes_at_once(loop: Loop) -> None:
    """A sleep of the event loop and one of the kernel's clock move both clocks, by what was slept. A process that
    waited would be ended by the timeout of all tests."""
    shown: list[tuple[float, float]] = []

    async def sleep() -> None:
        clock = SimulatedClock()
        began = anyio.current_time()
        for wait in (partial(anyio.sleep, DAY), partial(clock.sleep_until, EPOCH + 2 * DAY * 1_000_000)):
            await wait()
            shown.append((anyio.current_time() - began, (clock.now() - EPOCH) / 1_000_000))

    run_simulated(loop, sleep)

    assert shown == [pytest.approx((day * DAY, day * DAY), abs=1e-3) for day in (1, 2)]


@loops
def test_ticks_are_counted(loop: Loop) -> None:
    """Every pass through the scheduler is announced."""
    ticks = 0

    def on_tick() -> None:
        nonlocal ticks
        ticks += 1

    async def yield_often() -> None:
        for _ in range(100):
            await anyio.lowlevel.checkpoint()

    run_simulated(loop, yield_often, on_tick=on_tick)

    assert 100 <= ticks < 150


@loops
def test_the_same_seed_is_the_same_history(loop: Loop) -> None:
    """A history that is repeated takes the same ticks and leaves the same journals."""
    first, again = (simulate(loop, 11, scenario=LEAN) for _ in range(2))

    assert first.ticks == again.ticks
    for run_id in first.world.run_ids:
        assert list(first.world.store.rows(run_id)) == list(again.world.store.rows(run_id))


def test_another_seed_is_another_history() -> None:
    """The seed decides who comes first."""
    orders = {tuple(simulate("trio", seed).world.store.rows("compare-1")) for seed in range(5)}

    assert len(orders) > 1


def test_a_violation_can_be_replayed() -> None:
    """The call that a violation names raises it again."""
    with replays_newest_first():
        with pytest.raises(Violation) as found:
            for _ in sweep("trio", Fault.CRASH_AFTER_WRITE, LEAN):
                pass
        call = str(found.value).rpartition("simulation.sweep.")[2]
        with pytest.raises(Violation) as again:
            eval(call, {"replay": replay, "Point": Point, "Fault": Fault})

    assert str(again.value) == str(found.value)
