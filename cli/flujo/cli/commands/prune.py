"""`flujoctl prune`: forget runs that have settled."""

from __future__ import annotations

from typing import Any

import click

from flujo.cli.pruning import Choice, Consent, choosing, prune_runs
from flujo.cli.session import Session, declare


@declare("prune")
@choosing()
@click.option("--yes", "-y", is_flag=True, help="do not ask; needed where nobody can be asked")
def command(session: Session, older_than: str | None, dry_run: bool, yes: bool, **parts: Any) -> int:
    """Delete old runs with the runs they have started and their workspaces.

    All options that choose must fit, and at least one must be given. Runs that are not final stay, unless --status
    paused asks for those. A run that another one has started goes with that one only.
    """
    return prune_runs(session, Choice.of(older_than, **parts), dry_run=dry_run, consent=Consent.of(yes))
