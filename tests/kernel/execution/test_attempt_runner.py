"""One attempt of a step: how its body ends, and what is recorded of that."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from decimal import Context as DecimalContext
from decimal import getcontext, setcontext
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from flujo.kernel import Context, RetryPolicy, RunFailed, StepFailed, Wait, current_attempt, workflow
from flujo.kernel.errors import FlujoError
from flujo.kernel.execution.attempt_runner import Failed, StepOptions, run_attempt
from flujo.kernel.execution.current_attempt import Attempt
from flujo.kernel.execution.subprocesses import Children
from flujo.kernel.journal import events
from kernel.execution.steps import crashed, one_step, outcome
from kernel.harness import Counter, Harness, settled


async def test_a_timeout_cancels_the_body() -> None:
    """A body that takes too long is cancelled, its cleanup runs, and the attempt fails with a TimeoutError."""
    cleaned = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.set()

    with pytest.raises(RunFailed, match=r"TimeoutError: it took longer than 0\.01s"):
        await outcome(one_step(slow, timeout=0.01))

    assert cleaned.is_set()


async def test_a_timeout_ends_a_body_that_takes_it_for_a_reason_to_try_again() -> None:
    """As libraries for retries do that are told what not to retry: the wait before the next try is cancelled, too."""
    calls = 0

    async def tried_thrice() -> str:
        nonlocal calls
        while True:
            try:
                calls += 1
                if calls == 1:
                    await anyio.sleep_forever()
                return "too late"
            except BaseException:
                if calls == 3:
                    raise
            await checkpoint()

    with pytest.raises(RunFailed, match=r"TimeoutError: it took longer than 0\.01s"):
        await outcome(one_step(tried_thrice, timeout=0.01))

    assert calls == 1


async def test_a_timeout_holds_for_each_attempt() -> None:
    """A timeout is retried as `on_error: [TimeoutError]` says, with its full time again."""

    async def slow_at_first() -> int:
        if current_attempt().attempt == 1:
            await anyio.sleep_forever()
        return current_attempt().attempt

    policy = RetryPolicy(max_attempts=2, on_error=["TimeoutError"])

    assert await outcome(one_step(slow_at_first, timeout=0.01, retry=policy)) == 2


@pytest.mark.parametrize("error", [SystemExit(3), SystemExit("bye"), BaseException("odd")])
async def test_a_body_that_wants_to_end_the_process_fails(error: BaseException) -> None:
    """SystemExit in a body is a failure of its step, and the kernel goes on."""

    async def leave() -> None:
        raise error

    with pytest.raises(RunFailed) as failed:
        await outcome(one_step(leave))

    assert failed.value.type == type(error).__name__


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(anyio_backend: str) -> None:
    """A body that awaits something which was cancelled by itself fails, and is retried like any failure."""
    counter = Counter()

    async def stray() -> str:
        if counter.count("stray") == 1:
            raise asyncio.CancelledError("the future was cancelled")
        return "second"

    assert await outcome(one_step(stray, retry=RetryPolicy(max_attempts=2))) == "second"


async def test_an_error_message_is_recorded_with_its_place() -> None:
    """The type, message and last frames of an error are in the journal, whatever characters the message holds."""

    async def odd() -> None:
        raise ValueError("\udcff is no text")

    flow = one_step(odd)
    async with Harness().kernel(flow) as kernel:
        state = await (await kernel.start(flow)).wait()

    error = state.steps["it"].error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "\\udcff is no text")
    assert "in odd" in str(error.details)


class Busy(FlujoError):
    """Asks to be left alone."""

    def __init__(self, seconds: Any) -> None:
        super().__init__("busy")
        self.retry_after_seconds = seconds


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Busy(60), 60.0),
        (Busy(None), 0.0),
        (Busy("soon"), 0.0),
        (Busy(float("nan")), 0.0),
        (Busy(-1), 0.0),
        (Busy(1e12), 0.0),
        (ValueError("busy"), 0.0),
        (ExceptionGroup("both", [Busy(5), Busy(7), ValueError()]), 7.0),
    ],
)
async def test_an_error_says_how_long_the_next_attempt_waits_at_least(error: Exception, seconds: float) -> None:
    """The longest of a group; what makes no sense is not listened to."""

    async def fail() -> None:
        raise error

    attempt = Attempt("r", "uid", "it", 1, 1, Children(), lambda *told: None)
    failed = await run_attempt(attempt, fail, StepOptions())

    assert isinstance(failed, Failed)
    assert failed.least_seconds == seconds


async def test_a_body_that_returns_a_wait_waits_durably() -> None:
    """`Wait(seconds)` ends the attempt, and the step completes with null when its time has come, also after a crash."""
    harness = Harness()
    counter = Counter()

    async def later() -> Any:
        counter.count("later")
        return Wait(seconds=30)

    async with crashed(harness, one_step(later), "step_waiting") as kernel:
        await harness.clock.asleep(30)
        harness.clock.advance(30)

        assert await kernel.result("r") is None
        assert counter.calls == ["later"]


async def test_a_body_may_wait_for_a_signal() -> None:
    """`Wait(signal=…)` completes the step with the payload of the signal."""
    harness = Harness()

    async def approval() -> Any:
        return Wait(signal="approved")

    flow = one_step(approval)
    async with harness.kernel(flow) as kernel:
        handle = await kernel.start(flow)
        await handle.signal("approved", {"by": "ann"})

        assert await handle.result() == {"by": "ann"}


language: ContextVar[str] = ContextVar("language", default="unset")
account: ContextVar[str] = ContextVar("account")  # has no default, as most have not


@pytest.mark.parametrize("kind", ["async", "waiting", "failing", "thread", "with a timeout"])
async def test_what_a_body_sets_its_program_does_not_see(kind: str) -> None:
    """A replay does not run the body, so the program would see the variable in its first life only."""
    seen: list[str] = []

    async def body() -> None:
        language.set("of the body")
        account.set("of the body")
        setcontext(DecimalContext(prec=50))
        seen.append(language.get())
        if kind == "waiting":
            await checkpoint()
            seen.append(account.get())
        if kind == "failing":
            raise ValueError("no")

    def in_thread() -> None:
        language.set("of the thread")
        account.set("of the thread")

    @workflow()
    async def program(ctx: Context) -> list[Any]:
        language.set("of the program")
        try:
            await ctx.step(in_thread if kind == "thread" else body, timeout=5 if kind == "with a timeout" else None)
        except StepFailed:
            pass
        return [language.get(), account.get("unset"), getcontext().prec]

    async with Harness().kernel(program) as kernel:
        assert await kernel.run(program) == ["of the program", "unset", 28]

    assert set(seen) <= {"of the body"}


async def test_a_body_sees_what_its_program_has_set() -> None:
    """Its variables begin as a copy of the program's, in a coroutine as in a thread."""

    async def body() -> str:
        return language.get()

    def in_thread() -> str:
        return language.get()

    @workflow()
    async def program(ctx: Context) -> list[str]:
        language.set("of the program")
        return [await ctx.step(body), await ctx.step(in_thread)]

    async with Harness().kernel(program) as kernel:
        assert await kernel.run(program) == ["of the program", "of the program"]


