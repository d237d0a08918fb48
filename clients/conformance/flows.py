"""The workflows that the server under test knows."""

from __future__ import annotations

from typing import Any

import anyio

from flujo.kernel import Context, RetryPolicy, Workflow, step, workflow
from flujo.workflows import load_workflow_text


@step
async def note(number: int) -> int:
    return number


@workflow()
async def echoing(ctx: Context, value: Any = None) -> Any:
    """Returns what it is given."""

    async def give() -> Any:
        return value

    return await ctx.step(give, name="give")


@workflow()
async def gated(ctx: Context, steps: int = 3) -> Any:
    """Some steps, a wait for the signal `go`, some more steps. Returns what came with the signal."""
    for number in range(steps):
        await ctx.step(note, number, name=f"before-{number}")
    answer = await ctx.wait_signal("go")
    for number in range(steps):
        await ctx.step(note, number, name=f"after-{number}")
    return answer


@workflow()
async def fragile(ctx: Context, works: bool = False) -> str:
    """Fails in its second step, unless it is told to work."""

    async def second() -> str:
        if not works:
            raise ConnectionError("no route to café")
        return "done"

    await ctx.step(note, 1, name="first")
    return await ctx.step(second, name="second", retry=RetryPolicy(max_attempts=1))


@workflow()
async def writing(ctx: Context, size: int) -> str:
    """Returns a text of so many bytes, which no step needs more than two for."""

    async def write() -> str:
        return "é" * (size // 2)

    return await ctx.step(write, name="write")


@workflow()
async def mapping(ctx: Context, count: int) -> int:
    """A run with many events."""
    return sum(await ctx.map(note, range(count), limit=50))


@workflow()
async def stuck(ctx: Context) -> None:
    """Never ends by itself."""
    await ctx.step(anyio.sleep_forever, name="endless")


@workflow()
async def lasting(ctx: Context, seconds: float = 3.0) -> str:
    """Ten steps that take a while, for a bar to fill."""
    for number in range(10):
        await ctx.step(anyio.sleep, seconds / 10, name=f"part-{number}")
    return "all done"


parted = load_workflow_text(
    """
name: parted
steps:
  - {name: one, task: echo, inputs: {message: "1"}}
  - {name: two, task: echo, inputs: {message: "2"}}
  - {name: three, task: echo, inputs: {message: "3"}}
  - {name: four, task: echo, inputs: {message: "4"}}
flows:
  default: short
  definitions:
    - short: [one]
    - long: [one, two, three]
""",
    "parted.yaml",
)
"""A workflow of which parts are performed."""


WORKFLOWS: tuple[Workflow, ...] = (echoing, gated, fragile, writing, mapping, stuck, lasting, parted)
