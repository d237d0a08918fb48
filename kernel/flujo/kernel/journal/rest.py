"""Decide from what is recorded whether a run rests: nothing of it can happen before an instant, a signal or a slot
comes.

A step in backoff waits like a sleep. What is due within `MARGIN` counts as able to happen, because a caller that ends a
run that rests needs time to do so.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from flujo.kernel.durations import MICROSECONDS

from .state import LIVE, StepState, StepStatus, WorkflowState

MARGIN = MICROSECONDS
"""Microseconds before an instant from which on what waits for it is not at rest any more."""


class Rest(NamedTuple):
    """What a run waits for while nothing of it can happen by itself."""

    seq: int
    """The last event that was counted."""

    until: int | None = None
    """The first instant at which something can happen, in microseconds UTC; None if only a signal, a slot or a command
    helps."""


def rest(state: WorkflowState, now: int, queued: Collection[str] = ()) -> Rest | None:
    """Return what a run waits for, its children aside; None if something of it can happen now.

    The steps named in `queued` wait for a slot, of which nothing is recorded. A run that has ended, is paused or that
    no process runs rests: only a command moves it."""
    if state.status not in LIVE or state.unowned:
        return Rest(state.seq)
    if state.cancel_requested_at is not None or state.pause_requested_at is not None:
        return None
    steps = [step for step in state.open_steps() if not step.is_open_loop]  # what its items wait for, it waits for
    steps = [step for step in steps if step.name not in queued]
    if not (steps or queued) or any(step.status is StepStatus.RUNNING or _has_come(state, step) for step in steps):
        return None
    instants = [instant for instant in (state.timeout_at, *(step.wake_at for step in steps)) if instant is not None]
    until = min(instants, default=None)
    return None if until is not None and until <= now + MARGIN else Rest(state.seq, until)


def _has_come(state: WorkflowState, step: StepState) -> bool:
    return step.signal is not None and bool(state.signals.get(step.signal))
