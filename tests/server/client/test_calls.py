"""Calls inside cancel scopes, calls that take too long, and calls of a client that closes or has no server."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketStream
from anyio.lowlevel import checkpoint
from google.protobuf.duration_pb2 import Duration

from flujo.client import Client, reconnecting
from flujo.client.calls import ConnectionCutError
from flujo.kernel import CancelOutcome, Delivery, Kernel, PauseOutcome, Runs
from flujo.kernel.errors import (
    CallFailedError,
    CallTimeoutError,
    InvalidNameError,
    KernelClosedError,
    ServerUnreachableError,
    UnsupportedEventLoopError,
)
from flujo.server import runs as server_runs
from flujo.v1 import run_service_pb2 as pb
from kernel.harness import GatedBackend, Harness
from server.flows import doubling, echoing, waiting, writing
from server.harness import CountingGuard, both, install_counting_guard, served, stubs

FLOWS = (doubling, echoing, waiting, writing)


@pytest.fixture(autouse=True)
def counting_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every server here has one."""
    install_counting_guard(monkeypatch)


@asynccontextmanager
async def under_way(address: str) -> AsyncIterator[tuple[Kernel, Client]]:
    """A run `r` that waits for a signal, in a kernel with a server and a client."""
    async with both(Harness().kernel(*FLOWS), address) as (kernel, client):
        await kernel.start("waiting", run_id="r")
        yield kernel, client


def tasks() -> set[asyncio.Task[Any]]:
    """All tasks but those in which gRPC waits for the next call of each method."""
    waiting = "AioServer._request"
    return {task for task in asyncio.all_tasks() if not task.get_coro().__qualname__.startswith(waiting)}  # type: ignore[union-attr]


async def nothing_is_left(before: set[asyncio.Task[Any]]) -> None:
    """Return once no handler is at work and no task is there that was not there before."""
    with anyio.fail_after(30):
        await CountingGuard.current.wait_idle()
        while tasks() - before:
            await checkpoint()
    assert CountingGuard.current.at_work == 0


async def at_work() -> None:
    """Return once a handler is at work."""
    while not CountingGuard.current.at_work:
        await checkpoint()


async def first_event(runs: Runs) -> None:
    """Begin a watch and leave it in the middle, without closing it."""
    async for _ in runs.watch("r"):
        break


async def stumble(runs: Runs) -> None:
    """Begin a watch and fail in the middle."""
    async with aclosing(runs.watch("r")) as events:
        async for event in events:
            assert event.seq // 0


async def watch(runs: Runs) -> None:
    """Follow the run `r`."""
    async with aclosing(runs.watch("r")) as events:
        async for _ in events:
            pass


LONG_CALLS: dict[str, Callable[[Runs], Awaitable[Any]]] = {
    "wait": lambda runs: runs.wait("r"),
    "result": lambda runs: runs.result("r"),
    "watch": watch,
}


# -- the trap ------------------------------------------------------------------------------------------------------


async def test_a_bare_call_loses_the_mark_of_its_scope(address: str) -> None:
    """Why the client wraps its calls: grpc.aio raises a cancellation of its own, which travels on through the scope
    that caused it."""
    async with under_way(address), stubs(address) as (stub, _):
        request = pb.WaitRunRequest(run_id="r", max_wait=Duration(seconds=20))
        leaked = False
        try:
            with anyio.move_on_after(0.05):
                await stub.WaitRun(request)
        except asyncio.CancelledError:
            leaked = True
        if not leaked:
            pytest.skip("this version of grpcio does not leak cancellations: Calls.unary has one reason less")


# -- scopes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", LONG_CALLS.values(), ids=LONG_CALLS)
async def test_a_scope_that_times_out_ends_the_call_and_nothing_else(
    call: Callable[[Runs], Awaitable[Any]], address: str
) -> None:
    """The code behind the scope goes on, in the same task, and further calls work."""
    async with under_way(address) as (_, client):
        await client.summary("r")
        before = tasks()

        with anyio.move_on_after(0.05) as scope:
            await call(client)

        assert scope.cancelled_caught
        await nothing_is_left(before)
        assert (await client.summary("r")).run_id == "r"


