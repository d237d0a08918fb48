"""What can be done with runs (flujo.kernel.Runs), the same through a kernel and through clients of its server: on a
unix socket, over TCP with a token, and over TLS with certificates of both.

Every test here runs four times. What a caller sees must not tell what it holds; test_same.py compares the answers word
for word."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import (
    CancelOutcome,
    Context,
    Delivery,
    Event,
    RetryPolicy,
    RunFilter,
    RunHandle,
    Runs,
    RunStatus,
    StepDurations,
    StepStatus,
    current_attempt,
    step,
    workflow,
)
from flujo.kernel.api import MAX_INPUT_BYTES, PauseOutcome
from flujo.kernel.backend import Removal
from flujo.kernel.durations import to_datetime
from flujo.kernel.errors import (
    CursorError,
    InvalidDurationError,
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    KernelClosedError,
    PayloadTooLargeError,
    RunActiveError,
    RunCancelled,
    RunDeletedError,
    RunExistsError,
    RunFailed,
    RunFinishedError,
    RunInterrupted,
    RunNotFoundError,
    RunNotPausedError,
    RunNotResumableError,
    RunPaused,
    RunReplacedError,
    StateIncompatibilityError,
    StepCompletedError,
    StepNotFoundError,
    WorkflowNotFoundError,
)
from flujo.kernel.events import CancelRequested
from flujo.kernel.journal.explanation import Why
from flujo.server.listening import load_stored
from kernel.harness import START, Harness, JumpingClock, crash
from server.flows import FAILS, WORKS, Flaky, double, doubling, echoing, letters, mapping, stuck, waiting, writing
from server.harness import Through

FLOWS = (doubling, echoing, waiting, stuck, writing, mapping)


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    """Every event of a watch, to its end."""
    async with aclosing(events) as stream:  # type: ignore[type-var]
        return [event async for event in stream]


class SlowPrunes(InMemoryBackend):
    """Removes one run at a time, and takes three seconds of its harness's clock for it."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness.store)
        self._clock = harness.clock

    async def prune(self, filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        removal = await super().prune(filter, limit=1, dry_run=dry_run)
        self._clock.advance(3)
        return removal


async def seen(runs: Runs, run_id: str, type: str) -> Event:
    """The first event of this type, once it is there."""
    async with aclosing(runs.watch(run_id)) as events:
        async for event in events:
            if event.type == type:
                return event
    raise AssertionError(f"{run_id} ended without {type}")


# -- starting ------------------------------------------------------------------------------------------------------


async def test_a_run_is_started_and_has_a_result(through: Through) -> None:
    """`start` answers with a handle on a run that is new, and `run` with the output."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        handle = await runs.start("doubling", {"number": 21}, run_id="r")

        assert (handle.run_id, handle.created) == ("r", True)
        assert await handle.result() == 42
        assert await runs.run("doubling", {"number": 4}) == 8


async def test_a_workflow_can_be_given_as_itself(through: Through) -> None:
    """A program of Python is started by its name, whoever has it in hands."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        assert await runs.run(doubling, {"number": 3}) == 6


async def test_a_run_without_an_id_is_given_one(through: Through) -> None:
    """Two starts without an id are two runs."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        first, second = await runs.start("doubling"), await runs.start("doubling")

        assert first.run_id != second.run_id
        assert {(await runs.summary(each.run_id)).workflow for each in (first, second)} == {"doubling"}


async def test_starting_twice_under_one_id_is_starting_once(through: Through) -> None:
    """The same id with the same workflow and inputs is the same run, live or finished."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        first = await runs.start("doubling", {"number": 3}, run_id="r")
        second = await runs.start("doubling", {"number": 3}, run_id="r")
        await first.result()
        third = await runs.start("doubling", {"number": 3}, run_id="r")

        assert [each.created for each in (first, second, third)] == [True, False, False]
        assert await third.result() == 6


async def test_two_starts_at_the_same_moment_make_one_run(through: Through) -> None:
    """Of two concurrent starts under one id one creates the run, and both have its result."""
    handles: list[RunHandle] = []
    results: list[int] = []

    async def begin(runs: Runs) -> None:
        handle = await runs.start("doubling", {"number": 3}, run_id="r")
        handles.append(handle)
        results.append(await handle.result())

    async with through(Harness().kernel(*FLOWS)) as runs, anyio.create_task_group() as group:
        group.start_soon(begin, runs)
        group.start_soon(begin, runs)

    assert sorted(handle.created for handle in handles) == [False, True]
    assert results == [6, 6]


@pytest.mark.parametrize(
    ("flow", "inputs", "run_id", "difference"),
    [
        ("doubling", {"number": 4}, "Run", "other inputs"),
        ("waiting", {}, "Run", "the workflow 'doubling'"),
        ("doubling", {"number": 3}, "rUN", "upper and lower case"),
    ],
    ids=["other inputs", "another workflow", "another case"],
)
async def test_an_id_that_is_taken_is_refused(
    through: Through, flow: str, inputs: dict[str, Any], run_id: str, difference: str
) -> None:
    """An id belongs to one workflow with one set of inputs, and ids are unique regardless of case."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("doubling", {"number": 3}, run_id="Run")

        with pytest.raises(RunExistsError, match=difference):
            await runs.start(flow, inputs, run_id=run_id)


async def test_what_does_not_fit_is_refused_before_a_run_exists(through: Through) -> None:
    """Inputs, ids, labels and names of workflows are checked first, each with an error of its own."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        with pytest.raises(InvalidInputError) as refused:
            await runs.start("doubling", {"number": "many", "colour": "red"})
        with pytest.raises(InvalidNameError):
            await runs.start("doubling", run_id="not an id")
        with pytest.raises(InvalidNameError, match=r"labels\.team"):
            await runs.start("doubling", labels={"team": 1})  # type: ignore[dict-item]
        with pytest.raises(InvalidValueError):
            await runs.start("echoing", {"value": "\udcff"})
        with pytest.raises(PayloadTooLargeError) as too_large:
            await runs.start("echoing", {"value": "x" * MAX_INPUT_BYTES})
        with pytest.raises(WorkflowNotFoundError) as unknown:
            await runs.start("tripling")

        assert set(refused.value.problems) == {"number", "colour"}
        assert too_large.value.limit == MAX_INPUT_BYTES
        assert "doubling" in unknown.value.known
        assert (await runs.list()).runs == []


async def test_values_arrive_as_they_were_sent(through: Through) -> None:
    """Text of any script, numbers of any size, nesting and nulls come back unchanged."""
    value = {"text": "Zürich → 東京 \u0000", "big": 2**70, "small": 5e-324, "list": [None, True, [{}], -0.0], "": ""}

    async with through(Harness().kernel(*FLOWS)) as runs:
        assert await runs.run("echoing", {"value": value}, run_id="r") == value
        assert (await runs.inspect("r")).inputs == {"value": value}


async def test_outputs_of_any_size_arrive(through: Through) -> None:
    """An output of a megabyte is there in the result, in inspect, in the events and in a watch."""
    size = 1024 * 1024
    text = "é" * (size // 2)

    async with through(Harness().kernel(*FLOWS)) as runs:
        assert await runs.run("writing", {"size": size}, run_id="r") == text

        state = await runs.inspect("r")
        events = await runs.events("r")
        assert state.output == state.steps["write"].output == text
        assert [getattr(event.fact, "output", None) for event in events] == [None, None, f'"{text}"', f'"{text}"']
        assert events == await collect(runs.watch("r"))


# -- definitions ---------------------------------------------------------------------------------------------------


async def test_a_definition_of_the_callers_own_is_run(through: Through, folder: Path) -> None:
    """A definition is stored with its run, and not known by its name afterwards."""
    kernel = Harness().kernel(workspaces=folder / "w", load_definition=load_stored)
    async with through(kernel) as runs:
        assert await runs.run(letters(WORKS), run_id="r") == {"last": "two"}

        state = await runs.inspect("r")
        assert [name for name, _ in state.plan or ()] == ["a", "b"]
        assert (state.workflow, state.progress["percent"]) == ("letters", 100.0)
        with pytest.raises(WorkflowNotFoundError):
            await runs.start("letters")


async def test_a_run_goes_on_with_another_definition(through: Through, folder: Path) -> None:
    """A resume with a mended definition keeps what is completed, and the run has the new text from then on."""
    kernel = Harness().kernel(workspaces=folder / "w", load_definition=load_stored)
    async with through(kernel) as runs:
        with pytest.raises(RunFailed):
            await runs.run(letters(FAILS), run_id="r")
        before = await runs.inspect("r")

        handle = await runs.resume("r", workflow=letters(WORKS))

        assert await handle.result() == {"last": "two"}
        after = await runs.inspect("r")
        assert after.definition != before.definition
        assert after.steps["a"].generation == 1


async def test_a_definition_that_contradicts_completed_steps_is_refused(through: Through, folder: Path) -> None:
    """Every difference is named with its step, nothing has changed, and `accept_changes` goes on all the same."""
    kernel = Harness().kernel(workspaces=folder / "w", load_definition=load_stored)
    async with through(kernel) as runs:
        with pytest.raises(RunFailed):
            await runs.run(letters(FAILS), run_id="r")
        seq = (await runs.summary("r")).seq

        with pytest.raises(StateIncompatibilityError) as refused:
            await runs.resume("r", workflow=letters(WORKS, first="uno"))
        assert [(each.step, each.change) for each in refused.value.differences] == [("a", "changed")]
        assert (await runs.summary("r")).seq == seq

        await runs.resume("r", workflow=letters(WORKS, first="uno"), accept_changes=True)
        assert await runs.result("r") == {"last": "two"}
        assert (await runs.inspect("r")).steps["a"].output == "one"


# -- results -------------------------------------------------------------------------------------------------------


async def test_a_failed_run_says_what_failed(through: Through) -> None:
    """`result` raises what is recorded; `wait` answers, since a failure is data."""
    async with through(Harness().kernel(Flaky().workflow)) as runs:
        with pytest.raises(RunFailed) as failed:
            await runs.run("flaky", run_id="r")
        state = await runs.wait("r")

        assert (failed.value.step, failed.value.type) == ("middle", "ConnectionError")
        assert failed.value.error == "no route to café"
        assert (state.status, state.failed_step) == (RunStatus.FAILED, "middle")


async def test_a_cancelled_run_says_why(through: Through) -> None:
    """The reason given with a cancel is in the error."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        handle = await runs.start("stuck", run_id="r")
        await handle.cancel("it takes too long")

        with pytest.raises(RunCancelled) as cancelled:
            await handle.result()
        assert cancelled.value.why == "it takes too long"


async def test_a_paused_run_is_waited_for_no_longer(through: Through) -> None:
    """A run whose step outlived too many owners is paused; waiting for it ends with that."""
    harness = Harness()
    kernel = harness.kernel(*FLOWS)
    async with kernel:
        await kernel.start("stuck", run_id="r")
        await seen(kernel, "r", "step_started")
        crash(kernel)

    async with through(harness.kernel(*FLOWS, max_interruptions=1)) as runs:
        with pytest.raises(RunPaused) as paused:
            await runs.result("r")

        assert paused.value.why == "StepInterrupted"
        assert (await runs.wait("r")).paused_reason == "StepInterrupted"


async def left_behind(harness: Harness) -> None:
    """A run `r` of `waiting` that nobody runs."""
    kernel = harness.kernel(*FLOWS)
    async with kernel:
        await kernel.start("waiting", run_id="r")
        await seen(kernel, "r", "step_waiting")


async def test_a_run_that_nobody_runs_is_interrupted(through: Through) -> None:
    """Waiting for it says so at once, and so does looking at it."""
    harness = Harness()
    await left_behind(harness)

    async with through(harness.kernel(*FLOWS, recover=False)) as runs:
        with pytest.raises(RunInterrupted):
            await runs.wait("r")
        with pytest.raises(RunInterrupted):
            await runs.result("r")
        assert (await runs.inspect("r")).interrupted
        assert await runs.is_interrupted(await runs.summary("r"))


async def test_a_start_takes_up_a_run_that_nobody_runs(through: Through) -> None:
    """The same start again brings the run back to life, and it goes on where it was."""
    harness = Harness()
    await left_behind(harness)

    async with through(harness.kernel(*FLOWS, recover=False)) as runs:
        handle = await runs.start("waiting", run_id="r")
        assert not handle.created
        assert not await runs.is_interrupted(await runs.summary("r"))
        await handle.signal("go", 7)
        assert await handle.result() == 7


# -- looking -------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Runs], Awaitable[Any]]] = {
    "inspect": lambda runs: runs.inspect("nobody"),
    "summary": lambda runs: runs.summary("nobody"),
    "events": lambda runs: runs.events("nobody"),
    "watch": lambda runs: collect(runs.watch("nobody")),
    "wait": lambda runs: runs.wait("nobody"),
    "result": lambda runs: runs.result("nobody"),
    "resume": lambda runs: runs.resume("nobody"),
    "signal": lambda runs: runs.signal("nobody", "go"),
    "cancel": lambda runs: runs.cancel("nobody"),
    "delete": lambda runs: runs.delete("nobody"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_run_that_does_not_exist_is_an_error(through: Through, call: Callable[[Runs], Awaitable[Any]]) -> None:
    """Every call that names a run says which one is not there, and where it has looked."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        with pytest.raises(RunNotFoundError) as missing:
            await call(runs)

    assert (missing.value.run_id, missing.value.store) == ("nobody", "memory:")


async def test_inspect_shows_a_run_under_way(through: Through) -> None:
    """What has been done, what is waited for, and what the run was asked for."""
    harness = Harness()
    async with through(harness.kernel(*FLOWS)) as runs:
        await runs.start("waiting", run_id="r", labels={"team": "a", "Stadt": "Zürich"})
        await seen(runs, "r", "step_waiting")

        state = await runs.inspect("r")

        assert state.labels == {"team": "a", "Stadt": "Zürich"}
        assert (state.status, state.current_steps, state.interrupted) == (RunStatus.WAITING, ["go"], False)
        assert state.wait == [{"kind": "signal", "step": "go", "until": None, "signal": "go", "child": None}]
        assert state.steps["go"].status is StepStatus.WAITING
        assert state.created_at == harness.clock.now()


async def test_every_step_of_a_long_run_is_there(through: Through) -> None:
    """A run of 1,203 steps is read whole, in the order they began."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("mapping", {"count": 1203}, run_id="r")

        state = await runs.inspect("r")
        events = await runs.events("r", limit=5000)

        assert list(state.steps) == [f"double[{index}]" for index in range(1203)]
        assert state.progress["done"] == 1203
        assert [event.seq for event in events] == list(range(1, state.seq + 1))


async def test_a_summary_names_the_owner_of_a_live_run(through: Through) -> None:
    """A live run has an owner, one that has ended has none."""
    kernel = Harness().kernel(*FLOWS)
    async with through(kernel) as runs:
        handle = await runs.start("waiting", run_id="r")
        assert (await runs.summary("r")).owner == kernel.id
        await handle.signal("go")
        await handle.result()

        summary = await runs.summary("r")
        assert (summary.owner, summary.status, summary.steps_done) == (None, "completed", 1)


# -- listing -------------------------------------------------------------------------------------------------------


async def test_runs_are_listed_by_what_they_are(through: Through) -> None:
    """Status, workflow, beginning of the id and labels choose, and together they choose less."""
    async with through(Harness(JumpingClock()).kernel(*FLOWS)) as runs:
        await runs.run("doubling", run_id="a-1", labels={"team": "a", "tier": "1"})
        await runs.run("doubling", run_id="a-2", labels={"team": "b"})
        await runs.start("waiting", run_id="b-1", labels={"team": "a"})

        async def ids(**wanted: Any) -> set[str]:
            return {run.run_id for run in (await runs.list(**wanted)).runs}

        assert await ids() == {"a-1", "a-2", "b-1"}
        assert await ids(statuses=["completed"]) == {"a-1", "a-2"}
        assert await ids(statuses=["completed", "waiting", "pending", "running"]) == {"a-1", "a-2", "b-1"}
        assert await ids(workflow="waiting") == {"b-1"}
        assert await ids(id_prefix="a-") == {"a-1", "a-2"}
        assert await ids(labels={"team": "a"}) == {"a-1", "b-1"}
        assert await ids(labels={"tier": "1", "team": "a"}, workflow="doubling") == {"a-1"}
        assert await ids(workflow="tripling") == set()


async def test_pages_hold_every_run_once(through: Through) -> None:
    """Following `next` shows all runs, newest first, although others arrive meanwhile."""
    harness = Harness()
    async with through(harness.kernel(*FLOWS)) as runs:
        for number in range(7):
            harness.clock.advance(1)
            await runs.run("doubling", run_id=f"r{number}", labels={"b": "1", "a": "2"})
        listed: list[str] = []
        page: str | None = None
        while True:
            found = await runs.list(labels={"a": "2", "b": "1"}, limit=3, page=page)
            listed += [run.run_id for run in found.runs]
            if (page := found.next) is None:
                break
            harness.clock.advance(1)
            await runs.run("doubling")

    assert listed == [f"r{number}" for number in reversed(range(7))]


async def test_a_list_is_asked_for_properly(through: Through) -> None:
    """A page of another filter, a status that does not exist and a limit of none are refused."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("doubling")
        await runs.run("doubling")
        token = (await runs.list(limit=1)).next

        with pytest.raises(InvalidNameError, match="another store, filter"):
            await runs.list(workflow="waiting", limit=1, page=token)
        with pytest.raises(InvalidNameError, match="page token"):
            await runs.list(page="nonsense")
        with pytest.raises(InvalidNameError, match="'finished' is not a valid run status"):
            await runs.list(statuses=["finished"])
        with pytest.raises(InvalidNameError, match="limit"):
            await runs.list(limit=0)


async def test_runs_are_listed_by_when_they_moved(through: Through) -> None:
    """Ranges hold their beginning and not their end; a run that has not ended is in no range of `finished`."""
    harness = Harness()
    async with through(harness.kernel(*FLOWS)) as runs:
        for number in range(3):
            await runs.run("doubling", run_id=f"r{number}")
            harness.clock.advance(60)
        await runs.start("waiting", run_id="live")
        await seen(runs, "live", "step_waiting")
        harness.clock.advance(3600)

        async def ids(**wanted: Any) -> list[str]:
            found = [run.run_id for run in (await runs.list(**wanted)).runs]
            assert await runs.count(**wanted) == len(found)
            return found

        minute = [to_datetime(START + number * 60_000_000) for number in range(5)]
        assert await ids(created_from=minute[1]) == ["live", "r2", "r1"]
        assert await ids(created_before=minute[1]) == ["r0"]
        assert await ids(created_from=minute[1], created_before=minute[3]) == ["r2", "r1"]
        assert await ids(created_from=START + 60_000_000, created_before=START + 60_000_001) == ["r1"]
        assert await ids(finished_from=minute[0]) == ["r2", "r1", "r0"]
        assert await ids(finished_from=minute[2], finished_before=minute[4]) == ["r2"]
        assert await ids(updated_before=minute[4], statuses=["pending", "running", "waiting"]) == ["live"]
        assert await ids(updated_from=minute[2]) == ["live", "r2"]
        assert await ids(created_from=datetime.max.replace(tzinfo=UTC)) == []


async def test_runs_are_listed_by_where_they_failed_and_who_started_them(through: Through) -> None:
    """The step that ended a run, and the run that has started it."""
    flaky = Flaky()

    @workflow(name="calling")
    async def calling(ctx: Context) -> Any:
        return await ctx.run_child(doubling, {"number": 4})

    async with through(Harness().kernel(*FLOWS, flaky.workflow, calling)) as runs:
        with pytest.raises(RunFailed):
            await runs.run("flaky", run_id="failed")
        assert await runs.run("calling", run_id="parent") == 8

        assert [run.run_id for run in (await runs.list(failed_step="middle")).runs] == ["failed"]
        assert await runs.count(failed_step="first") == 0
        assert [run.workflow for run in (await runs.list(parent_run_id="parent")).runs] == ["doubling"]
        assert await runs.count(parent_run_id="failed") == 0


async def test_a_list_is_sorted_by_what_moved_last(through: Through) -> None:
    """In the order of `updated_at`, over pages as well, and a page of one order does not fit the other."""
    harness = Harness()
    async with through(harness.kernel(*FLOWS)) as runs:
        await runs.start("waiting", run_id="w")
        await seen(runs, "w", "step_waiting")
        for number in range(3):
            harness.clock.advance(1)
            await runs.run("doubling", run_id=f"r{number}")
        harness.clock.advance(1)
        await runs.signal("w", "go")
        await runs.result("w")

        first = await runs.list(order="updated", limit=3)
        rest = await runs.list(order="updated", limit=3, page=first.next)
        assert [run.run_id for run in (*first.runs, *rest.runs)] == ["w", "r2", "r1", "r0"]
        assert [run.run_id for run in (await runs.list(order="created")).runs] == ["r2", "r1", "r0", "w"]
        with pytest.raises(InvalidNameError, match="another store, filter or order"):
            await runs.list(limit=3, page=first.next)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"created_from": datetime(2026, 1, 1)}, "a datetime with its zone"),
        ({"updated_before": 2**62}, "microseconds since 1970"),
        ({"finished_from": True}, "microseconds since 1970"),
        ({"finished_before": 1.5}, "microseconds since 1970"),
        ({"statuses": ["finished"]}, "is not a valid run status"),
    ],
)
async def test_a_filter_is_asked_for_properly(through: Through, wanted: dict[str, Any], says: str) -> None:
    """What is no instant and no status is refused by list and count alike."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        with pytest.raises(InvalidNameError, match=says):
            await runs.list(**wanted)
        with pytest.raises(InvalidNameError, match=says):
            await runs.count(**wanted)
        with pytest.raises(InvalidNameError, match="one of created, updated"):
            await runs.list(order="deleted")
        with pytest.raises(InvalidNameError, match="'colour' is not a valid argument of list"):
            await runs.list(colour="red")  # type: ignore[call-arg]


# -- statistics ----------------------------------------------------------------------------------------------------


async def test_runs_add_up(through: Through) -> None:
    """By workflow: what is stored, and of what ended in the window how much failed, and how long and where it took."""
    harness = Harness()
    flaky = Flaky()

    @step(retry=RetryPolicy(max_attempts=2, delay=0))
    async def slow(seconds: int) -> None:
        if current_attempt().attempt == 1:
            harness.clock.advance(seconds)
            raise ConnectionError("again")
        harness.clock.advance(seconds)

    @workflow(name="steps")
    async def steps(ctx: Context, seconds: int) -> None:
        await ctx.step(slow, seconds)
        await ctx.step(double, 1)

    async with through(harness.kernel(*FLOWS, flaky.workflow, steps)) as runs:
        await runs.run("doubling", run_id="long-ago")
        harness.clock.advance(2 * 86400)
        for seconds in (1, 2, 3, 10):
            await runs.run("steps", {"seconds": seconds})
        with pytest.raises(RunFailed):
            await runs.run("flaky", run_id="f")
        await runs.start("waiting", run_id="w")
        await seen(runs, "w", "step_waiting")

        everything = await runs.stats()
        by_name = {each.workflow: each for each in everything.workflows}
        assert list(by_name) == ["doubling", "flaky", "steps", "waiting"]
        assert (everything.since, everything.until) == (harness.clock.now() - 86_400_000_000, harness.clock.now())

        told = by_name["steps"]
        assert (told.runs, told.created, told.ended) == ({"completed": 4}, 4, {"completed": 4})
        assert (told.retried, told.failure_rate, told.retry_rate) == (4, 0.0, 1.0)
        assert (told.p50_seconds, told.p95_seconds, told.longest_seconds) == (4.0, 20.0, 20.0)
        assert told.slowest_steps == [
            StepDurations("slow", 4, 5.0, 20.0, 20.0),
            StepDurations("double", 4, 0.0, 0.0, 0.0),
        ]
        assert told.sampled == 4

        failing = by_name["flaky"]
        assert (failing.ended, failing.failure_rate, failing.failing_steps) == ({"failed": 1}, 1.0, {"middle": 1})
        assert (failing.p50_seconds, failing.slowest_steps, failing.sampled) == (None, [], 0)

        idle = by_name["doubling"]
        assert (idle.runs, idle.created, idle.ended, idle.failure_rate) == ({"completed": 1}, 0, {}, None)
        assert by_name["waiting"].runs == {"waiting": 1}

        one = await runs.stats(window_seconds="3d", workflow="doubling")
        assert [(each.workflow, each.ended) for each in one.workflows] == [("doubling", {"completed": 1})]
        assert (await runs.stats(workflow="tripling")).workflows == []
        with pytest.raises(InvalidDurationError):
            await runs.stats(window_seconds="soon")


# -- events and watches --------------------------------------------------------------------------------------------


async def test_events_are_read_from_any_number_on(through: Through) -> None:
    """Those after a number, and as many as were asked for."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("doubling", run_id="r")

        assert [event.type for event in await runs.events("r")] == [
            "run_created",
            "step_started",
            "step_completed",
            "run_completed",
        ]
        assert [event.seq for event in await runs.events("r", 2)] == [3, 4]
        assert [event.seq for event in await runs.events("r", 1, limit=2)] == [2, 3]
        assert await runs.events("r", 4) == []
        with pytest.raises(InvalidNameError):
            await runs.events("r", limit=0)


