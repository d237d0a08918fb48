"""Waiting for a store that has failed, as on a full disk, until its server can go on with its runs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable

import anyio

from flujo.backends import open_backend
from flujo.kernel.backend import StateBackend
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignStoreError,
    NewerStoreError,
    OlderStoreError,
    StoreError,
    StoreFullError,
    StoreNotFoundError,
)

logger = logging.getLogger("flujo.server")

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 15.0

SOON_SECONDS = 60.0
"""A store that fails again so soon is left alone for longer: on a disk that is nearly full, some writes succeed."""

ROOM = 1 << 20
"""How many bytes have to be free on a disk that was full."""

_LASTING = (CorruptStoreError, ForeignStoreError, NewerStoreError, OlderStoreError, StoreNotFoundError)
"""What does not pass by itself."""


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
        logger.warning("%s: it works again; this server goes on with its runs", failure.store)

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
