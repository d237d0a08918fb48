"""The line in which runs wait that must not overlap an earlier one of their workflow (`on_overlap: queue`).

A place in the line is the instant of creation. The store refuses a run that is not created later than every unfinished
one of its workflow (`Commit.alone_from`), so nobody is ever put before a run that has looked and found nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import StoreError
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.overlaps import ahead_of

from .live_runs import LiveRuns

logger = logging.getLogger("flujo.kernel")

LOOK_AGAIN = MICROSECONDS // 2
"""After so long a run looks again whether the one before it, which another process runs, has ended."""

LOOK_AGAIN_HERE = 5 * MICROSECONDS
"""The same for one that this kernel owns, whose end it is told."""


class Line:
    """Lets the runs of one kernel begin when it is their turn. `change` gives what to await until a run held here has
    recorded something, or has ended."""

    def __init__(
        self,
        backend: StateBackend,
        clock: Clock,
        runs: LiveRuns,
        change: Callable[[str], Callable[[], Awaitable[None]]],
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._runs = runs
        self._change = change

    async def wait_for_turn(self, run: LiveRun) -> None:
        """Return when no run is before this one, which queues; at once for one that has begun."""
        if run.state.started_at is not None:
            return
        run.is_in_line = True
        try:
            while (changed := await self._change_ahead_of(run)) is not None:
                with run.waits():
                    await changed()
                if run.stopped is not None:
                    await run.unwind()
        finally:
            run.is_in_line = False

    async def _change_ahead_of(self, run: LiveRun) -> Callable[[], Awaitable[None]] | None:
        """Return something to await before the next look; None if it is the turn of this run."""
        try:
            ahead = await ahead_of(self._backend, run.state)
        except StoreError as error:
            logger.warning("run %s cannot see whether it is its turn and tries again: %s", run.state.run_id, error)
            return lambda: self._sleep(LOOK_AGAIN)
        if ahead is None:
            return None
        uid = ahead.summary.uid
        if not self._runs.holds(uid):
            return lambda: self._sleep(LOOK_AGAIN)
        change = self._change(uid)
        return lambda: self._first_of(change, LOOK_AGAIN_HERE)

    async def _sleep(self, microseconds: int) -> None:
        await self._clock.sleep_until(self._clock.now() + microseconds)

    async def _first_of(self, change: Callable[[], Awaitable[None]], microseconds: int) -> None:
        async with anyio.create_task_group() as group:

            async def end_after(wait: Callable[[], Awaitable[None]]) -> None:
                await wait()
                group.cancel_scope.cancel()

            group.start_soon(end_after, change)
            group.start_soon(end_after, lambda: self._sleep(microseconds))
