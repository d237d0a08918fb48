"""Time, identifiers and randomness, handed in at the door so that tests and simulations can hold them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

import anyio

from .durations import MICROSECONDS


class Clock(Protocol):
    """The only source of time in flujo."""

    def now(self) -> int:
        """The wall clock: microseconds since 1970-01-01 UTC."""
        ...

    async def sleep_until(self, instant: int) -> None:
        """Return once `now()` has reached `instant`; at once, without a pause, when it has already."""
        ...


class SystemClock:
    """The machine's clock. A wall clock that is set forward or back is noticed within `LONGEST_NAP` seconds."""

    LONGEST_NAP = 60.0

    def now(self) -> int:
        return time.time_ns() // 1000

    async def sleep_until(self, instant: int) -> None:
        while (left := instant - self.now()) > 0:  # noqa: ASYNC110 - time is what is waited for
            await anyio.sleep(min(left / MICROSECONDS, self.LONGEST_NAP))


RandomBytes = Callable[[int], bytes]
"""A source of random bytes, `os.urandom` by default."""


class Identifiers:
    """Run ids that sort by time, and random uids that tell one life of a run id from the next."""

    def __init__(self, clock: Clock, random: RandomBytes = os.urandom) -> None:
        self._clock = clock
        self._random = random

    def run_id(self) -> str:
        """A UUID of version 7 (RFC 9562): milliseconds first, so ids list in the order they were made."""
        milliseconds = self._clock.now() // 1000
        raw = bytearray(milliseconds.to_bytes(6, "big") + self._random(10))
        raw[6] = 0x70 | raw[6] & 0x0F
        raw[8] = 0x80 | raw[8] & 0x3F
        text = raw.hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def uid(self) -> str:
        """128 random bits as hexadecimal text."""
        return self._random(16).hex()
