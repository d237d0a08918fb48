"""Functions as steps and workflows: kinds of bodies, their arguments and what they return."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from flujo.kernel import Context, RunFailed, step, workflow
from flujo.kernel.errors import DeclarationError
from kernel.execution.steps import one_step, outcome
from kernel.harness import Harness, crash, until


async def test_a_plain_function_cannot_have_a_timeout() -> None:
    """Nothing can stop a thread, so a timeout is refused when the step is declared, and when it is called."""

    def blocking() -> None: ...

    with pytest.raises(DeclarationError, match="plain def"):
        step(timeout=1)(blocking)
    with pytest.raises(RunFailed, match="plain def"):
        await outcome(one_step(blocking, timeout=1))


class Order(BaseModel):
    name: str
    prices: tuple[float, ...]


async def test_pydantic_models_go_in_and_out() -> None:
    """A model is what the inputs and the return annotation say, live and on replay."""
    harness = Harness()

    async def price(name: str) -> Order:
        return Order(name=name, prices=(3, 4.5))

    @workflow()
    async def shop(ctx: Context, order: Order) -> Order:
        priced = await ctx.step(price, order.name)
        assert isinstance(priced, Order)
        assert isinstance(priced.prices[0], float)
        await ctx.wait_signal("pay")
        return priced

    async with harness.kernel(shop) as kernel:
        await kernel.start(shop, {"name": "tea", "prices": []}, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(shop) as kernel:
        await kernel.signal("r", "pay")
        output = await kernel.result("r")

    assert output == {"name": "tea", "prices": [3.0, 4.5]}


async def test_a_program_receives_what_is_recorded_the_first_time_too() -> None:
    """What a step returned later changes, or is a tuple, the program sees as it would on replay."""

    async def pair() -> Any:
        return (1, {"a": (2,)})

    @workflow()
    async def program(ctx: Context) -> None:
        assert await ctx.step(pair) == [1, {"a": [2]}]

    await outcome(program)
