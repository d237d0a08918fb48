"""How much a field may hold: what the option `flujo.v1.limit` of the contract says, applied to messages.

    violations    what is wrong with a request: fields that hold too much, or what no field of their type may hold
    shorten       cut a message of an answer down to the limits of its fields
    Room          how many more items an answer takes before it ends

The server checks every request by `violations` before it acts on it, and sends no text that is longer than its limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from flujo.v1 import limits_pb2

MAX_ANSWER_BYTES = 1024 * 1024
"""Where an answer ends and says that there is more."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""What gRPC takes by default, on either side."""

SIGN = "…"

JSON = "json"
"""The field for JSON texts: whoever reads a value refuses what is too large (values.given_value), and whoever writes
one puts a reference in its place (values.Payloads)."""

_UNCUT = 1000
"""A message of so few bytes is within every limit that its sender does not keep anyway."""

_MOST_NANOS = 999_999_999
_CENTURY = 100 * 366 * 24 * 3600
_FIRST, _LAST = -62_135_596_800, 253_402_300_799  # seconds: the years 1 to 9999, which is what a Timestamp may hold


class Violation(NamedTuple):
    """One wrong field of a request: its path, what it holds, and the rule it breaks."""

    path: str
    value: object
    rule: str


class _Field(NamedTuple):
    """A field that has a limit or holds messages."""

    descriptor: FieldDescriptor
    name: str
    bytes: int
    items: int
    key_bytes: int
    is_text: bool
    is_map: bool
    is_repeated: bool
    is_message: bool  # of a map: of its values


@cache
def _fields(message: Descriptor) -> dict[str, _Field]:
    return {field.name: _field(field) for field in message.fields}


def _field(field: FieldDescriptor) -> _Field:
    limit = field.GetOptions().Extensions[limits_pb2.limit]
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    inner = field.message_type.fields_by_name["value"] if is_map else field  # type: ignore[union-attr]
    return _Field(
        field,
        field.name,
        limit.bytes,
        limit.items,
        limit.key_bytes,
        inner.type == FieldDescriptor.TYPE_STRING,
        is_map,
        field.is_repeated and not is_map,
        inner.message_type is not None,
    )


# -- requests -----------------------------------------------------------------------------------------------------


def violations(request: Message, path: str = "") -> Iterator[Violation]:
    """Yield what is wrong with a request, field by field, JSON texts apart."""
    known = _fields(request.DESCRIPTOR)
    for descriptor, value in request.ListFields():
        field, place = known[descriptor.name], f"{path}{descriptor.name}"
        if field.items and len(value) > field.items:
            yield Violation(place, f"{len(value)} items", f"at most {field.items} of them")
        elif field.is_map:
            yield from _wrong_entries(field, value, place)
        elif field.is_repeated:
            for index, each in enumerate(value):
                yield from _wrong_value(field, each, f"{place}[{index}]")
        else:
            yield from _wrong_value(field, value, place)


def _wrong_entries(field: _Field, entries: Any, place: str) -> Iterator[Violation]:
    for name, value in entries.items():
        if not name:
            yield Violation(place, name, "each entry has a name")
        yield from _wrong_text(name, field.key_bytes, place)
        yield from _wrong_value(field, value, place)


def _wrong_value(field: _Field, value: Any, place: str) -> Iterator[Violation]:
    if field.is_text:
        if field.name != JSON:
            yield from _wrong_text(value, field.bytes, place)
    elif field.descriptor.type == FieldDescriptor.TYPE_BYTES:
        if field.bytes and len(value) > field.bytes:
            yield Violation(place, f"{len(value)} bytes", f"it has {len(value)} bytes, and may have {field.bytes}")
    elif field.is_message:
        match value.DESCRIPTOR.full_name:
            case "google.protobuf.Duration":
                yield from _wrong_duration(value, place)
            case "google.protobuf.Timestamp":
                if not (_FIRST <= value.seconds <= _LAST and 0 <= value.nanos <= _MOST_NANOS):
                    yield Violation(place, f"{value.seconds}s {value.nanos}ns", "an instant of the years 1 to 9999")
            case _:
                yield from violations(value, f"{place}.")
    elif field.descriptor.enum_type is not None:
        if value not in field.descriptor.enum_type.values_by_number:
            yield Violation(place, value, f"one of the numbers of {field.descriptor.enum_type.full_name}")
    elif field.descriptor.type == FieldDescriptor.TYPE_INT32 and value < 0:
        yield Violation(place, value, "a number that is not negative")


