"""Pausing a run: what still ends, what does not begin any more, and what is there again when the run goes on."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from flujo.kernel import (
    Context,
    PauseOutcome,
    RetryPolicy,
    RunPaused,
    RunStatus,
    StepStatus,
    Workflow,
    workflow,
)
from flujo.kernel.errors import RunFinishedError, RunNotFoundError, RunNotPausedError
from flujo.kernel.events import PauseRequested
from flujo.kernel.events import RunPaused as RunPausedFact
from kernel.harness import Counter, GatedBackend, Harness, JumpingClock, crash, recorded, until


class Gate:
    """A step that begins, and ends once it is told to."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.release = anyio.Event()

    async def pass_through(self) -> str:
        self.begun.set()
        await self.release.wait()
        return "passed"


def two_steps(gate: Gate, counter: Counter) -> Workflow:
    """A workflow that passes the gate and then counts."""

    @workflow(name="program")
    async def program(ctx: Context) -> Any:
        first = await ctx.step(gate.pass_through, name="first")
        return [first, await ctx.step(counter.body("second"), name="second")]

    return program


def forever(name: str = "program") -> Workflow:
    """A workflow that waits for the signal `go`."""

    @workflow(name=name)
    async def program(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    return program


async def test_a_running_body_ends_and_is_recorded_and_nothing_else_begins() -> None:
    """From the request on no attempt starts; the outcome of the last body is kept, and a resume goes on behind it."""
    harness = Harness()
    gate, counter = Gate(), Counter()
    program = two_steps(gate, counter)
    async with harness.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await gate.begun.wait()
        assert await kernel.pause("r", "lunch", by="ann") is PauseOutcome.REQUESTED
        pausing = await kernel.inspect("r")
        gate.release.set()
        paused = await kernel.wait("r")
        with pytest.raises(RunPaused):
            await handle.result()
        assert counter.calls == []
        output = await (await kernel.unpause("r", by="ann")).result()

    assert (pausing.status, pausing.pause_requested_at is None) == (RunStatus.RUNNING, False)
    assert (paused.status, paused.paused_reason) == (RunStatus.PAUSED, "PauseRequested")
    assert paused.steps["first"].output == "passed"
    assert output == ["passed", 1]
    assert harness.types("r") == [
        "run_created", "step_started", "pause_requested", "step_completed", "run_paused",
        "run_resumed", "step_started", "step_completed", "run_completed",
    ]  # fmt: skip
    assert harness.journal("r")[2].fact == PauseRequested("lunch", "ann")
    assert harness.summary("r").owner is None


async def test_a_branch_that_would_begin_waits_for_the_others() -> None:
    """One branch is in a body, another one comes to its next step: it is held, and begins after the resume."""
    harness = Harness()
    gate, counter = Gate(), Counter()

    @workflow()
    async def program(ctx: Context) -> Any:
        async def other() -> Any:
            await ctx.sleep(5)
            return await ctx.step(counter.body("other"), name="other")

        return await ctx.gather(a=ctx.step(gate.pass_through), b=other())

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await gate.begun.wait()
        await harness.clock.asleep(5)
        await kernel.pause("r")
        harness.clock.advance(5)
        await until(kernel, "r", "step_completed", "b/sleep")
        await anyio.wait_all_tasks_blocked()
        assert not (await kernel.inspect("r")).is_final
        gate.release.set()
        assert (await kernel.wait("r")).status is RunStatus.PAUSED
        assert counter.calls == []
        output = await (await kernel.unpause("r")).result()

    assert output == {"a": "passed", "b": 1}


async def test_a_step_that_waits_for_a_slot_does_not_begin_either() -> None:
    """A body of the same run ends and leaves its slot; the step behind it gives it back."""
    harness = Harness()
    gate, counter = Gate(), Counter()

    @workflow()
    async def program(ctx: Context) -> Any:
        async def second() -> Any:
            await gate.begun.wait()
            return await ctx.step(counter.body("second"), name="second")

        return await ctx.gather(ctx.step(gate.pass_through), second())

    async with harness.kernel(program, max_steps=1) as kernel:
        await kernel.start(program, run_id="r")
        await gate.begun.wait()
        await anyio.wait_all_tasks_blocked()
        await kernel.pause("r")
        gate.release.set()
        assert (await kernel.wait("r")).status is RunStatus.PAUSED
        assert counter.calls == []
        assert await (await kernel.unpause("r")).result() == ["passed", 1]


async def test_a_shielded_program_does_not_hold_up_a_pause() -> None:
    """A step that is asked for inside a shield is held like any other, and let go when the run is paused."""
    gate, counter = Gate(), Counter()

    @workflow()
    async def program(ctx: Context) -> Any:
        async def shielded() -> Any:
            await ctx.wait_signal("go")
            with anyio.CancelScope(shield=True):
                return await ctx.step(counter.body("second"), name="second")

        return await ctx.gather(a=ctx.step(gate.pass_through), b=shielded())

    async with Harness().kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await gate.begun.wait()
        await kernel.pause("r")
        await kernel.signal("r", "go")
        await until(kernel, "r", "step_completed", "b/go")
        await anyio.wait_all_tasks_blocked()
        gate.release.set()
        assert (await kernel.wait("r")).status is RunStatus.PAUSED
        assert counter.calls == []
        assert await (await kernel.unpause("r")).result() == {"a": "passed", "b": 1}


async def test_a_timer_is_not_lost() -> None:
    """The instant of a sleep stands: what has passed of it while the run was paused has passed."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.sleep(60)

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await harness.clock.asleep(60)
        await kernel.pause("r")
        paused = await kernel.wait("r")
        harness.clock.advance(40)
        await kernel.unpause("r")
        await harness.clock.asleep(60)
        harness.clock.advance(20)
        await kernel.result("r")

    assert (paused.status, paused.steps["sleep"].status) == (RunStatus.PAUSED, StepStatus.WAITING)
    assert harness.types("r").count("step_waiting") == 1


async def test_a_backoff_is_not_lost() -> None:
    """A run that waits for the next attempt of a failed step is paused at once, and keeps count and instant."""
    harness = Harness()
    counter = Counter()

    async def flaky() -> int:
        if (number := counter.count("flaky")) == 1:
            raise ConnectionError
        return number

    @workflow()
    async def program(ctx: Context) -> int:
        return await ctx.step(flaky, retry=RetryPolicy(max_attempts=2, delay=30, jitter=0))

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await harness.clock.asleep(30)
        await kernel.pause("r")
        paused = await kernel.wait("r")
        await kernel.unpause("r")
        await harness.clock.asleep(30)
        assert counter.calls == ["flaky"]
        harness.clock.advance(30)
        assert await kernel.result("r") == 2
        step = (await kernel.inspect("r")).steps["flaky"]

    assert (paused.status, paused.steps["flaky"].status) == (RunStatus.PAUSED, StepStatus.RETRYING)
    assert (step.attempt, step.failures, step.generation) == (2, 1, 1)


async def test_a_signal_sent_meanwhile_is_not_lost() -> None:
    """A paused run has an inbox: what is sent to it is taken when it goes on."""
    program = forever()
    async with Harness().kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.pause("r")
        await kernel.wait("r")
        await kernel.signal("r", "go", 5)
        assert await (await kernel.unpause("r")).result() == 5


async def test_a_run_that_has_not_begun_is_paused() -> None:
    """A pause right after the start: the run is pending, pauses, and is pending again after the resume."""
    harness = Harness()
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> int:
        return await ctx.step(counter.body("only"), name="only")

    backend = GatedBackend(harness.store)
    async with harness.kernel(program, backend=backend) as kernel:
        backend.close_gate()
        async with anyio.create_task_group() as group:
            group.start_soon(partial(kernel.start, program, run_id="r"))
            await backend.waiting.wait()
            group.start_soon(kernel.pause, "r")
            await anyio.wait_all_tasks_blocked()
            backend.gate.set()
        paused = await kernel.wait("r")
        assert counter.calls == []
        assert await (await kernel.unpause("r")).result() == 1

    assert paused.status is RunStatus.PAUSED
    assert harness.types("r")[:4] == ["run_created", "pause_requested", "run_paused", "run_resumed"]


async def test_a_run_nobody_runs_is_paused_at_once() -> None:
    """An interrupted run becomes paused, with its dead attempt counted, and belongs to nobody."""
    harness = Harness()
    gate, counter = Gate(), Counter()
    program = two_steps(gate, counter)
    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await gate.begun.wait()
        crash(kernel)
    async with harness.kernel(program, recover=False) as kernel:
        assert await kernel.pause("r", by="ann") is PauseOutcome.PAUSED
        state = await kernel.inspect("r")
        assert await kernel.recover() == 0
        gate.release.set()
        assert await (await kernel.unpause("r")).result() == ["passed", 1]

    assert (state.status, state.steps["first"].interruptions) == (RunStatus.PAUSED, 1)
    assert harness.types("r")[2:6] == ["run_taken_over", "step_interrupted", "pause_requested", "run_paused"]


async def test_a_paused_run_can_be_paused_again() -> None:
    """A repeat says so and records nothing."""
    harness = Harness()
    program = forever()
    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.pause("r")
        await kernel.wait("r")
        before = harness.types("r")
        assert await kernel.pause("r") is PauseOutcome.ALREADY_PAUSED

    assert harness.types("r") == before


async def test_a_pause_asked_for_elsewhere_reaches_the_owner() -> None:
    """Another process leaves the request in the inbox, and the owner carries it out."""
    harness = Harness()
    gate, counter = Gate(), Counter()
    program = two_steps(gate, counter)
    async with harness.kernel(program) as owner, harness.kernel() as other:
        await owner.start(program, run_id="r")
        await gate.begun.wait()
        assert await other.pause("r", "lunch", by="ann") is PauseOutcome.REQUESTED
        await recorded(harness, "r", "pause_requested")
        gate.release.set()
        assert (await owner.wait("r")).status is RunStatus.PAUSED

    assert harness.journal("r")[2].fact == PauseRequested("lunch", "ann")
    assert not harness.store.inbox


async def test_a_pause_survives_a_crash() -> None:
    """A kernel that dies while a body holds up the pause: whoever recovers the run pauses it."""
    harness = Harness()
    gate, counter = Gate(), Counter()
    program = two_steps(gate, counter)
    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await gate.begun.wait()
        await kernel.pause("r")
        crash(kernel)
    async with harness.kernel(program) as kernel:
        state = await kernel.wait("r")
        gate.release.set()
        assert await (await kernel.unpause("r")).result() == ["passed", 1]

    assert (state.status, state.steps["first"].interruptions) == (RunStatus.PAUSED, 1)
    assert [event.fact for event in harness.journal("r") if event.type == "run_paused"] == [
        RunPausedFact("PauseRequested")
    ]


async def test_a_resume_overrules_a_pause_that_a_crash_has_kept_back() -> None:
    """Somebody resumes a run whose kernel died while it was pausing: it goes on, and is not paused after all."""
    harness = Harness()
    gate, counter = Gate(), Counter()
    program = two_steps(gate, counter)
    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await gate.begun.wait()
        await kernel.pause("r")
        crash(kernel)
    gate.release.set()
    async with harness.kernel(program, recover=False) as kernel:
        assert await (await kernel.resume("r")).result() == ["passed", 1]


async def test_a_resume_overrules_a_pause_in_the_inbox() -> None:
    """A pause that its owner died too early to read asked for the end of what the resume begins anew."""
    harness = Harness()
    gate, counter = Gate(), Counter()
    program = two_steps(gate, counter)
    async with harness.kernel(program) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(program, run_id="r")
        await gate.begun.wait()
        kernel._runtime._inbox.answer = lambda posts: None  # type: ignore[method-assign]
        await other.pause("r")
        crash(kernel)
    assert [posted.request.kind for posted in harness.store.inbox.values()] == ["pause"]
    gate.release.set()
    async with harness.kernel(program, recover=False) as kernel:
        assert await (await kernel.resume("r")).result() == ["passed", 1]

    assert not harness.store.inbox


async def test_a_cancel_overrules_a_pause() -> None:
    """A run that is pausing is cancelled at once, body and all."""
    harness = Harness()
    gate, counter = Gate(), Counter()
    program = two_steps(gate, counter)
    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await gate.begun.wait()
        await kernel.pause("r")
        await kernel.cancel("r")
        assert (await kernel.wait("r")).status is RunStatus.CANCELLED


async def test_a_paused_run_can_be_cancelled() -> None:
    """It needs nobody to run it for that."""
    program = forever()
    async with Harness().kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.pause("r")
        await kernel.wait("r")
        await kernel.cancel("r")
        assert (await kernel.inspect("r")).status is RunStatus.CANCELLED


async def test_a_pause_of_what_has_ended_is_refused() -> None:
    """A final run has nothing to pause, and one that is not paused nothing to unpause."""

    @workflow()
    async def program(ctx: Context) -> None:
        pass

    async with Harness().kernel(program) as kernel:
        await kernel.run(program, run_id="r")
        with pytest.raises(RunFinishedError):
            await kernel.pause("r")
        with pytest.raises(RunNotPausedError, match="is completed, not paused"):
            await kernel.unpause("r")
        with pytest.raises(RunNotFoundError):
            await kernel.pause("nobody")


async def test_a_program_that_awaits_something_of_its_own_is_paused() -> None:
    """Between two steps nothing of flujo's runs: the program is stopped there, and repeats its own code later."""
    reached: list[str] = []
    release = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> str:
        await ctx.sleep(1)
        reached.append("here")
        await release.wait()
        return "done"

    async with Harness(JumpingClock()).kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_completed")
        await anyio.wait_all_tasks_blocked()
        await kernel.pause("r")
        assert (await kernel.wait("r")).status is RunStatus.PAUSED
        release.set()
        assert await (await kernel.unpause("r")).result() == "done"

    assert reached == ["here", "here"]
