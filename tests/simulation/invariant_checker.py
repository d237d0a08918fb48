"""What must be true of an episode, looked at in the instant of every commit, claim, body and report.

The checker follows the journals by rules of its own, row by row as they become durable. Only the comparison of the
fold with the stored summary uses the kernel's code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from flujo.backends.memory import MemoryStore
from flujo.kernel import Event, events
from flujo.kernel.backend import Commit, Refused, RunSummary
from flujo.kernel.events import EventRow, Fact
from flujo.kernel.state import WorkflowState
from flujo.kernel.transitions import apply, summarize
from flujo.kernel.values import decode as decode_value

from .programs import Model, variables_of
from .world import Body, Life, Violation, decode

if TYPE_CHECKING:
    from .episode import EpisodeLife, Plan

FINAL = ("completed", "failed", "cancelled")

INVARIANTS = {
    1: "what was acknowledged is there after any crash: starts, signals, cancels, pauses",
    2: "a recorded result never changes, and a step succeeds once in a generation",
    3: "attempts come in a row, within their limit, and each is recorded before its body begins",
    4: "the events of a run are numbered without a gap, and their times do not go back",
    5: "an end is final, but for a recorded resume",
    6: "the result is that of an uninterrupted life",
    7: "a run has one owner; tokens only grow, and a stale owner commits nothing and reports nothing",
    8: "no run goes without being asked to, and none is created twice",
    9: "a watcher sees the stored events, each once and in order, and the end",
    10: "once faults stop, every run comes to its end, and nothing is left behind",
    11: "there are no more bodies than recorded attempts",
    12: "the same start is the same run, and another one is refused",
    13: "no sleep, backoff or timeout ends before its recorded instant",
    14: "nothing begins once a pause or a cancel is recorded",
    15: "signals are taken in the order they came, each once",
    16: "an interruption counts when an owner died, and only then",
}
"""What is checked. The first twelve are what reliable systems promise; the others are flujo's own."""


class _Step:
    """What a journal says about the newest generation of a step."""

    __slots__ = (
        "attempts",
        "author",
        "child",
        "due",
        "failures",
        "generation",
        "last",
        "max_attempts",
        "outcome",
        "signal",
        "until",
    )

    def __init__(self, generation: int, child: str | None = None) -> None:
        self.generation = generation
        self.attempts = 0
        self.failures = 0
        self.max_attempts = 1
        self.outcome: str | None = None
        self.due = 0  # no attempt may start before
        self.until: int | None = None
        self.signal: str | None = None
        self.child = child
        self.author: EpisodeLife | None = None  # who has started the newest attempt
        self.last: Fact | None = None


