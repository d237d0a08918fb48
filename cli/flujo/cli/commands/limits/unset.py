"""`flujoctl limits unset`: remove a limit of all kernels."""

from __future__ import annotations

import click

from flujo.backends import open_backend
from flujo.cli.commands.limits import COMMANDS
from flujo.cli.maintenance import own_store, run_interruptible
from flujo.cli.session import Session, declare, harmless


@declare("unset", formats=("table", "name"), short_help=COMMANDS["unset"])
@click.argument("name", metavar="NAME")
def command(session: Session, name: str) -> int:
    """Remove the limit NAME of all kernels, and let in everybody who waits for a slot of it. The limits that each
    kernel has of its own stay. Nothing happens if there is no such limit.
    """
    store = own_store(session)

    async def change() -> int | None:
        async with open_backend(store.url) as backend:
            return await backend.set_fleet_limit(name, None)

    if (before := run_interruptible(change)) is None:
        session.note(f"there is no limit {harmless(name)} of all kernels; those there are: flujoctl limits")
    else:
        print(harmless(name if session.output == "name" else f"limit {name} is removed, it had {before} slots"))
    return 0
