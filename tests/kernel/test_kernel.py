"""The kernel as its users meet it: start, wait, watch, ask, resume, recover, close; and two kernels on one store."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import foreground
from flujo.backends.memory import InMemoryBackend
from flujo.kernel import (
    CancelOutcome,
    Context,
    Delivery,
    Event,
    Kernel,
    Observer,
    RunCancelled,
    RunFailed,
    RunHandle,
    RunInterrupted,
    RunNotFoundError,
    RunPaused,
    RunStatus,
    StepStatus,
    Workflow,
    step,
    workflow,
)
from flujo.kernel.errors import (
    CorruptStoreError,
    CursorError,
    DeclarationError,
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    KernelClosedError,
    RunActiveError,
    RunDeletedError,
    RunExistsError,
    RunFinishedError,
    RunNotResumableError,
    RunReplacedError,
    StepNotFoundError,
    StoreFullError,
    WorkflowNotFoundError,
)
from kernel.harness import Counter, JumpingClock, ManualClock, Stage, crash, until, usurp

ROOT = Path(__file__).parents[2]


@step
async def double(number: int) -> int:
    return 2 * number


@workflow(version="1")
async def doubling(ctx: Context, number: int = 1) -> int:
    return await ctx.step(double, number)


@workflow()
async def waiting(ctx: Context) -> Any:
    return await ctx.wait_signal("go")


@workflow()
async def stuck(ctx: Context) -> None:
    await ctx.step(anyio.sleep_forever, name="endless")


class Flaky:
    """A workflow of three steps whose second one fails until it is mended."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.broken = True

        async def middle() -> int:
            self.counter.count("middle")
            if self.broken:
                raise ValueError("broken")
            return 2

        @workflow(name="flaky")
        async def program(ctx: Context, extra: int = 0) -> Any:
            first = await ctx.step(self.counter.body("first"), name="first")
            second = await ctx.step(middle)
            third = await ctx.step(self.counter.body("third"), name="third")
            return [first, second, third, extra]

        self.workflow = program


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    """Every event of a watch, to its end."""
    async with aclosing(events) as stream:  # type: ignore[type-var]
        return [event async for event in stream]


# -- starting ------------------------------------------------------------------------------------------------------


async def test_starting_twice_under_one_id_is_starting_once() -> None:
    """The same id with the same workflow and inputs is the same run, live or finished."""
    async with Stage().kernel(doubling) as kernel:
        first = await kernel.start(doubling, {"number": 3}, run_id="r")
        second = await kernel.start("doubling", {"number": 3}, run_id="r")
        await first.result()
        third = await kernel.start(doubling, {"number": 3}, run_id="r")

        assert [each.created for each in (first, second, third)] == [True, False, False]
        assert await third.result() == 6


async def test_two_starts_at_the_same_moment_make_one_run() -> None:
    """Of two concurrent starts under one id one creates the run, and both have its result."""
    handles: list[RunHandle] = []
    results: list[int] = []

    async def begin(kernel: Kernel) -> None:
        handle = await kernel.start(doubling, {"number": 3}, run_id="r")
        handles.append(handle)
        results.append(await handle.result())

    async with Stage().kernel(doubling) as kernel, anyio.create_task_group() as group:
        group.start_soon(begin, kernel)
        group.start_soon(begin, kernel)

    assert sorted(handle.created for handle in handles) == [False, True]
    assert results == [6, 6]


@pytest.mark.parametrize(
    ("flow", "inputs", "run_id", "difference"),
    [
        (doubling, {"number": 4}, "Run", "other inputs"),
        (waiting, {}, "Run", "the workflow 'doubling'"),
        (doubling, {"number": 3}, "rUN", "upper and lower case"),
    ],
    ids=["other inputs", "another workflow", "another case"],
)
async def test_an_id_that_is_taken_is_refused(flow: Any, inputs: dict[str, Any], run_id: str, difference: str) -> None:
    """An id belongs to one workflow with one set of inputs, and ids are unique regardless of case."""
    async with Stage().kernel(doubling, waiting) as kernel:
        await kernel.run(doubling, {"number": 3}, run_id="Run")

        with pytest.raises(RunExistsError, match=difference):
            await kernel.start(flow, inputs, run_id=run_id)


async def test_inputs_are_checked_before_anything_is_stored() -> None:
    """Inputs that do not fit are refused with every problem by field, and no run exists afterwards."""
    stage = Stage()

    async with stage.kernel(doubling) as kernel:
        with pytest.raises(InvalidInputError) as refused:
            await kernel.start(doubling, {"number": "many", "colour": "red"}, run_id="r")
        with pytest.raises(InvalidNameError):
            await kernel.start(doubling, run_id="not an id")
        with pytest.raises(WorkflowNotFoundError, match="doubling"):
            await kernel.start("tripling")

    assert set(refused.value.problems) == {"number", "colour"}
    assert stage.store.runs == {}


async def test_a_start_whose_caller_is_cancelled_goes_on() -> None:
    """A run whose creation is recorded is driven, whatever becomes of the task that asked for it."""
    left_to_itself = 0
    for ticks in range(12):
        stage = Stage()
        async with stage.kernel(doubling) as kernel:
            cancelled = await is_cancelled_after(ticks, partial(kernel.start, doubling, run_id="r"))
            if "r" in stage.store.runs:  # the cancellation may have come before the start
                assert await kernel.result("r") == 2
                left_to_itself += cancelled

    assert left_to_itself > 0