async def test_many_large_events_are_read_whole(through: Through) -> None:
    """Forty outputs of 60 kB, more than one answer holds, come in order and complete."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("writing", {"size": 60_000, "times": 40}, run_id="r")

        events = await runs.events("r")

        assert [event.seq for event in events] == list(range(1, 83))
        assert events == await collect(runs.watch("r"))


async def test_a_cursor_beyond_the_last_event_is_refused(through: Through) -> None:
    """The error says how many events there are."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("doubling", run_id="r")

        with pytest.raises(CursorError) as read:
            await runs.events("r", 9)
        with pytest.raises(CursorError) as watched:
            await collect(runs.watch("r", 9))
        assert [(each.value.after_seq, each.value.last_seq) for each in (read, watched)] == [(9, 4), (9, 4)]


@pytest.mark.parametrize("seq", [-1, 2**64])
async def test_nothing_begins_behind_what_is_no_event(seq: int, through: Through) -> None:
    """A number below 0 does not count from the end, and one that no store can hold is refused by name."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("doubling", run_id="r")

        with pytest.raises(InvalidNameError, match=r"event number|after_seq"):
            await runs.events("r", seq)
        with pytest.raises(InvalidNameError, match=r"event number|after_seq"):
            await collect(runs.watch("r", seq))


async def test_a_watch_shows_what_is_stored_and_then_what_happens(through: Through) -> None:
    """Events come as they are made, each once and in order, until the run is final."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        handle = await runs.start("waiting", run_id="r")
        seqs: list[int] = []
        async with aclosing(handle.watch()) as events:
            async for event in events:
                seqs.append(event.seq)
                if event.type == "step_waiting":
                    await handle.signal("go")

    assert seqs == [1, 2, 3, 4, 5]