class _Journal:
    """One run, as its rows tell it."""

    def __init__(self, run_id: str, uid: str, others: Mapping[str, _Journal]) -> None:
        self._others = others
        self.run_id = run_id
        self.rows: list[EventRow] = []
        self.steps: dict[str, _Step] = {}
        self.signals: dict[str, list[tuple[int, str]]] = {}  # untaken: (seq, payload), the oldest first
        self.status = "live"
        self.stopping: str | None = None  # what was asked for and is not carried out yet
        self.starts: set[Body] = set()
        self.state = WorkflowState(run_id=run_id, uid=uid)

    def follow(self, row: EventRow, author: EpisodeLife) -> None:
        """Take the next row in; raises Violation."""
        before = self.rows[-1] if self.rows else None
        fact = decode(row).fact
        try:
            _require(row.seq == len(self.rows) + 1, f"the last number was {len(self.rows)}")
            _require((row.type == "run_created") == (before is None), "a run is created once")
            _require(before is None or row.at >= before.at, "it is older than the one before")
            self._run(fact)
            if (name := getattr(fact, "step", None)) is not None and not isinstance(fact, _OF_RUNS):
                self._step(name, row, fact, author)
        except Violation as problem:
            raise Violation(f"{self.run_id}: event {row.seq}, {fact}: {problem}") from None
        self.rows.append(row)
        apply(self.state, row.seq, row.at, fact)

    # -- the run ------------------------------------------------------------------------------------------------

    def _run(self, fact: Fact) -> None:
        match fact:
            case events.RunResumed():
                _require(self.status != "completed" or fact.from_step is not None, "it has completed")
                self.status, self.stopping = "live", None
                for name in fact.reset:
                    old = self.steps[name]
                    self.steps[name] = _Step(old.generation + 1, None if old.outcome == "step_completed" else old.child)
            case events.RunCompleted() | events.RunFailed() | events.RunCancelled() | events.RunPaused():
                _require(self.status not in FINAL, f"it has {self.status}")
                ends = {"RunCompleted": "completed", "RunFailed": "failed", "RunCancelled": "cancelled"}
                self.status = ends.get(type(fact).__name__, "paused")
                self.stopping = None
            case events.CancelRequested():
                _require(self.status not in FINAL, f"it has {self.status}")
                self.status, self.stopping = "live", "cancel"
            case events.CleanUpStarted():
                _require(self.status not in FINAL, f"it has {self.status}")
                self.status, self.stopping = "live", None
            case events.PauseRequested():
                _require(self.status == "live", f"it has {self.status}")
                self.stopping = self.stopping or "pause"
            case events.StepSkipped() | events.StepOutputSet():
                _require(self.status != "completed", "it has completed")
            case events.SignalReceived():
                _require(self.status == "live", f"it has {self.status}")
                self.signals.setdefault(fact.name, []).append((len(self.rows) + 1, fact.payload))
            case events.VariableSet() | events.RunCreated():
                pass
            case events.StepInterrupted():
                _require(self.status not in FINAL, f"it has {self.status}")
            case _:
                _require(self.status == "live", f"it has {self.status}")

    # -- its steps ----------------------------------------------------------------------------------------------

    def _step(self, name: str, row: EventRow, fact: Fact, author: EpisodeLife) -> None:
        step = self.steps.get(name)
        if step is None:
            step = self.steps[name] = _Step(getattr(fact, "generation", 1))
        generation = getattr(fact, "generation", step.generation)
        if generation == step.generation + 1:
            step = self.steps[name] = _Step(generation, None if step.outcome == "step_completed" else step.child)
        _require(generation == step.generation, f"the generation is {step.generation}")
        by_hand = isinstance(fact, (events.StepSkipped, events.StepOutputSet))
        settled = (
            step.outcome not in (None, "step_failed", "step_cancelled", "step_skipped")
            if by_hand
            else step.outcome is not None
        )
        _require(not settled, f"it has an outcome already, {step.outcome}")
        step.last = fact
        match fact:
            case events.StepStarted():
                _require(self.stopping is None, f"a {self.stopping} was asked for")
                _require(fact.attempt == step.attempts + 1, f"the last attempt was {step.attempts}")
                _require(row.at >= step.due, f"it is due at {step.due}, not at {row.at}")
                step.attempts, step.max_attempts, step.author = fact.attempt, fact.max_attempts, author
                self.starts.add(Body(self.run_id, name, generation, fact.attempt))
            case events.StepWaiting():
                step.until, step.signal = fact.until, fact.signal
                if fact.child is not None:
                    _require(self.stopping is None, f"a {self.stopping} was asked for")
                    _require(row.at >= step.due, f"it is due at {step.due}, not at {row.at}")
                    new = step.child in (None, fact.child) or step.child not in self._others
                    _require(new, f"it has the child {step.child}")
                    step.child, step.attempts, step.max_attempts = fact.child, step.attempts + 1, fact.max_attempts
            case events.AttemptFailed():
                step.failures += 1
                step.due = fact.next_attempt_at
                _require(fact.attempt == step.attempts, f"the last attempt was {step.attempts}")
                _require(step.failures < step.max_attempts, f"it may fail {step.max_attempts} times")
            case events.StepInterrupted():
                self._interrupted(step, fact, author)
            case events.ProgressReported():
                pass
            case _:
                self._settled(step, row, fact)

    def _settled(self, step: _Step, row: EventRow, fact: Fact) -> None:
        if isinstance(fact, events.StepFailed):
            step.failures += 1
            if step.signal is None:
                _require(step.failures <= step.max_attempts, f"it may fail {step.max_attempts} times")
                _require(step.failures == step.max_attempts or fact.type != "ConnectionError", "it may be tried again")
            else:
                _require(step.until is not None and row.at >= step.until, f"it waits until {step.until}")
        if isinstance(fact, events.StepCompleted):
            if step.signal is not None:
                untaken = self.signals.get(step.signal)
                _require(untaken and untaken[0][0] == fact.signal_seq, f"untaken signals are {untaken}")
                assert untaken is not None
                _require(untaken.pop(0)[1] == fact.output, "the signal brought something else")
            elif step.until is not None:
                _require(row.at >= step.until, f"it sleeps until {step.until}, not {row.at}")
        step.outcome = row.type

    def _interrupted(self, step: _Step, fact: events.StepInterrupted, author: EpisodeLife) -> None:
        _require(fact.attempt == step.attempts, f"the last attempt was {step.attempts}")
        starter = step.author
        assert starter is not None
        if fact.counted:
            lost = starter.dead or starter.failed or starter.was_frozen
            _require(lost, f"an interruption is counted, and {starter} has not died")
        else:
            _require(starter is author, f"{author} calls an attempt of {starter} interrupted in good order")


