"""Check what a store holds, by rules that are the same for every backend.

    verify    the journal of one run and its summary; pure
    check     a whole store: what the backend says of itself, then run by run, over the port alone

The rules are those of docs/guarantees.md: events are numbered 1, 2, 3 … and their instants do not go back; each one can
be read; attempts follow each other; a step succeeds once per generation; nothing happens in a run that has ended; a
step that waits, waits for something; and the journal adds up to the summary that list and the scheduler read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, assert_never

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from flujo.kernel.errors import (
    CorruptStoreError,
    RunNotFoundError,
    RunReplacedError,
    UnknownEventError,
    WorkflowNotFoundError,
)
from flujo.kernel.journal import events
from flujo.kernel.journal.events import KIND_OF, Effect, Event, EventRow, Fact, Kind
from flujo.kernel.journal.fold import fold
from flujo.kernel.journal.requests import REQUEST_KINDS
from flujo.kernel.journal.state import FINAL, RunStatus, StepStatus, WorkflowState
from flujo.kernel.journal.summaries import RunSummary, is_child, summarize

from .backend import Posted, RunFilter, StateBackend
from .reading import READ_EVENTS, is_interrupted

MOST_FINDINGS = 1_000
"""How many findings a report lists; all are counted."""

EVERY_RUN = RunFilter()

_PAGE = 200

Progress = Callable[[int, int], None]
"""Called with how many runs are done, and how many there were at the beginning."""


class Severity(StrEnum):
    """What a finding means."""

    DAMAGED = "damaged"
    """What is stored contradicts itself, or cannot be read."""

    NEWER = "newer"
    """A newer release has written it. It is sound as far as this one can tell, and read-only here."""


class Finding(NamedTuple):
    """Something in a store that this release cannot work with, and what to type about it."""

    severity: Severity
    run_id: str | None  # None for the store as a whole
    text: str
    commands: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as users see it in JSON."""
        return {**self._asdict(), "severity": self.severity.value, "commands": list(self.commands)}


