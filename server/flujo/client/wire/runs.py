"""Convert runs: summaries to `Run` messages, whole states to `Run` with `RunDetails`, and back.

A client gets the state that the server folded, field by field: it equals the server's own, and cannot be folded
further. The counts a fold keeps are made again from the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import InvalidNameError
from flujo.kernel.state import SETTLED, Failure, Progress, RunStatus, StepState, StepStatus, WorkflowState
from flujo.v1 import run_pb2
from flujo.v1.payload_pb2 import Payload

from .values import (
    Payloads,
    from_duration,
    from_timestamp,
    inline,
    micros_from_duration,
    micros_to_duration,
    to_duration,
    to_timestamp,
)

MAX_STEPS = 1000
"""How many steps an answer holds at most."""

_RUN_STATUSES = {status: run_pb2.RunStatus.Value(f"RUN_STATUS_{status.name}") for status in RunStatus}
_STEP_STATUSES = {status: run_pb2.StepStatus.Value(f"STEP_STATUS_{status.name}") for status in StepStatus}
_RUN_STATUS_OF: dict[int, RunStatus] = {number: status for status, number in _RUN_STATUSES.items()}
_STEP_STATUS_OF: dict[int, StepStatus] = {number: status for status, number in _STEP_STATUSES.items()}

_SUMMARY_INSTANTS = ("started_at", "finished_at", "wake_at")
_STATE_INSTANTS = ("cancel_requested_at", "pause_requested_at", "resumed_at", "active_since")
_STEP_INSTANTS = ("started_at", "finished_at", "next_attempt_at", "until", "attempt_started_at")
_STEP_FIELDS = (
    "name",
    "kind",
    "generation",
    "attempt",
    "failures",
    "interruptions",
    "interrupted",
    "max_attempts",
    "redacted",
    "first_seq",
    "child_resumes",
    "reenter",
)
_STEP_OPTIONALS = ("signal", "digest", "settled_seq", "child")


# -- statuses -----------------------------------------------------------------------------------------------------


def to_run_status(status: str) -> run_pb2.RunStatus.ValueType:
    """Return the number of a run's status."""
    return _RUN_STATUSES[RunStatus(status)]


def from_run_status(number: int) -> RunStatus:
    """Return the status of a number; one of a newer release counts as running, since it is not known to be final."""
    return _RUN_STATUS_OF.get(number, RunStatus.RUNNING)


def given_statuses(numbers: Iterable[int]) -> list[RunStatus]:
    """Return the statuses in a request; raises InvalidNameError for a number that is none."""
    for number in numbers:
        if number not in _RUN_STATUS_OF:
            raise InvalidNameError("run status", number, "one of the numbers of flujo.v1.RunStatus, but 0")
    return [_RUN_STATUS_OF[number] for number in numbers]


# -- summaries ----------------------------------------------------------------------------------------------------


def to_run(summary: RunSummary, *, interrupted: bool) -> run_pb2.Run:
    """Return the message of a run in RUN_VIEW_BASIC."""
    run = run_pb2.Run(
        run_id=summary.run_id,
        uid=summary.uid,
        workflow=summary.workflow,
        version=summary.version,
        status=to_run_status(summary.status),
        interrupted=interrupted,
        seq=summary.seq,
        owner=None if interrupted else summary.owner,
        token=summary.token,
        labels=from_json(summary.labels),
        created_at=to_timestamp(summary.created_at),
        updated_at=to_timestamp(summary.updated_at),
        current_step=summary.current_step,
        steps_done=summary.steps_done,
        steps_total=summary.steps_total,
        retries=summary.retries,
        resume_count=summary.resume_count,
        parent_run_id=summary.parent_run_id,
        definition_digest=summary.definition,
    )
    _put_instants(run, summary, _SUMMARY_INSTANTS)
    if summary.error_type is not None:
        run.error.CopyFrom(
            run_pb2.Failure(type=summary.error_type, message=summary.error_message or "", step=summary.failed_step)
        )
    return run


def from_run(run: run_pb2.Run) -> RunSummary:
    """Return the summary of a run. Its owner is absent unless a live process runs it."""
    error = run.error if run.HasField("error") else None
    return RunSummary(
        run_id=run.run_id,
        uid=run.uid,
        workflow=run.workflow,
        version=_optional(run, "version"),
        status=from_run_status(run.status).value,
        seq=run.seq,
        owner=_optional(run, "owner"),
        token=run.token,
        labels=to_json(dict(sorted(run.labels.items()))).decode(),  # a map of protobuf has no order of its own
        created_at=from_timestamp(run.created_at),
        updated_at=from_timestamp(run.updated_at),
        current_step=_optional(run, "current_step"),
        failed_step=None if error is None else _optional(error, "step"),
        error_type=None if error is None else error.type,
        error_message=None if error is None else error.message,
        steps_done=run.steps_done,
        steps_total=_optional(run, "steps_total"),
        retries=run.retries,
        resume_count=run.resume_count,
        parent_run_id=_optional(run, "parent_run_id"),
        definition=_optional(run, "definition_digest"),
        **_instants(run, _SUMMARY_INSTANTS),
    )