def _wrong_text(text: str, limit: int, place: str) -> Iterator[Violation]:
    if limit and len(text) * 4 > limit and (size := len(text.encode())) > limit:
        yield Violation(place, f"{text[:20]}{SIGN}", f"it has {size} bytes, and may have {limit}")
    elif "\0" in text:
        yield Violation(place, text, "a text without NUL")


def _wrong_duration(value: Any, place: str) -> Iterator[Violation]:
    if value.seconds < 0 or value.nanos < 0:
        yield Violation(place, f"{value.seconds}s {value.nanos}ns", "a duration that is not negative")
    elif value.nanos > _MOST_NANOS:
        yield Violation(
            place, f"{value.seconds}s {value.nanos}ns", f"a duration of at most {_MOST_NANOS} ns beside its seconds"
        )
    elif value.seconds > _CENTURY:
        yield Violation(place, f"{value.seconds}s {value.nanos}ns", "a duration of a century at most")


# -- answers ------------------------------------------------------------------------------------------------------


def shorten(message: Message) -> bool:
    """Cut the texts, lists and maps of a message down to their limits, JSON texts apart; True if any was longer."""
    return message.ByteSize() > _UNCUT and _shorten(message)


def _shorten(message: Message) -> bool:
    known = _fields(message.DESCRIPTOR)
    was_longer = False
    for descriptor, value in message.ListFields():
        field = known[descriptor.name]
        if field.is_map:
            was_longer |= _shorten_map(field, value)
        elif field.is_repeated:
            if field.items and len(value) > field.items:
                del value[field.items :]
                was_longer = True
            was_longer |= _shorten_list(field, value)
        elif field.is_text:
            if field.bytes and descriptor.name != JSON and (cut := shortened(value, field.bytes)) is not value:
                setattr(message, descriptor.name, cut)
                was_longer = True
        elif field.is_message:
            was_longer |= _shorten(value)
    return was_longer


def _shorten_list(field: _Field, values: Any) -> bool:
    if field.is_message:
        return sum(map(_shorten, values)) > 0  # all of them, not up to the first
    was_longer = False
    if field.is_text and field.bytes:
        for index, each in enumerate(values):
            if (cut := shortened(each, field.bytes)) is not each:
                values[index] = cut
                was_longer = True
    return was_longer


def _shorten_map(field: _Field, entries: Any) -> bool:
    kept = {name for name in entries if not field.key_bytes or len(name.encode()) <= field.key_bytes}
    gone = set(entries).difference(sorted(kept)[: field.items or None])
    for name in gone:
        del entries[name]
    was_longer = bool(gone)
    if field.is_text and field.bytes:
        for name, value in list(entries.items()):
            if (cut := shortened(value, field.bytes)) is not value:
                entries[name] = cut
                was_longer = True
    return was_longer


def shortened(text: str, limit: int) -> str:
    """Return the text itself if it has at most `limit` bytes, else as much of it as fits before a sign."""
    if len(text) * 4 <= limit or len(data := text.encode()) <= limit:
        return text
    return data[: limit - len(SIGN.encode())].decode(errors="ignore") + SIGN


class Room:
    """How many bytes of an answer are left. The first item always fits, so that an answer comes forward."""

    def __init__(self, size: int = MAX_ANSWER_BYTES) -> None:
        self._left = size
        self._is_empty = True

    def takes(self, item: Message | str | bytes) -> bool:
        """True if an item still fits; it is taken then."""
        if isinstance(item, str):
            item = item.encode()
        size = _FRAME + (len(item) if isinstance(item, bytes) else item.ByteSize())
        if size > self._left and not self._is_empty:
            return False
        self._left -= size
        self._is_empty = False
        return True


def fitting(items: Iterable[Message | str | bytes], room: Room) -> int:
    """Return how many of the items fit, from the first."""
    count = 0
    for item in items:
        if not room.takes(item):
            break
        count += 1
    return count


_FRAME = 6
"""Bytes around a message in a list: its number and its length."""
