"""Between the words of the kernel and the enums of the contract.

A number that this release does not know becomes a word that says so, `unknown(7)`: it is shown, and never raised. A
word that the contract does not know becomes the number 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flujo.kernel.state import PauseReason
from flujo.v1 import run_pb2, run_service_pb2


class Words:
    """The words for the numbers of one enum: the names of its values without their prefix, or those in `special`."""

    def __init__(self, enum: Any, special: Mapping[str, str] = {}) -> None:
        self._word: dict[int, str] = {}
        values = enum.DESCRIPTOR.values
        prefix = values[0].name.removesuffix("UNSPECIFIED")
        for value in values[1:]:
            name = value.name.removeprefix(prefix)
            self._word[value.number] = special.get(name, name.lower())
        self._number = {word: number for number, word in self._word.items()}

    def number(self, word: str) -> Any:
        """Return the number of a word, 0 for one that the contract does not know."""
        return self._number.get(word, 0)

    def word(self, number: int) -> str:
        """Return the word of a number, and for one of a newer release a word that says so."""
        return self._word.get(number) or f"unknown({number})"


STEP_KINDS = Words(run_pb2.StepKind)
WAIT_KINDS = Words(run_pb2.WaitKind)
STEP_CHANGES = Words(run_pb2.StepChange)
CLEAN_UP_REASONS = Words(run_pb2.CleanUpReason)
REASON_KINDS = Words(run_service_pb2.ReasonKind)
PAUSE_REASONS = Words(
    run_pb2.PauseReason,
    {
        "REQUESTED": PauseReason.REQUESTED.value,
        "STEP_INTERRUPTED": PauseReason.INTERRUPTED.value,
        "STATE_INCOMPATIBLE": PauseReason.INCOMPATIBLE.value,
        "WORKSPACE_GONE": PauseReason.WORKSPACE_GONE.value,
    },
)

BY_ENUM = {
    "StepKind": STEP_KINDS,
    "WaitKind": WAIT_KINDS,
    "StepChange": STEP_CHANGES,
    "PauseReason": PAUSE_REASONS,
    "CleanUpReason": CLEAN_UP_REASONS,
}
"""The words of the enums that events hold, by name."""
