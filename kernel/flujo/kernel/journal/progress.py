"""How far a step or a run said it is, and what its commands have used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from flujo.kernel.durations import MICROSECONDS, format_instant


class Usage(NamedTuple):
    """What commands have used: seconds of CPU time, user and system, of them and of all they have waited for, and the
    most memory (resident set) that one process had at a time; None when that is not known, which is so for those that
    took less than the kernel's own process (subprocesses.py)."""

    cpu_seconds: float
    peak_bytes: float | None = None

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        known = [peak for peak in (self.peak_bytes, other.peak_bytes) if peak is not None]
        return Usage(round(self.cpu_seconds + other.cpu_seconds, 6), max(known, default=None))

    def metrics(self) -> dict[str, float]:
        """It as metrics of a step's progress, which is how it is recorded."""
        return {name: value for name, value in self._asdict().items() if value is not None}


PER_SECOND = "per_second"
"""The metric in which a loop reports how many items have come to an outcome each second."""


NEARLY_DONE = 0.99
"""What is done at most of a run that has ended without having completed."""


def seconds_left(took_micros: int, share: float | None) -> float | None:
    """Return how many seconds are left at the rate so far. None while no part is done or no time has passed, and once
    all is said to be done: whatever is left then, nothing is known of it."""
    if not took_micros or not share or share >= 1.0:
        return None
    return round(took_micros / MICROSECONDS * (1 - share) / share, 1)


class Progress(NamedTuple):
    """How far something said it is. `done` and `total` are in units of its own."""

    done: float
    total: float | None
    message: str | None
    metrics: Mapping[str, float]
    at: int  # when it was recorded, microseconds UTC

    @property
    def share(self) -> float | None:
        """Return the part that is done, 0 to 1; None without a total above 0."""
        return None if self.total is None or self.total <= 0 else min(1.0, max(0.0, self.done / self.total))

    @property
    def seconds_left(self) -> float | None:
        """Return how much longer it takes at the reported rate of a loop; None without one, or without a total."""
        if self.total is None or self.done > self.total or (rate := self.metrics.get(PER_SECOND, 0.0)) <= 0.0:
            return None
        return round((self.total - self.done) / rate, 1)

    @property
    def used(self) -> Usage | None:
        """Return what the commands of the step have used in this generation; None if it ran none."""
        if (seconds := self.metrics.get("cpu_seconds")) is None:
            return None
        return Usage(seconds, self.metrics.get("peak_bytes"))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as users see it in JSON."""
        share = self.share
        return {
            "percent": None if share is None else round(100 * share, 1),
            "done": self.done,
            "total": self.total,
            "message": self.message,
            "metrics": dict(self.metrics),
            "at": format_instant(self.at),
        }