# -- states -------------------------------------------------------------------------------------------------------


def put_details(run: run_pb2.Run, state: WorkflowState) -> None:
    """Make the message of a run that of RUN_VIEW_FULL, as `state` tells it."""
    payloads = Payloads()
    details = run.details
    details.inputs.CopyFrom(inline(state.inputs_json))  # small enough, or the run would not have been started
    if state.output_json is not None:
        details.output.CopyFrom(payloads.make(state.output_json, state.seq))  # final: its last event holds it
    steps = list(state.steps.values())
    details.steps.extend(to_step(step, payloads) for step in steps[:MAX_STEPS])
    details.steps_omitted = max(0, len(steps) - MAX_STEPS)
    details.variables.CopyFrom(inline(to_json(state.variables).decode()))
    details.environment.CopyFrom(inline(to_json(dict(state.environment)).decode()))
    details.waits.extend(_waits(state))
    details.progress.CopyFrom(_progress(state))
    details.failed_steps.extend(state.failed_steps)
    details.active.CopyFrom(micros_to_duration(state.active_micros))
    put_plan(details.plan, state.plan or ())
    put_differences(details.differences, state.differences)
    details.changes_accepted = state.changes_accepted
    if state.usual_seconds is not None:
        details.usual.CopyFrom(to_duration(state.usual_seconds))
    details.cut_short.extend(state.cut_short)
    for name in ("paused_reason", "cancel_reason", "forked_from", "cleaning_up", "clean_up_seq"):
        if (value := getattr(state, name)) is not None:
            setattr(details, name, value)
    if state.timeout_seconds is not None:
        details.timeout.CopyFrom(to_duration(state.timeout_seconds))
    _put_instants(details, state, _STATE_INSTANTS)
    if state.error is not None:
        run.error.CopyFrom(_to_failure(state.error))
    if state.report is not None:
        details.report.CopyFrom(_to_report(state.report))


def from_details(run: run_pb2.Run, steps: Iterable[run_pb2.Step]) -> WorkflowState:
    """Return the state of a run in RUN_VIEW_FULL that holds its payloads; `steps` are all its steps."""
    summary, details = from_run(run), run.details
    state = WorkflowState(
        run_id=summary.run_id,
        uid=summary.uid,
        workflow=summary.workflow,
        version=summary.version,
        status=RunStatus(summary.status),
        inputs_json=details.inputs.json,
        variables=from_json(details.variables.json),
        labels=from_json(summary.labels),
        labels_json=summary.labels,
        steps={step.name: from_step(step) for step in steps},
        output_json=details.output.json if details.HasField("output") else None,
        error=_from_failure(run.error) if run.HasField("error") else None,
        failed_steps=tuple(details.failed_steps),
        paused_reason=_optional(details, "paused_reason"),
        differences=differences_of(details.differences),
        changes_accepted=details.changes_accepted,
        usual_seconds=from_duration(details.usual) if details.HasField("usual") else None,
        cancel_reason=_optional(details, "cancel_reason"),
        cleaning_up=_optional(details, "cleaning_up"),
        clean_up_seq=_optional(details, "clean_up_seq"),
        cut_short=tuple(details.cut_short),
        parent_run_id=summary.parent_run_id,
        forked_from=_optional(details, "forked_from"),
        resume_count=summary.resume_count,
        seq=summary.seq,
        created_at=summary.created_at,
        started_at=summary.started_at,
        updated_at=summary.updated_at,
        finished_at=summary.finished_at,
        unowned=run.interrupted,
        timeout_seconds=from_duration(details.timeout) if details.HasField("timeout") else None,
        definition=summary.definition,
        plan=plan_of(details.plan),
        environment=from_json(details.environment.json),
        retries=summary.retries,
        active_micros=micros_from_duration(details.active),
        current_step=summary.current_step,
        report=_from_report(details.report) if details.HasField("report") else None,
        **_instants(details, _STATE_INSTANTS),
    )
    statuses = [step.status for step in state.steps.values()]
    state.running = statuses.count(StepStatus.RUNNING)
    state.waiting = statuses.count(StepStatus.RETRYING) + statuses.count(StepStatus.WAITING)
    state.done = sum(status in SETTLED for status in statuses)
    return state


