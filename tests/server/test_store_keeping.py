"""Moving runs, keeping the store and describing workflows over the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import aio
from grpc_status import rpc_status

from flujo.backends import open_backend
from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.client import Client
from flujo.client.store_keeping import served
from flujo.kernel import Context, Kernel, Observer, workflow
from flujo.kernel.checking import check
from flujo.kernel.errors import (
    CallFailedError,
    DefinitionsNotAllowedError,
    InvalidExportError,
    PayloadTooLargeError,
    RunExistsError,
    RunNotFoundError,
    RunReplacedError,
    StoreError,
    StoreExistsError,
    StoreFullError,
    WorkflowNotFoundError,
)
from flujo.kernel.transfer import Outcome, from_json, to_json
from flujo.server import transfers
from flujo.server.listening import load_stored
from flujo.v1 import run_service_pb2 as pb
from flujo.v1 import workflow_service_pb2, workflow_service_pb2_grpc
from flujo.workflows import load_workflow_text
from server.harness import served as serving
from server.harness import stubs, told_by

DEFINITION = """\
name: letters
version: "2"
params: {a: 1}
steps: [{name: first, task: noop}, {name: second, task: noop}]
"""
MIB = 1024 * 1024


@workflow()
async def large(ctx: Context, size: int) -> str:
    """As many characters as it is asked for."""
    return "x" * size


@workflow()
async def parent(ctx: Context) -> Any:
    """Starts a run and waits for it."""
    return await ctx.run_child(large, {"size": 1})


@asynccontextmanager
async def both(folder: Path, address: str, store: str = "sqlite") -> AsyncIterator[tuple[Kernel, Client]]:
    """A kernel on a store in a folder, and a client of its server."""
    backend = open_backend(f"{store}:{folder}/{store}")
    letters = load_workflow_text(DEFINITION, "letters.yaml")
    kernel = Kernel(backend, [large, parent, letters], workspaces=folder / "w", load_definition=load_stored)
    async with kernel, serving(kernel, address), Client(address) as client:
        yield kernel, client


async def test_an_output_of_thirty_megabytes_is_stored_read_and_exported(folder: Path, address: str) -> None:
    """Whole, in messages that every client takes; and another server takes the document."""
    async with both(folder, address) as (_, client):
        await client.start("large", {"size": 30 * MIB}, run_id="r")
        assert len(await client.result("r")) == 30 * MIB
        export = await client.export_run("r")
        assert len(to_json(export)) > 30 * MIB
        await client.delete("r")
        (arrival,) = await client.import_run(export)
        assert (arrival.run_id, arrival.outcome) == ("r", Outcome.CREATED)
        state = await client.inspect("r")

    assert len(state.output) == 30 * MIB
    assert state.uid == export.run.summary.uid


async def test_pieces_of_a_document_are_small(folder: Path, address: str) -> None:
    """Whatever a run holds: a client with gRPC's own limit reads it."""
    async with both(folder, address) as (kernel, _), stubs(address) as (stub, _system):
        await kernel.run("large", {"size": 3 * MIB}, run_id="r")
        pieces = [each.chunk async for each in stub.ExportRun(pb.ExportRunRequest(run_id="r"))]

    assert max(map(len, pieces)) == 64 * 1024
    assert from_json(b"".join(pieces)).run.summary.run_id == "r"


async def test_children_go_along(folder: Path, address: str) -> None:
    """If they are asked for; an import may be repeated."""
    async with both(folder, address) as (kernel, client):
        await kernel.run("parent", run_id="r")
        alone, family = await client.export_run("r"), await client.export_run("r", with_children=True)
        outcomes = [each.outcome for each in await client.import_run(family)]

    assert (len(alone.children), len(family.children)) == (0, 1)
    assert outcomes == [Outcome.UNCHANGED] * 2


