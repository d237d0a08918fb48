"""What stands beside a journal, so that lists and the scheduler need not read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from flujo.kernel.events import AttemptFailed, Fact, RunCancelled, RunCompleted, RunPaused, StepStarted, StepWaiting
from flujo.kernel.events import RunFailed as RunFailedFact
from flujo.kernel.events import StepFailed as StepFailedFact
from flujo.kernel.transitions import summarize
from kernel.journal.histories import CREATED, done, history


def _columns(facts: Sequence[Fact], names: Iterable[str]) -> list[Any]:
    summary = summarize(history(*facts), "me", 7)
    return [getattr(summary, name) for name in names]


@pytest.mark.parametrize(
    ("facts", "status", "owner", "wake_at", "done"),
    [
        ([CREATED], "pending", "me", None, 0),
        ([CREATED, StepStarted("a")], "running", "me", None, 0),
        ([CREATED, StepWaiting("a", "sleep", until=9), StepWaiting("b", "sleep", until=5)], "waiting", "me", 5, 0),
        ([CREATED, StepWaiting("a", "signal", signal="go")], "waiting", "me", None, 0),
        ([CREATED, StepWaiting("a", "sleep", until=9), StepStarted("b")], "running", "me", None, 0),
        ([CREATED, StepStarted("a"), AttemptFailed("a", 1, "E", "no", 3)], "waiting", "me", 3, 0),
        ([CREATED, *done("a"), RunCompleted("1")], "completed", None, None, 1),
        ([CREATED, StepStarted("a"), RunPaused("StepInterrupted", "a")], "paused", None, None, 0),
        ([CREATED, StepWaiting("a", "sleep", until=9), RunCancelled()], "cancelled", None, None, 0),
    ],
)
def test_the_summary_says_what_the_scheduler_needs(
    facts: list[Fact], status: str, owner: str | None, wake_at: int | None, done: int
) -> None:
    """A run that is settled has no owner; one that waits wakes at the earliest instant something is due."""
    assert _columns(facts, ["status", "owner", "wake_at", "steps_done", "token", "seq"]) == [
        status,
        owner,
        wake_at,
        done,
        7,
        len(facts),
    ]


def test_the_summary_names_the_failure() -> None:
    """The error that ended a run is in its summary, for lists and statistics."""
    facts: list[Fact] = [
        CREATED,
        StepStarted("a"),
        StepFailedFact("a", 1, "E", "no"),
        RunFailedFact("E", "no", "a", 1, ["a"]),
    ]

    assert _columns(facts, ["failed_step", "error_type", "error_message", "current_step"]) == ["a", "E", "no", "a"]
