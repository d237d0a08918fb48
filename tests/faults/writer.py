"""A process that writes a history to a store until it is killed: `python writer.py STORE NAME SEED WAY`.

It prints `open`, and then the number of each operation once it has returned. The ways are: `honest`; `hasty`, which
prints the number before it begins, and `careless`, which keeps no sync. Those two are wrong on purpose: a test that
does not notice them is worth nothing.
"""

from __future__ import annotations

import os
import sys
from typing import cast

import anyio

from faults.history import history
from flujo.backends import SQLiteBackend, open_backend
from flujo.backends.file.disk import Disk
from flujo.kernel.backend import StateBackend

HONEST = "honest"
HASTY = "hasty"
CARELESS = "careless"


async def main(store: str, name: str, seed: int, way: str) -> None:
    """Write until the end, which comes from outside."""
    handle = open_backend(store)
    await handle.open(name)
    if way == CARELESS:
        await forget_syncs(handle)
    say("open")
    for number, (_, operation) in enumerate(history(name, seed), start=1):
        if way == HASTY:
            say(str(number))
        await operation.perform(handle)
        if way != HASTY:
            say(str(number))


async def forget_syncs(handle: StateBackend) -> None:
    """Let a store acknowledge what is in the memory of the operating system only."""
    if handle.url.startswith("file:"):
        for name in ("sync", "sync_folder"):
            setattr(Disk, name, lambda *_: None)
        return
    writer = cast("SQLiteBackend", handle)._writer
    assert writer is not None
    await writer.run(lambda connection: connection.execute("PRAGMA synchronous = OFF").fetchall())


def say(line: str) -> None:
    """Tell it to whoever counts."""
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
