"""Progress: which reports become events, when, and what they make of a run's percent and remaining time."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from flujo.kernel import (
    Attempt,
    Context,
    RetryPolicy,
    RunFailed,
    WorkflowState,
    current_attempt,
    workflow,
)
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import InvalidValueError
from flujo.kernel.events import (
    AttemptFailed,
    Event,
    Fact,
    ProgressReported,
    RunCompleted,
    RunCreated,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepWaiting,
)
from flujo.kernel.events import RunCancelled as RunCancelledFact
from flujo.kernel.events import RunFailed as RunFailedFact
from flujo.kernel.execution import current_attempt as current
from flujo.kernel.transitions import add_up
from kernel.harness import START, Harness, crash, recorded, until


def reports(harness: Harness, run_id: str = "r") -> list[tuple[str | None, float]]:
    """What is recorded of a run's progress, as (step, done)."""
    facts = [event.fact for event in harness.journal(run_id)]
    return [(fact.step, fact.done) for fact in facts if isinstance(fact, ProgressReported)]


def instants(harness: Harness, run_id: str = "r") -> list[float]:
    """When, in seconds since the start."""
    journal = harness.journal(run_id)
    return [(each.at - START) / MICROSECONDS for each in journal if each.type == "progress_reported"]


# -- how often -----------------------------------------------------------------------------------------------------


async def test_the_first_and_the_last_report_of_a_burst_are_recorded() -> None:
    """Everything a body says within a second but for the first and the last is left out; the last precedes the
    outcome."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> None:
        async def body() -> None:
            for number in range(1, 101):
                ctx.progress(number, 100)

        await ctx.step(body)

    async with harness.kernel(program) as kernel:
        await kernel.run(program, run_id="r")

    assert reports(harness) == [("body", 1), ("body", 100)]
    assert harness.types("r")[-3:] == ["progress_reported", "step_completed", "run_completed"]


async def test_at_most_one_report_a_second_is_recorded() -> None:
    """What comes too soon is recorded when its time has come, also when the body says nothing more."""
    harness = Harness()
    said, go_on = anyio.Event(), anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        async def body() -> None:
            for number in (1, 2, 3):
                ctx.progress(number)
                harness.clock.advance(0.25)
            said.set()
            await go_on.wait()

        await ctx.step(body)

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await said.wait()
        await harness.clock.asleep(1)
        await recorded(harness, "r", "progress_reported")
        assert reports(harness) == [("body", 1)]
        harness.clock.advance(0.25)
        await recorded(harness, "r", "progress_reported", 2)
        go_on.set()
        await kernel.result("r")

    assert reports(harness) == [("body", 1), ("body", 3)]
    assert instants(harness) == [0, 1]


async def test_a_report_before_an_outcome_does_not_shorten_the_next_second() -> None:
    """A report that an attempt's failure has brought forward counts: the next attempt's waits a second from it."""
    harness = Harness()
    said, go_on = anyio.Event(), anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        async def body() -> None:
            if current_attempt().attempt == 1:
                ctx.progress(1)
                harness.clock.advance(0.5)
                ctx.progress(2)
                await harness.clock.asleep(1)
                raise ConnectionError
            ctx.progress(3)
            said.set()
            await go_on.wait()

        await ctx.step(body, retry=RetryPolicy(max_attempts=2, delay=0.125, jitter=0))

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await harness.clock.asleep(0.625)
        harness.clock.advance(0.125)
        await said.wait()
        harness.clock.advance(0.375)  # past the second that began with the first report
        await anyio.wait_all_tasks_blocked()
        assert reports(harness) == [("body", 1), ("body", 2)]
        harness.clock.advance(0.5)
        await recorded(harness, "r", "progress_reported", 3)
        go_on.set()
        await kernel.result("r")

    assert instants(harness) == [0, 0.5, 1.5]


async def test_steps_and_the_run_are_told_apart() -> None:
    """Each step has seconds of its own, and so has the run as a whole, whose last report precedes its end."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> None:
        async def body() -> None:
            ctx.progress(1)
            ctx.progress(2)

        ctx.progress(10)
        await ctx.gather(a=ctx.step(body), b=ctx.step(body))
        ctx.progress(20)

    async with harness.kernel(program) as kernel:
        await kernel.run(program, run_id="r")

    assert sorted(reports(harness), key=str) == [
        ("a/body", 1), ("a/body", 2), ("b/body", 1), ("b/body", 2), (None, 10), (None, 20)
    ]  # fmt: skip
    assert harness.types("r")[-2:] == ["progress_reported", "run_completed"]


