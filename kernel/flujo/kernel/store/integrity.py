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
from typing import Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError

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
from flujo.kernel.journal.state import FINAL, LIVE, RunStatus, StepState, StepStatus, WorkflowState
from flujo.kernel.journal.summaries import RunSummary, is_child, summarize
from flujo.kernel.json_core import from_json

from .backend import StateBackend
from .listing import is_interrupted
from .reading import READ_EVENTS
from .records import FoundRun, Posted, RunFilter, StoredRun

MOST_FINDINGS = 1_000
"""How many findings a report lists; all are counted."""

EVERY_RUN = RunFilter()

_PAGE = 200

_new = tuple.__new__  # what StepHistory(…) comes to, in half the time

# Reading a member off its enum is a slow lookup, and each event is compared with some.
_NONE, _BEGINS, _SETTLES, _SUCCEEDS = Effect.NONE, Effect.BEGINS, Effect.SETTLES, Effect.SUCCEEDS

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
            fact = event.fact
            kind = KIND_OF[fact.__class__]
            _require_types(fact)
            if row.payload is not None:
                from_json(row.payload, allow_inf_nan=False)
            for problem in contradictions(self.state, event, kind):
                self._problems.append(f"event {row.seq} ({row.type}): {problem}")
            self._follow_step(fact, kind)
            fold(self.state, event)
        except (LookupError, TypeError, ValueError, AttributeError, CorruptStoreError) as error:
            self._give_up(f"event {row.seq} ({row.type}) is malformed: {_short(error)}")

    def conclude(self, summary: RunSummary) -> Sequence[str]:
        """Return all problems, once the last event was followed; `summary` is what is stored beside the journal."""
        if self.is_over:
            return self._problems
        told = summarize(self.state, summary.owner, summary.token)
        if (
            told.owner != summary.owner
        ):  # whoever has claimed a run that rests, to resume it, may have died before it did
            told = told._replace(owner=summary.owner)
        if self.state.timeout_seconds is not None and self.state.status is RunStatus.WAITING:
            # Earlier releases did not find the end of a run's allowed time by the summary.
            told = told._replace(wake_at=summary.wake_at if summary.wake_at == self.state.wake_at else told.wake_at)
        if told != summary:
            for name, stored, expected in zip(RunSummary._fields, summary, told, strict=True):
                if stored != expected:
                    self._problems.append(f"its summary says {name} {stored!r}, its journal {expected!r}")
        self._problems += [f"step {name!r} waits for nothing" for name in unwakeable_steps(self.state)]
        return self._problems

    def _give_up(self, problem: str) -> None:
        self._problems.append(problem)
        self.is_over = True

    def _follow_step(self, fact: Fact, kind: Kind) -> None:
        if kind.effect is not _NONE:
            step: str | None = getattr(fact, "step", None)
            if step is not None:
                self._histories[step], problem = next_history(self._histories.get(step), fact)
                if problem is not None:
                    self._problems.append(f"step {step!r}: {problem}")
        elif isinstance(fact, events.RunResumed):
            for name in fact.reset:
                self._histories[name] = StepHistory(self._histories[name].generation + 1)


def contradictions(state: WorkflowState, event: Event, kind: Kind) -> Sequence[str]:
    """What an event contradicts in the state that it follows."""
    found: list[str] = []
    if event.at < state.updated_at:
        found.append("it is older than the event before it")
    if (kind.fact is events.RunCreated) != (event.seq == 1):
        found.append("a run is created by its first event, and by no other")
    if not kind.after_end and state.status in FINAL:
        found.append(f"it happens in a run that is {state.status} already")
    return found


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
    elif before is None or generation == before.generation + 1:
        history = StepHistory(generation)
    elif generation == before.generation:
        history = before
    else:
        return StepHistory(generation), f"generation {generation} follows generation {before.generation}"
    if kind.effect is _SUCCEEDS and history.outcome is None:  # so do most
        return _new(StepHistory, (history.generation, history.attempts, kind)), None
    return _moved(history, fact, kind), _contradiction(history, fact, kind)


def _moved(history: StepHistory, fact: Fact, kind: Kind) -> StepHistory:
    effect = kind.effect
    if effect is _SUCCEEDS or effect is _SETTLES:
        return StepHistory(history.generation, history.attempts, kind)
    if effect is _BEGINS:
        if isinstance(fact, events.StepStarted):
            return _new(StepHistory, (history.generation, fact.attempt, history.outcome))
        if isinstance(fact, events.StepWaiting) and fact.child is not None:
            return history._replace(attempts=history.attempts + 1)  # each attempt of a child waits
    return history


def _contradiction(history: StepHistory, fact: Fact, kind: Kind) -> str | None:
    if history.outcome is not None:
        # By a person's hand a step may be settled whatever has become of it, as long as it has not succeeded.
        by_hand = isinstance(fact, events.StepSkipped | events.StepOutputSet)
        if not by_hand or history.outcome.effect is _SUCCEEDS:
            return f"{kind.type} after {history.outcome.type}"
    elif isinstance(fact, events.StepStarted) and fact.attempt != history.attempts + 1:
        return f"attempt {fact.attempt} follows attempt {history.attempts}"
    elif isinstance(fact, events.AttemptFailed | events.StepInterrupted) and fact.attempt != history.attempts:
        return f"{kind.type} of attempt {fact.attempt}, and the last one was {history.attempts}"
    return None


