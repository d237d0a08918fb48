"""Runs that a run has started: their ids, what goes up and down between them, and who ends with whom."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import (
    Context,
    Kernel,
    Observer,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunNotFoundError,
    RunStatus,
    StepFailed,
    StepStatus,
    Workflow,
    workflow,
)
from flujo.kernel.backend import Request, RunSummary
from flujo.kernel.errors import RunActiveError, StoreError
from flujo.kernel.events import (
    CancelRequested,
)
from flujo.kernel.execution.child_runs import LONGEST_ID, child_id
from flujo.kernel.journal.children import abandoned_by
from flujo.kernel.keys import RUN_ID
from kernel.harness import Counter, DyingBackend, Harness, JumpingClock, crash, recorded, until


def echo(name: str = "child") -> Workflow:
    """A workflow that returns its input."""

    @workflow(name=name)
    async def program(ctx: Context, value: Any = None) -> Any:
        return value

    return program


def waiting(name: str = "child") -> Workflow:
    """A workflow that waits for the signal `go` and returns what it brings."""

    @workflow(name=name)
    async def program(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    return program


def calling(child: Workflow | str, name: str = "parent", **options: Any) -> Workflow:
    """A workflow that returns what its only child returns."""

    @workflow(name=name)
    async def program(ctx: Context) -> Any:
        return await ctx.run_child(child, **options)

    return program


class Flaky:
    """A workflow `child` whose step fails as often as `failures` says."""

    def __init__(self, error: type[Exception] = ConnectionError, failures: int = 1) -> None:
        self.counter = Counter()
        self.failures = failures

        async def attempt() -> int:
            number = self.counter.count("attempt")
            if number <= self.failures:
                raise error("the line is down")
            return number

        async def before() -> int:
            return self.counter.count("before")

        @workflow(name="child")
        async def program(ctx: Context) -> int:
            await ctx.step(before)
            return await ctx.step(attempt)

        self.workflow = program


@pytest.mark.parametrize(
    ("parent", "key", "generation", "life", "expected"),
    [
        ("r", "load", 1, "", "r.load"),
        ("r", "load", 3, "", "r.load.g3"),
        ("r", "load", 1, "0123456789abcdef", "r.load.01234567"),
        ("r", "load", 2, "0123456789abcdef", "r.load.01234567.g2"),
        ("nightly-2026-11-22", "a.b_c-d", 1, "", "nightly-2026-11-22.a.b_c-d"),
    ],
)
def test_a_child_id_is_readable(parent: str, key: str, generation: int, life: str, expected: str) -> None:
    """It consists of the parent's id, the step's key and, when needed, the parent's uid and the generation."""
    assert child_id(parent, key, generation, life) == expected


@pytest.mark.parametrize(
    ("parent", "key"), [("r", "load#2"), ("r", "a/load"), ("r", "load[17]"), ("r" * 90, "x" * 30), ("r" * 100, "load")]
)
def test_a_child_id_that_would_not_do_ends_in_a_digest(parent: str, key: str) -> None:
    """A key with characters that ids do not have, or too long an id, is told from others by a digest."""
    found = child_id(parent, key, 1)

    assert RUN_ID.fullmatch(found)
    assert len(found) <= LONGEST_ID
    assert re.search(r"\.[0-9a-f]{16}$", found)
    assert found == child_id(parent, key, 1)
    assert len({found, child_id(parent, key, 2), child_id(parent, key, 1, "0123"), child_id(parent, key + "x", 1)}) == 4


async def test_a_child_is_an_ordinary_run_with_a_parent() -> None:
    """It has an id made of its parent's and its step's, inputs and labels of its own, and can be inspected."""
    child = echo()

    @workflow()
    async def program(ctx: Context) -> Any:
        return [
            await ctx.run_child(child, {"value": 5}, labels={"team": "a"}),
            await ctx.run_child("child", {"value": 6}, name="second"),
            await ctx.run_child(child),
        ]

    async with Harness().kernel(program, child) as kernel:
        output = await kernel.run(program, run_id="r")
        state = await kernel.inspect("r.child")
        steps = (await kernel.inspect("r")).steps

    assert output == [5, 6, None]
    assert (state.parent_run_id, state.workflow, state.inputs, state.labels) == (
        "r",
        "child",
        {"value": 5},
        {"team": "a"},
    )
    assert [(step.kind, step.child) for step in steps.values()] == [
        ("child", "r.child"),
        ("child", "r.second"),
        ("child", child_id("r", "child#2", 1)),
    ]


async def test_a_parent_that_was_started_anew_gets_new_children() -> None:
    """A child that an earlier life of the parent's id has left in the store is not taken for one of its own."""
    harness = Harness()
    counter = Counter()

    @workflow()
    async def child(ctx: Context) -> Any:
        return await ctx.step(counter.body("work"), name="work")

    parent = calling(child)
    async with harness.kernel(parent) as kernel:
        await kernel.run(parent, run_id="r")
        await kernel.backend.delete("r", harness.summary("r").uid)  # just the parent
        harness.clock.advance(1)
        output = await kernel.run(parent, run_id="r")
        step = (await kernel.inspect("r")).steps["child"]

    assert output == 2
    assert step.child == f"r.child.{harness.summary('r').uid[:8]}"