@pytest.mark.parametrize("request_", ["resume", "start", "cancel"])
async def test_a_caller_who_is_cancelled_half_way_leaves_no_run_that_nobody_drives(request_: str) -> None:
    """Whatever await a cancellation hits: a run this kernel has claimed goes on, and one it has not can be taken up."""

    @workflow()
    async def waiter(ctx: Context) -> int:
        answer: int = await ctx.wait_signal("answer")
        return answer

    cancelled: list[bool] = []
    for ticks in range(30):
        stage = Stage()
        async with stage.kernel(waiter) as kernel:
            await kernel.start(waiter, run_id="r")
            await until(kernel, "r", "step_waiting")
        async with stage.kernel(waiter, recover=False) as kernel:
            calls = {
                "resume": lambda kernel=kernel: kernel.resume("r"),
                "start": lambda kernel=kernel: kernel.start(waiter, run_id="r"),
                "cancel": lambda kernel=kernel: kernel.cancel("r"),
            }
            cancelled.append(await is_cancelled_after(ticks, calls[request_]))
            for _ in range(40):
                await checkpoint()

            if stage.summary("r").status != "cancelled":
                await kernel.start(waiter, run_id="r")  # refused, or of no use, if the run is claimed by nobody's task
                await kernel.signal("r", "answer", 42)
                with anyio.fail_after(5):
                    assert await kernel.result("r") == 42

    assert cancelled.count(True) >= 3  # at different awaits, not only before the request had begun
    assert not cancelled[-1]


async def is_cancelled_after(ticks: int, call: Callable[[], Awaitable[Any]]) -> bool:
    """Make a call, cancel it some passes of the event loop later, and return whether that ended it."""
    answered = False

    async def make() -> None:
        nonlocal answered
        await call()
        answered = True

    async with anyio.create_task_group() as group:
        group.start_soon(make)
        for _ in range(ticks):
            await checkpoint()
        group.cancel_scope.cancel()
    return not answered


async def test_a_store_that_fails_in_a_resume_leaves_the_run_to_be_resumed_again() -> None:
    """An error between the claim of a run and its first commit gives the run up again."""

    class Full(InMemoryBackend):
        broken = False

        async def take(self) -> Any:
            if self.broken:
                raise StoreFullError(self.url)
            return await super().take()

    stage = Stage()
    async with stage.kernel(doubling) as kernel:
        await kernel.run(doubling, run_id="r")
    backend = Full(stage.store)

    async with stage.kernel(doubling, backend=backend) as kernel:
        backend.broken = True
        with pytest.raises(StoreFullError):
            await kernel.resume("r", from_step="double")
        backend.broken = False
        await kernel.resume("r", from_step="double")
        assert await kernel.result("r") == 2


@pytest.mark.parametrize("where", ["labels", "environment", "cancel", "signal", "resume", "skip", "error type"])
async def test_text_that_is_not_utf8_is_refused_and_the_kernel_goes_on(where: str) -> None:
    """A file name or variable of other bytes fails the call that carries it, or its run, and nothing else."""
    odd = "\udcff"

    class OddError(Exception):
        type = odd

    @workflow()
    async def program(ctx: Context) -> None:
        if where == "skip":
            ctx.skip("later", odd)
        if where == "error type":
            raise OddError
        await ctx.wait_signal("never")

    if where == "environment":
        program = replace(program, environment=lambda beginning: {"workspace": odd})

    kernel = Stage().kernel(program)
    calls: dict[str, Any] = {
        "cancel": lambda: kernel.cancel("r", odd),
        "signal": lambda: kernel.signal("r", "never", by=odd),
        "resume": lambda: kernel.resume("r", by=odd),
        "skip": lambda: kernel.result("r"),
        "error type": lambda: kernel.result("r"),
    }

    async with kernel:
        calls["labels"] = calls["environment"] = partial(
            kernel.start, program, run_id="r", labels={"team": odd if where == "labels" else "a"}
        )
        if where not in ("labels", "environment"):
            await kernel.start(program, run_id="r")
        with anyio.fail_after(5), pytest.raises((InvalidValueError, RunFailed)):
            await calls[where]()
        assert await kernel.run(doubling) == 2


async def test_a_run_started_by_a_steps_body_is_a_run_like_any_other() -> None:
    """A body may open a kernel, or use its own, and run a workflow there: that one's steps are not inside the body."""
    stage, elsewhere = Stage(), Stage()

    async def here() -> Any:
        return await kernel.run(doubling)

    async def there() -> Any:
        async with elsewhere.kernel(doubling) as inner:
            return await inner.run(doubling)

    @workflow()
    async def program(ctx: Context) -> Any:
        return [await ctx.step(here), await ctx.step(there)]

    async with stage.kernel(program) as kernel:
        assert await kernel.run(program) == [2, 2]


async def test_a_kernel_that_is_not_open_says_so() -> None:
    """Starting on a kernel outside of `async with` is an error, not a wait."""
    kernel = Stage().kernel(doubling)

    with pytest.raises(KernelClosedError):
        await kernel.start(doubling)
    async with kernel:
        pass
    with pytest.raises(KernelClosedError):
        await kernel.start(doubling)


# -- results -------------------------------------------------------------------------------------------------------


