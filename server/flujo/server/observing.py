"""Who looks on while a server works: traces and metrics, if they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import NamedTuple

import anyio

from flujo.client.addresses import ServerAddress
from flujo.kernel import Kernel
from flujo.kernel.loops import in_thread
from flujo.kernel.traces import TraceContext, parse, started_in

from .metrics import Metrics
from .tracing import Tracer, processor_to


class Observing(NamedTuple):
    """What is to be told of a server: traces to a file or `otlp`, metrics at an address of this machine."""

    traces: str | None = None
    metrics: ServerAddress | None = None


class Observers:
    """What is told of one server. Without any, a run still belongs to the trace of who starts it."""

    def __init__(self, tracer: Tracer | None = None, metrics: Metrics | None = None) -> None:
        self._tracer = tracer
        self._metrics = metrics

    @contextmanager
    def call(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> Iterator[None]:
        """Tell of the call that the block is; runs that it starts belong to it."""
        caller = next((parse(value) for key, value in metadata if key == "traceparent"), None)
        with ExitStack() as told:
            if self._metrics is not None:
                told.enter_context(self._metrics.call(method))
            span: TraceContext | None = caller
            if self._tracer is not None:
                span = told.enter_context(self._tracer.call(method, caller))
            told.enter_context(started_in(span))
            yield

    async def follow(self, kernel: Kernel) -> None:
        """Tell of what happens to runs, until cancelled."""
        async with anyio.create_task_group() as tasks:
            for observer in (self._tracer, self._metrics):
                if observer is not None:
                    tasks.start_soon(observer.follow, kernel)


NOBODY = Observers()


@asynccontextmanager
async def observing(kernel: Kernel, wanted: Observing) -> AsyncIterator[Observers]:
    """Tell of a kernel and its calls inside the block. Raises ExtraMissingError, UnsafeListenerError,
    AddressInUseError."""
    if wanted == Observing():
        yield NOBODY
        return
    tracer = None if wanted.traces is None else Tracer(processor_to(wanted.traces), kernel.clock)
    metrics = None if wanted.metrics is None else Metrics()
    observers = Observers(tracer, metrics)
    following = anyio.CancelScope(shield=True)  # goes on while the server closes, to tell of how it did

    async def follow() -> None:
        with following:
            await observers.follow(kernel)

    with ExitStack() as serving:
        if metrics is not None and wanted.metrics is not None:
            serving.enter_context(metrics.served(wanted.metrics))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            try:
                yield observers
            finally:
                with anyio.CancelScope(shield=True):
                    if tracer is not None:
                        await tracer.catch_up(kernel)
                        await in_thread(tracer.close)
                    following.cancel()
