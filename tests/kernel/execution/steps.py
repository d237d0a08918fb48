"""Workflows of one step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from flujo.kernel import (
    Context,
    Kernel,
    Workflow,
    workflow,
)
from kernel.harness import Harness, JumpingClock, ManualClock, crash, until


def one_step(function: Any, *args: Any, **options: Any) -> Workflow:
    """A workflow that performs one step, called `it`, and returns its output."""

    @workflow(name="one_step")
    async def program(ctx: Context) -> Any:
        return await ctx.step(function, *args, name="it", **options)

    return program


async def outcome(flow: Workflow, clock: ManualClock | None = None) -> Any:
    """Run a workflow on a store and a clock of its own; returns its output, raises RunFailed."""
    async with Harness(clock or JumpingClock()).kernel(flow) as kernel:
        return await kernel.run(flow, run_id="r")


@asynccontextmanager
async def crashed(harness: Harness, flow: Workflow, type: str, step: str | None = None) -> AsyncIterator[Kernel]:
    """Start the run `r`, crash its kernel once an event of this type is durable, and hand out its successor."""
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", type, step)
        crash(kernel)
    async with harness.kernel(flow) as successor:
        yield successor
