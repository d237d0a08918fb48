"""The calls of a client that are about many runs at once, and how a run differs from its workflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack, cast

from flujo.kernel.api import BulkOptions, BulkResult, Difference, NewRun, RunHandle, Runs, check_starts, encode_given
from flujo.kernel.backend import RunSummary
from flujo.kernel.checked_calls import checked
from flujo.kernel.errors import FlujoError, RunExistsError
from flujo.kernel.programs import Workflow
from flujo.v1 import run_service_pb2 as pb
from flujo.v1 import workflow_service_pb2

from .statuses import refused
from .store_keeping import Opened
from .wire.many_runs import from_result, put_bulk
from .wire.parameters import definition_of, put_given
from .wire.starts import in_calls, start_request
from .wire.values import inline


def _asked(new: NewRun) -> pb.StartRunRequest | FlujoError:
    """Return the request to start a run, or what is wrong with it, which keeps none of the others from starting."""
    try:
        return start_request(new.workflow, new.inputs, new.options)
    except FlujoError as error:
        return error


@checked
class ManyRuns:
    """What a client asks of many runs with one call."""

    _open: Opened
    _call: Callable[[Any, Any], Any]
    summary: Callable[[str], Any]

    async def start_runs(self, starts: Sequence[NewRun]) -> Sequence[RunHandle | FlujoError]:
        """Start at most 1000 runs, as Kernel.start_runs does, with as few calls as gRPC has room for."""
        asked = [_asked(new) for new in check_starts(starts)]
        told: list[pb.StartOutcome] = []
        for request in in_calls([each for each in asked if isinstance(each, pb.StartRunRequest)]):
            told += (await self._call(self._open.runs.StartRuns, request)).outcomes
        answers = iter(told)
        return [
            self._outcome(new, next(answers)) if isinstance(each, pb.StartRunRequest) else each
            for new, each in zip(starts, asked, strict=True)
        ]

    def _outcome(self, new: NewRun, told: pb.StartOutcome) -> RunHandle | FlujoError:
        if told.HasField("refusal"):
            return refused(told.refusal)
        started = new.workflow if isinstance(new.workflow, Workflow) else None
        return RunHandle(cast(Runs, self), told.run_id, told.created, started)

    async def cancel_runs(self, reason: str | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Request the cancellation of runs, as Kernel.cancel_runs does, at most 1000 at a time."""
        request = pb.CancelRunsRequest()
        put_given(request, {"reason": reason})
        return await self._ask(self._open.runs.CancelRuns, request, options)

    async def pause_runs(self, reason: str | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Request that runs pause, as Kernel.pause_runs does, at most 1000 at a time."""
        request = pb.PauseRunsRequest()
        put_given(request, {"reason": reason})
        return await self._ask(self._open.runs.PauseRuns, request, options)

    async def unpause_runs(self, **options: Unpack[BulkOptions]) -> BulkResult:
        """Resume paused runs, as Kernel.unpause_runs does, at most 1000 at a time."""
        return await self._ask(self._open.runs.UnpauseRuns, pb.UnpauseRunsRequest(), options)

    async def resume_runs(self, **options: Unpack[BulkOptions]) -> BulkResult:
        """Resume runs as they are, as Kernel.resume_runs does, at most 1000 at a time."""
        return await self._ask(self._open.runs.ResumeRuns, pb.ResumeRunsRequest(), options)

    async def signal_runs(self, name: str, payload: Any = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Send a signal to runs, as Kernel.signal_runs does, at most 1000 at a time."""
        request = pb.SignalRunsRequest(name=name, payload=inline(encode_given("the payload", payload)))
        return await self._ask(self._open.runs.SignalRuns, request, options)

    async def _ask(self, method: Any, request: Any, options: BulkOptions) -> BulkResult:
        put_bulk(request, options)
        return from_result(await self._call(method, request))

    async def diff(self, run_id: str, workflow: Workflow | None = None) -> Sequence[Difference]:
        """Return how a run differs from a workflow, as Kernel.diff does. A definition is sent along; a workflow without
        one has to be that of the run, and the server compares its own."""
        request = workflow_service_pb2.DiffRunRequest(run_id=run_id)
        if workflow is not None and workflow.definition is not None:
            request.definition.CopyFrom(definition_of(workflow))
        elif workflow is not None:
            summary: RunSummary = await self.summary(run_id)
            if summary.workflow != workflow.name:
                raise RunExistsError(run_id, f"the workflow {summary.workflow!r}")
        answer = await self._call(self._open.workflows.DiffRun, request)
        return [Difference(each.step, each.change, each.detail) for each in answer.differences]
