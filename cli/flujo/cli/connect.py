"""Connect a command to the runs it works on: those of a store, in this process, or those of a server.

    asking    list and count runs, without an event loop where that can be done
    reading   read, signal and delete runs; advances none, and creates no store
    acting    start, resume and cancel runs as well: in a kernel of this process, or on the server

All give the same interface (flujo.kernel.api), so commands need not care. Only a server costs an import of grpc, and
only `acting` one of what runs workflows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from flujo.backends import open_backend

from .session import run_async
from .target import ServerTarget, Target

if TYPE_CHECKING:
    from flujo.client import Client
    from flujo.kernel import Runs, StoredDefinition, StoredRuns, Workflow
    from flujo.kernel.backend import RunLists

Result = TypeVar("Result")


def asking(target: Target, question: Callable[[StoredRuns | RunLists], Coroutine[Any, Any, Result]]) -> Result:
    """Return the answer to a question that lists runs: those of a server, or of a store that exists.

    Raises ServerUnreachableError, StoreNotFoundError."""
    if isinstance(target, ServerTarget) or not (backend := open_backend(target.url)).capabilities.listed_directly:

        async def ask() -> Result:
            async with reading(target) as runs:
                return await question(runs)

        return run_async(ask)
    from flujo.kernel.backend import RunLists
    from flujo.kernel.direct_calls import run_directly

    async def ask_directly() -> Result:
        async with backend:
            return await question(RunLists(backend))

    return run_directly(ask_directly)


@asynccontextmanager
async def reading(target: Target) -> AsyncIterator[StoredRuns]:
    """Yield the runs of a server, or of a store that exists; raises ServerUnreachableError, StoreNotFoundError."""
    if isinstance(target, ServerTarget):
        async with connected(target) as runs:
            yield runs
    else:
        from flujo.kernel import Observer

        from .sources import from_stored_text

        async with open_backend(target.url) as backend:
            yield Observer(backend, workspaces=target.workspaces, load_definition=from_stored_text)


@asynccontextmanager
async def acting(
    target: Target,
    load_definition: Callable[[StoredDefinition], Workflow] | None = None,
    workflows: Iterable[Workflow] = (),
) -> AsyncIterator[Runs]:
    """Yield the runs of a server or a store, to be started, resumed and cancelled as well.

    The kernel of this process resumes no run by itself; it deletes old runs of `workflows` by their retention rules."""
    if isinstance(target, ServerTarget):
        async with connected(target) as runs:
            yield runs
    else:
        from flujo.kernel import Kernel

        from .sources import from_stored_text, program_of_run

        async with Kernel(
            open_backend(target.url),
            workflows,
            recover=False,
            workspaces=target.workspaces,
            load_definition=load_definition or from_stored_text,
            load_program=program_of_run,
        ) as kernel:
            yield kernel


@asynccontextmanager
async def connected(target: ServerTarget) -> AsyncIterator[Client]:
    """Yield a connection to a server, which has its runs."""
    from flujo.client import Client

    async with Client(target.address, credentials=target.credentials) as client:
        yield client
