"""Answer for WorkflowService: what the server was started with or was given to keep, and what a definition says."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from grpc import aio

from flujo.client.wire.limits import MAX_ANSWER_BYTES, shorten
from flujo.client.wire.parameters import definition_of
from flujo.client.wire.runs import put_fitting, put_plan
from flujo.client.wire.tasks import to_task
from flujo.kernel import Kernel, StoredDefinition, Workflow
from flujo.kernel.api import Difference, PutOutcome
from flujo.kernel.errors import DefinitionError, FlujoError, InvalidNameError, Problem, WorkflowNotFoundError
from flujo.kernel.loops import in_thread
from flujo.v1 import run_pb2, workflow_service_pb2_grpc
from flujo.v1 import workflow_service_pb2 as pb
from flujo.v1.payload_pb2 import Definition
from flujo.workflows.registry import Tasks
from flujo.workflows.task_descriptions import TaskDescription, describe

from .access import current_caller
from .pages import PageTokens
from .runs import LONGEST_PAGE, PAGE
from .starts import READ_AT_ONCE, read_definition

logger = logging.getLogger("flujo.server")

Context = aio.ServicerContext[Any, Any]

MAX_LIST_BYTES = 256 * 1024
"""What each list of an answer takes at most."""


_PUT_OUTCOMES = {
    PutOutcome.CREATED: pb.PUT_OUTCOME_CREATED,
    PutOutcome.REPLACED: pb.PUT_OUTCOME_REPLACED,
    PutOutcome.UNCHANGED: pb.PUT_OUTCOME_UNCHANGED,
}


class WorkflowService(workflow_service_pb2_grpc.WorkflowServiceServicer):
    """The workflows of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        tokens = PageTokens("ListWorkflows")
        (after,) = tokens.place(request.page_token, "")
        known: Mapping[str, Workflow | StoredDefinition] = {
            **{each.workflow: each for each in await self._kernel.stored_workflows()},
            **self._kernel.workflows,
        }
        names = [name for name in sorted(known) if name > after]
        wanted = names[: min(request.page_size or PAGE, LONGEST_PAGE)]
        found = [await self._told(known[name]) for name in wanted]
        answer = pb.ListWorkflowsResponse()
        put_fitting(answer.workflows, found, len(wanted), MAX_ANSWER_BYTES)
        if 0 < len(answer.workflows) < len(names):
            answer.next_page_token = tokens.after(names[len(answer.workflows) - 1])
        return answer

    async def _told(self, found: Workflow | StoredDefinition) -> pb.Workflow:
        """Return a workflow in short; of a stored one that cannot be used here, such as for want of a task, what the
        store says."""
        if isinstance(found, Workflow):
            return _short(found)
        try:
            made = _short(await self._kernel.find_workflow(found.workflow))
        except FlujoError:
            made = pb.Workflow(name=found.workflow, version=found.version, definition_digest=found.digest)
            shorten(made)
        made.stored = True
        return made

    async def GetWorkflow(self, request: pb.GetWorkflowRequest, context: Context) -> pb.GetWorkflowResponse:
        workflow = await self._find(request.name)
        answer = pb.GetWorkflowResponse(workflow=_short(workflow))
        answer.workflow.stored = request.name not in self._kernel.workflows
        if workflow.definition is not None:
            answer.definition.CopyFrom(definition_of(workflow))
            shorten(answer.definition)
        answer.steps_omitted = _put_steps(answer.steps, workflow)
        return answer

    async def _find(self, name: str) -> Workflow:
        try:
            return await self._kernel.find_workflow(name)
        except WorkflowNotFoundError as error:
            stored = [each.workflow for each in await self._kernel.stored_workflows()]
            raise WorkflowNotFoundError(name, sorted({*error.known, *stored})) from None

    async def PutWorkflow(self, request: pb.PutWorkflowRequest, context: Context) -> pb.PutWorkflowResponse:
        workflow = await read_definition(_given(request))
        outcome = await self._kernel.put_workflow(workflow)
        _log("stored", workflow.name, outcome)
        made = _short(workflow)
        made.stored = True
        return pb.PutWorkflowResponse(workflow=made, outcome=_PUT_OUTCOMES[outcome])

    async def DeleteWorkflow(self, request: pb.DeleteWorkflowRequest, context: Context) -> pb.DeleteWorkflowResponse:
        await self._kernel.delete_workflow(request.name)
        _log("removed", request.name, "deleted")
        return pb.DeleteWorkflowResponse()

    async def DiffRun(self, request: pb.DiffRunRequest, context: Context) -> pb.DiffRunResponse:
        current = await read_definition(request.definition) if request.HasField("definition") else None
        found = await self._kernel.diff(request.run_id, current)
        answer = pb.DiffRunResponse()
        told = map(_difference, found)
        answer.differences_omitted = put_fitting(answer.differences, told, len(found), MAX_ANSWER_BYTES)
        return answer

    async def ListTasks(self, request: pb.ListTasksRequest, context: Context) -> pb.ListTasksResponse:
        tokens = PageTokens("ListTasks")
        (after,) = tokens.place(request.page_token, "")
        names = [name for name in Tasks().names() if name > after]
        wanted = names[: min(request.page_size or PAGE, LONGEST_PAGE)]
        found = await in_thread(partial(_described, wanted))  # the modules of the tasks are imported for it
        answer = pb.ListTasksResponse()
        put_fitting(answer.tasks, map(to_task, found), len(wanted), MAX_ANSWER_BYTES)
        if 0 < len(answer.tasks) < len(names):
            answer.next_page_token = tokens.after(names[len(answer.tasks) - 1])
        return answer

    async def ValidateWorkflow(
        self, request: pb.ValidateWorkflowRequest, context: Context
    ) -> pb.ValidateWorkflowResponse:
        from flujo.workflows.loading import read_text

        definition = _given(request)
        read = partial(read_text, definition.text, definition.name or "workflow.yaml")
        answer = pb.ValidateWorkflowResponse()
        try:
            short = len(definition.text) <= READ_AT_ONCE
            workflow, warnings = read() if short else await in_thread(read)
        except DefinitionError as error:
            told = map(_problem, error.problems)
            answer.problems_omitted = put_fitting(answer.problems, told, len(error.problems), MAX_LIST_BYTES)
            return answer
        answer.workflow.CopyFrom(_short(workflow))
        answer.warnings_omitted = put_fitting(answer.warnings, map(_problem, warnings), len(warnings), MAX_LIST_BYTES)
        answer.steps_omitted = _put_steps(answer.steps, workflow)
        return answer


