"""What a report of progress says of the part that is done, the time that is left and what was used."""

from __future__ import annotations

from flujo.kernel.journal.progress import PER_SECOND, Progress, Usage


def said(done: float, total: float | None, **metrics: float) -> Progress:
    return Progress(done, total, None, metrics, at=0)


def test_the_part_that_is_done_is_between_none_and_all() -> None:
    """Without a total, or with none to do, it is not known."""
    assert [said(done, 10).share for done in (-1, 4, 12)] == [0, 0.4, 1]
    assert [said(4, total).share for total in (None, 0, -2)] == [None, None, None]


def test_the_time_left_goes_by_the_reported_rate() -> None:
    """Without a rate or a total it is not known."""
    assert said(4, 10, **{PER_SECOND: 2.5}).seconds_left == 2.4
    assert said(4, 10).seconds_left is None
    assert said(4, None, **{PER_SECOND: 2.5}).seconds_left is None
    assert said(12, 10, **{PER_SECOND: 2.5}).seconds_left is None
    assert said(4, 10, **{PER_SECOND: -1}).seconds_left is None


def test_what_commands_have_used_is_among_the_metrics() -> None:
    """Of two commands the time adds up, and the larger peak counts."""
    used = Usage(1.5, 100).plus(Usage(0.25)).plus(Usage(1, 300))

    assert used == Usage(2.75, 300)
    assert said(0, None, **used.metrics()).used == used
    assert said(0, None, failed=1).used is None
    assert Usage(1).metrics() == {"cpu_seconds": 1}
