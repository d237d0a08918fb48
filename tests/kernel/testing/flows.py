"""Workflows that take months."""

from __future__ import annotations

import pytest

from flujo.kernel import Context, RetryPolicy, current_attempt, step, workflow

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


DAY = 86_400.0


@step(retry=RetryPolicy(max_attempts=3, delay="1h", on_error=["ConnectionError"]))
async def charge(amount: int) -> str:
    if current_attempt().attempt == 1:
        raise ConnectionError("the bank does not answer")
    return f"charged {amount}"


@step
async def remind(text: str) -> str:
    return f"reminded of {text}"


@workflow(name="subscription")
async def subscription(ctx: Context, months: int) -> list[str]:
    done = []
    for month in range(months):
        done.append(await ctx.step(charge, 10 * month))
        await ctx.sleep("30d")
    return [*done, await ctx.step(remind, "the end")]


@workflow(name="approval")
async def approval(ctx: Context) -> str:
    draft = await ctx.step(remind, "a draft")
    answer = await ctx.wait_signal("answer", timeout="7d")
    return f"{draft}: {answer}"
