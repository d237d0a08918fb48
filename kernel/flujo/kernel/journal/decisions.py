"""What may happen next, decided from a state alone. Nothing here waits, reads a clock or touches a store.

after_failure whether a failed attempt is followed by another, and when
at_recovery   what has to be recorded before a run goes on under a new owner
at_resume     what a resume invalidates
at_end        how a run ends, from how its program ended
at_clean_up   what is recorded before the clean-ups of a run that was stopped; after_clean_up behind them
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import StrEnum
from operator import attrgetter

from flujo.kernel.durations import MICROSECONDS, format_duration
from flujo.kernel.errors import Difference, RunNotResumableError, StepCompletedError, StepNotFoundError

from . import events, plans
from .events import Fact
from .retry import RetryPolicy
from .state import (
    FINAL,
    ITEMS,
    CleanUpReason,
    Failure,
    PauseReason,
    RunStatus,
    StepState,
    StepStatus,
    WorkflowState,
)


def after_failure(
    state: WorkflowState,
    step: StepState,
    policy: RetryPolicy,
    failure: Failure,
    kinds: Collection[Collection[str]],
    now: int,
    least_seconds: float = 0.0,
) -> events.AttemptFailed | events.StepFailed:
    """Return what follows the failed attempt of a running step.

    `kinds` are the names by which its policy may know each error that failed it; without any, no retry can mend the
    failure. The next attempt waits for `least_seconds`, if that is longer than the delay of the policy.
    """
    failures = step.failures + 1
    delay = policy.delay_seconds(failures, seed=f"{state.uid}/{step.name}@{step.generation}")
    delay = max(delay, least_seconds)
    elapsed = (now - (step.started_at or now)) / MICROSECONDS
    if kinds and policy.retries(kinds, failures, elapsed, delay):
        due = now + round(delay * MICROSECONDS)
        return events.AttemptFailed(
            step.name, step.attempt, failure.type, failure.message, next_attempt_at=due, details=failure.details
        )
    return events.StepFailed(step.name, step.attempt, failure.type, failure.message, details=failure.details)


def at_recovery(
    state: WorkflowState,
    max_interruptions: int,
    takeover: events.RunTakenOver | None = None,
    *,
    cleans_up: bool = False,
) -> list[Fact]:
    """Return what a new owner records before the program runs again: the takeover from one that has died, attempts that
    died with it, a cancel carried out, or a pause when one step has now outlived `max_interruptions` owners. With
    `cleans_up` the workflow has clean-ups: they begin, or go on, before a cancel is carried out."""
    died = at_takeover(state, takeover)
    interrupted = (fact.step for fact in died if isinstance(fact, events.StepInterrupted))
    outlived = [step for step in interrupted if state.steps[step].interruptions + 1 >= max_interruptions]
    if state.cleaning_up is not None:
        return [*died] if cleans_up and not outlived else [*died, *after_clean_up(state)]
    if state.cancel_requested_at is not None:
        return [*died, *at_cancel(state, cleans_up=cleans_up)]
    if state.pause_requested_at is not None:
        return [*died, events.RunPaused(PauseReason.REQUESTED)]
    if outlived:
        return [*died, events.RunPaused(PauseReason.INTERRUPTED, outlived[0])]
    return [*died]


def at_cancel(state: WorkflowState, *, cleans_up: bool) -> list[Fact]:
    """What follows on the cancel of a run whose program has stopped: its clean-ups if it has any and any step has
    begun, else its end."""
    if cleans_up and state.steps and state.cleaning_up is None:
        return [at_clean_up(state, Stop.CANCEL)]
    return [events.RunCancelled(state.cancel_reason)]


def at_clean_up(state: WorkflowState, stop: Stop) -> events.CleanUpStarted:
    """What is recorded when clean-ups begin because a run was stopped."""
    reason = CleanUpReason.TIMEOUT if stop is Stop.TIMEOUT else CleanUpReason.CANCELLED
    return events.CleanUpStarted(reason, tuple(step.name for step in state.open_steps()))


def after_clean_up(state: WorkflowState) -> list[Fact]:
    """How a run ends whose clean-ups are over, whatever they have come to: as it would have without them."""
    return at_end(state, stop_of(state), None, None)


def stop_of(state: WorkflowState) -> Stop:
    """Why the program of a run stopped that cleans up."""
    return Stop.TIMEOUT if state.cleaning_up == CleanUpReason.TIMEOUT else Stop.CANCEL


def at_takeover(
    state: WorkflowState, takeover: events.RunTakenOver | None = None
) -> list[events.RunTakenOver | events.StepInterrupted]:
    """Return the takeover, if the owner before has died without giving the run up, and the attempts that died with it:
    whatever a new owner does, it records these first."""
    facts: list[events.RunTakenOver | events.StepInterrupted] = [] if takeover is None else [takeover]
    for step in state.open_steps():
        if step.status is StepStatus.RUNNING and not step.interrupted:
            alive = state.last_alive_at if facts else None
            facts.append(events.StepInterrupted(step.name, step.attempt, counted=True, last_alive_at=alive))
    return facts


def at_close(state: WorkflowState) -> list[Fact]:
    """Return what an owner records that stops in good order: its attempts are interrupted, which counts against
    nothing."""
    return [
        events.StepInterrupted(step.name, step.attempt, counted=False)
        for step in state.open_steps()
        if step.status is StepStatus.RUNNING and not step.interrupted
    ]


def at_resume(state: WorkflowState, from_step: str | None, retry: Collection[str] = ()) -> list[str]:
    """Return the steps a resume gives a new generation, in the order they first began.

    Without `from_step`: those whose failure ended the run, and those that were cancelled before it ended (in a run
    that has not ended they wait to be cancelled again, as after a recovery), and the clean-ups of what has ended. With
    it: that step, everything that follows on it, and the same ones besides. What the program has skipped behind such a
    failure is decided anew: the failure may have been the reason. `from_step` may also name a map, a gather
    or a branch. A loop and those of its items that have failed go together, and so do an item and the outcome of its
    loop. Raises RunNotResumableError for a completed run without `from_step`, StepNotFoundError for a step that
    never began."""
    if from_step is None and state.status is RunStatus.COMPLETED:
        raise RunNotResumableError(state.run_id, state.status)
    ended = set(state.failed_steps)
    ended.update(_require_begun(state, name) for name in retry)
    loops = {name for name in ended if name in state.steps and state.steps[name].kind == ITEMS}
    if loops:
        ended.update(name for name in state.steps if plans.loop_of(name) in loops)
    follows = None if from_step is None else _following(state, from_step)
    has_ended = state.status in FINAL or state.cleaning_up is not None
    ends_anew = from_step is not None or has_ended
    clean_ups = plans.clean_ups(state.plan) if state.plan is not None and ends_anew else frozenset()
    cleaned_since = state.seq if state.clean_up_seq is None else state.clean_up_seq
    tried = [*retry, *(name for name in ended if name in state.steps and state.steps[name].status is StepStatus.FAILED)]
    again = {loop for name in tried if (loop := _settled_loop(state, name)) is not None}
    again |= _left_out_behind(state, tried)
    return [
        step.name
        for step in sorted(state.steps.values(), key=attrgetter("first_seq"))
        if step.status is not StepStatus.PENDING
        and (
            (step.name in ended and (step.status is StepStatus.FAILED or step.name in retry))
            or step.name in again
            or (step.status is StepStatus.CANCELLED and has_ended)
            or max(step.first_seq, step.settled_seq or 0) > cleaned_since
            or (clean_ups and plans.planned_name(step.name) in clean_ups)
            or (follows is not None and follows(step))
        )
    ]


def _left_out_behind(state: WorkflowState, failed: Iterable[str]) -> set[str]:
    """Return the steps that the program of a run has skipped after one of these had failed, and that follow on it.

    The run went on after that failure and failed in the end: what else has come to an outcome meanwhile stays."""
    if state.plan is None or not any(step.left_out for step in state.steps.values()):
        return set()
    found: set[str] = set()
    for name in failed:
        failure = state.steps[name]
        if failure.status is StepStatus.FAILED and failure.settled_seq is not None:
            follows = _following(state, name)
            found |= {
                step.name
                for step in state.steps.values()
                if step.left_out
                and step.status is StepStatus.SKIPPED
                and (step.settled_seq or 0) > failure.settled_seq
                and follows(step)
            }
    return found


def restart_at(
    state: WorkflowState, found: Sequence[Difference], is_enough: Callable[[Collection[str]], bool]
) -> str | None:
    """The step from which a resume leaves none of the differences found; None if there is no such step.

    `is_enough` says of what a resume would invalidate whether that is so. In a sequence it is the first step that
    differs, or the one a new step stands before; in a graph it may be one that all of them depend on."""
    if state.plan is None:
        return None
    order = [row[0] for row in state.plan if row[0] in state.steps]
    differing = {each.step for each in found}
    first = next((place for place, name in enumerate(order) if name in differing), len(order))
    candidates = [*order[first:], *reversed(order[:first])]
    for name in candidates[:_CANDIDATES]:
        if is_enough(at_resume(state, name)):
            return name
    return None


_CANDIDATES = 50
"""How many steps are tried: each takes a look at all steps."""


def _following(state: WorkflowState, name: str) -> Callable[[StepState], bool]:
    """Return the test whether a step follows on the one called `name`, or is that one.

    In a graph that is what depends on it. In a sequence it is what stands behind it, and what came to an outcome later,
    since a jump may have led back; only the latter counts for a repeat such as `fetch#3`. In a program whose steps
    nobody knows beforehand it is every step that first began later."""
    since = first_seq(state, name)
    if state.plan is None:
        return lambda step: step.first_seq >= since
    if (loop := plans.loop_of(name)) is not None:
        return _following_item(state, state.plan, name, loop)
    called = {key for key in state.steps if key == name or key.startswith((f"{name}[", f"{name}/"))}
    place = plans.planned_name(name)
    if plans.is_graph(state.plan):
        behind = plans.dependents(state.plan, place) - (frozenset() if name == place else {place})
        return lambda step: step.name in called or plans.planned_name(step.name) in behind
    order = [row[0] for row in state.plan]
    behind = frozenset(order[order.index(name) :] if name in order else ())
    settled = min(state.steps[key].settled_seq or state.seq for key in called)
    return lambda step: plans.planned_name(step.name) in behind or (step.settled_seq or state.seq) >= settled


def _following_item(state: WorkflowState, plan: plans.Plan, name: str, loop: str) -> Callable[[StepState], bool]:
    """Return the same test for an item of a loop: the outcome of the loop follows on it, with what follows on that. The
    other items stay."""
    place = plans.planned_name(loop)
    if plans.is_graph(plan):
        behind = plans.dependents(plan, place) - {place}
        return lambda step: step.name in (name, loop) or plans.planned_name(step.name) in behind
    order = [row[0] for row in plan]
    behind = frozenset(order[order.index(loop) + 1 :] if loop in order else ())
    ended = (state.steps[loop].settled_seq if loop in state.steps else None) or state.seq

    def follows(step: StepState) -> bool:
        is_later = step.settled_seq is not None and step.settled_seq > ended
        return step.name in (name, loop) or plans.planned_name(step.name) in behind or is_later

    return follows


def _settled_loop(state: WorkflowState, name: str) -> str | None:
    """Return the loop that a step is an item of, if that has come to an outcome."""
    return plans.loop_of(name) if state.has_settled_loop(name) else None


def _require_begun(state: WorkflowState, name: str) -> str:
    if name not in state.steps:
        raise StepNotFoundError(state.run_id, name, list(state.steps))
    return name


def skip(
    state: WorkflowState,
    name: str,
    output: str | None,
    by: str | None = None,
    reset: Collection[str] = (),
    reason: str | None = None,
) -> events.StepSkipped:
    """Return what is recorded when somebody skips a step; `reset` are steps that a resume is about to give a new
    generation.

    Raises StepNotFoundError, StepCompletedError."""
    generation = _generation_to_settle(state, name, reset)
    return events.StepSkipped(name, reason or "somebody skipped it", output, generation, by)


def set_output(
    state: WorkflowState, name: str, output: str, by: str | None = None, reason: str | None = None
) -> events.StepOutputSet:
    """Return what is recorded when somebody gives a step its output: also one whose recorded output has been found not
    to fit its type any more. Raises StepNotFoundError, StepCompletedError."""
    misfits = [step for step, change, _ in state.differences if change == MISFIT]
    return events.StepOutputSet(name, output, _generation_to_settle(state, name, misfits), reason, by)


MISFIT = "misfit"
"""How a step differs whose recorded output does not fit its type any more."""


def _generation_to_settle(state: WorkflowState, name: str, reset: Collection[str]) -> int:
    """Return the generation of a step that may get an outcome from somebody."""
    if (step := state.steps.get(name)) is None:
        if state.plan is None or name not in {row[0] for row in state.plan}:
            known = [row[0] for row in state.plan] if state.plan is not None else list(state.steps)
            raise StepNotFoundError(state.run_id, name, known)
        return 1
    if name in reset:
        return step.generation + 1
    if step.status is StepStatus.COMPLETED:
        raise StepCompletedError(state.run_id, name)
    return step.generation


def first_seq(state: WorkflowState, name: str) -> int:
    """Return the number of the event that first began a step, or anything inside of a map, gather or branch of this
    name.

    Raises StepNotFoundError."""
    exact = state.steps.get(name)
    if exact is not None:
        return exact.first_seq
    inside = [step.first_seq for key, step in state.steps.items() if key.startswith((f"{name}[", f"{name}/"))]
    if not inside:
        raise StepNotFoundError(state.run_id, name, list(state.steps))
    return min(inside)


class Stop(StrEnum):
    """Why the kernel stops a program that has not ended by itself."""

    CANCEL = "cancel"
    """Somebody asked for it: the run becomes cancelled."""

    TIMEOUT = "timeout"
    """The run has taken longer than its workflow allows: it fails."""

    PAUSE = "pause"
    """Somebody asked for it, and the last body has ended: the run becomes paused."""

    CLOSE = "close"
    """The kernel closes in good order: the run stays as it is, for its next owner."""

    INCOMPATIBLE = "incompatible"
    """The program has changed, and contradicts what it has completed: the run becomes paused."""

    WORKSPACE_GONE = "workspace_gone"
    """The folder with the files of its steps is gone: the run becomes paused."""

    LEAVE = "leave"
    """It only waits, and others need the memory: it stays as it is in the store until its time comes."""

    FENCED = "fenced"
    """Another kernel owns the run: nothing more may be recorded or reported."""

    LOST = "lost"
    """The store failed: what is in it is not known, so nothing more may be recorded."""


def at_end(
    state: WorkflowState,
    stop: Stop | None,
    output: str | None,
    failure: events.RunFailed | None,
    differences: Sequence[Difference] = (),
) -> list[Fact]:
    """Return what is recorded when the program has ended, by itself or because it was stopped.

    `output` or `failure` is how it ended by itself. A stop that came first wins: the program was told to unwind,
    and what it returns then is not its result."""
    match stop:
        case Stop.CANCEL:
            return [events.RunCancelled(state.cancel_reason)]
        case Stop.TIMEOUT:
            message = f"the run took longer than {format_duration(state.timeout_seconds or 0)}"
            steps = state.cut_short or tuple(step.name for step in state.open_steps())
            return [events.RunFailed("TimeoutError", message, steps=steps)]
        case Stop.PAUSE:
            return [*at_close(state), events.RunPaused(PauseReason.REQUESTED)]
        case Stop.INCOMPATIBLE:
            rows = [tuple(difference) for difference in differences]
            return [*at_close(state), events.RunPaused(PauseReason.INCOMPATIBLE, rows[0][0], rows)]
        case Stop.WORKSPACE_GONE:
            return [*at_close(state), events.RunPaused(PauseReason.WORKSPACE_GONE)]
        case Stop.CLOSE:
            return at_close(state)
        case Stop.LEAVE | Stop.FENCED | Stop.LOST:
            return []
    if failure is not None:
        return [failure]
    assert output is not None
    return [events.RunCompleted(output)]
