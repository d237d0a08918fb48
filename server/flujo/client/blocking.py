"""A client for code that blocks: scripts, notebooks, threads, plain `def` endpoints of web frameworks.

    from flujo.client import blocking

    with blocking.Client("unix:.flujo/server.sock") as client:
        print(client.run("hello", {"whom": "Ada"}))

It is to `flujo.client.Client` what `flujo.kernel.blocking.Kernel` is to a kernel, with the same calls.
"""

from __future__ import annotations

from typing import Any

from flujo.kernel.blocking import BlockingRuns, LoopThread, RunHandle, Stream, made_as, singly, streaming, waiting

from .client import Client as AsyncClient

__all__ = ["Client", "RunHandle", "Stream"]


class Client(BlockingRuns):
    """A flujo.client.Client in an event loop of its own. Made with the same arguments."""

    @made_as(AsyncClient)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As flujo.client.Client."""
        self._target: AsyncClient = AsyncClient(*args, **kwargs)
        self._thread = LoopThread(self._target, f"client of {self._target.url}")

    watch_batches = streaming(AsyncClient.watch_batches, lambda client: singly(client.watch_batches))
    watch_runs_batches = streaming(AsyncClient.watch_runs_batches, lambda client: singly(client.watch_runs_batches))
    info = waiting(AsyncClient.info)
    export_run = waiting(AsyncClient.export_run)
    import_run = waiting(AsyncClient.import_run)
    backup = waiting(AsyncClient.backup)
    check = waiting(AsyncClient.check)
    workflows = waiting(AsyncClient.workflows)
    workflow = waiting(AsyncClient.workflow)
    validate = waiting(AsyncClient.validate)
    put_workflow = waiting(AsyncClient.put_workflow)
    delete_workflow = waiting(AsyncClient.delete_workflow)
    tasks = waiting(AsyncClient.tasks)
