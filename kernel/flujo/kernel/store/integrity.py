"""Whether what a store holds makes sense, by rules that are the same for every backend.

    examine   the journal of one run and its summary; pure
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
from pydantic_core import from_json

from flujo.kernel.errors import (
    CorruptStoreError,
    RunNotFoundError,
    RunReplacedError,
    UnknownEventError,
    WorkflowNotFoundError,
)
from flujo.kernel.journal import events
from flujo.kernel.journal.events import KIND_OF, Event, EventRow, Fact
from flujo.kernel.journal.fold import fold
from flujo.kernel.journal.requests import REQUEST_KINDS
from flujo.kernel.journal.state import FINAL, StepStatus, WorkflowState
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
        """The finding as users see it in JSON."""
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
        """Whether nothing is damaged."""
        return self.damaged == 0

    def to_dict(self) -> dict[str, Any]:
        """The report as users see it in JSON."""
        return {**self._asdict(), "findings": [finding.to_dict() for finding in self.findings]}


# ---------------------------------------------------------------------------------------------------------------
# One run
# ---------------------------------------------------------------------------------------------------------------


def examine(summary: RunSummary, rows: Iterable[EventRow]) -> Sequence[str]:
    """Everything that is wrong with a run, in sentences; nothing for a sound one. Raises UnknownEventError."""
    examination = Examination(summary.run_id, summary.uid)
    for row in rows:
        examination.follow(row)
    return examination.conclude(summary)


class Examination:
    """The journal of one run, event by event. What follows an event that makes no sense is not looked at."""

    def __init__(self, run_id: str, uid: str) -> None:
        self.state = WorkflowState(run_id=run_id, uid=uid)
        self.is_over = False
        self._problems: list[str] = []
        self._lives: dict[str, Life] = {}

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
            self._live(event.fact)
            fold(self.state, event)
        except (LookupError, TypeError, ValueError, AttributeError, CorruptStoreError) as error:
            self._give_up(f"event {row.seq} ({row.type}) makes no sense: {_short(error)}")

    def conclude(self, summary: RunSummary) -> Sequence[str]:
        """All problems, once the last event was followed; `summary` is what is stored beside the journal."""
        if self.is_over:
            return self._problems
        told = summarize(self.state, summary.owner, summary.token)
        # Whoever has claimed a run that rests, to resume it, may have died before it did.
        told = told._replace(owner=summary.owner)
        for name, stored, expected in zip(RunSummary._fields, summary, told, strict=True):
            if stored != expected:
                self._problems.append(f"its summary says {name} {stored!r}, its journal {expected!r}")
        self._problems += [f"step {name!r} waits for nothing" for name in waiting_in_vain(self.state)]
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
        if state.status in FINAL and isinstance(fact, _ONLY_WHILE_LIVE):
            yield f"it happens in a run that is {state.status} already"

    def _live(self, fact: Fact) -> None:
        if isinstance(fact, events.RunResumed):
            for name in fact.reset:
                self._lives[name] = Life(self._lives[name].generation + 1)
        elif (step := getattr(fact, "step", None)) is not None and not isinstance(fact, _ABOUT_A_STEP):
            self._lives[step], problem = live(self._lives.get(step), fact)
            if problem is not None:
                self._problems.append(f"step {step!r}: {problem}")


class Life(NamedTuple):
    """What a journal says of one generation of a step. `outcome` is the kind of the event that has settled it."""

    generation: int
    attempts: int = 0
    outcome: str | None = None


_SUCCESSES = ("step_completed", "step_output_set", "value_recorded", "variable_set")

_ABOUT_A_STEP = (events.ProgressReported, events.RunPaused, events.RunFailed)
"""Facts that name a step and change nothing about it."""

_ONLY_WHILE_LIVE = (
    events.RunCompleted,
    events.RunFailed,
    events.RunCancelled,
    events.RunPaused,
    events.StepStarted,
    events.StepWaiting,
    events.StepCompleted,
    events.AttemptFailed,
    events.StepFailed,
    events.StepInterrupted,
    events.StepCancelled,
    events.ValueRecorded,
)


def live(before: Life | None, fact: Fact) -> tuple[Life, str | None]:
    """A step's life once a fact about it is recorded, and what contradicts the facts before, if anything does."""
    type = KIND_OF[fact.__class__].type
    generation: int | None = getattr(fact, "generation", None)
    if generation is None:
        if before is None:
            return Life(1, outcome=type), f"{type} comes before anything has begun it"
        life = before
    elif before is not None and generation not in (before.generation, before.generation + 1):
        return Life(generation), f"generation {generation} follows generation {before.generation}"
    else:
        life = before if before is not None and before.generation == generation else Life(generation)
    match fact:
        case events.StepStarted():
            after = life._replace(attempts=fact.attempt)
            if fact.attempt != life.attempts + 1 and life.outcome is None:
                return after, f"attempt {fact.attempt} follows attempt {life.attempts}"
        case events.StepWaiting():
            after = life._replace(attempts=life.attempts + (fact.child is not None))  # each attempt of a child waits
        case events.AttemptFailed() | events.StepInterrupted():
            after = life
            if fact.attempt != life.attempts and life.outcome is None:
                return after, f"{type} of attempt {fact.attempt}, and the last one was {life.attempts}"
        case events.StepSkipped() | events.StepOutputSet():
            # By somebody's hand, whatever has become of the step, as long as it has not succeeded.
            problem = f"{type} after {life.outcome}" if life.outcome in _SUCCESSES else None
            return life._replace(outcome=type), problem
        case _:
            after = life._replace(outcome=type)
    return after, None if life.outcome is None else f"{type} after {life.outcome}"


