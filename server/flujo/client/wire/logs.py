"""Logs of runs, to protobuf and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flujo.kernel.api import LogLine, LogOptions
from flujo.v1 import run_service_pb2

from .values import from_timestamp, to_timestamp

LINES = 1000
BYTES = 1024 * 1024
"""How many lines a message has, and how many bytes of text, before the next one begins."""


def log_options(request: run_service_pb2.ReadLogsRequest) -> LogOptions:
    """Return which part of a log a request asks for."""
    options = LogOptions(offset=request.offset, step=request.step or None, attempt=request.attempt or None)
    options["uid"] = request.uid or None
    if request.HasField("tail"):
        options["tail"] = request.tail
    return options


def in_messages(lines: Sequence[LogLine]) -> Iterator[list[run_service_pb2.LogLine]]:
    """Yield the lines of each message; at least one message, which tells how far the log was read."""
    message: list[run_service_pb2.LogLine] = []
    size = 0
    for line in lines:
        if len(message) == LINES or size > BYTES:
            yield message
            message, size = [], 0
        message.append(to_log_line(line))
        size += len(line.text.encode())
    yield message


def to_log_line(line: LogLine) -> run_service_pb2.LogLine:
    """Return the message of a line."""
    at = None if line.at is None else to_timestamp(line.at)
    return run_service_pb2.LogLine(step=line.step or "", attempt=line.attempt or 0, text=line.text, at=at)


def from_log_line(message: run_service_pb2.LogLine) -> LogLine:
    """Return the line in a message."""
    at = from_timestamp(message.at) if message.HasField("at") else None
    return LogLine(message.step or None, message.attempt or None, message.text, at)
