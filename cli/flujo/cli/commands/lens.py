"""`flujoctl lens list|show|delete|prune`: the commands under the names that users of flujo's lens know."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from flujo.cli.forgetting import STATUSES, Consent, prune_runs
from flujo.cli.session import Session, declare, run_async, shared_options

SAME = {"list": "list", "show": "inspect", "get": "inspect", "delete": "delete"}


@declare("prune")
@click.option("--days-old", metavar="N", type=click.FloatRange(min=0), required=True, help="settled that many days ago")
@click.option(
    "--status",
    "statuses",
    metavar="STATUS",
    type=click.Choice(STATUSES),
    multiple=True,
    help="only these; else all final ones",
)
@click.option("--dry-run", is_flag=True, help="show what would go, delete nothing")
@click.option("--yes", "-y", is_flag=True, help="do not ask")
def prune(session: Session, days_old: float, statuses: Sequence[str], dry_run: bool, yes: bool) -> int:
    """Delete old runs. Where nobody can be asked it proceeds."""
    consent = Consent.of(yes, proceed_without_terminal=True)
    return run_async(
        lambda: prune_runs(
            session, older_than_seconds=days_old * 86400, statuses=statuses, dry_run=dry_run, consent=consent
        )
    )


class Lens(click.Group):
    """The group itself: its other commands are the ordinary ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["list", "show", "delete", "prune"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "prune":
            return prune
        if cmd_name not in SAME:
            return None
        found: click.Command = import_module(f"flujo.cli.commands.{SAME[cmd_name]}").command
        return found


command = Lens(
    "lens",
    params=shared_options(),
    hidden=True,
    help="List, show, delete and prune runs.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
