"""`flujoctl db`: look after a store. Each of its commands is a module of its name."""

from __future__ import annotations

from importlib import import_module

import click

from flujo.cli.session import shared_options

COMMANDS = {
    "check": "look for damage in a store",
    "info": "show what a store is made of",
    "backup": "copy a store while it is in use",
    "restore": "put a backup into place",
    "copy": "copy runs from one store to another",
    "migrate": "bring a store of an older release up to date",
}


class Database(click.Group):
    """The group itself. Each command is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"flujo.cli.commands.db.{cmd_name}").command
        return found


command = Database(
    "db",
    params=shared_options(),
    no_args_is_help=False,  # or the help would be taken for the message of an error
    help="Look after a store: check it, back it up, move its runs.",
    short_help="look after a store: check, backup, restore, copy",
    context_settings={"help_option_names": ["-h", "--help"]},
)
