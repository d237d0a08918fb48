"""`flujoctl limits set`: set a limit of all kernels."""

from __future__ import annotations

import click

from flujo.backends import open_backend
from flujo.cli.commands.limits import COMMANDS
from flujo.cli.maintenance import own_store, run_interruptible
from flujo.cli.session import Session, declare, harmless

MOST_SLOTS = 1_000_000


@declare("set", formats=("table", "name"), short_help=COMMANDS["set"])
@click.argument("name", metavar="NAME")
@click.argument("slots", metavar="N", type=click.IntRange(1, MOST_SLOTS))
def command(session: Session, name: str, slots: int) -> int:
    """Have at most N steps at once count against the limit NAME, in all kernels that share a store: those of
    `@step(limit="NAME")`, or with task:NAME the steps of YAML workflows that use this task.

    Kernels find out within moments, and within a third of a lease at the latest. Steps that have begun before count
    from their next attempt on. Lowered, a limit takes no slot away; raised, it lets in at once those who wait.
    """
    store = own_store(session)

    async def change() -> int | None:
        async with open_backend(store.url) as backend:
            return await backend.set_fleet_limit(name, slots)

    before = run_interruptible(change)
    was = "" if before is None else f", it had {before}"
    print(harmless(name if session.output == "name" else f"limit {name} has {slots} slots{was}"))
    session.suggest("flujoctl limits")
    return 0