async def test_a_watch_goes_on_where_another_one_left_off(through: Through) -> None:
    """Leaving a watch and watching again after its last event yields exactly the rest."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("mapping", {"count": 100}, run_id="r")
        first: list[Event] = []
        async with aclosing(runs.watch("r")) as events:
            async for event in events:
                first.append(event)
                if event.seq == 70:
                    break
        rest = await collect(runs.watch("r", 70, uid=(await runs.summary("r")).uid))

        assert [event.seq for event in first + rest] == list(range(1, 203))
        assert await collect(runs.watch("r", 202)) == []


async def test_two_watches_see_the_same(through: Through) -> None:
    """Watchers do not take events from each other."""
    found: list[list[Event]] = []

    async def follow(runs: Runs) -> None:
        found.append(await collect(runs.watch("r")))

    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.start("waiting", run_id="r")
        async with anyio.create_task_group() as group:
            group.start_soon(follow, runs)
            group.start_soon(follow, runs)
            await runs.signal("r", "go")

    assert found[0] == found[1]
    assert found[0][-1].type == "run_completed"


async def test_the_watch_of_a_run_that_is_deleted_says_so(through: Through) -> None:
    """A watcher is told, while it waits and when it comes back later."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.start("stuck", run_id="r")
        uid = (await runs.summary("r")).uid

        async with aclosing(runs.watch("r")) as events:
            while (await anext(events)).type != "step_started":
                pass
            await runs.delete("r", force=True)
            with pytest.raises(RunDeletedError) as deleted:
                await collect(events)
        with pytest.raises(RunDeletedError):
            await collect(runs.watch("r", 1, uid=uid))
        assert deleted.value.run_id == "r"