class Report(NamedTuple):
    """What a check has found."""

    runs: int
    """How many were looked at."""

    events: int

    interrupted: int
    """Runs that ought to go on and that nobody runs: no damage, and a resume away from going on."""

    orphans: int
    """Runs that another one has started which is not there any more: no damage either."""

    damaged: int
    """How many findings are damage."""

    newer: int
    """How many findings are about what a newer release has written."""

    findings: Sequence[Finding]
    """The first thousand of them."""

    @property
    def is_sound(self) -> bool:
        """True if nothing is damaged."""
        return self.damaged == 0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as users see it in JSON."""
        return {**self._asdict(), "findings": [finding.to_dict() for finding in self.findings]}


# ---------------------------------------------------------------------------------------------------------------
# One run
# ---------------------------------------------------------------------------------------------------------------


def verify(summary: RunSummary, rows: Iterable[EventRow]) -> Sequence[str]:
    """Everything that is wrong with a run, in sentences; nothing for a sound one. Raises UnknownEventError."""
    verification = Verification(summary.run_id, summary.uid)
    for row in rows:
        verification.follow(row)
    return verification.conclude(summary)


class Verification:
    """Verifies the journal of one run, event by event, and skips what follows a malformed event."""

    def __init__(self, run_id: str, uid: str) -> None:
        self.state = WorkflowState(run_id=run_id, uid=uid)
        self.is_over = False
        self._problems: list[str] = []
        self._histories: dict[str, StepHistory] = {}

    def follow(self, row: EventRow) -> None:
        """Look at the next event. Raises UnknownEventError."""
        if self.is_over:
            return
        if row.seq != self.state.seq + 1:
            self._give_up(f"event {row.seq} follows event {self.state.seq}")
            return
        try:
            event = events.decode(row)
            self._problems += [f"event {row.seq} ({row.type}): {each}" for each in self._contradictions(row, event)]
            self._follow_step(event.fact)
            fold(self.state, event)
        except (LookupError, TypeError, ValueError, AttributeError, CorruptStoreError) as error:
            self._give_up(f"event {row.seq} ({row.type}) is malformed: {_short(error)}")

    def conclude(self, summary: RunSummary) -> Sequence[str]:
        """Return all problems, once the last event was followed; `summary` is what is stored beside the journal."""
        if self.is_over:
            return self._problems
        told = summarize(self.state, summary.owner, summary.token)
        # Whoever has claimed a run that rests, to resume it, may have died before it did.
        told = told._replace(owner=summary.owner)
        if self.state.timeout_seconds is not None and self.state.status is RunStatus.WAITING:
            # Earlier releases did not find the end of a run's allowed time by the summary.
            told = told._replace(wake_at=summary.wake_at if summary.wake_at == self.state.wake_at else told.wake_at)
        for name, stored, expected in zip(RunSummary._fields, summary, told, strict=True):
            if stored != expected:
                self._problems.append(f"its summary says {name} {stored!r}, its journal {expected!r}")
        self._problems += [f"step {name!r} waits for nothing" for name in unwakeable_steps(self.state)]
        return self._problems

    def _give_up(self, problem: str) -> None:
        self._problems.append(problem)
        self.is_over = True

    def _contradictions(self, row: EventRow, event: Event) -> Iterable[str]:
        fact, state = event.fact, self.state
        _require_types(fact)
        if row.payload is not None:
            from_json(row.payload, allow_inf_nan=False)
        if event.at < state.updated_at:
            yield "it is older than the event before it"
        if isinstance(fact, events.RunCreated) != (event.seq == 1):
            yield "a run is created by its first event, and by no other"
        if state.status in FINAL and not KIND_OF[fact.__class__].after_end:
            yield f"it happens in a run that is {state.status} already"

    def _follow_step(self, fact: Fact) -> None:
        if isinstance(fact, events.RunResumed):
            for name in fact.reset:
                self._histories[name] = StepHistory(self._histories[name].generation + 1)
        elif (step := getattr(fact, "step", None)) is not None and KIND_OF[fact.__class__].moves_step:
            self._histories[step], problem = next_history(self._histories.get(step), fact)
            if problem is not None:
                self._problems.append(f"step {step!r}: {problem}")


class StepHistory(NamedTuple):
    """What a journal says of one generation of a step. `outcome` is the kind of the event that has settled it."""

    generation: int
    attempts: int = 0
    outcome: Kind | None = None


def next_history(before: StepHistory | None, fact: Fact) -> tuple[StepHistory, str | None]:
    """Return a step's history once a fact about it is recorded, and what in it contradicts the facts before, if any."""
    kind = KIND_OF[fact.__class__]
    generation: int | None = getattr(fact, "generation", None)
    if generation is None:
        if before is None:
            return StepHistory(1, outcome=kind), f"{kind.type} comes before anything has begun it"
        history = before
    elif before is not None and generation not in (before.generation, before.generation + 1):
        return StepHistory(generation), f"generation {generation} follows generation {before.generation}"
    else:
        history = before if before is not None and before.generation == generation else StepHistory(generation)
    return _moved(history, fact, kind), _contradiction(history, fact, kind)


def _moved(history: StepHistory, fact: Fact, kind: Kind) -> StepHistory:
    match kind.effect:
        case Effect.BEGINS if isinstance(fact, events.StepStarted):
            return history._replace(attempts=fact.attempt)
        case Effect.BEGINS if isinstance(fact, events.StepWaiting) and fact.child is not None:
            return history._replace(attempts=history.attempts + 1)  # each attempt of a child waits
        case Effect.NONE | Effect.BEGINS | Effect.ENDS_ATTEMPT:
            return history
        case Effect.SETTLES | Effect.SUCCEEDS:
            return history._replace(outcome=kind)
        case _:
            assert_never(kind.effect)


