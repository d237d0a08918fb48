"""Serve an open kernel over gRPC, from the first call to a clean end.

Closing goes from the outside in: health says NOT_SERVING and new calls are refused; watches end, so that their clients
come back with their cursors; calls under way finish, within `grace_seconds`; then the socket is removed. The
kernel is closed by the code that opened it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
from anyio.abc import TaskStatus
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc

from flujo.client.addresses import ServerAddress
from flujo.client.wire.limits import MAX_MESSAGE_BYTES
from flujo.kernel import Kernel, StoredDefinition, Workflow
from flujo.kernel.loops import require_asyncio
from flujo.v1 import (
    run_service_pb2,
    run_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

from .access import NO_SECURITY, Access, Denials, require_safe
from .access import Security as Security
from .guard import Guard
from .health import Health
from .observing import NOBODY, Observers, Observing, observing
from .ports import bind
from .reflection import add_reflection
from .runs import BOOKMARK_SECONDS, RunService
from .slots import DEFAULT_LIMITS, CallLimits, Slots
from .sockets import claimed
from .system import MIN_PING_SECONDS, PING_SECONDS, PING_TIMEOUT_SECONDS, SystemService
from .workflows import WorkflowService

logger = logging.getLogger("flujo.server")

GRACE_SECONDS = 5.0

FLUSH_SECONDS = 0.5
"""For answers of handlers that gRPC has not sent yet."""

SERVICES = (
    run_service_pb2.DESCRIPTOR.services_by_name["RunService"].full_name,
    workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"].full_name,
    system_service_pb2.DESCRIPTOR.services_by_name["SystemService"].full_name,
)

MAX_PENDING_CALLS = 20_000
PENDING_SECONDS = 3600  # clients have deadlines of their own

OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A crowd waits for the guard. By default gRPC cancels some of the calls that come while a thousand wait, and those
    # that have waited for 30 s, without a word to their clients (test_a_crowd_is_answered_or_refused_by_name).
    ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
    ("grpc.server_max_unrequested_time_in_server", PENDING_SECONDS),
    ("grpc.keepalive_time_ms", PING_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_SECONDS * 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_SECONDS * 1000),
)
"""No `max_concurrent_streams`: calls beyond it would wait in the client, without a word, until their deadline. The
guard refuses what is too much, and says so (slots.py)."""

ROOM_FOR_OTHERS = 500
"""How many calls gRPC takes besides those that the guard counts: health, reflection, and what it is about to refuse."""


class ListenOptions(NamedTuple):
    """How a server listens: what keeps others out on TCP, how long calls may take to finish when it closes, how often a
    watch brings a sign of life, and how many calls it takes. `stopping` is called when it begins to close; `observing`
    says where it tells of its work, and `reflection` that it describes its services on TCP too, to who may read."""

    security: Security = NO_SECURITY
    grace_seconds: float = GRACE_SECONDS
    bookmark_seconds: float = BOOKMARK_SECONDS
    call_limits: CallLimits = DEFAULT_LIMITS
    stopping: Callable[[], None] = lambda: None
    observing: Observing = Observing()
    reflection: bool = False


DEFAULTS = ListenOptions()


async def serve(
    kernel: Kernel,
    address: str,
    *,
    security: Security = NO_SECURITY,
    grace_seconds: float = GRACE_SECONDS,
    bookmark_seconds: float = BOOKMARK_SECONDS,
    call_limits: CallLimits = DEFAULT_LIMITS,
    reflection: bool = False,
    task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an open kernel at `address` (`unix:PATH` or `tcp://HOST:PORT`) until cancelled, and then close cleanly.

    As a task: `await group.start(serve, kernel, address)` returns when calls are accepted, with the address at which;
    they differ where the port is 0. Raises InvalidAddressError, AddressInUseError, UnsafeListenerError for TCP without
    the `security` it needs, InvalidTokensError, and UnsupportedEventLoopError on trio.
    """
    where = ServerAddress.parse(address)
    require_safe(where, security)
    options = ListenOptions(security, grace_seconds, bookmark_seconds, call_limits, reflection=reflection)
    with claimed(where):
        async with listening(kernel, where, options) as bound:
            task_status.started(bound)
            await anyio.sleep_forever()


def load_stored(stored: StoredDefinition) -> Workflow:
    """Return the workflow in a definition that a store holds."""
    from flujo.workflows.loading import load_stored_text

    return load_stored_text(stored)


@asynccontextmanager
async def observed(kernel: Kernel, address: ServerAddress, options: ListenOptions) -> AsyncIterator[str]:
    """Accept calls as `listening` does, and tell of them and of what happens to runs."""
    async with (
        observing(kernel, options.observing) as observers,
        listening(kernel, address, options, observers) as bound,
    ):
        yield bound


@asynccontextmanager
async def listening(
    kernel: Kernel, address: ServerAddress, options: ListenOptions = DEFAULTS, observers: Observers = NOBODY
) -> AsyncIterator[str]:
    """Accept calls for `kernel` inside the block, at an address that is `claimed`; yield the address as it came out."""
    require_asyncio("the gRPC server")
    kernel.accept_definitions(load_stored)  # or a run whose definition a client sent could not be resumed after a crash
    is_network = address.path is None
    access = Access(options.security if is_network else None, Denials(time.monotonic), kernel.clock.now)
    guard, healthy = Guard(access, Slots(options.call_limits), observers), Health(SERVICES)
    most = options.call_limits.max_calls + ROOM_FOR_OTHERS
    server = aio.server(interceptors=(guard,), options=OPTIONS, maximum_concurrent_rpcs=most)
    bookmarks = {"bookmark_seconds": options.bookmark_seconds}
    runs = RunService(kernel, guard.closing, **bookmarks)
    system = SystemService(kernel, kernel.clock.now(), options.call_limits, **bookmarks)
    run_service_pb2_grpc.add_RunServiceServicer_to_server(runs, server)
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(system, server)
    workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(WorkflowService(kernel), server)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    if not is_network or options.reflection:
        add_reflection((*SERVICES, health.SERVICE_NAME), server)
    bound = bind(server, address, options.security)
    await server.start()
    try:
        healthy.open()
        logger.info("listening at %s for %r", bound, kernel)
        yield bound
    finally:
        with anyio.CancelScope(shield=True):
            logger.info("stopping: calls under way have %g s to finish", options.grace_seconds)
            options.stopping()
            await _close(server, guard, healthy, options.grace_seconds)


async def _close(server: aio.Server, guard: Guard, healthy: Health, grace_seconds: float) -> None:
    healthy.close()
    guard.closing.set()
    with anyio.move_on_after(grace_seconds):
        # An open watch of the health service would use up the whole grace of `stop`, so ours are waited for first.
        await guard.wait_idle()
    await server.stop(FLUSH_SECONDS)
    await guard.wait_idle()  # handlers that were cut off unwind; the kernel must not close before
