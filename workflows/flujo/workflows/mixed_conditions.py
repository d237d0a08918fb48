"""Conditions as some engines have them, a text whose parts are filled in: `'{{ args.mode }}' == 'full'`.

Here such a text is no expression, and so never true or false; what it means is written as one.
"""

from __future__ import annotations

import re

_EXPRESSION = r"""(?P<quote>['"]?)\{\{-?(?P<inner>(?:[^{}'"]|'[^']*'|"[^"]*")*?)-?\}\}(?P=quote)"""
_SIMPLE = r"""[\w.]+(?:\[[^\]]*\]|\.\w+|\s*\|\s*\w+(?:\([^()]*\))?)*"""


def as_one_expression(condition: str) -> str | None:
    """Return the expression that a condition means in which braces stand for a part only; None for any other one."""
    if "{%" in condition:
        return None  # what stands between statements is what they come to
    around = re.sub(_EXPRESSION, "", condition)
    if around == condition or not around.strip():
        return None
    return re.sub(_EXPRESSION, _as_operand, condition).strip()


def _as_operand(found: re.Match[str]) -> str:
    inner = found["inner"].strip()
    return inner if re.fullmatch(_SIMPLE, inner) else f"({inner})"