def _contradiction(history: StepHistory, fact: Fact, kind: Kind) -> str | None:
    if history.outcome is not None:
        # By a person's hand a step may be settled whatever has become of it, as long as it has not succeeded.
        by_hand = isinstance(fact, events.StepSkipped | events.StepOutputSet)
        if not by_hand or history.outcome.effect is Effect.SUCCEEDS:
            return f"{kind.type} after {history.outcome.type}"
    elif isinstance(fact, events.StepStarted) and fact.attempt != history.attempts + 1:
        return f"attempt {fact.attempt} follows attempt {history.attempts}"
    elif isinstance(fact, events.AttemptFailed | events.StepInterrupted) and fact.attempt != history.attempts:
        return f"{kind.type} of attempt {fact.attempt}, and the last one was {history.attempts}"
    return None


def unwakeable_steps(state: WorkflowState) -> Sequence[str]:
    """Return the steps of a run that nothing will ever wake: each that waits needs an instant, a signal or a child."""
    return [
        step.name
        for step in state.open_steps()
        if (step.status is StepStatus.RETRYING and step.next_attempt_at is None)
        or (step.status is StepStatus.WAITING and step.until is None and step.signal is None and step.child is None)
    ]


def _require_types(fact: Fact) -> None:
    """Raise ValidationError, which is a ValueError, for a field of a fact that holds what it cannot."""
    kind = fact.__class__
    if (adapter := _ADAPTERS.get(kind)) is None:
        adapter = _ADAPTERS[kind] = TypeAdapter(kind, config=ConfigDict(strict=True))
    adapter.validate_python(fact._asdict())


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}
"""Made when the first fact of a kind is met: all of them together take as long as an import."""


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return repr(error)


def verify_request(posted: Posted) -> tuple[Severity, str] | None:
    """Return what is wrong with a request in an inbox, None if nothing is."""
    if (kind := REQUEST_KINDS.get(posted.request.kind)) is None:
        unknown = f"request {posted.id} in its inbox is a {posted.request.kind!r}, which this release does not know"
        return Severity.NEWER, unknown
    try:
        kind.read(posted.request.body)
    except ValueError as error:
        return Severity.DAMAGED, f"request {posted.id} in its inbox is malformed: {error}"
    return None


# ---------------------------------------------------------------------------------------------------------------
# A store
# ---------------------------------------------------------------------------------------------------------------


async def check(
    backend: StateBackend, filter: RunFilter = EVERY_RUN, *, progress: Progress = lambda done, total: None
) -> Report:
    """Look at everything a store holds, or at the runs that match; `backend` may be open for reading only.

    Holds one run at a time in memory. Runs that move or go meanwhile are judged as they were at one moment, or not at
    all. Raises StoreError when the disk does not let the store be read."""
    checking = _Checking(backend)
    for problem in await backend.integrity():
        checking.note_damage(problem.run_id, problem.text)
        if problem.run_id is not None:
            checking.named.add(problem.run_id)
    try:
        await checking.walk(filter, progress)
    except CorruptStoreError as error:  # there is no list of runs to go by; what was found until then is worth telling
        checking.note_damage(None, _told(error), error.hints)
    return checking.report()


def _told(error: CorruptStoreError) -> str:
    return error.problem.removeprefix("the store is damaged: ")


