"""`flujoctl prune`: forget runs that settled long ago."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.forgetting import STATUSES, Consent, prune_runs
from flujo.cli.session import Session, declare, run_async
from flujo.kernel.durations import parse_duration


@declare("prune")
@click.option("--older-than", metavar="DURATION", required=True, help="such as 30d or 12h, since the run settled")
@click.option(
    "--status",
    "statuses",
    metavar="STATUS",
    type=click.Choice(STATUSES),
    multiple=True,
    help="only these; else all final ones",
)
@click.option("--workflow", metavar="NAME", help="only runs of this workflow")
@click.option("--dry-run", is_flag=True, help="show what would go, delete nothing")
@click.option("--yes", "-y", is_flag=True, help="do not ask; needed where nobody can be asked")
def command(
    session: Session, older_than: str, statuses: Sequence[str], workflow: str | None, dry_run: bool, yes: bool
) -> int:
    """Delete old runs with their workspaces. Runs that are not final stay, unless --status paused asks for them."""
    seconds = parse_duration(older_than)
    consent = Consent.of(yes)
    return run_async(
        lambda: prune_runs(
            session, older_than_seconds=seconds, statuses=statuses, workflow=workflow, dry_run=dry_run, consent=consent
        )
    )
