"""Facts as they are written down: every kind reads back as itself, in this format for ever."""

from __future__ import annotations

import json
import re
from copy import copy
from pathlib import Path
from typing import Any, assert_never, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.kernel import events as offered
from flujo.kernel import transitions
from flujo.kernel.errors import UnknownEventError
from flujo.kernel.events import KINDS, Event, EventRow, Fact, Kind, decode, encode, to_json_object
from flujo.kernel.journal import events, fold
from flujo.kernel.state import StepState, StepStatus, WorkflowState

CONCEPTS = (Path(__file__).parents[3] / "docs" / "concepts.md").read_text()
GOLDEN = Path(__file__).parents[1] / "golden"

REQUEST = ["req-1", "0123456789abcdef0123456789abcdef"]

SAMPLES: dict[str, Any] = {
    "run_created": events.RunCreated(
        "flow", '{"day":"x"}', "1", "d1", [["a", "1"]], {"team": "a"}, 60.0, {"home": "h"}, "parent", "origin", REQUEST
    ),
    "run_resumed": events.RunResumed(["a"], "a", '{"day":"y"}', "d2", [["a", "2"]], "2", "ann", 30.0, request=REQUEST),
    "run_paused": events.RunPaused("StepInterrupted", "a"),
    "run_completed": events.RunCompleted("[1,2]", "it was done elsewhere", "ann"),
    "run_failed": events.RunFailed("ValueError", "no", "a", 2, ["a", "b"], "line 1"),
    "cancel_requested": events.CancelRequested("enough", "ann", REQUEST),
    "run_cancelled": events.RunCancelled("enough"),
    "run_taken_over": events.RunTakenOver("host-12-0a1b2c3d", "host-13-4e5f6a7b"),
    "clean_up_started": events.CleanUpStarted("timeout", ["a", "b"]),
    "step_started": events.StepStarted("a", 2, 3, 5, "digest"),
    "step_waiting": events.StepWaiting("a", "signal", 2, 1_767_225_600_000_000, "go", "r.a", 1, 3),
    "step_completed": events.StepCompleted("a", '{"b":null}', 7, True),
    "attempt_failed": events.AttemptFailed("a", 1, "OSError", "no", 1_767_225_600_000_000, "line 1", True, True),
    "step_failed": events.StepFailed("a", 1, "OSError", "no", "line 1", True),
    "step_interrupted": events.StepInterrupted("a", 1, False),
    "step_cancelled": events.StepCancelled("a"),
    "step_skipped": events.StepSkipped("a", "not today", "1", 2, "ann", REQUEST),
    "step_output_set": events.StepOutputSet("a", '{"b":1}', 2, "it was done by hand", "ann", REQUEST),
    "value_recorded": events.ValueRecorded("now", "now", "1767225600000000", 2),
    "variable_set": events.VariableSet("mode", '"slow"', "set.mode", 2, "calm down", "ann", REQUEST),
    "progress_reported": events.ProgressReported("a", 3.0, 4.5, "half-way", {"bytes": 1024.0}),
    "pause_requested": events.PauseRequested("lunch", "ann", REQUEST),
    "signal_received": events.SignalReceived("go", '"payload"', "ann", REQUEST),
    "signal_set_aside": events.SignalSetAside("a", "go", 3, "$.day", "it is no date", '{"day": string (date)}'),
}


def least(kind: Kind) -> Any:
    """The fact of a kind with nothing but what it must have."""
    sample = SAMPLES[kind.type]
    required = [name for name in sample._fields if name not in sample._field_defaults]
    return kind.fact(**{name: getattr(sample, name) for name in required})


# -- one list of kinds ---------------------------------------------------------------------------------------------


def test_every_fact_is_declared_once() -> None:
    """A class that is a member of the union and not a kind could be recorded and never read."""
    assert [*(kind.fact for kind in KINDS), events.UnknownFact] == list(get_args(Fact))
    assert len({kind.type for kind in KINDS}) == len(KINDS) == len(SAMPLES)


def test_every_fact_is_offered_to_those_who_read_events() -> None:
    """`flujo.kernel.events` is where backends, the wire and the command line find them."""
    assert [kind.fact.__name__ for kind in KINDS if getattr(offered, kind.fact.__name__, None) is not kind.fact] == []
    assert {kind.fact.__name__ for kind in KINDS} <= set(offered.__all__)


def test_the_fold_handles_every_kind_and_no_other() -> None:
    """A kind without a handler would end every run that records one."""
    assert set(fold._HANDLERS) == {*(kind.fact for kind in KINDS), events.UnknownFact}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.moves_step], ids=lambda kind: kind.type)