async def test_an_id_that_somebody_else_has_taken_is_left_alone() -> None:
    """A run that happens to have the id a child would get stays what it is."""
    harness = Harness()
    child = echo()
    parent = calling(child, inputs={"value": 1})
    async with harness.kernel(parent, child) as kernel:
        await kernel.run(child, {"value": 1}, run_id="r.child")
        assert await kernel.run(parent, run_id="r") == 1
        step = (await kernel.inspect("r")).steps["child"]

    assert harness.summary("r.child").parent_run_id is None
    assert step.child == f"r.child.{harness.summary('r').uid[:8]}"


@pytest.mark.parametrize("at_once", [False, True])
async def test_children_whose_names_differ_only_in_case_are_two_runs(at_once: bool) -> None:
    """A store tells no ids apart by that, so the later one has another id; so it is after a restart."""

    @workflow(name="flow")
    async def parent(ctx: Context) -> Any:
        calls = [ctx.run_child(child, name=name) for name in ("same", "SAME", "Same")]
        answers = [await each for each in calls] if not at_once else await ctx.gather(*calls)
        await ctx.wait_signal("go")
        return [*answers, await ctx.run_child(child, name="sAmE")]

    @workflow()
    async def child(ctx: Context) -> str:
        return ctx.run_id

    harness = Harness()
    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await until(kernel, "r", "step_waiting", step="go")
        crash(kernel)
    async with harness.kernel(parent, child) as kernel:
        await kernel.signal("r", "go")
        ids = await kernel.result("r")

    assert len({each.lower() for each in ids}) == 4


async def test_the_output_of_a_child_is_read_into_a_type() -> None:
    """What the child returned is decoded from its record: as its function is annotated, or as the call asks for."""

    @workflow()
    async def child(ctx: Context) -> date:
        return date(2026, 11, 22)

    @workflow()
    async def parent(ctx: Context) -> list[str]:
        declared = await ctx.run_child(child)
        plain = await ctx.run_child(child, name="plain", type=Any)
        by_name = await ctx.run_child("child", name="by_name")
        asked = await ctx.run_child("child", name="asked", type=date)
        return [type(each).__name__ for each in (declared, plain, by_name, asked)]

    async with Harness().kernel(parent, child) as kernel:
        assert await kernel.run(parent) == ["date", "str", "str", "date"]


async def test_the_failure_of_a_child_is_the_failure_of_its_step() -> None:
    """It reaches the program as StepFailed with the type of the child's error, on replay as well."""
    harness = Harness()
    seen: list[tuple[str, str, str]] = []
    child = Flaky(failures=9).workflow

    @workflow()
    async def parent(ctx: Context) -> None:
        try:
            await ctx.run_child(child)
        except StepFailed as failure:
            seen.append((failure.step, failure.type, failure.error))
        await ctx.wait_signal("go")

    async with harness.kernel(parent) as kernel:
        await kernel.start(parent, run_id="r")
        await until(kernel, "r", "step_waiting", "go")
        crash(kernel)
    async with harness.kernel(parent, child) as kernel:
        await kernel.signal("r", "go")
        await kernel.result("r")

    assert seen == [("child", "ConnectionError", "run r.child failed: the line is down")] * 2


async def test_a_retry_resumes_the_failed_child() -> None:
    """Under a retry policy the same child goes on, with its completed steps, and its second end counts."""
    harness = Harness(JumpingClock())
    flaky = Flaky()
    parent = calling(flaky.workflow, retry=RetryPolicy(max_attempts=2, delay=10, jitter=0))
    async with harness.kernel(parent) as kernel:
        output = await kernel.run(parent, run_id="r")
        child = await kernel.inspect("r.child")
        step = (await kernel.inspect("r")).steps["child"]

    assert output == 2
    assert flaky.counter.calls == ["before", "attempt", "attempt"]
    assert (child.resume_count, child.steps["attempt"].generation, child.resumed_by) == (1, 2, "run r")
    assert (step.attempt, step.failures, step.max_attempts, step.child_resumes) == (2, 1, 2, 1)
    assert harness.types("r").count("attempt_failed") == 1


@pytest.mark.parametrize(
    ("error", "on_error", "resumes"),
    [
        (ConnectionResetError, "ConnectionError", 1),  # along the built-in classes
        (ConnectionResetError, "OSError", 1),
        (ConnectionResetError, "TimeoutError", 0),
        (LookupError, "KeyError", 0),
    ],
)
async def test_a_policy_knows_the_childs_error_by_its_type(error: type[Exception], on_error: str, resumes: int) -> None:
    """`on_error` matches the recorded type of the child's error, and the bases of a built-in one."""
    parent = calling(Flaky(error, failures=9).workflow, retry=RetryPolicy(max_attempts=2, delay=1, on_error=[on_error]))
    async with Harness(JumpingClock()).kernel(parent) as kernel:
        with pytest.raises(RunFailed) as failed:
            await kernel.run(parent, run_id="r")
        child = await kernel.inspect("r.child")

    assert failed.value.type == error.__name__
    assert child.resume_count == resumes


