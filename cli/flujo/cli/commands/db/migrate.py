"""`flujoctl db migrate`: update a store of an older release."""

from __future__ import annotations

from flujo.backends import open_backend
from flujo.cli.commands.db import COMMANDS
from flujo.cli.maintenance import own_store, run_interruptible, writing
from flujo.cli.output import emit
from flujo.cli.session import Session, declare
from flujo.kernel.errors import OlderStoreError


@declare("migrate", short_help=COMMANDS["migrate"])
def command(session: Session) -> int:
    """Update a store of an older release to the format of this one. A copy is made first, and kept beside it.

    Commands that advance a run do this by themselves. No process of an older release may have the store open.
    """
    store = own_store(session)

    async def migrate() -> bool:
        try:
            async with open_backend(store.url):
                return False
        except OlderStoreError:
            async with writing(store.url):
                return True

    migrated = run_interruptible(migrate)
    if session.output == "name":
        print(store.shown)
    elif session.output != "table":
        emit({"store": store.shown, "migrated": migrated}, session.output)
    else:
        print(f"{store.shown} {'is migrated' if migrated else 'is up to date'}")
    return 0
