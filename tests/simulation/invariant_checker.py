"""What must be true of an episode, looked at in the instant of every commit, claim, body and report.

The checker follows the journals by rules of its own, row by row as they become durable. Only the comparison of the
fold with the stored summary uses the kernel's code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from flujo.backends.memory import MemoryStore
from flujo.kernel import Event, events
from flujo.kernel.backend import Commit, Refused, RunSummary
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.events import EventRow
from flujo.kernel.state import LIVE
from flujo.kernel.transitions import summarize
from flujo.kernel.values import decode as decode_value

from .flow import Stay
from .journals import FINAL, Journal, require
from .programs import TIME, Model, variables_of
from .world import Body, Life, Violation, decode

if TYPE_CHECKING:
    from .episode_world import EpisodeLife
    from .plans import Plan

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
    17: "a run leaves memory only where the program does not notice: no handler runs, nothing it has begun is left",
    18: "while a process lives, no jump of the wall clock delays what it waits for",
    19: "a run is removed only if it is the one that was asked for, and nobody runs it",
    20: "an heir first records whom it has the run from, if that owner has died, and nobody else says such a thing",
}
"""What is checked. The first twelve are what reliable systems promise; the others are flujo's own."""


def _may_stay(journal: Journal) -> bool:
    """True if a run that a client has left cancelled may stay as it is: cancelled, or failed after another client had
    resumed it, which died before it could see to the failure (test_found.py)."""
    types = [row.type for row in journal.rows]
    resumed = "run_cancelled" in types and "run_resumed" in types[types.index("run_cancelled") :]
    return journal.status == "cancelled" or (journal.status == "failed" and resumed)


def _require_timed_out(plan: Plan, journal: Journal) -> None:
    """The run has failed because its time was over, and not before."""
    ends = ("run_completed", "run_failed", "run_cancelled")
    end = next(row for row in reversed(journal.rows) if row.type in ends)  # a variable may be set behind it
    fact = decode(end).fact
    timed_out = isinstance(fact, events.RunFailed) and fact.type == "TimeoutError"
    require(timed_out, f"{plan.run_id} is to run out of time, and has ended with {fact}")
    began = max(row.at for row in journal.rows if row.type in ("run_created", "run_resumed"))
    lasted = max((end.at - began) / MICROSECONDS, journal.lasted + 0.001)
    require(lasted >= TIME, f"{plan.run_id} has {TIME} seconds, and was ended after {lasted}")


class _Stayed(NamedTuple):
    """A call of a run's program, and of whom it was then."""

    stay: Stay
    token: int
    resumes: int


