"""Regular expressions for `pattern`, matched in time that grows with the text and no faster.

    problem_with(r"^\\d{4}$")        None, or what is wrong with it
    matches(r"^\\d{4}$", "2026")     True

They are those of the engine that pydantic brings along, Rust's `regex`: without backtracking, so without look-around
and back-references. The time for one text is bounded by the size of the pattern times that of the text, and that
product is limited (docs/adr/0011-templates-and-patterns-are-bounded.md).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from flujo.kernel.json_core import SchemaError, SchemaValidator, ValidationError

MAX_PATTERN = 1_000
"""Characters of a pattern."""
MAX_STATES = 5_000
"""Characters of a pattern in which everything counted is written out: `(ab){10}` has 20."""
MAX_STEPS = 10_000_000
"""States times characters of the text, of about 5 ns each."""


class PatternLimitError(ValueError):
    """A text is too long for a pattern."""


class _Pattern(NamedTuple):
    matches: SchemaValidator
    max_length: int


def problem_with(pattern: str) -> str | None:
    """Return what is wrong with a pattern, as the end of a sentence that begins with its name."""
    try:
        _read(pattern)
    except ValueError as error:
        return str(error)
    return None


def matches(pattern: str, text: str) -> bool:
    """Return whether the pattern is found in a text; raises PatternLimitError for a text too long for it."""
    read = _read(pattern)
    if len(text) > read.max_length:
        raise PatternLimitError(f"must have at most {read.max_length} characters to be matched with {pattern[:80]}")
    try:
        read.matches.validate_python(text)
    except ValidationError:
        return False
    return True


def size_of(pattern: str) -> int:
    """Return the size of a valid pattern, which times that of a text bounds the time of a search."""
    return _states(pattern)


@lru_cache(maxsize=512)
def _read(pattern: str) -> _Pattern:
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"has at most {MAX_PATTERN} characters, not {len(pattern)}")
    try:
        validator = SchemaValidator({"type": "str", "pattern": _translated(pattern), "regex_engine": "rust-regex"})
    except SchemaError as error:
        raise ValueError(_told(str(error))) from None
    states = _states(pattern)
    if states > MAX_STATES:
        raise ValueError(f"stands for {states} characters when what it counts is written out, at most {MAX_STATES} go")
    return _Pattern(validator, MAX_STEPS // max(states, 1))


def _translated(pattern: str) -> str:
    r"""Return the pattern with Python's `\Z` as `\z`."""
    return re.sub(r"\\(.)", lambda found: r"\z" if found[1] == "Z" else found[0], pattern, flags=re.DOTALL)


def _told(error: str) -> str:
    """Return what the engine says, without the drawing it comes with."""
    reason = error.rsplit("error: ", 1)[-1].strip().rstrip(".")
    if "size limit" in error:
        return "is too large: it counts too much"
    drawn = re.search(r"\n( *)\^", error)
    place = f" (at its character {len(drawn[1]) - 3})" if drawn else ""
    hint = ""
    if "look-around" in reason:
        hint = "; say what the text looks like rather than what it does not, or check it in a step"
    elif "backreference" in reason:
        hint = "; write out what is repeated, or check it in a step"
    return f"is not a regular expression: {reason}{place}{hint}"


_ATOM = r"(?s)\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d+)(?:,(\d*))?\}|."


def _states(pattern: str) -> int:
    """Return the size of a valid pattern with everything it counts written out."""
    open_groups: list[int] = []  # what stands before each
    size = last = 0  # of the group so far, and of its last part
    for atom in re.finditer(_ATOM, pattern):
        text = atom[0]
        if text == "(":
            open_groups.append(size)
            size = last = 0
        elif text == ")" and open_groups:
            last = size + 1
            size = open_groups.pop() + last
        elif atom[1] is not None:
            times = int(atom[2] or atom[1])
            size += last * max(times - 1, 0)
            last *= max(times, 1)
        else:
            last = _WIDE if text in _WIDE_CLASSES else 1
            size += last
    return size


_WIDE = 20
_WIDE_CLASSES = (r"\w", r"\W", r"\d", r"\D", r"\s", r"\S", ".")
"""Classes of all of Unicode are many states."""
