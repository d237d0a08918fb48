"""Check what a store holds, for tools that look after stores."""

from __future__ import annotations

from .execution.leftovers import processes_of
from .store.integrity import (
    EVERY_RUN,
    MOST_FINDINGS,
    Finding,
    Progress,
    Report,
    Severity,
    StepHistory,
    Verification,
    check,
    next_history,
    unwakeable_steps,
    verify,
    verify_request,
)

__all__ = [
    "EVERY_RUN",
    "MOST_FINDINGS",
    "Finding",
    "Progress",
    "Report",
    "Severity",
    "StepHistory",
    "Verification",
    "check",
    "next_history",
    "processes_of",
    "unwakeable_steps",
    "verify",
    "verify_request",
]
