"""The standard health service, for the services of one server.

The one of grpcio-health-checking answers Watch by `context.write`. Interceptors that wrap a streaming handler, those
for tracing among them, iterate over it instead, and fail (tests/server/server/test_tracing.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import anyio
import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

Context = aio.ServicerContext[Any, Any]

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health_pb2_grpc.HealthServicer):
    """Says that `services`, and the server as a whole under the empty name, serve from `open` until `close`."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(("", *services))
        self._status = _NOT_SERVING
        self._changed = anyio.Event()

    def open(self) -> None:
        """Say from now on that the services serve."""
        self._change(_SERVING)

    def close(self) -> None:
        """Say from now on that the services do not serve."""
        self._change(_NOT_SERVING)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service!r}")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        told = None
        while True:
            changed = self._changed
            status = self._status if request.service in self._services else _UNKNOWN
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            await changed.wait()

    def _change(self, status: Any) -> None:
        self._status = status
        self._changed.set()
        self._changed = anyio.Event()
