"""Annotations: each is resolved by itself, and one that cannot be is named."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from flujo.kernel import Context, Kernel, step, workflow
from flujo.kernel.errors import DeclarationError, InvalidInputError
from flujo.kernel.execution.annotations import UnresolvedAnnotationError, annotation_of
from kernel.execution.steps import one_step, outcome
from kernel.harness import Harness

if TYPE_CHECKING:
    from datetime import date

    from flujo.kernel import Context as HiddenContext


async def hidden(ctx: HiddenContext, day: date, number: int) -> str:
    """Two of its annotations are there for type checkers only."""
    return str(day)


def plain(number: Annotated[int, "unit"]) -> str:
    return str(number)


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator."""

    @wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class Adder:
    """A callable object, and its method."""

    def __call__(self, number: int) -> str:
        return str(number)

    def method(self, number: int) -> str:
        return str(number)


@pytest.mark.parametrize(
    "function",
    [plain, partial(plain, 1), traced(plain), partial(traced(plain), 1), Adder(), Adder().method],
    ids=["function", "partial", "decorated", "both", "object", "method"],
)
def test_annotations_are_found_under_whatever_wraps_a_function(function: Any) -> None:
    """Decorators, partial applications, callable objects and methods."""
    assert annotation_of(function, "return") is str


def test_metadata_is_kept() -> None:
    """What stands in `Annotated` counts, as a bound for instance."""
    assert annotation_of(plain, "number") == Annotated[int, "unit"]
    assert annotation_of(plain, "other", "default") == "default"


def test_one_annotation_that_cannot_be_resolved_says_nothing_about_the_others() -> None:
    """It is named with its function and what helps; the others are read."""
    assert annotation_of(hidden, "number") is int
    with pytest.raises(
        UnresolvedAnnotationError, match="the parameter 'day' of 'hidden' is annotated with date"
    ) as error:
        annotation_of(hidden, "day")
    assert error.value.hints[0].startswith("import or define the name at the top of the module")


async def test_a_workflow_with_an_annotation_that_nothing_resolves_is_refused_when_it_is_registered() -> None:
    """Not in silence, with a parameter of any type; and not at import, since the name may be defined further down."""
    declared = workflow()(hidden)

    with pytest.raises(DeclarationError, match="the parameter 'day' of 'hidden'"):
        Kernel(Harness().backend(), workflows=[declared])
    with pytest.raises(DeclarationError, match="the parameter 'day' of 'hidden'"):
        async with Harness().kernel() as kernel:
            await kernel.start(declared, {"day": "2026-01-01", "number": 1})


async def test_the_annotation_of_the_context_is_not_needed() -> None:
    """It may be there for type checkers only; the parameters are checked all the same."""

    @workflow()
    async def adding(ctx: HiddenContext, number: int) -> int:
        return number + 1

    async with Harness().kernel(adding) as kernel:
        assert await kernel.run(adding, {"number": 1}) == 2
        with pytest.raises(InvalidInputError, match="number: Input should be a valid integer"):
            await kernel.start(adding, {"number": "not a number"})


async def test_a_name_may_be_defined_further_down() -> None:
    """What a decorator cannot resolve yet is resolved when the workflow is registered, and the step called."""

    @step
    async def make(number: int) -> Later:
        return Later(number)

    @workflow()
    async def making(ctx: Context, number: int) -> Later:
        return await ctx.step(make, number)

    async with Harness().kernel(making) as kernel:
        made = await kernel.run(making, {"number": 3})

    assert made == Later(3)


async def test_a_step_whose_type_nothing_resolves_fails_its_run_with_the_name() -> None:
    """It has nothing to read its output into."""

    async def fetch() -> date:
        raise AssertionError

    with pytest.raises(Exception, match="the return type of 'fetch' is annotated with date"):
        await outcome(one_step(fetch))


from dataclasses import dataclass  # noqa: E402


@dataclass
class Later:
    """A type that is defined behind the functions that use it."""

    number: int


class Misdescribed:
    """Raises when pydantic asks for its schema."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        raise LookupError("no schema here")


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        ("1/0", "'number' of 'odd' is annotated with 1/0, which raises ZeroDivisionError"),
        ("{}['a']", "'number' of 'odd' is annotated with .* which raises KeyError"),
        ("[][0]", "'number' of 'odd' .* raises IndexError"),
        ("int('x')", "'number' of 'odd' .* raises ValueError"),
        ("Misdescribed", "the type of input 'number' .* cannot be used: no schema here"),
    ],
)
def test_an_annotation_that_raises_is_refused_where_it_stands(annotation: str, says: str) -> None:
    """At the declaration, by the function and the parameter: nothing that is defined later would help."""

    async def odd(ctx: Context, number: int) -> None:
        """Its annotation is put there below, as a module with postponed annotations has it."""

    odd.__annotations__["number"] = annotation

    with pytest.raises(DeclarationError, match=says):
        workflow(odd)


def test_so_is_a_return_type_of_a_step() -> None:
    """Also a text that is no type at all."""

    async def odd() -> int:
        return 1

    odd.__annotations__["return"] = "1/0"
    with pytest.raises(DeclarationError, match="the return type of 'odd' is annotated with 1/0"):
        step(odd)
