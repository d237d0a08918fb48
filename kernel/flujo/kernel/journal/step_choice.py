"""Which steps of a definition a run performs: chosen when it is started, recorded with it, and kept for its life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

CHOSEN = "chosen_steps"
"""Under this name the environment of a run has its choice, if it was not for every step."""

EVERY_STEP = "all"
"""The flow that every definition has: all its steps."""


class StepChoice(NamedTuple):
    """A part of a definition: the steps of `flow`, by default what the definition says, without `skip_steps` and
    without what comes before `start_from`."""

    flow: str | None = None
    skip_steps: tuple[str, ...] = ()
    start_from: str | None = None

    @property
    def is_open(self) -> bool:
        """True if nothing is chosen, and the definition decides."""
        return self == StepChoice()

    @property
    def recorded(self) -> dict[str, Any]:
        """Return the environment of a run that keeps this choice; empty for one of every step."""
        if self.flow in (None, EVERY_STEP) and not self.skip_steps and self.start_from is None:
            return {}
        return {CHOSEN: {"flow": self.flow, "skip_steps": list(self.skip_steps), "start_from": self.start_from}}


def choice_in(environment: Mapping[str, Any]) -> StepChoice:
    """Return what a run has recorded, whatever its definition has come to say since: without a word, every step."""
    found = environment.get(CHOSEN, {})
    return StepChoice(found.get("flow") or EVERY_STEP, tuple(found.get("skip_steps", ())), found.get("start_from"))
