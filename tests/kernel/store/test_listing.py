"""The runs of a store by their summaries: the answers of an observer, without one."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import Observer
from flujo.kernel.backend import RunLists
from flujo.kernel.errors import InvalidNameError
from kernel.flows import doubling
from kernel.harness import Harness


@pytest.mark.parametrize(
    "wanted",
    [{}, {"statuses": ["completed"]}, {"id_prefix": "run-1"}, {"workflow": "nothing"}],
    ids=lambda wanted: " ".join(wanted) or "all",
)
async def test_lists_are_those_of_an_observer(wanted: Any) -> None:
    """Page by page, in the same order, and counted alike."""
    harness = Harness()
    async with harness.kernel(doubling) as kernel:
        for number in range(3):
            await kernel.run(doubling, {"number": number}, run_id=f"run-{number}")
    async with harness.backend() as store:
        lists, observer = RunLists(store), Observer(store)
        first = await lists.list(limit=2, **wanted)

        assert first == await observer.list(limit=2, **wanted)
        assert await lists.count(**wanted) == await observer.count(**wanted)
        if first.next is not None:
            assert (await lists.list(limit=2, page=first.next, **wanted)).runs == (
                await observer.list(limit=2, page=first.next, **wanted)
            ).runs


async def test_a_limit_below_one_is_refused() -> None:
    """As everywhere."""
    with pytest.raises(InvalidNameError):
        await RunLists(Harness().backend()).list(limit=0)
