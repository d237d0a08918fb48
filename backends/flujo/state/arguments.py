"""What may be given to the calls of `flujo.state`: each argument is looked at before anything else happens.

Every function returns the argument itself, or raises InvalidNameError, which names it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flujo.kernel.backend import EARLIEST
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import InvalidNameError

_LONGEST_SECONDS = -EARLIEST // MICROSECONDS
"""A period that began longer ago than this began before the first instant there is, whenever now is."""

_LONGEST_SHOWN = 100  # characters of a refused value


def text(what: str, given: Any) -> str:
    """A text."""
    if not isinstance(given, str):
        raise InvalidNameError(what, _shown(given), "a text")
    return given


def optional_text(what: str, given: Any) -> str | None:
    """A text or None."""
    return None if given is None else text(what, given)


def path(what: str, given: Any) -> Path | str:
    """A text or a Path."""
    if not isinstance(given, Path | str):
        raise InvalidNameError(what, _shown(given), "a path, as text or as pathlib.Path")
    return given


def one_of(what: str, given: Any, *choices: str) -> str:
    """One of some texts."""
    if not isinstance(given, str) or given not in choices:
        raise InvalidNameError(what, _shown(given), f"one of {', '.join(choices)}")
    return given


def count(what: str, given: Any) -> int:
    """A whole number from 0."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise InvalidNameError(what, _shown(given), "a whole number from 0")
    return given


def seconds(what: str, given: Any) -> float:
    """A number of seconds from 0."""
    return _number(what, given, 1)


def hours(what: str, given: Any) -> float:
    """A number of hours from 0, that reaches back to an instant there is."""
    return _number(what, given, 3600)


def days(what: str, given: Any) -> float:
    """A number of days from 0, that reaches back to an instant there is."""
    return _number(what, given, 86400)


def place(where: Any, durability: Any, busy_seconds: Any) -> None:
    """Where a store on disk is, how durable its commits are, and how long a call waits for it."""
    path("path", where)
    one_of("durability", durability, "full", "normal")
    seconds("busy_seconds", busy_seconds)


def mapping(what: str, given: Any) -> Mapping[str, Any]:
    """A mapping, such as a dict."""
    if not isinstance(given, Mapping):
        raise InvalidNameError(what, _shown(given), "a dict")
    return given


def _number(what: str, given: Any, unit_seconds: int) -> float:
    most = _LONGEST_SECONDS // unit_seconds
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not (0 <= given <= most) or math.isnan(given):
        raise InvalidNameError(what, _shown(given), f"a number from 0 to {most}")
    number: float = given
    return number


def _shown(given: Any) -> Any:
    """Return what a message shows of a value, which may be of any size: the value if it is short, or else its type."""
    if given is None or isinstance(given, bool | float):
        return given
    if isinstance(given, int):
        return given if abs(given) < 10**_LONGEST_SHOWN else int
    if isinstance(given, str):
        return given if len(given) <= _LONGEST_SHOWN else f"{given[:_LONGEST_SHOWN]}…"
    return type(given)
