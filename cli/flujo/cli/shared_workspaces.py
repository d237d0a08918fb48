"""Notice that the workspace of a run lies among those of another store: a copied, restored or imported run names the
folder of the original, and would work in it."""

from __future__ import annotations

from pathlib import Path

from flujo.backends.discovery import path_of
from flujo.kernel import WorkflowState
from flujo.kernel.backend import other_owner, workspace_in

from .session import Session
from .target import ServerTarget, StoreTarget


def holds_files(session: Session, run_id: str) -> bool:
    """True if the folder that a new run with this id would work in has files already. The disk of a server is its
    own."""
    target = session.target
    if isinstance(target, ServerTarget):
        return False
    try:
        return any(workspace_in(target.workspaces, run_id).iterdir())
    except (OSError, ValueError):
        return False


def note_earlier_files(session: Session, state: WorkflowState) -> None:
    """Say that a run which has just begun works among files that are not its own: its store was replaced by an older
    copy, or removed, and another run had this id before."""
    workspace, target = state.environment.get("workspace"), session.target
    if isinstance(target, StoreTarget) and workspace == str(workspace_in(target.workspaces, state.run_id).absolute()):
        session.note(
            f"the workspace {workspace} holds files of an earlier run with this id, and its log what that one printed; "
            "they are left there"
        )


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