async def test_results_say_how_a_run_ended() -> None:
    """`result` returns the output, or raises RunFailed or RunCancelled; for an unknown id RunNotFoundError."""
    flaky = Flaky()

    async with Stage().kernel(doubling, flaky.workflow, waiting) as kernel:
        assert await kernel.run(doubling, {"number": 4}) == 8
        with pytest.raises(RunFailed) as failed:
            await kernel.run(flaky.workflow)
        handle = await kernel.start(waiting)
        await handle.cancel("changed my mind")
        with pytest.raises(RunCancelled, match="changed my mind"):
            await handle.result()
        with pytest.raises(RunNotFoundError):
            await kernel.result("nobody")

    assert (failed.value.step, failed.value.type, failed.value.error) == ("middle", "ValueError", "broken")


async def test_a_program_that_raises_fails_its_run() -> None:
    """An error of the program itself, not of a step, is the run's error; a failed step it comes from is named."""

    @workflow()
    async def raises(ctx: Context) -> None:
        raise LookupError("in the program")

    async with Stage().kernel(raises) as kernel:
        with pytest.raises(RunFailed) as failed:
            await kernel.run(raises)

    assert (failed.value.type, failed.value.error, failed.value.step) == ("LookupError", "in the program", None)


async def test_an_interrupted_run_has_no_result() -> None:
    """Who waits for a run that nobody runs is told so."""
    stage = Stage()
    async with stage.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")

    async with stage.backend() as backend:
        with pytest.raises(RunInterrupted):
            await Observer(backend).result("r")


# -- watching ------------------------------------------------------------------------------------------------------


async def test_a_watch_gives_each_event_once_from_where_it_is_asked_to() -> None:
    """A watch from 0 gives the whole journal, one from n what follows n, both end with the run."""
    stage = Stage()

    async with stage.kernel(waiting) as kernel:
        handle = await kernel.start(waiting, run_id="r")
        seen: list[Event] = []

        async def watch() -> None:
            seen.extend(await collect(handle.watch()))

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await until(kernel, "r", "step_waiting")
            await handle.signal("go")
        rest = await collect(handle.watch(after_seq=2))

    assert [event.seq for event in seen] == [1, 2, 3, 4, 5]
    assert [event.seq for event in rest] == [3, 4, 5]
    assert seen == stage.journal("r")


async def test_a_watch_of_many_events_misses_none() -> None:
    """More events than one read returns arrive in order, each once."""

    @workflow()
    async def long(ctx: Context) -> None:
        for number in range(100):
            await ctx.step(double, number)

    async with Stage().kernel(long) as kernel:
        handle = await kernel.start(long)
        live = await collect(handle.watch())
        stored = await collect(handle.watch())

    assert [event.seq for event in live] == list(range(1, 203))
    assert live == stored


async def test_a_watch_ends_when_the_run_has_failed_and_goes_on_after_a_resume() -> None:
    """A failed run ends its watch; after a resume the next watch continues where that one ended."""
    flaky = Flaky()

    async with Stage().kernel(flaky.workflow) as kernel:
        handle = await kernel.start(flaky.workflow)
        before = await collect(handle.watch())
        flaky.broken = False
        await kernel.resume(handle.run_id)
        after = await collect(handle.watch(after_seq=before[-1].seq))

    assert before[-1].type == "run_failed"
    assert after[0].type == "run_resumed"
    assert after[-1].type == "run_completed"


async def test_a_watch_beyond_the_end_is_refused() -> None:
    """A cursor after the last event is a mistake, as is an unknown run."""
    async with Stage().kernel(doubling) as kernel:
        await kernel.run(doubling, run_id="r")

        with pytest.raises(CursorError, match="has 4 events"):
            await collect(kernel.watch("r", after_seq=5))
        with pytest.raises(RunNotFoundError):
            await collect(kernel.watch("s"))
        assert await collect(kernel.watch("r", after_seq=4)) == []


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
async def test_a_watch_tells_when_its_run_is_gone(replaced: bool) -> None:
    """The watch of an interrupted run that is deleted, or started anew under its id, ends with an error."""
    stage = Stage()
    async with stage.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")

    async with stage.kernel(doubling) as kernel:
        watch = kernel.watch("r")
        async with aclosing(watch) as events:
            for _ in range(2):
                await anext(events)
            await kernel.delete("r")
            if replaced:
                await kernel.start(doubling, run_id="r")
                await kernel.result("r")
            expected = RunReplacedError if replaced else RunDeletedError

            with pytest.raises(expected):
                await anext(events)


# -- signals -------------------------------------------------------------------------------------------------------


async def test_a_signal_from_elsewhere_reaches_the_owner() -> None:
    """Another kernel, or a mere reader of the store, can signal a run of this one."""
    stage = Stage()

    async with stage.kernel(waiting) as owner, stage.kernel() as other, stage.backend() as reader:
        handle = await owner.start(waiting, run_id="a")
        second = await owner.start(waiting, run_id="b")

        assert await other.signal("a", "go", 1) is Delivery.POSTED
        assert await handle.result() == 1
        assert await Observer(reader, clock=stage.clock).signal("b", "go", 2) is Delivery.POSTED
        assert await second.result() == 2
        assert stage.store.inbox == {}


async def test_a_signal_to_a_run_nobody_runs_is_kept() -> None:
    """A signal to an interrupted run is stored, and taken when somebody takes up the run."""
    stage = Stage()
    async with stage.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")

    async with stage.backend() as reader:
        delivery = await Observer(reader).signal("r", "go", "kept")
    async with stage.kernel(waiting) as kernel:
        output = await kernel.result("r")

    assert delivery is Delivery.STORED
    assert output == "kept"


