"""Declare what a journal adds up to, for those who read runs."""

from __future__ import annotations

from .journal.plans import loop_of
from .journal.state import (
    FINAL,
    ITEMS,
    LIVE,
    OPEN,
    PER_SECOND,
    SETTLED,
    UNFINISHED,
    Failure,
    PauseReason,
    Progress,
    RunStatus,
    Signal,
    StepState,
    StepStatus,
    TakenOver,
    Usage,
    WorkflowState,
)

__all__ = [
    "FINAL",
    "ITEMS",
    "LIVE",
    "OPEN",
    "PER_SECOND",
    "SETTLED",
    "UNFINISHED",
    "Failure",
    "PauseReason",
    "Progress",
    "RunStatus",
    "Signal",
    "StepState",
    "StepStatus",
    "TakenOver",
    "Usage",
    "WorkflowState",
    "loop_of",
]
