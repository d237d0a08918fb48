"""One trace of a real run, exported by OpenTelemetry's SDK to a file, from the caller down to a command of a step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpc import aio
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flujo.backends import open_backend
from flujo.client.addresses import ServerAddress
from flujo.kernel import Kernel, traces
from flujo.kernel.errors import StoreError
from flujo.kernel.traces import TraceContext
from flujo.server.listening import ListenOptions, load_stored, observed
from flujo.server.observing import Observing
from flujo.server.sockets import claimed
from flujo.server.tracing import Tracer
from flujo.v1 import run_service_pb2 as pb
from flujo.v1 import run_service_pb2_grpc
from flujo.workflows import load_workflow_text

CALLER = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")

DEFINITION = """\
name: traced
steps:
  - name: flaky
    task: shell
    inputs: {command: "test -e tried || { touch tried; exit 1; }"}
    retry: {max_attempts: 2, delay: 0}
  - {name: told, task: shell, inputs: {command: "echo $TRACEPARENT"}}
"""


async def run_traced(folder: Path, address: str, caller: TraceContext | None) -> tuple[list[dict[str, Any]], Any]:
    """The spans of a run over the wire, and the run."""
    file = folder / "spans.jsonl"
    kernel = Kernel(open_backend(f"sqlite:{folder}/s.db"), workspaces=folder / "w", load_definition=load_stored)
    where, options = ServerAddress.parse(address), ListenOptions(observing=Observing(traces=str(file)))
    with claimed(where):
        async with kernel, observed(kernel, where, options), aio.insecure_channel(address) as channel:
            stub: Any = run_service_pb2_grpc.RunServiceStub(channel)
            request = pb.StartRunRequest(run_id="r")
            request.definition.text = DEFINITION
            await stub.StartRun(request, metadata=() if caller is None else (("traceparent", caller.header),))
            await stub.WaitRun(pb.WaitRunRequest(run_id="r"))
            state = await kernel.inspect("r")
    return [json.loads(line) for line in file.read_text().splitlines()], state


def numbered(span: dict[str, Any]) -> tuple[str, str]:
    """The trace and the span of an exported one, as a header has them."""
    return span["context"]["trace_id"].removeprefix("0x"), span["context"]["span_id"].removeprefix("0x")


async def test_one_trace_goes_from_the_caller_to_a_command(folder: Path, address: str) -> None:
    """The call, the run, its steps and attempts are one trace, each below what it belongs to; a failed attempt is an
    error, and its step is none."""
    spans, state = await run_traced(folder, address, CALLER)
    by_name = {span["name"]: span for span in spans}
    parents = {name: (span["parent_id"] or "").removeprefix("0x") for name, span in by_name.items()}
    ids = {name: numbered(span)[1] for name, span in by_name.items()}
    told = state.steps["told"].output["stdout"].strip()

    assert {numbered(span)[0] for span in spans if "WaitRun" not in span["name"]} == {CALLER.trace_id}
    assert parents["flujo.v1.RunService/StartRun"] == CALLER.span_id
    assert parents["run traced"] == ids["flujo.v1.RunService/StartRun"]
    assert parents["step flaky"] == parents["step told"] == ids["run traced"]
    assert parents["attempt 1 of flaky"] == parents["attempt 2 of flaky"] == ids["step flaky"]
    assert told == TraceContext(CALLER.trace_id, ids["attempt 1 of told"]).header
    codes = {name: span["status"]["status_code"] for name, span in by_name.items()}
    assert (codes["attempt 1 of flaky"], codes["attempt 2 of flaky"], codes["step flaky"]) == (
        "ERROR",
        "UNSET",
        "UNSET",
    )
    assert by_name["run traced"]["attributes"]["flujo.run_id"] == "r"


async def test_a_run_without_a_caller_has_a_trace_of_its_own(folder: Path, address: str) -> None:
    """Which begins with the call that started it."""
    spans, state = await run_traced(folder, address, None)
    by_name = {span["name"]: span for span in spans}
    started = numbered(by_name["flujo.v1.RunService/StartRun"])

    assert by_name["flujo.v1.RunService/StartRun"]["parent_id"] is None
    assert traces.parent_of(state.environment) == TraceContext(*started)
    assert numbered(by_name["run traced"])[0] == started[0]


async def test_what_the_caller_does_not_sample_is_not_exported(folder: Path, address: str) -> None:
    """Commands are told of it all the same, and that it is not."""
    spans, state = await run_traced(folder, address, CALLER._replace(is_sampled=False))

    assert [span["name"] for span in spans] == ["flujo.v1.RunService/WaitRun"]
    assert state.steps["told"].output["stdout"].strip().endswith("-00")


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-01", "\u00e9"])
async def test_a_malformed_header_keeps_no_call_from_being_answered(header: str, folder: Path, address: str) -> None:
    """It is passed over."""
    kernel = Kernel(open_backend("memory:"), workspaces=folder / "w")
    where = ServerAddress.parse(address)
    with claimed(where):
        async with kernel, observed(kernel, where, ListenOptions()), aio.insecure_channel(address) as channel:
            stub: Any = run_service_pb2_grpc.RunServiceStub(channel)
            metadata = (("traceparent", header),) if header.isascii() else (("traceparent-bin", header.encode()),)
            answer = await stub.CountRuns(pb.CountRunsRequest(), metadata=metadata)

    assert answer.count == 0


async def test_a_server_that_is_cancelled_exports_what_has_ended(folder: Path, address: str) -> None:
    """As Ctrl-C and SIGTERM end one: the last spans are those that people look for."""
    file, where = folder / "spans.jsonl", ServerAddress.parse(address)
    kernel = Kernel(open_backend(f"sqlite:{folder}/s.db"), workspaces=folder / "w", load_definition=load_stored)
    options = ListenOptions(observing=Observing(traces=str(file)))
    with claimed(where), anyio.CancelScope() as serving:
        async with kernel, observed(kernel, where, options):
            await kernel.run(load_workflow_text("name: x\nsteps: [{name: a, task: noop}]", "x.yaml"))
            serving.cancel()
            await anyio.sleep_forever()

    names = [json.loads(line)["name"] for line in file.read_text().splitlines()]
    assert names == ["attempt 1 of a", "step a", "run x"]


async def test_every_text_of_a_span_can_be_sent(folder: Path) -> None:
    """A name of a file is any bytes, and stands in errors about it; an exporter would give up all that it has."""
    exported = InMemorySpanExporter()
    tracer = Tracer(SimpleSpanProcessor(exported), Kernel(open_backend("memory:"), workspaces=folder / "w").clock)
    path = os.fsdecode(b"r\xe9sum\xe9.db")

    with pytest.raises(StoreError, match="cannot be read"), tracer.call("/flujo.v1.RunService/ListRuns", None):
        raise StoreError(path, "it cannot be read")

    [span] = exported.get_finished_spans()
    assert str(span.status.description).encode() == rb"StoreError: r\udce9sum\udce9.db: it cannot be read"
