"""The workflows that a store has by name: put there while kernels run, and started by name like those that a kernel
was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flujo.kernel.checked_calls import checked
from flujo.kernel.errors import DeclarationError, WorkflowFixedError
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.forwarding import forwarded
from flujo.kernel.outcomes import PutOutcome
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.records import StoredDefinition

from .workflow_registry import WorkflowRegistry


@checked
class StoredWorkflows:
    """The workflows of a store, beside those that one kernel was given."""

    def __init__(self, registry: WorkflowRegistry, backend: StateBackend, require_here: Callable[[], None]) -> None:
        """`require_here` raises WrongEventLoopError when called in another event loop than that of the kernel."""
        self._registry = registry
        self._backend = backend
        self._ask_where = require_here

    def _require_here(self) -> None:
        self._ask_where()

    async def put_workflow(self, workflow: Workflow) -> PutOutcome:
        """Store a definition under the name of its workflow, in the place of what was stored there. From then on every
        kernel of this store that can load definitions starts it by that name; runs that exist keep their own texts.

        Raises WorkflowFixedError for the name of a workflow that this kernel was given, DeclarationError for a
        program, whose code no store can hold."""
        if workflow.definition is None:
            raise DeclarationError(
                f"the workflow {workflow.name!r} is a program, and a store holds definitions only",
                ["give it to every kernel that is to run it: Kernel(backend, workflows=[…])"],
            )
        self._require_free(workflow.name)
        text = workflow.definition.text
        stored = StoredDefinition(workflow.definition.digest, workflow.name, workflow.version, text)
        before = await self._backend.put_workflow(stored)
        if before is None:
            return PutOutcome.CREATED
        return PutOutcome.UNCHANGED if before.text == text else PutOutcome.REPLACED

    async def delete_workflow(self, name: str) -> None:
        """Remove what `put_workflow` has stored; its runs go on. Raises WorkflowNotFoundError, WorkflowFixedError."""
        self._require_free(name)
        await self._backend.delete_workflow(name)

    async def stored_workflows(self) -> Sequence[StoredDefinition]:
        """Return what `put_workflow` has stored, by name. What this kernel was given hides a stored one of its name."""
        return await self._backend.stored_workflows()

    async def find_workflow(self, name: str) -> Workflow:
        """Return the workflow that `start` takes by this name. Raises WorkflowNotFoundError, and what is wrong with a
        stored definition here, such as TaskNotFoundError."""
        return await self._registry.find(name, self._backend)

    def _require_free(self, name: str) -> None:
        if name in self._registry.registered:
            raise WorkflowFixedError(name)


class HasStoredWorkflows:
    """The calls that whoever has stored workflows leaves to them. Their parameters stand in `StoredWorkflows` alone."""

    _stored_workflows: StoredWorkflows

    put_workflow = forwarded("_stored_workflows", StoredWorkflows.put_workflow)
    delete_workflow = forwarded("_stored_workflows", StoredWorkflows.delete_workflow)
    stored_workflows = forwarded("_stored_workflows", StoredWorkflows.stored_workflows)
    find_workflow = forwarded("_stored_workflows", StoredWorkflows.find_workflow)
