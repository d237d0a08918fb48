"""What was asked of a run, and acknowledged, while it ended or paused: it lies in the inbox of a run without an owner.

A signal and a variable are recorded all the same; a cancel ends a run that has paused, and goes where it has ended. A
store refuses whatever comes after the end, so one look after the end finds all there will ever be. The look costs a
read of the store, so it is taken only if something may be there: the inbox saw something of the run that it could not
answer, something was posted to any run since it ended, or the kernel closes right behind the end, before it could have
seen that (tests/kernel/ownership/test_latecomers.py).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import anyio

from flujo.kernel.errors import KernelClosedError, StoreError

logger = logging.getLogger("flujo.kernel")

UNSEEN_SECONDS = 1.0
"""How long something that was posted may take until this kernel knows that there is something; a store says within a
quarter of it."""

MOST = 1000


class End(NamedTuple):
    """One run that has ended here."""

    run_id: str
    uid: str
    at: float


TakeAlong = Callable[[Sequence[End]], Awaitable[None]]
"""Records what lies in the inboxes of runs that have ended."""


class Latecomers:
    """The runs of one kernel that have ended or paused and whose inbox was not looked at since."""

    def __init__(self) -> None:
        self._ended: deque[End] = deque(maxlen=MOST)
        self._unanswered: set[str] = set()  # uids
        self._posted_at = float("-inf")
        self._lock = anyio.Lock()
        self._is_due = anyio.Event()

    def missed(self, uid: str) -> None:
        """Something was asked of a run that takes nothing any more."""
        self._unanswered.add(uid)

    def ended(self, run_id: str, uid: str) -> None:
        """A run of this kernel is final or paused, durably."""
        now = anyio.current_time()
        self._ended.append(End(run_id, uid, now))
        if uid in self._unanswered or now - self._posted_at < UNSEEN_SECONDS:
            self._unanswered.discard(uid)
            self._is_due.set()

    def left(self, run_id: str, uid: str) -> None:
        """A kernel that is gone has not looked at the inbox of a run that it has paused: have that done here."""
        self._ended.append(End(run_id, uid, anyio.current_time()))
        self._is_due.set()

    def look(self) -> None:
        """Something was posted: have the inboxes of the runs that have ended, or end just now, looked at. Never
        waits."""
        self._posted_at = anyio.current_time()
        if self._ended:
            self._is_due.set()

    async def serve(self, take_along: TakeAlong) -> None:
        """Look whenever that is due, until cancelled."""
        while True:
            await self._is_due.wait()
            self._is_due = anyio.Event()
            await self._take(take_along, since=float("-inf"))

    async def close(self, take_along: TakeAlong) -> None:
        """Look once more, as far as something may have been posted that the inbox has not seen."""
        await self._take(take_along, since=anyio.current_time() - UNSEEN_SECONDS)

    async def _take(self, take_along: TakeAlong, since: float) -> None:
        try:
            async with self._lock:  # a kernel that closes waits for a look that is under way
                while self._ended:
                    ends = [end for end in self._ended if end.at >= since]
                    self._ended.clear()
                    await take_along(ends)
        except (StoreError, KernelClosedError) as error:  # `explain` still names what lies there
            self._ended.clear()
            logger.warning("what reached runs too late is left in their inboxes: %s", error)
