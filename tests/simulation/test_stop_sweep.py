"""Three concurrent runs survive being stopped in good order anywhere: by closing their kernel, by a cancel.

Every await would take twice as long as the crash sweep; strides of 3 and 4 together look at every second tick."""

from __future__ import annotations

import pytest

from simulation.clock import Loop
from simulation.scenario import LEAN
from simulation.sweep import sweep
from simulation.world import Fault

strides = pytest.mark.parametrize(("loop", "stride"), [("asyncio", 3), ("trio", 4)])


@strides
def test_close_at_any_await(loop: Loop, stride: int) -> None:
    """A kernel that is closed records its attempts as interrupted, uncounted, and the next one goes on with them."""
    points = sum(1 for _ in sweep(loop, Fault.CLOSE_AT_TICK, LEAN, stride=stride))

    assert points > 150 // stride


@strides
def test_cancel_at_any_await(loop: Loop, stride: int) -> None:
    """A run that is cancelled at any time and resumed then comes to the same end."""
    points = sum(1 for _ in sweep(loop, Fault.CANCEL_AT_TICK, LEAN, stride=stride))

    assert points > 150 // stride