def to_step(step: StepState, payloads: Payloads) -> run_pb2.Step:
    """Return the message of a step; a large output becomes a reference."""
    made = run_pb2.Step(
        status=_STEP_STATUSES[step.status],
        active=micros_to_duration(step.active_micros),
        **{name: getattr(step, name) for name in (*_STEP_FIELDS, *_STEP_OPTIONALS)},
    )
    if step.output_json is not None:
        assert step.settled_seq is not None
        made.output.CopyFrom(payloads.make(step.output_json, step.settled_seq))
    if step.error is not None:
        made.error.CopyFrom(_to_failure(step.error))
    if step.progress is not None:
        made.report.CopyFrom(_to_report(step.progress))
    _put_instants(made, step, _STEP_INSTANTS)
    return made


def from_step(step: run_pb2.Step) -> StepState:
    """Return the step of a message that holds its output."""
    return StepState(
        status=_STEP_STATUS_OF.get(step.status, StepStatus.RUNNING),
        active_micros=micros_from_duration(step.active),
        output_json=step.output.json if step.HasField("output") else None,
        error=_from_failure(step.error) if step.HasField("error") else None,
        progress=_from_report(step.report) if step.HasField("report") else None,
        **{name: getattr(step, name) for name in _STEP_FIELDS},
        **{name: _optional(step, name) for name in _STEP_OPTIONALS},
        **_instants(step, _STEP_INSTANTS),
    )


def payloads_in(run: run_pb2.Run, steps: Iterable[run_pb2.Step]) -> Iterator[Payload]:
    """Yield the payloads of a run in RUN_VIEW_FULL that may be references."""
    if run.details.HasField("output"):
        yield run.details.output
    for step in steps:
        if step.HasField("output"):
            yield step.output


def put_plan(target: MutableSequence[run_pb2.PlannedStep], plan: Iterable[Sequence[str]]) -> None:
    """Write the steps of a definition into a message."""
    for name, digest, *dependencies in plan:
        target.append(run_pb2.PlannedStep(name=name, digest=digest, depends_on=dependencies))


def plan_of(steps: Iterable[run_pb2.PlannedStep]) -> list[list[str]] | None:
    """Return the steps of a definition, None when the program decides as it goes."""
    return [[step.name, step.digest, *step.depends_on] for step in steps] or None


def put_differences(target: MutableSequence[run_pb2.StepDifference], rows: Iterable[Sequence[str]]) -> None:
    """Write (step, change, detail) rows into a message."""
    target.extend(run_pb2.StepDifference(step=step, change=change, detail=detail) for step, change, detail in rows)


def differences_of(messages: Iterable[run_pb2.StepDifference]) -> Sequence[Sequence[str]]:
    """Return the (step, change, detail) rows of a message."""
    return [[each.step, each.change, each.detail] for each in messages]


def _waits(state: WorkflowState) -> Iterator[run_pb2.Wait]:
    for step in state.open_steps():
        if step.status is StepStatus.RUNNING:
            continue
        kind = "backoff" if step.status is StepStatus.RETRYING else step.kind
        wait = run_pb2.Wait(kind=kind, step=step.name, signal=step.signal, child=step.child)
        if step.wake_at is not None:
            wait.until.CopyFrom(to_timestamp(step.wake_at))
        yield wait


def _progress(state: WorkflowState) -> run_pb2.Progress:
    told = state.progress
    made = run_pb2.Progress(**{name: told[name] for name in ("percent", "done", "total", "retries", "errors")})
    if told["eta_seconds"] is not None:
        made.eta.CopyFrom(to_duration(told["eta_seconds"]))
    return made


def _to_report(progress: Progress) -> run_pb2.Report:
    made = run_pb2.Report(
        done=progress.done, total=progress.total, message=progress.message, metrics=dict(progress.metrics)
    )
    made.at.CopyFrom(to_timestamp(progress.at))
    return made


def _from_report(message: run_pb2.Report) -> Progress:
    metrics = dict(sorted(message.metrics.items()))  # a map of protobuf has no order of its own
    return Progress(
        message.done, _optional(message, "total"), _optional(message, "message"), metrics, from_timestamp(message.at)
    )


def _to_failure(failure: Failure) -> run_pb2.Failure:
    return run_pb2.Failure(**failure._asdict())


def _from_failure(message: run_pb2.Failure) -> Failure:
    optionals = [_optional(message, name) for name in ("step", "attempt", "details")]
    return Failure(message.type, message.message, *optionals)


# -- fields that may be absent ------------------------------------------------------------------------------------


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _instants(message: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: from_timestamp(getattr(message, name)) if message.HasField(name) else None for name in names}


def _put_instants(message: Any, source: Any, names: Iterable[str]) -> None:
    for name in names:
        if (instant := getattr(source, name)) is not None:
            getattr(message, name).CopyFrom(to_timestamp(instant))
