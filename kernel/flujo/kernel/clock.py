"""Time, identifiers and randomness, handed in at the door so that tests and simulations can hold them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from math import inf
from typing import Protocol

import anyio

from .durations import MICROSECONDS, format_duration
from .errors import InvalidNameError

logger = logging.getLogger("flujo.kernel")


class Clock(Protocol):
    """The only source of time in flujo."""

    def now(self) -> int:
        """Return the wall clock: microseconds since 1970-01-01 UTC."""
        ...

    async def sleep_until(self, instant: int) -> None:
        """Return once `now()` has reached `instant`; at once, without a pause, when it has already."""
        ...


_TOLERATED = 10**9
"""How far, in nanoseconds, the two clocks may differ before that is a jump: corrections of the time are smaller."""

_CLOSE = _TOLERATED // 10
"""How far they may differ without a new look at how far they are apart, in nanoseconds."""

_BELIEVED = 600 * 10**9
"""After so many nanoseconds the time that a jump forward has led to is taken for the right one."""


class SystemClock:
    """The machine's wall clock, backed by its monotonic one while the process lives.

    Set back, it goes on by the monotonic clock, so that nothing waits longer than it was told to. Set forward, or after
    the machine was asleep, it follows within `LONGEST_NAP` seconds: what has become due meanwhile is due. A jump
    forward that is taken back counts for nothing after that, and what waits in memory for an instant that was reckoned
    meanwhile waits no longer than it was to (`sleep_out`). Each jump is logged once, and `jumps` counts those that
    went forward.
    """

    LONGEST_NAP = 60.0

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Both arguments give nanoseconds."""
        self.jumps = 0
        self._wall = wall
        self._monotonic = monotonic
        self._apart = wall() - monotonic()  # how far the two clocks are apart, when they agree
        self._jump = 0  # how far the wall clock was off when that was last noticed
        self._jumped_at = 0  # on the monotonic clock: when that was

    def follow(self, wall: Callable[[], int]) -> None:
        """Tell the time of another clock from now on; what it says, in nanoseconds, is no jump of this one."""
        self._wall, self._jump = wall, 0
        self._apart = wall() - self._monotonic()

    def now(self) -> int:
        wall, monotonic = self._wall(), self._monotonic()
        jump = wall - monotonic - self._apart
        if -_CLOSE < jump < _CLOSE and not self._jump:  # nearly always, and every event asks
            return wall // 1000
        if -_TOLERATED < jump < _TOLERATED or self._is_believed(jump, monotonic):
            self._apart, self._jump = wall - monotonic, 0
            return wall // 1000
        return max(wall, wall - jump) // 1000

    def _is_believed(self, jump: int, monotonic: int) -> bool:
        """Note a jump, in nanoseconds; True for one that went forward and has lasted."""
        further = jump - self._jump
        if abs(further) >= _TOLERATED:
            self._jump, self._jumped_at = jump, monotonic
            self.jumps += further > 0
            way = "forward" if further > 0 else "back"
            seconds = format_duration(abs(further) // 10**9)
            logger.warning("the clock of this machine was set %s by %s", way, seconds)
        return jump > 0 and monotonic - self._jumped_at >= _BELIEVED

    async def sleep_until(self, instant: int) -> None:
        await self.sleep_out(instant, inf)

    async def sleep_out(self, instant: int, at_most: float) -> None:
        """Return once `now()` has reached `instant`, or when so many seconds have passed on the monotonic clock."""
        began = self._monotonic()
        while (left := instant - self.now()) > 0:
            rest = at_most - (self._monotonic() - began) / 10**9
            if rest <= 0:
                return
            await anyio.sleep(min(left / MICROSECONDS, rest, self.LONGEST_NAP))


async def sleep_out(clock: Clock, instant: int, seconds: float) -> None:
    """Return once an instant has come that lies, or lay, at most so many seconds ahead.

    It may have been reckoned while the clock of the machine stood too far ahead: what was set meanwhile takes no longer
    because the clock is put right (tests/kernel/test_clock.py)."""
    if isinstance(clock, SystemClock):
        await clock.sleep_out(instant, seconds)
    else:
        await clock.sleep_until(instant)


def jumps_forward(clock: Clock) -> int:
    """Return how often a clock was seen to jump forward; 0 for a clock that does not tell."""
    clock.now()
    return clock.jumps if isinstance(clock, SystemClock) else 0


RandomBytes = Callable[[int], bytes]
"""A source of random bytes, `os.urandom` by default."""


class Identifiers:
    """Run ids that sort by time, and random uids that tell one life of a run id from the next."""

    def __init__(self, clock: Clock, random: RandomBytes = os.urandom) -> None:
        self._clock = clock
        self._random = random

    def run_id(self) -> str:
        """Return a UUID of version 7 (RFC 9562): milliseconds first, so ids list in the order they were made."""
        milliseconds = self._clock.now() // 1000
        raw = bytearray(milliseconds.to_bytes(6, "big") + self._random(10))
        raw[6] = 0x70 | raw[6] & 0x0F
        raw[8] = 0x80 | raw[8] & 0x3F
        text = raw.hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def uid(self) -> str:
        """128 random bits as hexadecimal text."""
        drawn = self._random(16)
        if not isinstance(drawn, bytes):
            raise InvalidNameError("random", type(drawn), "a function that returns as many bytes as it is asked for")
        return drawn.hex()
