"""Fold events into a state and decide what may happen next, for tests and tools over journals."""

from __future__ import annotations

from .journal.children import awaited
from .journal.compatibility import differences
from .journal.decisions import (
    Stop,
    after_failure,
    at_close,
    at_end,
    at_recovery,
    at_resume,
    at_takeover,
    first_seq,
    restart_at,
    set_output,
    skip,
)
from .journal.fold import add_up, apply, fold, replay
from .journal.summaries import summarize
from .ownership.resumption import require_compatible

__all__ = [
    "Stop",
    "add_up",
    "after_failure",
    "apply",
    "at_close",
    "at_end",
    "at_recovery",
    "at_resume",
    "at_takeover",
    "awaited",
    "differences",
    "first_seq",
    "fold",
    "replay",
    "require_compatible",
    "restart_at",
    "set_output",
    "skip",
    "summarize",
]