async def test_a_resume_of_the_parent_resumes_the_failed_child() -> None:
    """The failure that ended the parent was the child's: both are tried afresh, and the child under its old id."""
    flaky = Flaky()
    parent = calling(flaky.workflow)
    async with Harness().kernel(parent) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(parent, run_id="r")
        output = await (await kernel.resume("r")).result()
        step = (await kernel.inspect("r")).steps["child"]
        child = await kernel.inspect("r.child")

    assert output == 2
    assert (step.generation, step.child, child.resume_count) == (2, "r.child", 1)


async def test_a_child_that_somebody_has_mended_counts() -> None:
    """When the failed child has been resumed by hand and has completed, a resume of the parent takes its output."""
    flaky = Flaky()
    parent = calling(flaky.workflow)
    async with Harness().kernel(parent) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(parent, run_id="r")
        await (await kernel.resume("r.child", by="ann")).result()
        output = await (await kernel.resume("r")).result()

    assert output == 2
    assert flaky.counter.calls == ["before", "attempt", "attempt"]


async def test_a_completed_child_is_not_run_twice_by_one_generation() -> None:
    """A resume from the child's step runs another child, whose id tells the generation; the old one stays."""
    harness = Harness()
    counter = Counter()

    @workflow()
    async def child(ctx: Context) -> Any:
        return await ctx.step(counter.body("work"), name="work")

    parent = calling(child)
    async with harness.kernel(parent) as kernel:
        await kernel.run(parent, run_id="r")
        outputs = [await (await kernel.resume("r", from_step="child")).result() for _ in range(2)]

    assert outputs == [2, 3]
    assert [harness.summary(run_id).status for run_id in ("r.child", "r.child.g2", "r.child.g3")] == ["completed"] * 3


async def test_a_failed_child_of_a_later_generation_goes_on() -> None:
    """What a resume takes up is the newest child of the step, not the first."""
    harness = Harness()
    fails = {2}
    counter = Counter()

    async def work() -> int:
        if (number := counter.count("work")) in fails:
            raise ValueError("no")
        return number

    @workflow()
    async def child(ctx: Context) -> int:
        return await ctx.step(work)

    parent = calling(child)
    async with harness.kernel(parent) as kernel:
        await kernel.run(parent, run_id="r")
        with pytest.raises(RunFailed):
            await (await kernel.resume("r", from_step="child")).result()
        output = await (await kernel.resume("r")).result()

    assert output == 3
    assert "r.child.g3" not in harness.store.runs
    assert harness.summary("r.child.g2").resume_count == 1


async def test_other_inputs_ask_for_another_child() -> None:
    """A parent resumed with inputs that change what it asks of the child leaves the failed one as it is."""
    harness = Harness()

    @workflow()
    async def child(ctx: Context, value: int) -> int:
        if value < 0:
            raise ValueError("too small")
        return value

    @workflow()
    async def parent(ctx: Context, value: int) -> int:
        result: int = await ctx.run_child(child, {"value": value})
        return result

    async with harness.kernel(parent) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(parent, {"value": -1}, run_id="r")
        output = await (await kernel.resume("r", inputs={"value": 7})).result()
        step = (await kernel.inspect("r")).steps["child"]

    assert (output, step.child) == (7, "r.child.g2")
    assert harness.summary("r.child").resume_count == 0


async def test_a_workflow_that_is_not_there_fails_the_step() -> None:
    """A name no workflow has is no matter of trying again."""
    parent = calling("nobody", retry=RetryPolicy(max_attempts=5))
    async with Harness().kernel(parent) as kernel:
        with pytest.raises(RunFailed, match="no workflow 'nobody'") as failed:
            await kernel.run(parent, run_id="r")
        with pytest.raises(RunNotFoundError):
            await kernel.inspect("r.nobody")

    assert (failed.value.type, failed.value.step) == ("WorkflowNotFoundError", "nobody")


async def test_inputs_that_do_not_fit_fail_the_step() -> None:
    """The child's inputs are checked as those of any run; what is wrong stands in the step's failure."""
    parent = calling(echo(), inputs={"values": 1}, retry=RetryPolicy(max_attempts=5))
    async with Harness().kernel(parent) as kernel:
        with pytest.raises(RunFailed, match="values") as failed:
            await kernel.run(parent, run_id="r")

    assert failed.value.type == "InvalidInputError"


async def test_children_have_children() -> None:
    """Outputs, failures and cancels pass through two levels."""
    leaf = waiting("leaf")
    middle = calling(leaf, "middle")
    root = calling(middle, "root")
    harness = Harness()
    async with harness.kernel(root, middle, leaf) as kernel:
        await kernel.start(root, run_id="a")
        for run_id in ("a", "a.middle", "a.middle.leaf"):
            await recorded(harness, run_id, "step_waiting")
        await kernel.signal("a.middle.leaf", "go", 3)
        assert await kernel.result("a") == 3
        await kernel.start(root, run_id="b")
        for run_id in ("b", "b.middle", "b.middle.leaf"):
            await recorded(harness, run_id, "step_waiting")
        await kernel.cancel("b")
        statuses = [(await kernel.wait(run_id)).status for run_id in ("b", "b.middle", "b.middle.leaf")]

    assert statuses == [RunStatus.CANCELLED] * 3