@pytest.mark.parametrize("call", LONG_CALLS.values(), ids=LONG_CALLS)
async def test_a_call_that_takes_too_long_is_a_timeout(call: Callable[[Runs], Awaitable[Any]], address: str) -> None:
    """`fail_after` raises what it always raises."""
    async with under_way(address) as (_, client):
        before = tasks()

        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.05):
                await call(client)

        await nothing_is_left(before)


@pytest.mark.parametrize("call", LONG_CALLS.values(), ids=LONG_CALLS)
async def test_only_the_scope_that_was_cancelled_ends(call: Callable[[Runs], Awaitable[Any]], address: str) -> None:
    """An outer scope takes the inner one along, and code between the two is not run."""
    passed: list[str] = []
    async with under_way(address) as (_, client):
        with anyio.CancelScope() as outer:
            with anyio.CancelScope() as inner:
                async with anyio.create_task_group() as group:
                    group.start_soon(cancel_when_at_work, outer)
                    await call(client)
            passed.append("between")
        passed.append("behind")

        assert passed == ["behind"]
        assert outer.cancelled_caught
        assert not inner.cancelled_caught


async def cancel_when_at_work(scope: anyio.CancelScope) -> None:
    """Cancel a scope once the server is at work for somebody in it."""
    await at_work()
    scope.cancel()


@pytest.mark.parametrize("call", LONG_CALLS.values(), ids=LONG_CALLS)
async def test_asyncio_may_cancel_as_well(call: Callable[[Runs], Awaitable[Any]], address: str) -> None:
    """Its own timeouts and Task.cancel() do what they do everywhere."""
    async with under_way(address) as (_, client):
        before = tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call(client)
        task = asyncio.ensure_future(call(client))
        await at_work()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await nothing_is_left(before)


async def test_every_call_can_be_cancelled_at_any_await(address: str) -> None:
    """However far it has come: the scope ends, and nothing is left behind in client and server."""
    calls: list[Callable[[Runs], Awaitable[Any]]] = [
        lambda runs: runs.summary("r"),
        lambda runs: runs.inspect("r"),
        lambda runs: runs.list(),
        lambda runs: runs.events("r"),
        first_event,
    ]
    async with under_way(address) as (_, client):
        await client.summary("r")
        before = tasks()
        for call in calls:
            ends = [await is_cancelled_after(ticks, call, client) for ticks in range(12)]
            assert ends.count(True) >= 3  # not only before it had begun
        await nothing_is_left(before)


async def is_cancelled_after(ticks: int, call: Callable[[Runs], Awaitable[Any]], client: Client) -> bool:
    """Make a call, cancel it some passes of the event loop later, and return whether that ended it."""
    answered = False
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(cancel_after, scope, ticks)
            await call(client)
            answered = True
    assert answered or scope.cancelled_caught
    return not answered


async def cancel_after(scope: anyio.CancelScope, ticks: int) -> None:
    """Cancel a scope some passes of the event loop later."""
    for _ in range(ticks):
        await checkpoint()
    scope.cancel()


async def test_a_start_whose_caller_is_cancelled_goes_on(address: str) -> None:
    """A run that has become durable is driven, whatever becomes of who asked for it."""
    harness = Harness()
    backend = GatedBackend(harness.store)
    async with both(harness.kernel(*FLOWS, backend=backend), address) as (kernel, client):
        backend.close_gate()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: client.start("doubling", run_id="r"))
            await backend.waiting.wait()
            group.cancel_scope.cancel()
        await CountingGuard.current.wait_idle()
        backend.gate.set()

        with anyio.fail_after(30):
            handle = await client.start("doubling", run_id="r")
            assert not handle.created
            assert await kernel.result("r") == 2


# -- watches that are left -----------------------------------------------------------------------------------------


async def test_a_watch_that_is_left_early_ends_on_the_server(address: str) -> None:
    """With `aclosing` at once, and also without, as soon as nobody holds it any more."""
    async with under_way(address) as (_, client):
        await client.summary("r")
        before = tasks()

        async with aclosing(client.watch("r")) as events:
            await anext(events)
            assert CountingGuard.current.at_work == 1
        await nothing_is_left(before)

        await first_event(client)
        await nothing_is_left(before)


async def test_a_watcher_that_fails_ends_its_watch(address: str) -> None:
    """An error in the body of the loop passes through unchanged."""
    async with under_way(address) as (_, client):
        before = tasks()

        with pytest.raises(ZeroDivisionError):
            await stumble(client)
        await nothing_is_left(before)