class InvariantChecker:
    """Watches one store."""

    def __init__(self, store: MemoryStore, plans: Sequence[Plan]) -> None:
        self._store = store
        self._plans = plans
        self._journals: dict[str, Journal] = {}  # by uid
        self._by_id: dict[str, Journal] = {}
        self._owners: dict[str, EpisodeLife | None] = {}  # by uid
        self._tokens: dict[str, int] = {}  # by uid
        self._names: dict[str, str | None] = {}  # by uid: the kernel of the owner
        self._unnamed: dict[str, str | None] = {}  # by uid: who has died over it, until its heir says so
        self._bodies: set[Body] = set()
        self._gone: dict[str, Journal] = {}  # by uid: what was deleted
        self._stays: dict[tuple[int, str], _Stayed] = {}  # by life and uid: the newest call of its program
        self._promised: list[tuple[str, str]] = []
        self.problems: list[str] = []
        self.paused = anyio.Event()  # set by the next pause
        self.takeovers = 0
        self.commits = 0
        self.returns = 0  # of runs that had left memory
        self.removals = 0

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

    def _came_late(self, commit: Commit, journal: Journal) -> bool:
        """True for what was asked of a run while it ended: whoever finds it in the inbox records it, unless the run has
        an owner again, which takes it."""
        is_over = self._owners[commit.uid] is None and journal.status in FINAL
        return is_over and {row.type for row in commit.rows} <= {"signal_received", "variable_set"}

    def _committed(self, life: EpisodeLife, commit: Commit) -> None:
        uid, run_id = commit.uid, commit.run_id
        journal = self._journals.get(uid)
        if journal is None:
            require(run_id not in self._by_id, f"{run_id} was created twice")
            journal = self._journals[uid] = self._by_id[run_id] = Journal(run_id, uid, self._by_id)
            self._owners[uid], self._tokens[uid] = life, commit.token
            self._names[uid] = commit.summary.owner
        if commit.token != self._tokens[uid] or not (self._owners[uid] is life or self._came_late(commit, journal)):
            owner, token = self._owners[uid], self._tokens[uid]
            raise Violation(f"{life} has committed {run_id} with token {commit.token}; {owner} owns it with {token}")
        self._names_the_dead(life, commit)
        for row in commit.rows:
            journal.follow(row, life)
            if row.type == "run_paused":
                self.paused.set()
                self.paused = anyio.Event()
        if commit.summary.owner is None:
            self._owners[uid] = None

    def _names_the_dead(self, life: EpisodeLife, commit: Commit) -> None:
        """The first thing that an heir records is whom it has the run from, and nobody else says such a thing. One that
        was not told what came of a write may not know."""
        former = self._unnamed.pop(commit.uid, None)
        said = [fact for row in commit.rows if isinstance(fact := decode(row).fact, events.RunTakenOver)]
        due = [] if former is None else [events.RunTakenOver(former, str(self._names[commit.uid]))]
        is_first = not said or commit.rows[0].type == "run_taken_over"
        if not life.failed:
            require(said == due and is_first, f"{commit.run_id} is taken over with {said} instead of {due}")

    def claimed(self, life: EpisodeLife, summaries: Iterable[RunSummary]) -> None:
        """This life has just become the owner of these."""
        for summary in summaries:
            uid = summary.uid
            owner, token = self._owners[uid], self._tokens[uid]
            if owner is not None and not (owner.dead or owner.frozen or owner.gives_up):
                self.problems.append(f"{life} has claimed {summary.run_id}, which {owner} owns")
            if summary.token <= token:
                self.problems.append(f"{life} has claimed {summary.run_id} with token {summary.token} after {token}")
            if owner is not None and owner.frozen:
                self.takeovers += 1
            self._owners[uid], self._tokens[uid] = life, summary.token
            is_left = owner not in (None, life) and summary.status in LIVE
            self._unnamed[uid] = self._names[uid] if is_left else None
            self._names[uid] = summary.owner

    def released(self, life: EpisodeLife, uids: Sequence[str] | None) -> None:
        """This life has just given up these runs, or all it had."""
        for uid in [uid for uid, owner in self._owners.items() if owner is life and (uids is None or uid in uids)]:
            self._owners[uid] = None
            if (former := self._unnamed.pop(uid, None)) is not None and not life.failed:
                self.problems.append(f"{life} has given {uid} up, and has not said that it had it from {former}")

    def stay_begins(self, life: EpisodeLife, stay: Stay) -> str | None:
        """What is wrong with a call of a run's program, if anything: it may be called again in one life once the run
        was resumed, or owned anew. Else it has left memory meanwhile."""
        run_id = stay.run_id
        journal = self._by_id[run_id]
        resumes = sum(row.type == "run_resumed" for row in journal.rows)
        now = _Stayed(stay, self._tokens[journal.state.uid], resumes)
        key = (life.number, journal.state.uid)
        before, self._stays[key] = self._stays.get(key), now
        if before is None or (before.token, before.resumes) != (now.token, now.resumes):
            return None
        self.returns += 1
        if before.stay.tidied:
            return f"{run_id} has left memory, which has executed {', '.join(before.stay.tidied.values())}"
        if before.stay.left:
            return f"{run_id} has left memory, and has left behind {', '.join(before.stay.left.values())}"
        return None

    def removed(self, life: EpisodeLife, summary: RunSummary, *, asked: bool) -> None:
        """This life has just removed a run from the store; was it `asked` to remove this one?"""
        run_id, uid = summary.run_id, summary.uid
        if not asked:
            self.problems.append(f"{life} has removed {run_id} ({summary.status}), which nobody has asked for")
        owner = self._owners[uid]
        if owner is not None and not (owner.dead or owner.frozen or owner.ended):
            self.problems.append(f"{life} has removed {run_id}, which {owner} owns")
        self._gone[uid] = self._journals.pop(uid)
        del self._by_id[run_id]
        self.removals += 1

    def body_begins(self, body: Body, life: Life) -> str | None:
        """What is wrong with a body that begins, if anything."""
        journal = self._journals.get(body.uid) or self._gone.get(body.uid)
        if journal is None or body not in journal.starts:
            return f"{body} begins without a durable start"
        if body in self._bodies:
            return f"{body} begins a second time"
        self._bodies.add(body)
        if self._owners[body.uid] is not life or body.uid in self._gone:
            return None  # somebody else has taken the run over, or removed it, and this life does not know yet
        last = journal.steps[body.step].last
        if not isinstance(last, events.StepStarted) or last[1:3] != (body.attempt, body.generation):
            return f"{body} begins, but the last durable fact about its step is {last}"
        if journal.status != "live":
            return f"{body} begins, but its run is {journal.status}"
        return None

    def failures_of(self, body: Body) -> int:
        """How many attempts of this generation of a step have failed, as far as is durable."""
        step = (self._journals.get(body.uid) or self._gone[body.uid]).steps[body.step]
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
        journal = self._by_id[run_id]  # behind the end may stand what came too late
        if journal.status != "completed" or decode_value(journal.state.output_json or "null") != output:
            return f"{run_id} was reported to have completed with {output}; its last event is {journal.rows[-1]}"
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
        require(not self.problems, "; ".join(self.problems))
        for run_id, payload in self._promised:
            require(self.has_signal(run_id, payload), f"the signal {payload} to {run_id} was acknowledged and is lost")
        require(len(self._store.runs) == len(self._journals), f"runs are {list(self._store.runs)}")
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

    def paused_orphans(self) -> list[str]:
        """The ids of paused runs that have no client of their own."""
        seen_to = {plan.run_id for plan in self._plans}
        return [
            run.summary.run_id
            for run in self._store.runs.values()
            if run.summary.status == "paused" and run.summary.run_id not in seen_to
        ]

    def check_ended(self, left_cancelled: Collection[str], reported: Mapping[str, Any]) -> None:
        """Every run has ended as an uninterrupted one, and so have its children."""
        for plan in self._plans:
            journal = self._by_id[plan.run_id]
            if plan.run_id in left_cancelled and _may_stay(journal):
                self._check_children(journal)
                continue
            if plan.is_timed:
                _require_timed_out(plan, journal)
                continue
            require(journal.status == "completed", f"{plan.run_id} is {journal.status}")
            output = decode_value(journal.state.output_json or "null")
            expected = Model(plan.run_id, self._rows_of).output(plan.script)
            if output != expected:
                raise Violation(f"{plan.run_id} has returned {output}, undisturbed it is {expected}: {plan.script}")
            said = reported.get(plan.run_id)
            require(said == output or plan.run_id in left_cancelled, f"{plan.run_id} was reported as {said}")
            variables = {**journal.state.variables}
            for name, value in variables_of(plan.script).items():
                require(variables.get(name) == value, f"{plan.run_id}: variables are {variables}, not {name}={value}")

    def _check_children(self, journal: Journal) -> None:
        """No child outlives a parent that has given it up."""
        ended_at = journal.state.finished_at or journal.rows[-1].at
        for child in self._by_id.values():
            if child.state.parent_run_id == journal.run_id and child.status == "completed":
                late = (child.state.finished_at or child.rows[-1].at) - ended_at
                require(late < 60_000_000, f"{child.run_id} has completed {late} µs after its parent was cancelled")

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