async def test_a_cancel_of_the_parent_cancels_the_child() -> None:
    """The child is cancelled with a reason that says so, and a resume of the parent resumes it."""
    harness = Harness()
    child = waiting()
    parent = calling(child)
    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        await kernel.cancel("r", by="ann")
        with pytest.raises(RunCancelled):
            await kernel.result("r")
        cancelled = await kernel.wait("r.child")
        await kernel.resume("r")
        await recorded(harness, "r.child", "run_resumed")
        await kernel.signal("r.child", "go", 8)
        output = await kernel.result("r")
        resumed = await kernel.inspect("r.child")

    assert (cancelled.status, cancelled.cancel_reason) == (RunStatus.CANCELLED, abandoned_by("r"))
    assert [event.fact for event in harness.journal("r.child") if event.type == "cancel_requested"] == [
        CancelRequested(abandoned_by("r"), "run r")
    ]
    assert (output, resumed.resume_count) == (8, 1)


async def test_no_child_begins_once_a_cancel_is_recorded() -> None:
    """A look for the child that a cancel cannot end, as in a thread, comes back when the run is being cancelled."""
    harness = Harness()
    child, looked = waiting(), anyio.Event()

    class Stubborn(InMemoryBackend):
        async def load(self, run_id: str) -> RunSummary:
            try:
                return await super().load(run_id)
            finally:
                if run_id == "r.child" and not looked.is_set():
                    looked.set()
                    with anyio.CancelScope(shield=True):
                        await recorded(harness, "r", "cancel_requested")

    async with harness.kernel(calling(child), child, backend=Stubborn(harness.store)) as kernel:
        await kernel.start("parent", run_id="r")
        await looked.wait()
        await kernel.cancel("r")
        await kernel.wait("r")

    assert harness.types("r")[-2:] == ["cancel_requested", "run_cancelled"]
    assert "r.child" not in harness.store.runs


async def test_a_resume_right_after_a_cancel_finds_the_child_still_stopping() -> None:
    """A child that its parent had given up, and that ends only after the parent was resumed, is resumed as well."""
    begun, release = anyio.Event(), anyio.Event()

    async def stubborn() -> int:
        if not release.is_set():
            begun.set()
            with anyio.CancelScope(shield=True):
                await release.wait()
            await anyio.sleep_forever()
        return 4

    @workflow()
    async def child(ctx: Context) -> int:
        return await ctx.step(stubborn)

    parent = calling(child)
    harness = Harness()
    async with harness.kernel(parent) as kernel:
        await kernel.start(parent, run_id="r")
        await begun.wait()
        await kernel.cancel("r")
        await kernel.wait("r")
        await kernel.resume("r")
        await recorded(harness, "r", "step_waiting", 2)
        release.set()
        output = await kernel.result("r")
        resumed = await kernel.inspect("r.child")

    assert (output, resumed.resume_count) == (4, 1)


async def test_a_child_that_its_program_gives_up_is_cancelled() -> None:
    """A deadline of the program's own ends the step and the child, and the run goes on."""
    harness = Harness()
    child = waiting()
    begun = anyio.Event()

    @workflow()
    async def parent(ctx: Context) -> str:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def give_up() -> None:
                    await begun.wait()
                    scope.cancel()

                group.start_soon(give_up)
                await ctx.run_child(child)
        return "went on"

    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        begun.set()
        output = await kernel.result("r")
        given = await kernel.wait("r.child")
        step = (await kernel.inspect("r")).steps["child"]

    assert output == "went on"
    assert (given.status, step.status) == (RunStatus.CANCELLED, StepStatus.CANCELLED)


async def test_a_parent_that_takes_too_long_ends_its_child() -> None:
    """The timeout of the parent is the end of the child as well."""
    harness = Harness()
    child = waiting()

    @workflow(timeout=60)
    async def parent(ctx: Context) -> None:
        await ctx.run_child(child)

    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        harness.clock.advance(60)
        with pytest.raises(RunFailed, match="longer than 1m"):
            await kernel.result("r")
        assert (await kernel.wait("r.child")).status is RunStatus.CANCELLED


@pytest.mark.parametrize("ends", ["timeout", "cancel", "failure"])
async def test_a_parent_that_ends_before_it_has_asked_for_its_child_again_ends_it(ends: str) -> None:
    """A program is called again after a restart. What ends it then may come before it is back where it was, and the
    child is there all the same."""
    harness = Harness()
    child, gate, plain = waiting(), anyio.Event(), anyio.Event()

    async def fail() -> None:
        await gate.wait()
        raise LookupError

    async def ask(ctx: Context) -> None:
        if plain.is_set():  # in its second life, the program is at something of its own
            await anyio.sleep_forever()
        await ctx.run_child(child)

    @workflow(timeout=60)
    async def parent(ctx: Context) -> None:
        await ctx.gather(a=ask(ctx), b=ctx.step(fail))

    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await recorded(harness, child_id("r", "a/child", 1), "step_waiting")
        plain.set()
        crash(kernel)
    if ends == "timeout":
        harness.clock.advance(60)
    async with harness.kernel(parent, child) as kernel:
        if ends == "cancel":
            await kernel.cancel("r")
        gate.set()
        await kernel.wait("r")

        with anyio.fail_after(30):
            assert (await kernel.wait(child_id("r", "a/child", 1))).status is RunStatus.CANCELLED


