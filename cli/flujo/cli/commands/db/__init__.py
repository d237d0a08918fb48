"""`flujoctl db`: maintain a store. Each of its commands is a module of its name."""

from __future__ import annotations

from importlib import import_module

import click

from flujo.cli.nearest import refuse_unknown
from flujo.cli.session import shared_options

COMMANDS = {
    "check": "check a store for damage",
    "info": "show the size, settings and users of a store",
    "backup": "copy a store while it is in use",
    "restore": "replace a store with a backup",
    "copy": "copy runs from one store to another",
    "migrate": "update a store of an older release",
}


class Database(click.Group):
    """The group itself. Each command is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            refuse_unknown(ctx, args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"flujo.cli.commands.db.{cmd_name}").command
        return found


command = Database(
    "db",
    params=shared_options(),
    no_args_is_help=False,  # or the help would be taken for the message of an error
    help="Maintain a store: check it, back it up, restore it, copy its runs.",
    short_help="maintain a store: check, backup, restore, copy",
    context_settings={"help_option_names": ["-h", "--help"]},
)