async def test_a_cursor_is_of_one_life_of_a_run(through: Through) -> None:
    """After a run was deleted and started anew under its id, the old cursor is refused."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("doubling", run_id="r")
        uid = (await runs.summary("r")).uid
        await runs.delete("r")
        await runs.run("doubling", run_id="r")

        with pytest.raises(RunReplacedError):
            await collect(runs.watch("r", 1, uid=uid))
        with pytest.raises(RunReplacedError):
            await runs.events("r", 1, uid=uid)


# -- signals -------------------------------------------------------------------------------------------------------


async def test_a_signal_is_recorded_and_taken(through: Through) -> None:
    """What comes with a signal is what the wait for it returns; who sent it is in the journal."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        handle = await runs.start("waiting", run_id="r")

        assert await runs.signal("r", "go", {"ok": [1, None]}, by="ann") is Delivery.RECORDED
        assert await handle.result() == {"ok": [1, None]}
        (received,) = [event for event in await runs.events("r") if event.type == "signal_received"]
        assert received.fact.by == "ann"  # type: ignore[union-attr]


async def test_a_signal_for_a_run_that_nobody_runs_is_kept(through: Through) -> None:
    """It is stored, and taken when somebody resumes the run."""
    harness = Harness()
    await left_behind(harness)

    async with through(harness.kernel(*FLOWS, recover=False)) as runs:
        assert await runs.signal("r", "go", 5) is Delivery.STORED
        await runs.resume("r")
        assert await runs.result("r") == 5


