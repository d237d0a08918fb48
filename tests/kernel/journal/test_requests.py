"""What can be asked of a run, what counts as the same request, and what a repeat is told, in tables."""

from __future__ import annotations

from typing import Any, cast, get_args

import pytest

from flujo.kernel import CancelOutcome, PauseOutcome, RunStatus
from flujo.kernel.errors import InvalidNameError, InvalidValueError, RequestReusedError
from flujo.kernel.events import CancelRequested, PauseRequested, SignalReceived, StepCompleted, StepSkipped, VariableSet
from flujo.kernel.journal.requests import (
    REQUEST_KINDS,
    Fingerprint,
    Reaction,
    RequestFact,
    RequestKind,
    cancel_answer,
    fingerprint,
    id_for,
    is_overruled,
    is_repeat,
    pause_answer,
    request_kind,
    without_request,
)
from flujo.kernel.keys import check_run_id
from flujo.kernel.state import FINAL, WorkflowState
from flujo.kernel.values import encode

EVERY_REQUEST: tuple[RequestFact, ...] = (
    SignalReceived("go", "[1]", "ann", ["r-1", "d"]),
    SignalReceived("go", "null"),
    CancelRequested("enough", "ann", ["r-1", "d"]),
    CancelRequested(),
    PauseRequested("lunch", "ann", ["r-1", "d"]),
    PauseRequested(),
    VariableSet("colour", '"red"', reason="why", by="ann", request=["r-1", "d"]),
    VariableSet("colour", "1"),
)


def test_every_fact_that_a_request_may_become_has_a_kind() -> None:
    """A member of the union without a line in the table could be neither posted nor read."""
    assert {kind.fact for kind in REQUEST_KINDS.values()} == set(get_args(RequestFact))
    assert {fact.__class__ for fact in EVERY_REQUEST} == set(get_args(RequestFact))


def test_each_kind_of_request_has_a_name_and_a_fact_of_its_own() -> None:
    """Two lines of the table for one fact would leave open which of them is posted."""
    assert [name for name, kind in REQUEST_KINDS.items() if name != kind.name] == []
    assert len({kind.fact for kind in REQUEST_KINDS.values()}) == len(REQUEST_KINDS)


@pytest.mark.parametrize("kind", REQUEST_KINDS.values(), ids=list(REQUEST_KINDS))
def test_a_request_holds_fields_of_its_fact(kind: RequestKind) -> None:
    """The fact can be made of nothing else, knows the request again, only a signal is handed to those who wait for
    one, and only a cancel stops the program."""
    fields = kind.fact._fields
    needed = {name for name in fields if name not in kind.fact._field_defaults}

    assert needed <= set(kind.required)
    assert {*kind.required, *kind.optional, "request"} <= set(fields)
    assert (kind.reaction is Reaction.SIGNAL) == (kind.fact is SignalReceived)
    assert (kind.reaction is Reaction.STOP) == (kind.fact is CancelRequested)


def test_a_resume_overrules_what_asked_for_an_end() -> None:
    """What is meant for the run that goes on stays: signals, variables, and what only a newer release understands."""
    names = [*REQUEST_KINDS, "of a newer release"]

    assert [name for name in names if is_overruled(name)] == ["cancel", "pause"]


@pytest.mark.parametrize("fact", EVERY_REQUEST, ids=repr)
def test_a_request_is_read_as_it_was_posted(fact: RequestFact) -> None:
    """Whatever its optional fields hold."""
    kind = request_kind(fact)

    assert kind.read(encode(kind.to_body(fact))) == fact


@pytest.mark.parametrize("kind", REQUEST_KINDS.values(), ids=list(REQUEST_KINDS))
@pytest.mark.parametrize("body", ["{", "[]", '{"by": 5}', '{"request": "r-1"}', '{"request": [1, 2]}'])
def test_a_malformed_request_is_refused(kind: RequestKind, body: str) -> None:
    """By one error, which neither ends the owner's inbox nor becomes a fact."""
    with pytest.raises(ValueError, match=r"request|EOF|key must"):
        kind.read(body)


