"""Workflows that the tests of several chapters run."""

from __future__ import annotations

from typing import Any

import anyio

from flujo.kernel import Context, step, workflow
from kernel.harness import Counter


@step
async def double(number: int) -> int:
    return 2 * number


@workflow(version="1")
async def doubling(ctx: Context, number: int = 1) -> int:
    return await ctx.step(double, number)


@workflow()
async def waiting(ctx: Context) -> Any:
    return await ctx.wait_signal("go")


@workflow()
async def stuck(ctx: Context) -> None:
    await ctx.step(anyio.sleep_forever, name="endless")


class Flaky:
    """A workflow of three steps whose second one fails until it is mended."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.broken = True

        async def middle() -> int:
            self.counter.count("middle")
            if self.broken:
                raise ValueError("broken")
            return 2

        @workflow(name="flaky")
        async def program(ctx: Context, extra: int = 0) -> Any:
            first = await ctx.step(self.counter.body("first"), name="first")
            second = await ctx.step(middle)
            third = await ctx.step(self.counter.body("third"), name="third")
            return [first, second, third, extra]

        self.workflow = program