async def test_a_signal_that_cannot_be_delivered_is_refused(through: Through) -> None:
    """A run that has ended takes none, and neither a bad name nor a payload that is no JSON, or too large, gets far."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.start("waiting", run_id="r")
        await runs.run("doubling", run_id="done")

        with pytest.raises(RunFinishedError) as finished:
            await runs.signal("done", "go")
        with pytest.raises(InvalidNameError):
            await runs.signal("r", "not a name")
        with pytest.raises(InvalidValueError):
            await runs.signal("r", "go", {1, 2})
        with pytest.raises(PayloadTooLargeError):
            await runs.signal("r", "go", "x" * MAX_INPUT_BYTES)

        assert finished.value.status == "completed"
        assert "signal_received" not in [event.type for event in await runs.events("r")]


# -- cancelling ----------------------------------------------------------------------------------------------------


async def test_cancelling_is_safe_to_repeat(through: Through) -> None:
    """The first cancel stops the run; later ones, and those of a finished run, say that it is over."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        handle = await runs.start("stuck", run_id="r")

        assert await runs.cancel("r", "enough", by="ann") is CancelOutcome.REQUESTED
        assert (await handle.wait()).status is RunStatus.CANCELLED
        assert await runs.cancel("r") is CancelOutcome.ALREADY_FINISHED
        (asked,) = [event.fact for event in await runs.events("r") if event.type == "cancel_requested"]
        assert asked == CancelRequested("enough", "ann", principal=through.principal)


async def test_a_run_that_nobody_runs_is_cancelled_at_once(through: Through) -> None:
    """Nobody has to be waited for."""
    harness = Harness()
    await left_behind(harness)

    async with through(harness.kernel(*FLOWS, recover=False)) as runs:
        assert await runs.cancel("r") is CancelOutcome.CANCELLED
        assert (await runs.summary("r")).status == "cancelled"


# -- resuming ------------------------------------------------------------------------------------------------------


async def test_a_failed_run_goes_on_where_it_failed(through: Through) -> None:
    """Completed steps keep their outputs, and only what failed is tried afresh."""
    flaky = Flaky()
    async with through(Harness().kernel(flaky.workflow)) as runs:
        with pytest.raises(RunFailed):
            await runs.run("flaky", run_id="r")
        flaky.broken = False

        handle = await runs.resume("r", by="ann")

        assert not handle.created
        assert await handle.result() == [1, 2, 1, 0]
        assert flaky.counter.calls == ["first", "middle", "middle", "third"]
        (resumed,) = [event.fact for event in await runs.events("r") if event.type == "run_resumed"]
        assert resumed.by == "ann"  # type: ignore[union-attr]