async def test_a_program_that_fails_has_its_last_report_recorded() -> None:
    """As one that returns."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> None:
        ctx.progress(1)
        ctx.progress(2)
        raise ValueError("no")

    async with harness.kernel(program) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(program, run_id="r")

    assert reports(harness) == [(None, 1), (None, 2)]


async def test_a_step_its_program_cancels_has_its_last_report_recorded() -> None:
    """Before the cancellation is."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> None:
        with anyio.CancelScope() as scope:

            async def body() -> None:
                ctx.progress(1)
                ctx.progress(2)
                scope.cancel()
                await anyio.sleep_forever()

            await ctx.step(body)

    async with harness.kernel(program) as kernel:
        await kernel.run(program, run_id="r")

    assert harness.types("r")[-3:] == ["progress_reported", "step_cancelled", "run_completed"]
    assert reports(harness) == [("body", 1), ("body", 2)]


# -- from where ----------------------------------------------------------------------------------------------------


async def test_a_plain_def_reports_from_its_thread() -> None:
    """The worker thread of a plain function hands its reports over."""
    harness = Harness()
    threads: list[int] = []

    def body() -> int:
        threads.append(threading.get_ident())
        current_attempt().progress(1, 2, "half", rows=7)
        current_attempt().progress(2, 2)
        return 5

    @workflow()
    async def program(ctx: Context) -> int:
        return await ctx.step(body)

    async with harness.kernel(program) as kernel:
        assert await kernel.run(program, run_id="r") == 5

    assert reports(harness) == [("body", 1), ("body", 2)]
    assert harness.journal("r")[2].fact == ProgressReported("body", 1, 2, "half", {"rows": 7})
    assert threads != [threading.get_ident()]


@pytest.mark.parametrize("is_async", [True, False], ids=["async def", "plain def"])
async def test_a_thread_that_a_body_has_made_reports_as_well(is_async: bool) -> None:
    """A pool of the user's own calls back from threads that the event loop does not know; the step counts it."""
    harness = Harness()

    def in_a_pool(attempt: Attempt) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(attempt.progress, 1, 2).result()

    async def body() -> None:
        in_a_pool(current_attempt())

    def plain_body() -> None:
        in_a_pool(current_attempt())

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(body if is_async else plain_body, name="it")

    async with harness.kernel(program) as kernel:
        await kernel.run(program, run_id="r")

    assert reports(harness) == [("it", 1)]


