"""Functions as steps and workflows: kinds of bodies, their arguments and what they return."""

from __future__ import annotations

import gc
from functools import partial, wraps
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from flujo.kernel import Context, Kernel, RunFailed, step, workflow
from flujo.kernel.errors import DeclarationError
from flujo.kernel.programs import plain_options, prepared
from kernel.execution.steps import one_step, outcome
from kernel.harness import Harness, crash, until


async def test_a_plain_function_cannot_have_a_timeout() -> None:
    """Nothing can stop a thread, so a timeout is refused when the step is declared, and when it is called."""

    def blocking() -> None: ...

    with pytest.raises(DeclarationError, match="plain def"):
        step(timeout=1)(blocking)
    with pytest.raises(RunFailed, match="plain def"):
        await outcome(one_step(blocking, timeout=1))


async def test_a_workflow_without_options_is_declared_without_parentheses() -> None:
    """As a step is; its name is that of the function, and what cannot be one is refused on the spot."""

    @workflow
    async def doubling(ctx: Context, n: int) -> int:
        return 2 * n

    async with Harness().kernel() as kernel:
        assert await kernel.run(doubling, {"n": 21}) == 42

    assert doubling.name == "doubling"
    with pytest.raises(DeclarationError, match="must be an async def"):
        workflow(lambda ctx: 1)  # type: ignore[arg-type, return-value]


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


def scaled(factor: int, number: int) -> int:
    """A plain function, to be applied in part."""
    return factor * number


class Shop:
    """Steps as methods, and an object that is called."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @step
    async def price(self, number: int) -> int:
        """A method."""
        return self.factor * number

    async def __call__(self, number: int) -> int:
        return self.factor * number


def asynchronous(function: Any) -> Any:
    """A decorator whose wrapper is async over a plain function."""

    @wraps(function)
    async def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def passing(function: Any) -> Any:
    """A decorator whose wrapper is a plain def over an async function."""

    @wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


async def tripled(number: int) -> int:
    return 3 * number


def trebled(number: int) -> int:
    return 3 * number


@pytest.mark.parametrize(
    "function",
    [
        step(name="scale")(partial(scaled, 3)),
        step(name="lambda")(lambda number: 3 * number),
        Shop(3).price,
        step(name="shop")(Shop(3)),
        asynchronous(trebled),
        passing(tripled),
    ],
    ids=["partial", "lambda", "method", "object", "async over plain", "plain over async"],
)
async def test_whatever_can_be_called_may_be_a_step(function: Any) -> None:
    """With a name: partial applications, lambdas, methods, objects and decorated functions."""
    assert await outcome(one_step(function, 2)) == 6


@pytest.mark.parametrize("function", [partial(scaled, 3), partial(tripled), lambda number: 3 * number, Shop(3)])
async def test_a_call_may_give_the_name(function: Any) -> None:
    """Which is what then names the step, also of a map."""

    @workflow()
    async def program(ctx: Context) -> list[int]:
        return [await ctx.step(function, 2, name="named"), *await ctx.map(function, [1, 2], name="mapped")]

    async with Harness().kernel(program) as kernel:
        assert await kernel.run(program, run_id="r") == [6, 3, 6]
        assert list((await kernel.inspect("r")).steps) == ["named", "mapped[0]", "mapped[1]"]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (partial(scaled, 3), "an object of partial has no name of its own"),
        (lambda: 1, "a lambda has no name of its own"),
        (staticmethod(scaled), "step 'scaled' is a method of a class"),
        (5, "int cannot be called"),
        ("fetch", "str cannot be called"),
    ],
)
def test_what_is_no_function_with_a_name_is_refused_as_a_step(function: Any, says: str) -> None:
    """With what to write instead."""
    with pytest.raises(DeclarationError, match=says) as refused:
        step(function)
    assert refused.value.hints


def test_a_workflow_and_the_result_of_a_call_are_no_steps() -> None:
    """Each is told what was probably meant; nothing warns of the call besides."""

    @workflow()
    async def program(ctx: Context) -> None: ...

    with pytest.raises(DeclarationError, match="workflow 'program' is no step") as refused:
        step(program)  # type: ignore[call-overload]
    assert "ctx.run_child" in refused.value.hints[0]
    with pytest.raises(DeclarationError, match=r"was called already: tripled\(…\)") as refused:
        step(tripled(3))  # type: ignore[call-overload]
    assert "ctx.step(f, x)" in refused.value.hints[0]


async def failure(kernel: Kernel, workflow: Any) -> str:
    """How a run fails, once nothing of it is left in memory."""
    with pytest.raises(RunFailed) as failed:
        await kernel.run(workflow)
    said = str(failed.value)
    del failed
    gc.collect()
    return said


@pytest.mark.parametrize("kind", ["generator", "async_generator", "map"])
async def test_what_would_only_yield_is_told_to_be_made_a_list(kind: str) -> None:
    """A step that is a generator function, or returns something lazy, has done nothing of it when it returns."""

    def lazily() -> Any:
        yield 1

    async def lazily_as_well() -> Any:
        yield 1

    def mapped() -> Any:
        return map(abs, [1])

    body = {"generator": lazily, "async_generator": lazily_as_well, "map": mapped}[kind]

    @workflow()
    async def program(ctx: Context) -> Any:
        return await ctx.step(body, name="lazy")

    async with Harness().kernel(program) as kernel:
        assert f"{kind} is not a JSON type; what it would yield has not been computed" in await failure(kernel, program)


async def test_a_forgotten_await_fails_the_run_or_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """What is returned without it is no value; what is dropped is told by its name (test_calls.py)."""

    @workflow()
    async def returned(ctx: Context) -> Any:
        return ctx.step(tripled, 2)

    @workflow()
    async def dropped(ctx: Context) -> int:
        ctx.step(tripled, 2)  # type: ignore[unused-coroutine]
        return 1

    async with Harness().kernel(returned, dropped) as kernel:
        assert "coroutine is not a JSON type; an `await` is missing" in await failure(kernel, returned)
        assert await kernel.run(dropped) == 1
    assert caplog.text.count("called without await, so that nothing of it has run: ctx.step(tripled)") == 2


def test_a_step_that_returns_a_secret_is_refused_where_it_is_declared() -> None:
    """What is written as asterisks cannot be read back."""

    async def login() -> SecretStr:
        raise AssertionError

    with pytest.raises(DeclarationError, match=r"the return type of step 'login'.* a secret"):
        step(login)


async def test_a_prepared_step_is_a_step_like_any_other() -> None:
    """Its name is given by each call, and its output is read back from what is recorded."""

    @workflow(name="prepared")
    async def flow(ctx: Context) -> list[Any]:
        made = [prepared(partial(_told, number), plain_options("some")) for number in range(2)]
        return [await ctx.step(each, name=f"s{number}") for number, each in enumerate(made)]

    async with Harness().kernel(flow, limits={"some": 1}) as kernel:
        assert await kernel.run(flow, run_id="r") == [[0], [1]]
        assert [step.digest for step in (await kernel.inspect("r")).steps.values()] == [None, None]


async def _told(number: int) -> Any:
    return [number]
