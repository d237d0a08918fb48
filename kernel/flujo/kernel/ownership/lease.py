"""Ending what runs here while this kernel cannot know whether others take it for dead.

Where kernels are on several hosts each has a lease. One that has not reached the store for most of it ends the bodies
of its runs, and records nothing of that: others may begin them any moment. Once it reaches the store again it goes on
with its runs, unless it was told dead meanwhile; that is final, and ends the kernel.
"""

from __future__ import annotations

import logging

from flujo.kernel.clock import Clock
from flujo.kernel.errors import KernelClosedError, StoreError, StoreLeaseLostError
from flujo.kernel.store.backend import StateBackend

from .driver import Driver
from .recovery import Recovery
from .setbacks import Setbacks

logger = logging.getLogger("flujo.kernel")


class Lease:
    """Watches over the lease of one kernel."""

    def __init__(self, backend: StateBackend, clock: Clock, driver: Driver, recovery: Recovery) -> None:
        self._backend = backend
        self._setbacks = Setbacks(clock, "the runs of this kernel cannot go on yet")
        self._driver = driver
        self._recovery = recovery

    async def serve(self) -> StoreLeaseLostError:
        """Return why the lease is lost for good, once it is."""
        while True:
            await self._backend.wait_for_doubt()
            logger.warning("kernel %s does not reach its store: its runs stop until it does", self._driver.owner)
            await self._driver.stop_unrecorded()
            if not await self._backend.wait_for_certainty():
                lost = StoreLeaseLostError(self._backend.url, self._driver.owner)
                self._driver.committer.fail(lost)
                return lost
            await self._go_on()

    async def _go_on(self) -> None:
        await self._driver.committer.written()
        while True:
            try:
                await self._recovery.regain()
            except KernelClosedError:
                return
            except StoreError as error:
                await self._setbacks.wait_after(error)
            else:
                logger.warning("kernel %s reaches its store again: its runs go on", self._driver.owner)
                return
