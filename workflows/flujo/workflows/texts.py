"""How a value becomes text, wherever one does: in templates, commands, environments, files and logs.

as_text(False)       false
as_text(["a b"])     ["a b"]
as_text("a b")       a b

One argument, one variable and one path are each one text: `as_argument` refuses what would be several, or none.
"""

from __future__ import annotations

import json
from typing import Any

from .wording import shown


def as_text(value: Any) -> str:
    """Return text as it is, and anything else as JSON; raises ValueError or TypeError for what JSON cannot hold."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)


def as_argument(value: Any, what: str) -> str:
    """Return a text, a number or a boolean as a text; raises TypeError, which says which one is none."""
    if isinstance(value, (str, int, float)):
        return as_text(value)
    kind = "null" if value is None else "a list" if isinstance(value, list) else "a mapping"
    raise TypeError(f"{what} is {kind}, not a text: {shown(value)}; {way_to_text(value)}")


def way_to_text(value: Any) -> str:
    """Return what to write so that a value which is no text becomes one."""
    return "give it a `default`" if value is None else "make one of it with `join(' ')` or `tojson`"