def waiting_in_vain(state: WorkflowState) -> Sequence[str]:
    """The steps of a run that nothing will ever wake: each that waits needs an instant, a signal or a child."""
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


def examine_request(posted: Posted) -> tuple[Severity, str] | None:
    """What is wrong with a request in an inbox, None if nothing is."""
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
        self._definitions: dict[str, bool] = {}  # digest → whether it is there
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
        if summary.definition is not None and not await self._has_definition(summary.definition):
            self.note_damage(run_id, f"its definition {summary.definition} is not in the store")
        for posted in await self._backend.requests(run_id, summary.uid):
            if (wrong := examine_request(posted)) is not None:
                severity, text = wrong
                upgrade = severity is Severity.NEWER
                self._note(severity, run_id, text, ["pip install --upgrade flujoctl" if upgrade else _delete(run_id)])
        self._interrupted += await is_interrupted(self._backend, summary)
        if summary.parent_run_id is not None:
            await self._look_for_parent(summary, summary.parent_run_id)

    async def _examined(self, summary: RunSummary) -> Sequence[str]:
        run_id, uid = summary.run_id, summary.uid
        examination = Examination(run_id, uid)
        seq = 0
        while seq < summary.seq and not examination.is_over:
            rows = await self._backend.read_events(run_id, uid, seq, min(READ_EVENTS, summary.seq - seq))
            for row in rows:
                examination.follow(row)
            if not rows or rows[-1].seq <= seq:
                break
            seq = rows[-1].seq
            self._events += len(rows)
        problems = list(examination.conclude(summary))
        if await self._backend.read_events(run_id, uid, summary.seq, 1):
            now = await self._backend.load(run_id)  # it has gone on meanwhile, or else it is wrong
            if (now.uid, now.seq) == (uid, summary.seq):
                problems.append(f"its journal goes on behind event {summary.seq}, the last by its summary")
        return problems

    async def _has_definition(self, digest: str) -> bool:
        if digest not in self._definitions:
            try:
                await self._backend.get_definition(digest)
                self._definitions[digest] = True
            except (WorkflowNotFoundError, CorruptStoreError):
                self._definitions[digest] = False
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
