"""`flujoctl token`: who a server on TCP lets in. Each of its commands is a module of its name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from flujo.cli.nearest import refuse_unknown
from flujo.cli.session import Session, shared_options

COMMANDS = {
    "create": "make a token, or let a certificate in",
    "list": "list who is let in",
    "revoke": "let somebody in no longer",
}


class Tokens(click.Group):
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
        found: click.Command = import_module(f"flujo.cli.commands.token.{cmd_name}").command
        return found


def tokens_file(session: Session, given: Path | None) -> Path:
    """Return the file of tokens to work on: the one given, else the one beside the store."""
    return given or session.store_target.tokens


command = Tokens(
    "token",
    params=shared_options(),
    no_args_is_help=False,  # or the help would be taken for the message of an error
    help="Make, list and revoke the tokens of a server on TCP. The server sees a change with the next call.",
    short_help="make, list and revoke tokens for a server on TCP",
    context_settings={"help_option_names": ["-h", "--help"]},
)
