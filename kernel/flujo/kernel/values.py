"""Write plain JSON values as text and read them back: strict JSON, so that what is read is what was written.

NaN, infinities, bytes, sets, cycles, keys that are not text and numbers that no reader takes are refused with their
path, before anything is stored. codecs.py does the same for values of declared types.

json_core is imported by the first call: who lists runs reads no value."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Generator
from typing import Any

from .errors import InvalidValueError, OutputTooLargeError, PayloadTooLargeError

MAX_DEPTH = 100
FLATTER = "make it flatter, a list whose rows name their parents, or hand on the name of a file with it"
"""What to do about a value that nests too deep."""

MAX_OUTPUT_BYTES = 64 * 1024 * 1024

NULL = "null"

MAX_DIGITS = 4300
"""The most digits of a whole number: the limit of Python's own conversion, beyond which no text is read as a number."""

_LARGEST = 10**MAX_DIGITS - 1
_SMALLEST = 1 - 10 ** (MAX_DIGITS - 1)  # pydantic before 2.14 counts the sign as a digit when it reads
_ATOMS = (str, bool, type(None))


def encode(value: Any) -> str:
    """Return plain JSON types as JSON text; anything else raises InvalidValueError with its path."""
    import flujo.kernel.json_core as json_core  # not names from it: that takes five times as long, in every step

    if value.__class__ is not str:
        _check(value, "$", 0)
    try:
        recorded = json_core.to_json(value)
    except json_core.PydanticSerializationError as error:  # an unpaired surrogate: text that UTF-8 cannot hold
        raise InvalidValueError("$", str(error)) from error
    if len(recorded) > MAX_OUTPUT_BYTES:
        raise OutputTooLargeError(len(recorded), MAX_OUTPUT_BYTES)
    return recorded.decode()


def decode(recorded: str) -> Any:
    """Return the plain JSON value of recorded text."""
    import flujo.kernel.json_core as json_core

    return json_core.from_json(recorded, allow_inf_nan=False)


def _check(value: Any, path: str, depth: int) -> None:
    if value.__class__ is str or isinstance(value, _ATOMS):
        return
    if isinstance(value, int):
        if not _SMALLEST <= value <= _LARGEST:
            raise InvalidValueError(path, f"it is a number of more than {MAX_DIGITS} digits, its sign included")
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidValueError(path, f"{value} has no JSON form")
        return
    if depth >= MAX_DEPTH:
        raise InvalidValueError(path, f"it nests deeper than {MAX_DEPTH} levels, or contains itself; {FLATTER}")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidValueError(path, f"the key {key!r} is {type(key).__name__}, not text")
            _check(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    else:
        raise InvalidValueError(path, f"{type(value).__name__} is not a JSON type{_hint(value)}")


def _hint(value: object) -> str:
    """Return what helps with a value that stands for work which is not done."""
    if isinstance(value, Awaitable):
        return "; an `await` is missing"
    if isinstance(value, Generator | AsyncGenerator | map | filter | zip):
        return "; what it would yield has not been computed: make a list of it"
    return ""


MAX_INPUT_BYTES = 1024 * 1024
"""How many bytes of JSON the inputs of a run, or the payload of a signal, may have."""


def encode_given(what: str, value: Any) -> str:
    """Return what a caller gives a run as JSON text; `what` names it in the message. Raises InvalidValueError,
    PayloadTooLargeError."""
    recorded = encode(value)
    size = len(recorded.encode()) if len(recorded) * 4 > MAX_INPUT_BYTES else len(recorded)
    if size > MAX_INPUT_BYTES:
        raise PayloadTooLargeError(what, size, MAX_INPUT_BYTES)
    return recorded
