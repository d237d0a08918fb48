"""Watching through the socket with the generated stubs: what the wire shows, across cuts, restarts and a SIGKILL."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from math import inf
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from flujo.client import Client
from flujo.client.wire.values import MAX_INLINE_BYTES
from flujo.kernel import Context, Event, workflow
from flujo.kernel.errors import RunInterrupted, UnknownEventError
from flujo.kernel.events import EventRow
from flujo.server.runs import BOOKMARK_SECONDS
from flujo.v1 import run_pb2, run_service_pb2_grpc
from flujo.v1 import run_service_pb2 as pb
from flujo.v1.payload_pb2 import Payload
from kernel.harness import GatedBackend, Harness
from server.flows import doubling, mapping, stuck, waiting, writing
from server.harness import CountingGuard, both, install_counting_guard, served, stubs
from server.serving import server_process

FLOWS = (doubling, mapping, waiting, stuck, writing)


async def read(stub: Any, run_id: str, after_seq: int = 0, uid: str = "") -> list[pb.WatchRunResponse]:
    """Every message of a watch, to its end."""
    request = pb.WatchRunRequest(run_id=run_id, after_seq=after_seq, uid=uid)
    return [message async for message in stub.WatchRun(request)]


def seqs(messages: list[pb.WatchRunResponse]) -> list[int]:
    """The numbers of the events in messages."""
    return [event.seq for message in messages for event in message.events.events]


# -- one stream ----------------------------------------------------------------------------------------------------


async def test_a_run_is_started_and_watched(address: str) -> None:
    """StartRun answers with the run; WatchRun from 0 has a header, events 1 to n without gaps, and an end message."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        request = pb.StartRunRequest(
            workflow="doubling", run_id="r", inputs=Payload(json='{"number": 21}'), labels={"team": "a"}
        )
        started = await stub.StartRun(request)
        again = await stub.StartRun(request)
        messages = await read(stub, "r")
        run = (await stub.GetRun(pb.GetRunRequest(run_id="r", view=run_pb2.RUN_VIEW_FULL))).run

        assert (started.created, again.created) == (True, False)
        assert (started.run.run_id, started.run.workflow, dict(started.run.labels)) == ("r", "doubling", {"team": "a"})
        first, *events, last = messages
        assert first.header.run.uid == run.uid == started.run.uid
        assert seqs(events) == [1, 2, 3, 4]
        assert (last.end.seq, last.end.status) == (4, run_pb2.RUN_STATUS_COMPLETED)
        assert [event.type for message in events for event in message.events.events] == [
            "run_created",
            "step_started",
            "step_completed",
            "run_completed",
        ]
        assert run.details.output.json == "42"


async def test_events_come_in_batches(address: str) -> None:
    """Of at most 64, all but the last one full."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        await kernel.run("mapping", {"count": 100}, run_id="r")
        _, *batches, _ = await read(stub, "r")

    assert [len(batch.events.events) for batch in batches] == [64, 64, 64, 10]
    assert seqs(batches) == list(range(1, 203))


async def test_the_header_comes_before_anything_happens(address: str) -> None:
    """Also for a watcher who has all events there are: its `uid` goes with the cursor from the first moment on."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        await kernel.start("waiting", run_id="r")
        while (await kernel.summary("r")).seq < 2:
            await checkpoint()
        uid = (await kernel.summary("r")).uid
        call = stub.WatchRun(pb.WatchRunRequest(run_id="r", after_seq=2, uid=uid))

        header = (await call.read()).header

        assert header.run.uid == uid
        assert (header.after_seq, header.bookmark_interval.seconds) == (2, BOOKMARK_SECONDS)
        assert (header.max_batch_events, header.max_batch_bytes) == (64, 2**20)
        assert header.run.status == run_pb2.RUN_STATUS_WAITING
        call.cancel()
        await call.code()


