"""Convert events: every kind of fact has a message of its own, with the same fields under the same names.

The conversion is worked out once per kind from the two declarations, so a field that is added to both needs nothing
here. What differs: `timeout_seconds` is `timeout` there, the large field of a kind and the environment are payloads,
and a field that holds None is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.events import KIND_OF, KINDS, Event, Kind, UnknownFact, encode
from flujo.kernel.json_core import from_json, to_json
from flujo.v1 import event_pb2
from flujo.v1.payload_pb2 import PAYLOAD_PART_ENVIRONMENT, Payload

from .limits import Room, fitting, shorten
from .runs import differences_of, plan_of, put_differences, put_plan
from .values import (
    Payloads,
    from_duration,
    from_timestamp,
    to_duration,
    to_timestamp,
)
from .words import BY_ENUM

MAX_EVENT_BYTES = 256 * 1024
"""An event of more bytes, its large value apart, loses the last entries of its lists."""

MAX_LIST_BYTES = 128 * 1024
"""What is left of each list then."""

_OTHER_NAMES = {"timeout_seconds": "timeout"}

Put = Callable[[Any, Any, Payloads, int], None]  # message, value of the fact's field, the answer's payloads, seq
Take = Callable[[Any, Any], Any]  # message, value of the message's field


class _Field(NamedTuple):
    """One field of a fact: how it is written into its message, the attribute of the message that has its value, and
    what is made of that, or of an empty one only, if anything is."""

    path: str
    put: Put
    take: Take | None = None
    only_if_empty: bool = False


@cache
def _fields(type_: str) -> tuple[_Field, ...]:
    kind, message = _BY_TYPE[type_], event_pb2.Event.DESCRIPTOR.fields_by_name[type_].message_type
    assert message is not None
    fields = message.fields_by_name
    return tuple(_field(name, fields[_OTHER_NAMES.get(name, name)], kind) for name in kind.fact._fields)


def _field(name: str, descriptor: FieldDescriptor, kind: Kind) -> _Field:
    field = descriptor.name
    default = kind.fact._field_defaults.get(name)

    def copied(make: Callable[[Any], Any]) -> Put:
        return lambda message, value, payloads, seq: getattr(message, field).CopyFrom(make(value))

    def if_present(read: Callable[[Any], Any]) -> Take:
        return lambda message, value: read(value) if message.HasField(field) else default

    if descriptor.enum_type is not None:
        words = BY_ENUM[descriptor.enum_type.name]
        return _Field(
            field,
            lambda message, word, *_: setattr(message, field, words.number(word)),
            lambda _, number: words.word(number),
        )
    if descriptor.message_type is None:
        if descriptor.is_repeated:
            return _Field(
                field,
                lambda m, value, *_: getattr(m, field).extend(value),
                lambda _, values: list(values) or default,
            )
        return _Field(
            field,
            lambda message, value, *_: setattr(message, field, value),
            (lambda message, empty: empty if message.HasField(field) else default) if descriptor.has_presence else None,
            only_if_empty=True,
        )
    if descriptor.message_type.GetOptions().map_entry:
        return _Field(
            field,
            lambda m, value, *_: getattr(m, field).update(value),
            lambda _, values: dict(sorted(values.items())),  # a map of protobuf has no order of its own
        )
    match descriptor.message_type.name:
        case "Timestamp":
            return _Field(field, copied(to_timestamp), if_present(from_timestamp))
        case "Duration":
            return _Field(field, copied(to_duration), if_present(from_duration))
        case "RequestFingerprint":
            return _Field(
                field,
                copied(lambda request: event_pb2.RequestFingerprint(id=request[0], digest=request[1])),
                if_present(lambda request: [request.id, request.digest]),
            )
        case "StepDifference":
            return _Field(
                field,
                lambda m, value, *_: put_differences(getattr(m, field), value),
                lambda _, values: differences_of(values) or default,
            )
        case "PlannedStep":
            return _Field(
                field,
                lambda m, plan, *_: put_plan(getattr(m, field), plan),
                lambda _, values: plan_of(values),
            )
    if name == kind.payload:
        return _Field(
            f"{field}.json",
            lambda message, text, payloads, seq: payloads.put(getattr(message, field), text, seq),
            lambda message, _: _NOT_HERE if message.HasField(field) else default,
            only_if_empty=True,
        )
    return _Field(  # the environment, which is an object and not text
        field,
        lambda message, value, payloads, seq: payloads.put(
            getattr(message, field), to_json(value).decode(), seq, PAYLOAD_PART_ENVIRONMENT
        ),
        if_present(lambda payload: from_json(payload.json) if payload.json else _NOT_HERE),
    )


_NOT_HERE = ""
"""The value of a payload that has not come along: no JSON text is empty."""

_BY_TYPE = {kind.type: kind for kind in KINDS}


def to_event(event: Event, payloads: Payloads) -> event_pb2.Event:
    """Return the message of an event; a large payload becomes a reference, and what is too large otherwise is cut."""
    made = event_pb2.Event(seq=event.seq, at=to_timestamp(event.at), type=event.type)
    if isinstance(event.fact, UnknownFact):
        return made
    kind = KIND_OF[event.fact.__class__]
    message = getattr(made, kind.type)
    message.SetInParent()  # or a fact whose fields are all empty would not be there
    for field, value in zip(_fields(kind.type), event.fact, strict=True):
        if value is not None:
            field.put(message, value, payloads, event.seq)
    if shorten(made):
        made.cut = True
    if made.ByteSize() > MAX_EVENT_BYTES and _shorten_lists(message):
        made.cut = True
    return made


def _shorten_lists(message: Any) -> bool:
    """Leave out the last entries of long lists; True if there were any."""
    was_longer = False
    for field, values in message.ListFields():
        if field.is_repeated and not (field.message_type and field.message_type.GetOptions().map_entry):
            kept = fitting(values, Room(MAX_LIST_BYTES))
            was_longer |= kept < len(values)
            del values[kept:]
    return was_longer


def from_event(message: event_pb2.Event, whole: str | None = None) -> Event:
    """Return the event of a message that holds its payload; one of a newer kind holds an UnknownFact. `whole` is the
    text of PAYLOAD_PART_FACT for an event that was cut."""
    chosen = message.WhichOneof("fact")
    reading = None if chosen is None else _reading(chosen)
    if chosen is None or reading is None:
        return Event(message.seq, from_timestamp(message.at), UnknownFact(message.type))
    fact = reading.read(getattr(message, chosen))
    if whole is not None:
        told = from_json(whole)
        fact = fact._replace(**{name: value for name, value in told.items() if name in fact._fields})
    return Event(message.seq, from_timestamp(message.at), fact)


def event_here(message: event_pb2.Event) -> Event | None:
    """Return the event of a message, None if values of it have not come along. A watch asks this of every event, so
    each part of the message is read once: every message inside of another costs more than all numbers and texts."""
    if message.cut:
        return None
    chosen = message.WhichOneof("fact")
    reading = None if chosen is None else _reading(chosen)
    if chosen is None or reading is None:
        return from_event(message)
    read, payloads = reading
    fact = read(getattr(message, chosen))
    for place in payloads:
        if fact[place] == _NOT_HERE:
            return None
    at = message.at
    event: Event = _made(Event, (message.seq, at.seconds * MICROSECONDS + at.nanos // 1000, fact))
    return event


class _Reading(NamedTuple):
    """How the message of a fact is read, and which places of the fact hold payloads."""

    read: Callable[[Any], Any]
    payloads: Sequence[int]


@cache
def _reading(type_: str) -> _Reading | None:
    """Return how the fact in the field of this name is read; None for one that this release does not know."""
    if (kind := _BY_TYPE.get(type_)) is None:
        return None
    descriptor = event_pb2.Event.DESCRIPTOR.fields_by_name[type_].message_type
    assert descriptor is not None
    fields = _fields(type_)
    inner = [descriptor.fields_by_name[field.path.partition(".")[0]] for field in fields]
    payloads = [place for place, each in enumerate(inner) if each.message_type is Payload.DESCRIPTOR]
    return _Reading(_reader(kind.fact, fields), payloads)


def _reader(fact: type[Any], fields: Sequence[_Field]) -> Callable[[Any], Any]:
    """Return what reads the message of a fact. It is written as source, as named tuples are: a loop over the fields
    would take half as long again, for each of the events that a client follows."""
    values = [f"value{place}" for place in range(len(fields))]
    known: dict[str, Any] = {"made": _made, "fact": fact, "all_fields": _getting([field.path for field in fields])}
    settled = list(values)
    for place, (value, field) in enumerate(zip(values, fields, strict=True)):
        if field.take is not None:
            known[f"take{place}"] = field.take
            settled[place] = f"{value} or " * field.only_if_empty + f"take{place}(message, {value})"
    values_list, settled_list = ("".join(f"{each}, " for each in listed) for listed in (values, settled))
    lines = f"({values_list}) = all_fields(message)", f"return made(fact, ({settled_list}))"
    exec("def read(message):\n  " + "\n  ".join(lines), known)
    read: Callable[[Any], Any] = known["read"]
    return read


def _getting(paths: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """Return what reads these attributes of an object."""
    if len(paths) > 1:
        return attrgetter(*paths)
    return lambda message: [attrgetter(path)(message) for path in paths]


_made: Callable[[type[Any], Sequence[Any]], Any] = tuple.__new__
"""Makes a named tuple in half the time that calling its class takes."""


def recorded_payload(event: Event) -> str | None:
    """Return the JSON text of the large field of an event, None if its kind has none or it is empty."""
    kind = KIND_OF[event.fact.__class__]
    return None if kind.payload is None else getattr(event.fact, kind.payload)


def recorded_fact(event: Event) -> str:
    """Return all fields of a fact but the large one, as JSON text."""
    return encode(event).body


def payloads_of(message: event_pb2.Event) -> Iterator[Payload]:
    """Yield the payloads in the message of an event, to be read or replaced."""
    chosen = message.WhichOneof("fact")
    if chosen is not None:
        yield from (payload for read in _payload_fields(chosen) if (payload := read(message)).WhichOneof("content"))


@cache
def _payload_fields(chosen: str) -> Sequence[Callable[[event_pb2.Event], Payload]]:
    """Return what reads each of the payloads in a fact, from the message of an event."""
    fact = event_pb2.Event.DESCRIPTOR.fields_by_name[chosen].message_type
    assert fact is not None
    names = [field.name for field in fact.fields if field.message_type is Payload.DESCRIPTOR and not field.is_repeated]
    return [attrgetter(f"{chosen}.{name}") for name in names]