async def test_a_cancel_of_a_parent_nobody_runs_cancels_the_child() -> None:
    """Whoever ends an interrupted parent ends the child it was waiting for."""
    harness = Harness()
    child = waiting()
    parent = calling(child)
    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        crash(kernel)
    async with harness.kernel(parent, child, recover=False) as kernel:
        await kernel.cancel("r")
        await recorded(harness, "r.child", "run_cancelled")
        assert (await kernel.inspect("r.child")).status is RunStatus.CANCELLED


async def test_a_step_skipped_by_hand_gives_its_child_up() -> None:
    """Nobody will ask for the child any more, so it is cancelled."""
    harness = Harness()
    child = waiting()
    parent = calling(child)
    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        await kernel.pause("r")
        await kernel.wait("r")
        await kernel.set_output("r", "child", 12)
        await recorded(harness, "r.child", "run_cancelled")
        assert await (await kernel.unpause("r")).result() == 12


async def test_a_crash_between_the_two_ends_leaves_no_orphan() -> None:
    """A child whose parent was cancelled while the child's own cancel was lost is not run on by the next kernel."""
    harness = Harness()
    child = waiting()
    parent = calling(child)
    backend = DyingBackend(harness.store, "r", "run_cancelled")
    async with harness.kernel(parent, child, backend=backend) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        await have_run_elsewhere(harness, kernel, child)
        await kernel.cancel("r")
        await backend.dead.wait()
    assert (harness.summary("r").status, harness.summary("r.child").status) == ("cancelled", "waiting")
    async with harness.kernel(parent, child) as kernel:
        state = await kernel.wait("r.child")

    assert (state.status, state.cancel_reason) == (RunStatus.CANCELLED, abandoned_by("r"))
    assert harness.types("r.child")[-2:] == ["cancel_requested", "run_cancelled"]


async def test_a_cancel_that_a_crash_interrupts_reaches_the_child() -> None:
    """A kernel that recovers a parent somebody had asked to cancel cancels both."""
    harness = Harness()
    child = waiting()
    parent = calling(child)
    backend = DyingBackend(harness.store, "r", "cancel_requested")
    async with harness.kernel(parent, child, backend=backend) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        await kernel.cancel("r")
        await backend.dead.wait()
    assert harness.summary("r.child").status == "waiting"
    async with harness.kernel(parent, child) as kernel:
        assert (await kernel.wait("r")).status is RunStatus.CANCELLED
        await recorded(harness, "r.child", "run_cancelled")


async def test_a_child_its_program_gave_up_before_the_crash_is_cancelled() -> None:
    """The parent goes on, so it is the parent's recovery that ends the child."""
    harness = Harness()
    child = waiting()
    begun = anyio.Event()

    @workflow()
    async def parent(ctx: Context) -> None:
        async with anyio.create_task_group() as group:

            async def first() -> None:
                await begun.wait()
                group.cancel_scope.cancel()

            group.start_soon(first)
            group.start_soon(call, ctx, child)
        await ctx.wait_signal("never")

    backend = DyingBackend(harness.store, "r", "step_cancelled")
    async with harness.kernel(parent, child, backend=backend) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        await have_run_elsewhere(harness, kernel, child)
        begun.set()
        await backend.dead.wait()
    assert harness.summary("r.child").status == "waiting"
    async with harness.kernel(parent, child) as kernel:
        await recorded(harness, "r.child", "run_cancelled")
        assert not (await kernel.inspect("r")).is_final


