"""A run with children, recorded values and a variable, paused on its way, survives whatever befalls its kernel.

Every life also checks that it leaves no task behind (`simulation.sweep`), so a cancel at any await leaves none of a
child, and test_stop_sweep.py none of a map."""

from __future__ import annotations

import random

import pytest

from simulation.clock import Loop
from simulation.scenario import NESTED
from simulation.sweep import simulate, sweep, uninterrupted
from simulation.world import AT_WRITES, Fault, Point

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])
strides = pytest.mark.parametrize(("loop", "stride"), [("asyncio", 3), ("trio", 4)])


@strides
def test_crash_at_any_await(loop: Loop, stride: int) -> None:
    """Parent and child are recovered together: what was read once stays, and the failed child is resumed once."""
    points = sum(1 for _ in sweep(loop, Fault.CRASH_AT_TICK, NESTED, stride=stride))

    assert points > 200 // stride


@loops
@pytest.mark.parametrize("fault", AT_WRITES)
def test_whatever_befalls_any_write(loop: Loop, fault: Fault) -> None:
    """A write that is lost, or of which nobody learns, leaves neither an orphan nor a parent that waits for ever."""
    points = sum(1 for _ in sweep(loop, fault, NESTED))

    assert points > 20


@strides
@pytest.mark.parametrize("fault", [Fault.CLOSE_AT_TICK, Fault.CANCEL_AT_TICK])
def test_stop_at_any_await(loop: Loop, stride: int, fault: Fault) -> None:
    """A parent that is cancelled takes its child along, and a resume brings both back; so does the next kernel after a
    close."""
    points = sum(1 for _ in sweep(loop, fault, NESTED, stride=stride))

    assert points > 200 // stride


@loops
def test_two_crashes(loop: Loop) -> None:
    """A kernel that dies while it recovers parent and child leaves no more behind than the first one did."""
    seed = 2
    lots = random.Random(seed)
    reference = uninterrupted(loop, seed, NESTED)
    reached = 0
    for first in range(seed, 250, 12):
        points = [Point(Fault.CRASH_AT_TICK, first), Point(Fault.CRASH_AT_TICK, lots.randrange(1, 200), life=2)]
        reached += simulate(loop, seed, points, NESTED, reference=reference).reached

    assert reached > 8
