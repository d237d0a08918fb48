"""Values to recorded JSON text and back: strict JSON, so that what is read back is what was written.

A program always receives the value decoded from what is recorded, on the first run as on replay. A `Codec` made
from an annotation reads into that type through pydantic; without one, values are plain JSON types. NaN, infinities,
bytes, sets, cycles and keys that are not text are refused with their path, before anything is stored."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError, from_json, to_json

from .errors import InvalidValueError, OutputTooLargeError, PayloadTooLargeError

MAX_DEPTH = 100
MAX_OUTPUT_BYTES = 64 * 1024 * 1024

NULL = "null"

_ATOMS = (str, bool, int, type(None))


def encode(value: Any) -> str:
    """Plain JSON types as JSON text; anything else raises InvalidValueError with its path."""
    if value.__class__ is not str:
        _check(value, "$", 0)
    try:
        recorded = to_json(value)
    except PydanticSerializationError as error:  # an unpaired surrogate: text that UTF-8 cannot hold
        raise InvalidValueError("$", str(error)) from error
    if len(recorded) > MAX_OUTPUT_BYTES:
        raise OutputTooLargeError(len(recorded), MAX_OUTPUT_BYTES)
    return recorded.decode()


def decode(recorded: str) -> Any:
    """The plain JSON value of recorded text."""
    return from_json(recorded, allow_inf_nan=False)


def _check(value: Any, path: str, depth: int) -> None:
    if isinstance(value, _ATOMS):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidValueError(path, f"{value} has no JSON form")
        return
    if depth >= MAX_DEPTH:
        raise InvalidValueError(path, f"it nests deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidValueError(path, f"the key {key!r} is {type(key).__name__}, not text")
            _check(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    else:
        raise InvalidValueError(path, f"{type(value).__name__} is not a JSON type")


class Codec:
    """Writes and reads the values of one annotation."""

    __slots__ = ("_adapter",)

    def __init__(self, annotation: Any = Any) -> None:
        self._adapter: TypeAdapter[Any] | None = None
        if annotation not in _PLAIN:
            self._adapter = TypeAdapter(annotation)

    def encode(self, value: Any) -> str:
        """The recorded form of `value`; raises InvalidValueError or OutputTooLargeError."""
        if self._adapter is None:
            return encode(value)
        try:
            plain = self._adapter.dump_python(value, mode="json", warnings="error")
        except (PydanticSerializationError, ValueError) as error:
            raise InvalidValueError("$", str(error)) from error
        recorded = encode(plain)
        self.decode(recorded)  # what cannot be read back must not be recorded
        return recorded

    def decode(self, recorded: str) -> Any:
        """The value of recorded text; raises InvalidValueError when the annotation does not accept it."""
        if self._adapter is None:
            return decode(recorded)
        try:
            return self._adapter.validate_json(recorded)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
            raise InvalidValueError(path, first["msg"]) from error


_PLAIN: tuple[Any, ...] = (Any, None, type(None), object, dict, list, str, bool)
"""Annotations that plain JSON already satisfies. `int` and `float` are not here: 3 must read back as 3.0 for a
float."""


@lru_cache(maxsize=1024)
def codec_for(annotation: Any) -> Codec:
    """The codec of an annotation; one that pydantic cannot handle reads and writes plain JSON."""
    try:
        return Codec(annotation)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError):
        return Codec()


PLAIN = Codec()


MAX_INPUT_BYTES = 1024 * 1024
"""How many bytes of JSON the inputs of a run, or the payload of a signal, may have."""


def encode_given(what: str, value: Any) -> str:
    """What a caller gives a run, as JSON text; `what` names it in the message. Raises InvalidValueError,
    PayloadTooLargeError."""
    recorded = encode(value)
    size = len(recorded.encode()) if len(recorded) * 4 > MAX_INPUT_BYTES else len(recorded)
    if size > MAX_INPUT_BYTES:
        raise PayloadTooLargeError(what, size, MAX_INPUT_BYTES)
    return recorded