async def test_watching_inside_a_scope_goes_on_after_it(address: str) -> None:
    """A scope around one step of a watch ends that step; the watch has to be begun anew, and misses nothing."""
    async with under_way(address) as (_, client):
        seen = 0
        async with aclosing(client.watch("r")) as events:
            with anyio.move_on_after(0.05) as scope:
                async for event in events:
                    seen = event.seq
        assert scope.cancelled_caught
        await client.signal("r", "go")

        rest = [event.seq async for event in client.watch("r", seen)]
        assert [*range(1, seen + 1), *rest] == [1, 2, 3, 4, 5]


# -- time ----------------------------------------------------------------------------------------------------------


async def test_a_server_that_does_not_answer_is_not_waited_for_long(address: str) -> None:
    """A call has its time, and nothing of it is left when that is over."""
    harness = Harness()
    backend = GatedBackend(harness.store)
    kernel = harness.kernel(*FLOWS, backend=backend)
    async with kernel, served(kernel, address), Client(address, call_seconds=0.1) as client, Client(address) as patient:
        await patient.list()
        before = tasks()
        backend.close_gate()

        with pytest.raises(CallTimeoutError) as late:
            await client.start("doubling", run_id="r")

        assert (late.value.call, late.value.seconds) == ("StartRun", 0.1)
        await CountingGuard.current.wait_idle()
        backend.gate.set()
        await patient.start("doubling", run_id="r")  # the same run, or the first that a slow machine hears of it
        assert await kernel.result("r") == 2
        await nothing_is_left(before)


async def test_waits_may_take_longer_than_calls(address: str) -> None:
    """What follows a run is not bounded by `call_seconds`."""
    harness = Harness()
    kernel = harness.kernel(*FLOWS)
    async with kernel, served(kernel, address), Client(address, call_seconds=0.05) as client:
        await kernel.start("waiting", run_id="r")
        with anyio.move_on_after(0.2) as scope:
            await client.wait("r")
        assert scope.cancelled_caught


@pytest.mark.parametrize("seconds", [0, -1.0, nan, -inf])
@pytest.mark.parametrize("name", ["call_seconds", "reconnect_seconds"])
def test_a_bound_is_a_positive_number_of_seconds(name: str, seconds: float) -> None:
    """What is none is refused, instead of being a deadline that has passed."""
    with pytest.raises(InvalidNameError, match=name):
        Client("unix:s", **{name: seconds})  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [inf, 1e10, 1e300])
async def test_a_call_without_an_end_is_no_call_that_is_over(seconds: float, address: str) -> None:
    """gRPC takes what is beyond the end of its time for a deadline that has passed."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), Client(address, call_seconds=seconds) as client:
        assert (await client.info()).kernel_id == kernel.id


async def test_a_server_that_is_slow_to_connect_is_reached(folder: Path, address: str) -> None:
    """Each of its first bytes takes a while: longer than the pause between two tries to connect."""

    async def forward(source: ByteReceiveStream, target: ByteSendStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for data in source:
                await anyio.sleep(0.2)  # the latency is what this test is about
                await target.send(data)

    async def relay(stream: SocketStream) -> None:
        async with stream, await anyio.connect_unix(folder / "s") as server, anyio.create_task_group() as group:
            group.start_soon(forward, stream, server)
            await forward(server, stream)
            group.cancel_scope.cancel()

    kernel = Harness().kernel(*FLOWS)
    listener = await anyio.create_unix_listener(folder / "far")
    async with kernel, served(kernel, address), listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, relay)
        async with Client(f"unix:{folder}/far", call_seconds=20) as client:
            assert (await client.info()).kernel_id == kernel.id
        group.cancel_scope.cancel()


async def test_an_outcome_of_a_newer_server_is_unknown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deed is done, so it is told and no error."""
    for table in ("_OUTCOMES", "_PAUSE_OUTCOMES", "_CANCEL_OUTCOMES"):
        monkeypatch.setattr(server_runs, table, defaultdict(lambda: 99))
    async with both(Harness().kernel(*FLOWS), address) as (kernel, client):
        await client.start("waiting", run_id="r")

        assert await client.signal("r", "other") is Delivery.UNKNOWN
        assert await client.set_variable("r", "name", 1) is Delivery.UNKNOWN
        assert await client.pause("r") is PauseOutcome.UNKNOWN
        assert await client.cancel("r") is CancelOutcome.UNKNOWN
        assert (await kernel.wait("r")).status.value in ("paused", "cancelled")


