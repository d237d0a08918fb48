"""What the operators, methods and filters of a template may make.

No operation makes a text or list beyond `MAX_SIZE`, no number beyond `MAX_BITS`; the checks look at the operands, so
that nothing larger is made first. What they let through is bounded as a whole by the worker (`workers.py`): in memory,
and in processor time. They exist for their messages, which name the operation and the limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined

MAX_SIZE = 1024 * 1024
MAX_VALUE = 16 * MAX_SIZE
"""What one value may hand on: characters and items, of something that exists already."""
MAX_BITS = 4096
MAX_RANGE = 100_000
MAX_ITERATIONS = 500_000
MAX_WIDTH = 10_000

_SMALL = 1 << 62
_BIG_PRINTF = re.compile(r"%[^a-zA-Z%]*(\d{5}|\*)")
_BIG_FORMAT = re.compile(r"\d{5}|\{[^{}]*:[^{}]*\{")


class LimitError(SecurityError):
    """A template asked for more than a template may."""


def bounded_text(parts: Iterable[str]) -> str:
    """Return the parts as one text; raises LimitError as soon as they are more than a template may make."""
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_SIZE:
            raise LimitError(f"the text becomes larger than {MAX_SIZE // 1024} KiB")
        kept.append(part)
    return "".join(kept)


def bounded_value(value: Any, limit: int = MAX_VALUE, too_large: Callable[[], Exception] | None = None) -> Any:
    """Return what an expression gave as plain JSON types.

    Raises TypeError for what is no data, UndefinedError for what is undefined, and for more than `limit` characters
    and items what `too_large` returns, by default a LimitError.
    """
    room = [limit]

    def copy(value: Any) -> Any:
        room[0] -= _size_of(value)
        if room[0] < 0:
            raise LimitError(f"the value is larger than {_in_words(limit)}") if too_large is None else too_large()
        if isinstance(value, Undefined):
            value._fail_with_undefined_error()
        if isinstance(value, str):
            return str(value)
        if isinstance(value, float) and not isfinite(value):
            raise LimitError("the number becomes larger than can be recorded")
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {copy(key): copy(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, range, Iterator)):
            return [copy(item) for item in value]
        raise TypeError(f"{kind_of_value(value)} is not a value that can be recorded")

    return copy(value)


def _size_of(value: Any) -> int:
    """Return what one value takes by itself: a text its characters, a large number its digits, anything else 1."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, int) and not -_SMALL < value < _SMALL:
        return value.bit_length() // 3
    return 1


def _in_words(limit: int) -> str:
    return f"{limit // MAX_SIZE} MiB" if limit >= MAX_SIZE else f"{limit // 1024} KiB"


def kind_of_value(value: Any) -> str:
    """Return what a value is, for an error message."""
    if value is None:
        return "null"
    if callable(value):
        return "a function"
    for types, kind in _KINDS:
        if isinstance(value, types):
            return kind
    return type(value).__name__


_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((str,), "a text"),
    ((bool,), "a boolean"),
    ((int, float), "a number"),
    ((Mapping,), "a mapping"),
    ((list, tuple, range, Iterator), "a list"),
)


# -- operators --------------------------------------------------------------------------------------------------------


def check_size(size: int) -> None:
    """Raise LimitError for a text or list of more than `MAX_SIZE`."""
    if size > MAX_SIZE:
        raise LimitError(f"the result would be larger than {MAX_SIZE // 1024} KiB")


def _check_bits(bits: float) -> None:
    if bits > MAX_BITS:
        raise LimitError(f"the result would be a number of more than {MAX_BITS} bits")


def _check_plus(left: Any, right: Any) -> None:
    if isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
        check_size(len(left) + len(right))


def _check_times(left: Any, right: Any) -> None:
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(count, int):
            check_size(len(sequence) * max(count, 0))
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * max(right, 0))


def check_printf(text: Any, _: Any = None) -> None:
    """Raise LimitError for a `%` format with a width or precision of five digits or more."""
    if isinstance(text, str) and _BIG_PRINTF.search(text):
        raise LimitError(f"a width in a format may have at most four digits: {text[:40]!r}")


def check_format(text: str) -> None:
    """Raise LimitError for a `{}` format with a width or precision of five digits or more."""
    if _BIG_FORMAT.search(text):
        raise LimitError(f"a width in a format may have at most four digits: {text[:40]!r}")


OPERATORS: dict[str, Callable[[Any, Any], None]] = {
    "+": _check_plus,
    "*": _check_times,
    "**": _check_power,
    "%": check_printf,
}
"""The checks of the operators, by operator."""


# -- methods and functions --------------------------------------------------------------------------------------------


def check_text_method(text: str, name: str, args: tuple[Any, ...]) -> None:
    """Raise LimitError for a method of a text that would make one that is too large."""
    if name in ("center", "ljust", "rjust", "zfill", "expandtabs"):
        check_numbers(name, args)
    elif name == "replace" and len(args) >= 2:
        check_replace(text, args[0], args[1])
    elif name == "join" and args and isinstance(args[0], (str, list, tuple)):
        check_size(len(text) * len(args[0]) + sum(len(part) for part in args[0] if isinstance(part, str)))
    elif name == "translate":
        raise LimitError("`translate` is not available in templates")


def check_numbers(name: str, numbers: Iterable[Any]) -> None:
    """Raise LimitError for a width of more than `MAX_WIDTH`."""
    for number in numbers:
        if isinstance(number, (int, float)) and abs(number) > MAX_WIDTH:
            raise LimitError(f"`{name}` takes numbers up to {MAX_WIDTH}, not {number}")


def check_replace(text: str, old: Any, new: Any) -> None:
    """Raise LimitError when `text.replace(old, new)` would be too large."""
    check_size(len(text) + text.count(str(old)) * len(str(new)))


def bounded_range(*args: int) -> range:
    """Return the numbers of `range`, unless there are more than `MAX_RANGE`."""
    numbers = range(*args)
    if len(numbers) > MAX_RANGE:
        raise LimitError(f"`range` gives at most {MAX_RANGE} numbers")
    return numbers
