"""What must be true of a world, whatever has happened to its kernels.

`check_world` is asked at the end of every life, `check_ended` once all runs have ended. Both read the raw rows of the
journals and rebuild what they need by rules of their own; only the comparison of the fold with the stored summary uses
the kernel's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flujo.kernel import events
from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import StoreNotFoundError
from flujo.kernel.events import EventRow
from flujo.kernel.transitions import replay, summarize
from flujo.kernel.values import decode as decode_value

from .scenario import Plan, Scenario
from .world import Body, Violation, World, decode, require_pause, require_signal

RESUMABLE = ("paused", "failed", "cancelled")


def require(condition: object, message: str) -> None:
    if not condition:
        raise Violation(message)


@dataclass
class _Generation:
    """What a journal says about one generation of a step."""

    attempts: int = 0
    failures: int = 0
    max_attempts: int = 1
    outcome: str | None = None


@dataclass
class _Steps:
    """The generations of the steps of one run, rebuilt from its rows."""

    current: dict[str, int] = field(default_factory=dict)
    generations: dict[tuple[str, int], _Generation] = field(default_factory=dict)

    def of(self, name: str) -> _Generation:
        return self.generations.setdefault((name, self.current.get(name, 1)), _Generation())


# -- at the end of every life -------------------------------------------------------------------------------------


async def check_world(world: World) -> dict[str, RunSummary]:
    """Check everything that holds at any time; returns the summaries of the runs that exist."""
    summaries = await _summaries(world)
    bodies = _bodies_by_run(world)
    for run_id in world.run_ids:
        rows = world.store.rows(run_id)
        require(bool(rows) == (run_id in summaries), f"{run_id} has {len(rows)} events and no summary, or vice versa")
        if rows:
            check_journal(run_id, rows)
            check_bodies(run_id, summaries[run_id].uid, rows, bodies.get(run_id, []))
            check_summary(run_id, rows, summaries[run_id])
    check_snapshots(world)
    check_promises(world)
    return summaries


async def _summaries(world: World) -> dict[str, RunSummary]:
    handle = world.store.open()
    found: dict[str, RunSummary] = {}
    try:
        async with handle:
            for run_id in world.run_ids:
                if world.store.rows(run_id):
                    found[run_id] = await handle.load(run_id)
    except StoreNotFoundError:  # no kernel has lived long enough to make one
        pass
    return found


def check_journal(run_id: str, rows: Sequence[EventRow]) -> None:
    """Numbers without a gap, times that never go back, attempts in a row, one outcome per generation."""
    for expected, row in enumerate(rows, 1):
        require(row.seq == expected, f"{run_id}: event {expected} has the number {row.seq}")
    require(rows[0].type == "run_created", f"{run_id} begins with {rows[0].type}")
    steps = _Steps()
    before = rows[0]
    for row in rows:
        require(row.at >= before.at, f"{run_id}: event {row.seq} is older than event {before.seq}")
        _follow(run_id, steps, row)
        before = row


def _follow(run_id: str, steps: _Steps, row: EventRow) -> None:
    fact = decode(row).fact

    def must(condition: bool, problem: str) -> None:
        if not condition:
            raise Violation(f"{run_id}: event {row.seq}, {fact}: {problem}")

    match fact:
        case events.RunResumed():
            for name in fact.reset:
                steps.current[name] = steps.current.get(name, 1) + 1
        case events.StepStarted():
            now = steps.current.get(fact.step, 1)
            must(fact.generation in (now, now + 1), f"the generation is {now}")
            steps.current[fact.step] = fact.generation
            this = steps.of(fact.step)
            must(this.outcome is None, f"starts after its outcome, {this.outcome}")
            must(fact.attempt == this.attempts + 1, f"the last attempt was {this.attempts}")
            this.attempts = fact.attempt
            this.max_attempts = fact.max_attempts
        case events.StepWaiting():
            this = steps.of(fact.step)
            must(this.outcome is None, f"waits after its outcome, {this.outcome}")
            if fact.child is not None:  # every attempt of a child begins with a wait
                this.attempts += 1
                this.max_attempts = fact.max_attempts
        case events.ValueRecorded() | events.VariableSet() if fact.step is not None:
            this = steps.of(fact.step)
            must(this.outcome is None, f"it has an outcome already, {this.outcome}")
            this.outcome = row.type
        case events.AttemptFailed():
            this = steps.of(fact.step)
            this.failures += 1
            must(this.outcome is None, f"fails after its outcome, {this.outcome}")
            must(fact.attempt == this.attempts, f"the last attempt was {this.attempts}")
            must(this.failures < this.max_attempts, f"it may fail {this.max_attempts} times")
        case events.StepCompleted() | events.StepFailed() | events.StepSkipped() | events.StepCancelled():
            this = steps.of(fact.step)
            must(this.outcome is None, f"it has an outcome already, {this.outcome}")
            failures = this.failures + isinstance(fact, events.StepFailed)
            must(failures <= this.max_attempts, f"it may fail {this.max_attempts} times")
            this.outcome = row.type


def check_bodies(run_id: str, uid: str, rows: Sequence[EventRow], bodies: Sequence[Body]) -> None:
    """Every body that began has a durable start, and no attempt began twice."""
    facts = [decode(row).fact for row in rows]
    starts = {
        Body(uid, run_id, fact.step, fact.generation, fact.attempt)
        for fact in facts
        if isinstance(fact, events.StepStarted)
    }
    if len(set(bodies)) < len(bodies):
        raise Violation(f"{run_id}: an attempt ran twice: {sorted(bodies)}")
    if not starts.issuperset(bodies):
        raise Violation(f"{run_id}: bodies without a start: {set(bodies) - starts}")


def check_summary(run_id: str, rows: Sequence[EventRow], summary: RunSummary) -> None:
    """The stored summary is what the journal adds up to, and a completed run has no owner."""
    state = replay(run_id, summary.uid, rows)
    expected = summarize(state, summary.owner, summary.token)
    if summary.status in RESUMABLE:  # whoever claimed it to resume it may have died before it did
        expected = expected._replace(owner=summary.owner)
    if summary != expected:
        raise Violation(f"{run_id}: the summary is {summary}, the journal says {expected}")
    require(summary.status != "completed" or summary.owner is None, f"{run_id} has completed and has an owner")


def check_snapshots(world: World) -> None:
    """What was durable at the end of an earlier life is still there, unchanged."""
    for snapshot in world.snapshots:
        for run_id, before in snapshot.items():
            now = world.store.rows(run_id)[: len(before)]
            if list(now) != before:  # not `require`: the texts of these would be made every time
                raise Violation(f"{run_id}: what was durable has changed: {before} → {now}")


def check_promises(world: World) -> None:
    """What was acknowledged to a client, or shown to it, is durable."""
    for run_id in world.started:
        require(world.store.rows(run_id), f"the start of {run_id} was acknowledged, and it is gone")
    for run_id, name in world.signalled:
        require_signal(world, run_id, name)
    for run_id in world.paused:
        require_pause(world, run_id)


def _bodies_by_run(world: World) -> dict[str, list[Body]]:
    found: dict[str, list[Body]] = {}
    for body in world.bodies:
        found.setdefault(body.run_id, []).append(body)
    return found


def check_closed(world: World, summaries: Mapping[str, RunSummary]) -> None:
    """A kernel that was closed in good order has given up its runs, and marked what it interrupted, uncounted."""
    orderly = not any(life.dead or life.failed for life in world.lives)
    for run_id, summary in summaries.items():
        rows = world.store.rows(run_id)
        require(summary.owner is None, f"{run_id} belongs to {summary.owner}, which is closed")
        for step in replay(run_id, summary.uid, rows).open_steps():
            require(step.interrupted or step.status != "running", f"{run_id}: nobody runs {step.name}")
            require(not orderly or step.interruptions == 0, f"{run_id}: an interruption of {step.name} was counted")


# -- once every run has ended -------------------------------------------------------------------------------------


def check_ended(
    world: World, scenario: Scenario, summaries: Mapping[str, RunSummary], reference: Reference | None
) -> None:
    """Every run has the output of an uninterrupted one, and the order its own journal implies."""
    for plan in scenario.plans:
        summary = summaries.get(plan.run_id)
        rows = world.store.rows(plan.run_id)
        if summary is None or summary.status != "completed":
            raise Violation(f"{plan.run_id} has not completed: {summary}")
        output = output_of(rows)
        implied = plan.implied_order(rows)
        require(output["order"] == implied, f"{plan.run_id}: output {output['order']}, the journal says {implied}")
        watched = world.watched.get(plan.run_id, [])
        if watched != [decode(row) for row in rows]:
            raise Violation(f"{plan.run_id}: a watcher has seen {watched}, and the journal is {rows}")
        if reference is not None:
            reference.compare(plan, rows)


def output_of(rows: Sequence[EventRow]) -> dict[str, Any]:
    """The output of a completed run."""
    fact = next(decode(row).fact for row in reversed(rows) if row.type == "run_completed")
    assert isinstance(fact, events.RunCompleted)
    output: dict[str, Any] = decode_value(fact.output)
    return output


class Reference:
    """What an uninterrupted world came to, but for what depends on who finished first."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._fixed = {plan.run_id: output_of(world.store.rows(plan.run_id))["fixed"] for plan in scenario.plans}
        self._keys = {plan.run_id: step_keys(world.store.rows(plan.run_id)) for plan in scenario.plans}

    def compare(self, plan: Plan, rows: Sequence[EventRow]) -> None:
        """Raise Violation unless a completed run has the same fixed output, and steps with the same keys."""
        fixed = output_of(rows)["fixed"]
        expected = self._fixed[plan.run_id]
        require(fixed == expected, f"{plan.run_id}: the output is {fixed}, uninterrupted it is {expected}")
        keys = step_keys(rows)
        known = self._keys[plan.run_id]
        require(keys == known, f"{plan.run_id}: steps {sorted(keys ^ known)} are new, or missing")


def step_keys(rows: Sequence[EventRow]) -> set[str]:
    """The keys of all steps in a journal; which of the branches won stands for one key."""
    keys = {event.step for event in map(decode, rows) if event.step is not None}
    return {"won" if key.startswith("won-") else key for key in keys}
