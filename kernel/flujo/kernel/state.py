"""Declare what a journal adds up to, for those who read runs."""

from __future__ import annotations

from .journal.state import (
    FINAL,
    LIVE,
    OPEN,
    SETTLED,
    Failure,
    PauseReason,
    Progress,
    RunStatus,
    Signal,
    StepState,
    StepStatus,
    Usage,
    WorkflowState,
)

__all__ = [
    "FINAL",
    "LIVE",
    "OPEN",
    "SETTLED",
    "Failure",
    "PauseReason",
    "Progress",
    "RunStatus",
    "Signal",
    "StepState",
    "StepStatus",
    "Usage",
    "WorkflowState",
]
