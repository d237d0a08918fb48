"""Map flujo's errors to gRPC statuses and back, by one table.

An error becomes a status code, its message, and google.rpc.ErrorInfo with its `reason` and, as metadata, its class, its
fields and its hints. A client makes the same error of the same class from that. Errors that other languages want to
take apart come with google.rpc.BadRequest or google.rpc.PreconditionFailure besides, and those that a repeat of
the call may not meet with google.rpc.RetryInfo.

A status travels in HTTP/2 headers, for which a peer keeps 8 KiB: beyond that it sees RESOURCE_EXHAUSTED instead of the
error, gRPC's own library now and then, others always. There the message takes three bytes for each that is not
printable ASCII, and the details a third more than they are. So long texts are cut, with a sign, and lists lose their
last items.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from flujo.kernel import errors
from flujo.kernel.errors import Difference, FlujoError, Problem
from flujo.v1.run_service_pb2 import StartRefusal

from .paths import wrong_fields
from .wire.values import to_duration

DOMAIN = "flujo"
ROOM = 4608
LIST_ROOM = 1500
TEXT_ROOM = 400
MESSAGE_ROOM = 1200
HINTS_ROOM = 700
_WRAPPING = 80  # the type URL and the lengths around a detail

Found = TypeVar("Found", bound=Message)


class _Field(NamedTuple):
    """How one field of an error is written as a metadata value and read again."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


def _cut(text: str, room: int) -> str:
    """Return the text, cut to `room` bytes of UTF-8 with a sign that it was. File names may hold what UTF-8 cannot."""
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= room else data[: room - 3].decode(errors="ignore") + "…"


