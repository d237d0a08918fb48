"""Taking part in the limits of a fleet: telling the store which slots this kernel wants and gives back, and handing on
those that it is given.

The store grants slots, first come, first served, over all kernels (`StateBackend.exchange_slots`); the limiter of this
kernel has a ticket for each step that waits for one (execution/limits.py). All that is wanted and given back while one
question is under way goes into the next, so a crowd of steps shares its questions, as their commits are shared. Where
no limit is set, the store is asked once, when the kernel opens, and after that when it tells of one.
"""

from __future__ import annotations

import logging

import anyio

from flujo.kernel.clock import Clock
from flujo.kernel.errors import StoreError
from flujo.kernel.execution.limits import Limiter
from flujo.kernel.store.backend import StateBackend

from .setbacks import Setbacks

logger = logging.getLogger("flujo.kernel")


class FleetLimits:
    """The part that one kernel has in the limits of its fleet."""

    def __init__(self, backend: StateBackend, clock: Clock, limiter: Limiter) -> None:
        self._backend = backend
        self._setbacks = Setbacks(clock, "the limits of the fleet cannot be asked for")
        self._limiter = limiter
        self._desk = limiter.desk
        self.are_kept = backend.capabilities.shares_limits

    async def exchange(self) -> None:
        """Tell the store what there is to tell, and take what it has for this kernel. Raises StoreError."""
        asked, given_back = self._desk.take_news()
        try:
            slots = await self._backend.exchange_slots(asked, given_back)
        except BaseException:
            self._desk.put_back(asked, given_back)
            raise
        self._limiter.share(slots.limits)
        self._limiter.grant(slots.granted)

    async def serve(self) -> None:
        """Exchange slots with the store as often as there is something to tell or to hear, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen)
            while True:
                await self._desk.until_called()
                try:
                    await self.exchange()
                except StoreError as error:
                    await self._setbacks.wait_after(error)
                    self._desk.call()

    async def _listen(self) -> None:
        while True:
            try:
                is_told = await self._backend.wait_for_slots()
            except StoreError as error:
                await self._setbacks.wait_after(error)
                is_told = True
            if is_told or self._desk.has_waiting:
                self._desk.call()

    async def close(self) -> None:
        """Give back what is left. Only a courtesy: what a kernel has is free once it is closed."""
        if self.are_kept and self._desk.has_news:
            try:
                await self.exchange()
            except StoreError as error:
                logger.warning("slots were not given back: %s", error)