def test_a_kind_that_moves_a_step_names_one(kind: Kind) -> None:
    """The effect is on the step in the field `step`."""
    assert "step" in kind.fact._fields


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_the_effect_of_a_kind_is_what_the_fold_makes_of_it(kind: Kind) -> None:
    """A kind that says it settles a step, and folds into one that is not settled, would deceive every check."""
    before, step = state_with_running_step()
    fact: Any = least(kind)
    if "step" in fact._fields:
        fact = fact._replace(step="a")
    transitions.apply(before, before.seq + 1, 9, fact)

    now = before.steps["a"]
    match kind.effect:
        case events.Effect.SUCCEEDS:
            assert (now.status, now.output_json is not None) == (StepStatus.COMPLETED, True)
        case events.Effect.SETTLES:
            assert now.status in (StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED)
            assert now.settled_seq == before.seq
        case events.Effect.ENDS_ATTEMPT:
            assert now.status is StepStatus.RETRYING or now.interrupted
        case events.Effect.BEGINS:
            assert now.status in (StepStatus.RUNNING, StepStatus.WAITING)
            assert place_of(now) != place_of(step)
            assert not now.interrupted
        case events.Effect.NONE if now.status is StepStatus.CANCELLED:  # whatever is open is cut short, without outcome
            assert (now.settled_seq, now.output_json) == (None, None)
        case events.Effect.NONE:
            assert place_of(now) == place_of(step)
        case _:
            assert_never(kind.effect)


def place_of(step: StepState) -> tuple[object, ...]:
    """What an event changes that moves a step, unlike one that only says something of it."""
    outcome = step.status, step.output_json, step.settled_seq, step.finished_at
    return step.generation, step.attempt, step.failures, step.interrupted, step.attempt_started_at, *outcome


def state_with_running_step() -> tuple[WorkflowState, StepState]:
    """A run that was created, got a signal and has begun the step `a`, and that step as it was then."""
    state = WorkflowState("r", "u")
    transitions.apply(state, 1, 1, events.RunCreated("flow", "{}"))
    transitions.apply(state, 2, 2, events.SignalReceived("go", "1"))
    transitions.apply(state, 3, 3, events.StepStarted("a"))
    return state, copy(state.steps["a"])


def test_the_page_on_concepts_lists_every_kind_once() -> None:
    """docs/concepts.md says of each kind what it means."""
    rows = re.findall(r"^\| (`\w+`(?: · `\w+`)*) \|", CONCEPTS, re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]

    assert sorted(listed) == sorted(kind.type for kind in KINDS)


def named_in(beginning: str) -> set[str]:
    """The kinds that one paragraph of docs/concepts.md names, found by its first words."""
    (paragraph,) = [each for each in CONCEPTS.split("\n\n") if each.startswith(beginning)]
    return set(re.findall(r"`(\w+)`", paragraph))


def test_the_page_on_concepts_says_what_a_fork_takes_over() -> None:
    """A kind that is dropped from the declaration, or added to it, changes what users read."""
    assert named_in("A fork takes over") == {kind.type for kind in KINDS if kind.in_fork}


def test_the_page_on_concepts_says_what_may_follow_the_end_of_a_run() -> None:
    """So that the check of a store finds no more, and no less, than the page allows."""
    assert named_in("Behind the end of a run") == {kind.type for kind in KINDS if kind.after_end}


# -- written and read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_every_kind_reads_back_as_itself(kind: Kind) -> None:
    """A fact with all its fields, and one with the fewest, survive being written down."""
    for fact in (SAMPLES[kind.type], least(kind)):
        event = Event(3, 17, fact)

        row = encode(event)

        assert decode(row) == event
        assert (row.seq, row.at, row.type, row.format) == (3, 17, kind.type, kind.format)
        assert event.type == kind.type


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_defaults_are_left_out(kind: Kind) -> None:
    """A row holds only what differs from the default, and the payload apart from the rest."""
    fact = least(kind)

    body = json.loads(encode(Event(1, 1, fact)).body)

    assert set(body) == {name for name in fact._fields if name not in fact._field_defaults and name != kind.payload}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**60))
def test_texts_and_numbers_of_any_size_survive(text: str, number: int) -> None:
    """Messages may hold any character, instants and numbers any value."""
    event = Event(number + 1, number, events.StepFailed("a", number, text, text, text))

    assert decode(encode(event)) == event


