"""What the journal of a run adds up to: `WorkflowState`, its steps, and the two lists of states a reader can trust.

Only `transitions.fold` changes a state, one event at a time. What `Kernel.inspect` returns is a copy of its own:
reading it twice gives the same answer, changing it changes nothing. Durations are in seconds, instants in
microseconds UTC (`to_dict` shows them as ISO 8601)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flujo.kernel.durations import MICROSECONDS, format_instant
from flujo.kernel.values import decode

from .plans import loop_of
from .progress import NEARLY_DONE, seconds_left
from .progress import PER_SECOND as PER_SECOND
from .progress import Progress as Progress
from .progress import Usage as Usage
from .statuses import FINAL as FINAL
from .statuses import LIVE as LIVE
from .statuses import OPEN as OPEN
from .statuses import SETTLED as SETTLED
from .statuses import UNFINISHED as UNFINISHED
from .statuses import CleanUpReason as CleanUpReason
from .statuses import PauseReason as PauseReason
from .statuses import RunStatus as RunStatus
from .statuses import StepStatus as StepStatus

ITEMS = "items"
"""The kind of a loop: a step that waits for others, its items `NAME[0]`, `NAME[1]` and so on (execution/items.py)."""


class Failure(NamedTuple):
    """An error as it is recorded. `type` is a class name, `details` the end of its traceback."""

    type: str
    message: str
    step: str | None = None
    attempt: int | None = None
    details: str | None = None


class Signal(NamedTuple):
    """A signal a run has received; `seq` is the number of its event."""

    seq: int
    payload: str  # JSON text


class TakenOver(NamedTuple):
    """The newest takeover of a run from an owner that had died; `seq` is the number of its event."""

    former_owner: str
    at: int
    seq: int
    last_alive_at: int  # the last event before it

    def to_dict(self) -> dict[str, Any]:
        """Return the takeover as users see it in JSON."""
        return {"former_owner": self.former_owner, "at": format_instant(self.at)}


@dataclass(slots=True)
class StepState:
    """One step of a run, in its newest generation."""

    name: str
    kind: str = "task"  # or "sleep", "signal", "child", "items", "now", "random", "uuid", "variable"
    status: StepStatus = StepStatus.PENDING
    generation: int = 1
    attempt: int = 0
    failures: int = 0
    interruptions: int = 0
    interrupted: bool = False
    max_attempts: int = 1
    output_json: str | None = None
    error: Failure | None = None
    started_at: int | None = None
    finished_at: int | None = None
    active_micros: int = 0
    next_attempt_at: int | None = None
    until: int | None = None
    signal: str | None = None
    signal_seq: int | None = None
    child: str | None = None  # id of the run it waits for, or waited for
    child_resumes: int = 0  # that run's end counts once it has been resumed this often
    progress: Progress | None = None
    redacted: bool = False
    # what the kernel needs besides
    reenter: bool = False  # while it waits, something else may wake the program as well (events.StepWaiting)
    digest: str | None = None
    first_seq: int = 0  # the event that began it, over all generations
    settled_seq: int | None = None  # the event of its outcome
    left_out: bool = False  # its program has skipped it, and not a person's hand
    attempt_started_at: int | None = None

    @property
    def call(self) -> str | None:
        """Return the kind of call that has recorded it: `step`, or a `kind` but `task`. None if no call has, but a
        person's hand. A body that has returned a Wait makes it wait like a signal, and it is a step's nevertheless."""
        if self.kind != "child" and self.attempt:
            return "step"
        return None if self.kind == "task" else self.kind

    @property
    def output(self) -> Any:
        """Return the recorded output as plain JSON, None without one."""
        return None if self.output_json is None else decode(self.output_json)

    @property
    def active_seconds(self) -> float:
        """Return how long its attempts have run, waits apart."""
        return self.active_micros / MICROSECONDS

    @property
    def is_completed(self) -> bool:
        """True once its output is recorded."""
        return self.status is StepStatus.COMPLETED

    @property
    def is_open_loop(self) -> bool:
        """True while it waits for its items."""
        return self.kind == ITEMS and self.status is StepStatus.WAITING

    @property
    def wake_at(self) -> int | None:
        """Return the instant at which it goes on by itself, if there is one."""
        return self.next_attempt_at if self.status is StepStatus.RETRYING else self.until

    def to_dict(self) -> dict[str, Any]:
        """Return the step as users see it in JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "status": self.status.value,
            "generation": self.generation,
            "attempt": self.attempt,
            "failures": self.failures,
            "interruptions": self.interruptions,
            "interrupted": self.interrupted,
            "max_attempts": self.max_attempts,
            "output": self.output,
            "error": None if self.error is None else self.error._asdict(),
            "started_at": format_instant(self.started_at),
            "finished_at": format_instant(self.finished_at),
            "active_seconds": self.active_seconds,
            "next_attempt_at": format_instant(self.next_attempt_at),
            "child": self.child,
            "progress": None if self.progress is None else self.progress.to_dict(),
            "redacted": self.redacted,
        }


