"""The way to the runs a command works on: a store in this process, or a server.

    reading   look at runs, signal and forget them; runs none, and makes no store
    acting    start, resume and cancel as well: in a kernel of our own, or by the server

Both give the same interface (flujo.kernel.api), so commands need not care. Only a server costs an import of grpc.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from flujo.backends import open_backend
from flujo.kernel import Kernel, Observer, Runs, StoredDefinition, StoredRuns, Workflow

from .sources import from_stored_text
from .target import ServerTarget, Target


@asynccontextmanager
async def reading(target: Target) -> AsyncIterator[StoredRuns]:
    """The runs of a server, or of a store that exists; raises ServerUnreachableError, StoreNotFoundError."""
    if isinstance(target, ServerTarget):
        async with connected(target) as runs:
            yield runs
    else:
        async with open_backend(target.url) as backend:
            yield Observer(backend, workspaces=target.workspaces)


@asynccontextmanager
async def acting(
    target: Target,
    load_definition: Callable[[StoredDefinition], Workflow] = from_stored_text,
    workflows: Iterable[Workflow] = (),
) -> AsyncIterator[Runs]:
    """The same with starting, resuming and cancelling. A kernel of our own recovers nothing by itself, and forgets the
    old runs of `workflows` as they say."""
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
async def connected(target: ServerTarget) -> AsyncIterator[Runs]:
    """The runs of a server."""
    from flujo.client import Client

    async with Client(target.address) as client:
        yield client