@pytest.mark.parametrize(
    ("type", "format"), [("step_teleported", 1), ("step_started", 2), ("step_started", 99)], ids=["type", "2", "99"]
)
def test_what_a_newer_release_wrote_is_refused(type: str, format: int) -> None:
    """An unknown kind or format is an error of that run, which names it."""
    with pytest.raises(UnknownEventError, match="newer release") as unknown:
        decode(EventRow(1, 1, type, format, "{}", None))

    assert (unknown.value.type, unknown.value.format) == (type, format)


def test_an_earlier_format_is_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of format 1 is read by a release that writes format 3, one step of upcasting after the other."""
    kind = events.KIND_OF[events.StepCancelled]._replace(format=3)
    monkeypatch.setitem(events._BY_TYPE, "step_cancelled", kind)
    monkeypatch.setitem(events.UPCASTS, ("step_cancelled", 1), lambda body: {"name": body["title"]})
    monkeypatch.setitem(events.UPCASTS, ("step_cancelled", 2), lambda body: {"step": body["name"]})

    assert decode(EventRow(1, 1, "step_cancelled", 1, '{"title":"a"}', None)).fact == events.StepCancelled("a")
    assert decode(EventRow(1, 1, "step_cancelled", 3, '{"step":"a"}', None)).fact == events.StepCancelled("a")


GOLDEN_NAMES = [
    "format-1",
    "format-1-more-kinds",
    "format-1-clean-up",
    "format-1-signals",
    "format-1-redacted",
    "format-1-taken-over",
]
"""Journals that some release wrote, in `golden/journal-NAME.jsonl`, and what they add up to, in `state-NAME.json`."""

golden = pytest.mark.parametrize("name", GOLDEN_NAMES)


def golden_rows(name: str) -> list[EventRow]:
    lines = (GOLDEN / f"journal-{name}.jsonl").read_text().splitlines()
    return [EventRow(*json.loads(line)) for line in lines]


def shown_then(now: Any, then: Any) -> Any:
    """The part of a JSON value that an earlier release showed as well: later ones add keys."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {key: shown_then(value, then[key]) for key, value in now.items() if key in then}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [shown_then(*pair) for pair in zip(now, then, strict=True)]
    return now


@golden
def test_a_golden_journal_adds_up_to_its_golden_state(name: str) -> None:
    """A journal that an earlier release wrote is folded to the same state by every later one.

    Do not edit these files: they stand for the stores of our users. New kinds and formats get new files beside them."""
    state = transitions.replay("golden", "0123456789abcdef", golden_rows(name))
    recorded = json.loads((GOLDEN / f"state-{name}.json").read_text())

    assert shown_then(state.to_dict(), recorded) == recorded


def test_the_golden_journals_hold_every_kind_in_every_format() -> None:
    """The committed rows cover all kinds of events, in each format there has been."""
    written = {(row.type, row.format) for name in GOLDEN_NAMES for row in golden_rows(name)}

    assert written == {(kind.type, format) for kind in KINDS for format in range(1, kind.format + 1)}


@golden
def test_what_is_written_now_is_what_was_written_then(name: str) -> None:
    """Writing the events of a golden journal again gives the same rows, byte for byte."""
    for row in golden_rows(name):
        assert encode(decode(row)) == row


@pytest.mark.parametrize("body", ['{"step":"a"}', '{"step": "a"}', '{"step":"\\u0061"}', '{"attempt":1,"step":"a"}'])
def test_a_start_is_read_however_its_json_is_written(body: str) -> None:
    """Nearly all are written in one way, and read by a short cut that must not take any other for it."""
    assert decode(EventRow(1, 1, "step_started", 1, body, None)).fact == events.StepStarted("a")


@pytest.mark.parametrize("body", ['{"step":"a","digest":"b"}', '{"step":"a"', '{"step":"a\n"}', '{"step":1}x'])
def test_an_outcome_that_is_none_is_not_read(body: str) -> None:
    """A field of another kind, and text that is no JSON."""
    with pytest.raises((TypeError, ValueError)):
        decode(EventRow(1, 1, "step_completed", 1, body, "1"))


def test_users_see_events_with_instants_and_decoded_payloads() -> None:
    """The JSON of an event shows its number, instant and kind, then its own fields as people read them."""
    event = Event(5, 1_767_225_600_000_000, events.StepCompleted("a", '{"b":[1]}'))
    due = Event(6, 1_767_225_600_000_000, events.AttemptFailed("a", 1, "E", "no", 1_767_225_601_000_000))

    assert to_json_object("r", event) == {
        "run_id": "r",
        "seq": 5,
        "at": "2026-01-01T00:00:00.000000Z",
        "type": "step_completed",
        "step": "a",
        "output": {"b": [1]},
        "redacted": False,
    }
    assert to_json_object("r", due)["next_attempt_at"] == "2026-01-01T00:00:01.000000Z"
