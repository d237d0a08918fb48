"""Decide what changes by hand record, for tools that change runs which no process runs."""

from __future__ import annotations

from .journal.amendments import Amendment, Complete, SetOutput, SetVariable, Skip, apply_amendment, decide

__all__ = [
    "Amendment",
    "Complete",
    "SetOutput",
    "SetVariable",
    "Skip",
    "apply_amendment",
    "decide",
]
