"""One invocation of flujoctl: the options every command shares, and where its output goes.

Data goes to stdout, everything else to stderr. Every command takes the shared options, and the program takes them too,
so that `flujoctl -q list` and `flujoctl list -q` mean the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import command_index
from .usage import EmptyOption, ExtraWords, refuse_empty_options

if TYPE_CHECKING:
    from .target import StoreTarget, Target

FORMATS = ("table", "json", "jsonl", "yaml", "name")

WIDE = "wide"
"""The value of --output for tables with more columns, wherever there are tables."""

TIMES = ("relative", "iso", "epoch")

GITHUB = "github"
"""The value of --output for annotations, as the runners of GitHub Actions read them."""

COLOURS = ("auto", "always", "never")

COMPLETE = "_FLUJOCTL_COMPLETE"
"""The variable by which a shell asks for completions, as click names it."""

Result = TypeVar("Result")


@dataclass(slots=True)
class Session:
    """What the shared options say."""

    server: str | None = None
    token_file: str | None = None
    tls_ca: str | None = None
    tls_client_cert: str | None = None
    tls_client_key: str | None = None
    store: str | None = None
    output: str = "table"
    is_wide: bool = False
    time: str | None = None
    color: str | None = None
    no_progress: bool = False
    no_pager: bool = False
    quiet: bool = False
    verbosity: int = 0
    complete: Callable[[Sequence[click.Parameter]], None] | None = None
    """Gives parameters what may stand there, while a shell asks for that (completing.py)."""

    @property
    def target(self) -> Target:
        """Return the server or store whose runs this invocation works on."""
        from .target import discover, with_credentials

        if self.server is not None and self.store is not None:
            raise click.UsageError("--server and --store name different runs; leave one of them out")
        target = discover(self.server, self.store)
        return with_credentials(target, self.token_file, self.tls_ca, self.tls_client_cert, self.tls_client_key)

    @property
    def keeps_runs(self) -> bool:
        """True unless runs are gone when this process ends: those of a store in memory."""
        return getattr(self.target, "url", None) != "memory:"

    @property
    def store_target(self) -> StoreTarget:
        """Return the store, for a command that works on one itself."""
        from .target import discover_store

        if self.server is not None:
            raise click.UsageError("this command works on a store itself; leave --server out")
        return discover_store(self.store)

    @property
    def user(self) -> str | None:
        """Return the name of the user, to be recorded; None if there is none."""
        import getpass

        try:
            return getpass.getuser()
        except (OSError, KeyError):  # no name for this number, as in some containers
            return None

    @property
    def has_colour(self) -> bool:
        """True if what is printed on stdout is to have colours."""
        return has_colour(sys.stdout, self.color)

    def draws_on(self, stream: Any) -> bool:
        """True if something may be drawn in place there, again and again: bars and tables that change."""
        return not (self.quiet or self.no_progress) and is_terminal(stream)

    def note(self, text: str) -> None:
        """Print something that is not the answer on stderr, unless -q is given."""
        if not self.quiet:
            say(text)

    def suggest(self, command: str) -> None:
        """Print a command that helps, complete, so that it works as printed."""
        if not self.quiet:
            say(f"try: {self.addressed(command)}")

    def addressed(self, hint: str) -> str:
        """Return a hint with the user's --server or --store in its command, which would use another one without it."""
        option, value = ("--server", self.server) if self.server is not None else ("--store", self.store)
        is_addressed = any(f"{each} " in hint for each in ("--server", "--store", "--listen"))
        is_addressed |= hint.startswith(("flujoctl serve ", "flujoctl token "))  # where the server runs
        if value is None or "flujoctl " not in hint.partition("  # ")[0] or is_addressed:
            return hint  # or the command is another one, as `rm FILE  # room for this: flujoctl prune`
        from shlex import quote

        from flujo.kernel.errors import without_password

        command, separator, comment = hint.partition("  # ")
        shown = (
            ("--token-file", self.token_file),
            ("--tls-ca", self.tls_ca),
            ("--tls-client-cert", self.tls_client_cert),
            ("--tls-client-key", self.tls_client_key),
        )
        value = quote(without_password(value))
        words = [option, value, *(word for name, file in shown if file for word in (name, quote(file)))]
        addressed = f"{command.rstrip()} {' '.join(words)}"
        return f"{addressed}  # {comment.strip()}" if separator else addressed


def say(text: str) -> None:
    """Print a line on stderr, without the passwords of URLs in it. A closed terminal must not keep the command from
    ending cleanly."""
    if "@" in text:  # or nothing is imported for it
        from flujo.kernel.errors import without_passwords

        text = without_passwords(text)
    try:
        print(harmless(text), file=sys.stderr, flush=True)
    except OSError:
        pass


def tell(session: Session, code: str, text: str, fields: Mapping[str, Any] | None = None) -> bool:
    """Print an error on stderr, whatever -q says: `error[CODE]: TEXT`, or with -o json or jsonl an object on one line.

    `code` is the stable name under which docs/errors.md has it, `fields` what else a program wants to know. Returns
    True if it was printed for people, who want to be told what to try."""
    if session.output not in ("json", "jsonl"):
        say(f"error[{code}]: {text}")
        return True
    import json

    say(json.dumps({"error": {"code": code, "message": text, **(fields or {})}}))
    return False


ESCAPE = "\x1b"