def unwakeable_steps(state: WorkflowState) -> Sequence[str]:
    """Return the steps of a run that nothing will ever wake: each that waits needs an instant, a signal, a
    child or, as a loop, its items."""
    return [
        step.name
        for step in state.open_steps()
        if (step.status is StepStatus.RETRYING and step.next_attempt_at is None)
        or (step.status is StepStatus.WAITING and not step.is_open_loop and _waits_for_nothing(step))
    ]


def _waits_for_nothing(step: StepState) -> bool:
    return step.until is None and step.signal is None and step.child is None


def _require_types(fact: Fact) -> None:
    """Raise ValidationError, which is a ValueError, for a field of a fact that holds what it cannot."""
    kind = fact.__class__
    accepted = _ACCEPTED.setdefault(kind, set())
    types = tuple(map(type, fact))
    if types in accepted or (shapes := tuple(map(_shape, fact))) in accepted:
        return
    if (adapter := _ADAPTERS.get(kind)) is None:
        adapter = _ADAPTERS[kind] = TypeAdapter(kind, config=ConfigDict(strict=True))
    adapter.validate_python(fact._asdict())
    if len(accepted) < _MOST_ACCEPTED:
        accepted.add(shapes)


def _shape(value: Any) -> object:
    """What a declared type of JSON goes by: the class of a value, and of all that is in it."""
    if isinstance(value, dict):
        return dict, frozenset(map(_shape, value)), frozenset(map(_shape, value.values()))
    if isinstance(value, list | tuple):
        return value.__class__, frozenset(map(_shape, value))
    return type(value)


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}
"""Made when the first fact of a kind is met: all of them together take as long as an import."""

_ACCEPTED: dict[type[Any], set[object]] = {}
"""By kind, the shapes of the fields of a fact that pydantic has accepted; it need not see them again."""

_MOST_ACCEPTED = 1_000


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

    Holds a few hundred runs in memory at once, a MiB of them, and a longer journal part by part. Runs that move or go
    meanwhile are judged as they were at one moment, or not at all. Raises StoreError when the disk cannot be read."""
    checking = _Checking(backend)
    reads_every_run = filter == EVERY_RUN
    for problem in await (backend.integrity_beside_runs() if reads_every_run else backend.integrity()):
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
            left = list(found.runs)
            while left:
                runs = await self._backend.read_runs([run.run_id for run in left], READ_EVENTS)
                for listed, run in zip(left, runs, strict=False):
                    await self.look_at(listed, run)
                    progress(self.runs, max(total, self.runs))
                del left[: len(runs)]
            if (page := found.next) is None:
                return

    async def look_at(self, listed: RunSummary, run: FoundRun) -> None:
        self.runs += 1
        if listed.run_id in self.named:
            return
        try:
            if not isinstance(run, StoredRun):
                raise run
            if run.summary.uid == listed.uid:
                await self._look_at(run)
        except (RunNotFoundError, RunReplacedError):
            pass  # somebody has deleted it meanwhile
        except CorruptStoreError as error:
            self.note_damage(listed.run_id, _told(error), error.hints)
        except UnknownEventError as error:
            self._note(Severity.NEWER, listed.run_id, str(error), error.hints)

    async def _look_at(self, run: StoredRun) -> None:
        summary, run_id = run.summary, run.summary.run_id
        verification = Verification(run_id, summary.uid)
        goes_on = self._follow(verification, summary, run.events)
        if len(run.events) >= READ_EVENTS and not goes_on:
            goes_on = await self._follow_rest(verification, summary)
        for problem in verification.conclude(summary):
            self.note_damage(run_id, problem)
        if goes_on:
            now = await self._backend.load(run_id)  # it has gone on meanwhile, or else it is wrong
            if (now.uid, now.seq) == (summary.uid, summary.seq):
                text = f"its journal goes on behind event {summary.seq}, the last by its summary"
                self.note_damage(run_id, text)
        if summary.definition is not None and (wrong := await self._problem_of(summary.definition)) is not None:
            self.note_damage(run_id, f"its definition {summary.definition} {wrong}")
        for posted in run.requests:
            if (verdict := verify_request(posted)) is not None:
                severity, text = verdict
                upgrade = severity is Severity.NEWER
                self._note(severity, run_id, text, ["pip install --upgrade flujoctl" if upgrade else _delete(run_id)])
        if summary.status in LIVE:
            self._interrupted += await is_interrupted(self._backend, summary)
        if summary.parent_run_id is not None:
            await self._look_for_parent(summary, summary.parent_run_id)

    def _follow(self, verification: Verification, summary: RunSummary, rows: Sequence[EventRow]) -> bool:
        """Look at these rows of a run; True if there are some behind the last one of its summary."""
        for row in rows:
            if row.seq > summary.seq:
                return True
            verification.follow(row)
            self._events += 1
        return False

    async def _follow_rest(self, verification: Verification, summary: RunSummary) -> bool:
        """Look at what follows in a journal that is longer than what was read at once; True as `_follow`."""
        seq = READ_EVENTS
        while not verification.is_over:
            wanted = min(READ_EVENTS, summary.seq - seq + 1)  # one more than there ought to be
            rows = await self._backend.read_events(summary.run_id, summary.uid, seq, wanted)
            if self._follow(verification, summary, rows):
                return True
            if len(rows) < wanted or rows[-1].seq <= seq:
                break
            seq = rows[-1].seq
        return False

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
