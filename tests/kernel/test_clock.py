"""Time and identifiers."""

from __future__ import annotations

from kernel.harness import ManualClock


def test_a_clock_that_nobody_moves_stands_still() -> None:
    """The clock of these tests gives the same instant until it is advanced."""
    clock = ManualClock()

    assert clock.now() == clock.now()
