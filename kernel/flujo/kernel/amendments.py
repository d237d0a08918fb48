"""Decide what changes by hand record, for tools that change runs which no process runs."""

from __future__ import annotations

from .journal.amendments import Change, Complete, GiveOutput, SetVariable, Skip, carry_out, decide

__all__ = [
    "Change",
    "Complete",
    "GiveOutput",
    "SetVariable",
    "Skip",
    "carry_out",
    "decide",
]
