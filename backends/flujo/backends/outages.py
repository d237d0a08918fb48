"""Keeping a kernel open over failures of its store that pass, as a full disk does."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import anyio
from anyio.abc import TaskStatus

from flujo.backends import open_backend
from flujo.kernel import Kernel
from flujo.kernel.backend import StateBackend
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignStoreError,
    NewerStoreError,
    OlderStoreError,
    StoreError,
    StoreFullError,
    StoreLeaseLostError,
    StoreNotFoundError,
)

logger = logging.getLogger("flujo.backends.outages")

RETRY_SECONDS = 1.0

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 15.0

SOON_SECONDS = 60.0
"""A store that fails again so soon is left alone for longer: on a disk that is nearly full, some writes succeed."""

ROOM = 1 << 20
"""How many bytes have to be free on a disk that was full."""

_LASTING = (CorruptStoreError, ForeignStoreError, NewerStoreError, OlderStoreError, StoreNotFoundError)
"""What does not pass by itself."""


async def keep_open(
    kernel: Kernel,
    *,
    beside: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Open a kernel and keep it open until cancelled: when its store has failed, as on a full disk, it is opened again
    once that works, and its runs go on where they stood. What is stored can be read meanwhile.

    `beside` is entered each time the kernel opens, and left before it closes. `task_status.started()` is called when it
    is open for the first time, so `await group.start(keep_open, kernel)` returns then. Returns when somebody closes the
    kernel. Raises what opening it raises, and the failure of a store that is damaged or gone."""
    was_open, outages = False, Outages(kernel.url)
    while True:
        try:
            async with kernel, beside():
                if not was_open:
                    was_open = True
                    task_status.started()
                try:
                    await kernel.wait_closed()
                    return
                except StoreLeaseLostError:
                    raise
                except StoreError as failure:
                    await outages.wait(failure, f"{kernel.id}-probe")  # what is stored is still told meanwhile
        except StoreLeaseLostError as error:
            logger.error("%s; this kernel begins anew", error)
        except StoreError as error:
            if not was_open or isinstance(error, _LASTING):
                raise
            logger.warning("the store cannot be opened yet: %s", error)
            await anyio.sleep(RETRY_SECONDS)


class Outages:
    """The failures of one store, at its URL."""

    def __init__(self, store: str, now: Callable[[], float] = anyio.current_time) -> None:
        self._store = store
        self._now = now
        self._delay = FIRST_SECONDS
        self._worked_at: float | None = None

    async def wait(self, failure: StoreError, owner: str) -> None:
        """Return once the store takes writes again, as tried under the name `owner`. Raises the failure if there is
        nothing to wait for: the store is damaged, or is not there any more."""
        logger.error("%s; no run goes on here until that is over", failure)
        is_again = self._worked_at is not None and self._now() - self._worked_at < SOON_SECONDS
        self._delay = self._longer() if is_again else FIRST_SECONDS
        while True:
            await anyio.sleep(self._delay)
            if await self._works(failure, owner):
                break
            self._delay = self._longer()
        self._worked_at = self._now()
        logger.warning("%s: it works again, and its runs go on here", failure.store)

    def _longer(self) -> float:
        return min(2 * self._delay, LONGEST_SECONDS)

    async def _works(self, failure: StoreError, owner: str) -> bool:
        """True if the store can be opened by an owner. Never makes one where there is none."""
        if isinstance(failure, _LASTING):
            raise failure
        try:
            async with open_backend(self._store) as reader:
                if isinstance(failure, StoreFullError) and not _has_room(reader):
                    return False
                if reader.capabilities.several_hosts:
                    return True  # whoever opens it joins the fleet
            writer = open_backend(self._store)
            try:
                await writer.open(owner)
            finally:
                await writer.close()
        except _LASTING:
            raise failure from None
        except StoreError as error:
            logger.debug("the store does not work yet: %s", error)
            return False
        return True


def _has_room(store: StateBackend) -> bool:
    if store.path is None:
        return True
    folder = store.path if store.path.is_dir() else store.path.parent
    return shutil.disk_usage(folder).free >= ROOM
