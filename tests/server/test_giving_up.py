"""Calls that their callers give up, by a cancel or a deadline, while the server is at work on them: every method.

The store holds every answer back until it is released, so each call is in the middle of its work. A new method fails
these tests until the tables have a request for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc import StatusCode, aio

from flujo.backends.memory import InMemoryBackend
from flujo.client import Client
from flujo.kernel import Kernel, RunFailed
from flujo.server.listening import load_stored
from flujo.v1 import system_service_pb2 as system_pb
from flujo.v1 import workflow_service_pb2 as workflow_pb
from flujo.v1.payload_pb2 import Definition
from kernel.harness import Harness
from server.flows import Flaky, doubling
from server.harness import CountingGuard, install_counting_guard, served
from server.server.test_roles import METHODS, path_of
from server.test_errors import REQUESTS, with_uid

DEFINITION = Definition(text="name: greeting\nsteps: [{name: a, task: noop}]")

OTHERS: dict[str, Any] = {
    "ListWorkflows": workflow_pb.ListWorkflowsRequest(),
    "GetWorkflow": workflow_pb.GetWorkflowRequest(name="greeting"),
    "PutWorkflow": workflow_pb.PutWorkflowRequest(definition=DEFINITION),
    "DeleteWorkflow": workflow_pb.DeleteWorkflowRequest(name="greeting"),
    "DiffRun": workflow_pb.DiffRunRequest(run_id="done"),
    "Backup": system_pb.BackupRequest(),
    "Check": system_pb.CheckRequest(),
}
"""Requests of the methods that REQUESTS has none for, and that ask the store."""

AT_ONCE: dict[str, Any] = {
    "GetSystemInfo": system_pb.GetSystemInfoRequest(),
    "ValidateWorkflow": workflow_pb.ValidateWorkflowRequest(definition=DEFINITION),
    "ListTasks": workflow_pb.ListTasksRequest(),
}
"""Those of methods that ask no store, and so are never in the middle of anything for long."""

ASKING = {**{name: request for name, (request, _) in REQUESTS.items()}, **OTHERS}
BY_NAME: dict[str, MethodDescriptor] = {method.name: method for method in METHODS}


class Withholding(InMemoryBackend):
    """Answers nothing that it is asked between `withhold` and `let_go`."""

    released: anyio.Event | None = None

    def withhold(self) -> None:
        self.asked, self.released = anyio.Event(), anyio.Event()

    def let_go(self) -> None:
        if self.released is not None:
            self.released.set()
            self.released = None

    async def _enter(self) -> None:
        await super()._enter()
        if (released := self.released) is not None:
            self.asked.set()
            await released.wait()


@asynccontextmanager
async def withholding(address: str) -> AsyncIterator[tuple[Kernel, Withholding, aio.Channel]]:
    """A kernel with a run `done` and a run `failed`, its store, and a channel to its server."""
    harness, flaky = Harness(), Flaky()
    backend = Withholding(harness.store)
    kernel = Kernel(backend, [doubling, flaky.workflow], recover=False, load_definition=load_stored)
    async with kernel, served(kernel, address), aio.insecure_channel(address) as channel:
        await kernel.run("doubling", run_id="done")
        with pytest.raises(RunFailed):
            await kernel.run("flaky", run_id="failed")
        try:
            yield kernel, backend, channel
        finally:
            backend.let_go()


def begin(channel: aio.Channel, name: str, request: Any, seconds: float | None) -> Any:
    """A call that is under way."""
    method = BY_NAME[name]
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    data = request.SerializeToString()
    return getattr(channel, kind)(path_of(method))(iter([data]) if method.client_streaming else data, timeout=seconds)


async def at_rest() -> None:
    """Return when no handler is at work any more."""
    with anyio.fail_after(30):
        await CountingGuard.current.wait_idle()


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    install_counting_guard(monkeypatch)


def test_every_method_is_given_up_once() -> None:
    """Whatever is added to the contract is missed here."""
    assert sorted([*ASKING, *AT_ONCE]) == sorted(BY_NAME)


@pytest.mark.parametrize("name", ASKING)
async def test_a_call_that_is_cancelled_ends_on_the_server(name: str, address: str) -> None:
    """Its handler unwinds, and the server goes on to answer others."""
    async with withholding(address) as (kernel, backend, channel):
        request = await with_uid(kernel, ASKING[name])
        backend.withhold()
        call = begin(channel, name, request, None)
        with anyio.fail_after(30):
            await backend.asked.wait()
            call.cancel()
            code = await call.code()
        backend.let_go()
        await at_rest()

        assert code is StatusCode.CANCELLED
        async with Client(address) as client:
            await client.count()


@pytest.mark.parametrize("name", ASKING)
async def test_a_call_whose_deadline_passes_ends_on_the_server(name: str, address: str) -> None:
    """As one that is cancelled; its caller is told so."""
    async with withholding(address) as (kernel, backend, channel):
        request = await with_uid(kernel, ASKING[name])
        backend.withhold()
        call = begin(channel, name, request, 0.3)
        with anyio.fail_after(30):
            code = await call.code()
        backend.let_go()
        await at_rest()

        assert code is StatusCode.DEADLINE_EXCEEDED
        async with Client(address) as client:
            await client.count()


@pytest.mark.parametrize("name", AT_ONCE)
async def test_a_call_that_asks_no_store_is_given_up_too(name: str, address: str) -> None:
    """Before it has begun, or at any time: nothing is left of it."""
    async with withholding(address) as (_, _, channel):
        late = begin(channel, name, AT_ONCE[name], 0)
        assert await late.code() in (StatusCode.DEADLINE_EXCEEDED, StatusCode.OK)  # or the answer was there first
        cancelled = begin(channel, name, AT_ONCE[name], None)
        cancelled.cancel()
        assert await cancelled.code() is StatusCode.CANCELLED
        await at_rest()
        assert await begin(channel, name, AT_ONCE[name], 10)
