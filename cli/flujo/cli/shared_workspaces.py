"""Notice that the workspace of a run lies among those of another store: a copied, restored or imported run names the
folder of the original, and would work in it."""

from __future__ import annotations

from pathlib import Path

from flujo.backends.discovery import path_of
from flujo.kernel import WorkflowState
from flujo.kernel.backend import other_owner

from .session import Session
from .target import ServerTarget


def note_shared_workspace(session: Session, state: WorkflowState) -> None:
    """Say so if the workspace of a run belongs to another store than the run does. The disk of a server is its own."""
    workspace, target = state.environment.get("workspace"), session.target
    if workspace is None or isinstance(target, ServerTarget) or (store := path_of(target.url)) is None:
        return
    if (owner := other_owner(Path(workspace), store)) is not None:
        session.note(
            f"the workspace {workspace} belongs to a run of {owner}; run {state.run_id} is a copy and works in the "
            "same files"
        )
