"""Say what was meant by a command line that is not valid: words that are told with the error, and the whole line to
type, which is only shown if it can be read.

Nothing is run: a line is read as click reads it, on a session of its own.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import click

from . import command_index
from .nearest import STATUSES, nearest_choice, nearest_status
from .other_tools import FILTERS, NOUNS, OPTIONS, WITHOUT_VALUE, Instead
from .session import Session
from .usage import ExtraWords, NobodyToAsk, NoRunsNamed, NotAnInput, UnknownCommand

_READING = {name for title, commands in command_index.SECTIONS if title == "Look at runs" for name, _ in commands}
"""Commands that do nothing to a run."""

_HARMLESS = _READING | {"show", "config", "version", "doctor", "schema", "tasks", "completion", "ping", "hosts"}
_HARMLESS |= {"workflows", "export", "info", "check"}
"""Those and others that may be repeated without a word of theirs, whatever it was meant to say."""


MOST_SLIPS = 3
"""How many slips of one line are mended in the line to type."""


class Meant(NamedTuple):
    """What is told behind the error, "" for nothing, and the lines that help, the likeliest first."""

    told: str
    lines: Sequence[str]


def what_was_meant(
    root: click.Group, error: click.ClickException, arguments: Sequence[str], *, slips: int = MOST_SLIPS
) -> Meant:
    """Return what was meant by a command line that `error` refuses, which may have more slips than that one."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    overview = f"{context.command_path if context is not None else _named(arguments)} --help"
    told, words = "", None
    if isinstance(error, NobodyToAsk):
        return Meant(told, [shlex.join(["flujoctl", *arguments, option]) for option in ("--dry-run", "--yes")])
    if isinstance(error, UnknownCommand):
        words, overview = _with_command(root, error, arguments), error.way_on
    elif isinstance(error, click.NoSuchOption):
        told, words = _with_option(error, arguments)
    elif isinstance(error, click.BadParameter) and (several := _several(error, arguments)) is not None:
        told, words = "it takes one value, and may be repeated", several
    elif isinstance(error, click.BadParameter) and (value := nearest_choice(error)) is not None:
        told, words = f"did you mean {value!r}?", _with_value(error, value, arguments)
    elif isinstance(error, ExtraWords):
        words = _without_extra(error, arguments)
    elif isinstance(error, NotAnInput):
        words = _as_input(error, arguments)
    elif isinstance(error, click.BadOptionUsage):
        told, words = _with_a_value(root, error, arguments)
    elif isinstance(error, NoRunsNamed):
        return Meant(told, [_WHICH_RUNS, overview])
    elif isinstance(error, click.MissingParameter) and (lines := _left_out(root, error, arguments)):
        return Meant(told, lines)
    if len(arguments) > 1 and arguments[1] in NOUNS and isinstance(error, click.UsageError):
        words = [arguments[0], *arguments[2:]]
    if words is not None and (refused := refusal(root, words)) is None:
        return Meant(told, [shlex.join(["flujoctl", *words])])
    if words is not None and refused is not None and slips > 1:
        further = what_was_meant(root, refused, words, slips=slips - 1)
        return Meant(told, further.lines)
    return Meant(told, [overview])


def _named(arguments: Sequence[str]) -> str:
    """Return the command of a line that was refused before click knew what it is of."""
    known = {*command_index.COMMANDS, *command_index.ALIASES}
    return f"flujoctl {arguments[0]}" if arguments and arguments[0] in known else "flujoctl"


def in_plain_words(message: str, arguments: Sequence[str]) -> str:
    """Return what click says of a command line in words for who does not know click."""
    if message == "Missing command.":
        eaten = arguments[-1] in (*command_index.COMMANDS, *command_index.ALIASES) and len(arguments) > 1
        said = f"; {arguments[-1]!r} was taken for the value of {arguments[-2]}" if eaten else ""
        return f"no command is named{said}"
    for theirs, ours in _PLAIN.items():
        message = message.replace(theirs, ours)
    return message


