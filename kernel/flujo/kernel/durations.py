"""Durations as people write them: `90`, `90s`, `1h30m`, `2w`, `500ms` and ISO 8601 (`PT1H30M`), to seconds and back.

Instants are integers: microseconds since 1970-01-01 UTC. Windows over integers are exact.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from .errors import InvalidDurationError

Duration = float | int | str | timedelta
"""Seconds, a text as above, or a `timedelta`."""

MICROSECONDS = 1_000_000

_UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|w|d|h|m|s)")
_ISO = (
    r"P(?:(?P<w>\d+)W)?(?:(?P<d>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)


def parse_duration(value: Duration) -> float:
    """Return the seconds in `value`, not negative and finite; anything else raises InvalidDurationError.

    `1:30` is refused: it means 90 seconds to some and 90 minutes to others.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 2**53 else math.inf
    elif isinstance(value, str):
        seconds = _parse_text(value)
    else:
        raise InvalidDurationError(value)
    if not math.isfinite(seconds) or seconds < 0 or seconds > 100 * 366 * 86400:
        raise InvalidDurationError(value)
    return seconds


def _parse_text(text: str) -> float:
    trimmed = text.strip()
    try:
        return float(trimmed)
    except ValueError:
        pass
    iso = re.fullmatch(_ISO, trimmed)
    if iso and any(iso.groupdict().values()):
        return sum(float(number) * _UNITS[unit] for unit, number in iso.groupdict().items() if number)
    parts = _PART.findall(trimmed)
    units = [unit for _, unit in parts]
    in_order = units == sorted(set(units), key=list(_UNITS).index)
    if not parts or not in_order or _PART.sub("", trimmed):
        raise InvalidDurationError(text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Return the shortest text that reads back as nearly the same duration: `0.2s`, `90s` as `1m30s`, `2d`."""
    if seconds < 60:
        return f"{round(seconds, 3):g}s"
    rest, parts = round(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def to_datetime(instant: int) -> datetime:
    """Return the instant as an aware UTC datetime."""
    return datetime.fromtimestamp(instant // MICROSECONDS, UTC) + timedelta(microseconds=instant % MICROSECONDS)


def from_datetime(moment: datetime) -> int:
    """Return the instant of an aware datetime, in microseconds UTC."""
    return (moment - _BEGINNING) // timedelta(microseconds=1)


_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def format_instant(instant: int | None) -> str | None:
    """Return the instant as ISO 8601 in UTC with microseconds, as in `2026-11-22T02:15:00.000000Z`."""
    if instant is None:
        return None
    return to_datetime(instant).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
