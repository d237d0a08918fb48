"""The facts a journal holds, one class per kind, and how they are written down.

A run is an append-only list of events, `seq` = 1, 2, 3 … without gaps; nothing else is truth. An `Event` is a fact
with its number and instant. Facts are written as JSON with a format number per kind; `decode` reads every earlier
format by pure upcasting (`UPCASTS`) and refuses unknown ones with UnknownEventError, which makes that one run
read-only.

A fact that records what somebody asked for from outside may carry `request`, the id they gave and a digest of what they
asked (requests.py), `by`, who they say they are, and `principal`, who they are for the server that they asked
(principals.py)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, cast

from flujo.kernel.errors import UnknownEventError

from .rows import EventRow as EventRow

__all__ = [
    "KINDS",
    "KIND_OF",
    "UPCASTS",
    "AttemptFailed",
    "CancelRequested",
    "CleanUpStarted",
    "Effect",
    "Event",
    "EventRow",
    "Fact",
    "Kind",
    "PauseRequested",
    "ProgressReported",
    "RunCancelled",
    "RunCompleted",
    "RunCreated",
    "RunFailed",
    "RunPaused",
    "RunResumed",
    "RunTakenOver",
    "SignalReceived",
    "SignalSetAside",
    "StepCancelled",
    "StepCompleted",
    "StepFailed",
    "StepInterrupted",
    "StepOutputSet",
    "StepSkipped",
    "StepStarted",
    "StepWaiting",
    "UnknownFact",
    "Upcast",
    "ValueRecorded",
    "VariableSet",
    "decode",
    "encode",
    "row_of",
    "to_json_object",
]


class RunCreated(NamedTuple):
    """Somebody asked for a run. `plan` lists (step, digest) of a definition whose steps are known beforehand."""

    workflow: str
    inputs: str  # JSON text of an object
    version: str | None = None
    definition: str | None = None  # digest of the stored text
    plan: Sequence[Sequence[str]] | None = None
    labels: Mapping[str, str] = {}
    timeout_seconds: float | None = None
    environment: Mapping[str, Any] = {}
    parent_run_id: str | None = None
    forked_from: str | None = None
    request: Sequence[str] | None = None
    principal: str | None = None


class RunResumed(NamedTuple):
    """A resume: every step in `reset` begins a new generation; the other fields, when given, replace the run's own."""

    reset: Sequence[str] = ()
    from_step: str | None = None
    inputs: str | None = None  # JSON text of an object, after merging
    definition: str | None = None
    plan: Sequence[Sequence[str]] | None = None
    version: str | None = None
    by: str | None = None
    timeout_seconds: float | None = None  # 0 takes a timeout away
    changes_accepted: bool = False  # the program may leave out what it has completed
    request: Sequence[str] | None = None
    principal: str | None = None


class RunPaused(NamedTuple):
    """The run stops until somebody resumes it. `reason` is a stable word, `step` the step it is about.

    `differences` lists (step, change, detail) of a program that contradicts what is recorded."""

    reason: str
    step: str | None = None
    differences: Sequence[Sequence[str]] = ()


class RunCompleted(NamedTuple):
    """The program returned, or somebody marked the run as completed and gave a reason."""

    output: str  # JSON text
    reason: str | None = None
    by: str | None = None


class RunFailed(NamedTuple):
    """The program raised. `steps` are the steps whose failures ended it: a plain resume tries them afresh."""

    type: str
    message: str
    step: str | None = None
    attempt: int | None = None
    steps: Sequence[str] = ()
    details: str | None = None


class CancelRequested(NamedTuple):
    """Somebody asked to cancel; recovery goes on with it after a crash."""

    reason: str | None = None
    by: str | None = None
    request: Sequence[str] | None = None
    principal: str | None = None


class RunCancelled(NamedTuple):
    """The program has stopped because of the request."""

    reason: str | None = None