_PLAIN = {
    " is not a valid integer range": " is not a whole number",
    " is not a valid integer": " is not a whole number",
    " is not a valid float range": " is not a number",
    " is not a valid float": " is not a number",
    " requires an argument.": " needs a value.",
}


def is_readable(root: click.Group, words: Sequence[str]) -> bool:
    """True if a command line names a command that takes the rest of it."""
    return refusal(root, words) is None


def refusal(root: click.Group, words: Sequence[str]) -> click.ClickException | None:
    """Return why a command line is not valid; None if it names a command that takes the rest of it."""
    command: click.Command | None = root
    context = click.Context(root, info_name="flujoctl", obj=Session())
    left = list(words)
    while isinstance(command, click.Group):
        if not left or left[0].startswith("-"):
            return click.UsageError("no command is named", context)
        command = command.get_command(context, left.pop(0))
    if command is None:
        return click.UsageError("there is no such command", context)
    if {"--help", "-h"} & set(left):
        return None
    try:
        with command.make_context(str(command.name), left, parent=context):
            return None
    except click.ClickException as error:
        return error
    except click.exceptions.Exit:
        return None


def _with_command(root: click.Group, error: UnknownCommand, arguments: Sequence[str]) -> list[str] | None:
    """Return the line with the command that was meant. One of a verb alone is left out: it would do nothing."""
    if error.meant is None or error.name not in arguments:
        return None
    place = list(arguments).index(error.name)
    before, rest = list(arguments[:place]), list(arguments[place + 1 :])
    if error.meant == "run" and os.path.isfile(error.name):
        return [*before, "run", *arguments[place:]]
    if error.name == "server" and rest[:1] in (["status"], ["start"]):
        return [*before, *error.meant.split(), *rest[1:]]
    meant = error.meant.split()
    if error.name in NOUNS and rest:
        rest = rest[1:]
    if error.name in ("apply", "create") and rest[:1] in (["-f"], ["--filename"]):
        rest = rest[1:]
    if meant == ["run"] and not (rest and (":" in rest[0] or os.path.exists(rest[0]))):
        return None  # `exec ID COMMAND` is nothing that there is here
    words = [*before, *meant, *rest]
    takes_nothing = not rest and len(meant) == 1 and not before and not _has_arguments(root, meant[0])
    return words if rest or len(meant) > 1 or takes_nothing else None


def _has_arguments(root: click.Group, name: str) -> bool:
    command = root.get_command(click.Context(root), name)
    return (
        command is None
        or isinstance(command, click.Group)
        or any(isinstance(parameter, click.Argument) for parameter in command.params)
    )


def _with_option(error: click.NoSuchOption, arguments: Sequence[str]) -> tuple[str, list[str] | None]:
    """Return what is told of an option that there is not, and the line with what was meant."""
    name = "" if error.ctx is None else str(error.ctx.command.name)
    of_commands = OPTIONS.get(error.option_name, {})
    instead = of_commands.get(name) or of_commands.get("")
    if (status := nearest_status(error)) is not None:
        instead = Instead(status)
    if instead is not None and instead.words.startswith("-") and not _has(error, instead.words.split()[0]):
        instead = None
    near = [each for each in sorted(error.possibilities or ()) if _is_near(each, error.option_name)]
    if instead is None and not near and name == "run" and (words := _option_as_input(error.option_name, arguments)):
        return "inputs are written NAME=TEXT", words
    if instead is None:
        told = f"did you mean {' or '.join(near)}?" if near else ""
        return told, _replaced(error.option_name, Instead(near[0]), arguments) if len(near) == 1 else None
    words = _filtered(error.option_name, arguments) or _replaced(error.option_name, instead, arguments)
    if not instead.words:
        return f"leave it out: {instead.because}", words
    named = f"`{instead.words}`" if instead.words.startswith("flujoctl") else instead.words
    return f"did you mean {named}?" + (f" ({instead.because})" if instead.because else ""), words


def _has(error: click.NoSuchOption, option: str) -> bool:
    return error.ctx is None or any(
        option in (*parameter.opts, *parameter.secondary_opts) for parameter in error.ctx.command.params
    )


