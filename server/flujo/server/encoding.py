"""Events as bytes, made once for all watchers who are sent them.

A stream may yield bytes instead of a message: they are sent as they are (guard.py). A batch is put together from the
bytes of its events, which are those of a batch that holds the one event: a list in protobuf is its items in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from flujo.client.wire.limits import MAX_ANSWER_BYTES, Room, fitting
from flujo.v1 import run_service_pb2 as pb

KEPT_BYTES = 4 * 1024 * 1024

Thing = TypeVar("Thing")


class Encodings:
    """The bytes of what was sent last, of one form."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._most = most
        self._kept: dict[Hashable, bytes] = {}
        self._size = 0

    def of(self, things: Iterable[tuple[Hashable, Thing]], encode: Callable[[Thing], bytes]) -> list[bytes]:
        """Return the bytes of each of these, by keys that tell them apart; they are made where they are not here."""
        kept = self._kept
        return [kept.get(key) or self._make(key, thing, encode) for key, thing in things]

    def _make(self, key: Hashable, thing: Thing, encode: Callable[[Thing], bytes]) -> bytes:
        made = self._kept[key] = encode(thing)
        self._size += len(made)
        while self._size > self._most:
            self._size -= len(self._kept.pop(next(iter(self._kept))))
        return made


class Forms(NamedTuple):
    """The bytes of the events of one kind of stream: with their values, and without."""

    whole: Encodings
    without_payloads: Encodings

    @classmethod
    def empty(cls) -> Forms:
        """Return both, without anything yet."""
        return cls(Encodings(), Encodings())


class Envelope:
    """Puts batches into the messages of one kind of stream."""

    def __init__(self, response: type[pb.WatchRunResponse | pb.WatchRunsResponse]) -> None:
        self._tag = _varint(response.DESCRIPTOR.fields_by_name["events"].number << 3 | _LENGTH_DELIMITED)

    def batches(self, events: Sequence[bytes], rest: Callable[[int], Any]) -> Iterator[bytes]:
        """Yield messages that hold these events, each bounded. `rest` returns the other fields of a batch that ends
        behind so many of all events."""
        done = 0
        while done < len(events):
            kept = fitting(events[done:], Room()) if sum(map(len, events)) > _CERTAIN else len(events)
            body = b"".join((*events[done : done + kept], rest(done + kept).SerializeToString()))
            done += kept
            yield self._tag + _varint(len(body)) + body


_LENGTH_DELIMITED = 2

_CERTAIN = MAX_ANSWER_BYTES // 2
"""Events of so few bytes fit together, whatever lies around each."""


def _varint(number: int) -> bytes:
    """Return a number as protobuf writes it: seven bits a byte, the lowest first."""
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)