class RunTakenOver(NamedTuple):
    """The former owner has died without giving the run up, and another one has become its owner.

    The new owner records it together with the first thing that it records of the run, or when it gives the run up."""

    former_owner: str
    owner: str


class CleanUpStarted(NamedTuple):
    """The run is to end, its program has stopped, and its clean-ups begin. `reason` is a word of CleanUpReason, `steps`
    are those that were cut short. What they come to changes nothing about how the run ends."""

    reason: str
    steps: Sequence[str] = ()


class StepStarted(NamedTuple):
    """Attempt `attempt` of this generation may run its body. No body starts before this is durable."""

    step: str
    attempt: int = 1
    generation: int = 1
    max_attempts: int = 1
    digest: str | None = None  # of the arguments, if they have a JSON form


class StepWaiting(NamedTuple):
    """The step waits for an instant (`sleep`), for a signal (`signal`) until an instant if one is given, for the end
    of a run it has started (`child`), or as a loop for the steps that are its items (`items`).

    With `reenter` something besides may wake the program, such as a deadline of its own or another branch: a new owner
    enters it again at once, and does not leave it in the store until the wait is over."""

    step: str
    kind: str
    generation: int = 1
    until: int | None = None
    signal: str | None = None
    child: str | None = None  # id of that run
    child_resumes: int = 0  # its end counts once it has been resumed this often
    max_attempts: int = 1
    reenter: bool = False


class StepCompleted(NamedTuple):
    """The step's success, once per generation. `signal_seq` is the event of the signal a wait has taken; `redacted`
    says that secrets were cut out of the output, or of what the step has said before."""

    step: str
    output: str  # JSON text
    signal_seq: int | None = None
    redacted: bool = False


class AttemptFailed(NamedTuple):
    """The attempt failed and another one is due at `next_attempt_at`. `reenter` as in StepWaiting, `redacted` as in
    StepCompleted."""

    step: str
    attempt: int
    type: str
    message: str
    next_attempt_at: int
    details: str | None = None
    reenter: bool = False
    redacted: bool = False


class StepFailed(NamedTuple):
    """The step has failed for good in this generation. `redacted` as in StepCompleted."""

    step: str
    attempt: int
    type: str
    message: str
    details: str | None = None
    redacted: bool = False


class StepInterrupted(NamedTuple):
    """The attempt ended because its owner did. `counted` is false for an orderly stop (Ctrl-C, SIGTERM, a deploy).

    A new owner records those of all steps in a row, behind the takeover; `last_alive_at` is the instant of the last
    event of the old owner, in microseconds UTC, where that does not stand right before: until then the body has run, as
    far as is known."""

    step: str
    attempt: int
    counted: bool = True
    last_alive_at: int | None = None


class StepCancelled(NamedTuple):
    """The program itself cancelled the step: a deadline, the first of several won, a sibling failed."""

    step: str


class StepSkipped(NamedTuple):
    """The step's condition was false, or somebody skipped it, with an output if they gave one."""

    step: str
    reason: str
    output: str | None = None  # JSON text
    generation: int = 1
    by: str | None = None
    request: Sequence[str] | None = None
    principal: str | None = None


class StepOutputSet(NamedTuple):
    """Somebody gave the step an output, instead of running it."""

    step: str
    output: str  # JSON text
    generation: int = 1
    reason: str | None = None
    by: str | None = None
    request: Sequence[str] | None = None
    principal: str | None = None


class ValueRecorded(NamedTuple):
    """What the program read once, to get it again on every replay: `now`, `random`, `uuid` or a `variable`."""

    step: str
    kind: str
    output: str  # JSON text
    generation: int = 1


class VariableSet(NamedTuple):
    """A variable of the run has a new value: set by the program, in the call that has the key `step`, or from
    outside."""

    name: str
    value: str  # JSON text
    step: str | None = None
    generation: int = 1
    reason: str | None = None
    by: str | None = None
    request: Sequence[str] | None = None
    principal: str | None = None


