"""A process on a strict disk that does one thing and says when it is done: `python promise.py THING SCHEME FOLDER KEPT
WAY`, with strict.c loaded.

FOLDER is the disk and holds `store`, `backup` and, for SQLite, `earlier`; KEPT is where the disk keeps what is durable.
The ways are `honest`; `careless`, which keeps no sync of this project's own; `nameless`, which keeps none of a folder.
The last two are wrong on purpose. It ends without closing anything.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from faults.history import creation
from faults.victims import opened
from flujo.backends import open_backend
from flujo.backends.file import disk
from flujo.backends.sqlite import files
from flujo.kernel.transfer import copy_runs

HONEST = "honest"
CARELESS = "careless"
NAMELESS = "nameless"

RUN = creation("first", "w", 1)
"""What `create` writes."""


async def create(scheme: str, folder: Path) -> None:
    """Make a store in folders that are not there, and write a run."""
    handle = opened(f"{scheme}:{folder / 'new' / '.flujo' / 'store'}", "w")
    backend = await handle.__aenter__()
    assert await backend.append([RUN]) == {}


async def backup(scheme: str, folder: Path) -> None:
    """Copy the store to `saved`."""
    async with opened(f"{scheme}:{folder / 'store'}", None) as backend:
        await backend.backup(folder / "saved")


async def restore(scheme: str, folder: Path) -> None:
    """Make a store of the backup in folders that are not there."""
    await open_backend(f"{scheme}:{folder / 'new' / 'restored'}").restore(folder / "backup")


async def replace(scheme: str, folder: Path) -> None:
    """Put the backup in the place of the store."""
    await open_backend(f"{scheme}:{folder / 'store'}").restore(folder / "backup", force=True)


async def copy(scheme: str, folder: Path) -> None:
    """Copy the runs of the store to another one, in a folder that is not there."""
    target = opened(f"{scheme}:{folder / 'new' / 'copied'}", "copier")
    async with opened(f"{scheme}:{folder / 'store'}", None) as source:
        await copy_runs(source, await target.__aenter__())


async def migrate(scheme: str, folder: Path) -> None:
    """Open a store of an earlier schema."""
    await opened(f"{scheme}:{folder / 'earlier' / 'state.db'}", "w").__aenter__()


THINGS: dict[str, Callable[[str, Path], Awaitable[None]]] = {
    thing.__name__: thing for thing in (create, backup, restore, replace, copy, migrate)
}


def forget_syncs(way: str) -> None:
    """Leave out the syncs that this way does not keep."""
    original = files.sync

    def sync(path: Path) -> None:
        if way == NAMELESS and not path.is_dir():
            original(path)

    if way != HONEST:
        files.sync = sync
        disk.Disk.sync_folder = lambda *_: None  # type: ignore[method-assign]
    if way == CARELESS:
        disk.Disk.sync = lambda *_: None  # type: ignore[method-assign]


async def main(thing: str, scheme: str, folder: str, kept: str, way: str) -> None:
    """Do it."""
    forget_syncs(way)
    ctypes.CDLL(None).strict_begin(folder.encode(), kept.encode())
    await THINGS[thing](scheme, Path(folder))
    os._exit(0)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5])
