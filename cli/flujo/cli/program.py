"""Run the program `flujoctl`: find the command, run it, and return its exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from . import command_index
from .nearest import refuse_unknown
from .session import COMPLETE, FORMATS, GITHUB, Session, say, shared_options, tell
from .usage import NotAnInput, usage_code

USAGE = 2
UNUSABLE = 5
INTERNAL = 70
INTERRUPTED = 130
BROKEN_PIPE = 141

OTHER_OUTPUT = "df -h .  # shows which disk is full; or send the output elsewhere"


class Program(click.Group):
    """The root of all commands. Each is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(command_index.COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            refuse_unknown(ctx, args[0], args[1:], (*command_index.COMMANDS, *command_index.ALIASES))
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = command_index.ALIASES.get(cmd_name, cmd_name)
        if name not in command_index.COMMANDS and name not in command_index.HIDDEN:
            return None
        found: click.Command = import_module(f"flujo.cli.commands.{command_index.MODULES.get(name, name)}").command
        return found

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(command_index.overview())


program = Program(
    "flujoctl",
    params=[
        *shared_options((*FORMATS, GITHUB)),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=lambda context, _, wanted: _show_version(context) if wanted else None,
            help="Show the version and exit.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(context: click.Context) -> None:
    click.echo(f"flujoctl {command_index.VERSION}")
    context.exit()


def run(arguments: Sequence[str]) -> int:
    """Run one command line to its end; returns the exit code and never raises."""
    session = Session()
    arguments = [_in_utf8(each) for each in arguments]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that a locale does not have must not end a run
    try:
        code = _invoke(arguments, session)
        sys.stdout.flush()
    except BrokenPipeError:
        return _end_quietly()
    except OSError as error:
        if _is_of_output(error):
            return _report_output(error, session)
        return _report_unexpected(error, session) if _is_somewhere() else _report_no_folder(session)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except Exception as error:
        return _report_unexpected(error, session)
    return code


def _invoke(arguments: Sequence[str], session: Session) -> int:
    if arguments and arguments[0] == "help":
        arguments = [*arguments[1:], "--help"]
    try:
        _refuse_other_bytes(arguments)
        # Not click's own `main`: that one turns a broken pipe and Ctrl-C into exit codes of its own.
        with program.make_context("flujoctl", list(arguments), obj=session) as context:
            result: int | None = program.invoke(context)
        return result or 0
    except click.exceptions.Exit as ended:  # --help and the like
        return ended.exit_code
    except click.ClickException as error:
        return _refuse(error, arguments, session)
    except click.Abort:  # the answer to a question was Ctrl-C or the end of the input
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        raise
    except Exception as error:
        from flujo.kernel.errors import FlujoError

        from .failures import after_full_disk, after_missing_file, report
        from .not_a_run import after_missing_run

        if not isinstance(error, FlujoError):
            raise
        _show_traceback(session)
        after_full_disk(error, ["flujoctl", *arguments])
        after_missing_file(error, ["flujoctl", *arguments])
        after_missing_run(error, arguments, session)
        if getattr(error, "run_id", None) is not None:
            from .going_on import after_refusal

            after_refusal(error, session)
        return report(error, session)


def _refuse(error: click.ClickException, arguments: Sequence[str], session: Session) -> int:
    """Print what is wrong with a command line; returns the exit code."""
    from .retyping import in_plain_words, what_was_meant

    session.output = _output_asked_for(arguments) or session.output  # click may not have come as far as -o
    message = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption):  # each release of click words it in another way
        message = f"No such option {error.option_name!r}"
    message = in_plain_words(message, arguments)
    meant = what_was_meant(program, error, arguments)
    if isinstance(error, NotAnInput):
        from .not_a_run import line_meant

        if (line := line_meant(session, error.word, arguments)) is not None:
            meant = meant._replace(lines=[line])
    if meant.told:
        message = f"{message.removesuffix('.')}; {meant.told}"
    fields = {"reason": "USAGE", "type": type(error).__name__, "exit_code": USAGE, "hints": list(meant.lines)}
    if tell(session, usage_code(error), message, fields) and isinstance(error, click.UsageError):
        for line in meant.lines:
            say(f"try: {line}")
    return USAGE


def _in_utf8(argument: str) -> str:
    """Return an argument as it was typed, where the locale of this process cannot read it, as the ASCII of a bare
    system cannot. The name of a file stays as the system spells it."""
    if argument.isascii() or _is_text(argument) or os.path.exists(argument):
        return argument
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeDecodeError:
        return argument


def _is_text(argument: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _refuse_other_bytes(arguments: Sequence[str]) -> None:
    """Raise click.UsageError for an argument that is no text in UTF-8, and no file either."""
    for argument in arguments:
        if not _is_text(argument) and not os.path.exists(argument):
            raise click.UsageError(f"{os.fsencode(argument)!r} is not text in UTF-8; type it in UTF-8")


def _is_of_output(error: OSError) -> bool:
    """True for what writing to stdout raises: it names no file, and stores raise errors of their own."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


def _is_somewhere() -> bool:
    """True if the current folder exists."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _report_no_folder(session: Session) -> int:
    """Say that the current folder has been deleted; nothing has been done."""
    hint = "cd ~  # or into any other folder"
    fields = {"reason": "NO_FOLDER", "type": "FileNotFoundError", "exit_code": UNUSABLE, "hints": [hint]}
    if tell(session, "no-folder", "the folder that this was typed in has been deleted", fields):
        say(f"try: {hint}")
    return UNUSABLE


def _report_output(error: OSError, session: Session) -> int:
    """Say that nobody gets to read the answer; what the command has done is done."""
    fields = {"reason": "OUTPUT", "type": type(error).__name__, "exit_code": UNUSABLE, "hints": [OTHER_OUTPUT]}
    if tell(session, "output", f"the output cannot be written: {error.strerror}", fields):
        say(f"try: {OTHER_OUTPUT}")
    return _end_quietly(UNUSABLE)


def _output_asked_for(arguments: Sequence[str]) -> str | None:
    for number, argument in enumerate(arguments):
        if argument in ("-o", "--output"):
            return arguments[number + 1] if number + 1 < len(arguments) else None
        if argument.startswith(("-o", "--output=")) and not argument.startswith("--o="):
            return argument.removeprefix("--output=").removeprefix("-o")
    return None


def complete() -> int:
    """Print the completions a shell asks for; returns the exit code."""
    from click.shell_completion import shell_complete

    from .completing import complete_by_name

    return shell_complete(
        program, {"obj": Session(complete=complete_by_name)}, "flujoctl", COMPLETE, os.environ[COMPLETE]
    )


def _report_unexpected(error: Exception, session: Session) -> int:
    if not _show_traceback(session):
        text = " ".join(str(error).split()) or "no message"
        tell(session, "internal", f"{type(error).__name__}: {text}; run again with -vv for the traceback")
    return INTERNAL


def _show_traceback(session: Session) -> bool:
    if session.verbosity < 2:
        return False
    import traceback

    say(traceback.format_exc().rstrip())
    return True


def _end_quietly(code: int = BROKEN_PIPE) -> int:
    """Return the exit code for an output that takes no more; what Python still flushes at exit must not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return code
