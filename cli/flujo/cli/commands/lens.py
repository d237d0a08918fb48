"""`flujoctl lens list|show|delete|prune|stats`: the commands under the names that users of flujo's lens know."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from flujo.cli.groups import Group
from flujo.cli.pruning import Consent, prune_runs, selecting, selection_of
from flujo.cli.session import Session, declare

SAME = {"list": "list", "show": "inspect", "get": "inspect", "delete": "delete", "stats": "stats"}


@declare("prune")
@click.option("--days-old", metavar="N", type=click.FloatRange(min=0), help="ended at least N days ago")
@selecting(age=False)
@click.option("--yes", "-y", is_flag=True, help="do not ask")
def prune(session: Session, days_old: float | None, dry_run: bool, yes: bool, **parts: Any) -> int:
    """Delete old runs. Does not ask if there is no terminal."""
    older_than = None if days_old is None else f"{days_old * 86400}"
    consent = Consent.of(yes, proceed_without_terminal=True)
    return prune_runs(session, selection_of(older_than, **parts), dry_run=dry_run, consent=consent)


class Lens(Group):
    """The group itself: its other commands are the ordinary ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["list", "show", "delete", "prune", "stats"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "prune":
            return prune
        if cmd_name not in SAME:
            return None
        found: click.Command = import_module(f"flujo.cli.commands.{SAME[cmd_name]}").command
        return found


command = Lens("lens", hidden=True, help="List, show, delete, prune and count runs.")