async def test_a_signal_to_a_paused_run_is_kept() -> None:
    """Nobody owns a paused run, so its signal waits for a resume, and the sender is told so."""
    stage = Stage()

    async with stage.kernel(stuck) as kernel:
        await kernel.start(stuck, run_id="r")
        await until(kernel, "r", "step_started")
        crash(kernel)
    async with stage.kernel(stuck, max_interruptions=1) as kernel:
        assert (await kernel.wait("r")).status is RunStatus.PAUSED
        assert await kernel.signal("r", "go") is Delivery.STORED


async def test_a_request_is_taken_although_the_first_look_for_it_failed() -> None:
    """A store that cannot be read for a moment delays what others ask for, and nothing is forgotten."""

    class Flaky(InMemoryBackend):
        broken = False

        async def take(self) -> Any:
            found = await super().take()
            if self.broken:
                self.broken = False
                raise StoreFullError(self.url)
            return found

    stage = Stage(JumpingClock())
    backend = Flaky(stage.store)

    @workflow()
    async def waiter(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    async with stage.kernel(waiter, backend=backend) as kernel, stage.backend() as other:
        await kernel.start(waiter, run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.broken = True
        await Observer(other).signal("r", "go", 5)
        with anyio.fail_after(5):
            assert await kernel.result("r") == 5


async def test_a_final_run_takes_no_signal() -> None:
    """A signal to a finished run, with a bad name or a payload that is no JSON is refused."""
    async with Stage().kernel(doubling, waiting) as kernel:
        handle = await kernel.start(doubling)
        await handle.result()

        with pytest.raises(RunFinishedError):
            await handle.signal("go")
        with pytest.raises(InvalidNameError):
            await handle.signal("no name")
        live = await kernel.start(waiting)
        with pytest.raises(ValueError, match=r"\$"):
            await live.signal("go", {1, 2})


# -- cancelling ----------------------------------------------------------------------------------------------------


async def test_cancelling_stops_the_body_and_waits_for_its_cleanup() -> None:
    """A body is cancelled, finishes its cleanup however long that takes, and only then is the run cancelled."""
    stage = Stage()
    begun, cleaning, done = anyio.Event(), anyio.Event(), anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        async def body() -> None:
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                cleaning.set()
                with anyio.CancelScope(shield=True):
                    await done.wait()

        await ctx.step(body)

    async with stage.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await begun.wait()
        asked = await handle.cancel("enough")
        await cleaning.wait()
        await anyio.wait_all_tasks_blocked()
        during = stage.summary("r").status
        done.set()
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result()

    assert asked is CancelOutcome.REQUESTED
    assert during == "running"


async def test_cancelling_twice_is_cancelling_once() -> None:
    """A second cancel changes nothing, and nothing of it is left to cancel a resumed run."""
    stage = Stage()

    async with stage.kernel(waiting) as kernel:
        handle = await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        outcomes: list[CancelOutcome] = []

        async def cancel() -> None:
            outcomes.append(await handle.cancel())

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(cancel)
        with pytest.raises(RunCancelled):
            await handle.result()
        assert await handle.cancel() is CancelOutcome.ALREADY_FINISHED

        resumed = await kernel.resume("r")
        await resumed.signal("go", "on")
        assert await resumed.result() == "on"
        assert outcomes == [CancelOutcome.REQUESTED] * 3


async def test_a_cancel_from_elsewhere_reaches_the_owner() -> None:
    """Another kernel cancels through the inbox; asking twice cancels once, also for a run that is resumed later."""
    stage = Stage()

    async with stage.kernel(waiting) as owner, stage.kernel() as other:
        handle = await owner.start(waiting, run_id="r")
        outcomes: list[CancelOutcome] = []

        async def cancel() -> None:
            outcomes.append(await other.cancel("r", "from afar"))

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            group.start_soon(cancel)
        with pytest.raises(RunCancelled, match="from afar"):
            await handle.result()
        resumed = await owner.resume("r")
        await resumed.signal("go", "on")

        assert await resumed.result() == "on"
        assert set(outcomes) <= {CancelOutcome.REQUESTED, CancelOutcome.ALREADY_FINISHED}
        assert stage.store.inbox == {}


async def test_a_run_nobody_runs_is_cancelled_at_once() -> None:
    """A kernel may cancel an interrupted run, even without having its workflow."""
    stage = Stage()
    async with stage.kernel(stuck) as kernel:
        await kernel.start(stuck, run_id="r")
        await until(kernel, "r", "step_started")
        crash(kernel)

    async with stage.kernel() as kernel:
        outcome = await kernel.cancel("r", "abandoned")
        state = await kernel.inspect("r")
        again = await kernel.cancel("r")

    assert (outcome, again) == (CancelOutcome.CANCELLED, CancelOutcome.ALREADY_FINISHED)
    assert state.status is RunStatus.CANCELLED
    assert state.steps["endless"].status is StepStatus.CANCELLED
    assert not state.interrupted


async def test_a_cancel_survives_a_crash() -> None:
    """A cancel that was recorded, but not yet carried out when the kernel died, is carried out by the next one."""
    stage = Stage()
    begun, cleaning, crashed = anyio.Event(), anyio.Event(), anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        async def body() -> None:
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                cleaning.set()
                with anyio.CancelScope(shield=True):
                    await crashed.wait()

        await ctx.step(body)

    async with stage.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await begun.wait()
        await handle.cancel("enough")
        await cleaning.wait()
        crash(kernel)
        crashed.set()
    async with stage.kernel(program) as kernel:
        with pytest.raises(RunCancelled, match="enough"):
            await kernel.result("r")

    assert stage.types("r")[-3:] == ["cancel_requested", "step_interrupted", "run_cancelled"]


async def test_a_run_that_was_dead_for_days_was_not_active_for_days() -> None:
    """Cancelling or resuming a run whose owner died counts its attempts up to the last event, not up to now."""
    stage = Stage()
    for run_id in ("cancelled", "resumed"):
        async with stage.kernel(stuck, recover=False) as kernel:
            await kernel.start(stuck, run_id=run_id)
            await until(kernel, run_id, "step_started")
            crash(kernel)
    stage.clock.advance(3 * 86_400)

    async with stage.kernel(stuck, recover=False) as kernel:
        await kernel.cancel("cancelled")
        await kernel.resume("resumed")
        states = [await kernel.inspect(run_id) for run_id in ("cancelled", "resumed")]

    assert [state.active_seconds for state in states] == [0, 0]
    assert [state.steps["endless"].interruptions for state in states] == [1, 0]


# -- resuming ------------------------------------------------------------------------------------------------------


async def test_a_failed_run_resumes_at_its_failure() -> None:
    """A resume runs the failed step and what follows; what completed is not repeated, inputs may be changed."""
    flaky = Flaky()

    async with Stage().kernel(flaky.workflow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(flaky.workflow, {"extra": 1}, run_id="r")
        flaky.broken = False
        handle = await kernel.resume("r", inputs={"extra": 2})

        assert await handle.result() == [1, 2, 1, 2]
        assert flaky.counter.calls == ["first", "middle", "middle", "third"]
        state = await handle.inspect()
        assert (state.resume_count, state.inputs, state.error) == (1, {"extra": 2}, None)


async def test_a_completed_run_resumes_only_from_a_step() -> None:
    """Without `from_step` a completed run has nothing to resume; with it, that step and every later one run again."""
    flaky = Flaky()
    flaky.broken = False

    async with Stage().kernel(flaky.workflow) as kernel:
        await kernel.run(flaky.workflow, run_id="r")
        with pytest.raises(RunNotResumableError):
            await kernel.resume("r")
        with pytest.raises(StepNotFoundError, match="first, middle, third"):
            await kernel.resume("r", from_step="fourth")
        handle = await kernel.resume("r", from_step="middle")

        assert await handle.result() == [1, 2, 2, 0]
        assert flaky.counter.calls == ["first", "middle", "third", "middle", "third"]


async def test_a_cancelled_run_resumes_where_it_was_stopped() -> None:
    """The step a cancel has stopped runs afresh after a resume."""
    begun = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> int:
        async def body() -> int:
            if not begun.is_set():
                begun.set()
                await anyio.sleep_forever()
            return 7

        return await ctx.step(body)

    async with Stage().kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await begun.wait()
        await handle.cancel()
        await handle.wait()

        assert await (await kernel.resume("r")).result() == 7
        assert (await handle.inspect()).steps["body"].generation == 2


async def test_an_interrupted_run_resumes_on_request() -> None:
    """A kernel that does not recover by itself takes up an interrupted run when asked to."""
    stage = Stage()
    async with stage.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)

    async with stage.kernel(waiting, recover=False) as kernel:
        with pytest.raises(RunInterrupted):
            await kernel.result("r")
        handle = await kernel.resume("r")
        await handle.signal("go", 1)

        assert await handle.result() == 1


async def test_a_live_run_cannot_be_resumed() -> None:
    """Neither its owner nor another kernel can resume a run that is being run, or delete it."""
    stage = Stage()

    async with stage.kernel(waiting) as owner, stage.kernel(waiting) as other:
        await owner.start(waiting, run_id="r")

        for kernel in (owner, other):
            with pytest.raises(RunActiveError):
                await kernel.resume("r")
            with pytest.raises(RunActiveError):
                await kernel.delete("r")
        assert stage.summary("r").owner == owner.id


async def test_two_resumes_at_the_same_moment_make_one() -> None:
    """Of two concurrent resumes one takes up the run, the other learns that it is active."""
    flaky = Flaky()
    outcomes: list[str] = []

    async with Stage().kernel(flaky.workflow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(flaky.workflow, run_id="r")
        flaky.broken = False

        async def resume() -> None:
            try:
                await kernel.resume("r")
                outcomes.append("resumed")
            except RunActiveError:
                outcomes.append("active")

        async with anyio.create_task_group() as group:
            group.start_soon(resume)
            group.start_soon(resume)
        await kernel.result("r")

        assert sorted(outcomes) == ["active", "resumed"]
        assert (await kernel.inspect("r")).resume_count == 1


async def test_a_refused_resume_changes_nothing() -> None:
    """Inputs that do not fit, or a workflow that is not there, leave the run as it was."""
    stage = Stage()
    flaky = Flaky()

    async with stage.kernel(flaky.workflow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(flaky.workflow, run_id="r")
        before = stage.summary("r")
        with pytest.raises(InvalidInputError):
            await kernel.resume("r", inputs={"extra": "much"})
    async with stage.kernel() as kernel:
        with pytest.raises(WorkflowNotFoundError):
            await kernel.resume("r")

    assert stage.summary("r") == before


# -- recovery ------------------------------------------------------------------------------------------------------


async def test_opening_a_kernel_recovers_interrupted_runs() -> None:
    """Runs whose owner crashed go on by themselves, with the outcomes they had."""
    stage = Stage()
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> Any:
        before = await ctx.step(counter.body("before"), name="before")
        signalled = await ctx.wait_signal("go")
        return [before, signalled]

    async with stage.kernel(program) as kernel:
        for number in range(3):
            await kernel.start(program, run_id=f"r{number}")
            await until(kernel, f"r{number}", "step_waiting")
        crash(kernel)
    async with stage.kernel(program) as kernel:
        for number in range(3):
            await kernel.signal(f"r{number}", "go", number)
        outputs = [await kernel.result(f"r{number}") for number in range(3)]

    assert outputs == [[1, 0], [2, 1], [3, 2]]
    assert counter.calls == ["before"] * 3


async def test_a_step_that_outlives_too_many_owners_pauses_its_run() -> None:
    """The third crash in one step pauses the run instead of crashing the next kernel; a plain resume revives it."""
    stage = Stage()
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> str:
        async def deadly() -> str:
            if counter.count("deadly") <= 3:
                await anyio.sleep_forever()
            return "survived"

        return await ctx.step(deadly)

    for life in range(3):
        async with stage.kernel(program, max_interruptions=3) as kernel:
            if life == 0:
                await kernel.start(program, run_id="r")
            await until(kernel, "r", "step_started", count=life + 1)
            await anyio.wait_all_tasks_blocked()
            crash(kernel)
    async with stage.kernel(program, max_interruptions=3) as kernel:
        with pytest.raises(RunPaused, match="StepInterrupted"):
            await kernel.result("r")
        paused = await kernel.inspect("r")
        output = await (await kernel.resume("r")).result()

    assert paused.steps["deadly"].interruptions == 3
    assert stage.summary("r").owner is None
    assert output == "survived"
    assert counter.calls == ["deadly"] * 4


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"body": "{"}, id="not JSON"),
        pytest.param({"body": '{"step":"another"}'}, id="an unknown step"),
        pytest.param({"seq": 9}, id="a gap"),
    ],
)
async def test_a_damaged_journal_keeps_nobody_from_the_other_runs(damage: dict[str, Any]) -> None:
    """A run whose events make no sense is left alone and says so when asked; the kernel opens and recovers the rest."""
    stage = Stage()

    @workflow()
    async def program(ctx: Context) -> Any:
        await ctx.step(double, 1)
        return await ctx.wait_signal("go")

    async with stage.kernel(program) as kernel:
        for run_id in ("good", "bad"):
            await kernel.start(program, run_id=run_id)
            await until(kernel, run_id, "step_waiting")
    rows = stage.store.runs["bad"].events
    rows[2] = rows[2]._replace(**damage)

    async with stage.kernel(program) as kernel:
        await kernel.signal("good", "go", 1)
        assert await kernel.result("good") == 1
        for refused in (kernel.inspect, kernel.resume, kernel.cancel):
            with pytest.raises(CorruptStoreError, match="bad"):
                await refused("bad")


