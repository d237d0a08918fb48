"""`flujoctl db restore`: replace a store with a backup."""

from __future__ import annotations

from pathlib import Path

import click

from flujo.backends import open_backend
from flujo.cli import text
from flujo.cli.commands.db import COMMANDS
from flujo.cli.failures import SourceNotFoundError
from flujo.cli.maintenance import own_store, run_interruptible
from flujo.cli.output import emit
from flujo.cli.session import Session, declare
from flujo.cli.target import StoreTarget
from flujo.kernel.errors import StoreUrlError


@declare("restore", short_help=COMMANDS["restore"])
@click.argument("backup", metavar="BACKUP", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="replace an existing store, which is kept as NAME.replaced")
def command(session: Session, backup: Path, force: bool) -> int:
    """Replace the store with BACKUP, which `db backup` has made. BACKUP is checked first, and kept.

    No process may have the store open. In the restored store no process owns a run: unfinished runs are interrupted
    until they are resumed.
    """
    store = own_store(session)
    if not backup.exists():
        raise SourceNotFoundError(f"there is no backup {str(backup)!r}", ["flujoctl db backup TARGET  # makes one"])
    size = _restore(store, backup, force)
    if session.output == "name":
        print(store.shown)
    elif session.output != "table":
        emit({"store": store.shown, "backup": str(backup), "bytes": size}, session.output)
    else:
        print(f"{store.shown} is restored from {backup}, {text.size_text(size)}")
    session.suggest("flujoctl db check")
    return 0


def _restore(store: StoreTarget, backup: Path, force: bool) -> int:
    backend = open_backend(store.url)
    if not backend.capabilities.restorable:
        raise StoreUrlError(store.url, "flujo cannot restore a store of this kind; use the tools of the database")
    return run_interruptible(lambda: backend.restore(backup, force=force))
