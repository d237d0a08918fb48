"""What runs add up to."""

from __future__ import annotations

from typing import Any

from flujo.kernel.backend import StateBackend, WorkflowStats

from .harness import Harness, behaviour
from .values import create, creation, following, settled


def took(run_id: str, micros: int, at: int = 10_000, **fields: Any) -> Any:
    """Return a run that completed at an instant and took so long."""
    return settled(run_id, at, **{"started_at": at - micros} | fields)


async def of_one(handle: StateBackend, since: int, workflow: str = "report") -> WorkflowStats:
    """Return the figures of one workflow."""
    (stats,) = await handle.stats(since, workflow=workflow)
    assert stats.workflow == workflow
    return stats


@behaviour
async def figures_come_by_workflow(harness: Harness) -> None:
    """Every workflow that has a run has its figures, in the order of their names as code points."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{n}", workflow=name) for n, name in enumerate(["b", "a", "B", "ü", "a"])))

    assert [(each.workflow, dict(each.runs)) for each in await one.stats(0)] == [
        ("B", {"running": 1}),
        ("a", {"running": 2}),
        ("b", {"running": 1}),
        ("ü", {"running": 1}),
    ]


@behaviour
async def figures_of_one_workflow_are_those_of_all(harness: Harness) -> None:
    """Asked about one workflow the answer is its part of the whole; of one without runs there is none."""
    one = await harness.open("one")
    await create(one, *(took(f"run{n}", n, workflow="ab"[n % 2]) for n in range(6)))
    every = await one.stats(0)

    assert len(every) == 2
    for each in every:
        assert list(await one.stats(0, workflow=each.workflow)) == [each]
    assert list(await one.stats(0, workflow="c")) == []


@behaviour
async def runs_are_counted_by_status(harness: Harness) -> None:
    """Stored runs are counted by status, whenever they were created, and statuses without any are left out."""
    one = await harness.open("one")
    statuses = ("running", "running", "waiting", "paused", "completed", "failed", "failed", "failed", "cancelled")
    await create(one, *(creation(f"run{n}", None, status=status) for n, status in enumerate(statuses)))
    for since in (0, 2**62):
        assert dict((await of_one(one, since)).runs) == {
            "running": 2,
            "waiting": 1,
            "paused": 1,
            "completed": 1,
            "failed": 3,
            "cancelled": 1,
        }


@behaviour
async def created_runs_are_counted_since_an_instant(harness: Harness) -> None:
    """A run that was created at the instant itself counts, one of a microsecond before does not."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{at}", created_at=at) for at in (10, 20, 30)))

    assert [(await of_one(one, since)).created for since in (0, 10, 11, 20, 30, 31)] == [3, 3, 2, 2, 1, 0]


@behaviour
async def ended_runs_are_counted_since_an_instant(harness: Harness) -> None:
    """Runs that became final are counted by status, from the instant itself on; paused and open ones are none of
    them."""
    one = await harness.open("one")
    await create(
        one,
        settled("a", 10),
        settled("b", 20),
        settled("c", 20, status="failed"),
        settled("d", 30, status="cancelled"),
        creation("e", None, status="paused", updated_at=30),
        creation("f", None, status="running", finished_at=30),
    )

    assert dict((await of_one(one, 0)).ended) == {"completed": 2, "failed": 1, "cancelled": 1}
    assert dict((await of_one(one, 20)).ended) == {"completed": 1, "failed": 1, "cancelled": 1}
    assert dict((await of_one(one, 21)).ended) == {"cancelled": 1}
    assert dict((await of_one(one, 31)).ended) == {}


@behaviour
async def retried_runs_are_counted_once(harness: Harness) -> None:
    """Of the runs that ended since, those that tried a step again are counted, however often they did."""
    one = await harness.open("one")
    await create(
        one,
        settled("a", 20, retries=1),
        settled("b", 20, retries=7, status="failed"),
        settled("c", 20),
        settled("d", 10, retries=3),
        creation("e", retries=5),
    )

    assert (await of_one(one, 20)).retried == 2
    assert (await of_one(one, 0)).retried == 3


