"""Draining: a kernel of a fleet takes no more runs and hands over those that only wait, before its host is stopped.

Nothing is interrupted: what is at work goes on until it ends, or waits. A handed-over run has no owner for a moment,
and goes on at whichever kernel takes it; a kernel that drains takes none.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import anyio

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import KernelClosedError, RunNotFoundError, StoreError
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.store.backend import StateBackend

from .driver import Driver
from .eviction import is_due
from .live_runs import LiveRuns, Residence
from .takeover import Takeover

logger = logging.getLogger("flujo.kernel")

LOOK_AGAIN = MICROSECONDS // 2

Suspend = Callable[[str], Awaitable[Sequence[str]]]
"""Ends the driving of the run with this id and of its children, if they rest; returns the uids of those it has ended
here."""


class Draining:
    """Drains one kernel, once it is asked to."""

    def __init__(
        self,
        backend: StateBackend,
        clock: Clock,
        runs: LiveRuns,
        driver: Driver,
        takeover: Takeover,
        suspend: Suspend,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._runs = runs
        self._driver = driver
        self._takeover = takeover
        self._suspend = suspend
        self._lock = anyio.Lock()

    async def serve(self) -> None:
        """Drain when the store says so, until cancelled."""
        await self._backend.wait_for_drain()
        logger.warning("kernel %s was asked to drain: it takes no more runs", self._driver.owner)
        await self.drain()
        logger.warning("kernel %s has drained: it has no runs any more", self._driver.owner)

    async def drain(self) -> None:
        """Take no more runs, and return when none is left here."""
        self._driver.is_draining = True
        async with self._lock:
            while held := self._runs.held():
                for uid in held:
                    await self._hand_over(uid)
                if self._runs.held():
                    await self._clock.sleep_until(self._clock.now() + LOOK_AGAIN)

    async def _hand_over(self, uid: str) -> None:
        """Give a run up if it is not at work."""
        where = self._runs.where(uid)
        if where in (None, Residence.STARTING, Residence.LEAVING):
            return
        run_id = self._runs.run_id_of(uid)
        try:
            await self._takeover.hand_over(run_id, lambda: self._end(uid, run_id))
        except (RunNotFoundError, KernelClosedError):
            return
        except StoreError as error:
            logger.warning("run %s cannot be handed over yet: %s", run_id, error)

    async def _end(self, uid: str, run_id: str) -> Sequence[str]:
        """End the driving of a run that waits; return the uids of the runs that nobody drives here any more."""
        match self._runs.where(uid):
            case Residence.QUEUED | Residence.AWAY | Residence.PARKED:
                return [uid]
            case Residence.IDLE | Residence.STAYING:
                run = self._runs.get(uid)
                if run is None or is_due(run, self._clock.now()):
                    return ()
                run.stop(Stop.CLOSE)
                await run.ended.wait()
                return [uid]
            case Residence.RESIDENT:
                return await self._suspend(run_id)
            case _:
                return ()
