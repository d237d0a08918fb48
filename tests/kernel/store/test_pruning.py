"""Forgetting settled runs: which are selected, what is refused, and what the answer counts."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import Context, RunFailed, RunFilter, workflow
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import InvalidNameError
from flujo.kernel.store.pruning import Selection
from kernel.flows import doubling, waiting
from kernel.harness import START, Harness, until

FINAL = ("completed", "failed", "cancelled")


@pytest.mark.parametrize(
    ("selection", "filter"),
    [
        ({"older_than_seconds": 0}, RunFilter(statuses=FINAL, settled_before=START + 1)),
        ({"older_than_seconds": "1h"}, RunFilter(statuses=FINAL, settled_before=START + 1 - 3600 * MICROSECONDS)),
        ({"statuses": ["paused", "failed", "paused"]}, RunFilter(statuses=("paused", "failed"))),
        ({"workflow": "w"}, RunFilter(statuses=FINAL, workflow="w")),
        ({"labels": {"b": "2", "a": "1"}}, RunFilter(statuses=FINAL, labels=(("a", "1"), ("b", "2")))),
        ({"id_prefix": "r"}, RunFilter(statuses=FINAL, id_prefix="r")),
        ({"keep_last": 1}, RunFilter(statuses=FINAL)),
    ],
    ids=lambda part: next(iter(part), "") if isinstance(part, dict) else "",
)
def test_any_one_part_selects(selection: dict[str, Any], filter: RunFilter) -> None:
    """An age of 0 and one run to keep are parts as well, and what is exactly that old goes.
    Without statuses the final ones are meant."""
    found = Selection(**selection).filter(START)

    assert found._replace(statuses=()) == filter._replace(statuses=())
    assert sorted(found.statuses) == sorted(filter.statuses)


@pytest.mark.parametrize(
    ("selection", "what"),
    [
        ({}, "choice of runs"),
        ({"labels": {}}, "choice of runs"),
        ({"id_prefix": ""}, "id_prefix"),
        ({"workflow": "", "statuses": ["failed"]}, "workflow"),
        ({"keep_last": 0}, "keep_last"),
        ({"statuses": ["running"]}, "status to prune by"),
        ({"statuses": ["gone"]}, "run status"),
    ],
)
def test_a_prune_of_everything_or_of_live_runs_is_refused(selection: dict[str, Any], what: str) -> None:
    """By the name of the part, before a store is asked."""
    with pytest.raises(InvalidNameError) as refused:
        Selection(**selection)

    assert refused.value.what == what


@workflow()
async def failing(ctx: Context) -> None:
    raise ValueError("no")


async def test_what_goes_and_what_stays_is_counted() -> None:
    """Final runs of the age go, paused and live ones of that age are counted as kept, newer ones not at all. A dry run
    answers the same and forgets nothing."""
    harness = Harness()
    async with harness.kernel(doubling, waiting, failing) as kernel:
        await kernel.run(doubling, run_id="completed")
        with pytest.raises(RunFailed):
            await kernel.run(failing, run_id="failed")
        for run_id in ("paused", "live"):
            await kernel.start(waiting, run_id=run_id)
            await until(kernel, run_id, "step_waiting")
        await kernel.pause("paused")
        await kernel.wait("paused")
        harness.clock.advance(3600)
        await kernel.run(doubling, run_id="new")

        preview = await kernel.prune(older_than_seconds=60, dry_run=True)
        assert sorted(harness.store.runs) == ["completed", "failed", "live", "new", "paused"]
        pruned = await kernel.prune(older_than_seconds=60)

    assert [run.run_id for run in pruned.runs] == ["completed", "failed"]
    assert (pruned.total, pruned.kept_paused, pruned.kept_live, pruned.more) == (2, 1, 1, False)
    assert pruned.bytes > 0
    assert preview == pruned
    assert sorted(harness.store.runs) == ["live", "new", "paused"]


async def test_a_prune_ends_after_its_limit_and_says_that_there_is_more() -> None:
    """A repeat goes on with the rest."""
    harness = Harness()
    async with harness.kernel(doubling) as kernel:
        for number in range(3):
            await kernel.run(doubling, run_id=f"r{number}")
            harness.clock.advance(1)
        first = await kernel.prune(older_than_seconds=0, limit=2)
        rest = await kernel.prune(older_than_seconds=0, limit=2)

    assert ([run.run_id for run in first.runs], first.more) == (["r0", "r1"], True)
    assert ([run.run_id for run in rest.runs], rest.more) == (["r2"], False)
