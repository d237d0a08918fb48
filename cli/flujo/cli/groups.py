"""Groups of commands, such as `flujoctl db check`: each command is a module of its name, imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

import click

from .nearest import refuse_unknown
from .session import shared_options


class Group(click.Group):
    """A command whose first argument is one of its commands, which a refusal names."""

    def __init__(self, name: str, *, help: str, short_help: str | None = None, hidden: bool = False) -> None:
        super().__init__(
            name,
            params=shared_options(),
            callback=_require_command,
            subcommand_metavar="COMMAND [ARGS]...",
            invoke_without_command=True,  # or click says "Missing command." of one with options
            no_args_is_help=False,  # or the help would be taken for the message of an error
            help=help,
            short_help=short_help,
            hidden=hidden,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            refuse_unknown(ctx, args[0], args[1:], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


@click.pass_context
def _require_command(ctx: click.Context, /, **_: object) -> None:
    group = ctx.command
    if ctx.invoked_subcommand is None and isinstance(group, click.Group):
        known = ", ".join(group.list_commands(ctx))
        raise click.UsageError(f"`{ctx.command_path}` needs one of its commands: {known}", ctx)


class CommandGroup(Group):
    """The group of the package `flujo.cli.commands.NAME`. `commands_told` says by name what each command is for."""

    def __init__(
        self, name: str, commands_told: Mapping[str, str], *, help: str, short_help: str, default: str | None = None
    ) -> None:
        """Without a command, `default` is used, if there is one."""
        super().__init__(name, help=help, short_help=short_help)
        if default is not None:
            self.callback = click.pass_context(partial(self._invoke_alone, default))
        self._package = f"flujo.cli.commands.{name}"
        self._told = commands_told

    def _invoke_alone(self, name: str, context: click.Context) -> Any:
        """Invoke a command of the group where none is named."""
        if context.invoked_subcommand is not None:
            return None
        found = self.get_command(context, name)
        assert found is not None
        with found.make_context(name, [], parent=context) as inner:
            return found.invoke(inner)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._told)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._told:
            return None
        found: click.Command = import_module(f"{self._package}.{cmd_name}").command
        return found
