"""Count calls and runs for Prometheus, in the OpenMetrics format, at an address of this machine.

A scrape is answered in a thread of its own and reads counters only: it asks no store and waits for no call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from grpc import aio

from flujo.client.addresses import ServerAddress
from flujo.client.statuses import TABLE
from flujo.kernel import Kernel, events
from flujo.kernel.api import RunEvent
from flujo.kernel.errors import AddressInUseError, ExtraMissingError, FlujoError, UnsafeListenerError

MOST_WORKFLOWS = 200
"""Of so many workflows runs are counted by name: names come from callers, and each costs memory here and there."""

OTHERS = "(others)"

_ENDED = {events.RunCompleted: "completed", events.RunFailed: "failed", events.RunCancelled: "cancelled"}
_ATTEMPTS = {
    events.StepCompleted: "completed",
    events.StepFailed: "failed",
    events.AttemptFailed: "retried",
    events.StepInterrupted: "interrupted",
}


class Metrics:
    """What one server has counted since it began."""

    def __init__(self) -> None:
        """Raises ExtraMissingError."""
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ModuleNotFoundError as error:
            raise ExtraMissingError("metrics", "metrics") from error
        self.registry = CollectorRegistry()
        self._names: set[str] = set()

        def made(kind: Any, name: str, told: str, *labels: str) -> Any:
            return kind(name, told, labels, registry=self.registry)

        self._calls = made(Counter, "flujo_calls", "Calls that have ended, by method and status code", "method", "code")
        self._open = made(Gauge, "flujo_open_calls", "Calls under way, by method", "method")
        self._seconds = made(Histogram, "flujo_call_seconds", "How long calls took, in seconds", "method")
        self._created = made(Counter, "flujo_runs_created", "Runs that were created in the store", "workflow")
        self._ended = made(Counter, "flujo_runs_ended", "Runs that have become final", "workflow", "status")
        self._attempts = made(Counter, "flujo_step_ends", "Ends of steps and of their attempts", "workflow", "outcome")

    @contextmanager
    def call(self, method: str) -> Iterator[None]:
        """Count the call that the block is."""
        name = method.rpartition("/")[2]
        began, code = time.monotonic(), "OK"
        self._open.labels(name).inc()
        try:
            yield
        except BaseException as error:
            code = code_of(error)
            raise
        finally:
            self._open.labels(name).dec()
            self._calls.labels(name, code).inc()
            self._seconds.labels(name).observe(time.monotonic() - began)

    async def follow(self, kernel: Kernel) -> None:
        """Count what happens to the runs of the store from now on, until cancelled."""
        types = ["run_created", *(each.type for each in events.KINDS if each.fact in (*_ENDED, *_ATTEMPTS))]
        async with aclosing(kernel.watch_runs(from_now=True, types=types)) as found:
            async for event in found:
                self._take(event)

    def _take(self, event: RunEvent) -> None:
        workflow, kind = self._known(event.workflow), type(event.event.fact)
        if kind is events.RunCreated:
            self._created.labels(workflow).inc()
        elif kind in _ENDED:
            self._ended.labels(workflow, _ENDED[kind]).inc()
        elif kind in _ATTEMPTS:
            self._attempts.labels(workflow, _ATTEMPTS[kind]).inc()

    def _known(self, workflow: str) -> str:
        if workflow not in self._names:
            if len(self._names) >= MOST_WORKFLOWS:
                return OTHERS
            self._names.add(workflow)
        return workflow

    @contextmanager
    def served(self, address: ServerAddress) -> Iterator[str]:
        """Answer scrapes inside the block; yield the URL. Raises UnsafeListenerError for an address that other machines
        reach, AddressInUseError."""
        from prometheus_client import start_http_server

        if address.path is not None or not address.is_local:
            raise UnsafeListenerError(
                address.text, "metrics are for this machine, since anybody may read them", ["tcp://127.0.0.1:9464"]
            )
        try:
            server, thread = start_http_server(address.port, address.host, self.registry)
        except OSError as error:
            raise AddressInUseError(address.text) from error
        try:
            yield f"http://{address.host}:{server.server_port}/metrics"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def code_of(error: BaseException) -> str:
    """Return the name of the status code that a call ends with when its handler raises this."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, FlujoError):
        return TABLE[next(base for base in type(error).__mro__ if base in TABLE)][0].name
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "CANCELLED"
    return "INVALID_ARGUMENT" if isinstance(error, aio.AbortError) else "INTERNAL"
