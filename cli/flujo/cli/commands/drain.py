"""`flujoctl drain`: have the kernels of a host hand over their runs."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import click

from flujo.backends import open_backend
from flujo.cli.maintenance import own_store, run_interruptible
from flujo.cli.session import Session, declare
from flujo.kernel import StateBackend
from flujo.kernel.backend import Member

from .hosts import show

LOOK_SECONDS = 0.5


@declare("drain")
@click.argument("host", metavar="HOST")
@click.option("--wait", "waits", is_flag=True, help="return when they have no runs any more")
def command(session: Session, host: str, waits: bool) -> int:
    """Have the kernels of a host, or one named by its id, take no more runs and hand over those that wait, before the
    host is stopped.

    Nothing is interrupted: running steps go on, and their runs end there or are handed over when they wait. The kernels
    find out within a third of a lease. They drain until they are stopped; one that is started anew takes runs again.
    """
    store = own_store(session)

    async def drain() -> Sequence[Member]:
        async with open_backend(store.url) as backend:
            asked = set(await backend.drain(host))
            while waits and await _has_runs(backend, asked):  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(LOOK_SECONDS)
            return [each for each in await backend.members() if each.kernel in asked]

    show(session, run_interruptible(drain))
    if not waits:
        session.suggest("flujoctl hosts")
    return 0


async def _has_runs(backend: StateBackend, kernels: set[str]) -> bool:
    return any(each.kernel in kernels and not each.is_gone and each.runs for each in await backend.members())
