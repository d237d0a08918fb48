"""Deleting a run: with all it has started, and nothing of it while a live process runs one of them."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import Context, workflow
from flujo.kernel.errors import RunActiveError, RunNotFoundError
from kernel.flows import waiting
from kernel.harness import Harness, crash, recorded


@workflow()
async def parent(ctx: Context) -> Any:
    return await ctx.run_child(waiting)


async def test_a_family_of_which_a_member_is_at_work_stays_unless_it_is_forced() -> None:
    """Without force nothing goes; with it, the members are cancelled first and go together."""
    harness = Harness()
    async with harness.kernel(parent, waiting) as kernel:
        await kernel.start(parent, run_id="r")
        await recorded(harness, "r.waiting", "step_waiting")
        with pytest.raises(RunActiveError):
            await kernel.delete("r")
        assert set(harness.store.runs) == {"r", "r.waiting"}

        await kernel.delete("r", force=True)

        assert harness.store.runs == {}
        with pytest.raises(RunNotFoundError):
            await kernel.delete("r")


async def test_children_that_wait_without_an_owner_go_with_their_parent() -> None:
    """No child does its work later for a parent that is not there any more."""
    harness = Harness()
    async with harness.kernel(parent, waiting) as kernel:
        await kernel.start(parent, run_id="r")
        await recorded(harness, "r.waiting", "step_waiting")
        crash(kernel)
    async with harness.kernel(recover=False) as other:
        await other.delete("r")

    assert harness.store.runs == {}
