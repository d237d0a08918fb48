"""Answer for SystemService: what the server is."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from grpc import aio

from flujo.client.wire.values import MAX_INLINE_BYTES, to_timestamp
from flujo.kernel import Kernel
from flujo.kernel.api import MAX_INPUT_BYTES
from flujo.v1 import system_service_pb2 as pb
from flujo.v1 import system_service_pb2_grpc


class SystemService(system_service_pb2_grpc.SystemServiceServicer):
    """Answers for one kernel, which began to be served at `started_at` (microseconds UTC)."""

    def __init__(self, kernel: Kernel, started_at: int) -> None:
        self._kernel = kernel
        self._started_at = started_at

    async def GetSystemInfo(
        self, request: pb.GetSystemInfoRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetSystemInfoResponse:
        kernel = self._kernel
        store = kernel.backend.capabilities
        able = {
            pb.CAPABILITY_DURABLE: store.durable,
            pb.CAPABILITY_SHARED_STORE: store.several_processes,
            pb.CAPABILITY_INLINE_DEFINITIONS: True,
        }
        return pb.GetSystemInfoResponse(
            version=version("flujoctl"),
            kernel_id=kernel.id,
            store=kernel.backend.url,
            capabilities=[capability for capability, has in able.items() if has],
            workflows=sorted(kernel.workflows),
            started_at=to_timestamp(self._started_at),
            now=to_timestamp(kernel.clock.now()),
            max_input_bytes=MAX_INPUT_BYTES,
            max_inline_bytes=MAX_INLINE_BYTES,
        )
