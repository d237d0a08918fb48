"""Statuses of HTTP as definitions list them: 404, or 5xx for all that begin with a 5."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


def status_patterns(given: Any) -> tuple[str, ...]:
    """Return one or several statuses as texts; raises ValueError for anything else, with the end of a sentence."""
    patterns = tuple(str(each).lower() for each in (given if isinstance(given, list) else [given]))
    for each in patterns:
        if not re.fullmatch(r"[1-5](\d\d|xx)", each):
            raise ValueError(f"must list statuses such as 404 or 5xx, not {each[:20]!r}")
    return patterns


def is_among(status: int, patterns: Sequence[str]) -> bool:
    """True if one of the patterns is that of a status."""
    return str(status) in patterns or f"{status // 100}xx" in patterns