@pytest.mark.parametrize("place", ["a plain def", "a thread of its own", "a callback of the loop", "a loop of its own"])
def test_a_report_that_is_kept_is_recorded_in_time_under_asyncio_run(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Unlike `anyio.run`, it tells anyio of its loop in tasks only: what comes from elsewhere finds it all the same."""
    harness = Harness()
    go_on = threading.Event()

    def report(attempt: Attempt) -> None:
        attempt.progress(1, 9)
        attempt.progress(2, 9)  # in the same second: kept for the next

    async def report_in_a_task(attempt: Attempt) -> None:
        report(attempt)

    def plain_body() -> None:
        attempt = current_attempt()
        if place == "a thread of its own":
            with ThreadPoolExecutor(1) as pool:
                pool.submit(report, attempt).result()
        elif place == "a loop of its own":
            asyncio.run(report_in_a_task(attempt))
        else:
            report(attempt)
        assert go_on.wait(30)

    async def body() -> None:
        asyncio.get_running_loop().call_soon(report, current_attempt())
        assert await asyncio.to_thread(go_on.wait, 30)

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(body if place == "a callback of the loop" else plain_body, name="it")

    async def main() -> None:
        async with harness.kernel(program) as kernel:
            run = await kernel.start(program, run_id="r")
            try:
                with anyio.fail_after(30):
                    await harness.clock.asleep(1)
                    harness.clock.advance(1)
                    await recorded(harness, "r", "progress_reported", 2)
            finally:
                go_on.set()
            await run.result()

    asyncio.run(main())

    assert reports(harness) == [("it", 1), ("it", 2)]
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


async def test_a_thread_that_was_not_given_its_attempt_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Python does not tell whose thread it is: its progress is left out, which one warning says, and nothing else can
    be asked there."""
    harness = Harness()
    current._warn.cache_clear()

    def report() -> str:
        current_attempt().progress(1, 2)
        current_attempt().progress(2, 2)
        with pytest.raises(RuntimeError, match="hand what it returns on to the thread"):
            _ = current_attempt().idempotency_key
        return "reported"

    def body() -> str:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(report).result()

    @workflow()
    async def program(ctx: Context) -> str:
        return await ctx.step(body)

    async with harness.kernel(program) as kernel:
        assert await kernel.run(program, run_id="r") == "reported"

    assert reports(harness) == []
    assert [record.message for record in caplog.records if "left out" in record.message] == [
        "progress that is reported by a thread of your own is left out: call current_attempt() in the body of the step,"
        " and hand what it returns on to the thread"
    ]


async def test_a_thread_with_an_event_loop_of_its_own_fails_nothing_either() -> None:
    """It runs no kernel, so its loop tells no more of whose thread it is."""
    harness = Harness()

    async def report() -> str:
        current_attempt().progress(1, 2)
        return "reported"

    def body() -> str:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, report()).result()

    @workflow()
    async def program(ctx: Context) -> str:
        return await ctx.step(body)

    async with harness.kernel(program) as kernel:
        assert await kernel.run(program, run_id="r") == "reported"

    assert reports(harness) == []


@pytest.mark.parametrize("is_async", [True, False], ids=["async def", "plain def"])
async def test_a_forked_process_that_reports_is_told_that_nobody_hears_it(is_async: bool) -> None:
    """It has a copy of the attempt, and nothing of the kernel: the step goes on, and its child's standard error says
    once what becomes of the reports."""
    harness = Harness()
    said, say = os.pipe()

    def report(attempt: Attempt) -> None:
        logging.getLogger("flujo.kernel").addHandler(logging.StreamHandler(os.fdopen(say, "w")))
        attempt.progress(1, 2)
        attempt.progress(2, 2)

    def in_a_child(attempt: Attempt) -> int | None:
        child = multiprocessing.get_context("fork").Process(target=report, args=(attempt,))
        child.start()
        child.join()
        return child.exitcode

    async def body() -> int | None:
        return in_a_child(current_attempt())

    def plain_body() -> int | None:
        return in_a_child(current_attempt())

    @workflow()
    async def program(ctx: Context) -> int | None:
        return await ctx.step(body if is_async else plain_body, name="it")

    async with harness.kernel(program) as kernel:
        assert await kernel.run(program, run_id="r") == 0
    os.close(say)

    with os.fdopen(said) as text:
        assert text.read().count("a forked process is left out") == 1
    assert reports(harness) == []


async def test_what_comes_too_late_is_dropped() -> None:
    """A task that a body has left behind has nothing to report of: its step has an outcome, its run has ended."""
    harness = Harness()
    attempts: list[Attempt] = []

    async def body() -> None:
        attempts.append(current_attempt())

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(body)
        attempts[0].progress(1)
        await ctx.wait_signal("go")

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.signal("r", "go")
        await kernel.result("r")
        attempts[0].progress(2)
        await anyio.wait_all_tasks_blocked()

    assert reports(harness) == []


@pytest.mark.parametrize("stop", ["cancel", "crash", "close"])
async def test_a_run_that_is_stopped_reports_no_more(stop: str) -> None:
    """A body that is told to unwind, and whatever it had said too soon before, adds nothing to the journal."""
    harness = Harness()
    said = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> None:
        async def body() -> None:
            ctx.progress(1)
            ctx.progress(2)
            said.set()
            try:
                await anyio.sleep_forever()
            finally:
                ctx.progress(3)

        await ctx.step(body)

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await said.wait()
        await recorded(harness, "r", "progress_reported")
        if stop == "cancel":
            await kernel.cancel("r")
            await kernel.wait("r")
        elif stop == "crash":
            crash(kernel)
        if stop != "close":
            harness.clock.advance(10)
            await anyio.wait_all_tasks_blocked()

    assert reports(harness) == [("body", 1)]


