"""Two kinds of lock files, in the folder beside a store: whose turn it is to write, and who is alive.

`store.lock` is held for moments: around every write transaction and every checkpoint, and while files are created or
removed. `OWNER.lock` is held by a kernel for its whole life; the operating system lets go of it when the process ends,
however it ends, so a lock that can be had means a dead owner.

Both are flock locks: they belong to an open file, so two handles of one process exclude each other as two processes do.
A child that is given the file keeps its kernel alive, as the guardian of child processes does; a child that is merely
forked closes it (flujo.kernel.forks).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from flujo.kernel.forks import close_in_children
from flujo.kernel.trust import open_own

LOOK_SECONDS = 1.0
"""How often a kernel looks whether others have died."""

POLL_SECONDS = 0.0005  # less than one transaction with a sync takes

_STORE = "store"
_NO_LOCK_FILE = (errno.ENOENT, errno.ELOOP, errno.ENXIO)  # nothing there, a link, a pipe without a reader

logger = logging.getLogger("flujo.backends.locks")


class StoreLock:
    """The lock on `store.lock`: one writer of all processes at a time. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        close_in_children(self)

    def acquire(self, patience: float) -> bool:
        """Take the lock, trying for `patience` seconds; whether it was to be had. Not reentrant. Raises OSError, and
        PlaceTakenError for what is no lock file."""
        if self._file is None:
            self._file = open_lock(self.path)
        if self._file is None:
            return True
        give_up_at = time.monotonic() + patience
        while not _try_lock(self._file, fcntl.LOCK_EX):
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def release(self) -> None:
        """Let the next one write."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def close_in_child(self) -> None:
        """Give up the child's copy of the file; the parent keeps the lock."""
        self.close()


class KernelLocks:
    """The lock files of the kernels of one store.

    Files are created and removed under the store lock only, so nobody removes a file another one has just made. Looking
    takes a shared lock, so that two processes that look at once do not take each other for the owner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: tuple[str, int] | None = None
        self._seen_alive: set[str] = set()
        self._returned_dead: set[str] = set()
        close_in_children(self)

    @property
    def file(self) -> int | None:
        """Return the descriptor of the held lock."""
        return self._held[1] if self._held else None

    def hold(self, owner: str) -> bool:
        """Be alive as `owner` until `release`; False if somebody else is. Needs the store lock."""
        file = open_own(self._path(owner), os.O_RDWR | os.O_CREAT)
        try:
            if not _try_lock(file, fcntl.LOCK_EX):
                os.close(file)
                return False
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())  # for people; only the lock counts
        except OSError:
            os.close(file)  # or this owner would be alive until its process ends
            raise
        self._held = owner, file
        # An owner that dies, and whose file another kernel removes, before the first look is told of as well.
        self._seen_alive = set(self._owners()) - {owner}
        return True

    def release(self) -> None:
        """Stop being alive, as far as no child was given the lock."""
        if self._held is not None:
            os.close(self._held[1])
            self._held = None

    def close_in_child(self) -> None:
        """Give up the child's copy of the lock, which would keep the kernel alive beyond its process."""
        self.release()

    def is_alive(self, owner: str) -> bool:
        """True if a process holds the lock of `owner` right now. The one held here is not looked at: every
        answer about a run of this process asks."""
        if self._held is not None and self._held[0] == owner:
            return True
        try:
            file = os.open(self._path(owner), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _NO_LOCK_FILE:
                return False
            raise
        try:
            return not _try_lock(file, fcntl.LOCK_SH)
        finally:
            os.close(file)

    def live_owners(self) -> list[str]:
        """Everybody who is alive right now, in order of names."""
        return [owner for owner in self._owners() if self.is_alive(owner)]

    def dead_owners(self) -> list[str]:
        """Return those whose file is there although they are not alive: they died, or nobody has removed it yet."""
        return [owner for owner in self._owners() if not self.is_alive(owner)]

    def newly_dead(self) -> list[str]:
        """Return the owners that are not alive and that were not returned before: those whose file is there, and those
        whose file was there at an earlier look and was removed since."""
        owners = set(self._owners())
        dead = {owner for owner in owners if not self.is_alive(owner)} | (self._seen_alive - owners)
        self._seen_alive = owners - dead
        found = sorted(dead - self._returned_dead)
        self._returned_dead |= dead
        return found

    def remove_dead(self) -> None:
        """Remove the files of owners who are gone. Needs the store lock. What cannot be removed stays, as it keeps
        nobody alive."""
        for owner in self.dead_owners():
            try:
                self._path(owner).unlink(missing_ok=True)
            except OSError as error:
                logger.warning("the lock file %s stays: %s", self._path(owner), error)

    def _owners(self) -> Iterator[str]:
        for path in sorted(self._folder.glob("*.lock")):
            if path.stem != _STORE:
                yield path.stem

    def _path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"


def open_lock(path: Path) -> int | None:
    """Open a lock file, made if there is none. On a disk that may only be read it is one from when that was otherwise;
    None if there is none, as nobody can write there."""
    try:
        return open_own(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
    try:
        return open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return None


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