async def test_a_run_whose_workflow_is_not_registered_waits_for_it() -> None:
    """A kernel without the workflow leaves the run alone, and one that has it goes on with it."""
    stage = Stage()
    async with stage.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        crash(kernel)
    before = stage.summary("r")

    async with stage.kernel(doubling):
        unchanged = stage.summary("r")
    async with stage.kernel(waiting) as kernel:
        await kernel.signal("r", "go", 1)
        output = await kernel.result("r")

    assert unchanged == before
    assert output == 1


async def test_starting_an_interrupted_run_again_takes_it_up() -> None:
    """`start` with the id of a run that nobody runs goes on with that run."""
    stage = Stage()
    async with stage.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)

    async with stage.kernel(recover=False) as kernel:
        handle = await kernel.start(waiting, run_id="r")
        await handle.signal("go", 1)

        assert handle.created is False
        assert await handle.result() == 1


# -- closing -------------------------------------------------------------------------------------------------------


async def test_two_programs_of_one_name_are_refused() -> None:
    """A kernel that has a workflow refuses another program under its name: a stored run could not tell them apart."""

    @workflow(name="same")
    async def first(ctx: Context) -> int:
        return 1

    @workflow(name="same")
    async def second(ctx: Context) -> int:
        return 2

    async with Stage().kernel(first) as kernel:
        with pytest.raises(DeclarationError, match="another workflow called 'same'"):
            await kernel.start(second)

        assert await kernel.run(first) == 1