async def test_a_watch_that_is_idle_gives_signs_of_life(address: str) -> None:
    """Bookmarks say how far it is; what happens after them still comes."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address, bookmark_seconds=0.01), stubs(address) as (stub, _):
        await kernel.start("waiting", run_id="r")
        kinds: list[str] = []
        marks: list[int] = []
        async for message in stub.WatchRun(pb.WatchRunRequest(run_id="r")):
            kinds.append(message.WhichOneof("content"))
            if message.HasField("bookmark"):
                marks.append(message.bookmark.seq)
                if len(marks) == 3:
                    await kernel.signal("r", "go")

    assert kinds[0] == "header"
    assert kinds[-1] == "end"
    assert marks[:3] == [2, 2, 2]
    assert "events" in kinds[kinds.index("bookmark") :]


async def test_a_paused_run_keeps_its_watch(address: str) -> None:
    """It may be resumed, and then its watchers see how it goes on."""
    harness = Harness()
    dying = harness.kernel(*FLOWS)
    async with dying:
        await dying.start("stuck", run_id="r")
        while (await dying.summary("r")).seq < 2:
            await checkpoint()
        dying.backend.kill()  # type: ignore[attr-defined]
    kernel = harness.kernel(*FLOWS, max_interruptions=1)
    async with kernel, served(kernel, address, bookmark_seconds=0.01), stubs(address) as (stub, _):
        assert (await kernel.wait("r")).paused_reason == "StepInterrupted"
        types: list[str] = []
        async for message in stub.WatchRun(pb.WatchRunRequest(run_id="r")):
            types += [event.type for event in message.events.events]
            if message.HasField("bookmark") and types[-1] == "run_paused":
                await kernel.cancel("r")
        assert types[-2:] == ["cancel_requested", "run_cancelled"]


async def test_a_value_that_did_not_come_along_is_read_in_pieces(address: str) -> None:
    """Of 64 KiB, cut anywhere; together they are the text with the size and digest of the reference."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        text = await kernel.run("writing", {"size": 200_001}, run_id="r")
        messages = await read(stub, "r")
        (reference,) = [
            event.step_completed.output.reference
            for message in messages
            for event in message.events.events
            if event.type == "step_completed"
        ]
        request = pb.ReadPayloadRequest(run_id="r", uid=messages[0].header.run.uid, seq=reference.seq)
        chunks = [piece.chunk async for piece in stub.ReadPayload(request)]

    assert json.loads(b"".join(chunks)) == text
    assert sum(map(len, chunks)) == reference.size_bytes
    assert [len(chunk) for chunk in chunks[:-1]] == [MAX_INLINE_BYTES] * (len(chunks) - 1)


async def test_what_does_not_come_along_with_a_run_is_fetched_by_other_calls(address: str) -> None:
    """GetRun holds a thousand steps and says how many more there are; ListSteps has them all, page by page."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        await kernel.run("mapping", {"count": 1500}, run_id="r")
        run = (await stub.GetRun(pb.GetRunRequest(run_id="r", view=run_pb2.RUN_VIEW_FULL))).run
        basic = (await stub.GetRun(pb.GetRunRequest(run_id="r"))).run
        names: list[str] = []
        sizes: list[int] = []
        token = ""
        while True:
            page = await stub.ListSteps(pb.ListStepsRequest(run_id="r", page_size=700, page_token=token))
            names += [step.name for step in page.steps]
            sizes.append(len(page.steps))
            if not (token := page.next_page_token):
                break

    assert (len(run.details.steps), run.details.steps_omitted) == (1000, 500)
    assert not basic.HasField("details")
    assert (names, sizes) == ([f"double[{number}]" for number in range(1500)], [700, 700, 100])


# -- waiting -------------------------------------------------------------------------------------------------------


async def test_a_wait_has_its_time(address: str) -> None:
    """It answers with the run as it stands: reached when that has settled, also when it had before."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        await kernel.start("waiting", run_id="r")
        early = await stub.WaitRun(pb.WaitRunRequest(run_id="r", max_wait=Duration(nanos=10_000_000)))
        await kernel.signal("r", "go")
        late = await stub.WaitRun(pb.WaitRunRequest(run_id="r", view=run_pb2.RUN_VIEW_FULL))

    assert (early.reached, early.run.HasField("details")) == (False, False)
    assert (late.reached, late.run.status, late.run.details.output.json) == (
        True,
        run_pb2.RUN_STATUS_COMPLETED,
        "null",
    )


async def test_nothing_is_waited_for_that_nobody_runs(address: str) -> None:
    """An interrupted run is answered at once."""
    harness = Harness()
    async with harness.kernel(*FLOWS) as earlier:
        await earlier.start("waiting", run_id="r")
    kernel = harness.kernel(*FLOWS, recover=False)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        with anyio.fail_after(30):
            answer = await stub.WaitRun(pb.WaitRunRequest(run_id="r"))

    assert (answer.reached, answer.run.interrupted, answer.run.HasField("owner")) == (False, True, False)


# -- streams that break --------------------------------------------------------------------------------------------


