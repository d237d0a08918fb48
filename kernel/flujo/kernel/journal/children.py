"""Tell from a journal which runs a run has started, and whether each still belongs to its parent."""

from __future__ import annotations

from .state import FINAL, StepStatus, WorkflowState
from .summaries import RunSummary, is_child


def abandoned_by(parent: str) -> str:
    """Return the reason that is recorded when a parent cancels a child for which it waits no longer."""
    return f"abandoned by parent {parent}"


def was_abandoned(reason: str | None, parent: str) -> bool:
    """True if a run was cancelled because its parent abandoned it; earlier releases have recorded another sentence."""
    return reason in (abandoned_by(parent), f"its parent {parent} waits for it no longer")


def awaited(parent: WorkflowState) -> set[str]:
    """Return the children that a run waits for."""
    return {step.child for step in parent.open_steps() if step.child is not None and step.status is StepStatus.WAITING}


def given_up(parent: WorkflowState) -> dict[str, int]:
    """Return the children whose parent has given up waiting, each with the instant at which it gave up."""
    gave_up = (StepStatus.CANCELLED, StepStatus.SKIPPED)
    return {
        step.child: step.finished_at or parent.updated_at
        for step in parent.steps.values()
        if step.child is not None and step.status in gave_up
    }


def left_behind(parent: WorkflowState, now: int) -> dict[str, int]:
    """Return the children that a run leaves if it ends now, each with the instant at which it was given up."""
    return {**dict.fromkeys(sorted(awaited(parent)), now), **given_up(parent)}


def is_outlived(child: WorkflowState, parent: RunSummary) -> bool:
    """True if a child should have ended with its parent. One that somebody has resumed since runs on its own."""
    if parent.status not in FINAL or parent.finished_at is None:
        return False
    return is_child(child, parent.run_id, parent.created_at) and was_begun_for_parent(child, parent.finished_at)


def was_begun_for_parent(child: WorkflowState, until: int) -> bool:
    """True if the parent itself was the last to start or resume it, or anybody while the parent waited."""
    by_parent = child.resume_count == 0 or child.resumed_by == f"run {child.parent_run_id}"
    return by_parent or (child.resumed_at or child.created_at) <= until
