"""Name the nearest known word for one that is not known: a command, a signal."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

import click

from .usage import UnknownCommand

SYNONYMS = {
    "status": "inspect",
    "info": "inspect",
    "log": "logs",
    "output": "logs",
    "history": "events",
    "stop": "cancel",
    "kill": "cancel",
    "abort": "cancel",
    "rm": "delete",
    "remove": "delete",
    "start": "run",
    "server": "serve",
    "check": "validate",
    "lint": "validate",
    "restart": "retry",
    "rerun": "retry",
    "approve": "signal",
    "send": "signal",
    "reject": "signal",
    "why": "explain",
    "tail": "watch",
    "exec": "run",
    "execute": "run",
    "submit": "run",
    "apply": "run",
    "create": "init",
    "new": "init",
    "terminate": "cancel",
    "continue": "resume",
    "clone": "fork",
    "copy": "fork",
    "dag": "graph",
    "draw": "graph",
    "monitor": "top",
    "cleanup": "prune",
    "purge": "prune",
    "gc": "prune",
    "backup": "db",
    "restore": "db",
    "migrate": "db",
    "vacuum": "db",
}
"""Words of other tools for our commands."""


_STATUSES = ("pending", "running", "waiting", "paused", "completed", "failed", "cancelled")


def nearest_status(error: click.NoSuchOption) -> str | None:
    """Return the option that was meant where a status was given as one, as in `list --failed`."""
    word = error.option_name.lstrip("-")
    has_statuses = error.ctx is not None and any("--status" in each.opts for each in error.ctx.command.params)
    return f"--status {word}" if word in _STATUSES and has_statuses else None


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
    return nearest(given[1], [str(choice) for choice in kind.choices])


def refuse_unknown(ctx: click.Context, name: str, known: Collection[str]) -> NoReturn:
    """Raise UnknownCommand for a command that does not exist, with the one that was meant."""
    path = "flujoctl" if ctx.info_name == "help" else ctx.command_path
    meant = SYNONYMS[name] if SYNONYMS.get(name) in known else nearest(name, known)
    way_on = f"{path} {meant} --help" if meant else f"{path} --help"
    if name in _STATUSES and "list" in known:
        meant = f"list --status {name}"
        way_on = f"{path} {meant}"
    told = f"there is no command {name!r}" + (f"; did you mean {meant!r}?" if meant else "")
    raise UnknownCommand(told, ctx, way_on=way_on)