def _replaced(option: str, instead: Instead, arguments: Sequence[str]) -> list[str] | None:
    """Return a line with something else in the place of an option, which may be one letter of several: `-aq`."""
    for place, word in enumerate(arguments):
        named, equals, value = word.partition("=")
        is_one_of_several = re.fullmatch(r"-\w\w+", word) is not None and len(option) == 2 and option[1] in word
        if named != option and not is_one_of_several:
            continue
        put, rest = instead.words.split(), list(arguments[place + 1 :])
        if is_one_of_several and (letters := word[1:].replace(option[1], "", 1)):
            put = [f"-{letters}", *put] if word.endswith(option[1]) else [*put, f"-{letters}"]
        elif equals and not instead.takes_value and put:
            put[-1] += f"={value}"
        if instead.takes_value and not equals and rest and not rest[0].startswith("-"):
            rest = rest[1:]
        if put[:1] == ["flujoctl"]:
            return [put[1], *arguments[1:place], *put[2:], *rest]
        return [*arguments[:place], *put, *rest]
    return None


def _filtered(option: str, arguments: Sequence[str]) -> list[str] | None:
    """Return the line with a filter of docker as the option that it is here; None if the option is none."""
    if option not in ("-f", "--filter") or option not in arguments[:-1]:
        return None
    place = list(arguments).index(option)
    name, equals, value = arguments[place + 1].partition("=")
    if not equals or name not in FILTERS:
        return None
    return [*arguments[:place], FILTERS[name], value, *arguments[place + 2 :]]


def _with_value(error: click.BadParameter, meant: str, arguments: Sequence[str]) -> list[str] | None:
    given = re.match(r"'(.*)' is not one of ", error.message)
    if given is None:
        return None
    options = getattr(error.param, "opts", ())
    ends = (given[1], *(f"{option}={given[1]}" for option in options), *(f"{option}{given[1]}" for option in options))
    if not set(ends) & set(arguments):
        return None
    return [word.removesuffix(given[1]) + meant if word in ends else word for word in arguments]


def _without_extra(error: ExtraWords, arguments: Sequence[str]) -> list[str] | None:
    """Return a line without the words that are too much: one may belong to an option, as the step in `logs ID STEP`.
    What changes something is left alone, since more might be meant by the word, unless that is an age."""
    command = error.ctx.command if error.ctx is not None else None
    if command is None or not set(error.words) <= set(arguments):
        return None
    if command.name not in _HARMLESS and not all(map(_AGE.fullmatch, error.words)):
        return None
    left = [word for word in arguments if word not in error.words]
    belongs = [words for word in error.words if (words := _with_its_option(command, word))]
    options = {words[0] for words in belongs}
    if len(options) == len(error.words):
        return [*left, *chain.from_iterable(belongs)]
    return left if command.name in _HARMLESS else None


_AGE = re.compile(r"\d+[smhdw]")


def _with_its_option(command: click.Command, word: str) -> list[str]:
    """Return a word behind the option of a command that it is likely to belong to; nothing if there is none."""
    known = {option for parameter in command.params for option in parameter.opts}
    name, equals, value = word.partition("=")
    fitting: tuple[str, ...]
    if equals:
        fitting, word = (FILTERS.get(name, ""),), value
    elif word in STATUSES:
        fitting = ("--status",)
    elif word.isdecimal():
        fitting = ("--limit",)
    elif _AGE.fullmatch(word):
        fitting = ("--older-than", "--since")
    elif "run_id" in {parameter.name for parameter in command.params}:
        fitting = ("--step",)  # the run is named, so this is no workflow
    else:
        fitting = ("--workflow",)
    return next(([option, word] for option in fitting if option in known), [])


def _several(error: click.BadParameter, arguments: Sequence[str]) -> list[str] | None:
    """Return the line with an option repeated whose values were joined by commas, as in `--status failed,paused`."""
    option = error.param
    given = re.match(r"'(.*)' is not one of ", error.message)
    if given is None or not isinstance(option, click.Option) or not isinstance(option.type, click.Choice):
        return None
    values = given[1].split(",")
    if len(values) < 2 or not option.multiple or not set(values) <= set(map(str, option.type.choices)):
        return None
    name = option.opts[-1]
    repeated = [word for value in values for word in (name, value)]
    for place, word in enumerate(arguments):
        if word == f"{name}={given[1]}":
            return [*arguments[:place], *repeated, *arguments[place + 1 :]]
        if word in option.opts and arguments[place + 1 : place + 2] == [given[1]]:
            return [*arguments[:place], *repeated, *arguments[place + 2 :]]
    return None


