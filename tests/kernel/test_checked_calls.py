"""Which arguments a checked class refuses, type by type."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, TypedDict, Unpack

import pytest

from flujo.kernel.checked_calls import check_argument, checked
from flujo.kernel.errors import InvalidNameError


class Sized(Protocol):
    """Nobody can tell at run time what has this shape."""

    size: int


class OfOneSize:
    size = 3


FITTING: list[tuple[Any, Any]] = [
    (str, "a"),
    (str | None, None),
    (int, 3),
    (float, 3),
    (float, 2.5),
    (bool, False),
    (datetime | int | None, 3),
    (float | int | str | timedelta, timedelta(1)),
    (Mapping[str, Any], {"a": 1}),
    (Sequence[str], ("a", "b")),
    (Collection[str], {"a"}),
    (Iterable[str], iter([1])),
    (Path, Path()),
    (Any, object()),
    (object, True),
    (Sized, SimpleNamespace(size=3)),
    (Sized, OfOneSize()),
    (None, None),
]

WRONG: list[tuple[Any, Any, str]] = [
    (str, 5, "5 is not a valid x: a text"),
    (str | None, 5, "5 is not a valid x: a text or None"),
    (str, b"a", "<class 'bytes'> is not a valid x: a text"),
    (int, True, "True is not a valid x: a whole number"),
    (int, 2.5, "2.5 is not a valid x: a whole number"),
    (float, True, "True is not a valid x: a number"),
    (float, "2.5", "'2.5' is not a valid x: a number"),
    (bool, 1, "1 is not a valid x: true or false"),
    (datetime | int | None, "now", "'now' is not a valid x: a datetime or microseconds since 1970 in UTC or None"),
    (Mapping[str, Any], [1], "<class 'list'> is not a valid x: a mapping of names"),
    (Mapping[str, Any], {1: 2}, "<class 'dict'> is not a valid x: a mapping of names"),
    (Sequence[str], "ab", "'ab' is not a valid x: a list of texts"),
    (Sequence[str], [5], "<class 'list'> is not a valid x: a list of texts"),
    (Sequence[int], 5, "5 is not a valid x: a list"),
    (Path, "a", "'a' is not a valid x: a pathlib.Path"),
    (Sized, SimpleNamespace(), "<class 'types.SimpleNamespace'> is not a valid x: a Sized, an object with size"),
    (Sized, OfOneSize, "<class 'type'> is not a valid x: a Sized, an object with size"),
    (None, 5, "5 is not a valid x: None"),
]


@pytest.mark.parametrize(("annotation", "value"), FITTING)
def test_what_fits_is_let_through(annotation: Any, value: Any) -> None:
    """An iterator is not used up by the look."""
    check_argument("x", annotation, value)


@pytest.mark.parametrize(("annotation", "value", "says"), WRONG)
def test_what_does_not_fit_is_refused_in_plain_words(annotation: Any, value: Any, says: str) -> None:
    """With the name of the argument, what was given, and what is wanted."""
    with pytest.raises(InvalidNameError) as refused:
        check_argument("x", annotation, value)

    assert str(refused.value) == says


class Options(TypedDict, total=False):
    """Keywords that are declared elsewhere."""

    colour: str


@checked
class Shop:
    """Sells things."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def sell(self, thing: str, *, count: int = 1, **options: Unpack[Options]) -> str:
        """Sell some."""
        return f"{self.name}: {count} {thing} {options}"

    def price(self, thing: str) -> int:
        """Tell a price."""
        return len(thing)

    def _secret(self, thing: str) -> str:
        return thing


@pytest.mark.parametrize(
    ("thing", "keywords", "name"),
    [(5, {}, "thing"), ("tea", {"count": "2"}, "count"), ("tea", {"colour": 5}, "colour")],
)
async def test_arguments_are_looked_at_however_they_are_given(thing: Any, keywords: dict[str, Any], name: str) -> None:
    """By place, by keyword, or by a keyword that a TypedDict declares."""
    with pytest.raises(InvalidNameError, match=name):
        await Shop("here").sell(thing, **keywords)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cuont", "'cuont' is not a valid argument of sell: did you mean 'count'?"),
        ("color", "'color' is not a valid argument of sell: did you mean 'colour'?"),
        ("price", "'price' is not a valid argument of sell: it takes thing, count, colour"),
    ],
)
async def test_a_misspelt_keyword_is_refused_with_the_nearest(name: str, says: str) -> None:
    """Python would name a function inside of flujo, and none of the names that there are."""
    with pytest.raises(InvalidNameError) as refused:
        await Shop("here").sell("tea", **{name: "x"})  # type: ignore[arg-type]

    assert str(refused.value) == says


async def test_a_call_in_order_goes_through() -> None:
    """What Python itself refuses, it still refuses; what is not public, nobody looks at."""
    shop = Shop("here")

    assert await shop.sell("tea", count=2, colour="green") == "here: 2 tea {'colour': 'green'}"
    assert shop.price("tea") == 3
    assert shop._secret(5) == 5  # type: ignore[arg-type, comparison-overlap]
    with pytest.raises(InvalidNameError, match="name"):
        Shop(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="thing"):
        await shop.sell()  # type: ignore[call-arg]
