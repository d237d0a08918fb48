"""Progress reports: at most one per step and interval becomes an event, and always the last one.

A report that comes too soon after the one before is kept, and recorded when its time has come, or before the step's
outcome, whichever is first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from functools import partial

from anyio import from_thread

from . import events
from .attempts import bounded
from .clock import Clock
from .durations import MICROSECONDS
from .errors import InvalidValueError
from .runs import LiveRun

INTERVAL = 1 * MICROSECONDS
MAX_MESSAGE = 500
MAX_METRICS = 50


class Reporter:
    """Records the progress of one live run."""

    def __init__(self, run: LiveRun, clock: Clock, interval: int = INTERVAL) -> None:
        self._run = run
        self._clock = clock
        self._interval = interval
        self._thread = threading.get_ident()
        self.kept: dict[str | None, events.ProgressReported] = {}

    def report(
        self, step: str | None, done: float, total: float | None, message: str | None, metrics: Mapping[str, float]
    ) -> None:
        """Take a report of a step, or with None of the run as a whole; from any thread of this kernel."""
        fact = _checked(step, done, total, message, metrics)
        if threading.get_ident() == self._thread:
            self._take(fact)
        else:
            from_thread.run_sync(self._take, fact)

    def flush(self, step: str | None) -> None:
        """Record what is kept of a step, before its outcome."""
        if (fact := self.kept.pop(step, None)) is not None:
            self._run.record(fact)

    def _take(self, fact: events.ProgressReported) -> None:
        if self._run.stopped is not None:
            return
        last = self._last(fact.step)
        due = None if last is None else last + self._interval
        if due is None or self._clock.now() >= due:
            self.kept.pop(fact.step, None)
            self._run.record(fact)
            return
        is_waited_for = fact.step in self.kept
        self.kept[fact.step] = fact
        if not is_waited_for:
            self._run.spawn(partial(self._flush_at, fact.step, due))

    def _last(self, step: str | None) -> int | None:
        """When the last report was recorded."""
        state = self._run.state
        progress = state.report if step is None else state.steps[step].progress
        return None if progress is None else progress.at

    async def _flush_at(self, step: str | None, instant: int) -> None:
        await self._clock.sleep_until(instant)
        if self._run.takes_requests:
            self.flush(step)


def _checked(
    step: str | None, done: float, total: float | None, message: str | None, metrics: Mapping[str, float]
) -> events.ProgressReported:
    numbers = {"done": done, **({} if total is None else {"total": total}), **metrics}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InvalidValueError(f"progress.{name}", f"{value!r} is not a finite number")
    if len(metrics) > MAX_METRICS:
        raise InvalidValueError("progress", f"it has {len(metrics)} metrics, more than {MAX_METRICS}")
    said = None if message is None else bounded(str(message), MAX_MESSAGE)
    return events.ProgressReported(step, done, total, said, dict(sorted(metrics.items())))
