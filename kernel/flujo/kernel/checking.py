"""Check what a store holds, for tools that look after stores."""

from __future__ import annotations

from .store.integrity import (
    EVERY_RUN,
    MOST_FINDINGS,
    Examination,
    Finding,
    Life,
    Progress,
    Report,
    Severity,
    check,
    examine,
    examine_request,
    live,
    waiting_in_vain,
)

__all__ = [
    "EVERY_RUN",
    "MOST_FINDINGS",
    "Examination",
    "Finding",
    "Life",
    "Progress",
    "Report",
    "Severity",
    "check",
    "examine",
    "examine_request",
    "live",
    "waiting_in_vain",
]