class ProgressReported(NamedTuple):
    """How far a step is, or with `step` None the run as a whole."""

    step: str | None
    done: float
    total: float | None = None
    message: str | None = None
    metrics: Mapping[str, float] = {}


class PauseRequested(NamedTuple):
    """Somebody asked to pause: no attempt starts from here on, and the run pauses when the last body has ended."""

    reason: str | None = None
    by: str | None = None
    request: Sequence[str] | None = None
    principal: str | None = None


class SignalReceived(NamedTuple):
    """Outside input, kept in order per name until a wait takes it."""

    name: str
    payload: str  # JSON text
    by: str | None = None
    request: Sequence[str] | None = None
    principal: str | None = None


class SignalSetAside(NamedTuple):
    """A wait has not taken the oldest signal of its name, event `signal_seq`: the payload does not fit the type that
    the program declares. No other wait gets it, and the step waits on.

    `path` is the place in the payload that does not fit, `problem` what is wrong there, `fits` a sketch of what fits.
    """

    step: str
    signal: str
    signal_seq: int
    path: str
    problem: str
    fits: str | None = None


class UnknownFact(NamedTuple):
    """A fact of a kind that only a newer release knows, as a client meets it: `type` is the name of the kind.

    Never recorded; `decode` raises UnknownEventError, and a watch of all runs goes on with this instead."""

    type: str


Fact = (
    RunCreated
    | RunResumed
    | RunPaused
    | RunCompleted
    | RunFailed
    | CancelRequested
    | RunCancelled
    | RunTakenOver
    | CleanUpStarted
    | StepStarted
    | StepWaiting
    | StepCompleted
    | AttemptFailed
    | StepFailed
    | StepInterrupted
    | StepCancelled
    | StepSkipped
    | StepOutputSet
    | ValueRecorded
    | VariableSet
    | ProgressReported
    | PauseRequested
    | SignalReceived
    | SignalSetAside
    | UnknownFact
)


class Event(NamedTuple):
    """A fact about one run: `seq` counts from 1 without gaps, `at` is in microseconds UTC and never goes back."""

    seq: int
    at: int
    fact: Fact

    @property
    def type(self) -> str:
        """Return the stable name of the kind, as in `step_completed`."""
        return self.fact.type if isinstance(self.fact, UnknownFact) else KIND_OF[self.fact.__class__].type

    @property
    def step(self) -> str | None:
        """Return the step this is about, if any."""
        return getattr(self.fact, "step", None)


class Effect(StrEnum):
    """What the events of a kind do to the step they name."""

    NONE = "none"
    """Nothing: the event is about the run, and may name a step without moving it."""

    BEGINS = "begins"
    """The step runs or waits: an attempt has begun."""

    ENDS_ATTEMPT = "ends_attempt"
    """The attempt has ended without an outcome for the step; another one follows."""

    SETTLES = "settles"
    """The step has an outcome that is no success."""

    SUCCEEDS = "succeeds"
    """The step has an output, which the program gets; this happens once in a generation."""


class Kind(NamedTuple):
    """One class of facts: how it is written, and what holds of every event of it.

    Nothing but `format` has a default, so that whoever adds a kind has to decide each. The checks of a store
    (store/integrity.py) and forks (fork.py) go by what stands here; tests/kernel/journal/test_events.py holds the fold
    and docs/concepts.md to the same list."""

    type: str
    """The stable name, as in `step_completed`."""

    fact: Any
    """The class, a member of the union Fact."""

    payload: str | None
    """The field that a store keeps apart from the others, since it may be large: JSON text."""

    effect: Effect
    """What an event does to the step it names."""

    in_fork: bool
    """True if a fork takes the event over; False for what belongs to the life of the old run."""

    after_end: bool
    """True if the event may follow the end of a run: it begins the next life, amends the last one, or came too late."""

    format: int = 1
    """The format that is written now."""

    @property
    def moves_step(self) -> bool:
        """True if an event of this kind changes the step it names."""
        return self.effect is not Effect.NONE