async def test_plain_functions_leave_the_threads_of_the_application_alone() -> None:
    """They run in threads of the kernel's own, of which there are as many as it was told; anyio's stay free."""
    running, most, release = [0], [0], threading.Event()

    def body() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        release.wait(60)
        running[0] -= 1

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.gather(*(ctx.step(body) for _ in range(5)))

    async with Harness().kernel(program, max_threads=2) as kernel:
        handle = await kernel.start(program)
        await settled(lambda: running[0] == 2)
        assert to_thread.current_default_thread_limiter().borrowed_tokens == 0
        release.set()
        await handle.result()

    assert most[0] == 2


async def test_what_was_cut_out_of_a_step_is_told_by_its_outcome() -> None:
    """Once, by the event behind which it was noted: a failed attempt, a success, or a failure for good."""

    async def body() -> None:
        attempt = current_attempt()
        if attempt.attempt != 2:
            attempt.note_redaction()
        if attempt.attempt < 3 or attempt.step == "fails":
            raise ValueError("***")

    harness = Harness()

    @workflow(name="flow")
    async def flow(ctx: Context) -> None:
        retry = RetryPolicy(max_attempts=3, delay=0)
        await ctx.step(body, name="ends", retry=retry)
        await ctx.step(body, name="fails", retry=retry)

    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        state = await kernel.wait("r")

    told = [
        (event.type, event.fact.redacted)
        for event in harness.journal("r")
        if isinstance(event.fact, events.AttemptFailed | events.StepCompleted | events.StepFailed)
    ]
    assert told[:3] == [("attempt_failed", True), ("attempt_failed", False), ("step_completed", True)]
    assert told[3:] == [("attempt_failed", True), ("attempt_failed", False), ("step_failed", True)]
    assert [step.redacted for step in state.steps.values()] == [True, True]


async def test_a_step_of_which_nothing_was_cut_is_not_said_to_be_redacted() -> None:
    """Beside one of which something was; and a generation that begins anew forgets what an earlier one was."""
    harness = Harness()
    notes = [True]

    async def body() -> None:
        if notes:
            current_attempt().note_redaction()

    async def plain() -> None:
        pass

    @workflow(name="flow")
    async def flow(ctx: Context) -> None:
        await ctx.gather(ctx.step(body, name="a"), ctx.step(plain, name="b"))

    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        first = await kernel.wait("r")
        notes.clear()
        await kernel.resume("r", from_step="gather[0]/a")
        second = await kernel.wait("r")

    assert {step.name for step in first.steps.values() if step.redacted} == {"gather[0]/a"}
    assert not any(step.redacted for step in second.steps.values())
