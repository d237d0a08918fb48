"""What list, the scheduler and statistics read of a run without its journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .state import LIVE, RunStatus, WorkflowState

_new = tuple.__new__  # what RunSummary(…) comes to, in half the time; built for every commit

_RUN_WAITING, _RUN_RUNNING = RunStatus.WAITING, RunStatus.RUNNING


class RunSummary(NamedTuple):
    """What list, the scheduler and `claim` read of a run without its journal. Instants in microseconds UTC."""

    run_id: str
    uid: str  # random: tells a run from an earlier one that was deleted under the same id
    workflow: str
    version: str | None
    status: str
    seq: int  # of the last event
    owner: str | None  # kernel id; None when nobody has to advance the run
    token: int  # grows with every change of owner
    labels: str  # JSON text of an object of strings
    created_at: int
    started_at: int | None
    updated_at: int
    finished_at: int | None
    wake_at: int | None  # when an unfinished run next has something to do by itself: a wait or its allowed time ends
    current_step: str | None
    failed_step: str | None
    error_type: str | None
    error_message: str | None
    steps_done: int
    steps_total: int | None  # None when the program decides as it goes
    retries: int
    resume_count: int
    parent_run_id: str | None
    definition: str | None  # digest of the stored definition text


class WorkflowStats(NamedTuple):
    """What the runs of one workflow add up to. `since` is the instant the question named."""

    workflow: str
    runs: Mapping[str, int]
    """How many are stored, by status; statuses without any are left out."""

    created: int
    """How many of the stored ones were created since."""

    ended: Mapping[str, int]
    """How many became final since, by status."""

    retried: int
    """How many of those that ended had tried some step again."""

    failed_steps: Mapping[str, int]
    """How many of those that failed did so in which step, the most failing first."""

    p50: int | None
    """What half of the runs that completed since took at most, from start to end in microseconds; None without any."""

    p95: int | None
    """The same for 95 of 100."""

    longest: int | None
    """The most that one of them took."""


def is_child(run: RunSummary | WorkflowState, parent: str, parent_created_at: int) -> bool:
    """True if a run was started by this life of a parent: it is never older than that."""
    return run.parent_run_id == parent and run.created_at >= parent_created_at


def next_wake(state: WorkflowState) -> int | None:
    """Return the instant at which an unfinished run next has something to do by itself: the soonest of what it waits
    for, and of the end of the time that its workflow allows it."""
    wake_at = state.wake_at if state.status is _RUN_WAITING else None
    if state.timeout_seconds is None or state.status not in LIVE:
        return wake_at
    timeout_at = state.timeout_at
    return timeout_at if wake_at is None or timeout_at is None else min(wake_at, timeout_at)


def is_overdue(wake_at: int | None, updated_at: int, now: int) -> bool:
    """True for a run that is to go on at once, while it is not due for a clock that was set back since."""
    return wake_at is not None and now < wake_at <= updated_at


def summarize(state: WorkflowState, owner: str | None, token: int) -> RunSummary:
    """Return the summary that a commit stores beside the events; a run that nobody has to advance has no owner."""
    error = state.error
    status = state.status
    is_running = status is _RUN_RUNNING  # as nearly always; to look an enum up in a set takes a call of Python
    is_live = is_running or status in LIVE
    return _new(
        RunSummary,
        (
            state.run_id,
            state.uid,
            state.workflow,
            state.version,
            status._value_,  # `value` is a property, and a slow one
            state.seq,
            owner if is_live else None,
            token,
            state.labels_json,
            state.created_at,
            state.started_at,
            state.updated_at,
            state.finished_at,
            None if is_running and state.timeout_seconds is None else next_wake(state),
            state.current_step,
            None if error is None else error.step,
            None if error is None else error.type,
            None if error is None else error.message,
            state.done,
            None if state.plan is None else len(state.plan),
            state.retries,
            state.resume_count,
            state.parent_run_id,
            state.definition,
        ),
    )
