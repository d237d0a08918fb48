"""What other processes can ask of a run, and how a repeated request is known: by the run's own journal.

A request that another process leaves in the inbox of a run is one of `REQUEST_KINDS`, and its owner records it as one
fact. The table is the only place that says what such a request holds: the process that asks writes it by `to_body`, the
owner reads it by `read`, and a check of the store reads it likewise.

Whoever asks something of a run may give the request an id. The fact that records it carries that id and a digest of
what was asked, its `Fingerprint`, and the fold keeps those of a run (`WorkflowState.requests`). So a caller who has
lost the answer asks again: a repeat records nothing and gets the first answer, as far as the journal tells it.

    REQUEST_KINDS     what can be asked of a run through its inbox; `request_kind` finds the kind of a fact
    is_overruled      whether a resume makes a request void
    fingerprint       of a call; none without an id
    is_repeat         whether a run has recorded this very request
    id_for            the run that a request makes, if the caller names none
    cancel_answer     what a repeated cancel is told; pause_answer likewise

What changed nothing, such as the cancel of a run that is over, is not recorded and not remembered.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from flujo.kernel.errors import InvalidNameError, InvalidValueError, RequestReusedError
from flujo.kernel.json_core import from_json, to_json
from flujo.kernel.outcomes import CancelOutcome, PauseOutcome

from .events import KIND_OF, CancelRequested, Fact, PauseRequested, SignalReceived, VariableSet
from .state import RunStatus, WorkflowState

REQUEST_ID = re.compile(r"[!-~]{1,100}")

_NAMESPACE = uuid.UUID("6d5a7b0e-4a39-4f6e-9a52-0c3f7d1e8b64")


RequestFact = SignalReceived | CancelRequested | PauseRequested | VariableSet
"""What a run records of a request to it. A new kind is a member of this union and a line in `REQUEST_KINDS`."""


class Reaction(StrEnum):
    """What a run in memory does about a request that it has recorded."""

    NONE = "none"
    """Nothing: what the fold makes of the fact is all, or the run looks at its own state (a pause)."""

    SIGNAL = "signal"
    """Whoever waits for a signal of that name takes it."""

    STOP = "stop"
    """The program is stopped."""


class RequestKind(NamedTuple):
    """One kind of request in an inbox: how it is written down, and what becomes of it.

    Nothing has a default, so that whoever adds a kind has to decide each. All fields of a request are text; those that
    are `optional` may be null or absent. Each may also hold `request`, its fingerprint, and `principal`, who asked.
    """

    name: str
    """The stable name."""

    fact: type[RequestFact]
    """The fact that records it."""

    required: tuple[str, ...]
    optional: tuple[str, ...]

    reaction: Reaction
    """What the run does beside recording it (`ownership/inbox.py`)."""

    overruled: bool
    """True if a later resume overrules the request: it asked for the end of what is over then."""

    def to_body(self, fact: RequestFact) -> dict[str, Any]:
        """Return the JSON object that stands in an inbox for this fact; earlier releases want every field of it."""
        body = {name: getattr(fact, name) for name in (*self.required, *self.optional)}
        if fact.request is not None:
            body["request"] = list(fact.request)
        if fact.principal is not None:
            body["principal"] = fact.principal
        return body

    def read(self, body: str) -> RequestFact:
        """Return the fact that records a request; raises ValueError for a text that is not one of this kind."""
        found = from_json(body)
        if not isinstance(found, Mapping):
            raise ValueError(f"a {self.name} request is a JSON object")
        if any(not isinstance(found.get(name), str) for name in self.required):
            raise ValueError(f"a {self.name} request needs {' and '.join(self.required)}")
        given: dict[str, Any] = {name: found.get(name) for name in (*self.required, *self.optional, "principal")}
        request = found.get("request")  # what an earlier release has left has none
        if not _is_text_or_none(given.values()) or not _is_fingerprint_or_none(request):
            raise ValueError(f"a {self.name} request holds text only")
        if (payload := given.get(KIND_OF[self.fact].payload or "")) is not None:
            from_json(payload, allow_inf_nan=False)
        return self.fact(**given, request=request)


def _is_text_or_none(values: Iterable[object]) -> bool:
    return all(value is None or isinstance(value, str) for value in values)


def _is_fingerprint_or_none(request: object) -> bool:
    return request is None or (
        isinstance(request, list) and len(request) == 2 and all(isinstance(part, str) for part in request)
    )


REQUEST_KINDS: Mapping[str, RequestKind] = {
    kind.name: kind
    for kind in (
        RequestKind("signal", SignalReceived, ("name", "payload"), ("by",), Reaction.SIGNAL, overruled=False),
        RequestKind("cancel", CancelRequested, (), ("reason", "by"), Reaction.STOP, overruled=True),
        RequestKind("pause", PauseRequested, (), ("reason", "by"), Reaction.NONE, overruled=True),
        RequestKind("set_variable", VariableSet, ("name", "value"), ("reason", "by"), Reaction.NONE, overruled=False),
    )
}
_BY_FACT = {kind.fact: kind for kind in REQUEST_KINDS.values()}


def request_kind(fact: RequestFact) -> RequestKind:
    """Return the kind of request that a fact records."""
    return _BY_FACT[fact.__class__]


def is_overruled(kind: str) -> bool:
    """True if a resume overrules the earlier requests of the kind of this name; one of a newer release stays."""
    return kind in REQUEST_KINDS and REQUEST_KINDS[kind].overruled


class Fingerprint(NamedTuple):
    """What a fact carries of the request it records."""

    id: str
    digest: str  # of the kind of request and everything in it


def check_request_id(request_id: str | None) -> str | None:
    """Return the id itself, None for none; raises InvalidNameError."""
    if request_id is None:
        return None
    if not isinstance(request_id, str) or not REQUEST_ID.fullmatch(request_id):
        raise InvalidNameError("request id", request_id, "1 to 100 printable ASCII characters without spaces")
    return request_id


def fingerprint(request_id: str | None, kind: str, **body: Any) -> Fingerprint | None:
    """Return the fingerprint of a request; None for one without an id. What is None counts as not said, and neither
    the order of keys nor that of a set matters.

    Raises InvalidNameError, and InvalidValueError for what has no JSON form at all."""
    if request_id is None:
        return None
    check_request_id(request_id)
    said = {name: value for name, value in body.items() if value is not None}
    try:
        plain = from_json(to_json([kind, said], fallback=repr))
    except ValueError as error:  # a cycle, or text that UTF-8 cannot hold
        raise InvalidValueError("$", str(error)) from error
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return Fingerprint(request_id, digest[:32])


def is_repeat(state: WorkflowState, request: Sequence[str] | None) -> bool:
    """True if a run has recorded this very request; raises RequestReusedError if it was another one under that id."""
    if request is None:
        return False
    request_id, digest = request
    recorded = state.requests.get(request_id)
    if recorded is not None and recorded != digest:
        raise RequestReusedError(state.run_id, request_id)
    return recorded is not None


def id_for(request: Fingerprint, forked_from: str = "") -> str:
    """Return the id of the run that a request makes by a start, or by a fork of another run: the same whatever it asks
    for."""
    return str(uuid.uuid5(_NAMESPACE, f"{forked_from} {request.id}"))  # no id holds a space


def without_request(fact: Fact) -> Fact:
    """Return a fact as a fork takes it over: nobody has asked the new run for what the old one was asked."""
    return fact._replace(request=None) if getattr(fact, "request", None) is not None else fact  # type: ignore[call-arg]


def cancel_answer(state: WorkflowState) -> CancelOutcome:
    """Return the answer to a repeated cancel: that the run stops, or how it has ended."""
    if state.status is RunStatus.CANCELLED:
        return CancelOutcome.CANCELLED
    return CancelOutcome.ALREADY_FINISHED if state.is_final else CancelOutcome.REQUESTED


def pause_answer(state: WorkflowState) -> PauseOutcome:
    """Return the answer to a repeated pause: that the run is paused, or else that its owner was told."""
    return PauseOutcome.PAUSED if state.status is RunStatus.PAUSED else PauseOutcome.REQUESTED
