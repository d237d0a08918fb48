"""The workflows a kernel knows, and what becomes of runs of others."""

from __future__ import annotations

import pytest

from flujo.kernel import Context, workflow
from flujo.kernel.errors import DeclarationError
from kernel.flows import doubling, waiting
from kernel.harness import Stage, crash


async def test_a_run_whose_workflow_is_not_registered_waits_for_it() -> None:
    """A kernel without the workflow leaves the run alone, and one that has it goes on with it."""
    stage = Stage()
    async with stage.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        crash(kernel)
    before = stage.summary("r")

    async with stage.kernel(doubling):
        unchanged = stage.summary("r")
    async with stage.kernel(waiting) as kernel:
        await kernel.signal("r", "go", 1)
        output = await kernel.result("r")

    assert unchanged == before
    assert output == 1


async def test_two_programs_of_one_name_are_refused() -> None:
    """A kernel that has a workflow refuses another program under its name: a stored run could not tell them apart."""

    @workflow(name="same")
    async def first(ctx: Context) -> int:
        return 1

    @workflow(name="same")
    async def second(ctx: Context) -> int:
        return 2

    async with Stage().kernel(first) as kernel:
        with pytest.raises(DeclarationError, match="another workflow called 'same'"):
            await kernel.start(second)

        assert await kernel.run(first) == 1