@pytest.mark.parametrize("ends", ["run_completed", "run_failed", "run_cancelled", "timeout"])
async def test_a_parent_whose_kernel_dies_with_its_end_leaves_no_child_to_another_kernel(ends: str) -> None:
    """The child has an owner that lives, so nobody takes it up and looks for its parent; and nobody takes up what is
    final. So the owner of the child is told before the end of the parent is recorded."""
    harness = Harness()
    child, gate = waiting(), anyio.Event()

    async def fail() -> None:
        await gate.wait()
        raise LookupError

    @workflow(timeout=60)
    async def parent(ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(call, ctx, child)
            if ends == "run_completed":
                await gate.wait()
                group.cancel_scope.cancel()
            else:
                await ctx.step(fail)

    dying = DyingBackend(harness.store, "r", "run_failed" if ends == "timeout" else ends)
    async with harness.kernel(child, recover=False) as other:
        async with harness.kernel(parent, child, backend=dying) as kernel:
            await kernel.start(parent, run_id="r")
            await both_wait(harness)
            await move(kernel, other)
            if ends == "timeout":
                harness.clock.advance(60)
            elif ends == "run_cancelled":
                await kernel.cancel("r")
            else:
                gate.set()
            await dying.dead.wait()
        with anyio.fail_after(30):
            state = await other.wait("r.child")

    assert (state.status, state.cancel_reason) == (RunStatus.CANCELLED, abandoned_by("r"))


@pytest.mark.parametrize("ends", ["cancel", "recovery"])
async def test_whoever_ends_a_parent_and_dies_leaves_no_child_to_another_kernel(ends: str) -> None:
    """The same of a parent that nobody runs, by who cancels it, or takes it up when that was asked for."""
    harness = Harness()
    child = waiting()
    parent = calling(child)
    first = DyingBackend(harness.store, "r", "cancel_requested")
    dying = DyingBackend(harness.store, "r", "run_cancelled")
    async with harness.kernel(child, recover=False) as other:
        async with harness.kernel(parent, child, backend=first) as kernel:
            await kernel.start(parent, run_id="r")
            await both_wait(harness)
            await move(kernel, other)
            if ends == "cancel":
                crash(kernel)
            else:
                await kernel.cancel("r")
                await first.dead.wait()
        assert harness.summary("r.child").status == "waiting"
        with suppress(StoreError):
            async with harness.kernel(parent, child, backend=dying, recover=ends == "recovery") as kernel:
                await (kernel.cancel("r") if ends == "cancel" else dying.dead.wait())
        with anyio.fail_after(30):
            assert (await other.wait("r.child")).status is RunStatus.CANCELLED


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["of the same kernel", "of another kernel"])
async def test_a_child_that_is_ended_with_its_parent_ends_its_own_children(is_elsewhere: bool) -> None:
    """Whoever takes up a run whose parent has ended ends the runs that this one has started."""
    harness = Harness()
    leaf = waiting("leaf")
    middle = calling(leaf, "middle")
    root = calling(middle, "root")
    dying = DyingBackend(harness.store, "r", "run_cancelled")
    async with harness.kernel(leaf, recover=False) as other:
        async with harness.kernel(root, middle, leaf, backend=dying) as kernel:
            await kernel.start(root, run_id="r")
            await recorded(harness, "r.middle.leaf", "step_waiting")
            if is_elsewhere:
                await move(kernel, other, "r.middle.leaf")
            await kernel.cancel("r")
            await dying.dead.wait()
        assert {harness.summary(run_id).status for run_id in ("r.middle", "r.middle.leaf")} == {"waiting"}
        async with harness.kernel(root, middle, leaf) as kernel:
            with anyio.fail_after(30):
                assert (await kernel.wait("r.middle")).status is RunStatus.CANCELLED
                assert (await kernel.wait("r.middle.leaf")).status is RunStatus.CANCELLED


