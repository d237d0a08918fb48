"""Runs as the state of a workflow: to be read, changed and saved, by code that blocks.

    from flujo.state import WorkflowState

    state = WorkflowState.load("workflow_id")
    state.update_step("step1", status="completed", output="result")
    state.save()

It is thin: everything is asked of the kernel and its backends, and saving records events, as any other change by hand
does. The backends in `flujo.state.backends` are those of flujo, with queries under the names of an earlier system
besides. docs/state.md has the table of names.
"""

from .models import WorkflowState as WorkflowState
