"""What a failure, a recovery, a close, a resume and the end of a program have recorded, in tables."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import RetryPolicy, WorkflowState
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import RunNotResumableError, StepNotFoundError
from flujo.kernel.events import (
    AttemptFailed,
    CancelRequested,
    Fact,
    PauseRequested,
    ProgressReported,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunPaused,
    RunResumed,
    RunTakenOver,
    StepCancelled,
    StepCompleted,
    StepInterrupted,
    StepSkipped,
    StepStarted,
    StepWaiting,
)
from flujo.kernel.events import RunFailed as RunFailedFact
from flujo.kernel.events import StepFailed as StepFailedFact
from flujo.kernel.state import Failure
from flujo.kernel.transitions import Stop, after_failure, at_close, at_end, at_recovery, at_resume, at_takeover
from kernel.harness import START
from kernel.journal.histories import CREATED, done, history, then


@pytest.mark.parametrize(
    ("policy", "names", "retried"),
    [
        (RetryPolicy(max_attempts=3, delay=10, jitter=0), ("ValueError",), True),
        (RetryPolicy(max_attempts=2, delay=10, jitter=0), ("ValueError",), False),
        (RetryPolicy(max_attempts=3, delay=10, jitter=0, on_error=["OSError"]), ("ValueError",), False),
        (RetryPolicy(max_attempts=3, delay=10, jitter=0, max_elapsed=15), ("ValueError",), False),
        (RetryPolicy(max_attempts=3, delay=10, jitter=0), (), False),
    ],
    ids=["retried", "too often", "another error", "too late", "never mended"],
)
def test_what_follows_a_failure(policy: RetryPolicy, names: tuple[str, ...], retried: bool) -> None:
    """The second failure of a step is followed by another attempt at a recorded instant, or is final."""
    state = history(CREATED, StepStarted("a"), AttemptFailed("a", 1, "E", "no", 0), StepStarted("a", 2))
    now = START + 5 * MICROSECONDS
    failure = Failure("ValueError", "no", "a", 2, "here")

    fact = after_failure(state, state.steps["a"], policy, failure, names, now)

    if retried:
        assert fact == AttemptFailed("a", 2, "ValueError", "no", now + 20 * MICROSECONDS, "here")
    else:
        assert fact == StepFailedFact("a", 2, "ValueError", "no", "here")


@pytest.mark.parametrize(("least", "seconds"), [(0, 10), (9, 10), (3600, 3600)])
def test_an_error_can_ask_for_a_longer_delay(least: float, seconds: int) -> None:
    """Never for a shorter one."""
    state = history(CREATED, StepStarted("a"))
    policy = RetryPolicy(max_attempts=2, delay=10, jitter=0)

    fact = after_failure(state, state.steps["a"], policy, Failure("E", "no"), [("E",)], START, least)

    assert isinstance(fact, AttemptFailed)
    assert fact.next_attempt_at == START + seconds * MICROSECONDS


def test_a_delay_that_is_asked_for_counts_into_the_time_there_is() -> None:
    """The step fails at once when its next attempt would come too late."""
    state = history(CREATED, StepStarted("a"))
    policy = RetryPolicy(max_attempts=2, delay=0, max_elapsed=60)

    fact = after_failure(state, state.steps["a"], policy, Failure("E", "no"), [("E",)], START, 120.0)

    assert isinstance(fact, StepFailedFact)


TAKEN_OVER = RunTakenOver("dead", "heir")


def _interrupted(times: int) -> list[Fact]:
    facts: list[Fact] = [CREATED, StepStarted("a", 1)]
    for number in range(1, times + 1):
        facts += [StepInterrupted("a", number), StepStarted("a", number + 1)]
    return facts


@pytest.mark.parametrize(
    ("facts", "recorded"),
    [
        ([CREATED], []),
        ([CREATED, StepStarted("a")], [StepInterrupted("a", 1)]),
        ([CREATED, StepStarted("a"), StepInterrupted("a", 1, counted=False)], []),
        ([CREATED, StepStarted("a"), StepCompleted("a", "1")], []),
        ([CREATED, StepWaiting("a", "sleep", until=1)], []),
        ([CREATED, StepStarted("a"), AttemptFailed("a", 1, "E", "no", 1)], []),
        (
            [CREATED, StepStarted("a"), StepStarted("b")],
            [StepInterrupted("a", 1), StepInterrupted("b", 1, last_alive_at=START + 3 * MICROSECONDS)],
        ),
        (_interrupted(1), [StepInterrupted("a", 2)]),
        (_interrupted(2), [StepInterrupted("a", 3), RunPaused("StepInterrupted", "a")]),
        ([CREATED, StepStarted("a"), CancelRequested("enough")], [StepInterrupted("a", 1), RunCancelled("enough")]),
        ([CREATED, StepStarted("a"), PauseRequested()], [StepInterrupted("a", 1), RunPaused("PauseRequested")]),
        ([CREATED, StepWaiting("a", "sleep", until=1), PauseRequested()], [RunPaused("PauseRequested")]),
        ([CREATED, PauseRequested(), CancelRequested("enough")], [RunCancelled("enough")]),
        ([CREATED, PauseRequested(), RunPaused("PauseRequested"), RunResumed()], []),
        ([CREATED, StepStarted("a"), RunCompleted("1")], []),
    ],
    ids=[
        "not begun",
        "running",
        "closed in order",
        "between steps",
        "waiting",
        "retrying",
        "two branches",
        "second crash",
        "third crash",
        "cancel requested",
        "pause requested",
        "pause requested while waiting",
        "pause and cancel requested",
        "resumed since",
        "final",
    ],
)
def test_what_recovery_records_first(facts: list[Fact], recorded: list[Fact]) -> None:
    """A new owner counts the attempts that died, pauses a run that kills its owners, and carries out a cancel."""
    assert at_recovery(history(*facts), max_interruptions=3) == recorded


@pytest.mark.parametrize(
    ("facts", "behind"),
    [
        ([], []),
        ([StepStarted("a")], [StepInterrupted("a", 1, last_alive_at=START + 2 * MICROSECONDS)]),
        ([StepStarted("a"), TAKEN_OVER], [StepInterrupted("a", 1, last_alive_at=START + 2 * MICROSECONDS)]),
        ([StepStarted("a"), TAKEN_OVER, TAKEN_OVER], [StepInterrupted("a", 1, last_alive_at=START + 2 * MICROSECONDS)]),
        (
            [StepStarted("a"), CancelRequested("no")],
            [StepInterrupted("a", 1, last_alive_at=START + 3 * MICROSECONDS), RunCancelled("no")],
        ),
    ],
    ids=["not begun", "running", "taken over before", "taken over twice before", "cancel requested"],
)
def test_a_takeover_is_recorded_first(facts: list[Fact], behind: list[Fact]) -> None:
    """What died with the old owner follows, and was alive until the last event of one that did more than take over."""
    state = history(CREATED, *facts)

    assert at_recovery(state, 3, TAKEN_OVER) == [TAKEN_OVER, *behind]


def test_a_body_is_not_active_while_owners_die_that_never_ran_it() -> None:
    """Its clock stands since the last thing that its own owner has recorded."""
    state = history(CREATED, StepStarted("a"), ProgressReported("a", 1), TAKEN_OVER, TAKEN_OVER, seconds=10)
    ended = then(state, *at_takeover(state), at=1000)

    assert ended.steps["a"].active_seconds == 10


def test_what_a_close_records() -> None:
    """An orderly close interrupts running attempts without counting, and nothing else."""
    state = history(CREATED, StepStarted("a"), StepWaiting("b", "sleep", until=1))

    assert at_close(state) == [StepInterrupted("a", 1, counted=False)]
    assert at_close(then(state, *at_close(state), at=9)) == []


FAILED_HANDLED: list[Fact] = [StepStarted("h"), StepFailedFact("h", 1, "E", "no")]


@pytest.mark.parametrize(
    ("facts", "from_step", "reset"),
    [
        ([*done("a"), StepStarted("b"), StepFailedFact("b", 1, "E", "no")], None, ["b"]),
        ([*FAILED_HANDLED, StepStarted("b"), StepFailedFact("b", 1, "E", "no")], None, ["b"]),
        ([StepStarted("c"), StepCancelled("c"), StepStarted("b"), StepFailedFact("b", 1, "E", "no")], None, ["c", "b"]),
        (done("a", "b", "c"), "a", ["a", "b", "c"]),
        (done("a", "b", "c"), "b", ["b", "c"]),
        (done("x", "x#2", "x#3", "y"), "x#2", ["x#2", "x#3", "y"]),
        (done("a", "m[0]", "m[1]", "z"), "m", ["m[0]", "m[1]", "z"]),
        (done("a", "m[0]", "m[1]", "z"), "m[1]", ["m[1]", "z"]),
        (done("a", "left/x", "right/x", "z"), "right", ["right/x", "z"]),
        (done("a", "gather[0]/x", "gather[1]/x"), "gather[1]", ["gather[1]/x"]),
        ([*done("a"), StepSkipped("s", "no"), *done("b")], "s", ["s", "b"]),
        ([*FAILED_HANDLED, *done("b")], "b", ["b"]),
    ],
    ids=[
        "the failure that ended it",
        "not a failure that was handled",
        "cancelled siblings",
        "the first step",
        "a step in a row",
        "a repeat",
        "a map",
        "an item",
        "a branch by name",
        "a branch by number",
        "a skipped step",
        "not an earlier failure",
    ],
)
def test_what_a_resume_invalidates(facts: list[Fact], from_step: str | None, reset: list[str]) -> None:
    """A resume resets the failure that ended the run, or from a step on everything that began after it."""
    ended = [name for name in ("b",) if from_step is None]
    end: Fact = RunFailedFact("E", "no", steps=ended) if from_step is None else RunCompleted("1")

    assert at_resume(history(CREATED, *facts, end), from_step) == reset


SEQUENCE = RunCreated("w", "{}", plan=[["a", "1"], ["b", "2"], ["c", "3"], ["d", "4"], ["tidy", "5", "*"]])


GRAPH = RunCreated(
    "w", "{}", plan=[["a", "1"], ["b", "2", "a"], ["c", "3", "a"], ["d", "4", "b", "c"], ["e", "5"], ["tidy", "6", "*"]]
)


FAILED_E: list[Fact] = [StepStarted("e"), StepFailedFact("e", 1, "E", "no")]


@pytest.mark.parametrize(
    ("created", "facts", "from_step", "reset"),
    [
        (SEQUENCE, done("a", "b", "c", "d"), "b", ["b", "c", "d"]),
        (SEQUENCE, done("a", "c", "d"), "c", ["c", "d"]),
        (SEQUENCE, done("a", "b", "a#2", "b#2", "c"), "a", ["a", "b", "a#2", "b#2", "c"]),
        (SEQUENCE, done("a", "b", "a#2", "b#2", "c"), "b", ["b", "a#2", "b#2", "c"]),
        (SEQUENCE, done("a", "b", "a#2", "b#2", "c"), "a#2", ["a#2", "b#2", "c"]),
        (SEQUENCE, done("a", "b", "a#2", "b#2", "a#3", "b#3", "c"), "b#2", ["b#2", "a#3", "b#3", "c"]),
        (SEQUENCE, done("a", "b", "a#2", "b#2", "c"), "c", ["c"]),
        (SEQUENCE, done("c", "a", "b"), "b", ["c", "b"]),
        (SEQUENCE, [*done("a", "tidy"), StepStarted("b")], "b", ["tidy", "b"]),
        (SEQUENCE, done("a", "b[0]", "b[1]", "c"), "b", ["b[0]", "b[1]", "c"]),
        (GRAPH, done("a", "e", "b", "c", "d"), "a", ["a", "b", "c", "d"]),
        (GRAPH, done("a", "e", "b", "c", "d"), "b", ["b", "d"]),
        (GRAPH, done("a", "b", "c", "d", "e"), "d", ["d"]),
        (GRAPH, done("a", "e", "b", "c", "d", "tidy"), "e", ["e", "tidy"]),
        (GRAPH, [*done("a"), StepSkipped("b", "no"), *done("c", "d")], "a", ["a", "b", "c", "d"]),
        (GRAPH, [*FAILED_E, *done("a", "b")], "a", ["a", "b"]),
        (GRAPH, done("a", "b[0]", "b[1]", "c", "d"), "b[1]", ["b[1]", "d"]),
    ],
    ids=[
        "a sequence",
        "after a jump ahead",
        "from the first of all repeats",
        "a jump back",
        "a repeat",
        "a repeat in the middle",
        "behind the repeats",
        "what stands behind it ran before it",
        "a clean-up",
        "the items of a step",
        "the root of a graph",
        "one side of a graph",
        "a leaf of a graph",
        "the clean-up of a graph",
        "a skipped dependent",
        "not another failure",
        "one item in a graph",
    ],
)
def test_what_follows_on_a_planned_step(created: Fact, facts: list[Fact], from_step: str, reset: list[str]) -> None:
    """In a sequence all that stands behind it or came later, in a graph its dependents, and always the clean-ups."""
    assert at_resume(history(created, *facts), from_step) == reset
    assert at_resume(history(created, *facts, RunCompleted("1")), from_step) == reset


@pytest.mark.parametrize("created", [SEQUENCE, GRAPH])
def test_a_run_that_has_ended_is_cleaned_up_anew(created: Fact) -> None:
    """After a failure or a cancel the clean-ups get a new generation; in a run that goes on they keep theirs."""
    facts: list[Fact] = [*done("a"), *FAILED_HANDLED, *done("tidy")]

    assert at_resume(history(created, *facts), None) == []
    assert at_resume(history(created, *facts, RunFailedFact("E", "no", steps=["h"])), None) == ["h", "tidy"]
    assert at_resume(history(created, *facts, RunCancelled()), None) == ["tidy"]


def test_a_step_that_ran_on_another_way_is_followed_by_what_came_after_it_this_time() -> None:
    """Not by what began after it in an earlier generation, when the run had jumped over it."""
    state = history(SEQUENCE, *done("c", "a#2", "d"), RunCompleted("1"))
    state = then(state, RunResumed(reset=["c", "a#2", "d"], from_step="c"), at=50)
    for name in ("c", "b", "a#2", "d"):
        state = then(state, *_done_anew(name, state), at=51)

    assert at_resume(state, "b") == ["c", "a#2", "d", "b"]


def _done_anew(name: str, state: WorkflowState) -> list[Fact]:
    known = state.steps.get(name)
    return [StepStarted(name, 1, 1 if known is None else known.generation), StepCompleted(name, "1")]


def test_a_step_that_was_reset_keeps_its_place() -> None:
    """`from_step` goes by when a step first began, over all generations."""
    state = history(CREATED, *done("a", "b", "c"), RunCompleted("1"))
    state = then(state, RunResumed(reset=["a"], from_step="a"), StepStarted("a", 1, 2), at=50)
    state = then(state, StepCompleted("a", "2"), RunCompleted("1"), at=51)

    assert at_resume(state, "b") == ["b", "c"]


def test_a_resume_of_a_run_that_has_not_ended_resets_nothing() -> None:
    """A step its program cancelled waits to be cancelled again after a resume, as it does after a recovery."""
    interrupted = history(CREATED, StepStarted("a"), StepCancelled("a"), StepStarted("b"))

    assert at_resume(interrupted, None) == []
    assert at_resume(then(interrupted, RunCancelled(), at=9), None) == ["a", "b"]


def test_a_resume_that_makes_no_sense_is_refused() -> None:
    """A completed run needs a step, and a step must have begun."""
    state = history(CREATED, *done("a", "b"), RunCompleted("1"))

    with pytest.raises(RunNotResumableError):
        at_resume(state, None)
    with pytest.raises(StepNotFoundError, match="it has begun: a, b"):
        at_resume(state, "c")


@pytest.mark.parametrize(
    ("stop", "output", "failure", "recorded"),
    [
        (None, "1", None, [RunCompleted("1")]),
        (None, None, RunFailedFact("E", "no"), [RunFailedFact("E", "no")]),
        (Stop.CANCEL, "1", None, [RunCancelled("enough")]),
        (Stop.CANCEL, None, RunFailedFact("E", "no"), [RunCancelled("enough")]),
        (Stop.CLOSE, "1", None, [StepInterrupted("a", 1, counted=False)]),
        (Stop.PAUSE, None, None, [StepInterrupted("a", 1, counted=False), RunPaused("PauseRequested")]),
        (Stop.PAUSE, "1", None, [StepInterrupted("a", 1, counted=False), RunPaused("PauseRequested")]),
        (Stop.FENCED, "1", None, []),
        (Stop.LOST, None, RunFailedFact("E", "no"), []),
    ],
)
def test_how_a_run_ends(stop: Stop | None, output: str | None, failure: Any, recorded: list[Fact]) -> None:
    """A run ends as its program ended, unless it was told to stop first."""
    state = history(CREATED, StepStarted("a"), CancelRequested("enough"))

    assert at_end(state, stop, output, failure) == recorded


def test_a_run_that_took_too_long_names_what_was_open() -> None:
    """A timeout fails the run with a TimeoutError, and a resume will try the steps it has stopped."""
    state = history(RunCreated("flow", "{}", timeout_seconds=60), StepStarted("a"))

    (fact,) = at_end(state, Stop.TIMEOUT, None, None)

    assert fact == RunFailedFact("TimeoutError", "the run took longer than 1m", steps=("a",))
