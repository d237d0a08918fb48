"""The workflows that a store has by name: put there while kernels run, and started by name like those that a kernel
was given."""

from __future__ import annotations

from flujo.kernel.errors import DeclarationError, WorkflowFixedError
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.outcomes import PutOutcome
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.records import StoredDefinition

from .workflow_registry import WorkflowRegistry


async def put_workflow(workflow: Workflow, registry: WorkflowRegistry, backend: StateBackend) -> PutOutcome:
    """Store a definition under the name of its workflow. Raises DeclarationError for a program, whose code no store
    can hold, and WorkflowFixedError."""
    if workflow.definition is None:
        raise DeclarationError(
            f"the workflow {workflow.name!r} is a program, and a store holds definitions only",
            ["give it to every kernel that is to run it: Kernel(backend, workflows=[…])"],
        )
    _require_free(workflow.name, registry)
    text = workflow.definition.text
    stored = StoredDefinition(workflow.definition.digest, workflow.name, workflow.version, text)
    before = await backend.put_workflow(stored)
    if before is None:
        return PutOutcome.CREATED
    return PutOutcome.UNCHANGED if before.text == text else PutOutcome.REPLACED


async def delete_workflow(name: str, registry: WorkflowRegistry, backend: StateBackend) -> None:
    """Remove what is stored under a name. Raises WorkflowNotFoundError, WorkflowFixedError."""
    _require_free(name, registry)
    await backend.delete_workflow(name)


def _require_free(name: str, registry: WorkflowRegistry) -> None:
    if name in registry.registered:
        raise WorkflowFixedError(name)
