"""Every status belongs to one kind: a reader need not know them all."""

from __future__ import annotations

from collections import Counter

from flujo.kernel.journal.statuses import FINAL, LIVE, OPEN, SETTLED, UNFINISHED, RunStatus, StepStatus


def test_a_run_is_live_paused_or_final() -> None:
    """In one of these at a time, and unfinished unless final."""
    assert Counter([*LIVE, RunStatus.PAUSED, *FINAL]) == Counter(RunStatus)
    assert set(UNFINISHED) == set(RunStatus) - set(FINAL)


def test_a_step_that_has_an_outcome_is_not_open() -> None:
    """One that is pending, or was cancelled, is neither."""
    assert set(StepStatus) - {*OPEN, *SETTLED} == {StepStatus.PENDING, StepStatus.CANCELLED}
    assert not set(OPEN) & set(SETTLED)
