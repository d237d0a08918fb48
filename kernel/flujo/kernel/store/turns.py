"""Turns for a crowd of followers, so that those who look on do not hold up those who work.

Up to CROWD followers are served at once. More of them go one behind the other; and as long as runs are at work here,
with a pause in between, so that all together take a small part of the processor however many they are. Each then comes
less often, with more to get at a time. A client that does not read cannot be told from one that does, until some
megabytes lie at its end: what it is sent until then is what this holds down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

Result = TypeVar("Result")

CROWD = 10
"""So many followers are no crowd."""

PAUSE_SECONDS = 0.005
"""Between the turns of a crowd while runs are at work. A turn takes a tenth of it, most of which is gRPC's."""

UNHURRIED = 100
MOST_PAUSES = 3
"""A larger crowd than this goes more slowly, by as much as it is larger, up to so many times: each of them is late
already, and what is spent on all of them together is to stay small. As many watches as a server admits still hear of it
more often than a client takes the connection for lost (SILENCE_SECONDS)."""

READ_PAUSES = 10
"""So many pauses follow on a turn for which the store had to be read."""

BUSY_SECONDS = 0.1
"""Runs are at work if one has committed something within this."""


class Turns:
    """Says when each of the followers of one sequence is served. `any_change` returns what is woken by the next commit
    of this process, another one after each; or None where commits are not known."""

    def __init__(self, any_change: Callable[[], anyio.Event | None]) -> None:
        self.followers = 0
        self._any_change = any_change
        self._line = anyio.Lock(fast_acquire=True)
        self._pauses = 1
        self._change: anyio.Event | None = None
        self._busy_until = 0.0

    async def take(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `work` returns, done when it is the caller's turn."""
        if self.followers <= CROWD:
            return await work()
        async with self._line:
            if self._is_busy():
                pauses, self._pauses = self._pauses, 1
                await anyio.sleep(PAUSE_SECONDS * max(pauses, self._pauses_of_a_crowd()))
            return await work()  # inside, or all would come at once behind a read that takes its time

    def has_read(self) -> None:
        """Note that the store was read for the one whose turn it is."""
        self._pauses = READ_PAUSES

    def _pauses_of_a_crowd(self) -> float:
        return min(MOST_PAUSES, self.followers / UNHURRIED)

    def _is_busy(self) -> bool:
        change = self._any_change()
        if change is None:
            return False
        now = anyio.current_time()
        if change is not self._change:
            self._change = change
            self._busy_until = now + BUSY_SECONDS
        return now < self._busy_until
