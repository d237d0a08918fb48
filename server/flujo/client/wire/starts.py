"""Convert starts of runs, and what became of many of them, to messages and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flujo.kernel import Workflow
from flujo.kernel.api import Start, StartOptions, encode_given
from flujo.v1 import run_service_pb2 as pb

from .parameters import definition_of, new_run_id, parts_of, put_given
from .values import inline

MOST_BYTES = 3 * 1024 * 1024
"""Of the starts that one call asks for, which leaves room below what gRPC takes."""


def start_request(
    workflow: Workflow | str, inputs: Mapping[str, Any] | None, options: StartOptions
) -> pb.StartRunRequest:
    """Return the request to start a run. A definition is sent along. Raises what is wrong with it."""
    asked = Start(**options)
    request = pb.StartRunRequest(inputs=inline(encode_given("the inputs", dict(inputs or {}))))
    named = new_run_id(asked.run_id, asked.request_id)
    put_given(request, {**parts_of(asked), "run_id": named})
    if isinstance(workflow, Workflow) and workflow.definition is not None:
        request.definition.CopyFrom(definition_of(workflow))
    else:
        request.workflow = workflow if isinstance(workflow, str) else workflow.name
    return request


def in_calls(starts: Sequence[pb.StartRunRequest]) -> Iterator[pb.StartRunsRequest]:
    """Yield the requests that ask for these starts, in their order, as few as gRPC takes."""
    request, size = pb.StartRunsRequest(), 0
    for start in starts:
        size += start.ByteSize()
        if size > MOST_BYTES and request.starts:
            yield request
            request, size = pb.StartRunsRequest(), start.ByteSize()
        request.starts.append(start)
    if request.starts:
        yield request