def _is_near(option: str, given: str) -> bool:
    """True if an option is likely to be what was meant; click takes `--store` for `--step`."""
    from difflib import SequenceMatcher

    ours, theirs = option.lstrip("-"), given.lstrip("-")
    return ours.startswith(theirs) or SequenceMatcher(None, ours, theirs).ratio() >= ALIKE


ALIKE = 0.7
"""How alike two options must be, from 0 to 1, for one to be a slip for the other."""


def _option_as_input(option: str, arguments: Sequence[str]) -> list[str] | None:
    """Return a line with `--NAME=TEXT`, or `--NAME TEXT`, as the input that it is here."""
    name = option.removeprefix("--")
    if name == option or not name.replace("-", "_").isidentifier():
        return None
    for place, word in enumerate(arguments):
        if word.startswith(f"{option}="):
            return [*arguments[:place], word.removeprefix("--"), *arguments[place + 1 :]]
        if word == option and place + 1 < len(arguments) and not arguments[place + 1].startswith("-"):
            return [*arguments[:place], f"{name}={arguments[place + 1]}", *arguments[place + 2 :]]
    return None


def _as_input(error: NotAnInput, arguments: Sequence[str]) -> list[str] | None:
    """Return a line with `NAME TEXT` as the input that it is likely to be: `NAME=TEXT`."""
    place = list(arguments).index(error.word) if error.word in arguments else len(arguments)
    words = arguments[place : place + 2]
    if len(words) < 2 or not words[0].isidentifier() or "=" in words[1] or words[1].startswith("-"):
        return None
    return [*arguments[:place], "=".join(words), *arguments[place + 2 :]]


def _with_a_value(
    root: click.Group, error: click.BadOptionUsage, arguments: Sequence[str]
) -> tuple[str, list[str] | None]:
    """Return what an option takes that was given without its value, and the line if it is another tool's."""
    command = root.get_command(click.Context(root), arguments[0])  # the error knows of none
    if command is None:
        return "", None
    if (instead := WITHOUT_VALUE.get((str(command.name), error.option_name))) is not None:
        return f"did you mean {instead}?", _replaced(error.option_name, Instead(instead), arguments)
    for parameter in command.params:
        if error.option_name in parameter.opts and isinstance(parameter.type, click.Choice):
            return f"it takes {', '.join(map(str, parameter.type.choices))}", None
    return "", None


_WHICH_RUNS = "flujoctl list  # shows the ids"


def _left_out(root: click.Group, error: click.MissingParameter, arguments: Sequence[str]) -> Sequence[str]:
    """Return what helps who has left out an argument; nothing if its command's help does."""
    if error.param is not None and error.param.name == "target" and len(arguments) == 1:
        files = sorted(name for name in os.listdir() if name.endswith((".yaml", ".yml")))[:MOST_SLIPS]
        lines = [shlex.join(["flujoctl", *arguments, name]) for name in files]
        return [*(lines or ["flujoctl init  # puts a workflow to start from here"]), f"flujoctl {arguments[0]} --help"]
    return _ids(root, error, arguments)


def _ids(root: click.Group, error: click.MissingParameter, arguments: Sequence[str]) -> Sequence[str]:
    """Return what helps who has left out the id of a run: the newest one where nothing is done to it."""
    if error.param is None or error.ctx is None or error.param.name not in ("run_id", "run_ids"):
        return ()
    newest = [*arguments, "@last"]
    lines = [_WHICH_RUNS, f"{error.ctx.command_path} --help"]
    if error.ctx.command.name in _READING and is_readable(root, newest):
        lines.insert(0, f"{shlex.join(['flujoctl', *newest])}  # the newest run")
    return lines
