"""Answer for StartRun and StartRuns: which run a request asks for, and what became of many of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import cast

from anyio.lowlevel import checkpoint

from flujo.client.statuses import to_status
from flujo.client.wire.limits import MAX_ANSWER_BYTES, shorten
from flujo.client.wire.parameters import given_in
from flujo.client.wire.values import given_object
from flujo.kernel import Kernel, Workflow
from flujo.kernel.api import NewRun, RunHandle, StartOptions
from flujo.kernel.errors import FlujoError, InvalidNameError
from flujo.kernel.loops import in_thread
from flujo.v1 import run_service_pb2 as pb
from flujo.v1.payload_pb2 import Definition

from .wording import for_clients

READ_AT_ONCE = 8 * 1024
"""Characters of a definition that are read without a thread: it takes a few milliseconds."""

Read = Callable[[Definition], Awaitable[Workflow]]


async def read_definition(definition: Definition) -> Workflow:
    """Return the workflow in a definition that came with a request. No file is read for it.

    A large one is read in a thread, beside which the event loop goes on: reading takes up to a second.
    """
    from flujo.workflows import load_workflow_text

    load = partial(load_workflow_text, definition.text, definition.name or "workflow.yaml")
    return load() if len(definition.text) <= READ_AT_ONCE else await in_thread(load)


async def new_run(request: pb.StartRunRequest, read: Read = read_definition) -> NewRun:
    """Return what a request asks to start; raises what is wrong with it."""
    match request.WhichOneof("source"):
        case "definition":
            workflow: Workflow | str = await read(request.definition)
        case "workflow":
            workflow = request.workflow
        case _:
            raise InvalidNameError("workflow", "", "`workflow` or `definition`")
    inputs = given_object(request.inputs, "the inputs") if request.HasField("inputs") else {}
    return NewRun(workflow, inputs, cast(StartOptions, given_in(request, StartOptions.__annotations__)))


async def start_runs(kernel: Kernel, request: pb.StartRunsRequest) -> pb.StartRunsResponse:
    """Start runs, and tell what became of each start."""
    read = _reading_once()
    asked = [await _asked(each, read) for each in request.starts]
    started = iter(await kernel.start_runs([each for each in asked if isinstance(each, NewRun)]))
    outcomes = [next(started) if isinstance(each, NewRun) else each for each in asked]
    return _answer(request.starts, outcomes)


async def _asked(request: pb.StartRunRequest, read: Read) -> NewRun | FlujoError:
    try:
        return await new_run(request, read)
    except FlujoError as error:
        return error


def _reading_once() -> Read:
    """Return what reads each definition once: many runs of one call are of the same."""
    known: dict[tuple[str, str], Workflow] = {}

    async def read(definition: Definition) -> Workflow:
        key = (definition.text, definition.name)
        if key not in known:
            await checkpoint()  # a thousand small ones, wrong ones too, take seconds (tests/server/test_starts.py)
            known[key] = await read_definition(definition)
        return known[key]

    return read


def _answer(starts: Sequence[pb.StartRunRequest], outcomes: Sequence[RunHandle | FlujoError]) -> pb.StartRunsResponse:
    answer, room = pb.StartRunsResponse(), MAX_ANSWER_BYTES
    for start, outcome in zip(starts, outcomes, strict=True):
        made = answer.outcomes.add(run_id=start.run_id)
        if not isinstance(outcome, FlujoError):
            made.run_id, made.created = outcome.run_id, outcome.created
            continue
        status = to_status(for_clients(outcome), pb.StartRunRequest.DESCRIPTOR)
        whole = status.SerializeToString()
        made.refusal.code, made.refusal.reason, made.refusal.message = status.code, outcome.reason, status.message
        if (room := room - len(whole)) >= 0:
            made.refusal.status = whole
        shorten(made)
    return answer
