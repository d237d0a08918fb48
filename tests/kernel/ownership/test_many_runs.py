"""Asking the same of many runs: which ones, page by page, and what became of each."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import Kernel
from flujo.kernel.errors import CorruptStoreError, InvalidNameError, RunNotFoundError, StoreError
from flujo.kernel.ownership.many_runs import CANCELLABLE, Bulk, act_on_runs
from kernel.flows import waiting
from kernel.harness import Harness, until


async def started(kernel: Kernel, count: int) -> list[str]:
    """So many runs that wait, the newest first."""
    for number in range(count):
        await kernel.start(waiting, run_id=f"r{number:03}")
        await until(kernel, f"r{number:03}", "step_waiting")
    return [f"r{number:03}" for number in reversed(range(count))]


async def test_pages_go_on_behind_what_was_acted_on() -> None:
    """However many match no more afterwards: each run is asked once, and none is left out."""
    async with Harness().kernel(waiting) as kernel:
        names = await started(kernel, 7)
        found: list[str] = []
        page = None
        while True:
            result = await kernel.cancel_runs("enough", workflow="waiting", limit=3, page=page)
            found += [run.run_id for run in result.runs]
            assert len(result.runs) <= 3
            if (page := result.next) is None:
                break

        assert found == names
        for name in names:
            assert (await kernel.wait(name)).cancel_reason == "enough"


async def test_what_is_refused_to_one_run_keeps_no_other_from_it() -> None:
    """It is told with the reason that the call for one run gives."""
    async with Harness().kernel(waiting) as kernel:
        names = await started(kernel, 3)

        async def act(run_id: str) -> Any:
            if run_id == "r001":
                raise RunNotFoundError(run_id, "memory:")
            if run_id == "r002":
                raise CorruptStoreError(run_id, "it is torn")

        result = await act_on_runs(kernel, CANCELLABLE, Bulk.of(workflow="waiting"), act)

    assert [run.run_id for run in result.runs] == names
    assert [run.reason for run in result.runs] == ["STORE_CORRUPT", "RUN_NOT_FOUND", None]
    assert [bool(run.message) for run in result.runs] == [True, True, False]


async def test_a_store_that_fails_ends_the_call() -> None:
    """It would fail for all of them, and nobody knows what has happened."""
    async with Harness().kernel(waiting) as kernel:
        await started(kernel, 2)

        async def act(run_id: str) -> Any:
            raise StoreError("memory:", "the disk is on fire")

        with pytest.raises(StoreError, match="on fire"):
            await act_on_runs(kernel, CANCELLABLE, Bulk.of(workflow="waiting"), act)


async def test_it_ends_with_a_page_when_the_time_is_up() -> None:
    """After those that were begun; the rest is for the next call."""
    async with Harness().kernel(waiting) as kernel:
        await started(kernel, 60)

        result = await act_on_runs(kernel, CANCELLABLE, Bulk.of(workflow="waiting"), kernel.summary, lambda: True)
        rest = await act_on_runs(kernel, CANCELLABLE, Bulk.of(workflow="waiting", page=result.next), kernel.summary)

    assert (len(result.runs), len(rest.runs), rest.next) == (50, 10, None)


async def test_nobody_acts_on_every_run_by_leaving_the_choice_out() -> None:
    """Nor on runs to which nothing can be done."""
    async with Harness().kernel(waiting) as kernel:
        with pytest.raises(InvalidNameError, match="choice of runs"):
            await kernel.cancel_runs()
        with pytest.raises(InvalidNameError, match="choice of runs"):
            await kernel.cancel_runs(labels={})
        with pytest.raises(InvalidNameError, match="workflow"):
            await kernel.cancel_runs(workflow="", statuses=["waiting"])
        with pytest.raises(InvalidNameError, match="completed"):
            await kernel.cancel_runs(statuses=["completed"])