def _cut_message(text: str) -> str:
    """Return the text, cut to the size it has as a header."""
    clean = _cut(text, MESSAGE_ROOM)
    while (size := len(quote(clean, safe=_PRINTABLE))) > MESSAGE_ROOM:
        clean = _cut(clean, min(len(clean.encode()) - 3, len(clean.encode()) * MESSAGE_ROOM // size))
    return clean


def _cut_lines(lines: Iterable[str], room: int) -> str:
    """Return the first lines that fit whole: half a command is of no use."""
    kept: list[str] = []
    for line in lines:
        room -= len(line.encode(errors="replace")) + 1
        if room < 0:
            break
        kept.append(_cut(line, HINTS_ROOM))
    return "\n".join(kept)


def _write_items(items: Iterable[Any]) -> str:
    kept: list[Any] = []
    left = LIST_ROOM
    for item in items:
        short = _shortened(item)
        left -= len(json.dumps(short, ensure_ascii=False).encode()) + 2
        if left < 0:
            break
        kept.append(short)
    return json.dumps(kept, ensure_ascii=False)


def _shortened(item: Any) -> Any:
    if isinstance(item, str):
        return _cut(item, TEXT_ROOM)
    return [_shortened(each) for each in item] if isinstance(item, tuple) else item


_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

_TEXT = _Field(lambda value: _cut(str(value), TEXT_ROOM), str)
_OPTIONAL = _Field(lambda value: "null" if value is None else json.dumps(_cut(value, TEXT_ROOM)), json.loads)
_NUMBER = _Field(str, lambda text: json.loads(text))
_TEXTS = _Field(_write_items, lambda text: tuple(json.loads(text)))
_PROBLEMS = _Field(_write_items, lambda text: tuple(Problem(*item) for item in json.loads(text)))
_DIFFERENCES = _Field(_write_items, lambda text: tuple(Difference(*item) for item in json.loads(text)))
_BY_FIELD = _Field(lambda value: _write_items(value.items()), lambda text: dict(json.loads(text)))

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_NOT_FOUND = grpc.StatusCode.NOT_FOUND
_EXISTS = grpc.StatusCode.ALREADY_EXISTS
_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
_ABORTED = grpc.StatusCode.ABORTED
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
_INTERNAL = grpc.StatusCode.INTERNAL
_DENIED = grpc.StatusCode.PERMISSION_DENIED
_DATA_LOSS = grpc.StatusCode.DATA_LOSS

_STORE = {"store": _TEXT, "problem": _TEXT}

TABLE: dict[type[FlujoError], tuple[grpc.StatusCode, Mapping[str, _Field]]] = {
    # not well formed
    errors.InvalidNameError: (_INVALID, {"what": _TEXT, "name": _TEXT, "rule": _TEXT}),
    errors.InvalidInputError: (_INVALID, {"workflow": _TEXT, "problems": _BY_FIELD}),
    errors.StepChoiceError: (_INVALID, {"workflow": _TEXT, "field": _TEXT, "problem": _TEXT}),
    errors.InvalidDurationError: (_INVALID, {"text": _TEXT, "argument": _OPTIONAL}),
    errors.InvalidExportError: (_INVALID, {"problem": _TEXT}),
    errors.InvalidValueError: (_INVALID, {"path": _TEXT, "problem": _TEXT}),
    errors.SignalMisfitError: (
        _INVALID,
        {"run_id": _TEXT, "signal": _TEXT, "path": _TEXT, "problem": _TEXT, "fits": _OPTIONAL},
    ),
    errors.InvalidAddressError: (_INVALID, {"address": _TEXT, "problem": _TEXT}),
    errors.DefinitionError: (_INVALID, {"problems": _PROBLEMS}),
    errors.DeclarationError: (_INVALID, {}),
    errors.UnsafeStepNameError: (_INVALID, {"name": _TEXT}),
    errors.StoreUrlError: (_INVALID, _STORE),
    errors.PayloadTooLargeError: (_INVALID, {"what": _TEXT, "size": _NUMBER, "limit": _NUMBER}),
    errors.OutputTooLargeError: (_INVALID, {"size": _NUMBER, "limit": _NUMBER}),
    # not there, or in the way
    errors.RunNotFoundError: (_NOT_FOUND, {"run_id": _TEXT, "store": _TEXT}),
    errors.RunDeletedError: (_NOT_FOUND, {"run_id": _TEXT}),
    errors.NoLogError: (_NOT_FOUND, {"run_id": _TEXT, "problem": _TEXT}),
    errors.StepNotFoundError: (_NOT_FOUND, {"run_id": _TEXT, "step": _TEXT, "known": _TEXTS}),
    errors.WorkflowNotFoundError: (_NOT_FOUND, {"workflow": _TEXT, "known": _TEXTS}),
    errors.WorkflowFixedError: (_PRECONDITION, {"workflow": _TEXT}),
    errors.TaskNotFoundError: (_NOT_FOUND, {"task": _TEXT, "known": _TEXTS}),
    errors.StoreNotFoundError: (_NOT_FOUND, _STORE),
    errors.RunExistsError: (_EXISTS, {"run_id": _TEXT, "difference": _TEXT}),
    errors.RequestReusedError: (_EXISTS, {"run_id": _TEXT, "request_id": _TEXT}),
    errors.RunOverlapError: (
        _PRECONDITION,
        {"workflow": _TEXT, "run_id": _TEXT, "status": _TEXT, "on_overlap": _TEXT},
    ),
    errors.AddressInUseError: (_EXISTS, {"address": _TEXT}),
    errors.CursorError: (
        grpc.StatusCode.OUT_OF_RANGE,
        {"run_id": _TEXT, "after_seq": _NUMBER, "last_seq": _NUMBER},
    ),
    errors.ForeignCursorError: (grpc.StatusCode.OUT_OF_RANGE, {"cursor": _TEXT}),
    errors.RunReplacedError: (_ABORTED, {"run_id": _TEXT}),
    errors.RunActiveError: (_PRECONDITION, {"run_id": _TEXT, "owner": _TEXT}),
    errors.RunFinishedError: (_PRECONDITION, {"run_id": _TEXT, "status": _TEXT}),
    errors.RunNotResumableError: (_PRECONDITION, {"run_id": _TEXT, "status": _TEXT}),
    errors.RunNotPausedError: (_PRECONDITION, {"run_id": _TEXT, "status": _TEXT}),
    errors.StepCompletedError: (_PRECONDITION, {"run_id": _TEXT, "step": _TEXT}),
    errors.StateNotRecordableError: (_PRECONDITION, {"run_id": _TEXT, "problem": _TEXT}),
    errors.StateIncompatibilityError: (_PRECONDITION, {"run_id": _TEXT, "differences": _DIFFERENCES}),
    errors.UnknownEventError: (_PRECONDITION, {"type": _TEXT, "format": _NUMBER}),
    # how a run or step ended: a client makes these itself, from a run that is data
    errors.StepFailed: (_PRECONDITION, {"step": _TEXT, "type": _TEXT, "error": _TEXT, "attempt": _NUMBER}),
    errors.RunFailed: (_PRECONDITION, {"run_id": _TEXT, "type": _TEXT, "error": _TEXT, "step": _OPTIONAL}),
    errors.RunCancelled: (_PRECONDITION, {"run_id": _TEXT, "why": _OPTIONAL}),
    errors.RunPaused: (_PRECONDITION, {"run_id": _TEXT, "why": _OPTIONAL}),
    errors.RunInterrupted: (_PRECONDITION, {"run_id": _TEXT}),
    # the kernel, its store, and the way to them
    errors.KernelClosedError: (_UNAVAILABLE, {}),
    errors.ServerStoppingError: (_UNAVAILABLE, {}),
    errors.ServerBusyError: (_EXHAUSTED, {"limit": _TEXT, "size": _NUMBER}),
    errors.UnauthenticatedError: (grpc.StatusCode.UNAUTHENTICATED, {"problem": _TEXT}),
    errors.PermissionDeniedError: (_DENIED, {"principal": _TEXT, "role": _TEXT, "call": _TEXT, "needed": _TEXT}),
    errors.DefinitionsNotAllowedError: (_DENIED, {}),
    errors.UnsafeListenerError: (_PRECONDITION, {"address": _TEXT, "problem": _TEXT}),
    errors.InvalidTokensError: (_PRECONDITION, {"path": _TEXT, "problem": _TEXT}),
    errors.StoreError: (_UNAVAILABLE, _STORE),
    errors.StoreBusyError: (_UNAVAILABLE, _STORE),
    errors.StoreFullError: (_EXHAUSTED, _STORE),
    errors.StoreLeaseLostError: (_UNAVAILABLE, {**_STORE, "kernel": _TEXT}),
    errors.CorruptStoreError: (_DATA_LOSS, _STORE),
    errors.ForeignStoreError: (_PRECONDITION, _STORE),
    errors.StoreExistsError: (_EXISTS, _STORE),
    errors.NewerStoreError: (_PRECONDITION, {**_STORE, "found": _NUMBER, "known": _NUMBER}),
    errors.OlderStoreError: (_PRECONDITION, {**_STORE, "found": _NUMBER, "known": _NUMBER}),
    errors.StoreInUseError: (_PRECONDITION, {**_STORE, "purpose": _TEXT, "kernels": _TEXTS, "file": _TEXT}),
    errors.UnsupportedEventLoopError: (_INTERNAL, {"what": _TEXT, "loop": _TEXT, "supported": _TEXTS}),
    errors.BlockingCallError: (_INTERNAL, {"call": _TEXT}),
    errors.WrongEventLoopError: (_INTERNAL, {"what": _TEXT}),
    errors.ForkedProcessError: (_INTERNAL, {"what": _TEXT}),
    errors.WaitTimedOutError: (grpc.StatusCode.DEADLINE_EXCEEDED, {"run_id": _TEXT, "seconds": _NUMBER}),
    errors.ExtraMissingError: (_INTERNAL, {"what": _TEXT, "extra": _TEXT}),
    errors.PlaceTakenError: (_PRECONDITION, {"path": _TEXT, "found": _TEXT}),
    errors.UntrustedOwnerError: (_PRECONDITION, {"path": _TEXT, "owner": _TEXT, "insist": _TEXT}),
    errors.ServerFailedError: (_INTERNAL, {"id": _TEXT}),
    errors.ServerUnreachableError: (_UNAVAILABLE, {"address": _TEXT, "problem": _TEXT}),
    errors.CallTimeoutError: (grpc.StatusCode.DEADLINE_EXCEEDED, {"call": _TEXT, "seconds": _NUMBER}),
    errors.CallFailedError: (grpc.StatusCode.UNKNOWN, {"call": _TEXT, "code": _TEXT, "problem": _TEXT}),
    FlujoError: (grpc.StatusCode.UNKNOWN, {}),
}
"""Every class of `flujo.kernel.errors`, with its code and the fields that travel."""

RETRY_SECONDS = {
    errors.KernelClosedError: 1.0,
    errors.ServerStoppingError: 1.0,
    errors.ServerBusyError: 1.0,
    errors.StoreError: 1.0,
    errors.StoreBusyError: 1.0,
    errors.StoreLeaseLostError: 1.0,
}
"""After how long the same call may be answered, where that is all it takes: these are not about what was asked."""

_BY_NAME = {kind.__name__: kind for kind in TABLE}


def to_status(error: FlujoError, request: Descriptor | None = None) -> Status:
    """Return the status of an error; for a class that is not in the table, that of its nearest base. Wrong fields are
    named by their paths in the message `request`."""
    kind = next(base for base in type(error).__mro__ if base in TABLE)
    code, fields = TABLE[kind]
    metadata = {name: field.write(getattr(error, name)) for name, field in fields.items()}
    metadata["class"] = kind.__name__  # a word that no field can have
    if hints := _cut_lines(error.hints, HINTS_ROOM):
        metadata["hints"] = hints
    status = Status(code=code.value[0], message=_cut_message(str(error)))
    _add(status, ErrorInfo(domain=DOMAIN, reason=error.reason, metadata=metadata))
    if (seconds := RETRY_SECONDS.get(kind)) is not None:
        _add(status, RetryInfo(retry_delay=to_duration(seconds)))
    room = ROOM - status.ByteSize() - _WRAPPING
    if isinstance(error, errors.StateIncompatibilityError):
        _add(status, _fitting(PreconditionFailure(), _preconditions(error), room))
    elif code is _INVALID:
        _add(status, _fitting(BadRequest(), _violations(error, request), room))
    return status


def from_status(status: Status) -> FlujoError | None:
    """Return the error in a status, as the server raised it; None if flujo did not raise it."""
    info = _find(status, ErrorInfo)
    if info is None or info.domain != DOMAIN:
        return None
    kind = _BY_NAME.get(info.metadata.get("class", ""), FlujoError)
    error = kind.__new__(kind)
    hints = tuple(info.metadata["hints"].split("\n")) if "hints" in info.metadata else ()
    # Not through its own constructor, which would word the message anew from fields that may have been cut.
    FlujoError.__init__(error, status.message, hints)
    for name, field in TABLE[kind][1].items():
        # An earlier release may not send what a later one knows.
        setattr(error, name, field.read(info.metadata[name]) if name in info.metadata else None)
    if kind is FlujoError:
        error.reason = info.reason
    return error


def refused(refusal: StartRefusal) -> FlujoError:
    """Return the error by which one of many starts was refused."""
    found = from_status(Status.FromString(refusal.status))
    if found is None:  # there was no room for it in the answer
        found = FlujoError(refusal.message)
        found.reason = refusal.reason
    return found


def _violations(error: FlujoError, request: Descriptor | None) -> Iterable[BadRequest]:
    """Yield the wrong fields of an error, one each, in the form that clients of other languages read."""
    for field, description in wrong_fields(error, request):
        violation = BadRequest.FieldViolation(field=_cut(field, TEXT_ROOM), description=_cut(description, TEXT_ROOM))
        yield BadRequest(field_violations=[violation])


def _preconditions(error: errors.StateIncompatibilityError) -> Iterable[PreconditionFailure]:
    for step, change, detail in error.differences:
        violation = PreconditionFailure.Violation(type=change, subject=step, description=_cut(detail, TEXT_ROOM))
        yield PreconditionFailure(violations=[violation])


def _fitting(whole: Found, parts: Iterable[Found], room: int) -> Found:
    """Return `whole` with as many of the parts as there is room for."""
    for part in parts:
        room -= part.ByteSize()
        if room < 0:
            break
        whole.MergeFrom(part)
    return whole


def _add(status: Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _find(status: Status, kind: type[Found]) -> Found | None:
    for detail in status.details:
        found = kind()
        if detail.Unpack(found):
            return found
    return None
