"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.kernel.durations import MICROSECONDS, format_duration, format_instant, parse_duration
from flujo.kernel.errors import InvalidDurationError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90),
        (0.25, 0.25),
        (0, 0),
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        (" 2m ", 120),
        ("1h30m", 5400),
        ("2w", 1_209_600),
        ("1d12h", 129_600),
        ("500ms", 0.5),
        ("1s500ms", 1.5),
        ("1.5h", 5400),
        ("PT1H30M", 5400),
        ("P1D", 86_400),
        ("P2W", 1_209_600),
        ("P1DT12H", 129_600),
        ("PT0.5S", 0.5),
        (timedelta(minutes=2), 120),
    ],
)
def test_durations_are_read(text: Any, seconds: float) -> None:
    """Numbers are seconds; texts have units, largest first; ISO 8601 is understood."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "fast", "1:30", "30m1h", "1h1h", "1h 30m", "5x", "-1", "-5s", "nan", "inf", "1e9999", "P", "PT", "P1Y"),
        *("1h30", "101y", "40000d", -1, float("nan"), float("inf"), 10**400, True, None, [1], timedelta(seconds=-1)),
    ],
    ids=lambda text: str(text)[:10],
)
def test_what_is_no_duration_is_refused(text: Any) -> None:
    """Whatever two people could read differently, is negative or endless, is refused."""
    with pytest.raises(InvalidDurationError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0.2s"), (90, "1m30s"), (172_800, "2d"), (3600, "1h"), (0, "0s"), (59.9996, "60s"), (93_784, "1d2h")],
)
def test_durations_are_shown_short(seconds: float, text: str) -> None:
    """At most the two largest units are shown."""
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=100 * 365 * 86_400))
def test_what_is_shown_reads_back_as_nearly_the_same(seconds: float) -> None:
    """A shown duration is a duration, off by less than the unit that was left out."""
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.05, abs=0.001)


@given(st.tuples(*(st.integers(0, 59) for _ in range(3))))
def test_parts_add_up(parts: tuple[int, int, int]) -> None:
    """Hours, minutes and seconds in one text are their sum, in either notation."""
    hours, minutes, seconds = parts
    expected = 3600 * hours + 60 * minutes + seconds

    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == expected
    assert parse_duration(f"PT{hours}H{minutes}M{seconds}S") == expected


def test_instants_are_shown_in_utc_with_microseconds() -> None:
    """An instant is ISO 8601 with all its digits; none is none."""
    assert format_instant(1_767_225_600 * MICROSECONDS + 7) == "2026-01-01T00:00:00.000007Z"
    assert format_instant(None) is None
