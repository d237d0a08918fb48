"""Connect a command to the runs it works on: those of a store, in this process, or those of a server.

    reading   read, signal and delete runs; advances none, and creates no store
    acting    start, resume and cancel runs as well: in a kernel of this process, or on the server

Both give the same interface (flujo.kernel.api), so commands need not care. Only a server costs an import of grpc.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flujo.backends import open_backend
from flujo.kernel import Kernel, Observer, Runs, StoredDefinition, StoredRuns, Workflow

from .sources import from_stored_text
from .target import ServerTarget, Target

if TYPE_CHECKING:
    from flujo.client import Client


@asynccontextmanager
async def reading(target: Target) -> AsyncIterator[StoredRuns]:
    """Yield the runs of a server, or of a store that exists; raises ServerUnreachableError, StoreNotFoundError."""
    if isinstance(target, ServerTarget):
        async with connected(target) as runs:
            yield runs
    else:
        async with open_backend(target.url) as backend:
            yield Observer(backend, workspaces=target.workspaces, load_definition=from_stored_text)


@asynccontextmanager
async def acting(
    target: Target,
    load_definition: Callable[[StoredDefinition], Workflow] = from_stored_text,
    workflows: Iterable[Workflow] = (),
) -> AsyncIterator[Runs]:
    """Yield the runs of a server or a store, to be started, resumed and cancelled as well.

    The kernel of this process resumes no run by itself; it deletes old runs of `workflows` by their retention rules."""
    if isinstance(target, ServerTarget):
        async with connected(target) as runs:
            yield runs
    else:
        async with Kernel(
            open_backend(target.url),
            workflows,
            recover=False,
            workspaces=target.workspaces,
            load_definition=load_definition,
        ) as kernel:
            yield kernel


@asynccontextmanager
async def connected(target: ServerTarget) -> AsyncIterator[Client]:
    """Yield a connection to a server, which has its runs."""
    from flujo.client import Client

    async with Client(target.address, credentials=target.credentials) as client:
        yield client