async def test_a_completed_run_is_run_again_from_a_step(through: Through) -> None:
    """That step and all later ones run again, with inputs merged over the recorded ones."""
    flaky = Flaky()
    flaky.broken = False
    async with through(Harness().kernel(flaky.workflow)) as runs:
        await runs.run("flaky", run_id="r")
        await runs.resume("r", from_step="middle", inputs={"extra": 9})

        assert await runs.result("r") == [1, 2, 2, 9]
        assert (await runs.inspect("r")).resume_count == 1


async def test_what_cannot_be_resumed_is_refused(through: Through) -> None:
    """A live run, a completed one, a step that never began, and inputs that do not fit."""
    flaky = Flaky()
    async with through(Harness().kernel(*FLOWS, flaky.workflow)) as runs:
        await runs.start("stuck", run_id="live")
        await runs.run("doubling", run_id="done")
        with pytest.raises(RunFailed):
            await runs.run("flaky", run_id="failed")

        with pytest.raises(RunActiveError) as active:
            await runs.resume("live")
        with pytest.raises(RunNotResumableError) as done:
            await runs.resume("done")
        with pytest.raises(StepNotFoundError) as unknown:
            await runs.resume("failed", from_step="fourth")
        with pytest.raises(InvalidInputError):
            await runs.resume("failed", inputs={"extra": "much"})
        with pytest.raises(InvalidValueError):
            await runs.resume("failed", by="\udcff")
        with pytest.raises(RunExistsError, match="the workflow 'flaky'"):
            await runs.resume("failed", workflow=doubling)

        assert active.value.run_id == "live"
        assert done.value.status == "completed"
        assert unknown.value.known == ("first", "middle")
        assert (await runs.summary("failed")).resume_count == 0


async def test_a_run_of_a_workflow_that_is_gone_cannot_be_resumed(through: Through) -> None:
    """The error names the workflow and those there are."""
    harness = Harness()
    await left_behind(harness)

    async with through(harness.kernel(doubling, recover=False)) as runs:
        with pytest.raises(WorkflowNotFoundError) as gone:
            await runs.resume("r")
        assert (gone.value.workflow, gone.value.known) == ("waiting", ("doubling",))


# -- pausing, skipping, setting, forking, explaining ---------------------------------------------------------------


async def test_a_run_is_paused_and_goes_on(through: Through) -> None:
    """Pausing is safe to repeat; a run that is not paused cannot be unpaused, one that has ended cannot be paused."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.start("waiting", run_id="r")
        await seen(runs, "r", "step_waiting")

        assert await runs.pause("r", "lunch", by="ann") is PauseOutcome.REQUESTED
        assert (await runs.wait("r")).status is RunStatus.PAUSED
        assert await runs.pause("r") is PauseOutcome.ALREADY_PAUSED
        handle = await runs.unpause("r", by="ann")
        await handle.signal("go", 5)
        assert await handle.result() == 5
        with pytest.raises(RunNotPausedError):
            await runs.unpause("r")
        with pytest.raises(RunFinishedError):
            await runs.pause("r")


async def test_a_failed_step_is_given_an_output_instead(through: Through) -> None:
    """Skipped or set, the run goes on behind it; what has completed does not change."""
    async with through(Harness().kernel(*FLOWS, Flaky().workflow)) as runs:
        for run_id in ("skipped", "set"):
            with pytest.raises(RunFailed):
                await runs.run("flaky", run_id=run_id)

        await runs.skip("skipped", "middle", 7, reason="it is down", by="ann")
        await runs.set_output("set", "middle", 8, reason="by hand", by="ann")
        with pytest.raises(StepCompletedError):
            await runs.skip("set", "first")
        with pytest.raises(StepNotFoundError):
            await runs.set_output("set", "fourth", 1)

        assert (await (await runs.resume("skipped")).result())[1] == 7
        assert (await (await runs.resume("set")).result())[1] == 8
        assert (await runs.inspect("skipped")).steps["middle"].status is StepStatus.SKIPPED


async def test_a_resume_may_skip_and_retry_by_name(through: Through) -> None:
    """Steps are marked, or run again, in the same breath as the run is taken up."""
    flaky = Flaky()
    async with through(Harness().kernel(flaky.workflow)) as runs:
        for run_id in ("skips", "retries"):
            with pytest.raises(RunFailed):
                await runs.run("flaky", run_id=run_id)

        with pytest.raises(StepNotFoundError):
            await runs.resume("retries", retry=["fourth"])
        await runs.resume("skips", skip={"middle": 9})
        assert (await runs.result("skips"))[1] == 9
        flaky.broken = False
        await runs.resume("retries", retry=["first", "middle"])
        assert (await runs.result("retries"))[:2] == [3, 2]
        assert (await runs.inspect("retries")).steps["first"].generation == 2


async def test_a_variable_is_set_from_outside(through: Through) -> None:
    """It is in the journal with who set it, and in the state."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.start("waiting", run_id="r")

        assert await runs.set_variable("r", "limit", [1, None], reason="less", by="ann") is Delivery.RECORDED
        with pytest.raises(InvalidNameError):
            await runs.set_variable("r", "not a name", 1)
        with pytest.raises(InvalidValueError):
            await runs.set_variable("r", "limit", {1})

        assert (await runs.inspect("r")).variables == {"limit": [1, None]}


async def test_a_run_is_forked(through: Through) -> None:
    """The new run has what the old one recorded up to a step, and its own end; the old one stays."""
    flaky = Flaky()
    flaky.broken = False
    async with through(Harness().kernel(flaky.workflow)) as runs:
        await runs.run("flaky", run_id="r")

        handle = await runs.fork("r", from_step="third", new_run_id="s", inputs={"extra": 5}, labels={"try": "2"})

        assert (handle.run_id, handle.created) == ("s", True)
        assert await handle.result() == [1, 2, 2, 5]
        assert await runs.result("r") == [1, 2, 1, 0]
        state = await runs.inspect("s")
        assert (state.forked_from, state.labels) == ("r", {"try": "2"})
        with pytest.raises(RunExistsError):
            await runs.fork("r", new_run_id="s")