class Unposted(InMemoryBackend):
    """Takes no requests for other kernels while it is broken; `refused` is set when it has refused one."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.is_broken = True
        self.refused = anyio.Event()

    async def post(self, run_id: str, request: Request) -> RunSummary:
        if self.is_broken:
            self.refused.set()
            raise StoreError(self.url, "the disk is full")
        return await super().post(run_id, request)


@pytest.mark.parametrize("then", ["goes on", "closes"])
async def test_a_parent_does_not_end_before_its_child_elsewhere_is_told(then: str) -> None:
    """While the store does not take the cancel of the child the parent waits with its end, and tries again. If its
    kernel closes meanwhile, the next one ends both."""
    harness = Harness()
    child = waiting()
    parent = calling(child)
    backend = Unposted(harness.store)
    async with harness.kernel(child, recover=False) as other:
        async with harness.kernel(parent, child, backend=backend) as kernel:
            await kernel.start(parent, run_id="r")
            await both_wait(harness)
            await move(kernel, other)
            await kernel.cancel("r")
            with anyio.fail_after(30):
                await backend.refused.wait()
                await harness.clock.asleep(1)
            assert not (await kernel.inspect("r")).is_final
            if then == "goes on":
                backend.is_broken = False
                harness.clock.advance(1)
                await kernel.wait("r")
        assert harness.types("r")[-1] == ("run_cancelled" if then == "goes on" else "cancel_requested")
        async with harness.kernel(parent, child) as kernel:
            with anyio.fail_after(30):
                assert (await kernel.wait("r")).status is RunStatus.CANCELLED
                assert (await other.wait("r.child")).status is RunStatus.CANCELLED


async def test_a_child_elsewhere_that_somebody_has_resumed_outlives_its_parent() -> None:
    """The parent gave it up and goes on; who resumed it then did so for its own sake."""
    harness = Harness()
    child, gate, given_up = waiting(), anyio.Event(), anyio.Event()

    @workflow()
    async def parent(ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(call, ctx, child)
            await gate.wait()
            group.cancel_scope.cancel()
        given_up.set()
        await ctx.wait_signal("end")

    async with harness.kernel(child, recover=False) as other, harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        gate.set()
        await given_up.wait()
        await kernel.wait("r.child")
        harness.clock.advance(1)
        await other.resume("r.child", by="ann")
        await recorded(harness, "r.child", "step_waiting", 2)
        await kernel.signal("r", "end")
        await kernel.result("r")
        await kernel.signal("r.child", "go", 5)
        assert await other.result("r.child") == 5


async def test_a_child_that_somebody_resumed_after_its_parent_had_ended_is_recovered() -> None:
    """Such a child is its own master: the end of its parent is no reason to end it."""
    harness = Harness()
    child = waiting()
    parent = calling(child)
    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        await kernel.cancel("r")
        await kernel.wait("r.child")
        harness.clock.advance(1)
        await kernel.resume("r.child", by="ann")
        await recorded(harness, "r.child", "step_waiting", 2)
        crash(kernel)
    async with harness.kernel(parent, child) as kernel:
        await kernel.signal("r.child", "go", 5)
        assert await kernel.result("r.child") == 5


@pytest.mark.parametrize("then", ["running", "finished", "failed"])
async def test_a_parent_is_recovered_with_its_child(then: str) -> None:
    """Whatever had become of the child when the kernel died, the parent takes its outcome, and nothing runs twice."""
    harness = Harness()
    counter = Counter()
    release = anyio.Event()

    async def work() -> int:
        number = counter.count("work")
        if then == "running" and number == 1:
            release.set()
            await anyio.sleep_forever()
        if then == "failed":
            raise ValueError("no")
        return 9

    @workflow()
    async def child(ctx: Context) -> int:
        return await ctx.step(work)

    parent = calling(child)
    backend = DyingBackend(harness.store, "r.child", "run_failed" if then == "failed" else "run_completed")
    async with harness.kernel(parent, child, backend=backend) as kernel:
        await kernel.start(parent, run_id="r")
        if then == "running":
            await release.wait()
            crash(kernel)
        else:
            await backend.dead.wait()
    assert harness.summary("r").status == "waiting"
    async with harness.kernel(parent, child) as kernel:
        if then == "failed":
            with pytest.raises(RunFailed, match="no"):
                await kernel.result("r")
        else:
            assert await kernel.result("r") == 9
        state = await kernel.inspect("r.child")

    assert counter.calls == ["work"] * (2 if then == "running" else 1)
    assert state.resume_count == 0


@pytest.mark.parametrize("ended", ["no", "failed"])
async def test_a_program_brings_the_workflow_of_its_child_along(ended: str) -> None:
    """A kernel that was given the parent only takes the child up as soon as the program asks for it, whichever process
    has started it: nobody registers a workflow that the program holds in its hand."""
    harness = Harness(JumpingClock())
    counter = Counter()

    @workflow(name="child")
    async def child(ctx: Context) -> Any:
        if ended == "failed":
            await ctx.step(lambda: counter.count("work") > 1 or 1 / 0, name="work")
        return await ctx.wait_signal("go")

    parent = calling(child, retry=RetryPolicy(max_attempts=2, delay=3600))
    async with harness.kernel(parent) as kernel:
        await kernel.start(parent, run_id="r")
        await (both_wait(harness) if ended == "no" else recorded(harness, "r", "attempt_failed"))
        crash(kernel)
    async with harness.kernel(parent) as kernel:
        await recorded(harness, "r.child", "step_waiting")
        await kernel.signal("r.child", "go", 7)
        assert await kernel.result("r") == 7


async def test_the_child_of_a_parent_that_lives_elsewhere_is_waited_for_there() -> None:
    """A parent that is recovered by a kernel without the child's workflow waits until somebody runs the child."""
    harness = Harness(JumpingClock())
    child = waiting()
    parent = calling("child")
    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        crash(kernel)
    async with harness.kernel(parent) as waiting_kernel:
        reasons = (await waiting_kernel.explain("r")).reasons
        async with harness.kernel(child) as running_kernel:
            await running_kernel.signal("r.child", "go", 6)
            assert await waiting_kernel.result("r") == 6

    assert [reason.commands for reason in reasons] == [["flujoctl explain r.child"]]


async def test_a_paused_child_is_waited_for() -> None:
    """Somebody pauses the child: the parent waits until somebody lets it go on."""
    harness = Harness(JumpingClock())
    child = waiting()
    parent = calling(child)
    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        await kernel.pause("r.child")
        assert (await kernel.wait("r.child")).status is RunStatus.PAUSED
        await kernel.signal("r.child", "go", 2)
        assert (await kernel.inspect("r")).status is RunStatus.WAITING
        await kernel.unpause("r.child")
        assert await kernel.result("r") == 2


async def test_a_paused_parent_lets_its_child_go_on() -> None:
    """A pause is about one run: the child goes on, and its outcome is there when the parent is resumed."""
    child = waiting()
    parent = calling(child)
    harness = Harness()
    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        await kernel.pause("r")
        assert (await kernel.wait("r")).status is RunStatus.PAUSED
        await kernel.signal("r.child", "go", 2)
        assert await kernel.result("r.child") == 2
        assert await (await kernel.unpause("r")).result() == 2


async def test_a_deleted_run_takes_its_children_along() -> None:
    """Children and theirs go, of every generation; runs that only look like children stay."""
    harness = Harness()
    leaf = echo("leaf")
    middle = calling(leaf, "middle")
    root = calling(middle, "root")
    async with harness.kernel(root, middle, leaf) as kernel:
        await kernel.run(leaf, run_id="r.other")
        await kernel.run(root, run_id="r")
        await (await kernel.resume("r", from_step="middle")).result()
        assert set(harness.store.runs) == {
            "r", "r.middle", "r.middle.leaf", "r.middle.g2", "r.middle.g2.leaf", "r.other"
        }  # fmt: skip
        await Observer(kernel.backend).delete("r")

    assert set(harness.store.runs) == {"r.other"}


