"""The text of the definition that a run has: from its store, or out of what its server exports."""

from __future__ import annotations

from flujo.kernel import Observer, StoredDefinition, StoredRuns, WorkflowState
from flujo.kernel.errors import WorkflowNotFoundError


async def stored_definition(runs: StoredRuns, state: WorkflowState) -> StoredDefinition | None:
    """Return the definition that a run has in this state; None for a run of a Python workflow, which has no text, and
    where it is not kept: a server hands out the one that a run has now."""
    if state.definition is None:
        return None
    if isinstance(runs, Observer):
        try:
            return await runs.backend.get_definition(state.definition)
        except WorkflowNotFoundError:
            return None
    from flujo.client import Client

    assert isinstance(runs, Client)
    found = (await runs.export_run(state.run_id)).run.definition
    return found if found is not None and found.digest == state.definition else None
