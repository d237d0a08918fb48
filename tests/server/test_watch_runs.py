"""Watching all runs of a server: on the wire, through a client, over restarts, and beside other processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from flujo.backends import open_backend
from flujo.backends.memory import InMemoryBackend
from flujo.client import Client
from flujo.client.wire.events import to_event
from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.api import Cursor, RunEvent
from flujo.kernel.errors import ForeignCursorError, InvalidNameError
from flujo.v1 import run_pb2
from flujo.v1 import run_service_pb2 as pb
from server.harness import served, stubs
from server.serving import busy, busy_result, server_process


async def one() -> int:
    return 1


@workflow()
async def short(ctx: Context) -> str:
    """A step, and an output that does not come along."""
    await ctx.step(one)
    return "x" * 70_000


@workflow()
async def patient(ctx: Context) -> Any:
    """Waits for a signal."""
    return await ctx.wait_signal("go")


async def messages_until(stub: Any, request: pb.WatchRunsRequest, last: str) -> list[pb.WatchRunsResponse]:
    """The messages of a watch up to the first of one kind."""
    found: list[pb.WatchRunsResponse] = []
    call = stub.WatchRuns(request)
    async for message in call:
        found.append(message)
        if message.WhichOneof("content") == last:
            break
    call.cancel()
    return found


def kinds(messages: list[pb.WatchRunsResponse]) -> list[str | None]:
    return [message.WhichOneof("content") for message in messages]


async def test_a_header_comes_first_and_says_what_to_expect(address: str) -> None:
    """Where it begins, how often a sign of life comes, and how much a batch holds."""
    async with (
        Kernel(InMemoryBackend(), [short]) as kernel,
        served(kernel, address, bookmark_seconds=0.1),
        stubs(address) as (stub, _),
    ):
        await kernel.run(short, run_id="r")
        found = await messages_until(stub, pb.WatchRunsRequest(), "bookmark")

    assert kinds(found)[0] == "header"
    header = found[0].header
    assert header.cursor.endswith(".0")
    assert (header.bookmark_interval.nanos, header.max_batch_events) == (100_000_000, 64)
    batches = [each.events for each in found if each.WhichOneof("content") == "events"]
    events = [event for batch in batches for event in batch.events]
    assert [(each.run_id, each.workflow, each.event.seq) for each in events] == [
        ("r", "short", seq) for seq in range(1, len(events) + 1)
    ]
    assert batches[-1].cursor == events[-1].cursor == found[-1].bookmark.cursor
    assert events[-1].event.run_completed.output.WhichOneof("content") == "reference"


async def test_a_snapshot_and_what_happens_after_it_miss_nothing(address: str) -> None:
    """The runs as they stand, the last of them marked, and then what comes."""
    async with (
        Kernel(InMemoryBackend(), [short, patient]) as kernel,
        served(kernel, address),
        stubs(address) as (stub, _),
    ):
        await kernel.start(patient, run_id="waits")
        await kernel.run(short, run_id="done")
        call = stub.WatchRuns(pb.WatchRunsRequest(from_now=True, snapshot=True))
        messages = aiter(call)
        assert (await anext(messages)).WhichOneof("content") == "header"
        snapshot = (await anext(messages)).snapshot
        await kernel.signal("waits", "go")
        batch = (await anext(messages)).events
        call.cancel()

    assert {run.run_id for run in snapshot.runs} == {"waits", "done"}
    assert snapshot.complete
    assert {each.run_id for each in batch.events} == {"waits"}


async def test_an_empty_snapshot_is_one_message(address: str) -> None:
    """Or a client would wait for it."""
    async with (
        Kernel(InMemoryBackend(), [short]) as kernel,
        served(kernel, address, bookmark_seconds=0.1),
        stubs(address) as (stub, _),
    ):
        found = await messages_until(stub, pb.WatchRunsRequest(snapshot=True), "bookmark")

    assert kinds(found) == ["header", "snapshot", "bookmark"]
    assert found[1].snapshot == pb.RunSnapshot(complete=True)


@pytest.mark.parametrize(
    "filter",
    [
        pb.RunFilter(statuses=[run_pb2.RUN_STATUS_FAILED]),
        pb.RunFilter(failed_step="a"),
        pb.RunFilter(updated_from=Timestamp(seconds=1)),
        pb.RunFilter(finished_before=Timestamp(seconds=1)),
    ],
)
async def test_what_changes_of_a_run_chooses_none(filter: pb.RunFilter, address: str) -> None:
    """A run would come and go, and with it events that somebody waits for; the refusal names the part."""
    from server.test_errors import refusal

    async with Kernel(InMemoryBackend(), [short]) as kernel, served(kernel, address), stubs(address) as (stub, _):
        code, info, details, _ = await refusal(stub, "WatchRuns", pb.WatchRunsRequest(filter=filter))

    (field,) = [descriptor.name for descriptor, _ in filter.ListFields()]
    assert (code, info.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert [each.field for each in details["BadRequest"].field_violations] == [f"filter.{field}"]


async def test_values_can_be_left_out(address: str) -> None:
    """Each comes as a reference, which ReadPayload takes."""
    async with (
        Kernel(InMemoryBackend(), [patient]) as kernel,
        served(kernel, address, bookmark_seconds=0.1),
        stubs(address) as (stub, _),
    ):
        await kernel.start(patient, run_id="r")
        found = await messages_until(stub, pb.WatchRunsRequest(without_payloads=True), "events")
        event = found[-1].events.events[0]
        asked = pb.ReadPayloadRequest(run_id="r", uid=event.uid, seq=event.event.seq)
        read = b"".join([each.chunk async for each in stub.ReadPayload(asked)])

    assert event.event.run_created.inputs.WhichOneof("content") == "reference"
    assert read == b"{}"


async def first(events: AsyncIterator[RunEvent], number: int) -> list[RunEvent]:
    return [await anext(events) for _ in range(number)]


async def test_a_client_sees_what_a_kernel_sees(address: str) -> None:
    """With values that did not come along, by the same keywords, and refused in the same way."""
    async with (
        Kernel(InMemoryBackend(), [short, patient]) as kernel,
        served(kernel, address),
        Client(address) as client,
    ):
        await kernel.start(patient, run_id="waits", labels={"team": "a"})
        await kernel.run(short, run_id="done")
        parts = {"workflow": "short", "labels": {"team": "a"}, "types": ["run_created"]}
        choices: list[dict[str, Any]] = [{}, *({name: value} for name, value in parts.items())]
        for options in choices:
            async with aclosing(kernel.watch_runs(**options)) as near, aclosing(client.watch_runs(**options)) as far:
                assert await first(far, 2) == await first(near, 2)
        for cursor, error in (("nonsense", InvalidNameError), ("another.9", ForeignCursorError)):
            with pytest.raises(error, match="cursor"):
                await anext(client.watch_runs(cursor))


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
async def test_no_cursor_outlives_a_backup_that_takes_the_place_of_its_store(
    scheme: str, tmp_path: Path, address: str
) -> None:
    """The run has the same uid, and the numbers of its events go on from there: a watch of it, a watch of all runs, a
    page of its events and a page of runs are refused, and none goes on behind events that it has not seen."""
    store, copy = f"{scheme}:{tmp_path / 'store'}", tmp_path / "copy"

    async with Kernel(open_backend(store), [patient, short]) as kernel:
        await kernel.start(patient, run_id="r")
        await kernel.run(short, run_id="s")
        await kernel.backend.backup(copy)
        await kernel.signal("r", "go")
        await kernel.wait("r")
        async with served(kernel, address), stubs(address) as (stub, _):
            watch = stub.WatchRun(pb.WatchRunRequest(run_id="r"))
            header = (await anext(aiter(watch))).header
            uid, seq = header.run.uid, header.run.seq
            all_runs = (await anext(aiter(stub.WatchRuns(pb.WatchRunsRequest(from_now=True))))).header.cursor
            page = (await stub.ListRuns(pb.ListRunsRequest(page_size=1))).next_page_token
    await open_backend(store).restore(copy, force=True)

    at = {"run_id": "r", "uid": uid, "after_seq": seq, "store_id": header.store_id}
    async with Kernel(open_backend(store), [patient, short]) as kernel:
        for number in range(9):  # as many events as there were, and more
            await kernel.run(short, run_id=f"more-{number}")
        await kernel.signal("r", "go")
        await kernel.wait("r")
        async with served(kernel, address), stubs(address) as (stub, _):
            calls: dict[str, Callable[[], Any]] = {
                "WatchRun": lambda: anext(aiter(stub.WatchRun(pb.WatchRunRequest(**at)))),
                "WatchRuns": lambda: anext(aiter(stub.WatchRuns(pb.WatchRunsRequest(cursor=all_runs)))),
                "ListEvents": lambda: stub.ListEvents(pb.ListEventsRequest(**at)),
                "ListRuns": lambda: stub.ListRuns(pb.ListRunsRequest(page_size=1, page_token=page)),
            }
            told = {}
            for name, call in calls.items():
                with pytest.raises(aio.AioRpcError) as refused:
                    await call()
                told[name] = refused.value.code().name, "another store" in (refused.value.details() or "")

    lost = ("OUT_OF_RANGE", True)
    assert told == {"WatchRun": lost, "WatchRuns": lost, "ListEvents": lost, "ListRuns": ("INVALID_ARGUMENT", True)}


async def test_a_watch_goes_on_over_kills_and_sees_other_processes(folder: Path, address: str) -> None:
    """A server that is killed in the midst of many runs, and an embedded kernel that runs others in the same store:
    each event comes once, and those of a run in its order."""
    seen: dict[str, list[int]] = {}
    ended: set[str] = set()
    watched = anyio.Event()
    wanted = {f"{place}-{number}" for place in ("far", "near") for number in range(10)}

    async def watch() -> None:
        async with Client(address, reconnect_seconds=60) as client, aclosing(client.watch_runs()) as events:
            async for event in events:
                seen.setdefault(event.run_id, []).append(event.event.seq)
                if event.event.type == "run_completed":
                    ended.add(event.run_id)
                if ended == wanted:
                    watched.set()
                    return

    async def start(place: str, runs: Any) -> None:
        for number in range(10):
            await runs.start("busy", {"number": number}, run_id=f"{place}-{number}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        with server_process(folder, address):
            async with Client(address) as client:
                await start("far", client)
        with server_process(folder, address):  # the one before was killed
            async with Kernel(open_backend(f"sqlite:{folder}/state.db"), [busy], recover=False) as kernel:
                await start("near", kernel)
                results = [await kernel.result(f"near-{number}") for number in range(10)]
        with server_process(folder, address):
            async with Client(address) as client:
                results += [await client.result(f"far-{number}") for number in range(10)]
            await watched.wait()

    assert results == [busy_result(number) for number in range(10)] * 2
    assert {run_id: seqs == list(range(1, len(seqs) + 1)) for run_id, seqs in seen.items()} == dict.fromkeys(
        wanted, True
    )


async def read_into(found: list[Any], messages: AsyncIterator[Any]) -> None:
    """Read a stream to its end."""
    async for message in messages:
        found.append(message)  # noqa: PERF401 - what came before an error is kept


@pytest.mark.parametrize("method", ["WatchRun", "WatchRuns"])
async def test_a_server_that_stops_says_how_far_a_watch_is(method: str, address: str) -> None:
    """By a bookmark, also when nothing that is wanted has come; then when to come back."""
    from google.rpc.error_details_pb2 import RetryInfo
    from grpc_status import rpc_status

    requests = {
        "WatchRun": pb.WatchRunRequest(run_id="r", types=["run_failed"]),
        "WatchRuns": pb.WatchRunsRequest(types=["run_failed"]),
    }
    found: list[Any] = []
    async with Kernel(InMemoryBackend(), [patient]) as kernel, stubs(address) as (stub, _):
        await kernel.start(patient, run_id="r")
        async with served(kernel, address, bookmark_seconds=0.05):
            messages = aiter(getattr(stub, method)(requests[method]))
            while not (found and found[-1].WhichOneof("content") == "bookmark"):  # all there is has been looked at then
                found.append(await anext(messages))
        with pytest.raises(aio.AioRpcError) as ended:
            await read_into(found, messages)
        status = rpc_status.from_call(ended.value)  # type: ignore[arg-type]
        last = await kernel.backend.last_position()
        summary = await kernel.summary("r")

    assert found[-1].WhichOneof("content") == "bookmark"
    if method == "WatchRun":
        assert found[-1].bookmark.seq == summary.seq
    else:
        assert Cursor.parse(found[-1].bookmark.cursor).position <= last
    assert status is not None
    retry = RetryInfo()
    assert [detail.Unpack(retry) for detail in status.details].count(True) == 1
    assert retry.retry_delay.seconds >= 1


@pytest.mark.parametrize("method", ["WatchRun", "WatchRuns"])
async def test_an_event_is_encoded_once_for_all_watchers(
    method: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and each of them gets it; one that leaves the values out has a form of its own."""
    encoded: list[int] = []

    def counting(event: Any, payloads: Any) -> Any:
        encoded.append(event.seq)
        return to_event(event, payloads)

    for module in ("runs", "watches"):
        monkeypatch.setattr(f"flujo.server.{module}.to_event", counting)
    async with (
        Kernel(InMemoryBackend(), [short]) as kernel,
        served(kernel, address),
        stubs(address) as (stub, _),
    ):
        await kernel.run(short, run_id="r")
        last = (await kernel.summary("r")).seq
        for bare, watchers in ((False, 20), (True, 3)):
            for _ in range(watchers):
                one = pb.WatchRunRequest(run_id="r", without_payloads=bare)
                request = one if method == "WatchRun" else pb.WatchRunsRequest(without_payloads=bare)
                call = getattr(stub, method)(request)
                found: list[int] = []
                while len(found) < last:
                    found += [getattr(each, "event", each).seq for each in (await call.read()).events.events]
                call.cancel()
                assert found == list(range(1, last + 1))

    assert sorted(encoded) == sorted([*range(1, last + 1)] * 2)
