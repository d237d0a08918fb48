"""Tell whether a step is called with the arguments it was recorded with.

The digest of a call's arguments is recorded with the start of its step. Models, dataclasses, dates and the like are
compared by what they hold (`comparable`). What nobody can compare, such as a client of some service, stands for any
other such object, so that an amount beside it is compared all the same. Journals from before there were digests are not
compared.

    digest_arguments   of a call
    digest_version     of a call of a step with a version: `VERSION/ARGUMENTS`
    digest_item        of an item of a map
    change             what another digest than the recorded one means
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import UserList, UserString, deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AnySet
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from functools import partial
from numbers import Number
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zlib import crc32

from flujo.kernel.json_core import to_json
from flujo.kernel.values import encode

_SCALARS = {str, int, float, bool, type(None)}
_SHORT = 64
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_WRITTEN = (date, time, timedelta, UUID, Decimal, PurePath)
INCOMPARABLE = {"": "?"}
"""What stands for every object that nobody can compare."""

_FIXED = (*_WRITTEN, *_SCALARS, bytes, Number, Enum, tuple, frozenset, tzinfo, range)

NOTHING = "0"
"""The digest of a call without arguments: they may be given some later."""


class Change(Enum):
    """What it means that a step is called otherwise than it is recorded."""

    NONE = "none"
    """It is the same call, as far as that is known."""

    ARGUMENTS = "arguments"
    """Its arguments have changed: the program contradicts what it has completed."""

    VERSION = "version"
    """Its version has changed, so the change is meant: the step runs again."""


def digest_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return the digest of a call's arguments; None for a call without any, or with some that cannot be looked at.

    Every step pays for this, so bare numbers and short texts, as most calls have, go a shorter way."""
    if not args and not kwargs:
        return NOTHING
    if kwargs or not _SCALARS.issuperset(map(type, args)):
        return _digest_any(args, kwargs)
    try:
        text = to_json(args)
    except ValueError:  # text that UTF-8 cannot hold
        return None
    # A checksum of 32 bits never takes one short argument for another that differs in up to four bytes in a row.
    return f"{crc32(text):08x}" if len(text) <= _SHORT else _hash(text)


def _digest_any(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    try:
        return _hash(_ENCODER.encode([args, kwargs]).encode())
    except Exception:  # an object without a JSON form, or one of the user's that raises when it is looked at
        return _digest_comparable([args, kwargs])


def digest_plain(value: Any) -> str:
    """Return the digest of plain JSON."""
    return _hash(_ENCODER.encode(value).encode())


def is_json(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """True for arguments that are digested as they are."""
    try:
        _ENCODER.encode([args, kwargs])
    except Exception:
        return False
    return True


def is_fixed(value: Any) -> bool:
    """True for a value of a type whose values do not change."""
    return isinstance(value, _FIXED)


def is_value(value: Any) -> bool:
    """True for a value of such a type, and for an object whose class says what it holds: a dataclass, a model, or one
    of attrs or msgspec."""
    return is_fixed(value) or is_dataclass(value) or any(hasattr(type(value), name) for name in _NAMES_OF_FIELDS)


_NAMES_OF_FIELDS = ("__pydantic_fields__", "__attrs_attrs__", "__struct_fields__")


def _digest_comparable(value: Any) -> str | None:
    try:
        return digest_plain(comparable(value))
    except Exception:
        return None


def comparable(value: Any, early: bool = False) -> Any:
    """Return what a value holds, as plain JSON: the same in every process, and without a look into secrets. `early` is
    how the first releases with digests saw it."""
    inner = partial(comparable, early=early)
    match value:
        case Enum():
            return inner(value.value)
        case None | str() | int() | float():
            return value
        case bytes() | bytearray():
            return value.hex()
        case _ if isinstance(value, _WRITTEN):
            return str(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: inner(getattr(value, field.name, None)) for field in fields(value)}
        case _ if hasattr(type(value), "__pydantic_fields__"):  # a model; to import pydantic costs a start
            return inner({**value.__dict__, **(value.model_extra or {})})
        case Mapping():
            pairs = [(inner(key), inner(item)) for key, item in value.items()]
            return dict(pairs) if all(isinstance(key, str) for key, _ in pairs) else sorted(pairs, key=_ENCODER.encode)
        case AnySet():
            return sorted(map(inner, value), key=_ENCODER.encode)
        case _ if isinstance(value, list | tuple):
            return [inner(item) for item in value]
        case _:
            return INCOMPARABLE if early else _comparable_of_library(value)


def _comparable_of_library(value: Any) -> Any:
    """Return the same for types of libraries: what they say of themselves, as long as that is the same everywhere."""
    kind = type(value)
    match value:
        case range() | slice():
            return [comparable(each) for each in (value.start, value.stop, value.step)]
        case deque() | UserList():
            return [comparable(item) for item in value]
        case memoryview():
            return value.tobytes().hex()
        case SimpleNamespace():
            return comparable(vars(value))
        case UserString() | Number() | tzinfo():
            return str(value)
        case re.Pattern():
            return [value.pattern, value.flags]
        case _ if kind.__module__ in ("ipaddress", "pydantic.networks"):
            return str(value)
        case _ if hasattr(kind, "tolist") and (hasattr(kind, "__len__") or hasattr(kind, "dtype")):  # arrays
            return comparable(value.tolist())  # and scalars of numpy, of which some are no numbers
    if (names := getattr(kind, "__struct_fields__", None)) is None:  # of msgspec; the other is of attrs
        names = [each.name for each in getattr(kind, "__attrs_attrs__", ())]
    return {name: comparable(getattr(value, name, None)) for name in names} or INCOMPARABLE


def digest_version(version: str, arguments: str | None) -> str:
    """Return the digest of a call of a step that has a version."""
    return f"{_hash(version.encode())}/{arguments or ''}"


def digest_item(item: Any) -> str | None:
    """Return the digest of an item of a map; None for one that cannot be looked at."""
    try:
        return _hash(encode(item).encode())
    except Exception:
        return _digest_comparable(item)


def _hash(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def change(recorded: str | None, digest: str | None) -> Change:
    """Return what it means that a call has `digest` where `recorded` is recorded."""
    if digest is None or digest == recorded:
        return Change.NONE
    version, _, arguments = digest.rpartition("/")
    recorded_version, _, recorded_arguments = (recorded or "").rpartition("/")
    if version and version != recorded_version:
        return Change.VERSION
    differs = arguments and recorded_arguments and arguments != recorded_arguments
    return Change.ARGUMENTS if differs else Change.NONE
