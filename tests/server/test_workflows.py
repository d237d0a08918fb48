"""What a server keeps by name and tells of: workflows that were put there, differences, tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import aio
from grpc_status import rpc_status

from flujo.backends import open_backend
from flujo.client import Client
from flujo.kernel import Kernel, RunFailed
from flujo.kernel.api import Difference, PutOutcome
from flujo.kernel.errors import (
    DeclarationError,
    DefinitionError,
    RunExistsError,
    RunNotFoundError,
    WorkflowFixedError,
    WorkflowNotFoundError,
)
from flujo.server.listening import load_stored
from flujo.v1 import workflow_service_pb2 as pb
from flujo.v1 import workflow_service_pb2_grpc
from flujo.v1.payload_pb2 import Definition
from flujo.workflows import load_workflow_text
from flujo.workflows.registry import Tasks
from flujo.workflows.task_descriptions import describe
from server.flows import FAILS, WORKS, doubling, letters
from server.harness import raised_by, served, told_by

FIRST = """
name: greeting
steps: [{name: say, task: echo, inputs: {message: hello}}]
outputs: {said: '{{ steps.say.result }}'}
"""
SECOND = FIRST.replace("hello", "welcome")


@asynccontextmanager
async def serving(folder: Path, address: str, *flows: Any) -> AsyncIterator[tuple[Kernel, Client]]:
    """A kernel on the store in a folder, and a client of its server."""
    backend = open_backend(f"sqlite:{folder}/state.db")
    kernel = Kernel(backend, [doubling, *flows], workspaces=folder / "w", load_definition=load_stored)
    async with kernel, served(kernel, address), Client(address) as client:
        yield kernel, client


async def refused(address: str, method: str, request: Any) -> tuple[str, str]:
    """Code and reason with which a server refuses a request."""
    async with aio.insecure_channel(address) as channel:
        stub = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        with pytest.raises(aio.AioRpcError) as error:
            await getattr(stub, method)(request)
    status = rpc_status.from_call(error.value)  # type: ignore[arg-type]
    info = ErrorInfo()
    assert status is not None
    status.details[0].Unpack(info)
    return error.value.code().name, info.reason


async def test_a_workflow_that_was_put_is_started_by_its_name(folder: Path, address: str) -> None:
    """At once, and by the next server of the store; the last text that was put is the one that runs."""
    async with serving(folder, address) as (kernel, client):
        put = await client.put_workflow(FIRST, "greeting.yaml")
        assert (put.workflow.name, put.workflow.stored, put.outcome) == ("greeting", True, PutOutcome.CREATED)
        assert (await client.put_workflow(FIRST)).outcome is PutOutcome.UNCHANGED
        assert await client.run("greeting", run_id="first") == {"said": "hello"}
        assert (await client.put_workflow(SECOND)).outcome is PutOutcome.REPLACED
        assert await kernel.run("greeting", run_id="second") == {"said": "welcome"}
        names = {each.name: each.stored for each in await client.workflows()}
        assert names == {"doubling": False, "greeting": True}

    async with serving(folder, address) as (_, client):
        assert await client.run("greeting") == {"said": "welcome"}
        assert (await client.workflow("greeting")).definition == SECOND


async def test_a_run_keeps_the_text_it_was_started_with(folder: Path, address: str) -> None:
    """Whatever is put under the name of its workflow later, and if that is removed."""
    waits = "name: greeting\nsteps: [{name: go, task: wait_signal}]\noutputs: {it: one}"
    async with serving(folder, address) as (_, client):
        await client.put_workflow(waits)
        await client.start("greeting", run_id="r")
        await client.put_workflow(waits.replace("one", "two"))
        await client.delete_workflow("greeting")

    async with serving(folder, address) as (_, client):
        await client.signal("r", "go")
        assert await client.result("r") == {"it": "one"}
        with pytest.raises(WorkflowNotFoundError):
            await client.start("greeting")


async def test_what_cannot_be_put_or_removed_is_refused(folder: Path, address: str) -> None:
    """What is no definition, the name of a workflow that the server was started with, and what is not there."""
    own = "name: doubling\nsteps: [{name: a, task: noop}]"
    async with serving(folder, address) as (kernel, client):
        fixed = await raised_by(lambda: client.put_workflow(own))
        assert isinstance(fixed, WorkflowFixedError)
        assert told_by(fixed)["workflow"] == "doubling"
        assert isinstance(await raised_by(lambda: client.put_workflow("name: x")), DefinitionError)
        assert isinstance(await raised_by(lambda: client.delete_workflow("doubling")), WorkflowFixedError)
        missing = await raised_by(lambda: client.delete_workflow("nothing"))
        assert isinstance(missing, WorkflowNotFoundError)
        assert isinstance(await raised_by(lambda: kernel.put_workflow(doubling)), DeclarationError)

        definition = Definition(text=own)
        assert await refused(address, "PutWorkflow", pb.PutWorkflowRequest()) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        told = await refused(address, "PutWorkflow", pb.PutWorkflowRequest(definition=definition))
        assert told == ("FAILED_PRECONDITION", "WORKFLOW_FIXED")
        told = await refused(address, "DeleteWorkflow", pb.DeleteWorkflowRequest(name="doubling"))
        assert told == ("FAILED_PRECONDITION", "WORKFLOW_FIXED")
        told = await refused(address, "DeleteWorkflow", pb.DeleteWorkflowRequest(name="x"))
        assert told == ("NOT_FOUND", "WORKFLOW_NOT_FOUND")


async def test_a_stored_workflow_that_cannot_be_used_here_keeps_no_other_from_being_listed(
    folder: Path, address: str
) -> None:
    """Such as one with a task that another machine had."""
    async with serving(folder, address) as (kernel, client):
        await client.put_workflow(FIRST)
        stored = (await kernel.stored_workflows())[0]
        await kernel.backend.put_workflow(stored._replace(workflow="other", text="name: other\nsteps: [{task: gone}]"))

        assert [(each.name, each.stored) for each in await client.workflows()] == [
            ("doubling", False),
            ("greeting", True),
            ("other", True),
        ]
        with pytest.raises(DefinitionError):
            await client.start("other")


async def test_a_run_is_compared_before_anything_is_touched(folder: Path, address: str) -> None:
    """With a definition that is sent along, and with what the server has by its name: as the kernel compares it."""
    changed = letters(WORKS, first="uno")
    async with serving(folder, address) as (kernel, client):
        with pytest.raises(RunFailed):
            await client.run(letters(FAILS), run_id="r")
        seq = (await kernel.inspect("r")).seq

        assert await client.diff("r", letters(WORKS)) == await kernel.diff("r", letters(WORKS)) == []
        found = await client.diff("r", changed)
        assert found == await kernel.diff("r", changed)
        assert [(each.step, each.change) for each in found] == [("a", "changed")]
        with pytest.raises(WorkflowNotFoundError):
            await client.diff("r")
        assert changed.definition is not None
        await client.put_workflow(changed.definition.text)
        assert await client.diff("r") == found
        assert (await kernel.inspect("r")).seq == seq


async def test_what_cannot_be_compared_is_refused(folder: Path, address: str) -> None:
    """A run that is not there, the definition of another workflow, and none."""
    other = load_workflow_text(FIRST, "greeting.yaml")
    async with serving(folder, address) as (kernel, client):
        await client.run("doubling", run_id="r")
        assert await client.diff("r") == []
        assert isinstance(await raised_by(lambda: client.diff("nobody")), RunNotFoundError)
        near, far = await raised_by(lambda: kernel.diff("r", other)), await raised_by(lambda: client.diff("r", other))
        assert isinstance(near, RunExistsError)
        assert told_by(near) == told_by(far)
        definition = Definition(text="name: [")
        told = await refused(address, "DiffRun", pb.DiffRunRequest(run_id="r", definition=definition))
        assert told == ("INVALID_ARGUMENT", "INVALID_FIELD")


async def test_what_a_program_was_found_to_contradict_is_told(folder: Path, address: str) -> None:
    """It is compared when it runs, and what was found then is recorded."""
    from flujo.kernel import Context, workflow
    from flujo.kernel.errors import StateIncompatibilityError

    names = ["first"]

    @workflow()
    async def renaming(ctx: Context) -> None:
        await ctx.step(lambda: 1, name=names[0])
        await ctx.wait_signal("go")

    async with serving(folder, address, renaming) as (_, client):
        await client.start("renaming", run_id="r")
        await client.pause("r")
        await client.wait("r")
        names[0] = "second"
        await client.unpause("r")
        with pytest.raises(StateIncompatibilityError) as found:
            await client.result("r")

        assert await client.diff("r") == [Difference(*each) for each in found.value.differences] != []


async def test_the_tasks_of_a_server_are_those_of_its_process(folder: Path, address: str) -> None:
    """Each as `flujoctl tasks` describes it there, in pages that are bounded."""
    known = Tasks()
    async with serving(folder, address) as (_, client), aio.insecure_channel(address) as channel:
        found = await client.tasks()
        assert [each._asdict() for each in found] == [describe(name, known)._asdict() for name in known.names()]

        stub = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        names, token = [], ""
        while True:
            page = await stub.ListTasks(pb.ListTasksRequest(page_size=7, page_token=token))
            names += [each.name for each in page.tasks]
            if not (token := page.next_page_token):
                break
        assert names == known.names()
        told = await refused(address, "ListTasks", pb.ListTasksRequest(page_size=-1))
        assert told == ("INVALID_ARGUMENT", "INVALID_FIELD")
