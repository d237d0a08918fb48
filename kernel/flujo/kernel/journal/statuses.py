"""The statuses of runs and of steps, and why a run is paused or cleans up. docs/state-machines.md draws how one follows
another, docs/concepts.md tells what each means to a user."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands. docs/state-machines.md draws who goes where; tests/kernel checks the drawing."""

    PENDING = "pending"
    """Created, durable, nothing begun. Enters: start. Leaves: its first step begins (running, or waiting), its program
    ends without one, or it is cancelled or paused. A crash here loses nothing: whoever recovers the run starts it."""

    RUNNING = "running"
    """Some attempt runs or is due, or the program is between two steps. Leaves: all its branches wait (waiting),
    the program returns (completed) or raises (failed), a cancel is carried out (cancelled), somebody asked for a pause
    and the last body has ended, or too many owners died in one step (paused). A crash here leaves it running and
    interrupted: finished steps keep their outcome, the started one runs again, a pause asked for is carried out."""

    WAITING = "waiting"
    """Every branch waits: for an instant, a signal, a child run, or the next attempt of a failed step. `wait` names
    each. Leaves: one of them comes (running), or it is cancelled or paused, or fails. A crash here changes nothing: due
    times, signals and the ids of children are in the journal."""

    PAUSED = "paused"
    """Stopped with a reason: somebody asked for it (PauseRequested), too many owners died in one step
    (StepInterrupted), or its program contradicts what it has recorded (StateIncompatible). Nobody owns it, and nothing
    happens until somebody resumes it (pending, running or waiting) or cancels it. Due times and signals are kept
    meanwhile. A crash here means nothing: nobody is there to crash."""

    COMPLETED = "completed"
    """The program returned and its output is recorded, or somebody marked the run as completed. Final, but for a
    resume from a step."""

    FAILED = "failed"
    """The program raised; `error` says what. Final until somebody resumes it: the failure that ended it is tried
    afresh, unless somebody has skipped that step or set its output meanwhile."""

    CANCELLED = "cancelled"
    """Somebody asked for it and the program has stopped. Final until somebody resumes it."""


class CleanUpReason(StrEnum):
    """Why the clean-ups of a run begin before it has come to its end by itself."""

    CANCELLED = "cancelled"
    """Somebody has cancelled it."""

    TIMEOUT = "timeout"
    """It has taken longer than its workflow allows."""


class PauseReason(StrEnum):
    """Why a run is paused: the stable word that `run_paused` holds and `WorkflowState.paused_reason` shows.

    A reason of a newer release is shown as it is written. docs/state-machines.md and docs/adr/0010 list the same
    words; tests/kernel/journal/test_fold.py holds them to this enum."""

    REQUESTED = "PauseRequested"
    """A person or a program asked for it with `pause`, and the last body has ended. A resume goes on where the run
    stopped; nothing is tried afresh."""

    INTERRUPTED = "StepInterrupted"
    """As many owners as `max_interruptions` allows died while the same step ran, so the step may be what kills them.
    A resume tries the step again and counts from zero."""

    INCOMPATIBLE = "StateIncompatible"
    """The program contradicts what the run has recorded; `differences` names each step. A resume with a program that
    fits goes on; with `accept_changes` it goes on without what the program no longer asks for."""

    WORKSPACE_GONE = "WorkspaceGone"
    """The folder with the files of its steps is not there any more, and the next step would work on nothing. A resume
    goes on once the folder is there again, or from the first step that has worked in it."""


FINAL = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
"""A run in one of these takes no more requests and has no owner."""

LIVE = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING)
"""A run in one of these must have a live owner, or is interrupted."""

UNFINISHED = (*LIVE, RunStatus.PAUSED)
"""A run in one of these goes on by itself or after a resume: another one of its workflow would overlap it."""


class StepStatus(StrEnum):
    """Where one generation of a step stands."""

    PENDING = "pending"
    """Not begun in this generation. Enters: a resume gave it a new generation. Leaves: it starts, waits or is
    skipped, its value is recorded, or somebody sets its output."""

    RUNNING = "running"
    """An attempt is recorded and its body may be running. Leaves by the attempt's outcome. A crash here: the body
    may have run in part, so the attempt is interrupted and the next one starts; nothing counts as a failure."""

    RETRYING = "retrying"
    """The last attempt failed and the next one is due at `next_attempt_at`; then it is running again, or waiting if it
    is for a child run. A crash here loses neither count nor instant."""

    WAITING = "waiting"
    """It waits for an instant, a signal, the end of a child run, or a loop for its items, with nothing of its own kept
    running. A crash here loses nothing."""

    COMPLETED = "completed"
    """Its output is recorded, by its body or by somebody's hand, once in this generation, and never changes."""

    FAILED = "failed"
    """Its last attempt failed and its policy allows no other. The program decides what that means; somebody may still
    skip it or set its output."""

    SKIPPED = "skipped"
    """Its condition was false, or somebody skipped it."""

    CANCELLED = "cancelled"
    """The program cancelled it, or the run ended around it. A resume gives it a new generation."""


SETTLED = (StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED)
"""A step in one of these has an outcome to hand to the program."""

OPEN = (StepStatus.RUNNING, StepStatus.RETRYING, StepStatus.WAITING)
"""A step in one of these has begun and has no outcome. A tuple: the hash of an enum member is a Python call."""
