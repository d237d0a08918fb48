"""Requests with an id through a kernel and through a client of its server: either is a repeat of the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flujo.kernel import Kernel, RunFailed, Runs
from flujo.kernel.errors import InvalidNameError, RequestReusedError
from kernel.harness import Harness
from server.flows import Flaky, doubling, waiting
from server.harness import both
from server.serving import server_process

CALLS: dict[str, tuple[str, Callable[[Runs, str], Awaitable[Any]]]] = {
    "signal": ("waits", lambda runs, id: runs.signal("waits", "note", {"b": 1, "a": [1.5, "é"]}, request_id=id)),
    "cancel": ("waits", lambda runs, id: runs.cancel("waits", "enough", by="ann", request_id=id)),
    "pause": ("waits", lambda runs, id: runs.pause("waits", "lunch", by="ann", request_id=id)),
    "unpause": ("rests", lambda runs, id: runs.unpause("rests", by="ann", request_id=id)),
    "resume": (
        "fails",
        lambda runs, id: runs.resume("fails", skip={"middle": 1}, inputs={"extra": 3}, by="ann", request_id=id),
    ),
    "retry": ("fails", lambda runs, id: runs.resume("fails", retry=["first", "middle"], request_id=id)),
    "from step": (
        "fails",
        lambda runs, id: runs.resume("fails", from_step="middle", accept_changes=True, request_id=id),
    ),
    "skip": ("fails", lambda runs, id: runs.skip("fails", "middle", {"a": None}, reason="by hand", request_id=id)),
    "set output": ("fails", lambda runs, id: runs.set_output("fails", "middle", [2], by="ann", request_id=id)),
    "set variable": ("waits", lambda runs, id: runs.set_variable("waits", "mode", None, by="ann", request_id=id)),
    "start": ("done", lambda runs, id: runs.start("doubling", {"number": 3}, labels={"team": "a"}, request_id=id)),
    "fork": ("fails", lambda runs, id: runs.fork("fails", from_step="middle", labels={"team": "a"}, request_id=id)),
}


async def put_runs(kernel: Kernel) -> None:
    """The runs that the calls name."""
    await kernel.run("doubling", run_id="done")
    for run_id in ("waits", "rests"):
        await kernel.start("waiting", run_id=run_id)
    await kernel.pause("rests")
    await kernel.wait("rests")
    with pytest.raises(RunFailed):
        await kernel.run("flaky", run_id="fails")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("first", ["kernel", "client"])
async def test_a_repeat_may_come_another_way(first: str, call: str, address: str) -> None:
    """What was asked of the kernel and is repeated through its server is the same request, and the other way about."""
    run_id, ask = CALLS[call]
    flaky = Flaky()
    async with both(Harness().kernel(doubling, waiting, flaky.workflow), address) as (near, far):
        await put_runs(near)
        flaky.broken = False
        ways: tuple[Runs, Runs] = (near, far) if first == "kernel" else (far, near)

        one = await ask(ways[0], "x")
        run_id = one.run_id if call in ("start", "fork") else run_id
        if call in ("cancel", "pause"):
            await near.wait(run_id)
        other = await ask(ways[1], "x")

        recorded = [getattr(event.fact, "request", None) for event in await far.events(run_id)]
        assert [request[0] for request in recorded if request is not None] == ["x"]
        assert (await near.summary(run_id)).resume_count <= 1
        if call in ("start", "fork"):
            assert (one.created, other.created, other.run_id) == (True, False, one.run_id)
        elif call in ("cancel", "pause"):
            assert (one.value, other.value) in (("requested", "cancelled"), ("requested", "paused"))


async def test_without_an_id_a_client_asks_for_nothing_that_could_be_repeated(address: str) -> None:
    """As a kernel does: two signals are two, and two starts are two runs."""
    async with both(Harness().kernel(doubling, waiting), address) as (near, far):
        await near.start("waiting", run_id="r")
        for _ in range(2):
            await far.signal("r", "note")
        handles = [await far.start("doubling") for _ in range(2)]

        events = await near.events("r")
        assert [event.type for event in events].count("signal_received") == 2
        assert all(getattr(event.fact, "request", None) is None for event in events)
        assert len({handle.run_id for handle in handles}) == 2


async def test_a_client_refuses_what_is_no_request_id(address: str) -> None:
    """An empty text would mean none on the wire."""
    async with both(Harness().kernel(waiting), address) as (near, far):
        await near.start("waiting", run_id="r")
        for runs in (near, far):
            for request_id in ("", "a b", "é"):
                with pytest.raises(InvalidNameError, match="request id"):
                    await runs.cancel("r", request_id=request_id)


async def test_a_request_is_repeated_at_the_next_server(folder: Path, address: str) -> None:
    """The server is killed after it has answered; the next one, which takes the run up, knows what it was asked for."""
    from flujo.client import Client

    async with Client(address) as client:
        with server_process(folder, address):
            handle = await client.start("patient", request_id="start")
            await client.signal(handle.run_id, "note", 1, request_id="note")
        with server_process(folder, address):
            again = await client.start("patient", request_id="start")
            await client.signal(handle.run_id, "note", 1, request_id="note")
            with pytest.raises(RequestReusedError):
                await client.signal(handle.run_id, "note", 2, request_id="note")
            await client.signal(handle.run_id, "go", 7, request_id="go")

            assert (again.run_id, again.created) == (handle.run_id, False)
            assert await again.result() == [100, 7]
            types = [event.type for event in await client.events(handle.run_id, limit=1000)]
            assert types.count("signal_received") == 2