async def test_a_resume_takes_the_timeout_of_the_definition_it_goes_on_with() -> None:
    """A run that took too long goes on once its workflow allows it more time."""
    stage = Stage()

    async def program(ctx: Context, inputs: dict[str, Any]) -> Any:
        return await ctx.wait_signal("go")

    short = Workflow(name="slow", program=program, timeout_seconds=60)
    async with stage.kernel(short) as kernel:
        handle = await kernel.start(short, run_id="r")
        await stage.clock.asleep(60)
        stage.clock.advance(60)
        with pytest.raises(RunFailed, match="TimeoutError"):
            await handle.result()
    async with stage.kernel(Workflow(name="slow", program=program)) as kernel:
        handle = await kernel.resume("r")
        await until(kernel, "r", "step_waiting", count=2)
        stage.clock.advance(3600)
        await handle.signal("go", "late, and in time")

        assert await handle.result() == "late, and in time"


async def test_an_orderly_close_counts_against_nothing() -> None:
    """Leaving the kernel records running attempts as interrupted, uncounted, and gives the run up."""
    stage = Stage()

    for _ in range(5):
        async with stage.kernel(stuck) as kernel:
            await kernel.start(stuck, run_id="r")
            await anyio.wait_all_tasks_blocked()
        state = await _inspect(stage, "r")
        assert state.steps["endless"].interrupted
        assert stage.summary("r").owner is None

    assert (state.status, state.steps["endless"].interruptions) == (RunStatus.RUNNING, 0)


