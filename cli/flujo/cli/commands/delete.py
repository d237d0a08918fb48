"""`flujoctl delete`: delete runs by their ids."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.pruning import delete_runs
from flujo.cli.session import Session, declare, run_async


@declare("delete")
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--ignore-missing", is_flag=True, help="skip ids that do not exist")
@click.option("--force", is_flag=True, help="cancel a run that a process runs, and delete it once it has stopped")
@click.option("--yes", "-y", is_flag=True, hidden=True, help="accepted for scripts: naming a run needs no confirmation")
def command(session: Session, run_ids: Sequence[str], ignore_missing: bool, force: bool, yes: bool) -> int:
    """Delete runs: everything recorded of them, and the workspaces flujo made for them.

    A run that a process runs must be cancelled first; --force does that.
    """
    return run_async(lambda: delete_runs(session, run_ids, ignore_missing=ignore_missing, force=force))
