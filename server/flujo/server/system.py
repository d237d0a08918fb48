"""Answer for SystemService: what the server is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib.metadata import version
from typing import Any

from grpc import aio

from flujo.client.wire.limits import MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES
from flujo.client.wire.runs import put_fitting
from flujo.client.wire.values import MAX_INLINE_BYTES, to_duration, to_timestamp
from flujo.kernel import Kernel
from flujo.kernel.api import MAX_INPUT_BYTES
from flujo.v1 import system_service_pb2 as pb
from flujo.v1 import system_service_pb2_grpc

from .access import current_caller
from .keeping import backup_in_pieces, check_in_steps
from .runs import BOOKMARK_SECONDS, LONGEST_PAGE
from .slots import CallLimits
from .tokens import Role

PING_SECONDS = 30
PING_TIMEOUT_SECONDS = 10
MIN_PING_SECONDS = 10
"""How often a client may ping: gRPC ends connections of those that do so more often."""

KEEPALIVE = pb.Keepalive(
    min_ping_interval=to_duration(MIN_PING_SECONDS),
    ping_interval=to_duration(PING_SECONDS),
    ping_timeout=to_duration(PING_TIMEOUT_SECONDS),
)

MAX_NAMES_BYTES = 256 * 1024

_ROLES = {Role.VIEWER: pb.ROLE_VIEWER, Role.OPERATOR: pb.ROLE_OPERATOR, Role.ADMIN: pb.ROLE_ADMIN}


class SystemService(system_service_pb2_grpc.SystemServiceServicer):
    """Answers for one kernel, which began to be served at `started_at` (microseconds UTC)."""

    def __init__(
        self,
        kernel: Kernel,
        started_at: int,
        call_limits: CallLimits,
        *,
        bookmark_seconds: float = BOOKMARK_SECONDS,
    ) -> None:
        self._kernel = kernel
        self._started_at = started_at
        self._call_limits = call_limits
        self._bookmark_seconds = bookmark_seconds

    async def GetSystemInfo(
        self, request: pb.GetSystemInfoRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetSystemInfoResponse:
        kernel = self._kernel
        store = kernel.backend.capabilities
        able = {
            pb.CAPABILITY_DURABLE: store.durable,
            pb.CAPABILITY_SHARED_STORE: store.several_processes,
        }
        caller = current_caller()
        able[pb.CAPABILITY_INLINE_DEFINITIONS] = caller.may_define
        answer = pb.GetSystemInfoResponse(
            version=version("flujoctl"),
            kernel_id=kernel.id,
            store=kernel.backend.url,
            capabilities=[capability for capability, has in able.items() if has],
            started_at=to_timestamp(self._started_at),
            now=to_timestamp(kernel.clock.now()),
            limits=self._limits(),
            bookmark_interval=to_duration(self._bookmark_seconds),
            keepalive=KEEPALIVE,
            principal=caller.principal,
            role=_ROLES[caller.role],
        )
        names = sorted(kernel.workflows)
        answer.workflows_omitted = put_fitting(answer.workflows, names, len(names), MAX_NAMES_BYTES)
        return answer

    async def Backup(
        self, request: pb.BackupRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.BackupResponse]:
        async with aclosing(backup_in_pieces(self._kernel)) as pieces:
            async for piece in pieces:
                yield piece

    async def Check(
        self, request: pb.CheckRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.CheckResponse]:
        async with aclosing(check_in_steps(self._kernel)) as messages:
            async for message in messages:
                yield message

    def _limits(self) -> pb.Limits:
        return pb.Limits(
            max_input_bytes=MAX_INPUT_BYTES,
            max_inline_bytes=MAX_INLINE_BYTES,
            max_answer_bytes=MAX_ANSWER_BYTES,
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_page_size=LONGEST_PAGE,
            max_calls=self._call_limits.max_calls,
            max_waiting_calls=self._call_limits.max_waiting_calls,
            max_calls_per_caller=self._call_limits.max_calls_per_caller,
        )
