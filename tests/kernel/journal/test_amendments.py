"""Several changes by hand in one commit: what each of them records, and what a run makes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy

import pytest

from flujo.kernel import RunStatus, StepStatus, WorkflowState
from flujo.kernel.errors import (
    FlujoError,
    InvalidNameError,
    InvalidValueError,
    PayloadTooLargeError,
    RunActiveError,
    RunFinishedError,
    RunNotFoundError,
    RunReplacedError,
    StepCompletedError,
    StepNotFoundError,
    StoreError,
)
from flujo.kernel.events import (
    CancelRequested,
    Fact,
    PauseRequested,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunPaused,
    RunResumed,
    RunTakenOver,
    StepCompleted,
    StepFailed,
    StepInterrupted,
    StepOutputSet,
    StepSkipped,
    StepStarted,
    StepWaiting,
    VariableSet,
)
from flujo.kernel.journal.amendments import Amendment, Complete, SetOutput, SetVariable, Skip, apply_amendment, decide
from flujo.kernel.transitions import apply
from kernel.harness import FailingBackend, Harness
from kernel.test_skip_and_set import Three, after, failed, idle, interrupted

CREATED = RunCreated("flow", "{}", plan=[["a", "1"], ["b", "1"], ["c", "1"]])
A_DONE: list[Fact] = [CREATED, StepStarted("a"), StepCompleted("a", '{"n":1}')]
FAILED: list[Fact] = [*A_DONE, StepStarted("b"), StepFailed("b", 1, "E", "no"), RunFailed("E", "no", "b", 1, ["b"])]
WAITING: list[Fact] = [*A_DONE, StepWaiting("b", "signal", signal="go")]
COMPLETED: list[Fact] = [*A_DONE, RunCompleted("null")]
CANCELLED: list[Fact] = [*A_DONE, CancelRequested(), RunCancelled()]
PAUSED: list[Fact] = [*WAITING, PauseRequested(), RunPaused("PauseRequested")]


def history(facts: Sequence[Fact]) -> WorkflowState:
    """The state after some facts."""
    state = WorkflowState(run_id="r", uid="u")
    for fact in facts:
        apply(state, state.seq + 1, 1, fact)
    return state


@pytest.mark.parametrize(
    ("facts", "changes", "recorded"),
    [
        (FAILED, [SetOutput("b", 2)], [StepOutputSet("b", "2", 1, "why", "ann")]),
        (FAILED, [SetOutput("c")], [StepOutputSet("c", "null", 1, "why", "ann")]),
        (FAILED, [SetOutput("a", [1])], [StepOutputSet("a", "[1]", 2, "why", "ann")]),
        (
            FAILED,
            [SetOutput("a", 1), SetOutput("a", 2)],
            [StepOutputSet("a", "1", 2, "why", "ann"), StepOutputSet("a", "2", 3, "why", "ann")],
        ),
        (FAILED, [SetOutput("a", {"n": 1})], []),
        (FAILED, [Skip("b")], [StepSkipped("b", "why", None, 1, "ann")]),
        (FAILED, [Skip("b", 3)], [StepSkipped("b", "why", "3", 1, "ann")]),
        (FAILED, [Skip("b", 3), Skip("b", 3)], [StepSkipped("b", "why", "3", 1, "ann")]),
        (FAILED, [SetVariable("k", "v")], [VariableSet("k", '"v"', reason="why", by="ann")]),
        (FAILED, [SetVariable("k", 1), SetVariable("k", 1)], [VariableSet("k", "1", reason="why", by="ann")]),
        (
            FAILED,
            [SetVariable("k", 1), SetVariable("k", True)],
            [VariableSet("k", "1", reason="why", by="ann"), VariableSet("k", "true", reason="why", by="ann")],
        ),
        (FAILED, [Complete(7)], [RunResumed(by="ann"), RunCompleted("7", "why", "ann")]),
        (CANCELLED, [Complete()], [RunResumed(by="ann"), RunCompleted("null", "why", "ann")]),
        (A_DONE, [Complete()], [RunCompleted("null", "why", "ann")]),
        (
            WAITING,
            [Complete()],
            [StepSkipped("b", "why", None, 1, "ann"), RunCompleted("null", "why", "ann")],
        ),
        (
            PAUSED,
            [Complete()],
            [RunResumed(by="ann"), StepSkipped("b", "why", None, 1, "ann"), RunCompleted("null", "why", "ann")],
        ),
        (
            [*A_DONE, CancelRequested()],
            [Complete()],
            [RunResumed(by="ann"), RunCompleted("null", "why", "ann")],
        ),
        (COMPLETED, [Complete(), SetOutput("a", {"n": 1})], []),
        (FAILED, [], []),
    ],
)
def test_what_changes_record(facts: list[Fact], changes: list[Amendment], recorded: list[Fact]) -> None:
    """Every fact says who and why, what is there already is not recorded again, and the state stays as it is."""
    state = history(facts)
    before = deepcopy(state)

    assert decide(state, changes, by="ann", reason="why") == recorded
    assert state == before


@pytest.mark.parametrize(
    ("facts", "changes", "kind"),
    [
        (FAILED, [SetOutput("z", 1)], StepNotFoundError),
        (FAILED, [Skip("a")], StepCompletedError),
        (FAILED, [SetVariable("not a name", 1)], InvalidNameError),
        (FAILED, [SetVariable("k", float("nan"))], InvalidValueError),
        (FAILED, [SetOutput("b", "x" * 2_000_000)], PayloadTooLargeError),
        (COMPLETED, [SetOutput("a", 2)], RunFinishedError),
        (COMPLETED, [SetOutput("c", 2)], RunFinishedError),
        (COMPLETED, [Skip("c")], RunFinishedError),
        (COMPLETED, [SetVariable("k", 1)], RunFinishedError),
        (FAILED, [Complete(), SetVariable("k", 1)], RunFinishedError),
    ],
)
def test_what_cannot_be_changed(facts: list[Fact], changes: list[Amendment], kind: type[FlujoError]) -> None:
    """The error of the first change that cannot be made; the state stays as it is."""
    state = history(facts)
    before = deepcopy(state)

    with pytest.raises(kind):
        decide(state, changes)
    assert state == before


def test_a_change_shows_at_once() -> None:
    """Carried out on a state, it gives what the journal will add up to."""
    state = history(FAILED)

    apply_amendment(state, SetOutput("b", 2))
    apply_amendment(state, SetVariable("k", "v"))
    apply_amendment(state, Complete("all"))

    assert state.step_outputs == {"a": {"result": {"n": 1}}, "b": {"result": 2}}
    assert (state.variables, state.status, state.output, state.error) == ({"k": "v"}, "completed", "all", None)


@idle
async def test_changes_of_a_run_are_one_commit(arrange: Callable[[Harness, Three], Awaitable[None]]) -> None:
    """Whatever the run stands at; the next resume takes them."""
    harness = Harness()
    three = Three(fails=arrange is failed)
    await arrange(harness, three)
    before = harness.summary("r")
    changes: list[Amendment] = [SetOutput("second", 2), SetOutput("first", 10), SetVariable("k", "v")]
    async with harness.kernel(three.workflow, recover=False) as kernel:
        await kernel.amend("r", changes, uid=before.uid, reason="by hand", by="ann")
        state = await kernel.inspect("r")
        output = await (await kernel.resume("r")).result()

    given = [
        StepOutputSet("second", "2", 1, "by hand", "ann"),
        StepOutputSet("first", "10", 2, "by hand", "ann"),
        VariableSet("k", '"v"', reason="by hand", by="ann"),
    ]
    assert [fact for fact in after(harness, before.seq) if fact in given] == given
    assert (state.status, state.variables) == (before.status, {"k": "v"})
    assert output == [10, 2, 1]
    assert three.counter.calls == ["first", "second", "third"]


@idle
async def test_a_run_is_completed_by_hand(arrange: Callable[[Harness, Three], Awaitable[None]]) -> None:
    """It is final, nobody owns it, nothing of it runs again, and the journal says who did it and why."""
    harness = Harness()
    three = Three(fails=arrange is failed)
    await arrange(harness, three)
    async with harness.kernel(three.workflow, recover=False) as kernel:
        await kernel.amend("r", [Complete({"rows": 3})], reason="done elsewhere", by="ann")
        state = await kernel.inspect("r")
    async with harness.kernel(three.workflow) as kernel:
        recovered = await kernel.inspect("r")

    assert (state.status, state.output, state.error) == (RunStatus.COMPLETED, {"rows": 3}, None)
    assert state.current_steps == []
    assert recovered.seq == state.seq
    assert harness.summary("r").owner is None
    assert harness.journal("r")[-1].fact == RunCompleted('{"rows":3}', "done elsewhere", "ann")
    assert three.counter.calls == ["first", "second"]


async def test_a_run_completed_by_hand_goes_on_from_a_step() -> None:
    """As any completed run does."""
    harness = Harness()
    three = Three(fails=True)
    await failed(harness, three)
    async with harness.kernel(three.workflow, recover=False) as kernel:
        await kernel.amend("r", [SetOutput("second", 2), Complete()])
        output = await (await kernel.resume("r", from_step="second", skip={"second": 5})).result()
        step = (await kernel.inspect("r")).steps["second"]

    assert output == [1, 5, 1]
    assert (step.status, step.generation) == (StepStatus.SKIPPED, 2)


async def test_a_refused_change_records_none_of_them() -> None:
    """All or none, also of a run that has died."""
    harness = Harness()
    three = Three(fails=False)
    await interrupted(harness, three)
    before = harness.summary("r")
    async with harness.kernel(three.workflow, recover=False) as kernel:
        with pytest.raises(StepNotFoundError):
            await kernel.amend("r", [SetVariable("k", 1), SetOutput("absent", 1)])

    assert after(harness, before.seq) == []


async def test_a_store_that_fails_has_all_changes_or_none() -> None:
    """They are one commit; made again once the store is well, they are there once."""
    harness = Harness()
    three = Three(fails=False)
    await interrupted(harness, three)
    before = harness.summary("r")
    changes: list[Amendment] = [SetVariable("k", 1), SetOutput("second", 2), Complete()]
    store = FailingBackend(harness.store)
    store.broken = True
    with pytest.raises(StoreError):
        async with harness.kernel(backend=store, recover=False) as kernel:
            await kernel.amend("r", changes)
    lost = after(harness, before.seq)
    store = FailingBackend(harness.store)
    async with harness.kernel(backend=store, recover=False) as kernel:
        await kernel.amend("r", changes)
        await kernel.amend("r", changes)

    assert lost == []
    assert store.appends == [1]
    assert [type(fact) for fact in after(harness, before.seq)] == [
        RunTakenOver,
        StepInterrupted,
        VariableSet,
        StepOutputSet,
        RunCompleted,
    ]


async def test_another_life_of_a_run_is_not_changed() -> None:
    """Nor one that is not there."""
    harness = Harness()
    three = Three(fails=True)
    await failed(harness, three)
    async with harness.kernel(three.workflow, recover=False) as kernel:
        with pytest.raises(RunReplacedError):
            await kernel.amend("r", [Complete()], uid="another")
        with pytest.raises(RunNotFoundError):
            await kernel.amend("absent", [Complete()])

    assert harness.summary("r").status == "failed"


async def test_a_run_that_somebody_runs_is_left_alone() -> None:
    """Whoever wants to change its steps stops it first."""
    harness = Harness()
    three = Three(fails=False)
    async with harness.kernel(three.workflow) as owner:
        await owner.start(three.workflow, run_id="r")
        await three.begun.wait()
        async with harness.kernel(three.workflow, recover=False) as other:
            with pytest.raises(RunActiveError):
                await other.amend("r", [Complete()])
        with pytest.raises(RunActiveError):
            await owner.amend("r", [Complete()])

        await owner.cancel("r")
        assert (await owner.wait("r")).status is RunStatus.CANCELLED
