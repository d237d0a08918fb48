"""The sweep sees planted bugs; so that it passes means something."""

from __future__ import annotations

import pytest

from simulation.clock import Loop
from simulation.mutants import MUTANTS
from simulation.scenario import LEAN
from simulation.sweep import sweep
from simulation.world import Fault, Violation

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


@loops
@pytest.mark.parametrize("mutant", MUTANTS)
def test_planted_bug_is_caught(loop: Loop, mutant: str) -> None:
    """A kernel with this bug does not get through the sweep that test_crash_sweep.py passes without it."""
    with MUTANTS[mutant](), pytest.raises(Violation, match="repeat it with"):
        for _ in sweep(loop, Fault.CRASH_AFTER_WRITE, LEAN):
            pass


@loops
def test_control(loop: Loop) -> None:
    """Without a planted bug the same sweep passes."""
    points = sum(1 for _ in sweep(loop, Fault.CRASH_AFTER_WRITE, LEAN))

    assert points > 15
