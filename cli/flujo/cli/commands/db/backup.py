"""`flujoctl db backup`: copy a store as it is at one moment."""

from __future__ import annotations

from pathlib import Path

import click

from flujo.backends import open_backend
from flujo.cli import text
from flujo.cli.commands.db import COMMANDS
from flujo.cli.connect import connected
from flujo.cli.maintenance import run_interruptible, store_or_server
from flujo.cli.output import emit
from flujo.cli.session import Session, declare
from flujo.cli.target import ServerTarget


@declare("backup", short_help=COMMANDS["backup"])
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
def command(session: Session, target: Path) -> int:
    """Copy a store to TARGET, which must not exist: a file for a SQLite store, a folder for a file store.

    Runs continue meanwhile. The copy is a store itself: `flujoctl list --store sqlite:TARGET` reads it. With --server
    it is one of that server's store, and TARGET is on this machine.
    """
    place = store_or_server(session)

    async def copy() -> int:
        if isinstance(place, ServerTarget):
            async with connected(place) as client:
                return await client.backup(target)
        async with open_backend(place.url) as backend:
            return await backend.backup(target)

    size = run_interruptible(copy)
    if session.output == "name":
        print(target)
    elif session.output != "table":
        emit({"target": str(target), "bytes": size}, session.output)
    else:
        of = f"the store of {place.address}" if isinstance(place, ServerTarget) else place.shown
        print(f"{of} is copied to {target}, {text.size_text(size)}")
    return 0
