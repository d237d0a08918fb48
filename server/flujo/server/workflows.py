"""Answer for WorkflowService: what the server was started with, and what a definition says."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio.to_thread
from grpc import aio

from flujo.client.wire.limits import MAX_ANSWER_BYTES, shorten
from flujo.client.wire.parameters import definition_of
from flujo.client.wire.runs import put_fitting, put_plan
from flujo.kernel import Kernel, Workflow
from flujo.kernel.errors import DefinitionError, InvalidNameError, Problem, WorkflowNotFoundError
from flujo.v1 import run_pb2, workflow_service_pb2_grpc
from flujo.v1 import workflow_service_pb2 as pb

from .pages import PageTokens
from .runs import LONGEST_PAGE, PAGE, READ_AT_ONCE

Context = aio.ServicerContext[Any, Any]

MAX_LIST_BYTES = 256 * 1024
"""What each list of an answer takes at most."""


class WorkflowService(workflow_service_pb2_grpc.WorkflowServiceServicer):
    """The workflows of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        tokens = PageTokens("ListWorkflows")
        (after,) = tokens.place(request.page_token, "")
        known = self._kernel.workflows
        names = [name for name in sorted(known) if name > after]
        wanted = names[: min(request.page_size or PAGE, LONGEST_PAGE)]
        answer = pb.ListWorkflowsResponse()
        put_fitting(answer.workflows, (_short(known[name]) for name in wanted), len(wanted), MAX_ANSWER_BYTES)
        if 0 < len(answer.workflows) < len(names):
            answer.next_page_token = tokens.after(names[len(answer.workflows) - 1])
        return answer

    async def GetWorkflow(self, request: pb.GetWorkflowRequest, context: Context) -> pb.GetWorkflowResponse:
        known = self._kernel.workflows
        workflow = known.get(request.name)
        if workflow is None:
            raise WorkflowNotFoundError(request.name, sorted(known))
        answer = pb.GetWorkflowResponse(workflow=_short(workflow))
        if workflow.definition is not None:
            answer.definition.CopyFrom(definition_of(workflow))
            shorten(answer.definition)
        answer.steps_omitted = _put_steps(answer.steps, workflow)
        return answer

    async def ValidateWorkflow(
        self, request: pb.ValidateWorkflowRequest, context: Context
    ) -> pb.ValidateWorkflowResponse:
        from flujo.workflows.loading import read_text

        if not request.HasField("definition"):
            raise InvalidNameError("definition", "", "the text of a definition")
        definition = request.definition
        read = partial(read_text, definition.text, definition.name or "workflow.yaml")
        answer = pb.ValidateWorkflowResponse()
        try:
            short = len(definition.text) <= READ_AT_ONCE
            workflow, warnings = read() if short else await anyio.to_thread.run_sync(read)
        except DefinitionError as error:
            told = map(_problem, error.problems)
            answer.problems_omitted = put_fitting(answer.problems, told, len(error.problems), MAX_LIST_BYTES)
            return answer
        answer.workflow.CopyFrom(_short(workflow))
        answer.warnings_omitted = put_fitting(answer.warnings, map(_problem, warnings), len(warnings), MAX_LIST_BYTES)
        answer.steps_omitted = _put_steps(answer.steps, workflow)
        return answer


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
