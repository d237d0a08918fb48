"""Convert runs: summaries to `Run` messages, whole states to `Run` with `RunDetails`, and back.

A client gets the state that the server folded, field by field: it equals the server's own, and cannot be folded
further. The counts a fold keeps are made again from the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from typing import Any

from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import InvalidNameError
from flujo.kernel.json_core import from_json, to_json
from flujo.kernel.state import SETTLED, Failure, Progress, RunStatus, StepState, StepStatus, TakenOver, WorkflowState
from flujo.v1 import payload_pb2, run_pb2
from flujo.v1.payload_pb2 import Payload

from .limits import Room, shorten
from .values import (
    Payloads,
    from_duration,
    from_timestamp,
    micros_from_duration,
    micros_to_duration,
    to_duration,
    to_timestamp,
)
from .words import CLEAN_UP_REASONS, PAUSE_REASONS, STEP_CHANGES, STEP_KINDS, WAIT_KINDS

MAX_STEPS = MAX_ITEMS = 1000
"""How many steps an answer holds at most, and how many entries any other list of it."""

MAX_STEPS_BYTES = 512 * 1024
"""How many bytes the steps among the details of a run have at most."""

MAX_DETAIL_BYTES = 64 * 1024
"""How many bytes any other list among them has at most."""

_RUN_STATUSES = {status: run_pb2.RunStatus.Value(f"RUN_STATUS_{status.name}") for status in RunStatus}
_STEP_STATUSES = {status: run_pb2.StepStatus.Value(f"STEP_STATUS_{status.name}") for status in StepStatus}
_RUN_STATUS_OF: dict[int, RunStatus] = {number: status for status, number in _RUN_STATUSES.items()}
_STEP_STATUS_OF: dict[int, StepStatus] = {number: status for status, number in _STEP_STATUSES.items()}

_SUMMARY_INSTANTS = ("started_at", "finished_at", "wake_at")
_STATE_INSTANTS = ("cancel_requested_at", "pause_requested_at", "resumed_at", "active_since")
_STEP_INSTANTS = ("started_at", "finished_at", "next_attempt_at", "until", "attempt_started_at")
_STEP_FIELDS = (
    "name",
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
            raise InvalidNameError("statuses", number, "one of the numbers of flujo.v1.RunStatus, but 0")
    return [_RUN_STATUS_OF[number] for number in numbers]


# -- summaries ----------------------------------------------------------------------------------------------------


def to_run(summary: RunSummary, *, interrupted: bool) -> run_pb2.Run:
    """Return the message of a run in RUN_VIEW_BASIC. Texts that are too long are cut."""
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
    shorten(run)
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
    """Make the message of a run that of RUN_VIEW_FULL, as `state` tells it. Lists end where they grow too large."""
    payloads, details, seq = Payloads(), run.details, state.seq
    details.inputs.CopyFrom(payloads.make(state.inputs_json, seq, payload_pb2.PAYLOAD_PART_INPUTS))
    if state.output_json is not None:
        details.output.CopyFrom(payloads.make(state.output_json, seq))  # final: its last event holds it
    details.variables.CopyFrom(payloads.make(variables_of(state), seq, payload_pb2.PAYLOAD_PART_VARIABLES))
    details.environment.CopyFrom(payloads.make(environment_of(state), seq, payload_pb2.PAYLOAD_PART_ENVIRONMENT))
    details.steps_omitted = put_fitting(details.steps, _to_steps(state, payloads), len(state.steps), MAX_STEPS_BYTES)
    waits = list(_waits(state))
    details.waits_omitted = put_fitting(details.waits, waits, len(waits))
    details.progress.CopyFrom(_progress(state))
    details.failed_steps_omitted = put_fitting(details.failed_steps, state.failed_steps, len(state.failed_steps))
    details.active.CopyFrom(micros_to_duration(state.active_micros))
    details.plan_omitted = put_fitting(details.plan, _to_plan(state.plan or ()), len(state.plan or ()))
    found = state.differences
    details.differences_omitted = put_fitting(details.differences, _to_differences(found), len(found))
    details.changes_accepted = state.changes_accepted
    if state.usual_seconds is not None:
        details.usual.CopyFrom(to_duration(state.usual_seconds))
    cut_short = list(state.cut_short)
    details.cut_short_omitted = put_fitting(details.cut_short, cut_short, len(cut_short))
    if state.paused_reason is not None:
        details.paused_reason = PAUSE_REASONS.number(state.paused_reason)
    if state.cleaning_up is not None:
        details.cleaning_up = CLEAN_UP_REASONS.number(state.cleaning_up)
    for name in ("cancel_reason", "forked_from", "clean_up_seq"):
        if (value := getattr(state, name)) is not None:
            setattr(details, name, value)
    if state.timeout_seconds is not None:
        details.timeout.CopyFrom(to_duration(state.timeout_seconds))
    if (taken := state.taken_over) is not None:
        details.taken_over.CopyFrom(_to_taken_over(taken))
    _put_instants(details, state, _STATE_INSTANTS)
    if state.error is not None:
        run.error.CopyFrom(_to_failure(state.error))
    if state.report is not None:
        details.report.CopyFrom(_to_report(state.report))
    shorten(run)


def _to_taken_over(taken: TakenOver) -> run_pb2.TakenOver:
    message = run_pb2.TakenOver(former_owner=taken.former_owner, seq=taken.seq)
    message.at.CopyFrom(to_timestamp(taken.at))
    message.last_alive_at.CopyFrom(to_timestamp(taken.last_alive_at))
    return message


def _from_taken_over(message: run_pb2.TakenOver) -> TakenOver:
    at, last_alive_at = from_timestamp(message.at), from_timestamp(message.last_alive_at)
    return TakenOver(message.former_owner, at, message.seq, last_alive_at)


def put_fitting(target: Any, items: Iterable[Any], count: int, size: int = MAX_DETAIL_BYTES) -> int:
    """Write as many of the items into a list of a message as fit into `size` bytes, and `MAX_ITEMS`; return how many of
    the `count` items are left out."""
    room, kept = Room(size), 0
    for item in items:
        if kept == MAX_ITEMS or not room.takes(item):
            break
        target.append(item)
        kept += 1
    return count - kept


def _to_steps(state: WorkflowState, payloads: Payloads) -> Iterator[run_pb2.Step]:
    return (to_step(step, payloads) for step in state.steps.values())


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
        paused_reason=PAUSE_REASONS.word(details.paused_reason) if details.HasField("paused_reason") else None,
        differences=differences_of(details.differences),
        changes_accepted=details.changes_accepted,
        usual_seconds=from_duration(details.usual) if details.HasField("usual") else None,
        cancel_reason=_optional(details, "cancel_reason"),
        cleaning_up=CLEAN_UP_REASONS.word(details.cleaning_up) if details.HasField("cleaning_up") else None,
        clean_up_seq=_optional(details, "clean_up_seq"),
        cut_short=tuple(details.cut_short),
        parent_run_id=summary.parent_run_id,
        forked_from=_optional(details, "forked_from"),
        resume_count=summary.resume_count,
        taken_over=_from_taken_over(details.taken_over) if details.HasField("taken_over") else None,
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
    state.open_loops = [step.name for step in state.steps.values() if step.is_open_loop]
    state.waiting = statuses.count(StepStatus.RETRYING) + statuses.count(StepStatus.WAITING) - len(state.open_loops)
    state.done = sum(step.status in SETTLED for step in state.steps.values() if not state.is_part(step.name))
    return state


def to_step(step: StepState, payloads: Payloads) -> run_pb2.Step:
    """Return the message of a step; a large output becomes a reference."""
    made = run_pb2.Step(
        kind=STEP_KINDS.number(step.kind),
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
    shorten(made)
    return made


def from_step(step: run_pb2.Step) -> StepState:
    """Return the step of a message that holds its output."""
    return StepState(
        kind=STEP_KINDS.word(step.kind),
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
    """Yield the payloads of a run in RUN_VIEW_FULL, which may be references."""
    details = run.details
    yield from (details.inputs, details.variables, details.environment)
    if details.HasField("output"):
        yield details.output
    for step in steps:
        if step.HasField("output"):
            yield step.output


# -- what is too large for the details ----------------------------------------------------------------------------


def variables_of(state: WorkflowState) -> str:
    """Return the variables of a run as JSON text."""
    return to_json(state.variables).decode()


def environment_of(state: WorkflowState) -> str:
    """Return what was read once when a run began as JSON text."""
    return to_json(dict(state.environment)).decode()


PARTS: Mapping[int, Callable[[WorkflowState], str]] = {
    payload_pb2.PAYLOAD_PART_INPUTS: lambda state: state.inputs_json,
    payload_pb2.PAYLOAD_PART_VARIABLES: variables_of,
    payload_pb2.PAYLOAD_PART_ENVIRONMENT: environment_of,
    payload_pb2.PAYLOAD_PART_PLAN: lambda state: to_json(
        None
        if state.plan is None
        else [{"name": name, "digest": digest, "depends_on": wanted} for name, digest, *wanted in state.plan]
    ).decode(),
    payload_pb2.PAYLOAD_PART_FAILED_STEPS: lambda state: to_json(list(state.failed_steps)).decode(),
    payload_pb2.PAYLOAD_PART_CUT_SHORT: lambda state: to_json(list(state.cut_short)).decode(),
    payload_pb2.PAYLOAD_PART_DIFFERENCES: lambda state: to_json(
        [{"step": step, "change": change, "detail": detail} for step, change, detail in state.differences]
    ).decode(),
}
"""The JSON text of each part of a state that ReadPayload reads."""


def omitted_parts(details: run_pb2.RunDetails) -> Iterator[payload_pb2.PayloadPart.ValueType]:
    """Yield the parts whose last entries were left out of an answer."""
    if details.failed_steps_omitted:
        yield payload_pb2.PAYLOAD_PART_FAILED_STEPS
    if details.plan_omitted:
        yield payload_pb2.PAYLOAD_PART_PLAN
    if details.cut_short_omitted:
        yield payload_pb2.PAYLOAD_PART_CUT_SHORT
    if details.differences_omitted:
        yield payload_pb2.PAYLOAD_PART_DIFFERENCES


def put_part(details: run_pb2.RunDetails, part: int, told: str) -> None:
    """Replace a list whose last entries were left out by the whole of it."""
    found = from_json(told)
    match part:
        case payload_pb2.PAYLOAD_PART_FAILED_STEPS:
            details.failed_steps[:] = found
        case payload_pb2.PAYLOAD_PART_CUT_SHORT:
            details.cut_short[:] = found
        case payload_pb2.PAYLOAD_PART_PLAN:
            del details.plan[:]
            put_plan(details.plan, [[each["name"], each["digest"], *each["depends_on"]] for each in found])
        case payload_pb2.PAYLOAD_PART_DIFFERENCES:
            del details.differences[:]
            put_differences(details.differences, [[each["step"], each["change"], each["detail"]] for each in found])


# -- parts --------------------------------------------------------------------------------------------------------


def put_plan(target: MutableSequence[run_pb2.PlannedStep], plan: Iterable[Sequence[str]]) -> None:
    """Write the steps of a definition into a message."""
    target.extend(_to_plan(plan))


def _to_plan(plan: Iterable[Sequence[str]]) -> Iterator[run_pb2.PlannedStep]:
    for name, digest, *dependencies in plan:
        yield run_pb2.PlannedStep(name=name, digest=digest, depends_on=dependencies)


def plan_of(steps: Iterable[run_pb2.PlannedStep]) -> list[list[str]] | None:
    """Return the steps of a definition, None when the program decides as it goes."""
    return [[step.name, step.digest, *step.depends_on] for step in steps] or None


def put_differences(target: MutableSequence[run_pb2.StepDifference], rows: Iterable[Sequence[str]]) -> None:
    """Write (step, change, detail) rows into a message."""
    target.extend(_to_differences(rows))


def _to_differences(rows: Iterable[Sequence[str]]) -> Iterator[run_pb2.StepDifference]:
    for step, change, detail in rows:
        yield run_pb2.StepDifference(step=step, change=STEP_CHANGES.number(change), detail=detail)


def differences_of(messages: Iterable[run_pb2.StepDifference]) -> Sequence[Sequence[str]]:
    """Return the (step, change, detail) rows of a message."""
    return [[each.step, STEP_CHANGES.word(each.change), each.detail] for each in messages]


def _waits(state: WorkflowState) -> Iterator[run_pb2.Wait]:
    for step in state.open_steps():
        if step.status is StepStatus.RUNNING:
            continue
        kind = "backoff" if step.status is StepStatus.RETRYING else step.kind
        wait = run_pb2.Wait(kind=WAIT_KINDS.number(kind), step=step.name, signal=step.signal, child=step.child)
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