async def test_a_connection_that_is_cut_costs_nothing(address: str) -> None:
    """Watching again from the last event yields exactly the rest, and the run has not noticed."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address):
        await kernel.run("mapping", {"count": 300}, run_id="r")
        events = await kernel.events("r", limit=5000)
        seen: list[int] = []
        uid = ""
        while len(seen) < len(events):
            async with stubs(address) as (stub, _):  # a connection of its own, and its end comes in the middle
                call = stub.WatchRun(pb.WatchRunRequest(run_id="r", after_seq=len(seen), uid=uid))
                async for message in call:
                    uid = uid or message.header.run.uid
                    seen += seqs([message])
                    if message.events.events:
                        break
            with anyio.move_on_after(0.2):  # grpcio tells the call that its connection has gone, in newer versions
                await call.code()
        assert seen == [event.seq for event in events]
        assert await kernel.events("r", limit=5000) == events


async def test_a_run_does_not_notice_its_watchers(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty watches are cut while it goes, and it takes as many events as without any."""
    install_counting_guard(monkeypatch)
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address):
        await kernel.start("waiting", run_id="r")
        for _ in range(20):
            async with stubs(address) as (stub, _):
                call = stub.WatchRun(pb.WatchRunRequest(run_id="r"))
                await call.read()
                call.cancel()
                await call.code()
        await kernel.signal("r", "go", 1)
        with anyio.fail_after(30):
            assert await kernel.result("r") == 1
            await CountingGuard.current.wait_idle()
        assert len(await kernel.events("r")) == 5


async def test_a_slow_watcher_is_waited_for(address: str) -> None:
    """It holds a cursor and one message, and misses nothing, however much there is."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address, **{"http2.bdp_probe": 0}) as (stub, _):
        await kernel.run("writing", {"size": 60_000, "times": 250}, run_id="r")  # more than the windows take
        messages = aiter(stub.WatchRun(pb.WatchRunRequest(run_id="r")))
        assert (await anext(messages)).HasField("header")
        await kernel.run("doubling")
        rest = [message async for message in messages]

    assert seqs(rest) == list(range(1, 503))


# -- servers that go -----------------------------------------------------------------------------------------------


class Follower:
    """Follows the run `r` to its end, as a task of its own."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.seen: list[Event] = []
        self.over = anyio.Event()

    async def __call__(self) -> None:
        async with aclosing(self.client.watch("r")) as events:
            async for event in events:
                self.seen.append(event)
        self.over.set()

    async def has_seen(self, count: int) -> None:
        """Return once that many events have come."""
        while len(self.seen) < count:
            await checkpoint()


@pytest.mark.parametrize("seconds", [60.0, inf])
async def test_watches_and_waits_go_on_with_the_next_server(seconds: float, address: str) -> None:
    """A server that closes in good order ends them with KERNEL_CLOSED; clients come back and miss nothing, also those
    whose patience and whose calls have no bound."""
    harness = Harness()
    results: list[Any] = []
    waited = anyio.Event()

    async def wait(client: Client) -> None:
        results.append(await client.result("r"))
        waited.set()

    patient = Client(address, call_seconds=seconds, reconnect_seconds=seconds)
    async with patient as client, anyio.create_task_group() as group:
        kernel = harness.kernel(*FLOWS)
        async with kernel, served(kernel, address):
            await client.start("waiting", run_id="r")
            follower = Follower(client)
            group.start_soon(follower)
            group.start_soon(wait, client)
            await follower.has_seen(2)
        kernel = harness.kernel(*FLOWS)
        async with kernel, served(kernel, address):
            await kernel.signal("r", "go", 5)
            await kernel.wait("r")
            events = await kernel.events("r")
            with anyio.fail_after(30):
                await follower.over.wait()
                await waited.wait()

    assert follower.seen == events
    assert results == [5]


