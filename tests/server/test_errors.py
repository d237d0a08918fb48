"""Every documented error of every method, on the wire and in Python.

Each case is asked for twice: with the generated stubs, where code, reason and metadata are looked at, and through
`Kernel` and `Client`, which must raise the same. The cases are held against the comments of the contract."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure
from grpc import aio
from grpc_status import rpc_status

from flujo.backends.memory import InMemoryBackend
from flujo.client import Client
from flujo.client.paths import has_path
from flujo.kernel import Kernel, RunFailed, Runs
from flujo.kernel.api import MAX_INPUT_BYTES, NewRun
from flujo.kernel.backend import Commit, Refused
from flujo.kernel.errors import (
    CorruptStoreError,
    FlujoError,
    ServerFailedError,
    ServerStoppingError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    UnknownEventError,
)
from flujo.kernel.transfer import export_run, to_json
from flujo.server.listening import load_stored
from flujo.server.pages import PageTokens
from flujo.v1 import run_pb2
from flujo.v1 import run_service_pb2 as pb
from flujo.v1 import system_service_pb2 as system_pb
from flujo.v1.payload_pb2 import PAYLOAD_PART_PLAN, Definition, Payload
from kernel.harness import Harness, until
from proto.contract import Documented, documented_errors
from server.flows import FAILS, WORKS, Flaky, choosy, doubling, echoing, forgotten, letters, stuck, waiting, writing
from server.harness import CountingGuard, both, install_counting_guard, raised_by, served, stubs, told_by

TOO_LARGE = "x" * MAX_INPUT_BYTES


class Case(NamedTuple):
    """A request that is refused. `call` is the same in Python, None where Python cannot ask for it."""

    method: str
    code: str
    reason: str
    what: str
    request: Any
    call: Callable[[Runs], Awaitable[Any]] | None = None
    metadata: Mapping[str, str] = {}
    other_words: bool = False
    """A client is told in other words than a Python program: of a server, or by a path of the request."""


async def watch(runs: Runs, *arguments: Any, **options: Any) -> None:
    """Follow a run to the end."""
    async with aclosing(runs.watch(*arguments, **options)) as events:
        async for _ in events:
            pass


async def exported(runs: Any, run_id: str) -> Any:
    """A run as a document, of a kernel or of a client."""
    return await (runs.export_run(run_id) if isinstance(runs, Client) else export_run(runs.backend, run_id))


async def watch_all(runs: Runs) -> None:
    """Follow all runs until that fails."""
    async with aclosing(runs.watch_runs()) as events:
        async for _ in events:
            pass


def about(method: str, request: Any, call: Callable[[Runs, str], Awaitable[Any]] | None) -> Case:
    """The case of a run that does not exist."""
    asked = None if call is None else (lambda runs: call(runs, "nobody"))
    metadata = {"run_id": "nobody", "store": "memory:", "hints": "flujoctl list"}
    return Case(method, "NOT_FOUND", "RUN_NOT_FOUND", "no run", request, asked, metadata)


NOW = "the uid that the run has now"
DONE = b"the document of the run done"
"""In the place of that document."""

BEFORE = "0123456789abcdef0123456789abcdef"
"""The uid of an earlier run."""

INVALID, MISSING, EXISTS, WRONG = "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION"


def _of_a_step(
    method: str,
    request: Callable[..., Any],
    call: Callable[[Runs, str, str, Any], Awaitable[Any]],
) -> list[Case]:
    """What SkipStep and SetStepOutput refuse alike."""

    def case(code: str, reason: str, what: str, run_id: str, step: str, metadata: dict[str, str]) -> Case:
        return Case(
            method,
            code,
            reason,
            what,
            request(run_id=run_id, step=step),
            lambda runs: call(runs, run_id, step, 1),
            metadata,
        )

    large = Payload(json=f'"{TOO_LARGE}"')
    return [
        Case(
            method,
            INVALID,
            "PAYLOAD_INVALID",
            "output",
            request(run_id="failed", step="middle", output=Payload(json="NaN")),
            None,
            {"path": "the output"},
        ),
        Case(
            method,
            INVALID,
            "PAYLOAD_TOO_LARGE",
            "output",
            request(run_id="failed", step="middle", output=large),
            lambda runs: call(runs, "failed", "middle", TOO_LARGE),
            {"what": "the output"},
        ),
        about(method, request(run_id="nobody", step="a"), lambda runs, run_id: call(runs, run_id, "a", 1)),
        case(MISSING, "STEP_NOT_FOUND", "step", "failed", "fourth", {"step": "fourth"}),
        case(WRONG, "RUN_ACTIVE", "live run", "live", "endless", {"run_id": "live"}),
        case(WRONG, "RUN_FINISHED", "completed run", "done", "double", {"status": "completed"}),
        case(WRONG, "STEP_COMPLETED", "completed step", "failed", "first", {"step": "first"}),
    ]


def _of_a_request(
    method: str, run_id: str, request: Callable[..., Any], call: Callable[[Runs, str], Awaitable[Any]]
) -> list[Case]:
    """What every method refuses that takes a request id: one that is none, and one the run `run_id` has seen."""
    return [
        Case(
            method,
            INVALID,
            "INVALID_FIELD",
            "request id",
            request(request_id="not an id"),
            lambda runs: call(runs, "not an id"),
            {"what": "request id", "name": "not an id"},
        ),
        Case(
            method,
            EXISTS,
            "REQUEST_ID_REUSED",
            "request id",
            request(request_id="used"),
            lambda runs: call(runs, "used"),
            {"run_id": run_id, "request_id": "used"},
        ),
    ]


def asking(call: Callable[..., Awaitable[Any]], **chosen: Any) -> Callable[[Runs], Awaitable[Any]]:
    """Ask something of the runs that are chosen."""
    return lambda runs: call(runs, **chosen)


BULK: list[tuple[str, Callable[..., Any], Callable[..., Awaitable[Any]]]] = [
    ("CancelRuns", pb.CancelRunsRequest, lambda runs, **chosen: runs.cancel_runs(**chosen)),
    ("PauseRuns", pb.PauseRunsRequest, lambda runs, **chosen: runs.pause_runs(**chosen)),
    ("UnpauseRuns", pb.UnpauseRunsRequest, lambda runs, **chosen: runs.unpause_runs(**chosen)),
    ("ResumeRuns", pb.ResumeRunsRequest, lambda runs, **chosen: runs.resume_runs(**chosen)),
    (
        "SignalRuns",
        lambda **parts: pb.SignalRunsRequest(name="go", **parts),
        lambda runs, **chosen: runs.signal_runs("go", **chosen),
    ),
]
"""The calls for many runs: method, request, and the same in Python."""

CASES = [
    # request ids
    *_of_a_request(
        "StartRun",
        "done",
        lambda **given: pb.StartRunRequest(
            workflow="doubling", run_id="done", inputs=Payload(json='{"number": 9}'), **given
        ),
        lambda runs, id: runs.start("doubling", {"number": 9}, run_id="done", request_id=id),
    ),
    *_of_a_request(
        "ResumeRun",
        "failed",
        lambda **given: pb.ResumeRunRequest(run_id="failed", **given),
        lambda runs, id: runs.resume("failed", request_id=id),
    ),
    *_of_a_request(
        "SignalRun",
        "waiting",
        lambda **given: pb.SignalRunRequest(run_id="waiting", name="go", **given),
        lambda runs, id: runs.signal("waiting", "go", request_id=id),
    ),
    *_of_a_request(
        "CancelRun",
        "done",
        lambda **given: pb.CancelRunRequest(run_id="done", **given),
        lambda runs, id: runs.cancel("done", request_id=id),
    ),
    *_of_a_request(
        "PauseRun",
        "waiting",
        lambda **given: pb.PauseRunRequest(run_id="waiting", **given),
        lambda runs, id: runs.pause("waiting", request_id=id),
    ),
    *_of_a_request(
        "UnpauseRun",
        "waiting",
        lambda **given: pb.UnpauseRunRequest(run_id="waiting", **given),
        lambda runs, id: runs.unpause("waiting", request_id=id),
    ),
    *_of_a_request(
        "SkipStep",
        "failed",
        lambda **given: pb.SkipStepRequest(run_id="failed", step="middle", **given),
        lambda runs, id: runs.skip("failed", "middle", request_id=id),
    ),
    *_of_a_request(
        "SetStepOutput",
        "failed",
        lambda **given: pb.SetStepOutputRequest(run_id="failed", step="middle", output=Payload(json="1"), **given),
        lambda runs, id: runs.set_output("failed", "middle", 1, request_id=id),
    ),
    *_of_a_request(
        "SetVariable",
        "waiting",
        lambda **given: pb.SetVariableRequest(run_id="waiting", name="mode", value=Payload(json='"fast"'), **given),
        lambda runs, id: runs.set_variable("waiting", "mode", "fast", request_id=id),
    ),
    *_of_a_request(
        "ForkRun",
        "done",
        lambda **given: pb.ForkRunRequest(run_id="failed", new_run_id="done", **given),
        lambda runs, id: runs.fork("failed", new_run_id="done", request_id=id),
    ),
    # StartRuns
    Case(
        "StartRuns",
        INVALID,
        "INVALID_FIELD",
        "too many",
        pb.StartRunsRequest(starts=[pb.StartRunRequest(workflow="doubling")] * 1001),
        lambda runs: runs.start_runs([NewRun("doubling")] * 1001),
        {"what": "starts"},
        other_words=True,
    ),
    # StartRun
    Case("StartRun", INVALID, "INVALID_FIELD", "no workflow", pb.StartRunRequest(), None, {"what": "workflow"}),
    Case(
        "StartRun",
        INVALID,
        "INVALID_FIELD",
        "run id",
        pb.StartRunRequest(workflow="doubling", run_id="not an id"),
        lambda runs: runs.start("doubling", run_id="not an id"),
        {"what": "run id", "name": "not an id"},
    ),
    Case(
        "StartRun",
        INVALID,
        "INVALID_FIELD",
        "inputs",
        pb.StartRunRequest(workflow="doubling", inputs=Payload(json='{"number": "x", "colour": 1}')),
        lambda runs: runs.start("doubling", {"number": "x", "colour": 1}),
        {"workflow": "doubling"},
    ),
    Case(
        "StartRun",
        INVALID,
        "INVALID_FIELD",
        "definition",
        pb.StartRunRequest(definition=Definition(text="name: x\nsteps: [{name: a, task: ecko}]\n", name="x.yaml")),
    ),
    Case(
        "StartRun",
        INVALID,
        "INVALID_FIELD",
        "large definition",
        pb.StartRunRequest(definition=Definition(text="name: x\n# " + "x" * 256 * 1024)),
    ),
    Case("StartRun", INVALID, "INVALID_FIELD", "no definition", pb.StartRunRequest(definition=Definition())),
    Case(
        "StartRun",
        INVALID,
        "PAYLOAD_INVALID",
        "no JSON",
        pb.StartRunRequest(workflow="echoing", inputs=Payload(json="{")),
        None,
        {"path": "the inputs"},
    ),
    Case(
        "StartRun",
        INVALID,
        "PAYLOAD_INVALID",
        "no object",
        pb.StartRunRequest(workflow="echoing", inputs=Payload(json="[1]")),
    ),
    Case(
        "StartRun",
        INVALID,
        "PAYLOAD_INVALID",
        "other content",
        pb.StartRunRequest(workflow="echoing", inputs=Payload(json="{}", content_type="text/yaml")),
    ),
    Case(
        "StartRun",
        INVALID,
        "PAYLOAD_TOO_LARGE",
        "inputs",
        pb.StartRunRequest(workflow="echoing", inputs=Payload(json=f'{{"value":"{TOO_LARGE}"}}')),
        lambda runs: runs.start("echoing", {"value": TOO_LARGE}),
        {"what": "the inputs", "limit": str(MAX_INPUT_BYTES)},
    ),
    Case(
        "StartRun",
        MISSING,
        "WORKFLOW_NOT_FOUND",
        "unknown workflow",
        pb.StartRunRequest(workflow="tripling"),
        lambda runs: runs.start("tripling"),
        {"workflow": "tripling"},
        True,
    ),
    Case(
        "StartRun",
        EXISTS,
        "RUN_EXISTS",
        "other workflow",
        pb.StartRunRequest(workflow="waiting", run_id="done"),
        lambda runs: runs.start("waiting", run_id="done"),
        {"run_id": "done", "difference": "the workflow 'doubling'"},
    ),
    Case(
        "StartRun",
        EXISTS,
        "RUN_EXISTS",
        "other inputs",
        pb.StartRunRequest(workflow="doubling", run_id="done", inputs=Payload(json='{"number": 9}')),
        lambda runs: runs.start("doubling", {"number": 9}, run_id="done"),
        {"difference": "other inputs"},
    ),
    # GetRun, ListRuns, ListSteps, WaitRun
    about("GetRun", pb.GetRunRequest(run_id="nobody"), lambda runs, run_id: runs.summary(run_id)),
    about(
        "GetRun",
        pb.GetRunRequest(run_id="nobody", view=run_pb2.RUN_VIEW_FULL),
        lambda runs, run_id: runs.inspect(run_id),
    ),
    Case("ListRuns", INVALID, "INVALID_FIELD", "page size", pb.ListRunsRequest(page_size=-1), None, {"name": "-1"}),
    Case(
        "ListRuns",
        INVALID,
        "INVALID_FIELD",
        "page token",
        pb.ListRunsRequest(page_token="nonsense"),
        lambda runs: runs.list(page="nonsense"),
        {"what": "page token"},
    ),
    Case(
        "ListRuns",
        INVALID,
        "INVALID_FIELD",
        "status",
        pb.ListRunsRequest(filter=pb.RunFilter(statuses=[run_pb2.RUN_STATUS_UNSPECIFIED])),
        None,
        {"what": "statuses", "name": "0"},
    ),
    Case(
        "ListRuns",
        INVALID,
        "INVALID_FIELD",
        "order",
        pb.ListRunsRequest(order=7),  # type: ignore[arg-type]
        None,
        {"what": "order", "name": "7"},
    ),
    *(
        Case(
            method,
            INVALID,
            "INVALID_FIELD",
            "instant",
            request(filter=pb.RunFilter(created_from=Timestamp(seconds=2**40))),
            call,
            {"what": "filter.created_from"},
            True,
        )
        for method, request, call in (
            ("ListRuns", pb.ListRunsRequest, lambda runs: runs.list(created_from=2**40 * 1_000_000)),
            ("CountRuns", pb.CountRunsRequest, lambda runs: runs.count(created_from=2**40 * 1_000_000)),
        )
    ),
    Case(
        "CountRuns",
        INVALID,
        "INVALID_FIELD",
        "status",
        pb.CountRunsRequest(filter=pb.RunFilter(statuses=[run_pb2.RUN_STATUS_UNSPECIFIED])),
        None,
        {"what": "statuses", "name": "0"},
    ),
    Case(
        "GetStats",
        INVALID,
        "INVALID_FIELD",
        "negative window",
        pb.GetStatsRequest(window=Duration(seconds=-1)),
        lambda runs: runs.stats(window_seconds=-1.0),
        {"what": "window"},
        True,
    ),
    Case(
        "GetStats",
        INVALID,
        "INVALID_FIELD",
        "page token of another window",
        pb.GetStatsRequest(window=Duration(seconds=60), page_token=PageTokens("GetStats", 3600.0, "").after("flow")),
    ),
    Case("GetStats", INVALID, "INVALID_FIELD", "endless window", pb.GetStatsRequest(window=Duration(seconds=2**62))),
    Case("ListSteps", INVALID, "INVALID_FIELD", "page size", pb.ListStepsRequest(run_id="done", page_size=-1)),
    Case("ListSteps", INVALID, "INVALID_FIELD", "page token", pb.ListStepsRequest(run_id="done", page_token="second")),
    Case(
        "ListSteps",
        INVALID,
        "INVALID_FIELD",
        "page token of another run",
        pb.ListStepsRequest(run_id="done", page_token=PageTokens("ListSteps", "letters").after(BEFORE, 1)),
    ),
    about("ListSteps", pb.ListStepsRequest(run_id="nobody"), None),
    Case(
        "ListSteps",
        "ABORTED",
        "RUN_REPLACED",
        "page token of an earlier life",
        pb.ListStepsRequest(run_id="done", page_token=PageTokens("ListSteps", "done").after(BEFORE, 1)),
    ),
    Case(
        "WaitRun",
        INVALID,
        "INVALID_FIELD",
        "negative wait",
        pb.WaitRunRequest(run_id="done", max_wait=Duration(seconds=-1)),
    ),
    about("WaitRun", pb.WaitRunRequest(run_id="nobody"), lambda runs, run_id: runs.wait(run_id)),
    # WatchRun, ListEvents, ReadPayload, ReadLogs
    about("WatchRun", pb.WatchRunRequest(run_id="nobody"), watch),
    Case(
        "WatchRun",
        "OUT_OF_RANGE",
        "CURSOR_OUT_OF_RANGE",
        "cursor",
        pb.WatchRunRequest(run_id="done", after_seq=2**64 - 1, uid=NOW),
        lambda runs: watch(runs, "done", 2**64 - 1),
        {"run_id": "done", "after_seq": str(2**64 - 1), "last_seq": "4"},
    ),
    Case(
        "WatchRun",
        MISSING,
        "RUN_DELETED",
        "deleted",
        pb.WatchRunRequest(run_id="deleted", uid="an-earlier-life"),
        lambda runs: watch(runs, "deleted", uid="an-earlier-life"),
        {"run_id": "deleted"},
    ),
    Case(
        "WatchRun",
        "ABORTED",
        "RUN_REPLACED",
        "another life",
        pb.WatchRunRequest(run_id="done", uid="an-earlier-life"),
        lambda runs: watch(runs, "done", uid="an-earlier-life"),
        {"run_id": "done"},
    ),
    Case(
        "WatchRun",
        "OUT_OF_RANGE",
        "CURSOR_OF_ANOTHER_STORE",
        "another store",
        pb.WatchRunRequest(run_id="done", after_seq=2, uid=NOW, store_id="another"),
        metadata={"cursor": "another.2"},
    ),
    Case("WatchRun", INVALID, "INVALID_FIELD", "no uid", pb.WatchRunRequest(run_id="done", after_seq=1)),
    Case("WatchRun", INVALID, "INVALID_FIELD", "no type", pb.WatchRunRequest(run_id="done", types=["step_teleported"])),
    Case(
        "WatchRun",
        INVALID,
        "INVALID_FIELD",
        "two beginnings",
        pb.WatchRunRequest(run_id="done", after_seq=1, uid=NOW, from_now=True),
    ),
    Case("ListEvents", INVALID, "INVALID_FIELD", "no uid", pb.ListEventsRequest(run_id="done", after_seq=1)),
    Case("ListEvents", INVALID, "INVALID_FIELD", "page size", pb.ListEventsRequest(run_id="done", page_size=-1)),
    about("ListEvents", pb.ListEventsRequest(run_id="nobody"), lambda runs, run_id: runs.events(run_id)),
    Case(
        "ListEvents",
        "ABORTED",
        "RUN_REPLACED",
        "another life",
        pb.ListEventsRequest(run_id="done", uid="an-earlier-life"),
        lambda runs: runs.events("done", uid="an-earlier-life"),
    ),
    Case(
        "ListEvents",
        "OUT_OF_RANGE",
        "CURSOR_OUT_OF_RANGE",
        "cursor",
        pb.ListEventsRequest(run_id="done", after_seq=5, uid=NOW),
        lambda runs: runs.events("done", 5),
        {"after_seq": "5", "last_seq": "4"},
    ),
    Case(
        "ListEvents",
        "OUT_OF_RANGE",
        "CURSOR_OF_ANOTHER_STORE",
        "another store",
        pb.ListEventsRequest(run_id="done", after_seq=2, uid=NOW, store_id="another"),
        metadata={"cursor": "another.2"},
    ),
    Case(
        "WatchRuns",
        "OUT_OF_RANGE",
        "CURSOR_OF_ANOTHER_STORE",
        "another store",
        pb.WatchRunsRequest(cursor="another.2"),
        lambda runs: anext(runs.watch_runs("another.2")),
        {"cursor": "another.2"},
    ),
    Case(
        "WatchRuns",
        INVALID,
        "INVALID_FIELD",
        "cursor",
        pb.WatchRunsRequest(cursor="before"),
        lambda runs: anext(runs.watch_runs("before")),
        {"what": "cursor", "name": "before"},
    ),
    Case("WatchRuns", INVALID, "INVALID_FIELD", "type", pb.WatchRunsRequest(types=["step_teleported"])),
    Case(
        "WatchRuns",
        INVALID,
        "INVALID_FIELD",
        "both beginnings",
        pb.WatchRunsRequest(cursor="1", from_now=True),
        lambda runs: anext(runs.watch_runs("1", from_now=True)),
        {"what": "cursor"},
    ),
    Case("WatchRuns", INVALID, "INVALID_FIELD", "status", pb.WatchRunsRequest(filter=pb.RunFilter(failed_step="a"))),
    about("ExportRun", pb.ExportRunRequest(run_id="nobody"), lambda runs, run_id: exported(runs, run_id)),
    Case("ImportRun", INVALID, "INVALID_FIELD", "no document", pb.ImportRunRequest(chunk=b"{}")),
    about("ReadLogs", pb.ReadLogsRequest(run_id="nobody"), lambda runs, run_id: runs.read_log(run_id)),
    Case(
        "ReadLogs",
        MISSING,
        "LOG_NOT_FOUND",
        "a program keeps none",
        pb.ReadLogsRequest(run_id="done"),
        lambda runs: runs.read_log("done"),
        {"run_id": "done"},
    ),
    Case(
        "ReadLogs",
        MISSING,
        "STEP_NOT_FOUND",
        "no step",
        pb.ReadLogsRequest(run_id="letters", step="fourth"),
        lambda runs: runs.read_log("letters", step="fourth"),
        {"run_id": "letters", "step": "fourth"},
    ),
    Case(
        "ReadLogs",
        INVALID,
        "INVALID_FIELD",
        "a position where no line begins",
        pb.ReadLogsRequest(run_id="letters", offset=7, uid=NOW),
        lambda runs: runs.read_log("letters", offset=7),
        {"what": "offset", "name": "7"},
    ),
    Case(
        "ReadLogs",
        INVALID,
        "INVALID_FIELD",
        "no uid",
        pb.ReadLogsRequest(run_id="letters", offset=7),
        None,
        {"what": "uid"},
    ),
    Case(
        "ReadLogs",
        "ABORTED",
        "RUN_REPLACED",
        "an offset of an earlier life",
        pb.ReadLogsRequest(run_id="letters", offset=7, uid=BEFORE),
        lambda runs: runs.read_log("letters", offset=7, uid=BEFORE),
    ),
    Case(
        "ReadLogs",
        INVALID,
        "INVALID_FIELD",
        "far offset",
        pb.ReadLogsRequest(run_id="letters", offset=2**64 - 1, uid=NOW),
    ),
    Case("ReadLogs", INVALID, "INVALID_FIELD", "attempt", pb.ReadLogsRequest(run_id="letters", attempt=2**32 - 1)),
    Case("ReadPayload", INVALID, "INVALID_FIELD", "no value", pb.ReadPayloadRequest(run_id="done", seq=2, uid=NOW)),
    Case("ReadPayload", INVALID, "INVALID_FIELD", "no event", pb.ReadPayloadRequest(run_id="done")),
    about("ReadPayload", pb.ReadPayloadRequest(run_id="nobody", seq=1, uid="gone"), None),
    Case(
        "ReadPayload",
        "ABORTED",
        "RUN_REPLACED",
        "another life",
        pb.ReadPayloadRequest(run_id="done", uid="an-earlier-life", seq=1),
    ),
    Case("ReadPayload", INVALID, "INVALID_FIELD", "no uid", pb.ReadPayloadRequest(run_id="done", seq=1)),
    Case(
        "ReadPayload",
        "OUT_OF_RANGE",
        "CURSOR_OUT_OF_RANGE",
        "next event",
        pb.ReadPayloadRequest(run_id="done", seq=5, uid=NOW),
    ),
    Case(
        "ReadPayload",
        "OUT_OF_RANGE",
        "CURSOR_OUT_OF_RANGE",
        "a part of the far future",
        pb.ReadPayloadRequest(run_id="done", seq=5, uid=NOW, part=PAYLOAD_PART_PLAN),
    ),
    Case(
        "ReadPayload",
        "OUT_OF_RANGE",
        "CURSOR_OUT_OF_RANGE",
        "far event",
        pb.ReadPayloadRequest(run_id="done", seq=2**64 - 1, uid=NOW),
    ),
    # ResumeRun
    Case(
        "ResumeRun",
        INVALID,
        "INVALID_FIELD",
        "inputs",
        pb.ResumeRunRequest(run_id="failed", inputs=Payload(json='{"extra": "x"}')),
        lambda runs: runs.resume("failed", inputs={"extra": "x"}),
        {"workflow": "flaky"},
    ),
    Case(
        "ResumeRun",
        INVALID,
        "INVALID_FIELD",
        "definition",
        pb.ResumeRunRequest(run_id="letters", definition=Definition(text="steps: 1")),
    ),
    Case(
        "ResumeRun",
        INVALID,
        "PAYLOAD_INVALID",
        "inputs",
        pb.ResumeRunRequest(run_id="failed", inputs=Payload(json="7")),
    ),
    Case(
        "ResumeRun",
        INVALID,
        "PAYLOAD_TOO_LARGE",
        "inputs",
        pb.ResumeRunRequest(run_id="failed", inputs=Payload(json=f'{{"value":"{TOO_LARGE}"}}')),
    ),
    about("ResumeRun", pb.ResumeRunRequest(run_id="nobody"), lambda runs, run_id: runs.resume(run_id)),
    Case(
        "ResumeRun",
        MISSING,
        "STEP_NOT_FOUND",
        "step",
        pb.ResumeRunRequest(run_id="failed", from_step="fourth"),
        lambda runs: runs.resume("failed", from_step="fourth"),
        {"step": "fourth", "known": '["first", "middle"]'},
    ),
    Case(
        "ResumeRun",
        MISSING,
        "WORKFLOW_NOT_FOUND",
        "forgotten workflow",
        pb.ResumeRunRequest(run_id="orphan"),
        lambda runs: runs.resume("orphan"),
        {"workflow": "writing"},
        True,
    ),
    Case(
        "ResumeRun",
        EXISTS,
        "RUN_EXISTS",
        "other workflow",
        pb.ResumeRunRequest(run_id="failed", definition=Definition(text=str(letters(WORKS).definition.text))),  # type: ignore[union-attr]
        lambda runs: runs.resume("failed", workflow=letters(WORKS)),
        {"run_id": "failed", "difference": "the workflow 'flaky'"},
    ),
    Case(
        "ResumeRun",
        WRONG,
        "RUN_ACTIVE",
        "live run",
        pb.ResumeRunRequest(run_id="live"),
        lambda runs: runs.resume("live"),
        {"run_id": "live"},
    ),
    Case(
        "ResumeRun",
        WRONG,
        "RUN_NOT_RESUMABLE",
        "completed run",
        pb.ResumeRunRequest(run_id="done"),
        lambda runs: runs.resume("done"),
        {"run_id": "done", "status": "completed"},
    ),
    Case(
        "ResumeRun",
        WRONG,
        "STATE_INCOMPATIBLE",
        "changed definition",
        pb.ResumeRunRequest(
            run_id="letters",
            definition=Definition(text=str(letters(WORKS, first="uno").definition.text)),  # type: ignore[union-attr]
        ),
        lambda runs: runs.resume("letters", workflow=letters(WORKS, first="uno")),
        {"run_id": "letters"},
    ),
    # SignalRun
    Case(
        "SignalRun",
        INVALID,
        "INVALID_FIELD",
        "name",
        pb.SignalRunRequest(run_id="waiting", name="not a name"),
        lambda runs: runs.signal("waiting", "not a name"),
        {"name": "not a name"},
    ),
    Case(
        "SignalRun",
        INVALID,
        "PAYLOAD_INVALID",
        "payload",
        pb.SignalRunRequest(run_id="waiting", name="go", payload=Payload(json="NaN")),
        None,
        {"path": "the payload"},
    ),
    Case(
        "SignalRun",
        INVALID,
        "PAYLOAD_INVALID",
        "payload that does not fit",
        pb.SignalRunRequest(run_id="choosy", name="go", payload=Payload(json='{"number": "x"}')),
        lambda runs: runs.signal("choosy", "go", {"number": "x"}),
        {"run_id": "choosy", "signal": "go", "path": "$.number", "fits": '"{\\"number\\": integer}"'},
    ),
    Case(
        "SignalRun",
        INVALID,
        "PAYLOAD_TOO_LARGE",
        "payload",
        pb.SignalRunRequest(run_id="waiting", name="go", payload=Payload(json=f'"{TOO_LARGE}"')),
        lambda runs: runs.signal("waiting", "go", TOO_LARGE),
        {"what": "the payload"},
    ),
    about("SignalRun", pb.SignalRunRequest(run_id="nobody", name="go"), lambda runs, run_id: runs.signal(run_id, "go")),
    Case(
        "SignalRun",
        WRONG,
        "RUN_FINISHED",
        "completed run",
        pb.SignalRunRequest(run_id="done", name="go"),
        lambda runs: runs.signal("done", "go"),
        {"run_id": "done", "status": "completed"},
    ),
    # PauseRun, UnpauseRun, SkipStep, SetStepOutput, SetVariable, ForkRun, ExplainRun
    about("PauseRun", pb.PauseRunRequest(run_id="nobody"), lambda runs, run_id: runs.pause(run_id)),
    Case(
        "PauseRun",
        WRONG,
        "RUN_FINISHED",
        "completed run",
        pb.PauseRunRequest(run_id="done"),
        lambda runs: runs.pause("done"),
        {"status": "completed"},
    ),
    about("UnpauseRun", pb.UnpauseRunRequest(run_id="nobody"), lambda runs, run_id: runs.unpause(run_id)),
    Case(
        "UnpauseRun",
        MISSING,
        "WORKFLOW_NOT_FOUND",
        "forgotten workflow",
        pb.UnpauseRunRequest(run_id="resting"),
        lambda runs: runs.unpause("resting"),
        {"workflow": "forgotten"},
        True,
    ),
    Case(
        "UnpauseRun",
        WRONG,
        "RUN_NOT_PAUSED",
        "completed run",
        pb.UnpauseRunRequest(run_id="done"),
        lambda runs: runs.unpause("done"),
        {"run_id": "done", "status": "completed"},
    ),
    *_of_a_step(
        "SkipStep",
        lambda **given: pb.SkipStepRequest(**given),
        lambda runs, run_id, step, output: runs.skip(run_id, step, output),
    ),
    *_of_a_step(
        "SetStepOutput",
        lambda **given: pb.SetStepOutputRequest(**{"output": Payload(json="1"), **given}),
        lambda runs, run_id, step, output: runs.set_output(run_id, step, output),
    ),
    Case(
        "SetStepOutput",
        INVALID,
        "PAYLOAD_INVALID",
        "no output",
        pb.SetStepOutputRequest(run_id="failed", step="middle"),
    ),
    Case(
        "SetVariable",
        INVALID,
        "INVALID_FIELD",
        "name",
        pb.SetVariableRequest(run_id="failed", name="not a name", value=Payload(json="1")),
        lambda runs: runs.set_variable("failed", "not a name", 1),
        {"name": "not a name"},
    ),
    Case("SetVariable", INVALID, "PAYLOAD_INVALID", "no value", pb.SetVariableRequest(run_id="failed", name="x")),
    Case(
        "SetVariable",
        INVALID,
        "PAYLOAD_TOO_LARGE",
        "value",
        pb.SetVariableRequest(run_id="failed", name="x", value=Payload(json=f'"{TOO_LARGE}"')),
        lambda runs: runs.set_variable("failed", "x", TOO_LARGE),
        {"what": "the value"},
    ),
    about(
        "SetVariable",
        pb.SetVariableRequest(run_id="nobody", name="x", value=Payload(json="1")),
        lambda runs, run_id: runs.set_variable(run_id, "x", 1),
    ),
    Case(
        "SetVariable",
        WRONG,
        "RUN_FINISHED",
        "completed run",
        pb.SetVariableRequest(run_id="done", name="x", value=Payload(json="1")),
        lambda runs: runs.set_variable("done", "x", 1),
        {"status": "completed"},
    ),
    Case(
        "ForkRun",
        INVALID,
        "INVALID_FIELD",
        "new id",
        pb.ForkRunRequest(run_id="failed", new_run_id="not an id"),
        lambda runs: runs.fork("failed", new_run_id="not an id"),
        {"name": "not an id"},
    ),
    Case(
        "ForkRun",
        INVALID,
        "INVALID_FIELD",
        "inputs",
        pb.ForkRunRequest(run_id="failed", inputs=Payload(json='{"extra": "x"}')),
        lambda runs: runs.fork("failed", inputs={"extra": "x"}),
        {"workflow": "flaky"},
    ),
    Case(
        "ForkRun",
        INVALID,
        "INVALID_FIELD",
        "definition",
        pb.ForkRunRequest(run_id="letters", definition=Definition(text="steps: 1")),
    ),
    Case("ForkRun", INVALID, "PAYLOAD_INVALID", "inputs", pb.ForkRunRequest(run_id="failed", inputs=Payload(json="7"))),
    Case(
        "ForkRun",
        INVALID,
        "PAYLOAD_TOO_LARGE",
        "inputs",
        pb.ForkRunRequest(run_id="failed", inputs=Payload(json=f'{{"value":"{TOO_LARGE}"}}')),
    ),
    about("ForkRun", pb.ForkRunRequest(run_id="nobody"), lambda runs, run_id: runs.fork(run_id)),
    Case(
        "ForkRun",
        MISSING,
        "STEP_NOT_FOUND",
        "step",
        pb.ForkRunRequest(run_id="failed", from_step="fourth"),
        lambda runs: runs.fork("failed", from_step="fourth"),
        {"step": "fourth"},
    ),
    Case(
        "ForkRun",
        MISSING,
        "WORKFLOW_NOT_FOUND",
        "forgotten workflow",
        pb.ForkRunRequest(run_id="orphan"),
        lambda runs: runs.fork("orphan"),
        {"workflow": "writing"},
        True,
    ),
    Case(
        "ForkRun",
        EXISTS,
        "RUN_EXISTS",
        "taken id",
        pb.ForkRunRequest(run_id="failed", new_run_id="done"),
        lambda runs: runs.fork("failed", new_run_id="done"),
        {"run_id": "done"},
    ),
    Case(
        "ForkRun",
        WRONG,
        "STATE_INCOMPATIBLE",
        "changed definition",
        pb.ForkRunRequest(
            run_id="letters",
            definition=Definition(text=str(letters(WORKS, first="uno").definition.text)),  # type: ignore[union-attr]
        ),
        lambda runs: runs.fork("letters", workflow=letters(WORKS, first="uno")),
    ),
    about("ExplainRun", pb.ExplainRunRequest(run_id="nobody"), lambda runs, run_id: runs.explain(run_id)),
    # CancelRun, DeleteRun, PruneRuns
    about("CancelRun", pb.CancelRunRequest(run_id="nobody"), lambda runs, run_id: runs.cancel(run_id)),
    about("DeleteRun", pb.DeleteRunRequest(run_id="nobody"), lambda runs, run_id: runs.delete(run_id)),
    Case(
        "DeleteRun",
        "ABORTED",
        "RUN_REPLACED",
        "another life",
        pb.DeleteRunRequest(run_id="done", uid=BEFORE),
        lambda runs: runs.delete("done", uid=BEFORE),
        {"run_id": "done"},
    ),
    Case(
        "DeleteRun",
        WRONG,
        "RUN_ACTIVE",
        "live run",
        pb.DeleteRunRequest(run_id="live"),
        lambda runs: runs.delete("live"),
        {"run_id": "live"},
    ),
    Case(
        "PruneRuns",
        INVALID,
        "INVALID_FIELD",
        "no choice",
        pb.PruneRunsRequest(),
        lambda runs: runs.prune(),
        {"what": "choice of runs"},
    ),
    Case(
        "PruneRuns",
        INVALID,
        "INVALID_FIELD",
        "negative number to keep",
        pb.PruneRunsRequest(keep_last=-1),
        lambda runs: runs.prune(keep_last=-1),
        {"what": "keep_last"},
        True,
    ),
    Case(
        "PruneRuns",
        INVALID,
        "INVALID_FIELD",
        "negative time budget",
        pb.PruneRunsRequest(older_than=Duration(), time_budget=Duration(seconds=-1)),
        lambda runs: runs.prune(older_than_seconds=0, time_budget_seconds=-1.0),
        {"what": "time_budget"},
        True,
    ),
    Case(
        "PruneRuns",
        INVALID,
        "INVALID_FIELD",
        "endless time budget",
        pb.PruneRunsRequest(older_than=Duration(), time_budget=Duration(seconds=2**62)),
    ),
    Case("PruneRuns", INVALID, "INVALID_FIELD", "negative age", pb.PruneRunsRequest(older_than=Duration(seconds=-1))),
    Case("PruneRuns", INVALID, "INVALID_FIELD", "endless age", pb.PruneRunsRequest(older_than=Duration(seconds=2**62))),
    Case(
        "PruneRuns",
        INVALID,
        "INVALID_FIELD",
        "negative count",
        pb.PruneRunsRequest(older_than=Duration(), max_runs=-1),
    ),
    Case(
        "PruneRuns",
        INVALID,
        "INVALID_FIELD",
        "no status",
        pb.PruneRunsRequest(older_than=Duration(), filter=pb.RunFilter(statuses=[99])),  # type: ignore[list-item]
    ),
    Case(
        "PruneRuns",
        INVALID,
        "INVALID_FIELD",
        "live status",
        pb.PruneRunsRequest(older_than=Duration(), filter=pb.RunFilter(statuses=[run_pb2.RUN_STATUS_RUNNING])),
        lambda runs: runs.prune(older_than_seconds=0, statuses=["running"]),
        {"name": "running"},
    ),
    *(
        case
        for verb, request, call in BULK
        for case in (
            Case(
                verb,
                INVALID,
                "INVALID_FIELD",
                "no choice",
                request(),
                asking(call),
                {"what": "choice of runs"},
            ),
            Case(
                verb,
                INVALID,
                "INVALID_FIELD",
                "malformed request id",
                request(filter=pb.RunFilter(workflow="w"), request_id="a b"),
                asking(call, workflow="w", request_id="a b"),
                {"what": "request id"},
            ),
            Case(
                verb,
                INVALID,
                "INVALID_FIELD",
                "foreign page",
                request(filter=pb.RunFilter(workflow="w"), page_token="x"),
                asking(call, workflow="w", page="x"),
            ),
        )
    ),
    *(
        Case(
            verb,
            INVALID,
            "INVALID_FIELD",
            "a status that stays as it is",
            request(filter=pb.RunFilter(statuses=[run_pb2.RUN_STATUS_COMPLETED])),
            asking(call, statuses=["completed"]),
            {"name": "completed"},
        )
        for verb, request, call in BULK
        if verb != "ResumeRuns"
    ),
    Case(
        "SignalRuns",
        INVALID,
        "INVALID_FIELD",
        "name",
        pb.SignalRunsRequest(filter=pb.RunFilter(workflow="w"), name="not a name"),
        lambda runs: runs.signal_runs("not a name", workflow="w"),
    ),
    Case(
        "SignalRuns",
        INVALID,
        "PAYLOAD_INVALID",
        "payload",
        pb.SignalRunsRequest(filter=pb.RunFilter(workflow="w"), name="go", payload=Payload(json="NaN")),
        None,
        {"path": "the payload"},
    ),
    Case(
        "SignalRuns",
        INVALID,
        "PAYLOAD_TOO_LARGE",
        "payload",
        pb.SignalRunsRequest(filter=pb.RunFilter(workflow="w"), name="go", payload=Payload(json=f'"{TOO_LARGE}"')),
        lambda runs: runs.signal_runs("go", TOO_LARGE, workflow="w"),
        {"what": "the payload"},
    ),
]

REQUESTS: dict[str, tuple[Any, Callable[[Runs], Awaitable[Any]] | None]] = {
    "StartRuns": (
        pb.StartRunsRequest(starts=[pb.StartRunRequest(workflow="doubling", run_id="done")]),
        lambda runs: runs.start_runs([NewRun("doubling", options={"run_id": "done"})]),
    ),
    "StartRun": (
        pb.StartRunRequest(workflow="doubling", run_id="done", inputs=Payload(json='{"number": 1}')),
        lambda runs: runs.start("doubling", run_id="done"),
    ),
    "GetRun": (pb.GetRunRequest(run_id="done"), lambda runs: runs.summary("done")),
    "ListRuns": (pb.ListRunsRequest(), lambda runs: runs.list()),
    "CountRuns": (pb.CountRunsRequest(), lambda runs: runs.count()),
    "GetStats": (pb.GetStatsRequest(), lambda runs: runs.stats()),
    "ListSteps": (pb.ListStepsRequest(run_id="done"), None),
    "WaitRun": (pb.WaitRunRequest(run_id="done"), lambda runs: runs.wait("done")),
    "WatchRun": (pb.WatchRunRequest(run_id="done"), lambda runs: watch(runs, "done")),
    "WatchRuns": (pb.WatchRunsRequest(), watch_all),
    "ExportRun": (pb.ExportRunRequest(run_id="done"), lambda runs: exported(runs, "done")),
    "ImportRun": (pb.ImportRunRequest(chunk=DONE), None),
    "ListEvents": (pb.ListEventsRequest(run_id="done"), lambda runs: runs.events("done")),
    "ReadPayload": (pb.ReadPayloadRequest(run_id="done", seq=1, uid=NOW), None),
    "ReadLogs": (pb.ReadLogsRequest(run_id="letters"), lambda runs: runs.read_log("letters")),
    "ResumeRun": (pb.ResumeRunRequest(run_id="failed"), lambda runs: runs.resume("failed")),
    "PauseRun": (pb.PauseRunRequest(run_id="done"), lambda runs: runs.pause("done")),
    "UnpauseRun": (pb.UnpauseRunRequest(run_id="failed"), lambda runs: runs.unpause("failed")),
    "SkipStep": (pb.SkipStepRequest(run_id="failed", step="middle"), lambda runs: runs.skip("failed", "middle")),
    "SetStepOutput": (
        pb.SetStepOutputRequest(run_id="failed", step="middle", output=Payload(json="1")),
        lambda runs: runs.set_output("failed", "middle", 1),
    ),
    "SetVariable": (
        pb.SetVariableRequest(run_id="failed", name="x", value=Payload(json="1")),
        lambda runs: runs.set_variable("failed", "x", 1),
    ),
    "ForkRun": (pb.ForkRunRequest(run_id="failed"), lambda runs: runs.fork("failed")),
    "ExplainRun": (pb.ExplainRunRequest(run_id="done"), lambda runs: runs.explain("done")),
    "SignalRun": (pb.SignalRunRequest(run_id="done", name="go"), lambda runs: runs.signal("done", "go")),
    "CancelRun": (pb.CancelRunRequest(run_id="done"), lambda runs: runs.cancel("done")),
    "DeleteRun": (pb.DeleteRunRequest(run_id="done"), lambda runs: runs.delete("done")),
    "PruneRuns": (pb.PruneRunsRequest(older_than=Duration()), lambda runs: runs.prune(older_than_seconds=0)),
    **{
        verb: (request(filter=pb.RunFilter(id_prefix="fail")), asking(call, id_prefix="fail"))
        for verb, request, call in BULK
    },
}
"""For each method a request that is answered, unless the server or its store is in trouble."""

TROUBLES: dict[str, FlujoError] = {
    "UNAVAILABLE STORE_UNAVAILABLE": StoreError("memory:", "the disk is on fire"),
    "UNAVAILABLE STORE_BUSY": StoreBusyError("memory:", "state.db-lock", 30),
    "RESOURCE_EXHAUSTED STORE_FULL": StoreFullError("memory:"),
    "DATA_LOSS STORE_CORRUPT": CorruptStoreError("memory:", "page 7 is torn"),
    "FAILED_PRECONDITION EVENT_UNKNOWN": UnknownEventError("step_teleported", 2),
}
"""What a store may raise under any method."""

ELSEWHERE = {
    *(
        (service, *error)
        for service in ("RunService", "SystemService", "WorkflowService")
        for error in (
            ("UNAVAILABLE", "SERVER_STOPPING"),
            ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS"),
            ("UNAUTHENTICATED", "UNAUTHENTICATED"),
        )
    ),
    *(
        (service, "PERMISSION_DENIED", "PERMISSION_DENIED")
        for service in ("RunService", "SystemService", "WorkflowService")
    ),
    ("WorkflowService", INVALID, "INVALID_FIELD"),
    ("ExportRun", "ABORTED", "RUN_REPLACED"),
    ("ImportRun", INVALID, "PAYLOAD_TOO_LARGE"),
    ("ImportRun", EXISTS, "RUN_EXISTS"),
    ("ImportRun", "PERMISSION_DENIED", "DEFINITIONS_NOT_ALLOWED"),
    ("ListWorkflows", INVALID, "INVALID_FIELD"),
    ("GetWorkflow", MISSING, "WORKFLOW_NOT_FOUND"),
    ("PutWorkflow", INVALID, "INVALID_FIELD"),
    ("PutWorkflow", WRONG, "WORKFLOW_FIXED"),
    ("DeleteWorkflow", MISSING, "WORKFLOW_NOT_FOUND"),
    ("DeleteWorkflow", WRONG, "WORKFLOW_FIXED"),
    ("DiffRun", INVALID, "INVALID_FIELD"),
    ("DiffRun", MISSING, "RUN_NOT_FOUND"),
    ("DiffRun", MISSING, "WORKFLOW_NOT_FOUND"),
    ("DiffRun", EXISTS, "RUN_EXISTS"),
    ("ListTasks", INVALID, "INVALID_FIELD"),
    *(
        (method, "PERMISSION_DENIED", "DEFINITIONS_NOT_ALLOWED")
        for method in ("ValidateWorkflow", "PutWorkflow", "DiffRun")
    ),
    ("Backup", "UNAVAILABLE", "STORE_UNAVAILABLE"),
    ("Backup", "RESOURCE_EXHAUSTED", "STORE_FULL"),
    ("Check", "UNAVAILABLE", "STORE_UNAVAILABLE"),
    ("RunService", INVALID, "INVALID_FIELD"),
    ("RunService", "INTERNAL", "INTERNAL"),
    *(
        (method, "PERMISSION_DENIED", "DEFINITIONS_NOT_ALLOWED")
        for method in ("StartRun", "StartRuns", "ResumeRun", "ForkRun")
    ),
}
"""Errors that have a test of their own: further down, and in test_access.py, test_slots.py, test_bounds.py,
test_workflows.py and test_store_keeping.py."""


class TroubledBackend(InMemoryBackend):
    """Whatever is asked of it raises `trouble`, once there is one."""

    trouble: Exception | None = None

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        trouble, self.trouble = self.trouble, None  # a commit that fails ends the kernel, which is another story
        try:
            return await super().append(commits)
        finally:
            self.trouble = trouble

    async def _enter(self) -> None:
        await super()._enter()
        if self.trouble is not None:
            raise self.trouble


@asynccontextmanager
async def troubled(address: str) -> AsyncIterator[tuple[Kernel, Client, TroubledBackend]]:
    """A kernel with a run `done` and a run `failed`, a client of it, and the store that can be made to fail."""
    backend = TroubledBackend()
    flaky = Flaky()
    async with both(Kernel(backend, [doubling, flaky.workflow], recover=False), address) as (kernel, client):
        await kernel.run("doubling", run_id="done")
        with pytest.raises(RunFailed):
            await kernel.run("flaky", run_id="failed")
        try:
            yield kernel, client, backend
        finally:
            backend.trouble = None


async def kernel_with_runs(folder: Path) -> Kernel:
    """A kernel, to be opened, on a store with a run in each state that can refuse something."""
    harness = Harness()
    flaky = Flaky()
    async with harness.kernel(writing, forgotten) as earlier:
        await earlier.run("writing", {"size": 2}, run_id="orphan")
        await earlier.start("forgotten", run_id="resting")
        await earlier.pause("resting")
        await earlier.wait("resting")
    flows = (doubling, echoing, waiting, choosy, stuck, flaky.workflow)
    return harness.kernel(*flows, workspaces=folder / "w", load_definition=load_stored, recover=False)


async def put_runs(kernel: Kernel) -> None:
    """The runs that the cases name."""
    await (await kernel.start("doubling", run_id="done", request_id="used")).result()
    await kernel.start("stuck", run_id="live")
    await kernel.start("waiting", run_id="waiting")
    await kernel.start("choosy", run_id="choosy")
    await until(kernel, "choosy", "step_waiting")
    for workflow, run_id in (("flaky", "failed"), (letters(FAILS), "letters")):
        with pytest.raises(RunFailed):
            await kernel.run(workflow, run_id=run_id)
    for run_id in ("waiting", "failed"):
        await kernel.set_variable(run_id, "mode", "slow", request_id="used")


async def drain(messages: AsyncIterator[Any]) -> None:
    """Read a stream to its end."""
    async for _ in messages:
        pass


async def with_uid(kernel: Kernel, request: Any) -> Any:
    """The request, with the uid that its run has now in the place of NOW, and a document in that of DONE."""
    if isinstance(request, pb.ImportRunRequest) and request.chunk == DONE:
        return pb.ImportRunRequest(chunk=to_json(await export_run(kernel.backend, "done")).encode())
    if getattr(request, "uid", "") != NOW:
        return request
    made = type(request)()
    made.CopyFrom(request)
    made.uid = (await kernel.summary(request.run_id)).uid
    return made


async def refusal(stub: Any, method: str, request: Any) -> tuple[str, ErrorInfo, dict[str, Any], str]:
    """What the wire says of a refused request: code, ErrorInfo, further details by type, message."""
    call = getattr(stub, method)(iter([request]) if method == "ImportRun" else request)
    with pytest.raises(aio.AioRpcError) as refused:
        await (drain(call) if hasattr(call, "__aiter__") else call)
    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
    assert status is not None, refused.value
    details: dict[str, Any] = {}
    for packed in status.details:
        for kind in (ErrorInfo, BadRequest, PreconditionFailure):
            detail = kind()
            if packed.Unpack(detail):
                details[kind.__name__] = detail
    return refused.value.code().name, details.pop("ErrorInfo"), details, status.message


async def test_a_wait_of_no_time_answers_at_once(address: str) -> None:
    """Only a negative one is refused: a client that asks how a run stands need not wait for it."""
    async with both(Kernel(InMemoryBackend(), [stuck]), address) as (kernel, _), stubs(address) as (stub, _):
        await kernel.start("stuck", run_id="r")

        with anyio.fail_after(30):
            answer = await stub.WaitRun(pb.WaitRunRequest(run_id="r", max_wait=Duration()))

        assert (answer.run.run_id, answer.reached) == ("r", False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method}-{case.reason}-{case.what}")
async def test_a_documented_error_is_answered(case: Case, address: str, folder: Path) -> None:
    """Code, domain, reason and metadata are on the wire, and Python raises the same with and without a wire."""
    async with both(await kernel_with_runs(folder), address) as (kernel, client), stubs(address) as (stub, _):
        await put_runs(kernel)

        code, info, details, message = await refusal(stub, case.method, await with_uid(kernel, case.request))

        assert (code, info.domain, info.reason) == (case.code, "flujo", case.reason)
        assert {name: info.metadata[name] for name in case.metadata} == dict(case.metadata)
        assert message
        if code == INVALID:
            assert details["BadRequest"].field_violations
            for violation in details["BadRequest"].field_violations:
                assert has_path(case.request.DESCRIPTOR, violation.field)
        if case.what == "payload that does not fit":
            (violation,) = details["BadRequest"].field_violations
            assert violation.field == "payload"
            assert "$.number" in violation.description
        if case.reason == "STATE_INCOMPATIBLE":
            assert [each.subject for each in details["PreconditionFailure"].violations] == ["a"]
        if (call := case.call) is not None:
            near, far = await raised_by(lambda: call(kernel)), await raised_by(lambda: call(client))
            assert (near.reason, type(far)) == (case.reason, type(near))
            if not case.other_words:
                assert told_by(far) == told_by(near)
                assert str(near) == message


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("kind", TROUBLES)
async def test_trouble_with_the_store_is_answered(kind: str, method: str, address: str) -> None:
    """Whatever a store raises under any method arrives with its code and reason, and as the same error in Python."""
    code, reason = kind.split()
    request, call = REQUESTS[method]
    async with troubled(address) as (kernel, client, backend), stubs(address) as (stub, _):
        request = await with_uid(kernel, request)
        backend.trouble = TROUBLES[kind]
        if method == "StartRuns" and reason in ("STORE_CORRUPT", "EVENT_UNKNOWN"):  # about one run, and so data
            (outcome,) = (await stub.StartRuns(request)).outcomes
            assert (outcome.refusal.reason, outcome.refusal.message) == (reason, str(backend.trouble))
            return

        answered, info, _, message = await refusal(stub, method, request)

        assert (answered, info.domain, info.reason) == (code, "flujo", reason)
        assert message == str(backend.trouble)
        if call is not None:
            near, far = await raised_by(lambda: call(kernel)), await raised_by(lambda: call(client))
            assert told_by(far) == told_by(near) == told_by(backend.trouble)


@pytest.mark.parametrize("method", REQUESTS)
async def test_a_bug_is_answered_with_an_id(method: str, address: str, caplog: pytest.LogCaptureFixture) -> None:
    """What it was stays in the server's log, under that id: it may hold anything."""
    request, call = REQUESTS[method]
    async with troubled(address) as (kernel, client, backend), stubs(address) as (stub, _):
        request = await with_uid(kernel, request)
        backend.trouble = ZeroDivisionError("the password is hunter2")

        code, info, details, message = await refusal(stub, method, request)
        if call is not None:
            failed = await raised_by(lambda: call(client))
            assert isinstance(failed, ServerFailedError)
            assert failed.id in caplog.text
            assert "hunter2" not in str(failed)

    assert (code, info.reason) == ("INTERNAL", "INTERNAL")
    assert not details
    assert "hunter2" not in f"{info} {message}"
    logged = [record for record in caplog.records if info.metadata["id"] in record.getMessage()]
    assert [(record.name, record.levelno) for record in logged] == [("flujo.server", logging.ERROR)]
    assert "hunter2" in str(logged[0].exc_info)


