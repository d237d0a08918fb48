"""What the operating system says of the disk under a store, as an error of the store."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from shlex import quote

from flujo.kernel.errors import StoreError, StoreFullError

FULL = (errno.ENOSPC, errno.EDQUOT)


def disk_error(store: str, error: OSError) -> StoreError:
    """Return the error that says what happened, to which file."""
    if error.errno in FULL:
        return StoreFullError(store)
    what = error.strerror or str(error)
    return StoreError(store, f"{error.filename}: {what}" if error.filename else what)


def displaced_error(store: str, path: Path, opened: tuple[int, int] | None, inside: str = "") -> StoreError:
    """Return the error of a store whose file or folder is no longer the one at `path` that this process has opened.

    `opened` is the device and inode of what it has open: the store itself, or the file `inside` the store's folder.
    A moved store can be put back; then whoever has it open goes on."""
    what = "folder" if inside else "file"
    restore = f"flujoctl db restore BACKUP --force --store {quote(store)}  # once no process uses it"
    end = "end every process that uses it: nothing they do from now on is kept"
    place = _place_of_opened(opened)
    if place is None:
        happened = "replaced" if os.path.lexists(path) else "removed"
        return StoreError(store, f"its {what} was {happened} while it was in use", (end, restore))
    place = place.parent if inside else place
    if os.path.lexists(path):
        return StoreError(
            store,
            f"its {what} was moved to {place} and replaced while it was in use",
            (end, f"move what is at {path} away, then: mv {quote(str(place))} {quote(str(path))}  # to go on with it"),
        )
    return StoreError(
        store,
        f"its {what} was moved to {place} while it was in use",
        (f"mv {quote(str(place))} {quote(str(path))}  # put it back; move a store when no process uses it",),
    )


def _place_of_opened(opened: tuple[int, int] | None) -> Path | None:
    """Return where a file is that this process has open; None if nowhere any more, or if the system does not tell."""
    try:
        links = [f"/proc/self/fd/{descriptor}" for descriptor in os.listdir("/proc/self/fd")]
    except OSError:
        return None
    for link in links:
        try:
            found, place = os.stat(link), os.readlink(link)
        except OSError:  # closed meanwhile
            continue
        if (found.st_dev, found.st_ino) == opened:
            return Path(place) if found.st_nlink and os.path.lexists(place) else None
    return None