async def test_a_run_with_a_child_at_work_is_not_deleted() -> None:
    """Nothing goes while a live process runs one of them; with force they are cancelled first, and all go."""
    harness = Harness()
    child = waiting()

    @workflow()
    async def parent(ctx: Context) -> None:
        await ctx.run_child(child)

    async with harness.kernel(parent, child) as kernel:
        await kernel.start(parent, run_id="r")
        await both_wait(harness)
        await kernel.pause("r")
        await kernel.wait("r")
        with pytest.raises(RunActiveError, match=re.escape("r.child")):
            await kernel.delete("r")
        assert set(harness.store.runs) == {"r", "r.child"}
        await kernel.delete("r", force=True)

    assert set(harness.store.runs) == set()


async def test_a_parent_that_was_taken_over_does_not_resume_the_child_that_its_next_owner_has_cancelled() -> None:
    """Its old kernel, which has nothing to record, learns by looking that it has lost the parent. It resumed the child,
    which was cancelled for the end of its parent, and so on without an end."""
    harness = Harness(JumpingClock())
    child = waiting()
    parent = calling(child)

    async with harness.kernel(parent, child) as first, harness.kernel(child) as other:
        await first.start(parent, run_id="r")
        await both_wait(harness)
        await move(first, other)
        harness.store.alive.discard(first.id)
        async with harness.kernel(parent, child) as second:
            with anyio.fail_after(10):
                while harness.summary("r").owner != second.id:
                    await checkpoint()
                harness.store.alive.add(first.id)

                await second.cancel("r", "enough")

                for kernel in (second, first):
                    with pytest.raises(RunCancelled):
                        await kernel.result("r")
                await first.wait("r.child")

    assert harness.types("r.child").count("run_resumed") == 1  # by `move`


async def both_wait(harness: Harness) -> None:
    """Return once the parent `r` waits for its child, and the child for its signal."""
    await recorded(harness, "r", "step_waiting")
    await recorded(harness, "r.child", "step_waiting")


async def move(kernel: Kernel, other: Kernel, child: str = "r.child") -> None:
    """Let a child be run by another kernel, which lives, while its parent waits for it."""
    await kernel.pause(child)
    await kernel.wait(child)
    await other.unpause(child)


async def have_run_elsewhere(harness: Harness, kernel: Kernel, child: Workflow) -> None:
    """Let the child `r.child` be run by another kernel, and that one die."""
    await kernel.pause("r.child")
    await kernel.wait("r.child")
    async with harness.kernel(child, recover=False) as other:
        await other.unpause("r.child")
        crash(other)


async def call(ctx: Context, child: Workflow) -> None:
    await ctx.run_child(child, name="child")


@pytest.mark.parametrize(("how", "fact"), [("skip", "step_skipped"), ("set_output", "step_output_set")])
@pytest.mark.parametrize("is_durable", [True, False], ids=["and is recorded", "and is not"])
async def test_no_child_outlives_a_kernel_that_dies_as_its_step_is_settled_by_hand(
    how: str, fact: str, is_durable: bool
) -> None:
    """Whoever takes up the parent finds it with the output and the child at its end, or both as they were."""
    harness = Harness()
    async with harness.kernel(calling("child"), waiting()) as kernel:
        await kernel.start("parent", run_id="p")
        await recorded(harness, "p.child", "step_waiting")
    last = ("p", fact) if is_durable else ("p.child", "run_cancelled")
    async with harness.kernel(recover=False, backend=DyingBackend(harness.store, *last)) as kernel:
        with suppress(StoreError):
            await getattr(kernel, how)("p", "child", "by hand")

    async with harness.kernel(calling("child"), waiting()) as kernel:
        if is_durable:
            assert await kernel.result("p") == "by hand"
            assert (await kernel.wait("p.child")).cancel_reason == abandoned_by("p")
        else:
            await recorded(harness, "p.child", "run_resumed")
            await kernel.signal("p.child", "go", "by itself")
            assert await kernel.result("p") == "by itself"


async def test_a_paused_child_that_nobody_waits_for_says_so() -> None:
    """Its parent was cancelled by a process that died before it could cancel the child; nobody takes up what is
    paused."""
    harness = Harness()
    async with harness.kernel(calling("child"), waiting()) as kernel:
        await kernel.start("parent", run_id="p")
        await recorded(harness, "p.child", "step_waiting")
        await kernel.pause("p.child")
        await kernel.wait("p.child")
    async with harness.kernel(recover=False, backend=DyingBackend(harness.store, "p", "run_cancelled")) as kernel:
        with suppress(StoreError):
            await kernel.cancel("p")

    told = "; run p, which has started it, is cancelled and does not wait for it any more"
    async with harness.kernel(calling("child"), waiting()) as kernel, harness.backend() as reader:
        for runs in (kernel, Observer(reader, clock=harness.clock)):
            reason, *_ = (await runs.explain("p.child")).reasons
            assert reason.text == f"it is paused: a pause was asked for{told}"
            assert reason.commands == ["flujoctl cancel p.child", "flujoctl resume p.child"]
        harness.clock.advance(1)
        await kernel.resume("p.child")
        assert told not in (await kernel.explain("p.child")).reasons[0].text  # it goes on for whoever has resumed it
        await kernel.signal("p.child", "go", 1)
        assert await kernel.result("p.child") == 1
