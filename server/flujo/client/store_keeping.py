"""What a client asks of a server besides its runs: documents of runs, copies and checks of the store, workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import anyio

from flujo.kernel.api import PutOutcome
from flujo.kernel.checked_calls import checked
from flujo.kernel.checking import Progress, Report
from flujo.kernel.errors import CallFailedError, Problem, StoreExistsError
from flujo.kernel.loops import in_thread
from flujo.kernel.programs import Workflow
from flujo.kernel.transfer import Arrival, Export, from_json, to_json
from flujo.kernel.trust import set_mode
from flujo.v1 import (
    payload_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

from .calls import Calls
from .wire.outcomes import PUT_OUTCOMES
from .wire.runs import plan_of
from .wire.store_keeping import from_imported, from_report
from .wire.tasks import ServedTask as ServedTask
from .wire.tasks import from_task

PIECE_BYTES = 1024 * 1024
LONG_CALL_SECONDS = 600.0
"""How long an import may take; a server reads, judges and stores a whole document before it answers."""


class ServedWorkflow(NamedTuple):
    """A workflow of a server. Of a program `definition` and `plan` are None."""

    name: str
    version: str | None
    inputs: Sequence[str]
    definition: str | None = None
    """The text of its definition."""

    plan: Sequence[Sequence[str]] | None = None
    """Its steps: name, digest, and the steps it waits for in a graph."""

    stored: bool = False
    """True if `put_workflow` has stored it, False if the server was started with it."""


class StoredWorkflow(NamedTuple):
    """What became of a definition that was to be stored."""

    workflow: ServedWorkflow
    outcome: PutOutcome


class Verdict(NamedTuple):
    """What a server says of a definition: what it describes, or what is wrong with it."""

    workflow: ServedWorkflow | None
    problems: Sequence[Problem]
    warnings: Sequence[Problem]


class Opened(NamedTuple):
    """The connection of a client while it is open."""

    calls: Calls
    runs: run_service_pb2_grpc.RunServiceStub
    system: system_service_pb2_grpc.SystemServiceStub
    workflows: workflow_service_pb2_grpc.WorkflowServiceStub

    def method(self, name: str) -> Any:
        """Return a method of this connection, of whichever service."""
        return next(getattr(stub, name) for stub in self[1:] if hasattr(stub, name))

    @classmethod
    def over(cls, calls: Calls) -> Opened:
        """Return the services at the other end of a connection."""
        return cls(
            calls,
            run_service_pb2_grpc.RunServiceStub(calls.channel),
            system_service_pb2_grpc.SystemServiceStub(calls.channel),
            workflow_service_pb2_grpc.WorkflowServiceStub(calls.channel),
        )


@checked
class StoreKeeping:
    """The calls of a client that are about its server's store and workflows."""

    _open: Opened
    _call: Callable[[Any, Any], Any]

    # -- moving runs --------------------------------------------------------------------------------------------

    async def export_run(self, run_id: str, *, with_children: bool = False) -> Export:
        """Return a run as a document, as `flujo.kernel.transfer.export_run` does; raises RunNotFoundError."""
        request = run_service_pb2.ExportRunRequest(run_id=run_id, with_children=with_children)
        document = bytearray()
        opened = self._open
        async with opened.calls.stream(opened.runs.ExportRun, request) as messages:
            async for message in messages:
                document += message.chunk
        return await in_thread(lambda: from_json(bytes(document)))

    async def import_run(self, export: Export) -> Sequence[Arrival]:
        """Store the runs of a document on the server, as `flujo.kernel.transfer.import_run` does. Raises
        InvalidExportError, RunExistsError, PayloadTooLargeError, DefinitionsNotAllowedError."""
        document = await in_thread(lambda: to_json(export).encode())
        opened = self._open
        answer = await opened.calls.sending(opened.runs.ImportRun, _pieces(document), seconds=LONG_CALL_SECONDS)
        return from_imported(answer)

    # -- keeping the store --------------------------------------------------------------------------------------

    async def backup(self, target: Path) -> int:
        """Write a copy of the server's store to `target` on this machine, which must not exist; return its bytes. There
        is a whole copy or none. Raises StoreExistsError."""
        path = anyio.Path(target)
        if await path.exists():
            raise StoreExistsError(str(target))
        unfinished = anyio.Path(path.with_name(f".{path.name}.unfinished"))
        await _remove(unfinished)
        opened, size = self._open, 0
        request = system_service_pb2.BackupRequest()
        try:
            async with opened.calls.stream(opened.system.Backup, request) as messages:
                async for message in messages:
                    place = await _place(unfinished, message.file)
                    if message.same_as:
                        await place.hardlink_to(await _place(unfinished, message.same_as))
                    else:
                        await _append(place, message.chunk)
                    size += len(message.chunk)
            await unfinished.rename(path)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await _remove(unfinished)
            raise
        return size

    async def check(self, *, progress: Progress = lambda done, total: None) -> Report:
        """Have the server look for damage in its store, as `flujo.kernel.checking.check` does."""
        opened = self._open
        async with opened.calls.stream(opened.system.Check, system_service_pb2.CheckRequest()) as messages:
            async for message in messages:
                if message.WhichOneof("content") == "report":
                    return from_report(message.report)
                progress(message.progress.done, message.progress.total)
        raise CallFailedError("Check", "OK", "it ended without a report")

    # -- workflows ----------------------------------------------------------------------------------------------

    async def workflows(self) -> Sequence[ServedWorkflow]:
        """Return the workflows that the server was started with and those that were put there, by name, without their
        texts and steps."""
        request = workflow_service_pb2.ListWorkflowsRequest(page_size=1000)
        found: list[ServedWorkflow] = []
        while True:
            answer = await self._call(self._open.workflows.ListWorkflows, request)
            found += map(_served, answer.workflows)
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def workflow(self, name: str) -> ServedWorkflow:
        """Return a workflow of the server, with its text and steps; raises WorkflowNotFoundError."""
        request = workflow_service_pb2.GetWorkflowRequest(name=name)
        answer = await self._call(self._open.workflows.GetWorkflow, request)
        text = answer.definition.text if answer.HasField("definition") else None
        return _served(answer.workflow)._replace(definition=text, plan=plan_of(answer.steps))

    async def validate(self, text: str, name: str = "workflow.yaml") -> Verdict:
        """Return what the server says of a definition; `name` is what problems call it. Raises
        DefinitionsNotAllowedError."""
        definition = payload_pb2.Definition(text=text, name=name)
        request = workflow_service_pb2.ValidateWorkflowRequest(definition=definition)
        answer = await self._call(self._open.workflows.ValidateWorkflow, request)
        workflow = _served(answer.workflow)._replace(definition=text, plan=plan_of(answer.steps))
        return Verdict(
            workflow if answer.HasField("workflow") else None,
            [Problem(name, each.line, each.column, each.message) for each in answer.problems],
            [Problem(name, each.line, each.column, each.message) for each in answer.warnings],
        )

    async def put_workflow(self, text: str, name: str = "workflow.yaml") -> StoredWorkflow:
        """Have the server's store keep a definition under the name of its workflow, as Kernel.put_workflow does; `name`
        is what problems call it. Raises DefinitionError, WorkflowFixedError, DefinitionsNotAllowedError."""
        request = workflow_service_pb2.PutWorkflowRequest(definition=payload_pb2.Definition(text=text, name=name))
        answer = await self._call(self._open.workflows.PutWorkflow, request)
        outcome = PUT_OUTCOMES.get(answer.outcome, PutOutcome.UNKNOWN)
        return StoredWorkflow(_served(answer.workflow)._replace(definition=text), outcome)

    async def delete_workflow(self, name: str) -> None:
        """Remove what `put_workflow` has stored; its runs go on. Raises WorkflowNotFoundError, WorkflowFixedError."""
        request = workflow_service_pb2.DeleteWorkflowRequest(name=name)
        await self._call(self._open.workflows.DeleteWorkflow, request)

    async def tasks(self) -> Sequence[ServedTask]:
        """Return the tasks that steps can call on this server, by name."""
        request = workflow_service_pb2.ListTasksRequest(page_size=1000)
        found: list[ServedTask] = []
        while True:
            answer = await self._call(self._open.workflows.ListTasks, request)
            found += map(from_task, answer.tasks)
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token


