"""Filters that search texts and write instants: regex_search, regex_findall, regex_replace, datetime, lines.

Regular expressions are Python's. They can take very long, so no template that uses one is light: the worker that
evaluates it has less than a second of processor time (`worker.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from .bounds import check_size

TextOf = Callable[[Any], str]

MAX_PATTERN = 1_000
"""Characters of a regular expression."""

NEEDING_A_PATTERN = ("regex_search", "regex_findall", "regex_replace")

_PLAIN_FORMAT = re.compile(r"(%-?[A-Za-z]|%%|[^%])*", re.DOTALL)
"""Directives without widths: those that some systems have make texts of any length."""


def check_pattern(pattern: str) -> None:
    """Raise ValueError for what is no regular expression."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a regular expression has at most {MAX_PATTERN} characters, this one has {len(pattern)}")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern[:80]!r} is not a regular expression: {error}") from None
    except Warning:  # where warnings are errors
        pass


def text_filters(text_of: TextOf) -> dict[str, Callable[..., Any]]:
    """Return the filters by name. `text_of` gives the text that a value is."""

    def compiled(pattern: Any, ignorecase: bool, multiline: bool) -> re.Pattern[str]:
        check_pattern(text := text_of(pattern))
        return re.compile(text, re.IGNORECASE * bool(ignorecase) | re.MULTILINE * bool(multiline))

    def search(value: Any, pattern: Any, group: Any = 0, ignorecase: bool = False, multiline: bool = False) -> Any:
        found = compiled(pattern, ignorecase, multiline).search(text_of(value))
        return None if found is None else _group(found, group)

    def findall(value: Any, pattern: Any, ignorecase: bool = False, multiline: bool = False) -> list[Any]:
        found = compiled(pattern, ignorecase, multiline).findall(text_of(value))
        return [list(each) if isinstance(each, tuple) else each for each in found]

    def replace(
        value: Any, pattern: Any, new: Any = "", count: int = 0, ignorecase: bool = False, multiline: bool = False
    ) -> str:
        text, put = text_of(value), text_of(new)
        parts = compiled(pattern, ignorecase, multiline)
        check_size(len(text))
        try:
            replaced = parts.sub(put, text, count=max(count, 0))
        except (re.error, IndexError) as error:
            raise ValueError(f"{put[:80]!r} cannot replace what {parts.pattern[:80]!r} finds: {error}") from None
        check_size(len(replaced))
        return replaced

    def formatted(value: Any, format: Any = None) -> str:
        instant = _instant(value, text_of)
        if format is None:
            return instant.isoformat()
        if len(pattern := text_of(format)) > MAX_PATTERN or not _PLAIN_FORMAT.fullmatch(pattern):
            raise ValueError(f"{pattern[:80]!r} is not a format of instants such as '%Y-%m-%d %H:%M'")
        return instant.strftime(pattern)

    return {
        "datetime": formatted,
        "lines": lambda value: [line for line in text_of(value).splitlines() if line.strip()],
        "regex_findall": findall,
        "regex_replace": replace,
        "regex_search": search,
        "strftime": formatted,
    }


def _group(found: re.Match[str], group: Any) -> Any:
    try:
        return found.group(group)
    except IndexError:
        raise ValueError(f"{found.re.pattern[:80]!r} has no group {group!r}") from None


def _instant(value: Any, text_of: TextOf) -> datetime:
    """Return the instant that a text in ISO 8601 or a number of seconds since 1970 stands for, in UTC unless it says
    otherwise."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        instant = datetime.fromisoformat(text_of(value).strip())
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text_of(value)[:40]!r} is not an instant such as 2026-11-22T02:15:00+00:00 or seconds since 1970"
        ) from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
