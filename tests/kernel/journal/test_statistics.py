"""What runs add up to: pure decisions, in tables."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Kernel, StepDurations, Workflow, WorkflowState, step, workflow
from flujo.kernel.backend import RunSummary, WorkflowStats
from flujo.kernel.journal.statistics import (
    SAMPLED_EVENTS,
    SHOWN_STEPS,
    general_name,
    sample,
    sampled_runs,
    step_durations,
    workflow_statistics,
)
from flujo.kernel.state import StepState, StepStatus
from kernel.harness import Harness

STATS = WorkflowStats(
    workflow="job",
    runs={"completed": 7, "running": 1},
    created=5,
    ended={"completed": 3, "failed": 1},
    retried=2,
    failed_steps={f"step{number}": 20 - number for number in range(12)},
    p50=1_500_000,
    p95=2_000_001,
    longest=3_000_000,
)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("fetch", "fetch"),
        ("fetch#2", "fetch"),
        ("resize[17]", "resize[*]"),
        ("resize[a:b]#3", "resize[*]"),
        ("gather[0]/fetch#12", "gather[*]/fetch"),
        ("a/b[1]/c#2/d", "a/b[*]/c/d"),
    ],
)
def test_repeats_and_items_are_one_step(key: str, name: str) -> None:
    """Each has a key of its own in a run, and all of them one name for people."""
    assert general_name(key) == name


@pytest.mark.parametrize(("workflows", "runs"), [(0, 200), (1, 200), (5, 200), (10, 100), (999, 1), (5000, 1)])
def test_what_is_read_for_an_answer_is_bounded(workflows: int, runs: int) -> None:
    """However many workflows there are, each is told by one run at least."""
    assert sampled_runs(workflows) == runs


def summary(seq: int) -> RunSummary:
    """A run with so many events."""
    nothing = dict.fromkeys(RunSummary._fields)
    return RunSummary(**{**nothing, "run_id": f"r{seq}", "seq": seq})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lengths", "chosen"),
    [
        ([], []),
        ([5, 6, 7], [5, 6, 7]),
        ([SAMPLED_EVENTS - 1, 1, 1], [SAMPLED_EVENTS - 1, 1]),
        ([SAMPLED_EVENTS + 7, 1], [SAMPLED_EVENTS + 7]),
        ([1, SAMPLED_EVENTS, 1], [1]),
    ],
)
def test_a_sample_holds_so_many_events(lengths: Sequence[int], chosen: Sequence[int]) -> None:
    """The first runs as far as they fit, and the first one in any case."""
    assert [run.seq for run in sample([summary(length) for length in lengths])] == list(chosen)


def state(*steps: tuple[str, float], kind: str = "task", status: StepStatus = StepStatus.COMPLETED) -> WorkflowState:
    """A run with steps of these names, each at work for so many seconds."""
    made = [StepState(name, kind=kind, status=status, active_micros=round(took * 1e6)) for name, took in steps]
    return WorkflowState(run_id="r", uid="u", steps={each.name: each for each in made})


def test_the_slowest_steps_come_first() -> None:
    """By their median over all runs and repeats; only what a task completed counts."""
    states = [
        state(("fetch", 1.0), ("fetch#2", 3.0), ("resize[0]", 0.5)),
        state(("fetch", 2.0), ("resize[1]", 9.0), ("check", 0.5)),
        state(("wait", 100.0), kind="signal"),
        state(("broken", 100.0), status=StepStatus.FAILED),
    ]

    assert step_durations(states) == [
        StepDurations("resize[*]", 2, 4.75, 9.0, 9.0),
        StepDurations("fetch", 3, 2.0, 3.0, 3.0),
        StepDurations("check", 1, 0.5, 0.5, 0.5),
    ]
    (hundred,) = step_durations([state(("a", float(number))) for number in range(100, 0, -1)])
    assert hundred == StepDurations("a", 100, 50.5, 100.0, 95.0)
    many = step_durations([state(*((f"s{number}", 1.0) for number in range(20)))])
    assert len(many) == SHOWN_STEPS
    assert step_durations([]) == []


def test_counts_become_rates_and_seconds() -> None:
    """Rates are parts of what ended, and the most failing steps come first."""
    told = workflow_statistics(STATS, [StepDurations("a", 1, 1.0, 1.0, 1.0)], 3)

    assert (told.failure_rate, told.retry_rate) == (0.25, 0.5)
    assert (told.p50_seconds, told.p95_seconds, told.longest_seconds) == (1.5, 2.000001, 3.0)
    assert list(told.failing_steps.items())[:2] == [("step0", 20), ("step1", 19)]
    assert len(told.failing_steps) == SHOWN_STEPS
    assert (told.runs, told.created, told.sampled) == ({"completed": 7, "running": 1}, 5, 3)


def test_where_nothing_has_ended_there_are_no_rates() -> None:
    """None is not the same as never."""
    nothing = STATS._replace(ended={}, retried=0, failed_steps={}, p50=None, p95=None, longest=None)

    told = workflow_statistics(nothing, [], 0)

    assert (told.failure_rate, told.retry_rate, told.p50_seconds, told.longest_seconds) == (None, None, None, None)


def timed(harness: Harness) -> Workflow:
    """A workflow whose only step takes as long as its input says."""

    @step
    async def work(seconds: int) -> None:
        harness.clock.advance(seconds)

    @workflow(name="timed")
    async def program(ctx: Context, seconds: int) -> None:
        await ctx.step(work, seconds)

    return program


async def test_the_sample_is_what_completed_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was created last, and nothing from before the window; a run that cannot be read is left out."""
    harness = Harness()
    flow = timed(harness)
    monkeypatch.setattr("flujo.kernel.journal.statistics.SAMPLED_RUNS", 3)
    async with Kernel(InMemoryBackend(harness.store), [flow], clock=harness.clock) as kernel:
        await kernel.run(flow, {"seconds": 500}, run_id="long-ago")
        harness.clock.advance(90_000)
        for seconds in (100, 1, 2, 3):
            await kernel.run(flow, {"seconds": seconds}, run_id=f"r{seconds}")
        told = (await kernel.stats()).workflows[0]
        rows = harness.store.runs["r2"].events
        rows[1] = rows[1]._replace(body="[")
        damaged = (await kernel.stats()).workflows[0]

    assert (told.sampled, told.slowest_steps) == (3, [StepDurations("work", 3, 2.0, 3.0, 3.0)])
    assert (damaged.sampled, damaged.slowest_steps) == (2, [StepDurations("work", 2, 2.0, 3.0, 3.0)])