async def test_why_a_run_stands_still_is_explained(through: Through) -> None:
    """With what to type about it."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.start("waiting", run_id="r")
        await seen(runs, "r", "step_waiting")
        await runs.run("doubling", run_id="done")

        (waits,) = (await runs.explain("r")).reasons
        assert (waits.why, waits.step) == (Why.SIGNAL, "go")
        assert any("signal" in command for command in waits.commands)
        assert [reason.why for reason in (await runs.explain("done")).reasons] == [Why.FINISHED]
        with pytest.raises(RunNotFoundError):
            await runs.explain("nobody")


# -- forgetting ----------------------------------------------------------------------------------------------------


async def test_a_deleted_run_is_gone(through: Through) -> None:
    """A live one only with force, which ends it first."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("doubling", run_id="done")
        await runs.start("stuck", run_id="live")

        await runs.delete("done")
        with pytest.raises(RunActiveError):
            await runs.delete("live")
        await runs.delete("live", force=True)

        assert (await runs.list()).runs == []


async def test_old_runs_are_pruned_oldest_first(through: Through) -> None:
    """Those that ended long enough ago go, a batch at a time; a dry run only says which."""
    harness = Harness()
    async with through(harness.kernel(*FLOWS)) as runs:
        for number in range(5):
            await runs.run("doubling", run_id=f"r{number}")
            harness.clock.advance(60)
        await runs.start("waiting", run_id="live")

        def ids(runs: Sequence[Any]) -> list[str]:
            return [run.run_id for run in runs]

        dry = await runs.prune(older_than_seconds=90, limit=2, dry_run=True)
        assert (ids(dry.runs), dry.total, dry.more) == (["r0", "r1"], 4, True)
        first = await runs.prune(older_than_seconds=90, limit=2)
        assert (ids(first.runs), first.total, first.more) == (["r0", "r1"], 2, True)
        rest = await runs.prune(older_than_seconds=90, workflow="doubling")
        assert (ids(rest.runs), rest.total, rest.more) == (["r2", "r3"], 2, False)
        assert {run.run_id for run in (await runs.list()).runs} == {"r4", "live"}


async def test_paused_runs_are_pruned_only_by_name(through: Through) -> None:
    """They are counted as kept, until `statuses` names them."""
    harness = Harness()
    kernel = harness.kernel(*FLOWS)
    async with kernel:
        await kernel.start("stuck", run_id="r")
        await seen(kernel, "r", "step_started")
        crash(kernel)

    async with through(harness.kernel(*FLOWS, max_interruptions=1)) as runs:
        await runs.wait("r")
        harness.clock.advance(1)

        assert (await runs.prune(older_than_seconds=0)).kept_paused == 1
        assert (await runs.prune(older_than_seconds=0, statuses=["paused"])).total == 1


async def test_a_prune_chooses_by_everything_that_is_given(through: Through) -> None:
    """Labels and the beginning of the id narrow it down, and no age is needed then."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        for run_id, team in (("a-1", "x"), ("a-2", "y"), ("b-1", "x")):
            await runs.run("doubling", run_id=run_id, labels={"team": team})

        async def due(**wanted: Any) -> set[str]:
            return {run.run_id for run in (await runs.prune(**wanted, dry_run=True)).runs}

        assert await due(labels={"team": "x"}) == {"a-1", "b-1"}
        assert await due(id_prefix="a-") == {"a-1", "a-2"}
        assert await due(id_prefix="a-", labels={"team": "x"}, workflow="doubling") == {"a-1"}
        assert await due(id_prefix="a-", labels={"team": "x"}, workflow="waiting") == set()
        assert (await runs.prune(id_prefix="a-", labels={"team": "x"})).total == 1
        assert {run.run_id for run in (await runs.list()).runs} == {"a-2", "b-1"}


async def test_a_prune_keeps_the_last_runs_of_each_workflow(through: Through) -> None:
    """The newest of those that would go stay, of every workflow; more of them than there are let none go."""
    harness = Harness()
    async with through(harness.kernel(*FLOWS)) as runs:
        for number in range(4):
            await runs.run("doubling", run_id=f"d{number}")
            await runs.run("echoing", run_id=f"e{number}")
            harness.clock.advance(60)

        async def due(**wanted: Any) -> list[str]:
            return [run.run_id for run in (await runs.prune(**wanted, dry_run=True)).runs]

        assert await due(keep_last=3) == ["d0", "e0"]
        assert await due(keep_last=2, workflow="echoing") == ["e0", "e1"]
        assert await due(keep_last=1, older_than_seconds=90) == ["d0", "d1", "e0", "e1"]
        assert await due(keep_last=5) == []
        gone = await runs.prune(keep_last=3, limit=1)
        assert (gone.total, gone.more) == (1, True)
        assert (await runs.prune(keep_last=1)).total == 5
        assert {run.run_id for run in (await runs.list()).runs} == {"d3", "e3"}


async def test_a_prune_takes_families_whole(through: Through, folder: Path) -> None:
    """A run goes with those it has started and all their workspaces; these do not go by themselves, nor count."""
    harness = Harness()

    @workflow(name="calling")
    async def calling(ctx: Context) -> Any:
        return await ctx.run_child(doubling, {"number": 4})

    async with through(harness.kernel(doubling, calling, workspaces=folder / "w")) as runs:
        for number in range(2):
            await runs.run("calling", run_id=f"p{number}")
            harness.clock.advance(60)
        await runs.run("doubling", run_id="lone")
        family = {run.run_id for run in (await runs.list()).runs if run.run_id.startswith("p0")}
        for run_id in family:
            (folder / "w" / run_id).mkdir(parents=True)

        assert len(family) == 2
        assert [run.run_id for run in (await runs.prune(workflow="doubling", dry_run=True)).runs] == ["lone"]
        assert (await runs.prune(workflow="doubling", keep_last=1, dry_run=True)).total == 0
        gone = await runs.prune(workflow="calling", keep_last=1)
        assert {run.run_id for run in gone.runs} == family
        assert (gone.total, gone.runs[0].run_id) == (2, "p0")
        assert list((folder / "w").iterdir()) == []


async def test_a_prune_says_what_stays_and_how_large_it_was(through: Through) -> None:
    """Runs of that age that go on are counted, and the bytes of what went are those that were foretold."""
    harness = Harness()
    async with through(harness.kernel(*FLOWS)) as runs:
        await runs.start("waiting", run_id="old-live")
        await seen(runs, "old-live", "step_waiting")
        await runs.run("doubling", run_id="r")
        harness.clock.advance(100)
        await runs.start("waiting", run_id="young-live")
        await seen(runs, "young-live", "step_waiting")

        foretold = await runs.prune(older_than_seconds=60, dry_run=True)
        gone = await runs.prune(older_than_seconds=60)

        assert (foretold.kept_live, foretold.kept_paused, foretold.total) == (1, 0, 1)
        assert foretold.bytes == gone.bytes > 0
        assert (await runs.prune(older_than_seconds=0, workflow="doubling")).kept_live == 0
        assert (await runs.prune(workflow="waiting")).kept_live == 2


async def test_a_prune_ends_when_its_time_is_spent(through: Through) -> None:
    """It makes one batch in any case, and says that there is more."""
    harness = Harness()
    backend = SlowPrunes(harness)
    async with through(harness.kernel(*FLOWS, backend=backend)) as runs:
        for number in range(4):
            await runs.run("doubling", run_id=f"r{number}")

        first = await runs.prune(older_than_seconds=0, time_budget_seconds=5)
        second = await runs.prune(older_than_seconds=0, time_budget_seconds=0)
        rest = await runs.prune(older_than_seconds=0)

        assert [(each.total, each.more) for each in (first, second, rest)] == [(2, True), (1, True), (1, False)]


async def test_a_prune_is_asked_for_properly(through: Through) -> None:
    """It says which runs, and names no status in which runs go on, none that does not exist, no age in the future and
    no limit of none."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        with pytest.raises(InvalidNameError, match="status to prune by"):
            await runs.prune(older_than_seconds=0, statuses=["running"])
        with pytest.raises(InvalidNameError, match="run status"):
            await runs.prune(older_than_seconds=0, statuses=["finished"])
        with pytest.raises(InvalidDurationError):
            await runs.prune(older_than_seconds=-1)
        with pytest.raises(InvalidNameError, match="limit"):
            await runs.prune(older_than_seconds=0, limit=0)
        with pytest.raises(InvalidNameError, match="keep_last"):
            await runs.prune(keep_last=0)
        with pytest.raises(InvalidNameError, match="choice of runs"):
            await runs.prune(limit=10)
        with pytest.raises(InvalidDurationError):
            await runs.prune(older_than_seconds=0, time_budget_seconds=-1)


