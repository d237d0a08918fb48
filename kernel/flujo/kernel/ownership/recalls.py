"""Runs that have to come back into memory.

A timer, the inbox, admission, a granted slot and a run that had to leave too early ask for a run by its id; `serve`
hands each one to the takeover. A store that does not answer is asked again every second, so that no run is forgotten
because of one failed read (tests/kernel/ownership/test_recalls.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS

from .tasks import KernelTasks

Reload = Callable[[str], Awaitable[bool]]
"""Brings the run of this id back into memory, or gives it up; False when the store does not answer."""


class Recalls:
    """The runs of one kernel that were asked back."""

    def __init__(self, clock: Clock, tasks: KernelTasks) -> None:
        self._clock = clock
        self._tasks = tasks
        self._asked: deque[str] = deque()
        self._again: dict[str, bool] = {}  # by run id, while a recall is under way: True if it was asked for meanwhile
        self._wake = anyio.Event()

    def ask(self, run_id: str) -> None:
        """Have a run brought back into memory. Never waits."""
        if run_id in self._again:
            self._again[run_id] = True
            return
        self._again[run_id] = False
        self._asked.append(run_id)
        self._wake.set()

    async def serve(self, reload: Reload) -> None:
        """Bring back what is asked for, each run in a task of its own, until cancelled."""
        while True:
            while self._asked:
                self._tasks.spawn(partial(self._recall, self._asked.popleft(), reload))
            self._wake = anyio.Event()
            await self._wake.wait()

    async def _recall(self, run_id: str, reload: Reload) -> None:
        while True:
            self._again[run_id] = False
            if not await reload(run_id):
                await self._clock.sleep_until(self._clock.now() + MICROSECONDS)
            elif not self._again[run_id]:
                del self._again[run_id]
                return
