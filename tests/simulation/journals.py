"""The journals of an episode, followed row by row as they become durable, by rules of the simulator's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio

from flujo.kernel import events
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.events import EventRow, Fact
from flujo.kernel.state import WorkflowState
from flujo.kernel.transitions import apply

from .world import Body, Violation, decode

if TYPE_CHECKING:
    from .episode_world import EpisodeLife

FINAL = ("completed", "failed", "cancelled")

LATE = 60.0
"""Seconds after which a wait that has not ended in time was forgotten: longer than anything else may take it."""


def require(condition: object, problem: str) -> None:
    """Raise Violation unless this is so."""
    if not condition:
        raise Violation(problem)


class _Step:
    """What a journal says about the newest generation of a step."""

    __slots__ = (
        "attempts",
        "author",
        "child",
        "due",
        "expected",
        "failures",
        "generation",
        "last",
        "max_attempts",
        "outcome",
        "signal",
        "until",
        "waiter",
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
        self.waiter: EpisodeLife | None = None  # who has recorded the wait, or the backoff
        self.expected = 0.0  # when that ends, on the time of the event loop, as long as this life goes on

    def waits(self, until: int, author: EpisodeLife) -> None:
        """A life waits for an instant from now on."""
        now = copy.copy(author.clock).now()  # a copy, or the kernel's own would notice a jump by being looked at
        self.waiter, self.expected = author, anyio.current_time() + max(0, until - now) / MICROSECONDS

    def require_in_time(self, author: EpisodeLife) -> None:
        """While a process lives, no jump of the wall clock delays what it waits for."""
        if self.waiter is author and not author.was_frozen and not author.world.episode.is_put_right:
            late = anyio.current_time() - self.expected
            require(late < LATE, f"{author} has waited {late:.0f} s longer than it was told to")


class Journal:
    """One run, as its rows tell it."""

    def __init__(self, run_id: str, uid: str, others: Mapping[str, Journal]) -> None:
        self._others = others
        self.run_id = run_id
        self.rows: list[EventRow] = []
        self.steps: dict[str, _Step] = {}
        self.signals: dict[str, list[tuple[int, str]]] = {}  # untaken: (seq, payload), the oldest first
        self.status = "live"
        self.stopping: str | None = None  # what was asked for and is not carried out yet
        self.starts: set[Body] = set()
        self.began = 0.0  # when it was created, or resumed, on the time of the event loop
        self.lasted = 0.0  # from then until it has failed
        self.state = WorkflowState(run_id=run_id, uid=uid)

    def follow(self, row: EventRow, author: EpisodeLife) -> None:
        """Take the next row in; raises Violation."""
        before = self.rows[-1] if self.rows else None
        fact = decode(row).fact
        try:
            require(row.seq == len(self.rows) + 1, f"the last number was {len(self.rows)}")
            require((row.type == "run_created") == (before is None), "a run is created once")
            require(before is None or row.at >= before.at, "it is older than the one before")
            self._run(fact)
            if (name := getattr(fact, "step", None)) is not None and not isinstance(fact, _OF_RUNS):
                self._step(name, row, fact, author)
        except Violation as problem:
            raise Violation(f"{self.run_id}: event {row.seq}, {fact}: {problem}") from None
        if row.type in ("run_created", "run_resumed"):
            self.began = anyio.current_time()
        if row.type == "run_failed":
            self.lasted = anyio.current_time() - self.began
        self.rows.append(row)
        apply(self.state, row.seq, row.at, fact)

    # -- the run ------------------------------------------------------------------------------------------------

    def _run(self, fact: Fact) -> None:
        match fact:
            case events.RunResumed():
                require(self.status != "completed" or fact.from_step is not None, "it has completed")
                self.status, self.stopping = "live", None
                for name in fact.reset:
                    old = self.steps[name]
                    self.steps[name] = _Step(old.generation + 1, None if old.outcome == "step_completed" else old.child)
            case events.RunCompleted() | events.RunFailed() | events.RunCancelled() | events.RunPaused():
                require(self.status not in FINAL, f"it has {self.status}")
                ends = {"RunCompleted": "completed", "RunFailed": "failed", "RunCancelled": "cancelled"}
                self.status = ends.get(type(fact).__name__, "paused")
                self.stopping = None
            case events.CancelRequested():
                require(self.status not in FINAL, f"it has {self.status}")
                self.status, self.stopping = "live", "cancel"
            case events.CleanUpStarted():
                require(self.status not in FINAL, f"it has {self.status}")
                self.status, self.stopping = "live", None
            case events.PauseRequested():
                require(self.status == "live", f"it has {self.status}")
                self.stopping = self.stopping or "pause"
            case events.StepSkipped() | events.StepOutputSet():
                require(self.status != "completed", "it has completed")
            case events.SignalReceived():
                self.signals.setdefault(fact.name, []).append((len(self.rows) + 1, fact.payload))
            case events.VariableSet() | events.RunCreated():
                pass
            case events.StepInterrupted():
                require(self.status not in FINAL, f"it has {self.status}")
            case _:
                require(self.status == "live", f"it has {self.status}")

    # -- its steps ----------------------------------------------------------------------------------------------

    def _step(self, name: str, row: EventRow, fact: Fact, author: EpisodeLife) -> None:
        step = self.steps.get(name)
        if step is None:
            step = self.steps[name] = _Step(getattr(fact, "generation", 1))
        generation = getattr(fact, "generation", step.generation)
        if generation == step.generation + 1:
            step = self.steps[name] = _Step(generation, None if step.outcome == "step_completed" else step.child)
        require(generation == step.generation, f"the generation is {step.generation}")
        by_hand = isinstance(fact, (events.StepSkipped, events.StepOutputSet))
        settled = (
            step.outcome not in (None, "step_failed", "step_cancelled", "step_skipped")
            if by_hand
            else step.outcome is not None
        )
        require(not settled, f"it has an outcome already, {step.outcome}")
        step.last = fact
        match fact:
            case events.StepStarted():
                require(self.stopping is None, f"a {self.stopping} was asked for")
                require(fact.attempt == step.attempts + 1, f"the last attempt was {step.attempts}")
                is_due = row.at >= step.due or author.world.episode.is_put_right
                require(is_due, f"it is due at {step.due}, not at {row.at}")
                if not author.world.episode.has_limits:
                    step.require_in_time(author)
                step.waiter = None
                step.attempts, step.max_attempts, step.author = fact.attempt, fact.max_attempts, author
                self.starts.add(Body(self.state.uid, self.run_id, name, generation, fact.attempt))
            case events.StepWaiting():
                step.until, step.signal = fact.until, fact.signal
                if fact.until is not None:
                    step.waits(fact.until, author)
                if fact.child is not None:
                    require(self.stopping is None, f"a {self.stopping} was asked for")
                    is_due = row.at >= step.due or author.world.episode.is_put_right
                    require(is_due, f"it is due at {step.due}, not at {row.at}")
                    new = step.child in (None, fact.child) or step.child not in self._others
                    require(new, f"it has the child {step.child}")
                    step.child, step.attempts, step.max_attempts = fact.child, step.attempts + 1, fact.max_attempts
            case events.AttemptFailed():
                step.failures += 1
                step.due = fact.next_attempt_at
                step.waits(fact.next_attempt_at, author)
                require(fact.attempt == step.attempts, f"the last attempt was {step.attempts}")
                require(step.failures < step.max_attempts, f"it may fail {step.max_attempts} times")
            case events.StepInterrupted():
                self._interrupted(step, fact, author)
            case events.ProgressReported():
                pass
            case events.SignalSetAside():
                untaken = self.signals.get(fact.signal, [])
                require(fact.signal_seq in [seq for seq, _ in untaken], f"untaken signals are {untaken}")
                self.signals[fact.signal] = [each for each in untaken if each[0] != fact.signal_seq]
            case _:
                self._settled(step, row, fact, author)

    def _settled(self, step: _Step, row: EventRow, fact: Fact, author: EpisodeLife) -> None:
        if isinstance(fact, events.StepFailed):
            step.failures += 1
            if step.signal is None:
                require(step.failures <= step.max_attempts, f"it may fail {step.max_attempts} times")
                require(step.failures == step.max_attempts or fact.type != "ConnectionError", "it may be tried again")
            else:
                is_due = step.until is not None and (row.at >= step.until or author.world.episode.is_put_right)
                require(is_due, f"it waits until {step.until}")
                step.require_in_time(author)
        if isinstance(fact, events.StepCompleted):
            if step.signal is not None:
                untaken = self.signals.get(step.signal)
                require(untaken and untaken[0][0] == fact.signal_seq, f"untaken signals are {untaken}")
                assert untaken is not None
                require(untaken.pop(0)[1] == fact.output, "the signal brought something else")
            elif step.until is not None:
                is_due = row.at >= step.until or author.world.episode.is_put_right
                require(is_due, f"it sleeps until {step.until}, not {row.at}")
                step.require_in_time(author)
        step.outcome = row.type

    def _interrupted(self, step: _Step, fact: events.StepInterrupted, author: EpisodeLife) -> None:
        require(fact.attempt == step.attempts, f"the last attempt was {step.attempts}")
        starter = step.author
        assert starter is not None
        if fact.counted:
            lost = starter.dead or starter.failed or starter.was_frozen
            require(lost, f"an interruption is counted, and {starter} has not died")
        else:
            require(starter is author, f"{author} calls an attempt of {starter} interrupted in good order")


_OF_RUNS = (events.RunFailed, events.RunPaused)  # their `step` is a reason, not a subject
