"""Starting runs: what a start takes, and what it comes to."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel.errors import InvalidNameError, RunExistsError
from kernel.flows import doubling, waiting
from kernel.harness import Harness


async def test_a_keyword_that_does_not_exist_is_refused() -> None:
    """A slip such as `runid=` must not start a run under another id."""
    wrong: Any = {"runid": "r"}
    async with Harness().kernel(doubling) as kernel:
        with pytest.raises(InvalidNameError, match=r"'runid' .* did you mean 'run_id'"):
            await kernel.start(doubling, **wrong)
        assert await kernel.count() == 0


async def test_a_start_of_a_run_that_is_there_attaches_to_it() -> None:
    """With the same workflow and inputs; with others it is refused, and the run stays as it is."""
    async with Harness().kernel(doubling, waiting) as kernel:
        first = await kernel.start(doubling, {"number": 2}, run_id="r")
        again = await kernel.start(doubling, {"number": 2}, run_id="r")

        assert (first.created, again.created) == (True, False)
        with pytest.raises(RunExistsError):
            await kernel.start(doubling, {"number": 3}, run_id="r")
        with pytest.raises(RunExistsError):
            await kernel.start(waiting, run_id="r")
        assert await again.result() == 4
