"""When a connection is lost, and how long a client looks for a server to come back."""

from __future__ import annotations

import time
from typing import Any

from flujo.kernel.errors import (
    CallTimeoutError,
    InvalidNameError,
    ServerBusyError,
    ServerStoppingError,
    ServerUnreachableError,
)
from flujo.v1 import run_service_pb2

from .wire.values import from_duration

SILENCE_SECONDS = 45.0
"""After so long without anything from a server that has not said how often it brings a sign of life, a watch takes the
connection for lost."""

SILENT_BOOKMARKS = 3
"""How many signs of life may fail to come before that, of a server that has."""

GONE = (ServerUnreachableError, ServerStoppingError, ServerBusyError, CallTimeoutError)
"""What a call raises that may succeed later: no server answers, it is closing or busy, or the call timed out."""


READS = frozenset(
    (
        *("GetRun", "ListRuns", "CountRuns", "GetStats", "ListSteps", "ListEvents", "ExplainRun", "GetSystemInfo"),
        *("ListWorkflows", "GetWorkflow", "ValidateWorkflow", "DiffRun", "ListTasks"),
    )
)
"""Methods that change nothing."""


def is_repeatable(name: str, request: Any) -> bool:
    """True for a request that is carried out once however often it is sent: what it says is how it is known again."""
    if name in READS or name == "PutWorkflow":
        return True
    if name == "StartRuns":
        return all(is_repeatable("StartRun", start) for start in request.starts)
    has_request_id: bool = hasattr(request, "request_id") and bool(request.request_id)
    return has_request_id or (name == "StartRun" and bool(request.run_id))


def silence_seconds(header: run_service_pb2.WatchHeader | run_service_pb2.WatchRunsHeader) -> float:
    """Return after how many seconds without a message the connection of a watch is taken for lost."""
    interval = from_duration(header.bookmark_interval)
    return SILENT_BOOKMARKS * interval if interval else SILENCE_SECONDS


class ReconnectDeadline:
    """Counts how long a server has been unreachable, from when that is first noticed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._gives_up_at: float | None = None

    def renew(self) -> None:
        """Start anew: the server has answered."""
        self._gives_up_at = None

    def left(self) -> float:
        """Return the seconds until the client gives up."""
        now = time.monotonic()
        if self._gives_up_at is None:
            self._gives_up_at = now + self._seconds
        return self._gives_up_at - now


def positive_seconds(what: str, seconds: float) -> float:
    """Return the seconds themselves; raises InvalidNameError for what is no positive number."""
    if not seconds > 0:  # NaN is not
        raise InvalidNameError(what, seconds, "a number of seconds above 0, or inf for no bound")
    return seconds
