"""Run a server as a program, for `flujoctl serve`: open a store, resume its unfinished runs, and listen."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from flujo.backends import open_backend
from flujo.backends.outages import keep_open
from flujo.client.addresses import ServerAddress
from flujo.kernel import Kernel, Retention, Workflow
from flujo.kernel.errors import KernelClosedError, StoreError

from .access import require_safe
from .listening import DEFAULTS, load_stored, observed
from .listening import ListenOptions as ListenOptions
from .observing import Observing as Observing
from .sockets import claimed
from .tokens import read_entries

logger = logging.getLogger("flujo.server")


async def run_server(
    store: str,
    address: str,
    workflows: Iterable[Workflow] = (),
    *,
    workspaces: Path,
    max_steps: int | None = None,
    max_runs: int | None = None,
    limits: Mapping[str, int] | None = None,
    retention: Retention | None = None,
    options: ListenOptions = DEFAULTS,
    started: Callable[[Kernel, str], None] = lambda kernel, address: None,
) -> None:
    """Serve the store at the URL `store` until cancelled. `started` is called when calls are accepted,
    with the address at which.

    Unfinished runs that no process runs are resumed first: those of `workflows`, and those that have their definition
    stored. A store that fails, as on a full disk, is opened again once it works; what is stored can be read meanwhile,
    and runs go on where they stood. `max_steps`, `max_runs`, `limits` and `retention` are those of Kernel. Raises what
    open_backend and `serve` raise, and the failure of a store that is damaged or gone.
    """
    where = ServerAddress.parse(address)
    _ = where.target  # a path that is too long is refused before a store is created
    require_safe(where, options.security)
    if options.security.tokens is not None:
        read_entries(options.security.tokens)  # and so is a file of tokens that cannot be used
    kernel = Kernel(
        open_backend(store),
        workflows,
        workspaces=workspaces,
        max_steps=max_steps,
        max_runs=max_runs,
        limits=limits,
        retention=retention,
        load_definition=load_stored,
    )

    @asynccontextmanager
    async def listening() -> AsyncIterator[None]:
        async with observed(kernel, where, options) as bound:
            started(kernel, bound)
            try:
                yield
            except anyio.get_cancelled_exc_class():
                await _drain(kernel, options.grace_seconds)
                raise

    with claimed(where):  # first: a server whose address is in use must not have resumed runs
        await keep_open(kernel, beside=listening)


async def _drain(kernel: Kernel, seconds: float) -> None:
    """Let others of a fleet take what waits and what is started here, and the steps that run come to their ends, as
    long as there is time."""
    if not kernel.backend.capabilities.several_hosts:
        return
    with anyio.move_on_after(seconds, shield=True):
        try:
            await kernel.drain()
        except (StoreError, KernelClosedError) as error:
            logger.warning("the runs of this server cannot be handed over: %s", error)