# -- what ----------------------------------------------------------------------------------------------------------


class Unspeakable:
    """An object of the user's that cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    "given",
    [
        {"done": float("nan")},
        {"done": 10**400},
        {"done": 10**5000},
        {"done": Unspeakable()},
        {"done": float("inf")},
        {"done": 1, "total": float("nan")},
        {"done": "3"},
        {"done": True},
        {"done": None},
        {"done": 1, "rows": float("-inf")},
        {"done": 1, **{f"m{number}": 1 for number in range(51)}},
    ],
    ids=lambda given: f"{next(iter(given))}-{len(given)}",
)
async def test_a_report_that_says_nothing_is_refused(given: dict[str, Any]) -> None:
    """Numbers are finite numbers and there are not too many: the step fails and names what is wrong."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> None:
        with pytest.raises(InvalidValueError, match="progress"):
            ctx.progress(**given)

    async with harness.kernel(program) as kernel:
        await kernel.run(program, run_id="r")

    assert reports(harness) == []


async def test_a_message_is_bounded() -> None:
    """What is said is cut to 500 characters, and may hold what is no text."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> None:
        ctx.progress(1, message="x" * 900 + "\udc80")

    async with harness.kernel(program) as kernel:
        await kernel.run(program, run_id="r")
        report = (await kernel.inspect("r")).report

    assert report is not None
    assert report.message == "x" * 500 + "…"


async def test_steps_in_a_row_take_two_more_commits_than_there_are() -> None:
    """Recorded values, variables and a report of the first step do not add to the commits of a run without progress."""
    harness = Harness()

    async def body() -> int:
        return 1

    @workflow()
    async def program(ctx: Context) -> None:
        for _ in range(5):
            await ctx.now()
            await ctx.random()
            await ctx.set_variable("mode", await ctx.step(body))
            await ctx.variable("mode")

    async with harness.kernel(program) as kernel:
        before = kernel._runtime.driver.committer.commits
        await kernel.run(program, run_id="r")
        assert kernel._runtime.driver.committer.commits - before == 5 + 2


# -- what it comes to ----------------------------------------------------------------------------------------------


def _state(*facts: Fact) -> WorkflowState:
    return add_up("r", "u", [Event(seq, START + seq * MICROSECONDS, fact) for seq, fact in enumerate(facts, 1)])


PLANNED = RunCreated("flow", "{}", plan=[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")])
DONE_BUT_ONE = [PLANNED, *(fact for name in "abc" for fact in (StepStarted(name), StepCompleted(name, "1")))]
UNPLANNED = RunCreated("flow", "{}")
SLEEPING = [UNPLANNED, StepStarted("a"), StepCompleted("a", "1"), StepWaiting("sleep", "sleep", until=START * 2)]
AGAIN = ("d", 1, "E", "no", START * 2)


@pytest.mark.parametrize(
    ("facts", "percent", "eta"),
    [
        ([PLANNED], 0.0, None),
        ([PLANNED, StepStarted("a")], 0.0, None),
        ([PLANNED, StepStarted("a"), StepCompleted("a", "1")], 25.0, None),
        ([PLANNED, StepStarted("a"), ProgressReported("a", 1, 2)], 12.5, None),
        ([PLANNED, StepStarted("a"), ProgressReported("a", 5, 2)], 25.0, None),
        ([PLANNED, StepStarted("a"), ProgressReported("a", -5, 2)], 0.0, None),
        ([PLANNED, StepStarted("a"), ProgressReported("a", 5)], 0.0, None),
        ([PLANNED, StepStarted("a"), ProgressReported("a", 1, 2), StepCompleted("a", "1")], 25.0, None),
        ([*DONE_BUT_ONE, StepStarted("d")], 75.0, None),
        ([*DONE_BUT_ONE, StepStarted("d"), ProgressReported("d", 1, 5)], 80.0, 4.0),
        ([*DONE_BUT_ONE, StepWaiting("d", "signal", signal="go")], 75.0, None),
        ([*DONE_BUT_ONE, StepStarted("d"), StepFailed("d", 1, "E", "no"), RunFailedFact("E", "no", "d")], 75.0, None),
        ([*DONE_BUT_ONE, StepStarted("a#2"), StepCompleted("a#2", "1"), StepStarted("b#2")], 80.0, None),
        ([*DONE_BUT_ONE, StepStarted("d"), ProgressReported("d", 5, 5)], 100.0, None),
        ([*DONE_BUT_ONE, StepStarted("d"), ProgressReported("d", 1, 5), AttemptFailed(*AGAIN)], 80.0, None),
        ([PLANNED, ProgressReported(None, 3, 4)], 0.0, None),
        ([UNPLANNED], None, None),
        ([UNPLANNED, StepStarted("a"), StepCompleted("a", "1")], None, None),
        ([UNPLANNED, StepStarted("a"), ProgressReported(None, 1, 4)], 25.0, 3.0),
        ([UNPLANNED, ProgressReported(None, 1, 4)], 25.0, None),
        ([UNPLANNED, StepStarted("a"), ProgressReported(None, 4, 4)], 100.0, None),
        ([UNPLANNED, StepStarted("a"), ProgressReported(None, 7, 4)], 100.0, None),
        ([*SLEEPING, ProgressReported(None, 1, 4)], 25.0, None),
        ([UNPLANNED, ProgressReported(None, 4, 4), RunFailedFact("E", "no")], 99.0, None),
        ([UNPLANNED, ProgressReported(None, 4, 4), RunCancelledFact()], 99.0, None),
        ([UNPLANNED, ProgressReported(None, 1, 4), RunFailedFact("E", "no")], 25.0, None),
        ([*DONE_BUT_ONE, StepStarted("d"), StepCompleted("d", "1"), RunFailedFact("E", "no")], 99.0, None),
        ([UNPLANNED, ProgressReported(None, 1)], None, None),
        ([UNPLANNED, ProgressReported(None, 1, 0)], None, None),
        ([UNPLANNED, StepStarted("a"), ProgressReported(None, 1, 4), RunCompleted("1")], 100.0, None),
    ],
)
def test_percent_and_remaining_time(facts: list[Fact], percent: float | None, eta: float | None) -> None:
    """Steps that are done count whole and one under way by its part; without a plan the program's own report counts.
    The time left is told by the rate of what was reported, where nothing else is left; never while a person is waited
    for."""
    shown = _state(*facts).to_dict()["progress"]

    assert (shown["percent"], shown["eta_seconds"]) == (percent, eta)


def test_what_a_step_has_reported_is_shown() -> None:
    """Percent, numbers, message and metrics, with the instant."""
    state = _state(UNPLANNED, StepStarted("a"), ProgressReported("a", 3, 4, "loading", {"rows": 7.5}))
    (step,) = state.to_dict()["steps"]

    assert step["progress"] == {
        "percent": 75.0,
        "done": 3,
        "total": 4,
        "message": "loading",
        "metrics": {"rows": 7.5},
        "at": "2026-01-01T00:00:03.000000Z",
    }


def test_there_are_never_fewer_steps_than_are_done() -> None:
    """After a jump back the repeats of steps count as well: five of five, not five of four."""
    again = [fact for name in ("d", "a#2") for fact in (StepStarted(name), StepCompleted(name, "1"))]
    state = _state(*DONE_BUT_ONE, *again)

    assert (state.done, state.steps_total) == (5, 5)


def test_a_run_that_takes_longer_than_usual_has_no_time_left_to_tell() -> None:
    """That is known of earlier runs only as long as it is not over."""
    state = _state(UNPLANNED, StepStarted("a"), ProgressReported("a", 1))

    state.usual_seconds = 10
    assert state.eta_seconds == 9.0
    state.usual_seconds = 0.5
    assert state.eta_seconds is None
    state.usual_seconds, state.unowned = 10, True
    assert state.eta_seconds is None