@pytest.mark.parametrize(
    ("kind", "body", "what"),
    [
        ("signal", '{"payload": "1"}', "a signal request needs name and payload"),
        ("signal", '{"name": "go", "payload": 1}', "a signal request needs name and payload"),
        ("signal", '{"name": "go", "payload": "{"}', "EOF while parsing"),
        ("set_variable", '{"name": "x"}', "a set_variable request needs name and value"),
        ("cancel", '{"reason": 5}', "a cancel request holds text only"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(kind: str, body: str, what: str) -> None:
    """As `flujoctl db check` shows it."""
    with pytest.raises(ValueError, match=what):
        REQUEST_KINDS[kind].read(body)


@pytest.mark.parametrize("body", ['{"step": "a", "reason": "no"}', '{"step": "a", "reason": "no", "output": null}'])
def test_a_large_field_may_be_left_out(body: str) -> None:
    """By a kind whose fact may be without it; what is there has to be JSON."""
    skip = RequestKind("skip", cast(Any, StepSkipped), ("step", "reason"), ("output",), Reaction.NONE, overruled=False)

    read: Any = skip.read(body)
    assert read == StepSkipped("a", "no")
    with pytest.raises(ValueError, match="EOF"):
        skip.read('{"step": "a", "reason": "no", "output": "{"}')


def test_a_request_without_an_id_has_no_mark() -> None:
    """It is never taken for another one."""
    assert fingerprint(None, "signal", name="go") is None
    assert not is_repeat(WorkflowState("r", "u"), None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"payload": {"a": 1, "b": [2]}}, {"payload": {"b": (2,), "a": 1}}),
        ({"payload": None}, {}),
        ({"labels": {}}, {"labels": {}}),
        ({"payload": "Zürich → 東京"}, {"payload": "Zürich → 東京"}),
        ({"payload": 1e16}, {"payload": 10000000000000000.0}),
    ],
    ids=["order of keys", "none", "empty", "text", "number"],
)
def test_the_same_body_has_the_same_mark(one: dict[str, Any], other: dict[str, Any]) -> None:
    """However it is put."""
    assert fingerprint("x", "signal", **one) == fingerprint("x", "signal", **other)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("cancel", {"payload": 1}),
        ("signal", {"payload": 2}),
        ("signal", {"payload": 1.0}),
        ("signal", {"payload": "1"}),
        ("signal", {"payload": True}),
        ("signal", {"payload": [1]}),
        ("signal", {"payload": 1, "by": "ann"}),
        ("signal", {"name": 1}),
        ("signal", {}),
    ],
)
def test_another_body_has_another_mark(kind: str, body: dict[str, Any]) -> None:
    """Another kind of request has as well; the id stays the same."""
    asked, other = fingerprint("x", "signal", payload=1), fingerprint("x", kind, **body)

    assert asked is not None
    assert other is not None
    assert (asked.id, other.id) == ("x", "x")
    assert asked.digest != other.digest


@pytest.mark.parametrize("request_id", ["x", "!", "~" * 100, "a/b:c#1", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"])
def test_an_id_is_printable_ascii(request_id: str) -> None:
    """1 to 100 characters of the caller's choosing."""
    made = fingerprint(request_id, "cancel")

    assert made is not None
    assert made.id == request_id


@pytest.mark.parametrize("request_id", ["", " ", "a b", "a\n", "é", "x" * 101, "\x7f", 7])
def test_other_ids_are_refused(request_id: Any) -> None:
    """By name, and with the rule."""
    with pytest.raises(InvalidNameError, match="not a valid request id: 1 to 100 printable ASCII"):
        fingerprint(request_id, "cancel")


def test_what_has_no_json_form_is_refused() -> None:
    """Not with an error of somebody else's."""
    endless: list[Any] = []
    endless.append(endless)

    for body in (endless, "\udcff"):
        with pytest.raises(InvalidValueError):
            fingerprint("x", "signal", payload=body)


def test_a_run_knows_what_it_was_asked_for() -> None:
    """The same id with another digest is refused, and says which run and which id."""
    state = WorkflowState("r", "u", requests={"x": "d1"})

    assert is_repeat(state, Fingerprint("x", "d1"))
    assert is_repeat(state, ["x", "d1"])
    assert not is_repeat(state, Fingerprint("y", "d1"))
    with pytest.raises(RequestReusedError) as reused:
        is_repeat(state, Fingerprint("x", "d2"))
    assert (reused.value.run_id, reused.value.request_id) == ("r", "x")


def test_the_run_a_request_makes_has_one_id() -> None:
    """A start and the forks of each run have ids apart, whatever they ask for."""
    ids = [id_for(Fingerprint(id, "d"), run) for id in ("x", "y", "r") for run in ("", "r", "x")]

    assert len(set(ids)) == 9
    assert all(check_run_id(id) for id in ids)
    assert id_for(Fingerprint("x", "d1")) == id_for(Fingerprint("x", "d2"))


def test_a_fork_was_asked_for_nothing_yet() -> None:
    """The facts it takes over lose their fingerprints, and nothing else."""
    assert without_request(SignalReceived("go", "1", "ann", ["x", "d"])) == SignalReceived("go", "1", "ann")
    assert without_request(StepCompleted("a", "1")) == StepCompleted("a", "1")


@pytest.mark.parametrize("status", RunStatus)
def test_what_a_repeat_is_told_fits_what_has_become_of_the_run(status: RunStatus) -> None:
    """Never that the run was over before, if it is this very cancel that has ended it."""
    state = WorkflowState("r", "u", status=status)

    assert cancel_answer(state) is (
        CancelOutcome.CANCELLED
        if status is RunStatus.CANCELLED
        else CancelOutcome.ALREADY_FINISHED
        if status in FINAL
        else CancelOutcome.REQUESTED
    )
    assert pause_answer(state) is (PauseOutcome.PAUSED if status is RunStatus.PAUSED else PauseOutcome.REQUESTED)