@behaviour
async def failing_steps_come_most_first(harness: Harness) -> None:
    """The steps that failed runs name are counted, the most failing first and equal ones by name."""
    one = await harness.open("one")
    steps = ["load", "fetch", "fetch", "send", "load", "fetch", "a", None]
    await create(
        one,
        *(settled(f"run{n}", 20, status="failed", failed_step=step) for n, step in enumerate(steps)),
        settled("early", 10, status="failed", failed_step="send"),
        settled("handled", 20, status="completed", failed_step="send"),
        settled("stopped", 20, status="cancelled", failed_step="send"),
    )

    assert list((await of_one(one, 20)).failed_steps.items()) == [("fetch", 3), ("load", 2), ("a", 1), ("send", 1)]
    assert list((await of_one(one, 0)).failed_steps.items()) == [("fetch", 3), ("load", 2), ("send", 2), ("a", 1)]


@behaviour
async def nothing_completed_takes_no_time(harness: Harness) -> None:
    """Without a run that completed since, there are no durations, whatever else ended."""
    one = await harness.open("one")
    await create(one, took("a", 5, at=10), took("b", 7, at=50, status="failed"), creation("c", started_at=1))
    stats = await of_one(one, 20)

    assert (stats.p50, stats.p95, stats.longest) == (None, None, None)


@behaviour
async def one_run_is_every_percentile(harness: Harness) -> None:
    """Of a single run all three durations are what it took."""
    one = await harness.open("one")
    await create(one, took("a", 321))
    stats = await of_one(one, 0)

    assert (stats.p50, stats.p95, stats.longest) == (321, 321, 321)


@behaviour
async def percentiles_are_durations_that_occurred(harness: Harness) -> None:
    """Half of the runs took at most p50, 95 of 100 at most p95, and each is what one of them took, the least that
    will do."""
    one = await harness.open("one")
    expected = {2: (1, 2, 2), 3: (2, 3, 3), 19: (10, 19, 19), 20: (10, 19, 20), 21: (11, 20, 21), 100: (50, 95, 100)}
    for number in expected:
        order = sorted(range(1, number + 1), key=lambda micros: micros * 37 % 101)
        await create(one, *(took(f"of{number}-{micros}", micros, workflow=f"of{number}") for micros in order))

    for number, durations in expected.items():
        stats = await of_one(one, 0, f"of{number}")
        assert (stats.p50, stats.p95, stats.longest) == durations


@behaviour
async def only_completed_runs_take_time(harness: Harness) -> None:
    """Durations are those of the completed runs that ended since: failed, cancelled and earlier ones do not count."""
    one = await harness.open("one")
    await create(
        one,
        took("a", 10),
        took("b", 20),
        took("c", 5_000, status="failed"),
        took("d", 6_000, status="cancelled"),
        took("e", 700, at=800),
    )
    stats = await of_one(one, 1_000)

    assert (stats.p50, stats.p95, stats.longest) == (10, 20, 20)


@behaviour
async def a_run_takes_time_from_its_start(harness: Harness) -> None:
    """A duration counts from the start, and where there is none from the creation."""
    one = await harness.open("one")
    await create(
        one,
        settled("a", 900, created_at=100, started_at=400, workflow="started"),
        settled("b", 900, created_at=100, started_at=None, workflow="created"),
    )

    assert (await of_one(one, 0, "started")).longest == 500
    assert (await of_one(one, 0, "created")).longest == 800


@behaviour
async def equal_durations_are_counted_each(harness: Harness) -> None:
    """Runs that took equally long all count."""
    one = await harness.open("one")
    await create(one, *(took(f"run{n}", 5 if n < 9 else 900) for n in range(10)))
    stats = await of_one(one, 0)

    assert (stats.p50, stats.p95, stats.longest) == (5, 900, 900)


@behaviour
async def figures_follow_every_commit(harness: Harness) -> None:
    """What a commit changes and what a delete takes away shows in the next figures, of any handle."""
    one = await harness.open("one")
    reader = await harness.open(None)
    (summary,) = await create(one, creation("a", started_at=1_000))
    before = await of_one(reader, 0)
    done = following(summary, owner=None, status="completed", finished_at=1_750, retries=1).summary
    await one.append([following(summary, owner=None, status="completed", finished_at=1_750, retries=1)])
    after = await of_one(reader, 0)

    assert (dict(before.runs), dict(before.ended), before.longest) == ({"running": 1}, {}, None)
    assert (dict(after.runs), dict(after.ended)) == ({"completed": 1}, {"completed": 1})
    assert (after.retried, after.longest) == (1, 750)
    await one.delete("a", done.uid)
    assert list(await reader.stats(0)) == []