@pytest.mark.parametrize("method", ["WatchRun", "WaitRun"])
async def test_a_server_that_closes_is_not_held_up(method: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open watches and waits end at once and say why; the grace is for calls that will end soon."""
    install_counting_guard(monkeypatch)
    harness = Harness()
    kernel = harness.kernel(*FLOWS)
    ended: list[str] = []

    async def follow(stub: run_service_pb2_grpc.RunServiceStub) -> None:
        call: Any = getattr(stub, method)(getattr(pb, f"{method}Request")(run_id="r"))
        with pytest.raises(aio.AioRpcError) as closed:
            await (drain(call) if method == "WatchRun" else call)
        ended.append(closed.value.code().name)

    async with kernel, stubs(address) as (stub, _), anyio.create_task_group() as group:
        with anyio.fail_after(30):
            async with served(kernel, address, grace_seconds=3600):
                await kernel.start("waiting", run_id="r")
                for _ in range(5):
                    group.start_soon(follow, stub)
                while CountingGuard.current.at_work < 5:  # gRPC itself cancels what it has not handed to us yet
                    await checkpoint()

    assert ended == ["UNAVAILABLE"] * 5


async def drain(messages: AsyncIterator[Any]) -> None:
    """Read a stream to its end."""
    async for _ in messages:
        pass


async def test_a_call_under_way_may_finish(address: str) -> None:
    """A server that closes answers what it has begun; new calls are refused meanwhile."""
    harness = Harness()
    backend = GatedBackend(harness.store)
    created: list[bool] = []

    async def start(client: Client) -> None:
        created.append((await client.start("doubling", run_id="r")).created)

    kernel = harness.kernel(*FLOWS, backend=backend)
    async with kernel, Client(address) as client, anyio.create_task_group() as group, served(kernel, address):
        backend.close_gate()
        group.start_soon(start, client)
        await backend.waiting.wait()
        group.start_soon(open_when_told, backend)

    assert created == [True]


async def open_when_told(backend: GatedBackend) -> None:
    """Let the store go on a little later, in passes of the event loop."""
    for _ in range(50):
        await checkpoint()
    backend.gate.set()


async def test_a_call_that_does_not_finish_is_cut_off(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the grace is over it ends, and what it did on the server has unwound before the server is gone."""
    install_counting_guard(monkeypatch)
    harness = Harness()
    backend = GatedBackend(harness.store)
    kernel = harness.kernel(*FLOWS, backend=backend)
    async with kernel, stubs(address) as (stub, _):
        async with served(kernel, address, grace_seconds=0.05):
            backend.close_gate()
            call = stub.StartRun(pb.StartRunRequest(workflow="doubling", run_id="r"))
            await backend.waiting.wait()
        assert CountingGuard.current.at_work == 0
        backend.gate.set()
        code = await call.code()
        assert await kernel.result("r") == 2

    assert code.name in ("UNAVAILABLE", "CANCELLED")


async def test_a_watcher_that_does_not_read_does_not_hold_up_a_server(address: str) -> None:
    """It is cut off when the grace is over, and a message that was under way is no reason for an error in the log."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, stubs(address, **{"http2.bdp_probe": 0}) as (stub, _):
        await kernel.run("writing", {"size": 60_000, "times": 250}, run_id="r")
        with anyio.fail_after(30):
            async with served(kernel, address, grace_seconds=0.05):
                messages = aiter(stub.WatchRun(pb.WatchRunRequest(run_id="r")))
                await anext(messages)
        with pytest.raises(aio.AioRpcError) as cut:
            await drain(messages)
        assert cut.value.code().name in ("UNAVAILABLE", "CANCELLED")


async def test_a_run_that_the_next_server_does_not_know_is_interrupted(address: str) -> None:
    """Who waits for it is told so, instead of waiting for ever."""
    harness = Harness()
    async with Client(address) as client:
        kernel = harness.kernel(*FLOWS)
        async with kernel, served(kernel, address):
            await client.start("waiting", run_id="r")
        kernel = harness.kernel(doubling)
        async with kernel, served(kernel, address):
            with pytest.raises(RunInterrupted):
                await client.wait("r")


async def test_an_event_of_a_newer_release_is_named(address: str) -> None:
    """A server that cannot read an event says which, and so does its client."""
    harness = Harness()
    async with both(harness.kernel(*FLOWS), address) as (kernel, client):
        await kernel.run("doubling", run_id="r")
        follower = Follower(client)
        stored = harness.store.runs["r"].events
        stored[2] = EventRow(3, stored[2].at, "step_teleported", 1, "{}", None)
        with pytest.raises(UnknownEventError, match="step_teleported"):
            await follower()


# -- a server process that is killed -------------------------------------------------------------------------------


async def test_a_watch_goes_on_after_the_server_was_killed(folder: Path, address: str) -> None:
    """SIGKILL in the middle of a watch: the next server takes the run up by itself, and the watch yields the rest."""
    async with Client(address) as client, anyio.create_task_group() as group:
        follower = Follower(client)
        with server_process(folder, address) as process:
            await client.start("patient", run_id="r")
            group.start_soon(follower)
            await follower.has_seen(150)
            process.send_signal(signal.SIGKILL)
            process.wait()
        with server_process(folder, address):
            await client._info(30, wait_for_ready=True)
            await client.signal("r", "go", "on")
            assert await client.result("r") == [100, "on"]
            events = await client.events("r")
            with anyio.fail_after(30):
                await follower.over.wait()

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert follower.seen == events
    completed = [event.step for event in events if event.type == "step_completed"]
    assert completed == [*(f"before-{number}" for number in range(100)), "go"]


async def test_the_stubs_see_the_same_after_a_kill(folder: Path, address: str) -> None:
    """With nothing of our client: the stream breaks with UNAVAILABLE, and the cursor is good for the next server."""
    with server_process(folder, address) as process:
        async with stubs(address) as (stub, _):
            started = await stub.StartRun(pb.StartRunRequest(workflow="patient", run_id="r"))
            first: list[int] = []
            call = stub.WatchRun(pb.WatchRunRequest(run_id="r", uid=started.run.uid))
            async for message in call:
                first += seqs([message])
                if len(first) >= 100:
                    break
            process.send_signal(signal.SIGKILL)
            process.wait()
            with pytest.raises(aio.AioRpcError) as broken:
                await drain(call)
    with server_process(folder, address):
        async with stubs(address) as (stub, _):
            await stub.SignalRun(pb.SignalRunRequest(run_id="r", name="go", payload=Payload(json="1")))
            rest = await read(stub, "r", first[-1], started.run.uid)

    assert broken.value.code().name == "UNAVAILABLE"
    assert first + seqs(rest) == list(range(1, rest[-1].end.seq + 1))
    assert rest[-1].end.status == run_pb2.RUN_STATUS_COMPLETED


async def messages_of(stub: Any, request: pb.WatchRunRequest) -> list[Any]:
    """Everything that a watch of a final run brings."""
    return [message async for message in stub.WatchRun(request)]


async def test_a_watch_may_be_of_some_kinds_only(address: str) -> None:
    """What lies between is passed over, and a cursor goes on behind it."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        await kernel.run("mapping", {"count": 200}, run_id="r")
        whole = await kernel.events("r", limit=1000)
        request = pb.WatchRunRequest(run_id="r", types=["run_created", "run_completed"])
        messages = await messages_of(stub, request)

    batches = [each.events for each in messages if each.HasField("events")]
    assert [event.type for batch in batches for event in batch.events] == ["run_created", "run_completed"]
    told = [each.events.through_seq or each.bookmark.seq for each in messages[1:-1]]
    assert told == sorted(told)
    assert (told[-1], messages[-1].end.seq) == (whole[-1].seq, whole[-1].seq)


async def test_a_watch_may_begin_now(address: str) -> None:
    """What has happened before is not shown, and what comes is all there."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        await kernel.start("waiting", run_id="r")
        while (await kernel.summary("r")).seq < 2:
            await checkpoint()
        call = stub.WatchRun(pb.WatchRunRequest(run_id="r", from_now=True))
        header = (await call.read()).header
        await kernel.signal("r", "go")
        seen: list[int] = []
        while (message := await call.read()) is not aio.EOF:
            seen += [event.seq for event in message.events.events]

    assert header.after_seq == 2
    assert seen[0] == 3


async def test_a_watch_may_leave_all_values_out(address: str) -> None:
    """Each is a reference then, which reads as the value itself."""
    kernel = Harness().kernel(*FLOWS)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        await kernel.run("doubling", {"number": 4}, run_id="r")
        messages = await messages_of(stub, pb.WatchRunRequest(run_id="r", without_payloads=True))
        uid = messages[0].header.run.uid
        completed = next(
            event for message in messages for event in message.events.events if event.type == "run_completed"
        )
        reference = completed.run_completed.output.reference
        asked = pb.ReadPayloadRequest(run_id="r", uid=uid, seq=reference.seq, part=reference.part)
        read = b"".join([each.chunk async for each in stub.ReadPayload(asked)])

    assert (read, reference.size_bytes) == (b"8", 1)


async def test_statistics_of_many_workflows_come_in_pages(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is bounded, and a client of ours reads all of them."""

    async def nothing(ctx: Context) -> None: ...

    many = [workflow(name=f"flow-{number}")(nothing) for number in range(7)]
    monkeypatch.setattr("flujo.client.wire.runs.MAX_ITEMS", 3)
    async with both(Harness().kernel(*many), address) as (kernel, client), stubs(address) as (stub, _):
        for each in many:
            await kernel.run(each)
        first = await stub.GetStats(pb.GetStatsRequest())
        near, far = await kernel.stats(), await client.stats()

    assert [each.workflow for each in first.workflows] == ["flow-0", "flow-1", "flow-2"]
    assert first.next_page_token
    assert [each.workflow for each in far.workflows] == [each.workflow for each in near.workflows]
