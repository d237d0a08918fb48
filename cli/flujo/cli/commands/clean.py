"""`flujoctl clean`: prune and delete under the options that users of yaml-workflow know."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.forgetting import STATUSES, Consent, delete_runs, prune_runs
from flujo.cli.session import Session, declare, run_async
from flujo.kernel.durations import parse_duration


@declare("clean", hidden=True)
@click.option("--older-than", metavar="DURATION", help="runs that settled that long ago, such as 30d")
@click.option("--workflow-id", "run_id", metavar="ID", help="the run with this id")
@click.option(
    "--status", "statuses", metavar="STATUS", type=click.Choice(STATUSES), multiple=True, help="runs with this status"
)
@click.option("--dry-run", is_flag=True, help="show what would go, delete nothing")
@click.option("--yes", "-y", is_flag=True, help="do not ask")
def command(
    session: Session, older_than: str | None, run_id: str | None, statuses: Sequence[str], dry_run: bool, yes: bool
) -> int:
    """Delete runs by age, id or status. Where nobody can be asked it proceeds."""
    if run_id is not None:
        if older_than is not None or statuses or dry_run:
            raise click.UsageError("--workflow-id names one run; leave the other options out")
        chosen = run_id
        return run_async(lambda: delete_runs(session, [chosen]))
    if older_than is None and not statuses:
        raise click.UsageError("say which runs: --older-than, --workflow-id or --status")
    seconds = 0.0 if older_than is None else parse_duration(older_than)
    consent = Consent.of(yes, proceed_without_terminal=True)
    return run_async(
        lambda: prune_runs(session, older_than_seconds=seconds, statuses=statuses, dry_run=dry_run, consent=consent)
    )
