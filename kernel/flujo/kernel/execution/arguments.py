"""Tell whether a step is called with the arguments it was recorded with.

The digest of a call's arguments is recorded with the start of its step. Arguments that have no plain JSON form are not
compared, and neither are those of journals from before there were digests.

    digest_arguments   of a call
    digest_version     of a call of a step with a version: `VERSION/ARGUMENTS`
    digest_item        of an item of a map
    change             what another digest than the recorded one means
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any
from zlib import crc32

from pydantic_core import to_json

from flujo.kernel.errors import InvalidValueError
from flujo.kernel.values import encode

_SCALARS = {str, int, float, bool, type(None)}
_SHORT = 64
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class Change(Enum):
    """What it means that a step is called otherwise than it is recorded."""

    NONE = "none"
    """It is the same call, as far as that is known."""

    ARGUMENTS = "arguments"
    """Its arguments have changed: the program contradicts what it has completed."""

    VERSION = "version"
    """Its version has changed, so the change is meant: the step runs again."""


def digest_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return the digest of a call's arguments; None for a call without any, or with what has no JSON form.

    Every step pays for this, so bare numbers and short texts, as most calls have, go a shorter way."""
    if not args and not kwargs:
        return None
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
    except (TypeError, ValueError, RecursionError):
        return None


def digest_version(version: str, arguments: str | None) -> str:
    """Return the digest of a call of a step that has a version."""
    return f"{_hash(version.encode())}/{arguments or ''}"


def digest_item(item: Any) -> str | None:
    """Return the digest of an item of a map; None for what has no JSON form."""
    try:
        return _hash(encode(item).encode())
    except InvalidValueError:
        return None


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
