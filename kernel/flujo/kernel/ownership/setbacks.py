"""Errors of the store in work that nobody waits for: they are logged, and the work is tried again a second later.

A store that is away stays away for a while, so the same error is logged once a minute and not with each try.
"""

from __future__ import annotations

import logging

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import StoreError

logger = logging.getLogger("flujo.kernel")

AGAIN_AFTER = 60 * MICROSECONDS
"""How long an error is not logged again."""


class Setbacks:
    """What keeps one kind of work from being done. `what` says so in the log, before the error."""

    def __init__(self, clock: Clock, what: str) -> None:
        self._clock = clock
        self._what = what
        self._logged = ""
        self._logged_at = 0

    async def wait_after(self, error: StoreError) -> None:
        """Log an error, unless it was logged within the last minute, and return after a second."""
        now, message = self._clock.now(), str(error)
        if message != self._logged or not self._logged_at <= now < self._logged_at + AGAIN_AFTER:
            self._logged, self._logged_at = message, now
            logger.warning("%s: %s", self._what, message)
        await self._clock.sleep_until(now + MICROSECONDS)
