"""How names and values are shown in error messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

MAX_COMPARED = 100
"""Characters of names that are compared to find the nearest: the time for that grows with their square."""
MAX_LISTED = 50

MAX_PROPOSED = 120
"""Characters of a mapping that is proposed for what is none."""

_MOST = 7 / 3
"""How many times as long one of two names can be that are 60 % alike, as difflib counts."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return why `name` is refused: the nearest known name if one is near, else all of them."""
    names = sorted(known)
    near = nearest(name, names)
    return unlike(what, name, names) if near is None else like(what, name, near)


def like(what: str, name: str, near: str) -> str:
    """Return why `name` is refused, with the known name that is near."""
    return f"there is no {what} {named(name)}; did you mean `{near}`?"


def unlike(what: str, name: str, known: Iterable[str]) -> str:
    """Return why `name` is refused, with all known names, since none is near."""
    return f"there is no {what} {named(name)}; there are: {listed(sorted(known))}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, if one is; only names of usual length are compared, which takes time."""
    import difflib  # only when something is wrong

    if len(name) > MAX_COMPARED:
        return None
    # Names of very different length are not alike for difflib either, which takes long to find that out.
    candidates = (
        each for each in known if len(each) <= min(MAX_COMPARED, _MOST * len(name)) and len(name) <= _MOST * len(each)
    )
    found = difflib.get_close_matches(name, islice(candidates, MAX_LISTED * 2), 1)
    return found[0] if found else None


def listed(names: Sequence[str]) -> str:
    """Return names for an error message: all of them, unless there are very many."""
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(named(name, "") for name in names[:MAX_LISTED]) + more or "none"


def named(name: str, mark: str = "`") -> str:
    """Return a name for an error message: on one line, cut if it is long."""
    short = name if len(name) <= MAX_COMPARED else name[: MAX_COMPARED - 1] + "…"
    return mark + "".join(each if each.isprintable() else repr(each)[1:-1] for each in short) + mark


def shown(value: Any) -> str:
    """Return a value as an error message shows it: JSON, not too long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return shortened(text, 80)


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def as_mapping(value: Any) -> str:
    """Return how a list of pairs, or a text of them, is written as the mapping it is meant as; nothing if it is none.

    `["A=b"]` and `[{A: b}]` are those of other systems, `[{name: A, default: b}]` and `A=b C=d` as well."""
    parts = value.split() if isinstance(value, str) else value
    pairs: dict[str, Any] = {}
    for part in parts if isinstance(parts, list) else ():
        match part:
            case str() if "=" in part:
                name, _, text = part.partition("=")
                pairs[name] = text
            case {"name": str(name), "value": one} | {"name": str(name), "default": one} if len(part) == 2:
                pairs[name] = one
            case dict() if len(part) == 1 and "name" not in part:
                pairs |= part
            case _:
                return ""
    told = "{" + ", ".join(f"{name}: {shown(one)}" for name, one in pairs.items()) + "}"
    return f"; write {told}" if pairs and len(told) <= MAX_PROPOSED else ""
