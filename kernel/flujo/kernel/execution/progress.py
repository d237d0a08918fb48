"""Progress reports: at most one per step and interval becomes an event, and always the last one.

A report that comes too soon after the one before is kept, and recorded when its time has come, or before the outcome
of the step or run it is about, whichever is first.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import deque
from collections.abc import Mapping
from functools import cache, partial

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import InvalidValueError
from flujo.kernel.journal import events
from flujo.kernel.journal.failures import bounded
from flujo.kernel.journal.state import StepStatus
from flujo.kernel.loops import from_any_thread

from .live_run import LiveRun

logger = logging.getLogger("flujo.kernel")

INTERVAL = 1 * MICROSECONDS
MAX_MESSAGE = 500
MAX_METRICS = 50


class Reporter:
    """Records the progress of one live run."""

    def __init__(self, run: LiveRun, clock: Clock, interval: int = INTERVAL) -> None:
        self._run = run
        self._clock = clock
        self._interval = interval
        self._process, self._thread = os.getpid(), threading.get_ident()
        self._call_soon = from_any_thread()
        self.kept: dict[str | None, events.ProgressReported] = {}
        self.mail: deque[events.ProgressReported] = deque()  # from other threads, not taken yet
        self._promised: set[str | None] = set()  # somebody waits for the time of what is kept

    def report(
        self, step: str | None, done: float, total: float | None, message: str | None, metrics: Mapping[str, float]
    ) -> None:
        """Take a report of a step, or with None of the run as a whole, from any thread."""
        fact = _checked(step, done, total, message, metrics)
        if os.getpid() != self._process:
            _warn_of_fork()
        elif threading.get_ident() == self._thread:
            self._take(fact)
        else:
            # Also from a thread that the body has made itself, and while the body holds up the event loop.
            self.mail.append(fact)
            self._call_soon(self._take_mail)

    def flush(self, step: str | None) -> None:
        """Record what is kept of a step, before its outcome; with None, of the run as a whole."""
        self._take_mail()
        self._record(step)

    def _record(self, step: str | None) -> None:
        if (fact := self.kept.pop(step, None)) is not None and self._run.takes_requests:
            self._run.record(fact)

    def _take_mail(self) -> None:
        while self.mail:
            self._take(self.mail.popleft())

    def _take(self, fact: events.ProgressReported) -> None:
        step = fact.step
        if not self._run.takes_requests or not self._is_under_way(step):
            return
        self.kept[step] = fact
        if self._due(step) <= self._clock.now():
            self._record(step)
        elif step not in self._promised:
            self._promised.add(step)
            self._run.spawn(partial(self._flush_in_time, step))

    def _is_under_way(self, step: str | None) -> bool:
        """True while the step or run can have progress; a task that a body has left behind may not know of its end."""
        if step is None:
            return True
        recorded = self._run.state.steps[step]
        return recorded.status is StepStatus.RUNNING or recorded.is_open_loop

    def _due(self, step: str | None) -> int:
        """Return the instant from which on the next report may be recorded."""
        state = self._run.state
        last = state.report if step is None else state.steps[step].progress
        return 0 if last is None else last.at + self._interval

    async def _flush_in_time(self, step: str | None) -> None:
        try:
            # What is kept now may be another report than the one this task was started for, with a later time.
            while step in self.kept and (due := self._due(step)) > self._clock.now():
                await self._clock.sleep_until(due)
            self.flush(step)
        finally:
            self._promised.discard(step)


@cache  # so that it is said once in each child
def _warn_of_fork() -> None:
    logger.warning("progress that is reported by a forked process is left out: have its parent report what it returns")


def _checked(
    step: str | None, done: float, total: float | None, message: str | None, metrics: Mapping[str, float]
) -> events.ProgressReported:
    numbers = {"done": done, **({} if total is None else {"total": total}), **metrics}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            raise InvalidValueError(f"progress.{name}", f"{_shown(value)} is not a finite number")
    if len(metrics) > MAX_METRICS:
        raise InvalidValueError("progress", f"it has {len(metrics)} metrics, more than {MAX_METRICS}")
    if message is not None and not isinstance(message, str):
        raise InvalidValueError("progress.message", f"it is a text, not {type(message).__name__}")
    said = None if message is None else bounded(message, MAX_MESSAGE)
    return events.ProgressReported(step, done, total, said, dict(sorted(metrics.items())))


def _is_finite(value: float) -> bool:
    """True if a float can hold a number, as readers in other languages have to."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: object) -> str:
    try:
        return bounded(repr(value), MAX_MESSAGE)
    except Exception:  # of an object of the user's, or a number of more digits than Python writes
        return f"this {type(value).__name__}"
