"""What comes before a store is used: it is created, migrated, or looked through after a crash.

Whether it was left in good order is told by what only a good order removes. A kernel that closes takes its lock file
away, under the store lock, and empties the log; a kernel that dies leaves the file, and mostly a log. So a store that
nobody is alive on, with a dead kernel's lock file or with a log, has not been closed, and before its files are taken
away the store has been looked through, or is marked as not looked through yet. A mere reader takes nothing away.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

from flujo.backends.locks import KernelLocks
from flujo.kernel.errors import CorruptStoreError, OlderStoreError, StoreNotFoundError

from . import files, migrations
from .connection import open_for_taking_back, open_reader
from .integrity import find_damage
from .interruption import AGAIN_SECONDS, Cancellation, Stopped

logger = logging.getLogger("flujo.backends.sqlite")

CHECKED_AT_ONCE = 256 * 1024 * 1024
"""Bytes of a store that is looked through before anything is claimed. A larger one is looked through while runs go on:
its kernels would be away for as long as that takes, and what was acknowledged is no safer for it."""


def prepare(places: files.StoreFiles, kernels: KernelLocks, owner: str | None) -> bool:
    """Make the store ready for writing by `owner`; None only leaves requests and deletes, and creates nothing.

    True if the owner has to look through the store while it is in use. Needs the store lock, blocks. Raises
    StoreNotFoundError and OlderStoreError for None, StoreInUseError, and what `files.find` raises.
    """
    if files.find(places) is None:
        if owner is None:
            raise StoreNotFoundError(places.store)
        files.create(places)
    take_back(places)
    alive = kernels.live_owners()
    with closing(open_reader(places)) as connection:
        schema = files.schema_of(places.store, connection)
        if schema == files.SCHEMA and owner is not None and not alive and was_left(places, kernels):
            _scan(places, connection)
    if schema < files.SCHEMA:
        if owner is None:
            raise OlderStoreError(places.store, schema, files.SCHEMA)
        migrations.migrate(places, alive)  # looks through it too
        files.unmark_unchecked(places)
    if owner is None:
        return False
    kernels.remove_dead()
    files.keep_reserve(places)
    return not alive and places.unchecked.exists()


def take_back(places: files.StoreFiles) -> None:
    """Take back what a restore that has died in the middle of a change has begun. A connection that only reads cannot,
    and says "attempt to write a readonly database" then. Needs the store lock, blocks."""
    if files.size_of(places.rollback_journal):
        with closing(open_for_taking_back(places)) as connection:
            files.schema_of(places.store, connection)


def was_left(places: files.StoreFiles, kernels: KernelLocks) -> bool:
    """True if the last kernel that was alive on the store has not closed it."""
    return bool(kernels.dead_owners() or files.size_of(places.log) or places.unchecked.exists())


def _scan(places: files.StoreFiles, connection: sqlite3.Connection) -> None:
    if files.size_of(places.database) + files.size_of(places.log) <= CHECKED_AT_ONCE:
        damage = find_damage(connection)
        if damage is not None:
            raise CorruptStoreError(places.store, damage)
        files.unmark_unchecked(places)
    else:
        files.mark_unchecked(places)


class IntegrityScan:
    """A look through a store, in a thread, while it is in use. `found` is told, in that thread, if it is damaged."""

    def __init__(self, places: files.StoreFiles, found: Callable[[str], None]) -> None:
        self._places = places
        self._found = found
        self._stop = Cancellation()
        # A process that ends without closing its store does not wait for it.
        self._thread = threading.Thread(target=self._run, name="flujo-look-through", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give up, if it is not done, and wait until nothing is open; the next kernel begins again."""
        while self._thread.is_alive():
            self._stop.tell()
            self._thread.join(AGAIN_SECONDS)

    def _run(self) -> None:
        try:
            with closing(open_reader(self._places)) as connection:
                damage = find_damage(connection, self._stop)
            if damage is None:
                files.unmark_unchecked(self._places)
            else:
                logger.error(
                    "%s: the store is damaged, nothing is written to it any more: %s", self._places.store, damage
                )
                self._found(damage)
        except Stopped:
            pass
        except (sqlite3.Error, OSError) as error:
            logger.warning("%s: it was not closed in good order and could not be read: %s", self._places.store, error)