KINDS: tuple[Kind, ...] = (
    Kind("run_created", RunCreated, "inputs", Effect.NONE, in_fork=False, after_end=False),
    Kind("run_resumed", RunResumed, "inputs", Effect.NONE, in_fork=False, after_end=True),
    Kind("run_paused", RunPaused, None, Effect.NONE, in_fork=False, after_end=False),
    Kind("run_completed", RunCompleted, "output", Effect.NONE, in_fork=False, after_end=False),
    Kind("run_failed", RunFailed, None, Effect.NONE, in_fork=False, after_end=False),
    Kind("cancel_requested", CancelRequested, None, Effect.NONE, in_fork=False, after_end=True),
    Kind("run_cancelled", RunCancelled, None, Effect.NONE, in_fork=False, after_end=False),
    Kind("run_taken_over", RunTakenOver, None, Effect.NONE, in_fork=False, after_end=False),
    Kind("clean_up_started", CleanUpStarted, None, Effect.NONE, in_fork=False, after_end=False),
    Kind("step_started", StepStarted, None, Effect.BEGINS, in_fork=True, after_end=False),
    Kind("step_waiting", StepWaiting, None, Effect.BEGINS, in_fork=True, after_end=False),
    Kind("step_completed", StepCompleted, "output", Effect.SUCCEEDS, in_fork=True, after_end=False),
    Kind("attempt_failed", AttemptFailed, None, Effect.ENDS_ATTEMPT, in_fork=True, after_end=False),
    Kind("step_failed", StepFailed, None, Effect.SETTLES, in_fork=True, after_end=False),
    Kind("step_interrupted", StepInterrupted, None, Effect.ENDS_ATTEMPT, in_fork=True, after_end=False),
    Kind("step_cancelled", StepCancelled, None, Effect.SETTLES, in_fork=True, after_end=False),
    Kind("step_skipped", StepSkipped, "output", Effect.SETTLES, in_fork=True, after_end=True),
    Kind("step_output_set", StepOutputSet, "output", Effect.SUCCEEDS, in_fork=True, after_end=True),
    Kind("value_recorded", ValueRecorded, "output", Effect.SUCCEEDS, in_fork=True, after_end=False),
    Kind("variable_set", VariableSet, "value", Effect.SUCCEEDS, in_fork=True, after_end=True),
    Kind("progress_reported", ProgressReported, None, Effect.NONE, in_fork=False, after_end=True),
    Kind("pause_requested", PauseRequested, None, Effect.NONE, in_fork=False, after_end=True),
    Kind("signal_received", SignalReceived, "payload", Effect.NONE, in_fork=True, after_end=True),
    Kind("signal_set_aside", SignalSetAside, None, Effect.NONE, in_fork=True, after_end=False),
)

KIND_OF: dict[type[Any], Kind] = {kind.fact: kind for kind in KINDS}
_BY_TYPE: dict[str, Kind] = {kind.type: kind for kind in KINDS}

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTS: dict[tuple[str, int], Upcast] = {}
"""(type, format) → a pure function from a body of that format to one of the next. Empty while every format is 1."""


class _Layout(NamedTuple):
    """A kind as `encode` needs it, which runs twice per step: the fields of the body that are always written, and those
    that are left out while they hold their default. Fields are (name, position in the fact)."""

    type: str
    format: int
    payload: int | None
    always: tuple[tuple[str, int], ...]
    unless_default: tuple[tuple[str, int, Any], ...]


def _layout(kind: Kind) -> _Layout:
    fields, defaults = kind.fact._fields, kind.fact._field_defaults
    positions = [(name, index) for index, name in enumerate(fields) if name != kind.payload]
    return _Layout(
        kind.type,
        kind.format,
        None if kind.payload is None else fields.index(kind.payload),
        tuple((name, index) for name, index in positions if name not in defaults),
        tuple((name, index, defaults[name]) for name, index in positions if name in defaults),
    )


