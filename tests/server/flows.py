"""Workflows that the tests of client and server run."""

from __future__ import annotations

from typing import Any

import anyio
from pydantic import BaseModel

from flujo.kernel import Context, Workflow, step, workflow
from flujo.workflows import load_workflow_text
from kernel.harness import Counter


@step
async def double(number: int) -> int:
    return 2 * number


@workflow(version="1")
async def doubling(ctx: Context, number: int = 1) -> int:
    return await ctx.step(double, number)


@workflow()
async def echoing(ctx: Context, value: Any = None) -> Any:
    async def give() -> Any:
        return value

    return await ctx.step(give, name="give")


@workflow()
async def waiting(ctx: Context) -> Any:
    return await ctx.wait_signal("go")


class Order(BaseModel):
    number: int


@workflow()
async def choosy(ctx: Context) -> Any:
    return (await ctx.wait_signal("go", type=Order)).number


@workflow()
async def forgotten(ctx: Context) -> Any:
    return await ctx.wait_signal("go")


@workflow()
async def stuck(ctx: Context) -> None:
    await ctx.step(anyio.sleep_forever, name="endless")


@workflow()
async def writing(ctx: Context, size: int, times: int = 1) -> str:
    """A run with large outputs."""

    async def write() -> str:
        return "é" * (size // 2)

    for _ in range(times):
        last = await ctx.step(write, name="write")
    return last


@workflow()
async def mapping(ctx: Context, count: int) -> int:
    """A run with many steps."""
    return sum(await ctx.map(double, range(count)))


class Flaky:
    """A workflow of three steps whose second one fails until it is mended."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.broken = True

        async def middle() -> int:
            self.counter.count("middle")
            if self.broken:
                raise ConnectionError("no route to café")
            return 2

        @workflow(name="flaky")
        async def program(ctx: Context, extra: int = 0) -> Any:
            first = await ctx.step(self.counter.body("first"), name="first")
            second = await ctx.step(middle)
            third = await ctx.step(self.counter.body("third"), name="third")
            return [first, second, third, extra]

        self.workflow = program


STEPS = """
name: letters
steps:
  - name: a
    task: echo
    inputs: {message: one}
  - name: b
    task: %s
outputs: {last: "{{ steps.b.result }}"}
"""


def letters(second: str, first: str = "one") -> Workflow:
    """A definition of two steps: `a`, and `b` with this task."""
    return load_workflow_text((STEPS % second).replace("one", first), "letters.yaml")


WORKS = "echo\n    inputs: {message: two}"
FAILS = "fail\n    inputs: {message: no}"
WAITS = "wait_signal"