async def test_what_is_no_document_is_refused(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reason of the contract, and nothing is stored."""
    async with both(folder, address) as (kernel, client), stubs(address) as (stub, _):
        await kernel.run("large", {"size": 1}, run_id="r")
        export = await client.export_run("r")
        with pytest.raises(InvalidExportError, match="event"):
            await client.import_run(export._replace(run=export.run._replace(events=export.run.events[1:])))
        other = export.run.summary._replace(uid="0" * 32)
        with pytest.raises(RunExistsError):
            await client.import_run(export._replace(run=export.run._replace(summary=other)))
        with pytest.raises(RunNotFoundError):
            await client.export_run("nobody")
        told = []
        for pieces in ([], [b"{"], [b"\xff" * 10]):
            call = stub.ImportRun(pb.ImportRunRequest(chunk=piece) for piece in pieces)
            with pytest.raises(aio.AioRpcError) as refused:
                await call
            status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
            info = ErrorInfo()
            assert status is not None
            assert status.details[0].Unpack(info)
            told.append((refused.value.code().name, info.reason))
        monkeypatch.setattr(transfers, "MAX_DOCUMENT_BYTES", 100)
        with pytest.raises(PayloadTooLargeError):
            await client.import_run(export)
        assert await kernel.count() == 1

    assert told == [("INVALID_ARGUMENT", "INVALID_FIELD")] * 3


async def test_an_import_that_is_broken_off_stores_nothing(folder: Path, address: str) -> None:
    """The client goes when all but the end of the document is sent."""
    async with both(folder, address) as (kernel, client), stubs(address) as (stub, _):
        await kernel.run("large", {"size": 1}, run_id="r")
        document = to_json(await client.export_run("r")).encode().rstrip()
        await client.delete("r")
        going = anyio.Event()

        async def pieces() -> AsyncIterator[pb.ImportRunRequest]:
            yield pb.ImportRunRequest(chunk=document[:-1])
            going.set()
            await anyio.sleep_forever()

        call = stub.ImportRun(pieces())
        await going.wait()
        call.cancel()
        assert (await call.code()).name == "CANCELLED"
        assert await kernel.count() == 0


@pytest.mark.parametrize("store", ["sqlite", "file"])
async def test_a_copy_of_the_store_comes_over_the_wire(store: str, folder: Path, address: str) -> None:
    """It opens as a store, has what was there, and is nobody else's to read; what is there already stays."""
    target = folder / "copy"
    async with both(folder, address, store) as (kernel, client):
        await kernel.run("large", {"size": 200_000}, run_id="r")
        size = await client.backup(target)
        with pytest.raises(StoreExistsError):
            await client.backup(target)
    async with open_backend(f"{store}:{target}") as backend:
        state = await Observer(backend).inspect("r")
        report = await check(backend)

    assert size > 200_000
    assert len(state.output) == 200_000
    assert report.is_sound
    assert not [path.name for path in folder.iterdir() if "backup" in path.name or "unfinished" in path.name]  # noqa: ASYNC240


async def test_a_copy_that_breaks_off_leaves_nothing(folder: Path, address: str) -> None:
    """Neither a part under the name asked for, nor one beside it. A server that names other places is not believed."""
    async with both(folder, address) as (_, client):
        for file in ("../evil", "/etc/evil", "a/../../evil"):
            client._open.system.Backup = _answering([_named(file)])
            with pytest.raises(CallFailedError, match="outside"):
                await client.backup(folder / "copy")
        left = sorted(path.name for path in folder.iterdir())  # noqa: ASYNC240

    assert not [name for name in left if "copy" in name or "evil" in name]


def _named(file: str) -> Any:
    from flujo.v1.system_service_pb2 import BackupResponse

    return BackupResponse(file=file, chunk=b"x")


def _answering(messages: list[Any]) -> Any:
    """A method that answers with these messages."""

    class Call:
        def __init__(self, request: Any, **options: Any) -> None:
            self._left = list(messages)

        def __aiter__(self) -> Call:
            return self

        async def __anext__(self) -> Any:
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop(0)

        def cancel(self) -> None:
            pass

        async def code(self) -> None:
            pass

    return Call


async def test_a_check_over_the_wire_says_what_a_check_says(folder: Path, address: str) -> None:
    """Of a sound store, and of one in which an event was changed."""
    import sqlite3

    async with both(folder, address) as (kernel, client):
        for number in range(3):
            await kernel.run("large", {"size": number}, run_id=f"r-{number}")
        assert await client.check() == await check(kernel.backend)
        with sqlite3.connect(folder / "sqlite") as connection:
            connection.execute("UPDATE events SET at = at + 1 WHERE run = 1 AND seq = 2")
        connection.close()
        damaged = await client.check()
        assert damaged == await check(kernel.backend)

    assert damaged.damaged == 1
    assert damaged.findings[0].run_id == "r-0"


async def test_the_workflows_of_a_server_are_listed_and_shown(folder: Path, address: str) -> None:
    """As they are here: a definition with its text and steps, a program with what it takes."""
    async with both(folder, address) as (kernel, client):
        known = kernel.workflows
        assert list(await client.workflows()) == [
            served(known[name])._replace(definition=None, plan=None) for name in sorted(known)
        ]
        for name in known:
            assert await client.workflow(name) == served(known[name])
        with pytest.raises(WorkflowNotFoundError):
            await client.workflow("nothing")


async def test_workflows_come_in_pages(folder: Path, address: str) -> None:
    """Each once, however many a page has; a token of something else is none."""
    async with both(folder, address), aio.insecure_channel(address) as channel:
        stub = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        names, token = [], ""
        while True:
            request = workflow_service_pb2.ListWorkflowsRequest(page_size=1, page_token=token)
            page = await stub.ListWorkflows(request)
            names += [each.name for each in page.workflows]
            if not (token := page.next_page_token):
                break
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.ListWorkflows(workflow_service_pb2.ListWorkflowsRequest(page_token="letters"))

    assert names == ["large", "letters", "parent"]
    assert refused.value.code().name == "INVALID_ARGUMENT"


async def test_a_definition_is_looked_at_without_running_it(folder: Path, address: str) -> None:
    """What it describes and what may not be meant, or everything that is wrong, each with its place."""
    async with both(folder, address) as (kernel, client):
        good = await client.validate(DEFINITION, "letters.yaml")
        odd = await client.validate("name: odd\nsteps: [{name: a, task: noop, condition: false}]", "odd.yaml")
        wrong = "name: bad\nsteps:\n  - {name: a, task: ecko}\n  - {name: b, task: nope}"
        bad = await client.validate(wrong, "bad.yaml")
        async with aio.insecure_channel(address) as channel:
            stub = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
            with pytest.raises(aio.AioRpcError) as refused:
                await stub.ValidateWorkflow(workflow_service_pb2.ValidateWorkflowRequest())
        assert await kernel.count() == 0

    assert good.workflow is not None
    assert good.workflow == served(load_workflow_text(DEFINITION, "letters.yaml"))
    assert (good.problems, good.warnings) == ([], [])
    assert ["never runs" in each.message for each in odd.warnings] == [True]
    assert bad.workflow is None
    assert [(each.file, each.line) for each in bad.problems] == [("bad.yaml", 3), ("bad.yaml", 4)]
    assert refused.value.code().name == "INVALID_ARGUMENT"


def test_definitions_may_not_come_in_by_a_document() -> None:
    """A server that takes none over the network takes no document either: test_access.py tries it over TCP."""
    from flujo.server.access import BRING_DEFINITIONS

    assert BRING_DEFINITIONS == ("/flujo.v1.RunService/ImportRun",)
    assert DefinitionsNotAllowedError.reason == "DEFINITIONS_NOT_ALLOWED"


@pytest.mark.parametrize("trouble", [StoreError("memory:", "the disk is on fire"), StoreFullError("memory:")])
@pytest.mark.parametrize("call", ["backup", "check", "export_run"])
async def test_trouble_with_the_store_arrives_as_itself(
    call: str, trouble: StoreError, folder: Path, address: str
) -> None:
    """With the code and reason that the contract lists, and nothing is left of a copy."""

    class Troubled(InMemoryBackend):
        async def backup(self, target: Path) -> int:
            raise trouble

        async def integrity_beside_runs(self) -> Any:
            raise trouble

        async def load(self, run_id: str) -> Any:
            raise trouble

    kernel = Kernel(Troubled(), [large])
    calls = {"backup": (folder / "copy",), "check": (), "export_run": ("r",)}
    async with kernel, serving(kernel, address), Client(address) as client:
        with pytest.raises(type(trouble)) as refused:
            await getattr(client, call)(*calls[call])

    assert told_by(refused.value) == told_by(trouble)
    assert sorted(path.name for path in folder.iterdir()) in (["s.lock"], ["s", "s.lock"])  # noqa: ASYNC240


async def test_a_run_that_is_replaced_while_it_is_read_is_not_exported(folder: Path, address: str) -> None:
    """Half of one and half of another would be no run."""

    class Replacing(InMemoryBackend):
        async def load(self, run_id: str) -> Any:
            found = await super().load(run_id)
            self.loads = getattr(self, "loads", 0) + 1
            return found._replace(uid="f" * 32) if self.loads > 1 else found

    async with Kernel(InMemoryBackend(store := MemoryStore()), [large]) as kernel:
        await kernel.run("large", {"size": 1}, run_id="r")
    kernel = Kernel(Replacing(store), [large], recover=False)
    async with kernel, serving(kernel, address), Client(address) as client:
        with pytest.raises(RunReplacedError):
            await client.export_run("r")
