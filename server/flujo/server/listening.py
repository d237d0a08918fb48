"""Serve an open kernel over gRPC, from the first call to a clean end.

Closing goes from the outside in: health says NOT_SERVING and new calls are refused; watches end, so that their clients
come back with their cursors; calls under way finish, within `grace_seconds`; then the socket is removed. The
kernel is closed by the code that opened it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskStatus
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from flujo.client.addresses import ServerAddress
from flujo.kernel import Kernel, StoredDefinition, Workflow
from flujo.kernel.loops import require_asyncio
from flujo.v1 import run_service_pb2, run_service_pb2_grpc, system_service_pb2, system_service_pb2_grpc

from .guard import Guard
from .health import Health
from .runs import RunService
from .sockets import claimed, private
from .system import SystemService

logger = logging.getLogger("flujo.server")

GRACE_SECONDS = 5.0

FLUSH_SECONDS = 0.5
"""For answers of handlers that gRPC has not sent yet."""

SERVICES = (
    run_service_pb2.DESCRIPTOR.services_by_name["RunService"].full_name,
    system_service_pb2.DESCRIPTOR.services_by_name["SystemService"].full_name,
)

OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

MAX_CALLS = 1000
"""Calls at a time, open watches included; further ones are refused at once with RESOURCE_EXHAUSTED."""


async def serve(
    kernel: Kernel,
    address: str,
    *,
    grace_seconds: float = GRACE_SECONDS,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an open kernel at `address` (`unix:PATH`) until cancelled, and then close cleanly.

    As a task: `await group.start(serve, kernel, address)` returns when calls are accepted. Raises InvalidAddressError,
    AddressInUseError, and UnsupportedEventLoopError on trio.
    """
    where = ServerAddress.parse(address)
    with claimed(where):
        async with listening(kernel, where, grace_seconds=grace_seconds):
            task_status.started()
            await anyio.sleep_forever()


def load_stored(stored: StoredDefinition) -> Workflow:
    """Return the workflow in a definition that a store holds."""
    from flujo.workflows import load_workflow_text

    return load_workflow_text(stored.text, f"{stored.workflow}.yaml")


@asynccontextmanager
async def listening(
    kernel: Kernel, address: ServerAddress, *, grace_seconds: float = GRACE_SECONDS
) -> AsyncIterator[None]:
    """Accept calls for `kernel` inside the block, at an address that is `claimed`."""
    require_asyncio("the gRPC server")
    kernel.accept_definitions(load_stored)  # or a run whose definition a client sent could not be resumed after a crash
    target = address.target
    guard, healthy = Guard(), Health(SERVICES)
    server = aio.server(interceptors=(guard,), options=OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
    run_service_pb2_grpc.add_RunServiceServicer_to_server(RunService(kernel, guard.closing), server)
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(SystemService(kernel, kernel.clock.now()), server)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    with private(address):
        server.add_insecure_port(target)
    await server.start()
    try:
        healthy.open()
        logger.info("listening at %s for %r", address.text, kernel)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await _close(server, guard, healthy, grace_seconds)


async def _close(server: aio.Server, guard: Guard, healthy: Health, grace_seconds: float) -> None:
    healthy.close()
    guard.closing.set()
    with anyio.move_on_after(grace_seconds):
        # An open watch of the health service would use up the whole grace of `stop`, so ours are waited for first.
        await guard.wait_idle()
    await server.stop(FLUSH_SECONDS)
    await guard.wait_idle()  # handlers that were cut off unwind; the kernel must not close before
