"""What can be asked about runs without owning any."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import Context, RunFailed, workflow
from kernel.flows import Flaky, doubling, waiting
from kernel.harness import Harness, until


async def test_runs_are_listed_deleted_and_pruned() -> None:
    """A list shows the newest first by filter; delete forgets one run, prune the old final ones."""
    harness = Harness()
    flaky = Flaky()

    async with harness.kernel(doubling, flaky.workflow, waiting) as kernel:
        await kernel.run(doubling, run_id="old", labels={"team": "a"})
        harness.clock.advance(3600)
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


async def test_earlier_runs_tell_how_long_a_run_will_take() -> None:
    """Where a program decides as it goes, the time that the last completed runs took stands in for its share."""
    harness = Harness()

    @workflow()
    async def slow(ctx: Context) -> None:
        await ctx.sleep(100)

    async with harness.kernel(slow) as kernel:
        await kernel.start(slow, run_id="first")
        await until(kernel, "first", "step_waiting")
        assert (await kernel.inspect("first")).progress["eta_seconds"] is None
        harness.clock.advance(100)
        await kernel.wait("first")

        await kernel.start(slow, run_id="second")
        await until(kernel, "second", "step_waiting")
        assert (await kernel.inspect("second")).progress["eta_seconds"] == 100