@dataclass(slots=True)
class WorkflowState:
    """One run, as its journal up to `seq` tells it."""

    run_id: str
    uid: str
    workflow: str = ""
    version: str | None = None
    status: RunStatus = RunStatus.PENDING
    inputs_json: str = "{}"
    variables: dict[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    steps: dict[str, StepState] = field(default_factory=dict)
    output_json: str | None = None
    error: Failure | None = None
    failed_steps: Sequence[str] = ()
    paused_reason: str | None = None
    differences: Sequence[Sequence[str]] = ()  # (step, change, detail), when its program contradicts what is recorded
    changes_accepted: bool = False
    cancel_reason: str | None = None
    cancel_requested_at: int | None = None
    pause_requested_at: int | None = None
    cleaning_up: str | None = None  # a word of CleanUpReason, while the clean-ups of a run that is to end go on
    clean_up_seq: int | None = None  # the event with which they began, until a resume
    cut_short: Sequence[str] = ()  # the steps that had no outcome then
    parent_run_id: str | None = None
    forked_from: str | None = None
    resume_count: int = 0
    seq: int = 0
    created_at: int = 0
    started_at: int | None = None
    resumed_at: int | None = None
    resumed_by: str | None = None
    updated_at: int = 0
    finished_at: int | None = None
    taken_over: TakenOver | None = None
    report: Progress | None = None  # what the program said of the run as a whole
    usual_seconds: float | None = None  # not in the journal: how long earlier runs of the workflow took, if it is live
    unowned: bool = False  # not in the journal: `inspect` found that no live process runs it
    # what the kernel needs besides
    timeout_seconds: float | None = None
    definition: str | None = None
    plan: Sequence[Sequence[str]] | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    signals: dict[str, list[Signal]] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)  # id → digest of what was asked for under it
    retries: int = 0
    labels_json: str = "{}"
    running: int = 0  # steps that are running, interrupted ones included
    active: int = 0  # attempts whose body may be running now
    waiting: int = 0  # steps that wait or are to be retried, loops apart
    open_loops: list[str] = field(default_factory=list)  # loops that wait for their items
    done: int = 0  # steps with an outcome; where the steps are planned, without the items of loops
    active_micros: int = 0
    active_since: int | None = None
    current_step: str | None = None  # the one that began last

    # -- what the run was asked for and came to ------------------------------------------------------------------

    @property
    def inputs(self) -> dict[str, Any]:
        """Return the inputs as plain JSON."""
        inputs: dict[str, Any] = decode(self.inputs_json)
        return inputs

    @property
    def output(self) -> Any:
        """Return the run's output as plain JSON, None before it completed."""
        return None if self.output_json is None else decode(self.output_json)

    @property
    def is_final(self) -> bool:
        """Completed, failed or cancelled."""
        return self.status in FINAL

    @property
    def interrupted(self) -> bool:
        """Somebody ought to run it and nobody does; or, as far as the journal tells, an attempt died with its owner."""
        return self.unowned or any(step.interrupted for step in self.steps.values())

    @property
    def last_alive_at(self) -> int:
        """Return the instant of the last event of its owner, as far as one that has only become its owner, and has
        recorded nothing but that, is none."""
        taken = self.taken_over
        return taken.last_alive_at if taken is not None and taken.seq == self.seq else self.updated_at

    # -- its steps -----------------------------------------------------------------------------------------------

    def is_part(self, key: str) -> bool:
        """True for an item of a loop in a run whose steps are planned: it is part of a step, and counts as none."""
        return self.plan is not None and key[-1] == "]"

    def has_settled_loop(self, key: str) -> bool:
        """True for an item that nobody asks for: its loop has an outcome itself, or was cut short before clean-ups."""
        loop = self.steps.get(loop_of(key) or "")
        if loop is None or loop.kind != ITEMS:
            return False
        return loop.status in SETTLED or (self.cleaning_up is not None and loop.status is StepStatus.CANCELLED)

    def open_steps(self) -> Iterator[StepState]:
        """Return the steps that have begun and have no outcome, in the order in which they first did; loops come first.

        They are mostly the newest ones, so the look goes backwards and ends with the last of them."""
        left = self.running + self.waiting
        found: list[StepState] = []
        for step in reversed(self.steps.values()):
            if not left:
                break
            if step.status in OPEN and not step.is_open_loop:
                left -= 1
                found.append(step)
        found += [self.steps[name] for name in reversed(self.open_loops)]
        return reversed(found)

    @property
    def current_steps(self) -> list[str]:
        """Return the names of the steps that have begun and have no outcome."""
        return [step.name for step in self.open_steps()]

    @property
    def failed_step(self) -> str | None:
        """Return the step whose failure ended the run."""
        return None if self.error is None else self.error.step

    @property
    def step_outputs(self) -> dict[str, dict[str, Any]]:
        """For every completed step its output, as `{name: {"result": output}}`."""
        return {
            step.name: {"result": step.output} for step in self.steps.values() if step.status is StepStatus.COMPLETED
        }

    @property
    def retry_state(self) -> dict[str, dict[str, int]]:
        """For every step that has failed and may be tried again, `{name: {"attempt": n, "max_attempts": m}}`."""
        return {
            step.name: {"attempt": step.attempt, "max_attempts": step.max_attempts}
            for step in self.steps.values()
            if step.failures and step.status is not StepStatus.COMPLETED
        }

    @property
    def wake_at(self) -> int | None:
        """Return when a waiting run goes on by itself: the first of its waiting steps, or at once when it is to end,
        has a child to look after, may be woken by something else, or has received the signal it waits for.

        The steps that wait are mostly the newest ones, so with a long history behind them the look goes backwards and
        ends with the last that waits."""
        if self.cancel_requested_at is not None or self.pause_requested_at is not None:
            return self.updated_at
        soonest: int | None = None
        left = self.waiting
        for step in reversed(self.steps.values()):
            if not left:
                break
            if step.status is StepStatus.RETRYING or (step.status is StepStatus.WAITING and step.kind != ITEMS):
                left -= 1
                if step.reenter:
                    return self.updated_at
                if step.status is StepStatus.WAITING and (step.child is not None or self._has_received(step.signal)):
                    return self.updated_at
                if (at := step.wake_at) is not None and (soonest is None or at < soonest):
                    soonest = at
        return soonest

    def _has_received(self, signal: str | None) -> bool:
        return signal is not None and bool(self.signals.get(signal))

    @property
    def timeout_at(self) -> int | None:
        """Return when it has taken as long as its workflow allows, counted from its start or last resume; None while it
        cleans up, which has a time of its own."""
        if self.timeout_seconds is None or self.cleaning_up is not None:
            return None
        return (self.resumed_at or self.created_at) + round(self.timeout_seconds * MICROSECONDS)

    @property
    def wait(self) -> list[dict[str, Any]]:
        """Return what the run waits for: kind (`backoff`, `sleep`, `signal`, `child`), step, until, signal and child
        (or null)."""
        return [
            {
                "kind": "backoff" if step.status is StepStatus.RETRYING else step.kind,
                "step": step.name,
                "until": format_instant(step.wake_at),
                "signal": step.signal,
                "child": step.child,
            }
            for step in self.open_steps()
            if step.status is not StepStatus.RUNNING and not step.is_open_loop
        ]

    # -- how far it is -------------------------------------------------------------------------------------------

    @property
    def steps_total(self) -> int | None:
        """Return how many steps the run has, None when its program decides as it goes. Repeats of steps that a jump has
        led back to count as well, so there are never fewer than are done."""
        return None if self.plan is None else max(len(self.plan), self.done)

    @property
    def steps_failed(self) -> int:
        """Return how many of the steps with an outcome, which `done` counts, have failed; a failed item of a loop is
        part of a step, and counts as none where steps are planned."""
        return sum(step.status is StepStatus.FAILED and not self.is_part(step.name) for step in self.steps.values())

    @property
    def active_seconds(self) -> float:
        """Return how long some attempt has been running, waits and interruptions apart."""
        return self.active_micros / MICROSECONDS

    @property
    def progress(self) -> dict[str, Any]:
        """Percent and counts of steps, what the program reported, the estimated time left, and the resources that
        commands have used; null where that is not known.

        Percent counts a step under way by the part of it that it has reported. Without a known number of steps, what
        the program has reported of the run as a whole stands in."""
        share = self.share_done
        return {
            "percent": None if share is None else round(100 * share, 1),
            "done": self.done,
            "total": self.steps_total,
            "message": None if self.report is None else self.report.message,
            "metrics": {} if self.report is None else dict(self.report.metrics),
            "eta_seconds": self.eta_seconds,
            "retries": self.retries,
            "errors": sum(step.failures for step in self.steps.values()),
            "resources": None if (used := self.used) is None else used._asdict(),
        }

    @property
    def used(self) -> Usage | None:
        """Return what the commands of its steps have used, each step in its newest generation; None if they ran
        none."""
        total: Usage | None = None
        for step in self.steps.values():
            if step.progress is not None and (used := step.progress.used) is not None:
                total = used if total is None else total.plus(used)
        return total

    @property
    def share_done(self) -> float | None:
        """Return the part of the run that is done, 0 to 1; None while that is not known. A run that has ended is wholly
        done if it has completed, whatever it has said: a step that has failed is not done where it has not."""
        if self.status is RunStatus.COMPLETED:
            return 1.0
        most = NEARLY_DONE if self.status in FINAL else 1.0
        if not (total := self.steps_total):
            return None if self.report is None or self.report.share is None else min(most, self.report.share)
        done = self.done - (self.steps_failed if self.status is RunStatus.FAILED else 0)
        begun = self._begun()
        shares = sum(step.progress.share or 0.0 for step in begun if step.progress is not None)
        return min(most, (done + shares) / max(total, done + len(begun)))

    @property
    def eta_seconds(self) -> float | None:
        """Return how much longer a run that has an owner will take, by what is known: earlier runs of its workflow, or
        the rate of what the program, or the only step that is left, reports at work. None while a signal is awaited."""
        if self.status not in LIVE or self.unowned or any(step.signal for step in self.open_steps()):
            return None
        if self.usual_seconds is not None and self.started_at is not None:
            left = self.usual_seconds - (self.updated_at - self.started_at) / MICROSECONDS
            return round(left, 1) if left > 0 else None  # it takes longer than usual: nothing is known any more
        if self.steps_total is None:
            share = None if self.report is None or self.status is RunStatus.WAITING else self.report.share
            return seconds_left(self._active_until_now(), share)
        under_way = self._begun()
        if self.done + 1 != self.steps_total or len(under_way) != 1:
            return None
        last = under_way[0]
        if last.is_open_loop and last.progress is not None:
            return last.progress.seconds_left
        took = last.active_micros + (self.updated_at - (last.attempt_started_at or self.updated_at))
        share = None if last.progress is None or last.status is not StepStatus.RUNNING else last.progress.share
        return seconds_left(took, share)

    def _begun(self) -> list[StepState]:
        """Return the steps under way, without the items of loops."""
        return [step for step in self.open_steps() if step.name[-1] != "]"]

    def _active_until_now(self) -> int:
        return self.active_micros + (0 if self.active_since is None else self.updated_at - self.active_since)

    # -- the reference's own names -------------------------------------------------------------------------------

    @property
    def workflow_id(self) -> str:
        """Return the run id, under the name the reference uses."""
        return self.run_id

    @property
    def name(self) -> str:
        """Return the workflow's name, under the name the reference uses."""
        return self.workflow

    @property
    def start_time(self) -> str | None:
        """Return when the run started, ISO 8601 in UTC."""
        return format_instant(self.started_at or self.created_at)

    @property
    def last_updated(self) -> str | None:
        """Return when the last event was recorded, ISO 8601 in UTC."""
        return format_instant(self.updated_at)

    @property
    def execution_state(self) -> dict[str, Any]:
        """Status, steps and retries in the shape the reference uses."""
        return {
            "status": self.status.value,
            "current_step": self.current_step,
            "failed_step": self.failed_step,
            "step_outputs": self.step_outputs,
            "retry_state": self.retry_state,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the run as users see it in JSON, with the names of docs/concepts.md."""
        error = self.error
        return {
            "run_id": self.run_id,
            "uid": self.uid,
            "workflow": self.workflow,
            "version": self.version,
            "status": self.status.value,
            "interrupted": self.interrupted,
            "inputs": self.inputs,
            "variables": self.variables,
            "labels": dict(self.labels),
            "steps": [step.to_dict() for step in self.steps.values()],
            "step_outputs": self.step_outputs,
            "current_step": self.current_step,
            "current_steps": self.current_steps,
            "failed_step": self.failed_step,
            "retry_state": self.retry_state,
            "output": self.output,
            "error": None if error is None else error._asdict(),
            "progress": self.progress,
            "wait": self.wait,
            "paused_reason": self.paused_reason,
            "differences": [dict(zip(("step", "change", "detail"), row, strict=True)) for row in self.differences],
            "pause_requested_at": format_instant(self.pause_requested_at),
            "cancel_requested_at": format_instant(self.cancel_requested_at),
            "cancel_reason": self.cancel_reason,
            "cleaning_up": self.cleaning_up,
            "parent_run_id": self.parent_run_id,
            "forked_from": self.forked_from,
            "resume_count": self.resume_count,
            "taken_over": None if self.taken_over is None else self.taken_over.to_dict(),
            "seq": self.seq,
            "created_at": format_instant(self.created_at),
            "started_at": format_instant(self.started_at),
            "updated_at": format_instant(self.updated_at),
            "finished_at": format_instant(self.finished_at),
            "active_seconds": self.active_seconds,
            "environment": dict(self.environment),
        }