_new = tuple.__new__  # what EventRow(…) or Event(…) comes to, in half the time
_FIRST_ATTEMPT = StepStarted("step")[1:4]
_PLAIN_TYPES = ("step_completed", "step_started")
_PLAIN_BODY = re.compile(r'\{"step":"([^"\\\x00-\x1f]*)"(?:,"digest":"([0-9A-Za-z]*)")?\}')
"""What `row_of` writes of nearly all events, and `decode` reads without asking what else JSON might say."""

_LAYOUTS: dict[type[Any], _Layout] = {kind.fact: _layout(kind) for kind in KINDS}


def encode(event: Event) -> EventRow:
    """Return the row of an event. Fields that hold their default are left out."""
    return row_of(*event)


def row_of(seq: int, at: int, fact: Fact) -> EventRow:
    """`encode` for an event in parts, as one is while it is recorded."""
    if fact.__class__ is StepCompleted and fact[2] is None and not fact[3]:
        # Nearly all events are these two in their plain form. A key holds nothing that JSON would escape (keys.py),
        # and neither do letters and digits.
        return _new(EventRow, (seq, at, "step_completed", 1, f'{{"step":"{fact[0]}"}}', fact[1]))
    if fact.__class__ is StepStarted and fact[1:4] == _FIRST_ATTEMPT and (fact[4] is None or fact[4].isalnum()):
        digest = "" if fact[4] is None else f',"digest":"{fact[4]}"'
        return _new(EventRow, (seq, at, "step_started", 1, f'{{"step":"{fact[0]}"{digest}}}', None))
    type_, format, payload, always, unless_default = _LAYOUTS[fact.__class__]
    import flujo.kernel.json_core as json_core  # here, as below, because a store is listed without it

    body: dict[str, Any] = {name: fact[index] for name, index in always}
    for name, index, default in unless_default:
        if (value := fact[index]) != default:
            body[name] = value
    return EventRow(
        seq,
        at,
        type_,
        format,
        json_core.to_json(body).decode(),
        None if payload is None else cast("str | None", fact[payload]),
    )


def decode(row: EventRow) -> Event:
    """Return the event of a row, whatever format it was written in; raises UnknownEventError."""
    seq, at, type_, format_, text, payload = row
    if format_ == 1 and type_ in _PLAIN_TYPES and (plain := _PLAIN_BODY.fullmatch(text)) is not None:
        key, digest = plain.groups()
        if type_ == "step_started":
            return _new(Event, (seq, at, _new(StepStarted, (key, *_FIRST_ATTEMPT, digest))))
        if digest is None:
            return _new(Event, (seq, at, _new(StepCompleted, (key, payload, None, False))))
    kind = _BY_TYPE.get(row.type)
    if kind is None or row.format > kind.format:
        raise UnknownEventError(row.type, row.format)
    import flujo.kernel.json_core as json_core

    body = json_core.from_json(row.body, cache_strings="keys")
    if row.format < kind.format:
        for format in range(row.format, kind.format):
            body = UPCASTS[row.type, format](body)
    if kind.payload is not None:
        body[kind.payload] = row.payload
    return _new(Event, (row.seq, row.at, kind.fact(**body)))


def to_json_object(run_id: str, event: Event) -> dict[str, Any]:
    """Return the event as users see it in JSON: run_id, seq, at (ISO 8601), type, then the fact's own fields, payload
    decoded. The `type` of an error is `error_type` here, since `type` is the kind of event."""
    import flujo.kernel.json_core as json_core
    from flujo.kernel.durations import format_instant

    shown: dict[str, Any] = {"run_id": run_id, "seq": event.seq, "at": format_instant(event.at), "type": event.type}
    if isinstance(event.fact, UnknownFact):
        return shown
    kind = KIND_OF[event.fact.__class__]
    for name, value in event.fact._asdict().items():
        if name == kind.payload:
            shown[name] = None if value is None else json_core.from_json(value)
        elif name.endswith("_at") or name == "until":
            shown[name] = format_instant(value)
        elif value is not None:
            shown["error_type" if name == "type" else name] = value
    return shown
