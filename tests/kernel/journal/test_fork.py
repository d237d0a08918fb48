"""Forks: which history a new run begins with, and what it does with it."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import (
    Context,
    RunFailed,
    RunStart,
    RunStatus,
    StateIncompatibilityError,
    StepFailed,
    Workflow,
    workflow,
)
from flujo.kernel.errors import (
    InvalidInputError,
    InvalidNameError,
    RunExistsError,
    RunNotFoundError,
    StepNotFoundError,
    WorkflowNotFoundError,
)
from flujo.kernel.events import (
    CancelRequested,
    Event,
    Fact,
    PauseRequested,
    ProgressReported,
    RunCreated,
    RunPaused,
    RunResumed,
    SignalReceived,
    StepCancelled,
    StepCompleted,
    StepInterrupted,
    StepOutputSet,
    StepSkipped,
    StepStarted,
    StepWaiting,
    ValueRecorded,
    VariableSet,
)
from flujo.kernel.events import RunFailed as RunFailedFact
from flujo.kernel.events import StepFailed as StepFailedFact
from flujo.kernel.journal.fork import history
from flujo.kernel.transitions import add_up
from kernel.harness import START, Counter, Harness, until

CREATED = RunCreated("flow", "{}")


def forked(*facts: Fact, from_step: str | None = None) -> list[Fact]:
    """What a fork of a run with this history records behind its creation."""
    journal = [Event(seq, START + seq, fact) for seq, fact in enumerate([CREATED, *facts], 1)]
    return history(journal, add_up("r", "u", journal), from_step)


A: list[Fact] = [StepStarted("a"), StepCompleted("a", "1")]
B: list[Fact] = [StepStarted("b"), StepCompleted("b", "2")]
B_FAILS: list[Fact] = [StepStarted("b"), StepFailedFact("b", 1, "E", "no"), RunFailedFact("E", "no", "b", 1, ["b"])]


@pytest.mark.parametrize(
    ("facts", "from_step", "copied"),
    [
        ([], None, []),
        ([*A, *B], None, [*A, *B]),
        ([*A, *B], "b", A),
        ([*A, *B], "a", []),
        ([*A, *B_FAILS], None, A),
        ([*A, StepStarted("b")], None, A),
        ([StepStarted("c"), StepCancelled("c"), *A], None, A),
        ([StepStarted("h"), StepFailedFact("h", 1, "E", "no"), *A], None,
         [StepStarted("h"), StepFailedFact("h", 1, "E", "no"), *A]),
        ([*A, StepSkipped("s", "no"), *B], "b", [*A, StepSkipped("s", "no")]),
        ([StepStarted("a"), StepInterrupted("a", 1), StepStarted("a", 2), StepCompleted("a", "1")], None,
         [StepStarted("a"), StepInterrupted("a", 1), StepStarted("a", 2), StepCompleted("a", "1")]),
        ([*A, *B_FAILS, StepOutputSet("b", "5"), RunResumed()], None, [*A, *B_FAILS[:2], StepOutputSet("b", "5")]),
        ([*A, RunResumed(reset=["a"]), StepStarted("a", 1, 2), StepCompleted("a", "9")], None,
         [StepStarted("a", 1, 2), StepCompleted("a", "9")]),
        ([*A, RunResumed(reset=["a"])], None, []),
        ([*A, *B, RunResumed(reset=["a"]), StepStarted("a", 1, 2), StepCompleted("a", "9")], "b",
         [StepStarted("a", 1, 2), StepCompleted("a", "9")]),
        ([ValueRecorded("now", "now", "1"), VariableSet("v", "1", "set.v"), VariableSet("v", "2", by="ann"), *A], "a",
         [ValueRecorded("now", "now", "1"), VariableSet("v", "1", "set.v"), VariableSet("v", "2", by="ann")]),
        ([*A, ProgressReported(None, 1), PauseRequested(), RunPaused("PauseRequested"), RunResumed(),
          CancelRequested()], None, A),
        ([StepWaiting("c", "child", child="r.c"), StepCompleted("c", "1")], None,
         [StepWaiting("c", "child", child="r.c"), StepCompleted("c", "1")]),
        ([*A, StepStarted("m[0]"), StepCompleted("m[0]", "1"), *B], "m", A),
    ],
    ids=[
        "nothing", "everything", "from the last step", "from the first step", "but the failure that ended it",
        "but what has no outcome", "but what was cancelled", "a failure that was handled", "a skipped step",
        "an interrupted attempt", "what somebody has mended", "the newest generation only", "but what was reset",
        "what came later of an earlier step",
        "values and variables", "but the old run's own life", "a child", "from a map",
    ],
)  # fmt: skip
def test_what_a_fork_copies(facts: list[Fact], from_step: str | None, copied: list[Fact]) -> None:
    """The facts of steps that have an outcome and that a resume from there would keep, in their newest generation."""
    assert forked(*facts, from_step=from_step) == copied


SIGNALLED: list[Fact] = [
    StepStarted("lost"),
    StepCancelled("lost"),
    SignalReceived("go", "1"),
    *A,
    SignalReceived("go", "2"),
    StepWaiting("w", "signal", signal="go"),
    StepCompleted("w", "1", signal_seq=4),
]


def test_signals_are_void_with_the_wait_that_took_them() -> None:
    """As after a resume; those nobody has taken come along."""
    assert forked(*SIGNALLED, from_step="w") == [*A, SignalReceived("go", "2")]


def test_signals_are_renumbered() -> None:
    """A wait names its signal by the number of its event, which is another one in the fork."""
    copied = forked(*SIGNALLED)
    state = add_up("f", "v", [Event(seq, START + seq, fact) for seq, fact in enumerate([CREATED, *copied], 1)])

    assert copied[-1] == StepCompleted("w", "1", signal_seq=2)
    assert [signal.payload for signal in state.signals["go"]] == ["2"]


def test_a_fork_begins_where_something_began() -> None:
    """A step nobody has begun is no place for it."""
    with pytest.raises(StepNotFoundError, match="it has begun: a"):
        forked(*A, from_step="z")


class Chain:
    """A workflow of three counting steps, the last of which fails until it is mended."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.mended = False

        async def last() -> int:
            if not self.mended:
                raise ValueError("no")
            return self.counter.count("last")

        async def program(ctx: Context, inputs: dict[str, Any]) -> Any:
            first = await ctx.step(self.counter.body("first"), name="first")
            second = await ctx.step(self.counter.body("second"), name="second")
            return [inputs.get("day"), first, second, await ctx.step(last)]

        self.workflow = Workflow(name="chain", program=program, labels={"kind": "chain"}, environment=self.environment)

    def environment(self, beginning: RunStart) -> dict[str, Any]:
        return {"number": beginning.run_number, "at": beginning.now}


