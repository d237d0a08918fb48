"""What a workflow takes: recorded so that every life of a run gets what the first one got."""

from __future__ import annotations

from datetime import date
from itertools import count
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, Strict

from flujo.kernel import Context, workflow
from flujo.kernel.errors import DeclarationError, InvalidInputError
from flujo.kernel.execution.signature import Signature
from kernel.harness import Harness, crash, until


class Customer(BaseModel):
    first: str = Field(alias="firstName")
    born: date = date(2000, 1, 1)


Doubled = Annotated[int, BeforeValidator(lambda value: value * 2)]

calls = count()
Counting = Annotated[int, BeforeValidator(lambda value: value + next(calls))]


async def order(
    ctx: Context, customer: Customer, amount: Doubled, day: date = date(2026, 1, 2), n: int = 1
) -> None: ...


async def greet(ctx: Context, customer: Customer) -> None: ...


GIVEN: list[dict[str, Any]] = [
    {"customer": {"firstName": "Ann"}, "amount": 2},
    {"customer": {"first": "Ann", "born": "2001-02-03"}, "amount": 2, "day": "2026-05-05", "n": "7"},
    {"customer": Customer(firstName="Ann"), "amount": 2, "day": date(2026, 5, 5)},
]


@pytest.mark.parametrize("given", GIVEN, ids=["least", "text", "objects"])
def test_a_function_gets_from_the_record_what_its_caller_gave(given: dict[str, Any]) -> None:
    """Aliases, objects, text for numbers; and what a validator changes is changed once."""
    signature = Signature("order", order)

    recorded = signature.recorded(given)

    assert signature.arguments(recorded) == signature.arguments(given)
    assert signature.arguments(recorded)[1]["amount"] == 4
    assert recorded.keys() == {"customer", "amount", "day", "n"}


class Booking(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    seats: tuple[int, ...]
    codes: set[UUID]


async def book(ctx: Context, booking: Booking, until: Annotated[date, Strict()] = date(2026, 1, 2)) -> None: ...


@pytest.mark.parametrize(
    "given",
    [
        Booking(day=date(2026, 5, 5), seats=(1, 2), codes={UUID(int=1)}),
        {"day": "2026-05-05", "seats": [1, 2], "codes": [str(UUID(int=1))]},
    ],
    ids=["object", "JSON"],
)
def test_a_strict_model_is_an_input_like_any_other(given: Any) -> None:
    """It takes a text for a date where that is JSON, as what is recorded is, and what comes from a command line."""
    signature = Signature("book", book)

    recorded = signature.recorded({"booking": given})

    assert signature.arguments(recorded)[1] == {
        "booking": Booking(day=date(2026, 5, 5), seats=(1, 2), codes={UUID(int=1)}),
        "until": date(2026, 1, 2),
    }
    assert not signature.misfits(recorded)
    with pytest.raises(InvalidInputError, match=r"booking.day"):
        signature.recorded({"booking": {"day": "tomorrow", "seats": [1], "codes": []}})
    with pytest.raises(InvalidInputError, match=r"booking.seats"):
        signature.recorded({"booking": {"day": "2026-05-05", "seats": ["1"], "codes": []}})


def test_a_model_is_taken_whole() -> None:
    """Its fields are the inputs, by name or by alias."""
    signature = Signature("greet", greet)

    assert signature.recorded({"firstName": "Ann"}) == {"first": "Ann", "born": "2000-01-01"}
    assert signature.arguments({"first": "Ann"}) == ((Customer(firstName="Ann"),), {})


def test_what_is_left_to_its_default_is_known() -> None:
    """By name, whatever alias the others were given by."""
    assert Signature("order", order).defaulted(GIVEN[0]) == ["day", "n"]
    assert Signature("greet", greet).defaulted({"firstName": "Ann"}) == ["born"]


def test_every_input_that_no_longer_fits_is_named() -> None:
    """Dropped ones, new ones, and those of another type."""
    found = Signature("order", order).misfits({"amount": 1, "n": "many", "old": 3})

    assert [(each.step, each.change) for each in found] == [
        ("inputs.customer", "inserted"),
        ("inputs.n", "changed"),
        ("inputs.old", "removed"),
    ]


def test_an_input_that_would_be_read_back_otherwise_is_refused() -> None:
    """A default, too: nothing is recorded that a later life would see in another way."""

    async def program(ctx: Context, number: Counting) -> None: ...

    with pytest.raises(InvalidInputError, match=r"number: it is [0-9]+, and would be read back as"):
        Signature("program", program).recorded({"number": 1})


def test_an_input_that_has_no_json_form_is_refused() -> None:
    """By our own error, which names the workflow."""

    async def program(ctx: Context, anything: Any) -> None: ...

    with pytest.raises(InvalidInputError, match="the inputs of 'program' are not valid"):
        Signature("program", program).recorded({"anything": object()})


async def _secret(ctx: Context, password: SecretStr) -> None: ...


async def _forgetful(day: str) -> None: ...


async def _nothing() -> None: ...


async def _by_keyword(*, ctx: Context) -> None: ...


async def _method(self: Any, ctx: Context) -> None: ...


async def _rest(ctx: Context, **rest: int) -> None: ...


async def _returns_secret(ctx: Context) -> list[SecretStr]:
    raise AssertionError


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_secret, "the type of input 'password' of workflow 'flow'"),
        (_forgetful, "must take the context as its first argument"),
        (_nothing, "must take the context as its first argument"),
        (_by_keyword, "must take the context as its first argument"),
        (_method, "is a method of a class"),
        (_rest, "input 'rest' must be a named argument"),
        (_returns_secret, "the return type of workflow 'flow'"),
    ],
)
def test_a_function_that_cannot_be_a_workflow_is_refused_where_it_is_declared(function: Any, says: str) -> None:
    """Before any run of it exists."""
    with pytest.raises(DeclarationError, match=says):
        workflow(name="flow")(function)


async def test_a_validator_runs_once_in_every_life() -> None:
    """What a program got before a crash it gets after it."""
    harness = Harness()
    seen: list[int] = []

    @workflow()
    async def program(ctx: Context, amount: Doubled) -> int:
        seen.append(amount)
        await ctx.wait_signal("go")
        return amount

    async with harness.kernel(program) as kernel:
        await kernel.start(program, {"amount": 5}, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(program) as kernel:
        await kernel.signal("r", "go")
        output = await kernel.result("r")

    assert (seen, output) == ([10, 10], 10)


@pytest.mark.parametrize("name", ["copy", "json", "schema", "dict", "validate", "construct", "fields", "model_name"])
async def test_an_input_may_have_the_name_of_a_method_of_pydantics(name: str) -> None:
    """Nobody who writes a workflow has to know that a model is made of its inputs; nothing is warned of either."""
    made: dict[str, Any] = {}
    exec(f"async def program(ctx, {name}: int, other: int = 2): return [{name}, other]", made)
    flow = workflow(name="flow")(made["program"])

    async with Harness().kernel(flow) as kernel:
        assert await kernel.run(flow, {name: 7}) == [7, 2]


@pytest.mark.parametrize("name", ["model_config", "model_fields", "model_dump"])
def test_a_name_that_pydantic_needs_is_refused_when_it_is_declared(name: str) -> None:
    """Its value would be taken for something else."""
    made: dict[str, Any] = {}
    exec(f"async def program(ctx, {name}: int): return 1", made)

    with pytest.raises(DeclarationError, match=f"'{name}' is a name of pydantic's own"):
        workflow(name="flow")(made["program"])