def _given(request: pb.ValidateWorkflowRequest | pb.PutWorkflowRequest) -> Definition:
    if not request.HasField("definition"):
        raise InvalidNameError("definition", "", "the text of a definition")
    return request.definition


def _described(names: Sequence[str]) -> Sequence[TaskDescription]:
    known = Tasks()
    return [describe(name, known) for name in names]


def _difference(found: Difference) -> pb.RunDifference:
    made = pb.RunDifference(step=found.step, change=found.change, detail=found.detail)
    shorten(made)
    return made


def _log(done: str, workflow: str, outcome: str) -> None:
    """Log who has changed what others start by a name: a store keeps no record of that."""
    who = current_caller().principal or "the owner"
    logger.warning("the workflow %r was %s by %s: %s", workflow, done, who, outcome, extra={"principal": who})


def _short(workflow: Workflow) -> pb.Workflow:
    definition = workflow.definition
    made = pb.Workflow(
        name=workflow.name,
        version=workflow.version,
        definition_digest=None if definition is None else definition.digest,
    )
    inputs = sorted(workflow.parameters or ())
    made.inputs_omitted = put_fitting(made.inputs, inputs, len(inputs), MAX_LIST_BYTES)
    shorten(made)
    return made


def _put_steps(target: Any, workflow: Workflow) -> int:
    """Write the steps of a definition, as many as there is room for; return how many are left out."""
    steps: list[run_pb2.PlannedStep] = []
    put_plan(steps, workflow.plan or ())
    for step in steps:
        shorten(step)
    return put_fitting(target, steps, len(steps), MAX_LIST_BYTES)


def _problem(problem: Problem) -> pb.DefinitionProblem:
    made = pb.DefinitionProblem(line=problem.line, column=problem.column, message=problem.message)
    shorten(made)
    return made