async def test_a_fork_goes_on_behind_the_history_and_leaves_the_old_run_alone() -> None:
    """By default everything but the failure that ended the run is there; only that step runs."""
    harness = Harness()
    chain = Chain()
    async with harness.kernel(chain.workflow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(chain.workflow, {"day": "Monday"}, run_id="r", labels={"team": "a"})
        before = harness.summary("r"), harness.journal("r")
        chain.mended = True
        harness.clock.advance(60)
        handle = await kernel.fork("r", new_run_id="f")
        output = await handle.result()
        old, new = await kernel.inspect("r"), await kernel.inspect("f")

    assert (handle.run_id, handle.created) == ("f", True)
    assert output == ["Monday", 1, 1, 1]
    assert chain.counter.calls == ["first", "second", "last"]
    assert (new.forked_from, new.parent_run_id, new.uid == old.uid) == ("r", None, False)
    assert new.labels == {"kind": "chain", "team": "a"}
    assert old.environment == {"number": 1, "at": START}
    assert new.environment == {"number": 2, "at": START + 60_000_000}
    assert (harness.summary("r"), harness.journal("r")) == before


async def test_a_fork_from_a_step_runs_it_and_what_came_later_again() -> None:
    """With other inputs and labels, merged over the old ones."""
    chain = Chain()
    chain.mended = True
    async with Harness().kernel(chain.workflow) as kernel:
        await kernel.run(chain.workflow, {"day": "Monday", "rate": 1}, run_id="r", labels={"team": "a"})
        handle = await kernel.fork("r", from_step="second", inputs={"day": "Tuesday"}, labels={"team": "b"})
        output = await handle.result()
        state = await kernel.inspect(handle.run_id)

    assert output == ["Tuesday", 1, 2, 2]
    assert state.inputs == {"day": "Tuesday", "rate": 1}
    assert state.labels == {"kind": "chain", "team": "b"}


async def test_a_fork_can_be_forked_and_resumed() -> None:
    """It is a run like any other, generations included."""
    chain = Chain()
    chain.mended = True
    async with Harness().kernel(chain.workflow) as kernel:
        await kernel.run(chain.workflow, {}, run_id="r")
        await (await kernel.resume("r", from_step="second")).result()
        await (await kernel.fork("r", new_run_id="f", from_step="last")).result()
        output = await (await kernel.fork("f", new_run_id="g", from_step="last")).result()
        second = (await kernel.inspect("g")).steps["second"]
        resumed = await (await kernel.resume("g", from_step="second")).result()
        again = (await kernel.inspect("g")).steps["second"]

    assert output == [None, 1, 2, 4]
    assert (second.generation, again.generation) == (2, 3)
    assert resumed == [None, 1, 3, 5]


async def test_a_run_that_goes_on_can_be_forked() -> None:
    """What it has completed so far is in the fork, with the signals it has not taken."""
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> Any:
        first = await ctx.step(counter.body("first"), name="first")
        return [first, await ctx.wait_signal("go")]

    async with Harness().kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.fork("r", new_run_id="f")
        await kernel.signal("f", "go", "to the fork")
        assert await kernel.result("f") == [1, "to the fork"]
        assert (await kernel.inspect("r")).status is RunStatus.WAITING


async def test_a_handled_failure_stays_handled_in_a_fork() -> None:
    """The program of the fork meets the recorded failure again."""
    counter = Counter()

    async def refuse() -> None:
        counter.count("refuse")
        raise PermissionError("no")

    @workflow()
    async def program(ctx: Context) -> Any:
        try:
            await ctx.step(refuse)
        except StepFailed as failure:
            return [failure.type, await ctx.step(counter.body("last"), name="last")]

    async with Harness().kernel(program) as kernel:
        await kernel.run(program, run_id="r")
        assert await (await kernel.fork("r", from_step="last")).result() == ["PermissionError", 2]

    assert counter.calls == ["refuse", "last", "last"]


async def test_a_fork_that_makes_no_sense_is_refused() -> None:
    """A run there is not, a step nobody has begun, inputs that do not fit, an id that is none; nothing is made."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context, day: int) -> int:
        return await ctx.step(Counter().body("only"), name="only")

    async with harness.kernel(program) as kernel:
        await kernel.run(program, {"day": 1}, run_id="r")
        with pytest.raises(RunNotFoundError):
            await kernel.fork("nobody")
        with pytest.raises(StepNotFoundError):
            await kernel.fork("r", from_step="none")
        with pytest.raises(InvalidInputError):
            await kernel.fork("r", inputs={"day": "x"})
        with pytest.raises(InvalidNameError):
            await kernel.fork("r", new_run_id="no id")
    async with harness.kernel() as stranger:
        with pytest.raises(WorkflowNotFoundError):
            await stranger.fork("r")

    assert set(harness.store.runs) == {"r"}


async def test_a_fork_is_always_a_new_run() -> None:
    """An id that is taken is refused, also by a run that looks the same, and that one is left alone."""
    harness = Harness()
    chain = Chain()
    async with harness.kernel(chain.workflow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(chain.workflow, run_id="r")
        with pytest.raises(RunFailed):
            await kernel.run(chain.workflow, run_id="f")
        before = harness.journal("f")
        for run_id in ("f", "r", "F"):
            with pytest.raises(RunExistsError):
                await kernel.fork("r", new_run_id=run_id)

    assert harness.journal("f") == before
    assert set(harness.store.runs) == {"r", "f"}


async def test_a_definition_that_contradicts_the_history_is_refused() -> None:
    """Completed steps that are kept bind the workflow of the fork; from before the change on it fits."""

    async def body() -> int:
        return 1

    def planned(second: str) -> Workflow:
        async def program(ctx: Context, inputs: dict[str, Any]) -> Any:
            return [await ctx.step(body, name="a"), await ctx.step(body, name="b")]

        return Workflow(name="planned", program=program, plan=[("a", "1"), ("b", second)])

    async with Harness().kernel(planned("2")) as kernel:
        await kernel.run("planned", run_id="r")
        with pytest.raises(StateIncompatibilityError, match="b: its task"):
            await kernel.fork("r", workflow=planned("3"))
        assert await (await kernel.fork("r", workflow=planned("3"), from_step="b")).result() == [1, 1]
