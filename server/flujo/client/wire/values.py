"""Convert instants, durations and payloads.

An instant is an integer of microseconds here and a Timestamp there, a duration seconds here and a Duration there. A
payload is JSON text on both sides; one that is too large for an answer is a reference to the event that holds it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from flujo.kernel.api import MAX_INPUT_BYTES
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import InvalidValueError, PayloadTooLargeError
from flujo.kernel.json_core import from_json
from flujo.v1.payload_pb2 import PAYLOAD_PART_UNSPECIFIED, Payload, PayloadPart, PayloadReference

MAX_INLINE_BYTES = 64 * 1024
"""A larger value is left out of an answer."""

JSON = "application/json"

_NANOS = 1_000_000_000


def to_timestamp(instant: int) -> Timestamp:
    """Return microseconds since 1970 as a Timestamp."""
    return Timestamp(seconds=instant // MICROSECONDS, nanos=instant % MICROSECONDS * 1000)


def from_timestamp(timestamp: Timestamp) -> int:
    """Return a Timestamp as microseconds since 1970."""
    return timestamp.seconds * MICROSECONDS + timestamp.nanos // 1000


def to_duration(seconds: float) -> Duration:
    """Return seconds as a Duration."""
    whole = int(seconds)
    nanos = whole * _NANOS + round((seconds - whole) * _NANOS)
    return Duration(seconds=nanos // _NANOS, nanos=nanos % _NANOS)


def from_duration(duration: Duration) -> float:
    """Return a Duration in seconds: the same number, in decimals, that `to_duration` was given."""
    return (duration.seconds * _NANOS + duration.nanos) / _NANOS


def micros_to_duration(micros: int) -> Duration:
    """Return microseconds as a Duration, exactly."""
    return Duration(seconds=micros // MICROSECONDS, nanos=micros % MICROSECONDS * 1000)


def micros_from_duration(duration: Duration) -> int:
    """Return a Duration in microseconds, exactly."""
    return duration.seconds * MICROSECONDS + duration.nanos // 1000


class Payloads:
    """Makes the payloads of an answer: small values are inline, or with `inline_bytes` 0 none."""

    def __init__(self, inline_bytes: int = MAX_INLINE_BYTES) -> None:
        self._inline_bytes = inline_bytes

    def make(self, recorded: str, seq: int, part: PayloadPart.ValueType = PAYLOAD_PART_UNSPECIFIED) -> Payload:
        """Return the payload of JSON text that event `seq` holds, or that is this part of the run as of it."""
        made = Payload()
        self.put(made, recorded, seq, part)
        return made

    def put(
        self, payload: Payload, recorded: str, seq: int, part: PayloadPart.ValueType = PAYLOAD_PART_UNSPECIFIED
    ) -> None:
        """Write the same into a payload that is empty."""
        payload.content_type = JSON
        if len(recorded) <= self._inline_bytes:
            size = len(recorded) if recorded.isascii() else len(recorded.encode())
            if size <= self._inline_bytes:
                payload.json = recorded
                return
        data = recorded.encode()
        digest = hashlib.sha256(data).hexdigest()
        payload.reference.CopyFrom(PayloadReference(seq=seq, size_bytes=len(data), sha256=digest, part=part))


def inline(recorded: str) -> Payload:
    """Return the payload of JSON text, whatever its size."""
    return Payload(content_type=JSON, json=recorded)


def given_value(payload: Payload, what: str) -> Any:
    """Return the plain value of a payload in a request; `what` names it in messages. Raises InvalidValueError,
    PayloadTooLargeError."""
    if payload.content_type not in ("", JSON):
        raise InvalidValueError(what, f"its content type is {payload.content_type!r}, not {JSON!r}")
    if not payload.HasField("json"):
        raise InvalidValueError(what, "it has no `json`")
    if (size := len(payload.json.encode())) > MAX_INPUT_BYTES:
        raise PayloadTooLargeError(what, size, MAX_INPUT_BYTES)
    try:
        return from_json(payload.json, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidValueError(what, f"it is not JSON: {error}") from error


def given_object(payload: Payload, what: str) -> dict[str, Any]:
    """Return the value of a payload that has to be a JSON object. Raises as `given_value` does."""
    value = given_value(payload, what)
    if not isinstance(value, dict):
        raise InvalidValueError(what, "it is not a JSON object")
    return value
