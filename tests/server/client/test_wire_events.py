"""Events to messages and back: every kind, with all its fields, with the fewest, and with anything at all."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flujo.client.wire.events import from_event, payloads_of, recorded_payload, to_event
from flujo.client.wire.values import MAX_INLINE_BYTES, Payloads
from flujo.kernel import events
from flujo.kernel.events import KINDS, Event, EventRow, Kind, UnknownFact, to_json_object
from flujo.kernel.state import PauseReason, RunStatus, WorkflowState
from flujo.kernel.transitions import fold
from flujo.v1 import event_pb2

GOLDEN = Path(__file__).parents[2] / "kernel" / "golden" / "journal-format-1.jsonl"
INSTANT = 1_767_225_600_123_456

REQUEST = ["req-1", "0123456789abcdef"]

FULL: dict[str, Any] = {
    "run_created": events.RunCreated(
        "flow",
        '{"day":"x"}',
        "1",
        "d1",
        [["a", "1"], ["b", "2"]],
        {"team": "a", "Stadt": "Zürich"},
        60.25,
        {"home": "h", "number": 3, "env": {"A": "b"}},
        "parent",
        "origin",
        REQUEST,
        "ci",
    ),
    "run_resumed": events.RunResumed(
        ["a", "b"], "a", '{"day":"y"}', "d2", [["a", "2"]], "2", "ann", 0.0, True, REQUEST, "ci"
    ),
    "run_paused": events.RunPaused("StateIncompatible", "a", [["a", "changed", "its task is another one"]]),
    "run_completed": events.RunCompleted("[1,2]", "by hand", "ann"),
    "run_failed": events.RunFailed("ValueError", "no", "a", 2, ["a", "b"], "line 1\nline 2"),
    "cancel_requested": events.CancelRequested("enough", "ann", REQUEST, "ci"),
    "run_cancelled": events.RunCancelled("enough"),
    "run_taken_over": events.RunTakenOver("host-12-0a1b2c3d", "host-13-4e5f6a7b"),
    "clean_up_started": events.CleanUpStarted("timeout", ["a", "b"]),
    "step_started": events.StepStarted("a", 2, 3, 5, "digest"),
    "step_waiting": events.StepWaiting("a", "signal", 2, INSTANT, "go", "child", 3, 4, True),
    "step_completed": events.StepCompleted("a", '{"b":null}', 7, True),
    "attempt_failed": events.AttemptFailed("a", 1, "OSError", "no", INSTANT, "line 1", True, True),
    "step_failed": events.StepFailed("a", 1, "OSError", "no", "line 1", True),
    "step_interrupted": events.StepInterrupted("a", 1, False, INSTANT),
    "step_cancelled": events.StepCancelled("a"),
    "step_skipped": events.StepSkipped("a", "not today", '"instead"', 2, "ann", REQUEST, "ci"),
    "step_output_set": events.StepOutputSet("a", '"given"', 2, "by hand", "ann", REQUEST, "ci"),
    "value_recorded": events.ValueRecorded("now", "now", "1.5", 2),
    "variable_set": events.VariableSet("seen", "[1]", "set", 2, "by hand", "ann", REQUEST, "ci"),
    "progress_reported": events.ProgressReported("a", 1.5, 3.0, "half", {"bytes": 1e9, "rate": 0.1}),
    "pause_requested": events.PauseRequested("enough", "ann", REQUEST, "ci"),
    "signal_received": events.SignalReceived("go", '"payload"', "ann", REQUEST, "ci"),
    "signal_set_aside": events.SignalSetAside("a", "go", 3, "$.day", "it is no date", '{"day": string (date)}'),
}


def least(kind: Kind) -> Any:
    """The fact of a kind with nothing but what it must have."""
    full = FULL[kind.type]
    return kind.fact(**{name: getattr(full, name) for name in full._fields if name not in full._field_defaults})


def there_and_back(event: Event) -> Event:
    """The event after a journey in bytes."""
    return from_event(event_pb2.Event.FromString(to_event(event, Payloads()).SerializeToString()))


def test_the_table_of_this_test_is_complete() -> None:
    """Every kind is in it, with a value other than the default in each of its fields."""
    assert set(FULL) == {kind.type for kind in KINDS}
    for fact in FULL.values():
        assert all(getattr(fact, name) != default for name, default in fact._field_defaults.items()), fact


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_every_kind_arrives_as_it_was_sent(kind: Kind) -> None:
    """With all its fields, with the fewest, and with empty texts, which are not the same as none."""
    full = FULL[kind.type]
    texts = [name for name, value in full._asdict().items() if isinstance(value, str) and name not in WORDS[kind.type]]
    empty = full._replace(**dict.fromkeys(texts, ""))
    if kind.payload is not None:
        empty = empty._replace(**{kind.payload: '""'})

    for fact in (full, least(kind), empty):
        assert there_and_back(Event(3, INSTANT, fact)) == Event(3, INSTANT, fact)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_the_kind_is_also_there_as_text(kind: Kind) -> None:
    """Clients of other languages show it, and the oneof says the same."""
    message = to_event(Event(3, INSTANT, least(kind)), Payloads())

    assert message.type == message.WhichOneof("fact") == kind.type


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=25)  # 100 bytes: the least of a field
ITEMS = 50  # the least that a map takes
COUNT = st.integers(0, 2**32 - 1)
CHANGES = st.sampled_from(["changed", "removed", "renamed", "reordered", "inserted"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT,
    "str | None": st.none() | TEXT,
    "int": COUNT,
    "int | None": st.none() | COUNT,
    "bool": st.booleans(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "Mapping[str, float]": st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=ITEMS),
    "float | None": st.none() | st.integers(0, 10**10).map(lambda millis: millis / 1000),
    "Sequence[str]": st.just(()) | st.lists(TEXT, min_size=1),
    "Sequence[str] | None": st.none() | st.lists(TEXT, min_size=2, max_size=2),
    "Sequence[Sequence[str]]": st.just(()) | st.lists(st.tuples(TEXT, CHANGES, TEXT).map(list), min_size=1),
    "Sequence[Sequence[str]] | None": st.none() | st.lists(st.lists(TEXT, min_size=2, max_size=4), min_size=1),
    "Mapping[str, str]": st.dictionaries(TEXT, TEXT, max_size=ITEMS),
    "Mapping[str, Any]": st.dictionaries(TEXT, TEXT | st.integers() | st.dictionaries(TEXT, TEXT)),
}
INSTANTS = ("next_attempt_at", "until")
WORDS: dict[str, dict[str, st.SearchStrategy[str]]] = defaultdict(
    dict,
    run_paused={"reason": st.sampled_from(PauseReason).map(str)},
    clean_up_started={"reason": st.sampled_from(["cancelled", "timeout"])},
    step_waiting={"kind": st.sampled_from(["sleep", "signal", "child"])},
    value_recorded={"kind": st.sampled_from(["now", "random", "uuid", "variable"])},
)
"""The fields that hold one of some words."""


def fact_of(kind: Kind) -> st.SearchStrategy[Any]:
    """Any fact of a kind, by the annotations of its fields."""
    fields = {name: VALUES[reference.__forward_arg__] for name, reference in kind.fact.__annotations__.items()}
    for name in INSTANTS:
        if name in fields:
            fields[name] = st.integers(0, 4 * INSTANT) | (st.none() if name in kind.fact._field_defaults else COUNT)
    return st.builds(kind.fact, **fields | WORDS[kind.type])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_whatever_a_kind_holds_arrives(kind: Kind) -> None:
    """Texts of any script, numbers of any size, anything absent."""

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 2**63), st.integers(0, 4 * INSTANT), fact_of(kind))
    def arrives(seq: int, at: int, fact: Any) -> None:
        assert there_and_back(Event(seq, at, fact)) == Event(seq, at, fact)

    arrives()


def test_the_golden_journal_arrives() -> None:
    """What format 1 wrote is sent as it is read."""
    rows = [EventRow(*json.loads(line)) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]

    for row in rows:
        assert there_and_back(events.decode(row)) == events.decode(row)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.payload], ids=lambda kind: kind.type)
def test_a_large_value_stays_behind(kind: Kind) -> None:
    """The message has a reference to the event that holds it; with the value put in its place the event is whole."""
    text = '"' + "x" * MAX_INLINE_BYTES + '"'
    event = Event(9, INSTANT, FULL[kind.type]._replace(**{str(kind.payload): text}))

    message = to_event(event, Payloads())
    payload = next(each for each in payloads_of(message) if each.HasField("reference"))
    assert (payload.reference.seq, payload.reference.size_bytes) == (9, len(text))
    assert message.ByteSize() < 1000
    payload.json = text

    assert recorded_payload(event) == text
    assert from_event(message) == event


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.payload], ids=lambda kind: kind.type)
def test_other_kinds_have_no_value(kind: Kind) -> None:
    """There is nothing to fetch for them."""
    event = Event(9, INSTANT, FULL[kind.type])

    assert recorded_payload(event) is None
    assert list(payloads_of(to_event(event, Payloads()))) == []


def test_a_kind_of_a_newer_server_is_shown_as_unknown() -> None:
    """Its number, instant and type are there; its fact is in a field this release does not know. A watch goes on."""
    message = event_pb2.Event(seq=1, type="step_teleported")
    message.MergeFromString(b"\xf2\x3e\x00")  # field 1006, an empty message

    assert list(payloads_of(message)) == []
    event = from_event(message)
    assert event == Event(1, 0, UnknownFact("step_teleported"))
    assert (event.type, event.step) == ("step_teleported", None)
    assert to_json_object("r", event) == {
        "run_id": "r",
        "seq": 1,
        "at": "1970-01-01T00:00:00.000000Z",
        "type": "step_teleported",
    }
    state = WorkflowState(run_id="r", uid="u")
    fold(state, event)
    assert (state.seq, state.status) == (1, RunStatus.PENDING)