_OF_RUNS = (events.RunFailed, events.RunPaused)  # their `step` is a reason, not a subject


def _may_stay(journal: _Journal) -> bool:
    """True if a run that a client has left cancelled may stay as it is: cancelled, or failed after another client had
    resumed it, which died before it could see to the failure (test_found.py)."""
    types = [row.type for row in journal.rows]
    resumed = "run_cancelled" in types and "run_resumed" in types[types.index("run_cancelled") :]
    return journal.status == "cancelled" or (journal.status == "failed" and resumed)


def _require(condition: object, problem: str) -> None:
    if not condition:
        raise Violation(problem)


class InvariantChecker:
    """Watches one store."""

    def __init__(self, store: MemoryStore, plans: Sequence[Plan]) -> None:
        self._store = store
        self._plans = plans
        self._journals: dict[str, _Journal] = {}  # by uid
        self._by_id: dict[str, _Journal] = {}
        self._owners: dict[str, EpisodeLife | None] = {}  # by uid
        self._tokens: dict[str, int] = {}  # by uid
        self._bodies: set[Body] = set()
        self._promised: list[tuple[str, str]] = []
        self.problems: list[str] = []
        self.paused = anyio.Event()  # set by the next pause
        self.takeovers = 0
        self.commits = 0

    # -- in the instant -----------------------------------------------------------------------------------------

    def committed(self, life: EpisodeLife, commits: Sequence[Commit], refused: Mapping[str, Refused]) -> None:
        """A batch of this life has just become durable, but for what was refused."""
        self.commits += 1
        try:
            for commit in commits:
                if commit.uid not in refused:
                    self._committed(life, commit)
        except Violation as problem:
            self.problems.append(str(problem))

    def _committed(self, life: EpisodeLife, commit: Commit) -> None:
        uid, run_id = commit.uid, commit.run_id
        journal = self._journals.get(uid)
        if journal is None:
            _require(run_id not in self._by_id, f"{run_id} was created twice")
            journal = self._journals[uid] = self._by_id[run_id] = _Journal(run_id, uid, self._by_id)
            self._owners[uid], self._tokens[uid] = life, commit.token
        if commit.token != self._tokens[uid] or self._owners[uid] is not life:
            owner, token = self._owners[uid], self._tokens[uid]
            raise Violation(f"{life} has committed {run_id} with token {commit.token}; {owner} owns it with {token}")
        for row in commit.rows:
            journal.follow(row, life)
            if row.type == "run_paused":
                self.paused.set()
                self.paused = anyio.Event()
        if commit.summary.owner is None:
            self._owners[uid] = None

    def claimed(self, life: EpisodeLife, summaries: Iterable[RunSummary]) -> None:
        """This life has just become the owner of these."""
        for summary in summaries:
            uid = summary.uid
            owner, token = self._owners[uid], self._tokens[uid]
            if owner is not None and not (owner.dead or owner.frozen or owner.ended):
                self.problems.append(f"{life} has claimed {summary.run_id}, which {owner} owns")
            if summary.token <= token:
                self.problems.append(f"{life} has claimed {summary.run_id} with token {summary.token} after {token}")
            if owner is not None and owner.frozen:
                self.takeovers += 1
            self._owners[uid], self._tokens[uid] = life, summary.token

    def released(self, life: EpisodeLife, uids: Sequence[str] | None) -> None:
        """This life has just given up these runs, or all it had."""
        for uid in [uid for uid, owner in self._owners.items() if owner is life and (uids is None or uid in uids)]:
            self._owners[uid] = None

    def body_begins(self, body: Body, life: Life) -> str | None:
        """What is wrong with a body that begins, if anything."""
        journal = self._by_id.get(body.run_id)
        if journal is None or body not in journal.starts:
            return f"{body} begins without a durable start"
        if body in self._bodies:
            return f"{body} begins a second time"
        self._bodies.add(body)
        if self._owners[journal.state.uid] is not life:
            return None  # somebody else has taken the run over, and this life does not know yet
        last = journal.steps[body.step].last
        if not isinstance(last, events.StepStarted) or last[1:3] != (body.attempt, body.generation):
            return f"{body} begins, but the last durable fact about its step is {last}"
        if journal.status != "live":
            return f"{body} begins, but its run is {journal.status}"
        return None

    def failures_of(self, body: Body) -> int:
        """How many attempts of this generation of a step have failed, as far as is durable."""
        step = self._by_id[body.run_id].steps[body.step]
        return step.failures if step.generation == body.generation else 0

    def observed(self, run_id: str, expected: int, event: Event) -> str | None:
        """What is wrong with an event that a watcher has received, if anything."""
        if event.seq != expected:
            return f"a watcher of {run_id} has received event {event.seq} instead of {expected}"
        rows = self._by_id[run_id].rows
        if len(rows) < event.seq or decode(rows[event.seq - 1]) != event:
            return f"a watcher of {run_id} has received {event}, which is not durable"
        return None

    def reported(self, run_id: str, output: Any) -> str | None:
        """What is wrong with an output that was reported to a client, if anything."""
        last = self._by_id[run_id].rows[-1]
        if last.type != "run_completed" or decode_value(last.payload or "null") != output:
            return f"{run_id} was reported to have completed with {output}; its last event is {last}"
        return None

    # -- promises -----------------------------------------------------------------------------------------------

    def exists(self, run_id: str) -> bool:
        """Whether a run is durable."""
        return run_id.lower() in self._store.runs

    def has_signal(self, run_id: str, payload: str) -> bool:
        """Whether a signal is in the journal or in the inbox of a run."""
        rows = self._by_id[run_id].rows
        return any(row.payload == payload and row.type == "signal_received" for row in rows) or any(
            _payload_of(posted.request.body) == payload for posted in self._store.inbox.values()
        )

    def is_asked(self, run_id: str, what: str) -> bool:
        """Whether a request is in the journal or in the inbox of a run, or its run has ended."""
        types = {"cancel": "cancel_requested", "pause": "pause_requested", "set_variable": "variable_set"}
        journal = self._by_id[run_id]
        return (
            any(row.type == types[what] and '"step"' not in row.body for row in journal.rows)
            or any(each.uid == journal.state.uid and each.request.kind == what for each in self._store.inbox.values())
            or (what != "set_variable" and journal.status != "live")
        )

    # -- now and then -------------------------------------------------------------------------------------------

    def promise(self, run_id: str, payload: str) -> None:
        """A signal was acknowledged: it must be stored from now on."""
        self._promised.append((run_id, payload))

    def check(self) -> None:
        """The store holds what was committed and nothing else, and its summaries are what the journals add up to."""
        _require(not self.problems, "; ".join(self.problems))
        for run_id, payload in self._promised:
            _require(self.has_signal(run_id, payload), f"the signal {payload} to {run_id} was acknowledged and is lost")
        _require(len(self._store.runs) == len(self._journals), f"runs are {list(self._store.runs)}")
        for run in self._store.runs.values():
            summary = run.summary
            journal = self._journals[summary.uid]
            if run.events != journal.rows:
                raise Violation(f"{summary.run_id}: what was durable has changed: {journal.rows} → {run.events}")
            owner = self._owners[summary.uid]
            # Who has claimed a run to resume or to amend it owns it, although nobody has to advance it yet.
            name = None if owner is None else owner.owner
            expected = summarize(journal.state, None, self._tokens[summary.uid])._replace(owner=name)
            if summary != expected:
                raise Violation(f"{summary.run_id}: the summary is {summary}, the journal says {expected}")

    def closed(self, life: EpisodeLife) -> None:
        """A life that was closed in good order owns nothing."""
        for run in self._store.runs.values():
            owner = self._owners[run.summary.uid]
            if owner is life:
                self.problems.append(f"{run.summary.run_id} belongs to {life}, which is closed")

    # -- at the end ---------------------------------------------------------------------------------------------

    def not_ended(self) -> list[RunSummary]:
        """The runs that are not final."""
        return [run.summary for run in self._store.runs.values() if run.summary.status not in FINAL]

    def stuck(self) -> str:
        """The runs that are not final, for people: how each stands, and its newest events."""
        lines: list[str] = []
        for summary in self.not_ended():
            owner = self._owners[summary.uid]
            alive = summary.owner in self._store.alive
            lines.append(
                f"{summary.run_id} is {summary.status}, owned by {owner} ({'alive' if alive else 'not alive'})"
            )
            lines += [f"    {decode(row)}" for row in self._by_id[summary.run_id].rows[-8:]]
        return "\n".join(lines)

    def paused_children(self) -> list[str]:
        """The ids of paused runs that have no client of their own."""
        return [
            run.summary.run_id
            for run in self._store.runs.values()
            if run.summary.status == "paused" and run.summary.parent_run_id is not None
        ]

    def check_ended(self, left_cancelled: Collection[str], reported: Mapping[str, Any]) -> None:
        """Every run has ended as an uninterrupted one, and so have its children."""
        for plan in self._plans:
            journal = self._by_id[plan.run_id]
            if plan.run_id in left_cancelled and _may_stay(journal):
                self._check_children(journal)
                continue
            _require(journal.status == "completed", f"{plan.run_id} is {journal.status}")
            output = decode_value(journal.rows[-1].payload or "null")
            expected = Model(plan.run_id, self._rows_of).output(plan.script)
            if output != expected:
                raise Violation(f"{plan.run_id} has returned {output}, undisturbed it is {expected}: {plan.script}")
            said = reported.get(plan.run_id)
            _require(said == output or plan.run_id in left_cancelled, f"{plan.run_id} was reported as {said}")
            variables = {**journal.state.variables}
            for name, value in variables_of(plan.script).items():
                _require(variables.get(name) == value, f"{plan.run_id}: variables are {variables}, not {name}={value}")

    def _check_children(self, journal: _Journal) -> None:
        """No child outlives a parent that has given it up."""
        ended_at = journal.rows[-1].at
        for child in self._by_id.values():
            if child.state.parent_run_id == journal.run_id and child.status == "completed":
                late = child.rows[-1].at - ended_at
                _require(late < 60_000_000, f"{child.run_id} has completed {late} µs after its parent was cancelled")

    def _rows_of(self, run_id: str) -> Sequence[EventRow]:
        journal = self._by_id.get(run_id)
        return () if journal is None else journal.rows

    def later_outputs(self, script: list[Any], failed: Sequence[str]) -> dict[str, Any]:
        """What these failed steps of a script return once they do not fail any more; empty unless all will."""
        texts = Model("", self._rows_of).texts(script)
        return {name: [name, texts[name]] for name in failed} if texts.keys() >= set(failed) else {}


def _payload_of(body: str) -> str | None:
    payload: str | None = decode_value(body).get("payload")
    return payload
