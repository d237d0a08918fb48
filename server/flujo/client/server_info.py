"""A server, as it describes itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flujo.v1 import system_service_pb2

from .wire.values import from_timestamp
from .wire.words import Words

_ROLES = Words(system_service_pb2.Role)


class ServerInfo(NamedTuple):
    """A server, as it describes itself. Instants in microseconds UTC."""

    version: str
    kernel_id: str
    store: str
    capabilities: Sequence[str]
    workflows: Sequence[str]
    started_at: int
    now: int
    principal: str | None
    """Who the caller is for the server; None where it does not tell callers apart."""

    role: str
    """What the caller may do: viewer, operator or admin."""


def from_info(answer: system_service_pb2.GetSystemInfoResponse) -> ServerInfo:
    """Return the server that an answer describes. A capability of a newer release is passed over."""
    return ServerInfo(
        answer.version,
        answer.kernel_id,
        answer.store,
        [
            system_service_pb2.Capability.Name(each).removeprefix("CAPABILITY_").lower()
            for each in answer.capabilities
            if each in system_service_pb2.Capability.values()
        ],
        list(answer.workflows),
        from_timestamp(answer.started_at),
        from_timestamp(answer.now),
        answer.principal if answer.HasField("principal") else None,
        _ROLES.word(answer.role),
    )