@pytest.mark.parametrize("method", [*REQUESTS, "GetSystemInfo"])
async def test_a_server_that_closes_says_so(method: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment it begins to close every new call is told to come back to the next server."""
    install_counting_guard(monkeypatch)
    async with troubled(address) as (_, client, _), stubs(address) as (runs, system):
        CountingGuard.current.closing.set()
        request, call = REQUESTS.get(method, (system_pb.GetSystemInfoRequest(), None))

        code, info, _, _ = await refusal(runs if method in REQUESTS else system, method, request)

        assert (code, info.reason) == ("UNAVAILABLE", "SERVER_STOPPING")
        if call is not None and method not in ("WaitRun", "WatchRun", "WatchRuns"):  # those wait for the next server
            assert told_by(await raised_by(lambda: call(client))) == told_by(ServerStoppingError())


def test_every_documented_error_has_a_test_and_every_tested_one_is_documented() -> None:
    """An error that is added to the contract, or taken from it, is missed here."""
    tested = {(case.method, case.code, case.reason) for case in CASES}
    troubles = {("RunService", *kind.split()) for kind in TROUBLES}

    assert {Documented(*each) for each in tested | troubles | ELSEWHERE} == set(documented_errors())


def test_every_method_is_in_trouble_once() -> None:
    """The table of requests above is complete."""
    assert set(REQUESTS) == {method.name for method in pb.DESCRIPTOR.services_by_name["RunService"].methods}
    assert {case.method for case in CASES} == set(REQUESTS)


async def test_an_error_of_several_at_once_is_a_bug_with_one_id(address: str) -> None:
    """A group that holds one error is that error; one that holds more is nobody's expected answer."""
    async with troubled(address) as (_, client, backend):
        backend.trouble = ExceptionGroup("one", [ExceptionGroup("one", [StoreFullError("memory:")])])
        assert isinstance(await raised_by(lambda: client.summary("done")), StoreFullError)
        backend.trouble = ExceptionGroup("two", [StoreFullError("memory:"), StoreFullError("memory:")])
        assert isinstance(await raised_by(lambda: client.summary("done")), ServerFailedError)


async def test_requests_beyond_four_megabytes_are_refused_by_grpc(address: str) -> None:
    """They do not even reach us; the client says what happened."""
    async with both(Harness().kernel(doubling), address) as (_, client), stubs(address) as (stub, _):
        request = pb.StartRunRequest(workflow="doubling", inputs=Payload(json="1" * 5_000_000))

        with pytest.raises(aio.AioRpcError) as refused:
            await stub.StartRun(request)
        half = "y" * 900_000
        failed = await raised_by(lambda: client.resume("r", skip=dict.fromkeys("abcde", half)))

    assert refused.value.code().name == "RESOURCE_EXHAUSTED"
    assert (failed.reason, vars(failed)["call"], vars(failed)["code"]) == (
        "CALL_FAILED",
        "ResumeRun",
        "RESOURCE_EXHAUSTED",
    )


async def test_a_handler_that_is_cancelled_from_inside_answers(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """gRPC would send nothing, and the caller would wait for ever."""

    class Cancelling(InMemoryBackend):
        async def load(self, run_id: str) -> Any:
            raise anyio.get_cancelled_exc_class()

    kernel = Kernel(Cancelling(), [doubling])
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.GetRun(pb.GetRunRequest(run_id="r"))

    assert refused.value.code().name == "ABORTED"
    assert "/flujo.v1.RunService/GetRun was cancelled from inside" in caplog.text
