"""Name what can be wrong with a command line: the codes of errors that come before a command has begun."""

from __future__ import annotations

from collections.abc import Sequence

import click


class UnknownCommand(click.UsageError):
    """There is no command of a name. `meant` is the one that it is likely to be, and `way_on` what tells more of it."""

    def __init__(self, message: str, ctx: click.Context, *, name: str, meant: str | None, way_on: str) -> None:
        super().__init__(message, ctx)
        self.name, self.meant, self.way_on = name, meant, way_on


class NobodyToAsk(click.UsageError):
    """A command wants to be confirmed, and there is no terminal: an option has to say so."""


class ExtraWords(click.UsageError):
    """A command line has more `words` than its command takes."""

    def __init__(self, ctx: click.Context, words: Sequence[str]) -> None:
        taken = " ".join(piece for piece in ctx.command.collect_usage_pieces(ctx) if piece != "[OPTIONS]")
        named = " and ".join(map(repr, words))
        verb = "is" if len(words) == 1 else "are"
        super().__init__(f"`{ctx.command_path}` takes {taken or 'no argument'}; {named} {verb} too much", ctx)
        self.words = tuple(words)


class NotAnInput(click.UsageError):
    """A `word` of a command line stands where inputs are written, and is none."""

    def __init__(self, word: str) -> None:
        super().__init__(f"{word!r} is not an input: write NAME=TEXT or NAME:=JSON")
        self.word = word


class EmptyOption(click.BadParameter):
    """An option is given an empty text, most likely by a variable of a shell that is not set. To take it for no option
    would be to act on every run where some were meant."""

    def __init__(self, ctx: click.Context, option: click.Parameter) -> None:
        super().__init__("it is empty: leave it out, or look for a variable of the shell that is", ctx, option)


class NoRunsNamed(click.UsageError):
    """A command that acts on runs is given neither an id nor an option that chooses some."""


CODES: dict[str, tuple[type[click.ClickException], str]] = {
    "unknown-command": (
        UnknownCommand,
        "flujoctl has no command of this name. The message names the nearest one; `flujoctl --help` lists all.",
    ),
    "unknown-option": (
        click.NoSuchOption,
        "The command has no such option. The message names the nearest one; `flujoctl help COMMAND` lists all.",
    ),
    "missing-argument": (
        click.MissingParameter,
        "The command needs one more argument or option, which the message names.",
    ),
    "bad-value": (
        click.BadParameter,
        "An option or an argument does not take this value. The message says what it takes.",
    ),
    "usage": (
        click.ClickException,
        "The command line contradicts itself, or says too much or too little. Nothing has been done.",
    ),
}
"""By code: the class that click raises for it, and what it means. The first class that fits gives an error its code."""

OTHERS = {
    "output": "Stdout cannot be written to, because its disk is full or has failed. What the command has done is done; "
    "send its output elsewhere.",
    "no-folder": "The folder that the command was typed in has been deleted, so nothing can be looked for there. "
    "Go into one that exists; `cd .` is enough where it has been made anew.",
    "internal": "Something failed that nobody foresaw: a bug of flujo. Run the command again with -vv and report the "
    "traceback that it shows.",
    "name-clash": "Another package, which is called `flujo`, is installed in the same environment and hides this one. "
    "Remove it with `pip uninstall flujo`, or install flujoctl into an environment of its own.",
}
"""By code: what can end flujoctl beside a command line that is not valid and the errors of its commands."""


def usage_code(error: click.ClickException) -> str:
    """Return the code of an error of a command line."""
    return next(code for code, (kind, _) in CODES.items() if isinstance(error, kind))


_MAY_BE_EMPTY = ("reason", "comment")


def refuse_empty_options(command: click.Command, ctx: click.Context, args: Sequence[str]) -> None:
    """Raise EmptyOption for the first option of a command line whose value is empty."""
    if not any(each == "" or each.endswith("=") for each in args):
        return
    given, _, found = command.make_parser(ctx).parse_args(list(args))
    for option in found:
        value = given.get(str(option.name))
        is_empty = value == "" or (isinstance(value, list | tuple) and "" in value)
        if is_empty and isinstance(option, click.Option) and option.name not in _MAY_BE_EMPTY:
            raise EmptyOption(ctx, option)
