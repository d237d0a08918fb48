"""Convert the keywords of calls: each has a field of its own name in the request, and its type says how it is written.

So a keyword that is added to the contract and to the kernel needs nothing here, in the client or in the server. What
differs: `older_than_seconds` is the Duration `older_than` there, an instant is a Timestamp, a part of a filter is in
`filter`, and what is not said (None) is absent, or empty where a field cannot be absent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from flujo.kernel.api import Asked, Fork, Resumption, Selection, Start
from flujo.kernel.backend import WANTED_TEXTS, check_instant, check_labels, check_statuses, check_text, check_wanted
from flujo.kernel.clock import Identifiers, SystemClock
from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import InvalidNameError
from flujo.kernel.keys import check_run_id
from flujo.kernel.programs import Workflow
from flujo.v1.payload_pb2 import Definition

from .runs import given_statuses, to_run_status
from .values import from_duration, from_timestamp, to_duration, to_timestamp

APART = ("workflow", "skip", "inputs")
"""Keywords of a resume and of a fork that hold a workflow or values: how they are written depends on what they are."""


def parts_of(value: Asked | Fork | Resumption | Selection | Start, *, apart: Collection[str] = ()) -> dict[str, Any]:
    """Return the keywords of which a call has made a checked value, but those `apart`."""
    return {part.name: getattr(value, part.name) for part in fields(value) if part.name not in apart}


def put_given(request: Message, given: Mapping[str, Any]) -> None:
    """Write the keywords of a call into its request. Raises what the kernel raises for one that is not well formed."""
    for name, value in given.items():
        if value is not None:
            _put(request, name, value)


def given_in(request: Message, keywords: Iterable[str], *, apart: Collection[str] = ()) -> dict[str, Any]:
    """Return the keywords of a call as its request holds them, for example all of a TypedDict, but those `apart`.

    Raises InvalidNameError for the number of a status that does not exist."""
    return {name: _given(request, name) for name in keywords if name not in apart}


def _put(request: Any, name: str, value: Any) -> None:
    place = _place(request.DESCRIPTOR, name)
    message, field = place.message(request), place.field
    match place.kind:
        case "Timestamp":
            instant = check_instant(name, value)
            assert instant is not None
            getattr(message, field).CopyFrom(to_timestamp(instant))
        case "Duration":
            getattr(message, field).CopyFrom(to_duration(parse_duration(value)))
        case "RunStatus":
            getattr(message, field).extend(map(to_run_status, check_statuses(value)))
        case "map":
            getattr(message, field).update(check_labels(value))
        case "list":
            getattr(message, field).extend(value)
        case "text":
            setattr(message, field, check_wanted(name, value) if name in WANTED_TEXTS else check_text(name, value))
        case _:
            try:
                setattr(message, field, value)
            except ValueError as error:
                raise InvalidNameError(name, value, "a number that the contract has room for") from error


def _given(request: Any, name: str) -> Any:
    place = _place(request.DESCRIPTOR, name)
    message, field = place.message(request), place.field
    value = getattr(message, field)
    match place.kind:
        case "Timestamp":
            return from_timestamp(value) if message.HasField(field) else None
        case "Duration":
            return from_duration(value) if message.HasField(field) else None
        case "RunStatus":
            return given_statuses(value)
        case "map":
            return dict(value)
        case "list":
            return list(value)
        case "flag":
            return value
        case _:
            return value or None


class _Place(NamedTuple):
    """Where a request has the field of a keyword, and how it is converted."""

    is_in_filter: bool
    field: str
    kind: str

    def message(self, request: Any) -> Any:
        """Return the message that has the field: the request, or its filter."""
        return request.filter if self.is_in_filter else request


@cache  # a start has seven, whose descriptors took a twentieth of what a server does for a short run
def _place(request: Descriptor, name: str) -> _Place:
    field = name.removesuffix("_seconds")
    is_in_filter = field not in request.fields_by_name and "filter" in request.fields_by_name
    holder = request.fields_by_name["filter"].message_type if is_in_filter else request
    assert holder is not None
    return _Place(is_in_filter, field, _kind(holder.fields_by_name[field]))


def _kind(field: FieldDescriptor) -> str:
    """Return how a field is converted; raises TypeError for one of a type that no keyword has yet."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if field.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
            return "map"
    elif field.message_type is not None and field.message_type.name in ("Timestamp", "Duration"):
        return field.message_type.name
    elif field.enum_type is not None and field.enum_type.name == "RunStatus" and field.is_repeated:
        return "RunStatus"
    elif field.type == FieldDescriptor.TYPE_STRING:
        return "list" if field.is_repeated else "text"
    elif field.type == FieldDescriptor.TYPE_BOOL:
        return "flag"
    elif field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64):
        return "number"
    raise TypeError(f"{field.full_name} is of a type that no keyword of a call has yet")


def new_run_id(given: str | None, request_id: str | None) -> str:
    """Return the id of a new run: the caller's, else none if the server makes it of the request id, else a new one."""
    if given is not None:
        return check_run_id(given)
    if request_id is not None:
        return ""
    return Identifiers(SystemClock()).run_id()  # chosen here, so that repeating this very call starts no second run


def definition_of(workflow: Workflow) -> Definition:
    """Return the definition of a workflow that has one, to be sent along."""
    assert workflow.definition is not None
    return Definition(text=workflow.definition.text, name=workflow.file or "")
