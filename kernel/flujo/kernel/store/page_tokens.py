"""Write and read page tokens: opaque texts that hold a short list of texts and numbers.

Whoever divides an answer says what the list means: which question it is of, and where the next page begins.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

LARGEST_NUMBER = 2**63 - 1
"""Larger numbers are no place in anything, and databases refuse to look for them."""


def page_token_of(content: Sequence[str | int]) -> str:
    """Return the token for a list."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


def page_token_content(token: str) -> Sequence[str | int]:
    """Return the list in a token; raises ValueError for what is none."""
    try:
        content = json.loads(base64.urlsafe_b64decode(token.encode()))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, list) or not all(map(_is_part, content)):
        raise ValueError("it holds no list of texts and numbers")
    return content


def _is_part(part: object) -> bool:
    return type(part) is str or (type(part) is int and abs(part) <= LARGEST_NUMBER)
