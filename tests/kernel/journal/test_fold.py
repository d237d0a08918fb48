"""The fold and the decisions: pure functions of what is recorded, held against docs/state-machines.md and real runs."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.kernel import Context, RetryPolicy, RunFailed, RunStatus, StepFailed, StepStatus, WorkflowState, workflow
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import CorruptStoreError
from flujo.kernel.events import (
    KINDS,
    AttemptFailed,
    Event,
    Fact,
    RunCompleted,
    RunCreated,
    RunResumed,
    SignalReceived,
    StepCompleted,
    StepStarted,
    encode,
)
from flujo.kernel.events import RunFailed as RunFailedFact
from flujo.kernel.events import StepFailed as StepFailedFact
from flujo.kernel.state import Failure, PauseReason
from flujo.kernel.transitions import apply, at_takeover, fold, replay, summarize
from kernel.harness import START, Harness, JumpingClock, crash, until
from kernel.journal.histories import CREATED, history, then
from kernel.legal_events import Move, check_counts, explore, legal, moves

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = (DOCS / "state-machines.md").read_text()


RUNS, STEPS = DOCUMENT.split("## Runs")[1].split("## Steps")


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


@pytest.mark.parametrize("reason", PauseReason)
def test_every_reason_of_a_pause_is_explained(reason: PauseReason) -> None:
    """Beside the machines, and in a decision that says why such a run stops instead of failing or going on."""
    rows = re.findall(r"^\| `(\w+)` \| .{40,} \|$", RUNS, re.MULTILINE)
    decisions = [page.read_text() for page in (DOCS / "adr").glob("*.md")]

    assert sorted(rows) == sorted(PauseReason)
    assert any(f"`{reason}`" in page for page in decisions)


async def test_real_runs_make_legal_moves() -> None:
    """What the kernel records of retries, waits, cancelled branches, crashes and resumes is in the tables."""
    harness = Harness(JumpingClock())
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

    async with harness.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        with pytest.raises(RunFailed):
            await handle.result()
        fails.clear()
        await kernel.resume("r", from_step="flaky")
        await handle.signal("go")
        await until(kernel, "r", "step_started", "gate")
        crash(kernel)
    async with harness.kernel(program) as kernel:
        await until(kernel, "r", "step_started", "gate", count=2)
        await kernel.cancel("r")
        await kernel.wait("r")
    made_by_run, made_by_steps = made(harness, "r")

    assert made_by_run <= set(table(RUNS))
    assert made_by_steps <= set(table(STEPS))
    assert len(made_by_run) >= 15
    assert len(made_by_steps) >= 12


async def test_real_runs_make_legal_moves_with_children_and_by_hand() -> None:
    """So is what it records of children, values, progress, pauses and amendments."""
    harness = Harness(JumpingClock())
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

    async with harness.kernel(program, child) as kernel:
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
    made_by_run, made_by_steps = made(harness, "r")

    assert made_by_run <= set(table(RUNS))
    assert made_by_steps <= set(table(STEPS))
    assert {move.event for move in made_by_run} >= {
        "value_recorded", "variable_set", "progress_reported", "pause_requested", "run_paused", "step_output_set"
    }  # fmt: skip
    assert {Move("waiting", "attempt_failed", "retrying"), Move("retrying", "step_waiting", "waiting")} <= made_by_steps


def made(harness: Harness, run_id: str) -> tuple[set[Move], set[Move]]:
    """The moves that the journal of a run has made."""
    of_run: set[Move] = set()
    of_steps: set[Move] = set()
    state = WorkflowState(run_id=run_id, uid="u")
    for event in harness.journal(run_id):
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


def test_time_in_which_no_process_ran_counts_for_no_step() -> None:
    """Four bodies run for one second when their owner dies; the next owner finds that out an hour later."""
    second = 1_000_000
    state = WorkflowState(run_id="r", uid="u")
    apply(state, 1, 0, RunCreated("w", "{}"))
    names = [f"nap[{number}]" for number in range(4)]
    for seq, name in enumerate(names, 2):
        apply(state, seq, 0, StepStarted(name))
    apply(state, 6, second, SignalReceived("alive", "null"))
    for seq, fact in enumerate(at_takeover(state), 7):
        apply(state, seq, 3600 * second, fact)

    assert [state.steps[name].active_seconds for name in names] == [1.0] * 4
    assert state.active_seconds == 1.0