COLOUR = r"\x1b(?:\[[0-9;:]*[mK]|\(B)"
"""How a program colours its words, and ends a coloured line. What does more than that stays to be seen."""


def harmless(text: str) -> str:
    """Return a text whose lines cannot move the cursor: an error may hold what a program or another user wrote.

    Colours are left out as a whole, or their numbers would stand between the words."""
    if text.isprintable():
        return text
    if ESCAPE in text:
        import re

        text = re.sub(COLOUR, "", text)
    kept = (each if each.isprintable() or each == "\n" else " " if each.isspace() else "�" for each in text)
    return "".join(kept)


def is_terminal(stream: Any) -> bool:
    """True if the stream is a terminal that understands cursor movements."""
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def has_colour(stream: Any, choice: str | None = None) -> bool:
    """True if colours are wanted: by --color, else by the variables that others know too, else on a terminal."""
    if choice in ("always", "never"):
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return is_terminal(stream) and os.environ.get("CLICOLOR") != "0"


def run_async(function: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run an async function to its end. On asyncio, because the SQLite driver only knows that."""
    import anyio

    return anyio.run(function, backend="asyncio")


# ---------------------------------------------------------------------------------------------------------------
# The shared options
# ---------------------------------------------------------------------------------------------------------------


def shared_options(formats: Sequence[str] = FORMATS) -> list[click.Parameter]:
    """Return new parameters for one command, which may have `formats` of its own. They write into the session and are
    not passed on to its function."""
    help_of = {option.split(",")[0].split()[0]: meaning for option, meaning in command_index.SHARED_OPTIONS}

    def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        session = context.ensure_object(Session)
        if parameter.name == "verbosity":
            session.verbosity += value
        elif parameter.name == "output" and value == WIDE:
            session.output, session.is_wide = "table", True
        elif value == "":
            raise EmptyOption(context, parameter)
        elif value:
            setattr(session, str(parameter.name), value)

    known = list(dict.fromkeys((*FORMATS, WIDE, *formats)))

    def option(*names: str, help: str, **settings: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=remember, help=help, **settings)

    return [
        option("--server", metavar="ADDRESS", help=help_of["--server"]),
        option("--token-file", metavar="FILE", help=help_of["--token-file"]),
        option("--tls-ca", metavar="FILE", help=help_of["--tls-ca"]),
        option("--tls-client-cert", metavar="FILE", help=help_of["--tls-client-cert"]),
        option("--tls-client-key", metavar="FILE", help=help_of["--tls-client-key"]),
        option("--store", metavar="URL", help=help_of["--store"]),
        option("-o", "--output", metavar="FORMAT", type=click.Choice(known), help=help_of["-o"]),
        option("--time", metavar="STYLE", type=click.Choice(TIMES), help=help_of["--time"]),
        option("--color", metavar="WHEN", type=click.Choice(COLOURS), help=help_of["--color"]),
        option("--no-progress", is_flag=True, help=help_of["--no-progress"]),
        option("--no-pager", is_flag=True, help=help_of["--no-pager"]),
        option("-q", "--quiet", is_flag=True, help=help_of["-q"]),
        option("-v", "--verbose", "verbosity", count=True, help=help_of["-v"]),
    ]


class Command(click.Command):
    """A command of flujoctl. `formats` are the values of --output it knows."""

    def __init__(self, *args: Any, formats: Sequence[str] = FORMATS, **settings: Any) -> None:
        settings["context_settings"] = {"help_option_names": ["-h", "--help"], **settings.get("context_settings", {})}
        super().__init__(*args, **settings)
        self.formats = tuple(formats)
        self.own_params = list(self.params)
        self.params += shared_options(formats)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        session = ctx.find_object(Session)
        if session is not None and session.complete is not None:
            session.complete(self.own_params)
        return super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing and args and args[-1].startswith("-"):
            args = args[:-1]  # the option whose value a shell asks for has none yet, which would end the parsing
        refuse_empty_options(self, ctx, args)
        ctx.allow_extra_args = True  # they are refused here, in words that say what the command takes
        left = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            raise ExtraWords(ctx, left)
        return left

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from .examples import examples_of

        named = str(self.name)
        if found := examples_of(ctx.command_path.partition(" ")[2]) or examples_of(named):
            with formatter.section("Examples"):
                for example in found:
                    formatter.write(f"  {example}\n")

    def invoke(self, ctx: click.Context) -> Any:
        session = ctx.ensure_object(Session)
        if session.output not in self.formats:
            known = ", ".join(self.formats)
            raise click.UsageError(f"{self.name} has no output format {session.output!r}; it has: {known}", ctx)
        if session.verbosity:
            _show_log(session.verbosity)
        return super().invoke(ctx)


def _show_log(verbosity: int) -> None:
    import logging

    level = logging.INFO if verbosity == 1 else logging.DEBUG
    logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
    logging.getLogger("flujo").setLevel(level)


def declare(
    name: str, *, formats: Sequence[str] = FORMATS, **settings: Any
) -> Callable[[Callable[..., int | None]], Command]:
    """Declare a command. Its function takes the session first and returns an exit code, None for 0."""
    settings.setdefault("short_help", command_index.COMMANDS.get(name) or command_index.HIDDEN.get(name))

    def make(function: Callable[..., int | None]) -> Command:
        made: Command = click.command(name, cls=Command, formats=formats, **settings)(click.pass_obj(function))
        return made

    return make
