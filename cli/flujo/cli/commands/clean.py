"""`flujoctl clean`: prune and delete under the options that users of yaml-workflow know."""

from __future__ import annotations

from typing import Any

import click

from flujo.cli.pruning import Consent, delete_runs, prune_runs, selecting, selection_of
from flujo.cli.session import Session, declare, run_async


@declare("clean", hidden=True)
@click.option("--workflow-id", "run_id", metavar="ID", help="the run with this id")
@selecting()
@click.option("--yes", "-y", is_flag=True, help="do not ask")
def command(
    session: Session, run_id: str | None, older_than: str | None, dry_run: bool, yes: bool, **parts: Any
) -> int:
    """Delete runs by age, id or status. Does not ask if there is no terminal."""
    if run_id is None:
        consent = Consent.of(yes, proceed_without_terminal=True)
        return prune_runs(session, selection_of(older_than, **parts), dry_run=dry_run, consent=consent)
    if older_than is not None or dry_run or any(parts.values()):
        raise click.UsageError("--workflow-id names one run; leave the other options out")
    chosen = run_id
    return run_async(lambda: delete_runs(session, [chosen]))
