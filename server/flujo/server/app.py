"""Run a server as a program, for `flujoctl serve`: open a store, resume its unfinished runs, and listen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import anyio

from flujo.backends import open_backend
from flujo.client.addresses import ServerAddress
from flujo.kernel import Kernel, Retention, Workflow
from flujo.kernel.errors import KernelClosedError, StoreError, StoreLeaseLostError

from .access import require_safe
from .listening import DEFAULTS, load_stored, observed
from .listening import ListenOptions as ListenOptions
from .observing import Observing as Observing
from .outages import Outages
from .sockets import claimed
from .tokens import read_entries

logger = logging.getLogger("flujo.server")

RETRY_SECONDS = 1.0


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
    with claimed(where):  # first: a server whose address is in use must not have resumed runs
        was_lost, outages = False, Outages(store)
        while True:
            try:
                async with kernel, observed(kernel, where, options) as bound:
                    started(kernel, bound)
                    try:
                        await kernel.wait_closed()  # it may fail, and a server without one helps nobody
                        return
                    except anyio.get_cancelled_exc_class():
                        await _drain(kernel, options.grace_seconds)
                        raise
                    except StoreLeaseLostError:
                        raise
                    except StoreError as failure:
                        await outages.wait(failure, f"{kernel.id}-probe")  # what is stored is still told meanwhile
                        was_lost = True
            except StoreLeaseLostError as error:
                logger.error("%s; this server begins anew", error)
                was_lost = True
            except StoreError as error:
                if not was_lost:
                    raise
                logger.warning("the store cannot be opened yet: %s", error)
                await anyio.sleep(RETRY_SECONDS)


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
