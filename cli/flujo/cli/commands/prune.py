"""`flujoctl prune`: delete runs that have ended or are paused."""

from __future__ import annotations

from typing import Any

import click

from flujo.cli.pruning import Consent, prune_runs, selecting, selection_of
from flujo.cli.session import Session, declare


@declare("prune")
@selecting()
@click.option("--yes", "-y", is_flag=True, help="do not ask; required if there is no terminal")
def command(session: Session, older_than: str | None, dry_run: bool, yes: bool, **parts: Any) -> int:
    """Delete old runs, the runs they have started, and their workspaces.

    A run must match every option given, and at least one must be given. Runs that are not final are kept; --status
    paused selects paused ones. A run that was started by another run is deleted together with that one only.
    """
    return prune_runs(session, selection_of(older_than, **parts), dry_run=dry_run, consent=Consent.of(yes))