def _served(message: workflow_service_pb2.Workflow) -> ServedWorkflow:
    version = message.version if message.HasField("version") else None
    return ServedWorkflow(message.name, version, list(message.inputs), stored=message.stored)


def served(workflow: Workflow) -> ServedWorkflow:
    """Return a workflow of this process as a server describes it."""
    text = None if workflow.definition is None else workflow.definition.text
    plan = None if workflow.plan is None else [list(step) for step in workflow.plan]
    return ServedWorkflow(workflow.name, workflow.version, sorted(workflow.parameters or ()), text, plan)


async def _pieces(document: bytes) -> AsyncIterator[run_service_pb2.ImportRunRequest]:
    for start in range(0, len(document), PIECE_BYTES):
        yield run_service_pb2.ImportRunRequest(chunk=document[start : start + PIECE_BYTES])


async def _place(unfinished: anyio.Path, file: str) -> anyio.Path:
    """Return where a file of a copy goes. A server names files within the copy, and no others."""
    if not file:
        return unfinished
    parts = PurePosixPath(file).parts
    if file.startswith("/") or ".." in parts or "\\" in file or not parts:
        raise CallFailedError("Backup", "OK", f"the server names a file outside of the copy: {file!r}")
    place = unfinished.joinpath(*parts)
    await place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


async def _append(place: anyio.Path, data: bytes) -> None:
    is_new = not await place.exists()
    async with await anyio.open_file(place, "ab") as file:
        await file.write(data)
    if is_new:
        set_mode(Path(place), 0o600)


async def _remove(path: anyio.Path) -> None:
    import shutil

    if await path.is_dir():
        await in_thread(partial(shutil.rmtree, str(path)))
    else:
        await path.unlink(missing_ok=True)