class _Checking:
    """One check under way."""

    def __init__(self, backend: StateBackend) -> None:
        self._backend = backend
        self._definitions: dict[str, str | None] = {}  # digest → what is wrong with it
        self._findings: list[Finding] = []
        self._counts = dict.fromkeys(Severity, 0)
        self._events = self._interrupted = self._orphans = 0
        self.runs = 0
        self.named: set[str] = set()  # damaged by the word of the backend; saying it twice helps nobody

    def report(self) -> Report:
        return Report(
            self.runs,
            self._events,
            self._interrupted,
            self._orphans,
            self._counts[Severity.DAMAGED],
            self._counts[Severity.NEWER],
            self._findings,
        )

    async def walk(self, filter: RunFilter, progress: Progress) -> None:
        """Look at every run that matches."""
        total = await self._backend.count(filter)
        page: str | None = None
        while True:
            found = await self._backend.list(filter, limit=_PAGE, page=page)
            for listed in found.runs:
                await self.look_at(listed)
                progress(self.runs, max(total, self.runs))
            if (page := found.next) is None:
                return

    async def look_at(self, listed: RunSummary) -> None:
        self.runs += 1
        if listed.run_id in self.named:
            return
        try:
            summary = await self._backend.load(listed.run_id)
            if summary.uid == listed.uid:
                await self._look_at(summary)
        except (RunNotFoundError, RunReplacedError):
            pass  # somebody has deleted it meanwhile
        except CorruptStoreError as error:
            self.note_damage(listed.run_id, _told(error), error.hints)
        except UnknownEventError as error:
            self._note(Severity.NEWER, listed.run_id, str(error), error.hints)

    async def _look_at(self, summary: RunSummary) -> None:
        run_id = summary.run_id
        for problem in await self._examined(summary):
            self.note_damage(run_id, problem)
        if summary.definition is not None and (wrong := await self._problem_of(summary.definition)) is not None:
            self.note_damage(run_id, f"its definition {summary.definition} {wrong}")
        for posted in await self._backend.requests(run_id, summary.uid):
            if (verdict := verify_request(posted)) is not None:
                severity, text = verdict
                upgrade = severity is Severity.NEWER
                self._note(severity, run_id, text, ["pip install --upgrade flujoctl" if upgrade else _delete(run_id)])
        self._interrupted += await is_interrupted(self._backend, summary)
        if summary.parent_run_id is not None:
            await self._look_for_parent(summary, summary.parent_run_id)

    async def _examined(self, summary: RunSummary) -> Sequence[str]:
        run_id, uid = summary.run_id, summary.uid
        verification = Verification(run_id, uid)
        seq, goes_on = 0, False
        while not (goes_on or verification.is_over):
            wanted = min(READ_EVENTS, summary.seq - seq + 1)  # one more than there ought to be: most runs take one call
            rows = await self._backend.read_events(run_id, uid, seq, wanted)
            expected = [row for row in rows if row.seq <= summary.seq]
            for row in expected:
                verification.follow(row)
            self._events += len(expected)
            goes_on = len(expected) < len(rows)
            if len(rows) < wanted or rows[-1].seq <= seq:
                break
            seq = rows[-1].seq
        problems = list(verification.conclude(summary))
        if goes_on:
            now = await self._backend.load(run_id)  # it has gone on meanwhile, or else it is wrong
            if (now.uid, now.seq) == (uid, summary.seq):
                problems.append(f"its journal goes on behind event {summary.seq}, the last by its summary")
        return problems

    async def _problem_of(self, digest: str) -> str | None:
        """Return what is wrong with a stored definition; asked once for each."""
        if digest not in self._definitions:
            try:
                found = await self._backend.get_definition(digest)
                self._definitions[digest] = None if found.is_genuine else "has another text than its digest says"
            except (WorkflowNotFoundError, CorruptStoreError):
                self._definitions[digest] = "is not in the store"
        return self._definitions[digest]

    async def _look_for_parent(self, child: RunSummary, parent_run_id: str) -> None:
        if parent_run_id == child.run_id:
            self.note_damage(child.run_id, "it says that it has started itself")
            return
        try:
            parent = await self._backend.load(parent_run_id)
        except (RunNotFoundError, CorruptStoreError):
            self._orphans += 1
        else:
            self._orphans += not is_child(child, parent.run_id, parent.created_at)

    def note_damage(self, run_id: str | None, text: str, hints: Sequence[str] = ()) -> None:
        remedies = ["flujoctl db restore BACKUP --force  # put a backup in its place"]
        if run_id is not None:
            remedies.insert(0, _delete(run_id))
        self._note(Severity.DAMAGED, run_id, text, hints or remedies)

    def _note(self, severity: Severity, run_id: str | None, text: str, commands: Sequence[str]) -> None:
        self._counts[severity] += 1
        if len(self._findings) < MOST_FINDINGS:
            self._findings.append(Finding(severity, run_id, text, tuple(commands)))


def _delete(run_id: str) -> str:
    return f"flujoctl delete {run_id}  # forget the run"
