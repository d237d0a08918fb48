"""Summaries and states of runs to messages and back."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from flujo.client.wire.runs import (
    MAX_STEPS,
    from_details,
    from_run,
    from_run_status,
    from_step,
    given_statuses,
    payloads_in,
    put_details,
    to_run,
    to_run_status,
    to_step,
)
from flujo.client.wire.values import MAX_INLINE_BYTES, Payloads
from flujo.client.wire.words import WAIT_KINDS
from flujo.kernel import events, transitions
from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import InvalidNameError
from flujo.kernel.events import EventRow
from flujo.kernel.state import LIVE, Failure, Progress, RunStatus, StepState, StepStatus, TakenOver, WorkflowState
from flujo.v1 import run_pb2

GOLDEN = Path(__file__).parents[2] / "kernel" / "golden" / "journal-format-1.jsonl"
INSTANT = 1_767_225_600_123_456

SUMMARY = RunSummary(
    run_id="r",
    uid="0123456789abcdef0123456789abcdef",
    workflow="flow",
    version="2",
    status="waiting",
    seq=17,
    owner="host-1-abc",
    token=3,
    labels='{"Stadt":"Zürich","team":"a"}',
    created_at=INSTANT,
    started_at=INSTANT + 1,
    updated_at=INSTANT + 2,
    finished_at=INSTANT + 3,
    wake_at=INSTANT + 4,
    current_step="b",
    failed_step="a",
    error_type="OSError",
    error_message="no route",
    steps_done=4,
    steps_total=9,
    retries=2,
    resume_count=1,
    parent_run_id="parent",
    definition="d1",
)

OPTIONAL = [
    "version",
    "owner",
    "started_at",
    "finished_at",
    "wake_at",
    "current_step",
    "failed_step",
    "steps_total",
    "parent_run_id",
    "definition",
]

REPORT = Progress(1.5, 3.0, "half", {"bytes": 1e9, "rate": 0.1}, INSTANT)

STEP = StepState(
    name="resize[17]",
    kind="signal",
    status=StepStatus.RETRYING,
    generation=2,
    attempt=3,
    failures=1,
    interruptions=1,
    interrupted=True,
    max_attempts=5,
    output_json='{"a":"é"}',
    error=Failure("OSError", "no route", "resize[17]", 3, "line 1"),
    started_at=INSTANT,
    finished_at=INSTANT + 1,
    active_micros=1_500_001,
    next_attempt_at=INSTANT + 2,
    until=INSTANT + 3,
    signal="go",
    child="another-run",
    child_resumes=2,
    progress=REPORT,
    redacted=True,
    digest="d",
    reenter=True,
    first_seq=4,
    settled_seq=9,
    attempt_started_at=INSTANT + 4,
)

STAYS = {
    # Only a kernel needs these, and what a client has is not gone on with.
    WorkflowState: {"signals", "requests", "active", "resumed_by", "interruption_seq", "alive_at"},
    StepState: {"signal_seq", "reenter", "left_out"},
}


def sent(run: run_pb2.Run) -> run_pb2.Run:
    """The message after a journey in bytes."""
    return run_pb2.Run.FromString(run.SerializeToString())


def arrived(state: WorkflowState, owner: str | None = None) -> WorkflowState:
    """A state after its journey in RUN_VIEW_FULL, none of whose values is large."""
    run = to_run(transitions.summarize(state, owner, 1), interrupted=state.unowned)
    put_details(run, state)
    run = sent(run)
    return from_details(run, run.details.steps)


def told(thing: Any) -> dict[str, Any]:
    """All fields that travel; a tuple and a list are the same sequence."""
    values = {each.name: getattr(thing, each.name) for each in fields(thing) if each.name not in STAYS[type(thing)]}
    if isinstance(thing, WorkflowState):
        values["steps"] = {name: told(step) for name, step in thing.steps.items()}
    return {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in values.items()}


# -- summaries -----------------------------------------------------------------------------------------------------


def test_every_field_of_a_summary_arrives() -> None:
    """Each has a value of its own here, so none is mistaken for another."""
    assert from_run(sent(to_run(SUMMARY, interrupted=False))) == SUMMARY


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_a_summary_lacks_is_lacking(name: str) -> None:
    """Absent is absent, and not empty or zero."""
    absent: dict[str, Any] = {name: None}
    summary = SUMMARY._replace(**absent)

    assert from_run(sent(to_run(summary, interrupted=False))) == summary


def test_a_summary_without_an_error_has_none() -> None:
    """Neither type, nor message, nor step."""
    summary = SUMMARY._replace(error_type=None, error_message=None, failed_step=None)

    assert from_run(sent(to_run(summary, interrupted=False))) == summary


def test_a_dead_owner_is_not_told() -> None:
    """Who is named runs the run; so a client needs to ask nobody whether it does."""
    run = sent(to_run(SUMMARY, interrupted=True))

    assert run.interrupted
    assert from_run(run) == SUMMARY._replace(owner=None)


# -- states --------------------------------------------------------------------------------------------------------


def test_every_field_of_a_step_arrives() -> None:
    """All but what only folding needs, and each differs from its default."""
    message = run_pb2.Step.FromString(to_step(STEP, Payloads()).SerializeToString())

    blank = told(StepState("x"))
    assert [name for name, value in told(STEP).items() if value == blank[name]] == []
    assert told(from_step(message)) == told(STEP)
    assert told(from_step(to_step(StepState("x"), Payloads()))) == blank


def test_every_field_of_a_state_arrives() -> None:
    """All but what only folding needs, and each differs from its default."""
    state = WorkflowState(
        run_id="r",
        uid="u",
        workflow="flow",
        version="2",
        status=RunStatus.RUNNING,
        inputs_json='{"day":"x"}',
        variables={"a": [1, None]},
        labels={"a": "1", "b": "2"},
        labels_json='{"a":"1","b":"2"}',
        steps={
            "one": StepState("one", status=StepStatus.COMPLETED, output_json="1", settled_seq=2),
            "two": StepState("two", status=StepStatus.RUNNING, failures=1),
            "three": StepState("three", status=StepStatus.WAITING),
            "four": StepState("four", kind="items", status=StepStatus.WAITING),
        },
        open_loops=["four"],
        output_json='"out"',
        error=Failure("OSError", "no route", "one", 3, "line 1"),
        failed_steps=("one", "two"),
        differences=[["one", "changed", "its task is another one"]],
        changes_accepted=True,
        paused_reason="StepInterrupted",
        cancel_reason="enough",
        cancel_requested_at=INSTANT,
        pause_requested_at=INSTANT + 1,
        cleaning_up="cancelled",
        clean_up_seq=16,
        cut_short=("two",),
        parent_run_id="parent",
        forked_from="origin",
        resume_count=1,
        taken_over=TakenOver("host-12-0a1b2c3d", INSTANT + 8, 15, INSTANT + 3),
        seq=17,
        created_at=INSTANT + 2,
        started_at=INSTANT + 3,
        resumed_at=INSTANT + 4,
        updated_at=INSTANT + 5,
        finished_at=INSTANT + 6,
        unowned=True,
        timeout_seconds=90.5,
        definition="d1",
        plan=[["one", "1"], ["two", "2", "one"]],
        report=REPORT,
        environment={"workspace": "w", "env": {"A": "b"}},
        retries=2,
        running=1,
        waiting=1,
        done=1,
        active_micros=1_500_001,
        active_since=INSTANT + 7,
        current_step="two",
        usual_seconds=12.5,
    )
    blank = told(WorkflowState("", ""))

    assert [name for name, value in told(state).items() if value == blank[name]] == []
    assert told(arrived(state)) == told(state)
    assert arrived(state).to_dict() == state.to_dict()


def test_the_golden_run_looks_the_same_at_every_event_of_its_life() -> None:
    """What a user sees of a state is what a user of a client sees, whatever has happened so far."""
    rows = [EventRow(*json.loads(line)) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    state = WorkflowState("golden", "0123456789abcdef")

    for row in rows:
        transitions.fold(state, events.decode(row))
        if state.status in LIVE:
            assert arrived(state, owner="somebody").to_dict() == state.to_dict()
        assert told(arrived(state)) == told(state)


def test_a_state_says_how_far_it_is_for_clients_without_our_code() -> None:
    """Progress and waits are in the message as `to_dict` shows them."""
    rows = [EventRow(*json.loads(line)) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    state = WorkflowState("golden", "0123456789abcdef")

    for row in rows:
        transitions.fold(state, events.decode(row))
        run = to_run(transitions.summarize(state, None, 1), interrupted=False)
        put_details(run, state)
        progress = run.details.progress
        percent = progress.percent if progress.HasField("percent") else None
        assert (percent, progress.done) == (state.progress["percent"], state.progress["done"])
        assert (progress.retries, progress.errors) == (state.progress["retries"], state.progress["errors"])
        waits = [(WAIT_KINDS.word(wait.kind), wait.step) for wait in run.details.waits]
        assert waits == [(w["kind"], w["step"]) for w in state.wait]


def test_large_outputs_and_many_steps_stay_behind() -> None:
    """Outputs as references to the events that hold them, steps beyond a thousand as a number."""
    large = '"' + "x" * MAX_INLINE_BYTES + '"'
    state = WorkflowState("r", "u", status=RunStatus.COMPLETED, output_json=large, seq=5000)
    for number in range(MAX_STEPS + 3):
        state.steps[f"s[{number}]"] = StepState(
            f"s[{number}]", status=StepStatus.COMPLETED, output_json=large, settled_seq=number + 2
        )
    run = to_run(transitions.summarize(state, None, 1), interrupted=False)
    put_details(run, state)

    references = [each.reference.seq for each in payloads_in(run, run.details.steps) if each.HasField("reference")]
    assert references == [5000, *range(2, MAX_STEPS + 2)]
    assert run.details.steps_omitted == 3
    assert run.ByteSize() < 1024 * 1024


# -- statuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", RunStatus)
def test_every_status_of_a_run_has_a_number(status: RunStatus) -> None:
    """And the number stands for that status only."""
    number = to_run_status(status)

    assert run_pb2.RunStatus.Name(number) == f"RUN_STATUS_{status.name}"
    assert from_run_status(number) is status
    assert given_statuses([number]) == [status]


@pytest.mark.parametrize("status", StepStatus)
def test_every_status_of_a_step_has_a_number(status: StepStatus) -> None:
    """And the number stands for that status only."""
    message = to_step(StepState("x", status=status), Payloads())

    assert run_pb2.StepStatus.Name(message.status) == f"STEP_STATUS_{status.name}"
    assert from_step(message).status is status


def test_a_status_of_a_newer_server_counts_as_unfinished() -> None:
    """Nobody who waits for an end takes it for one."""
    assert from_run_status(99) is RunStatus.RUNNING
    assert from_step(run_pb2.Step(status=99)).status is StepStatus.RUNNING  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, 99])
def test_a_status_that_does_not_exist_is_refused_in_a_request(number: int) -> None:
    """The server cannot know what is meant."""
    with pytest.raises(InvalidNameError, match="statuses"):
        given_statuses([number])
