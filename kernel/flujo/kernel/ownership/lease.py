"""Ending what runs here while this kernel cannot know whether others take it for dead.

Where kernels are on several hosts each has a lease. One that has not reached the store for most of it ends the bodies
of its runs, and records nothing of that: others may begin them any moment. Once it reaches the store again it goes on
with its runs, unless it was told dead meanwhile; that is final, and ends the kernel.

A kernel that hangs, or is stopped, does nothing of that in time. Its guardian ends its commands then (guardian.py), and
the kernel that goes on afterwards is as one that had doubts: how these commands ended is not recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from flujo.kernel.clock import Clock
from flujo.kernel.errors import KernelClosedError, StoreError, StoreLeaseLostError
from flujo.kernel.execution.subprocesses import Children
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

    async def serve(self, children: Children) -> StoreLeaseLostError:
        """Return why the lease is lost for good, once it is. The child processes are those of this kernel."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._renew, children)
            lost = await self._watch(children)
            group.cancel_scope.cancel()
        return lost

    async def _renew(self, children: Children) -> None:
        while True:
            await self._backend.wait_for_renewal()
            if (seconds := self._backend.certain_seconds()) is not None:
                children.renew(seconds)

    async def _watch(self, children: Children) -> StoreLeaseLostError:
        while True:
            await _first(self._backend.wait_for_doubt, children.wait_late)
            logger.warning("kernel %s does not reach its store: its runs stop until it does", self._driver.owner)
            await self._driver.stop_unrecorded()
            if not await self._backend.wait_for_certainty():
                lost = StoreLeaseLostError(self._backend.url, self._driver.owner)
                with suppress(StoreError):  # a commit was told so first
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


async def _first(*waits: Callable[[], Awaitable[None]]) -> None:
    """Return once one of these has."""
    async with anyio.create_task_group() as group:

        async def wait(until: Callable[[], Awaitable[None]]) -> None:
            await until()
            group.cancel_scope.cancel()

        for each in waits:
            group.start_soon(wait, each)