async def test_a_server_that_goes_away_again_and_again_is_waited_for_each_time(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows a run has `reconnect_seconds` anew whenever the server has answered in between."""
    now, asked = 0.0, 0

    async def answer(*_: Any, **__: Any) -> None:
        await checkpoint()

    async def ask() -> str:
        nonlocal now, asked
        now, asked = now + 40, asked + 1
        if asked < 4:
            raise ConnectionCutError(address, "it has ended")
        return "over"

    monkeypatch.setattr(reconnecting, "time", SimpleNamespace(monotonic=lambda: now))
    async with Client(address, reconnect_seconds=60) as client:
        monkeypatch.setattr(client, "_info", answer)
        assert await client._following(ask) == "over"


# -- no server, and no client --------------------------------------------------------------------------------------


async def test_no_server_is_an_error_at_once(address: str) -> None:
    """Calls that do not follow a run do not wait for a server to come."""
    async with Client(address) as client:
        with anyio.fail_after(30):
            with pytest.raises(ServerUnreachableError) as nobody:
                await client.info()
            with pytest.raises(ServerUnreachableError):
                await client.start("doubling")
            with pytest.raises(ServerUnreachableError):
                await client.inspect("r")

    assert nobody.value.address == address
    assert any("flujoctl serve" in hint for hint in nobody.value.hints)


@pytest.mark.parametrize("call", LONG_CALLS.values(), ids=LONG_CALLS)
async def test_a_server_that_stays_away_is_given_up(call: Callable[[Runs], Awaitable[Any]], address: str) -> None:
    """What follows a run waits for `reconnect_seconds`, then it is the same error."""
    async with Client(address, reconnect_seconds=0.1) as client:
        with pytest.raises(ServerUnreachableError):
            await call(client)


async def test_somebody_else_at_the_address_is_told_apart(address: str) -> None:
    """A gRPC server that is not ours does not know our methods."""
    from grpc import aio

    server = aio.server()
    server.add_insecure_port(address)
    await server.start()
    try:
        async with Client(address) as client:
            with pytest.raises(CallFailedError) as foreign:
                await client.info()
    finally:
        await server.stop(None)
    assert (foreign.value.code, foreign.value.call) == ("UNIMPLEMENTED", "GetSystemInfo")


@pytest.mark.parametrize("call", LONG_CALLS.values(), ids=LONG_CALLS)
async def test_closing_a_client_ends_what_it_is_doing(call: Callable[[Runs], Awaitable[Any]], address: str) -> None:
    """Calls under way in other tasks say that it was closed; they do not look like cancelled tasks."""
    ended: list[BaseException] = []

    async def follow(runs: Runs) -> None:
        try:
            await call(runs)
        except BaseException as error:
            ended.append(error)
            if isinstance(error, asyncio.CancelledError):
                raise

    harness = Harness()
    kernel = harness.kernel(*FLOWS)
    async with kernel, served(kernel, address):
        await kernel.start("waiting", run_id="r")
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group, Client(address) as client:
                group.start_soon(follow, client)
                await at_work()
        await CountingGuard.current.wait_idle()

    assert [type(error) for error in ended] == [KernelClosedError]


async def test_a_client_has_to_be_open(address: str) -> None:
    """Before its block and after it every call is refused."""
    client = Client(address)
    for call in (client.info, client.list, lambda: client.wait("r"), lambda: watch(client)):
        with pytest.raises(KernelClosedError):
            await call()
    async with client:
        pass
    for call in (client.info, client.list, lambda: client.wait("r"), lambda: watch(client)):
        with pytest.raises(KernelClosedError):
            await call()


def test_a_client_needs_asyncio(address: str) -> None:
    """gRPC knows no other loop; the error says so before anything is tried."""

    async def main() -> None:
        with pytest.raises(UnsupportedEventLoopError, match="the gRPC client does not run on trio"):
            async with Client(address):
                pass

    anyio.run(main, backend="trio")
