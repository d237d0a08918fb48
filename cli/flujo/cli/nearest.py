"""Name the nearest known word for one that is not known: a command, a signal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from os.path import isfile
from typing import NoReturn

import click

from .other_tools import COMMANDS, NOT_HERE, NOUNS, VALUES
from .usage import UnknownCommand

STATUSES = ("pending", "running", "waiting", "paused", "completed", "failed", "cancelled")


def nearest_status(error: click.NoSuchOption) -> str | None:
    """Return the option that was meant where a status was given as one, as in `list --failed`."""
    word = error.option_name.lstrip("-")
    has_statuses = error.ctx is not None and any("--status" in each.opts for each in error.ctx.command.params)
    return f"--status {word}" if word in STATUSES and has_statuses else None


def nearest(word: str, known: Collection[str]) -> str | None:
    """Return the known word that `word` is a likely slip for."""
    from difflib import get_close_matches

    spelled = {each.casefold(): each for each in sorted(known, reverse=True)}  # the first of those that differ in case
    close = get_close_matches(word.casefold(), list(spelled), 1)
    return spelled[close[0]] if close else None


def nearest_choice(error: click.BadParameter) -> str | None:
    """Return the value that was meant where an option takes one of a few values and was given another."""
    import re

    kind = None if error.param is None else error.param.type
    given = re.match(r"'(.*)' is not one of ", error.message)
    if not isinstance(kind, click.Choice) or given is None:
        return None
    choices = [str(choice) for choice in kind.choices]
    close = nearest(given[1], choices) or next((each for each in choices if given[1].startswith(each)), None)
    return close or next((VALUES[name] for name in getattr(error.param, "opts", ()) if name in VALUES), None)


def _behind_noun(rest: Sequence[str], known: Collection[str]) -> str:
    """Return the command in `workflow list` and the like; "" if there is none."""
    if not rest:
        return "list"
    return rest[0] if rest[0] in known else COMMANDS.get(rest[0], "")


def refuse_unknown(ctx: click.Context, name: str, rest: Sequence[str], known: Collection[str]) -> NoReturn:
    """Raise UnknownCommand for a command that does not exist, with the one that was meant."""
    path = "flujoctl" if ctx.info_name == "help" else ctx.command_path
    meant = COMMANDS.get(name, "") if name not in NOUNS else _behind_noun(rest, known)
    if name == "server" and rest[:1] == ["status"] and "ping" in known:
        meant = "ping"
    if meant.partition(" ")[0] not in known:
        meant = "" if name in NOT_HERE else nearest(name, known) or ""
    way_on = f"{path} {meant} --help" if meant else f"{path} --help"
    if name in STATUSES and "list" in known:
        meant = f"list --status {name}"
        way_on = f"{path} {meant}"
    if "run" in known and not meant and (name.endswith((".yaml", ".yml", ".py")) or isfile(name)):
        meant, way_on = "run", f"{path} run --help"
        told = f"there is no command {name!r}; `run` runs a file"
    elif meant or name not in NOT_HERE:
        told = f"there is no command {name!r}" + (f"; did you mean {meant!r}?" if meant else "")
    else:
        told = f"there is no command {name!r}: {NOT_HERE[name]}"
    raise UnknownCommand(told, ctx, name=name, meant=meant or None, way_on=way_on)


def refuse_command_for_file(ctx: click.Context, words: Sequence[str]) -> None:
    """Raise UnknownCommand for `run list` and the like: other tools have a noun there, and the verb behind it."""
    from os.path import exists
    from shlex import join

    from .command_index import ALIASES
    from .command_index import COMMANDS as OURS

    word = words[0]
    meant = word if word in OURS or word in ALIASES else COMMANDS.get(word)
    if meant is None or exists(word):
        return
    line = join(["flujoctl", *meant.split(), *words[1:]])
    told = f"there is no file {word!r}, and `run` takes one; did you mean `{line}`?"
    raise UnknownCommand(told, ctx, name=word, meant=None, way_on=line)
