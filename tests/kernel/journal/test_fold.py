"""The fold and the decisions: pure functions of what is recorded, held against docs/state-machines.md and real runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.kernel import Context, RetryPolicy, RunFailed, RunStatus, StepFailed, StepStatus, WorkflowState, workflow
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import CorruptStoreError, RunNotResumableError, StepNotFoundError
from flujo.kernel.events import (
    KINDS,
    AttemptFailed,
    CancelRequested,
    Event,
    Fact,
    PauseRequested,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunPaused,
    RunResumed,
    SignalReceived,
    StepCancelled,
    StepCompleted,
    StepInterrupted,
    StepSkipped,
    StepStarted,
    StepWaiting,
    encode,
)
from flujo.kernel.events import RunFailed as RunFailedFact
from flujo.kernel.events import StepFailed as StepFailedFact
from flujo.kernel.state import Failure
from flujo.kernel.transitions import (
    Stop,
    after_failure,
    at_close,
    at_end,
    at_recovery,
    at_resume,
    fold,
    replay,
    summarize,
)
from kernel.harness import START, JumpingClock, Stage, crash, until
from kernel.legal_events import Move, check_counts, explore, legal, moves

DOCUMENT = (Path(__file__).parents[3] / "docs" / "state-machines.md").read_text()
RUNS, STEPS = DOCUMENT.split("## Runs")[1].split("## Steps")

CREATED = RunCreated("flow", "{}")


def history(*facts: Fact, seconds: float = 1) -> WorkflowState:
    """The state after these facts, recorded one second apart."""
    state = WorkflowState(run_id="r", uid="u")
    for number, fact in enumerate(facts, 1):
        fold(state, Event(number, START + round(number * seconds * MICROSECONDS), fact))
    return state


def then(state: WorkflowState, *facts: Fact, at: float) -> WorkflowState:
    """The same state some facts later, all of them recorded `at` seconds after the start."""
    later = deepcopy(state)
    for fact in facts:
        fold(later, Event(later.seq + 1, START + round(at * MICROSECONDS), fact))
    return later


# -- the document --------------------------------------------------------------------------------------------------


def table(section: str) -> list[Move]:
    """The rows of the table in one section of the document."""
    return [Move(*row) for row in re.findall(r"^\| (\S+) \| `(\w+)` \| (\S+) \|$", section, re.MULTILINE)]


def drawn(section: str) -> set[Move]:
    """The arrows of the drawing in one section of the document, one for each event on them."""
    arrows = re.findall(r"^    (\S+) --> (\w+): (.+)$", section, re.MULTILINE)
    return {
        Move("—" if before == "[*]" else before, event, after)
        for before, after, listed in arrows
        for event in listed.split(", ")
    }


def test_the_tables_list_every_move_and_no_other() -> None:
    """Folding every legal history meets exactly the rows of the two tables."""
    of_run, of_steps = explore(5)

    assert set(table(RUNS)) == of_run
    assert set(table(STEPS)) == of_steps
    assert len(table(RUNS)) == len(of_run)
    assert len(table(STEPS)) == len(of_steps)


@pytest.mark.parametrize("section", [RUNS, STEPS], ids=["runs", "steps"])
def test_the_drawings_show_the_rows_that_move(section: str) -> None:
    """An arrow stands for the rows between two statuses; rows that stay in one are not drawn."""
    assert drawn(section) == {row for row in table(section) if row.before != row.after}


def test_the_document_names_every_event_and_every_status() -> None:
    """A kind of event or a status that is added to the code has to be added to the document."""
    rows = table(RUNS) + table(STEPS)

    assert {row.event for row in rows} == {kind.type for kind in KINDS}
    assert {row.after for row in table(RUNS)} == set(RunStatus)
    assert {row.after for row in table(STEPS)} == set(StepStatus)


async def test_real_runs_make_legal_moves() -> None:
    """What the kernel records of retries, waits, cancelled branches, crashes and resumes is in the tables."""
    stage = Stage(JumpingClock())
    begun = anyio.Event()
    fails = [True]

    async def flaky(number: int) -> int:
        if fails and number == 2:
            raise ConnectionError
        return number

    async def endless() -> None:
        begun.set()
        await anyio.sleep_forever()

    async def broken() -> None:
        await begun.wait()
        raise ValueError

    @workflow()
    async def program(ctx: Context) -> None:
        ctx.skip("optional", "not today")
        await ctx.sleep(5)
        try:
            await ctx.gather(ctx.step(endless), ctx.step(broken), ctx.wait_signal("never"))
        except* StepFailed:
            pass
        await ctx.step(flaky, 1)
        await ctx.step(flaky, 2, retry=RetryPolicy(max_attempts=2))
        await ctx.wait_signal("go")
        await ctx.step(anyio.sleep_forever, name="gate")

    async with stage.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        with pytest.raises(RunFailed):
            await handle.result()
        fails.clear()
        await kernel.resume("r", from_step="flaky")
        await handle.signal("go")
        await until(kernel, "r", "step_started", "gate")
        crash(kernel)
    async with stage.kernel(program) as kernel:
        await until(kernel, "r", "step_started", "gate", count=2)
        await kernel.cancel("r")
        await kernel.wait("r")
    made_by_run, made_by_steps = made(stage, "r")

    assert made_by_run <= set(table(RUNS))
    assert made_by_steps <= set(table(STEPS))
    assert len(made_by_run) >= 15
    assert len(made_by_steps) >= 12


async def test_real_runs_make_legal_moves_with_children_and_by_hand() -> None:
    """So is what it records of children, values, progress, pauses and amendments."""
    stage = Stage(JumpingClock())
    fails = [True]

    async def flaky() -> None:
        if fails:
            fails.clear()
            raise ConnectionError

    async def refuse(ctx: Context) -> None:
        ctx.progress(1, 2)
        raise ValueError

    @workflow()
    async def child(ctx: Context) -> None:
        await ctx.step(flaky)

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.now()
        await ctx.set_variable("mode", 1)
        ctx.progress(1)
        await ctx.run_child(child, retry=RetryPolicy(max_attempts=2))
        await ctx.wait_signal("go")
        await ctx.step(refuse, ctx)
        await ctx.step(refuse, ctx)

    async with stage.kernel(program, child) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting", "go")
        await kernel.pause("r")
        await kernel.wait("r")
        await kernel.set_variable("r", "mode", 2)
        await kernel.unpause("r")
        await kernel.signal("r", "go")
        with pytest.raises(RunFailed):
            await kernel.result("r")
        await kernel.set_output("r", "refuse", 1)
        with pytest.raises(RunFailed):
            await (await kernel.resume("r")).result()
        await kernel.skip("r", "refuse#2")
        await (await kernel.resume("r")).result()
    made_by_run, made_by_steps = made(stage, "r")

    assert made_by_run <= set(table(RUNS))
    assert made_by_steps <= set(table(STEPS))
    assert {move.event for move in made_by_run} >= {
        "value_recorded", "variable_set", "progress_reported", "pause_requested", "run_paused", "step_output_set"
    }  # fmt: skip
    assert {Move("waiting", "attempt_failed", "retrying"), Move("retrying", "step_waiting", "waiting")} <= made_by_steps


def made(stage: Stage, run_id: str) -> tuple[set[Move], set[Move]]:
    """The moves that the journal of a run has made."""
    of_run: set[Move] = set()
    of_steps: set[Move] = set()
    state = WorkflowState(run_id=run_id, uid="u")
    for event in stage.journal(run_id):
        before = deepcopy(state)
        fold(state, event)
        check_counts(state)
        run_moves, step_moves = moves(before, state, event)
        of_run |= run_moves
        of_steps |= step_moves
    return of_run, of_steps


@given(st.lists(st.integers(0, 50), max_size=25))
def test_the_counts_of_a_state_are_true_after_any_legal_history(choices: list[int]) -> None:
    """The counters that a fold keeps by the way agree with the steps they count, and the summary with the state."""
    state = WorkflowState(run_id="r", uid="u")
    for number, choice in enumerate(choices, 1):
        possible = list(legal(state))
        if not possible:  # a run that completed without a step
            break
        fold(state, Event(number, START + number * MICROSECONDS, possible[choice % len(possible)]))

        check_counts(state)
        summary = summarize(state, "me", 1)
        assert (summary.status, summary.seq, summary.steps_done) == (state.status, state.seq, state.done)
        assert (summary.owner is None) == (state.status in ("completed", "failed", "cancelled", "paused"))
        assert (summary.wake_at is None) or state.status is RunStatus.WAITING
        state.to_dict()


# -- the fold ------------------------------------------------------------------------------------------------------


def test_an_event_out_of_order_is_corruption() -> None:
    """A gap or a repeat in the journal is never folded over."""
    state = history(CREATED)

    for seq in (1, 3):
        with pytest.raises(CorruptStoreError, match=f"event {seq} follows event 1"):
            fold(state, Event(seq, START, SignalReceived("go", "1")))


def test_replaying_the_rows_gives_the_same_state() -> None:
    """A state is what its stored rows add up to."""
    facts: list[Fact] = [CREATED, StepStarted("a"), StepCompleted("a", "1"), RunCompleted("[1]")]
    rows = [encode(Event(number, START + number * MICROSECONDS, fact)) for number, fact in enumerate(facts, 1)]

    assert replay("r", "u", rows) == history(*facts)


def test_a_failed_attempt_is_counted_and_its_error_kept() -> None:
    """A step to be retried holds the number of failures, the last error and the instant of the next attempt."""
    state = history(CREATED, StepStarted("a", max_attempts=3), AttemptFailed("a", 1, "OSError", "no", 99, "here"))
    step = state.steps["a"]

    assert (step.failures, step.next_attempt_at, step.wake_at) == (1, 99, 99)
    assert step.error == Failure("OSError", "no", "a", 1, "here")
    assert state.retry_state == {"a": {"attempt": 1, "max_attempts": 3}}
    assert [(wait["kind"], wait["step"]) for wait in state.wait] == [("backoff", "a")]
    assert state.progress["errors"] == state.retries == 1


def test_a_success_forgets_the_failures_before_it() -> None:
    """A step that completed has an output and no error."""
    state = history(
        CREATED, StepStarted("a"), AttemptFailed("a", 1, "E", "no", 1), StepStarted("a", 2), StepCompleted("a", "[1]")
    )

    assert (state.steps["a"].output, state.steps["a"].error, state.steps["a"].attempt) == ([1], None, 2)
    assert state.step_outputs == {"a": {"result": [1]}}


def test_a_resume_begins_a_new_generation() -> None:
    """A step that is reset forgets attempts, failures and outcome, and keeps its place among the steps."""
    failed = history(
        CREATED,
        StepStarted("a"),
        StepCompleted("a", "1"),
        StepStarted("b"),
        StepFailedFact("b", 1, "E", "no"),
        RunFailedFact("E", "no", "b", 1, steps=["b"]),
    )
    state = then(failed, RunResumed(reset=["b"], inputs='{"x":2}'), at=10)

    assert (state.steps["a"].status, state.steps["a"].generation) == (StepStatus.COMPLETED, 1)
    step = state.steps["b"]
    assert (step.status, step.generation, step.attempt, step.failures, step.error) == (
        StepStatus.PENDING,
        2,
        0,
        0,
        None,
    )
    assert step.first_seq == 4
    assert (state.status, state.error, state.finished_at, state.inputs) == (RunStatus.RUNNING, None, None, {"x": 2})


def test_signals_are_kept_until_they_are_taken() -> None:
    """A signal waits in the state, in order, until the completion that names it."""
    state = history(
        CREATED,
        SignalReceived("go", "1"),
        SignalReceived("go", "2"),
        StepWaiting("w", "signal", signal="go"),
        StepCompleted("w", "1", signal_seq=2),
    )

    assert [signal.payload for signal in state.signals["go"]] == ["2"]
    assert state.steps["w"].signal_seq == 2


# -- active time ---------------------------------------------------------------------------------------------------


def test_waiting_time_is_not_active_time() -> None:
    """Active seconds are those in which a body ran: backoff and sleeps do not count."""
    state = history(CREATED)
    state = then(state, StepStarted("a"), at=10)
    state = then(state, AttemptFailed("a", 1, "E", "no", 0), at=13)
    state = then(state, StepStarted("a", 2), at=100)
    state = then(state, StepCompleted("a", "1"), StepWaiting("s", "sleep", until=0), at=104)
    state = then(state, StepCompleted("s", "null"), RunCompleted("1"), at=500)

    assert (state.steps["a"].active_seconds, state.steps["s"].active_seconds, state.active_seconds) == (7, 0, 7)


def test_concurrent_steps_share_active_time() -> None:
    """While two bodies run, the run is active once."""
    state = then(history(CREATED), StepStarted("a"), at=10)
    state = then(state, StepStarted("b"), at=12)
    state = then(state, StepCompleted("a", "1"), at=15)
    state = then(state, StepCompleted("b", "1"), at=16)

    assert (state.steps["a"].active_seconds, state.steps["b"].active_seconds, state.active_seconds) == (5, 4, 6)


def test_the_time_after_a_crash_is_not_active_time() -> None:
    """An attempt whose owner died was active until the last event at most; one that was closed, until that moment."""
    running = then(history(CREATED), StepStarted("a"), at=10)
    running = then(running, SignalReceived("x", "1"), at=12)
    crashed = then(running, StepInterrupted("a", 1), at=1000)
    closed = then(running, StepInterrupted("a", 1, counted=False), at=14)

    assert (crashed.active_seconds, crashed.steps["a"].interruptions) == (2, 1)
    assert (closed.active_seconds, closed.steps["a"].interruptions) == (4, 0)


# -- decisions -----------------------------------------------------------------------------------------------------


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
        ([CREATED, StepStarted("a"), StepStarted("b")], [StepInterrupted("a", 1), StepInterrupted("b", 1)]),
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


def test_what_a_close_records() -> None:
    """An orderly close interrupts running attempts without counting, and nothing else."""
    state = history(CREATED, StepStarted("a"), StepWaiting("b", "sleep", until=1))

    assert at_close(state) == [StepInterrupted("a", 1, counted=False)]
    assert at_close(then(state, *at_close(state), at=9)) == []


def _done(*names: str) -> list[Fact]:
    facts: list[Fact] = []
    for name in names:
        facts += [StepStarted(name), StepCompleted(name, "1")]
    return facts


FAILED_HANDLED: list[Fact] = [StepStarted("h"), StepFailedFact("h", 1, "E", "no")]


@pytest.mark.parametrize(
    ("facts", "from_step", "reset"),
    [
        ([*_done("a"), StepStarted("b"), StepFailedFact("b", 1, "E", "no")], None, ["b"]),
        ([*FAILED_HANDLED, StepStarted("b"), StepFailedFact("b", 1, "E", "no")], None, ["b"]),
        ([StepStarted("c"), StepCancelled("c"), StepStarted("b"), StepFailedFact("b", 1, "E", "no")], None, ["c", "b"]),
        (_done("a", "b", "c"), "a", ["a", "b", "c"]),
        (_done("a", "b", "c"), "b", ["b", "c"]),
        (_done("x", "x#2", "x#3", "y"), "x#2", ["x#2", "x#3", "y"]),
        (_done("a", "m[0]", "m[1]", "z"), "m", ["m[0]", "m[1]", "z"]),
        (_done("a", "m[0]", "m[1]", "z"), "m[1]", ["m[1]", "z"]),
        (_done("a", "left/x", "right/x", "z"), "right", ["right/x", "z"]),
        (_done("a", "gather[0]/x", "gather[1]/x"), "gather[1]", ["gather[1]/x"]),
        ([*_done("a"), StepSkipped("s", "no"), *_done("b")], "s", ["s", "b"]),
        ([*FAILED_HANDLED, *_done("b")], "b", ["b"]),
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
        (SEQUENCE, _done("a", "b", "c", "d"), "b", ["b", "c", "d"]),
        (SEQUENCE, _done("a", "c", "d"), "c", ["c", "d"]),
        (SEQUENCE, _done("a", "b", "a#2", "b#2", "c"), "a", ["a", "b", "a#2", "b#2", "c"]),
        (SEQUENCE, _done("a", "b", "a#2", "b#2", "c"), "b", ["b", "a#2", "b#2", "c"]),
        (SEQUENCE, _done("a", "b", "a#2", "b#2", "c"), "a#2", ["a#2", "b#2", "c"]),
        (SEQUENCE, _done("a", "b", "a#2", "b#2", "a#3", "b#3", "c"), "b#2", ["b#2", "a#3", "b#3", "c"]),
        (SEQUENCE, _done("a", "b", "a#2", "b#2", "c"), "c", ["c"]),
        (SEQUENCE, _done("c", "a", "b"), "b", ["c", "b"]),
        (SEQUENCE, [*_done("a", "tidy"), StepStarted("b")], "b", ["tidy", "b"]),
        (SEQUENCE, _done("a", "b[0]", "b[1]", "c"), "b", ["b[0]", "b[1]", "c"]),
        (GRAPH, _done("a", "e", "b", "c", "d"), "a", ["a", "b", "c", "d"]),
        (GRAPH, _done("a", "e", "b", "c", "d"), "b", ["b", "d"]),
        (GRAPH, _done("a", "b", "c", "d", "e"), "d", ["d"]),
        (GRAPH, _done("a", "e", "b", "c", "d", "tidy"), "e", ["e", "tidy"]),
        (GRAPH, [*_done("a"), StepSkipped("b", "no"), *_done("c", "d")], "a", ["a", "b", "c", "d"]),
        (GRAPH, [*FAILED_E, *_done("a", "b")], "a", ["a", "b"]),
        (GRAPH, _done("a", "b[0]", "b[1]", "c", "d"), "b[1]", ["b[1]", "d"]),
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
    facts: list[Fact] = [*_done("a"), *FAILED_HANDLED, *_done("tidy")]

    assert at_resume(history(created, *facts), None) == []
    assert at_resume(history(created, *facts, RunFailedFact("E", "no", steps=["h"])), None) == ["h", "tidy"]
    assert at_resume(history(created, *facts, RunCancelled()), None) == ["tidy"]


def test_a_step_that_ran_on_another_way_is_followed_by_what_came_after_it_this_time() -> None:
    """Not by what began after it in an earlier generation, when the run had jumped over it."""
    state = history(SEQUENCE, *_done("c", "a#2", "d"), RunCompleted("1"))
    state = then(state, RunResumed(reset=["c", "a#2", "d"], from_step="c"), at=50)
    for name in ("c", "b", "a#2", "d"):
        state = then(state, *_done_anew(name, state), at=51)

    assert at_resume(state, "b") == ["c", "a#2", "d", "b"]


def _done_anew(name: str, state: WorkflowState) -> list[Fact]:
    known = state.steps.get(name)
    return [StepStarted(name, 1, 1 if known is None else known.generation), StepCompleted(name, "1")]


def test_a_step_that_was_reset_keeps_its_place() -> None:
    """`from_step` goes by when a step first began, over all generations."""
    state = history(CREATED, *_done("a", "b", "c"), RunCompleted("1"))
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
    state = history(CREATED, *_done("a", "b"), RunCompleted("1"))

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

    assert fact == RunFailedFact("TimeoutError", "the run took longer than 60 seconds", steps=("a",))


# -- the summary ---------------------------------------------------------------------------------------------------


def _columns(facts: Sequence[Fact], names: Iterable[str]) -> list[Any]:
    summary = summarize(history(*facts), "me", 7)
    return [getattr(summary, name) for name in names]


@pytest.mark.parametrize(
    ("facts", "status", "owner", "wake_at", "done"),
    [
        ([CREATED], "pending", "me", None, 0),
        ([CREATED, StepStarted("a")], "running", "me", None, 0),
        ([CREATED, StepWaiting("a", "sleep", until=9), StepWaiting("b", "sleep", until=5)], "waiting", "me", 5, 0),
        ([CREATED, StepWaiting("a", "signal", signal="go")], "waiting", "me", None, 0),
        ([CREATED, StepWaiting("a", "sleep", until=9), StepStarted("b")], "running", "me", None, 0),
        ([CREATED, StepStarted("a"), AttemptFailed("a", 1, "E", "no", 3)], "waiting", "me", 3, 0),
        ([CREATED, *_done("a"), RunCompleted("1")], "completed", None, None, 1),
        ([CREATED, StepStarted("a"), RunPaused("StepInterrupted", "a")], "paused", None, None, 0),
        ([CREATED, StepWaiting("a", "sleep", until=9), RunCancelled()], "cancelled", None, None, 0),
    ],
)
def test_the_summary_says_what_the_scheduler_needs(
    facts: list[Fact], status: str, owner: str | None, wake_at: int | None, done: int
) -> None:
    """A run that is settled has no owner; one that waits wakes at the earliest instant something is due."""
    assert _columns(facts, ["status", "owner", "wake_at", "steps_done", "token", "seq"]) == [
        status,
        owner,
        wake_at,
        done,
        7,
        len(facts),
    ]


def test_the_summary_names_the_failure() -> None:
    """The error that ended a run is in its summary, for lists and statistics."""
    facts: list[Fact] = [
        CREATED,
        StepStarted("a"),
        StepFailedFact("a", 1, "E", "no"),
        RunFailedFact("E", "no", "a", 1, ["a"]),
    ]

    assert _columns(facts, ["failed_step", "error_type", "error_message", "current_step"]) == ["a", "E", "no", "a"]