async def _inspect(stage: Stage, run_id: str) -> Any:
    async with stage.backend() as backend:
        return await Observer(backend).inspect(run_id)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyError("mine"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("recover", [True, False])
async def test_an_error_inside_the_kernels_block_comes_out_as_itself(error: BaseException, recover: bool) -> None:
    """What is raised in `async with Kernel` leaves it unchanged, in no group, and the store is closed."""
    stage = Stage()
    caught: BaseException | None = None

    try:
        async with stage.kernel(stuck, recover=recover) as kernel:
            if recover:
                await kernel.start(stuck)
            raise error
    except BaseException as raised:
        caught = raised

    assert caught is error
    assert stage.store.alive == set()


async def test_leaving_at_once_is_fine() -> None:
    """A kernel that is opened and left without anything in between opens and closes its store."""
    stage = Stage()

    async with stage.kernel(recover=False):
        pass

    assert stage.store.created
    assert stage.store.alive == set()


@pytest.mark.parametrize("kind", ["step", "sleep", "signal"])
async def test_a_program_that_shields_its_cleanup_does_not_hold_up_the_close(kind: str) -> None:
    """What a program begins in a shielded scope, while its kernel closes, does not run and does not hang."""
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> None:
        try:
            await ctx.step(anyio.sleep_forever, name="endless")
        finally:
            with anyio.CancelScope(shield=True):
                match kind:
                    case "step":
                        await ctx.step(counter.body("cleanup"), name="cleanup")
                    case "sleep":
                        await ctx.sleep("1h")
                    case _:
                        await ctx.wait_signal("never")

    stage = Stage()
    with anyio.fail_after(10):
        async with stage.kernel(program) as kernel:
            await kernel.start(program, run_id="r")
            await until(kernel, "r", "step_started")

    assert counter.calls == []
    assert stage.types("r")[-1] == "step_interrupted"
    assert stage.summary("r").status == "running"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_program_that_cancels_its_own_task_fails_alone(anyio_backend: str) -> None:
    """Task.cancel() on one run's task is that run's failure: its kernel and the other runs go on."""

    @workflow()
    async def program(ctx: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.sleep_forever()

    async with Stage().kernel(program) as kernel:
        with anyio.fail_after(5), pytest.raises(RunFailed, match="CancelledError"):
            await kernel.run(program)
        assert await kernel.run(doubling) == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_second_cancellation_of_the_block_does_not_hang_the_close(anyio_backend: str) -> None:
    """Task.cancel() knows no shield; a close that it hits goes on to its end all the same."""
    stage = Stage()
    tidying = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            tidying.set()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(slow)

    async def block() -> None:
        async with stage.kernel(program) as kernel:
            await kernel.start(program, run_id="r")
            await until(kernel, "r", "step_started")
            await kernel.result("r")

    task = asyncio.create_task(block())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    await tidying.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)

    assert done
    assert stage.types("r")[-1] == "step_interrupted"
    assert stage.summary("r").owner is None


async def test_cancelling_the_block_closes_in_good_order() -> None:
    """A kernel whose surrounding scope is cancelled records what was running, and lets the cancellation through."""
    stage = Stage()

    with anyio.CancelScope() as scope:
        async with stage.kernel(stuck) as kernel:
            await kernel.start(stuck, run_id="r")
            await until(kernel, "r", "step_started")
            scope.cancel()
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert stage.types("r")[-1] == "step_interrupted"
    assert stage.summary("r").owner is None


# -- timeouts ------------------------------------------------------------------------------------------------------


async def test_a_run_that_takes_too_long_fails() -> None:
    """A workflow's timeout is wall time since the start; a resume gives the run its full time again."""
    stage = Stage()

    @workflow(timeout="1h")
    async def program(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    async with stage.kernel(program) as kernel:
        handle = await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        await stage.clock.asleep(3600)
        stage.clock.advance(3600)
        with pytest.raises(RunFailed, match="TimeoutError"):
            await handle.result()
        again = await kernel.resume("r")
        await until(kernel, "r", "step_waiting", count=2)
        stage.clock.advance(3599)
        await again.signal("go", "in time")

        assert await again.result() == "in time"


# -- two kernels ---------------------------------------------------------------------------------------------------


async def test_an_owner_that_was_replaced_stops_silently() -> None:
    """A kernel whose run was taken over cannot record anything more of it, and stops its program."""
    stage = Stage()
    go = anyio.Event()
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(go.wait, name="gate")
        await ctx.step(counter.body("after"), name="after")

    async with stage.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started")
        usurp(stage, "r")
        before = stage.journal("r")
        go.set()
        with pytest.raises(RunInterrupted):  # the usurper is not alive
            await kernel.result("r")

        assert stage.journal("r") == before
        assert counter.calls == []
        assert stage.summary("r").owner == "usurper"


async def test_a_kernel_that_was_taken_for_dead_loses_its_runs_to_the_next() -> None:
    """While one kernel believes it owns a run, another that claimed it finishes it; each outcome is recorded once."""
    stage = Stage()
    go = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> int:
        await ctx.step(go.wait, name="gate")
        return await ctx.step(double, 4)

    async with stage.kernel(program) as first:
        await first.start(program, run_id="r")
        await until(first, "r", "step_started")
        stage.store.alive.discard(first.id)
        async with stage.kernel(program) as second:
            await until(second, "r", "step_started", count=2)
            stage.store.alive.add(first.id)
            go.set()

            assert await second.result("r") == 8
            assert await first.result("r") == 8

    assert stage.types("r").count("run_completed") == 1
    assert stage.types("r").count("step_completed") == 2


# -- listing and forgetting ----------------------------------------------------------------------------------------


async def test_runs_are_listed_deleted_and_pruned() -> None:
    """A list shows the newest first by filter; delete forgets one run, prune the old final ones."""
    stage = Stage()
    flaky = Flaky()

    async with stage.kernel(doubling, flaky.workflow, waiting) as kernel:
        await kernel.run(doubling, run_id="old", labels={"team": "a"})
        stage.clock.advance(3600)
        with pytest.raises(RunFailed):
            await kernel.run(flaky.workflow, run_id="new")
        await kernel.start(waiting, run_id="live")

        async def ids(**filter: Any) -> set[str]:
            return {run.run_id for run in (await kernel.list(**filter)).runs}

        assert await ids() == {"old", "new", "live"}
        assert await ids(statuses=["failed"]) == {"new"}
        assert await ids(labels={"team": "a"}) == {"old"}
        assert [run.run_id for run in (await kernel.prune(older_than_seconds=60, dry_run=True)).runs] == ["old"]
        assert [run.run_id for run in (await kernel.prune(older_than_seconds=60)).runs] == ["old"]
        await kernel.delete("new")
        assert await ids() == {"live"}


# -- Ctrl-C --------------------------------------------------------------------------------------------------------

SCRIPT = """
    import sys
    import anyio
    from flujo.backends import open_backend
    from flujo.kernel import Context, Kernel, step, workflow

    def say(*words):
        print(*words, flush=True)

    @step
    async def first():
        say("first")
        return 1

    @step
    async def second():
        say("second")
        if sys.argv[2] == "stubborn":
            try:
                await anyio.sleep_forever()
            finally:
                say("cleaning")
                with anyio.CancelScope(shield=True):
                    await anyio.sleep_forever()
        if sys.argv[2] == "raise":
            raise KeyboardInterrupt
        if sys.argv[2] == "wait":
            await anyio.sleep_forever()
        return 2

    @workflow()
    async def program(ctx: Context):
        return [await ctx.step(first), await ctx.step(second)]

    async def main():
        async with Kernel(open_backend(f"sqlite:{sys.argv[1]}"), workflows=[program]) as kernel:
            handle = await kernel.start(program, run_id="r")
            say("result", await handle.result())

    anyio.run(main)
"""


class Script:
    """The script above as a process of its own."""

    def __init__(self, folder: Path, behaviour: str) -> None:
        path = folder / "script.py"
        path.write_text(textwrap.dedent(SCRIPT))
        roots = os.pathsep.join(str(ROOT / root) for root in ("kernel", "backends"))
        self.process = subprocess.Popen(
            [sys.executable, str(path), str(folder / "state.db"), behaviour],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": roots},
            preexec_fn=foreground.listen,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """The exit code, and what was printed besides."""
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, output


@pytest.mark.parametrize("behaviour", ["wait", "stubborn", "raise"])
def test_ctrl_c_never_hangs_and_loses_nothing(tmp_path: Path, behaviour: str) -> None:
    """One Ctrl-C closes in good order, a second one ends the process; the next one goes on after the finished step."""
    script = Script(tmp_path, behaviour)
    assert [script.line(), script.line()] == ["first", "second"]
    if behaviour != "raise":
        script.interrupt()
    if behaviour == "stubborn":
        assert script.line() == "cleaning"
        script.interrupt()
    code, _ = script.end()
    _, output = Script(tmp_path, "finish").end()

    assert code != 0
    assert output.split("\n")[:2] == ["second", "result [1, 2]"]


def test_a_clock_that_nobody_moves_stands_still() -> None:
    """The clock of these tests gives the same instant until it is advanced."""
    clock = ManualClock()

    assert clock.now() == clock.now()


async def test_earlier_runs_tell_how_long_a_run_will_take() -> None:
    """Where a program decides as it goes, the time that the last completed runs took stands in for its share."""
    stage = Stage()

    @workflow()
    async def slow(ctx: Context) -> None:
        await ctx.sleep(100)

    async with stage.kernel(slow) as kernel:
        await kernel.start(slow, run_id="first")
        await until(kernel, "first", "step_waiting")
        assert (await kernel.inspect("first")).progress["eta_seconds"] is None
        stage.clock.advance(100)
        await kernel.wait("first")

        await kernel.start(slow, run_id="second")
        await until(kernel, "second", "step_waiting")
        assert (await kernel.inspect("second")).progress["eta_seconds"] == 100


@pytest.mark.parametrize("value", [float("nan"), {"deep": [float("inf")]}], ids=["NaN", "infinity inside"])
async def test_an_input_that_json_cannot_hold_is_refused_with_its_place(value: Any) -> None:
    """Nothing becomes null on its way into the journal."""

    @workflow()
    async def takes(ctx: Context, value: Any) -> Any:
        return value

    async with Stage().kernel(takes) as kernel:
        with pytest.raises(InvalidValueError, match=r"\$\.value"):
            await kernel.start(takes, {"value": value})