# -- opening and closing -------------------------------------------------------------------------------------------


async def test_what_is_closed_is_of_no_use(through: Through) -> None:
    """Every call after the block is refused in the same way."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("doubling", run_id="r")

    with pytest.raises(KernelClosedError):
        await runs.start("doubling")
    with pytest.raises(KernelClosedError):
        await runs.resume("r")


async def test_a_handle_does_what_its_run_can(through: Through) -> None:
    """All of a run's calls, without naming it again."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        handle = await runs.start("waiting", run_id="r")

        assert (await handle.inspect()).run_id == "r"
        assert await handle.signal("go", 1) is Delivery.RECORDED
        assert (await handle.wait()).output == await handle.result() == 1
        assert [event.seq for event in await collect(handle.watch(3))] == [4, 5]
        assert await handle.cancel() is CancelOutcome.ALREADY_FINISHED


# -- many runs -----------------------------------------------------------------------------------------------------


async def test_many_runs_are_acted_on_by_one_call(through: Through) -> None:
    """Signals, pauses and all: to those that a filter chooses, and what became of each is told, the newest first."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        for number in range(3):
            await runs.start("waiting", run_id=f"w{number}", labels={"team": "a"})
            await seen(runs, f"w{number}", "step_waiting")
        await runs.run("doubling", run_id="d", labels={"team": "a"})
        await runs.start("waiting", run_id="other")
        everybody = ["w2", "w1", "w0"]

        shown = await runs.pause_runs("lunch", labels={"team": "a"}, dry_run=True)
        assert [(run.run_id, run.status, run.reason) for run in shown.runs] == [
            (id, "waiting", None) for id in everybody
        ]
        paused = await runs.pause_runs("lunch", labels={"team": "a"}, by="ann")
        assert [run.run_id for run in paused.runs] == everybody
        for run_id in everybody:
            assert (await runs.wait(run_id)).status == RunStatus.PAUSED
        assert [run.run_id for run in (await runs.unpause_runs(labels={"team": "a"})).runs] == everybody
        for run_id in everybody:
            await runs.set_variable(run_id, "n", 1)
        sent = await runs.signal_runs("go", {"n": 7}, labels={"team": "a"}, request_id="sent")
        assert [(run.run_id, run.reason) for run in sent.runs] == [(run_id, None) for run_id in everybody]
        assert [await runs.result(run_id) for run_id in everybody] == [{"n": 7}] * 3
        assert (await runs.signal_runs("go", labels={"team": "a"})).runs == []
        assert (await runs.summary("other")).status == RunStatus.WAITING


async def test_a_repeat_asks_each_of_many_runs_once(through: Through) -> None:
    """Under one request id, as a call for one run is carried out once."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        for run_id in ("a", "b"):
            await runs.start("waiting", run_id=run_id)
            await seen(runs, run_id, "step_waiting")
        first = await runs.signal_runs("other", 1, workflow="waiting", request_id="once")
        again = await runs.signal_runs("other", 1, workflow="waiting", request_id="once")
        reused = await runs.signal_runs("other", 2, workflow="waiting", request_id="once")

        assert again == first
        assert [run.reason for run in reused.runs] == ["REQUEST_ID_REUSED"] * 2
        for run_id in ("a", "b"):
            assert [event.type for event in await runs.events(run_id)].count("signal_received") == 1


async def test_failed_runs_are_resumed_together(through: Through) -> None:
    """Those that can be; a completed one among them says why not, and one that somebody runs is left alone."""
    flaky = Flaky()
    async with through(Harness().kernel(*FLOWS, flaky.workflow)) as runs:
        for run_id in ("f1", "f2"):
            with pytest.raises(RunFailed):
                await runs.run("flaky", run_id=run_id)
        await runs.start("stuck", run_id="live")
        flaky.broken = False
        resumed = await runs.resume_runs(id_prefix="f")
        for run_id in ("f1", "f2"):
            await runs.result(run_id)
        done = await runs.resume_runs(statuses=["completed", "running"])

        assert [(run.run_id, run.status) for run in resumed.runs] == [("f2", "failed"), ("f1", "failed")]
        assert [(run.run_id, run.reason) for run in done.runs] == [
            ("f2", "RUN_NOT_RESUMABLE"),
            ("f1", "RUN_NOT_RESUMABLE"),
        ]
        cancelled = await runs.cancel_runs("enough", workflow="stuck")
        assert [run.run_id for run in cancelled.runs] == ["live"]
        assert (await runs.wait("live")).cancel_reason == "enough"


# -- one life of a run ---------------------------------------------------------------------------------------------


async def test_a_delete_of_one_life_leaves_the_next_one_alone(through: Through) -> None:
    """Whoever repeats it after a lost answer forgets no other run."""
    async with through(Harness().kernel(*FLOWS)) as runs:
        await runs.run("doubling", run_id="r")
        uid = (await runs.summary("r")).uid
        await runs.delete("r", uid=uid)
        await runs.run("doubling", run_id="r")
        with pytest.raises(RunReplacedError):
            await runs.delete("r", uid=uid)

        assert (await runs.summary("r")).uid != uid
