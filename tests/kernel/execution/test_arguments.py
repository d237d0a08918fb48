"""Digests of arguments: the same in every process, another one for other arguments."""

from __future__ import annotations

import dataclasses
import decimal
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum, auto
from pathlib import PurePosixPath
from typing import Any, NoReturn
from uuid import UUID

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, SecretStr

from flujo.kernel.events import Event, StepStarted, decode, encode
from flujo.kernel.execution.arguments import Change, change, digest_arguments, digest_item, digest_version

LONG = "x" * 100


class Card(BaseModel):
    """As users declare them, with room for more."""

    model_config = ConfigDict(extra="allow")
    number: int
    code: SecretStr = SecretStr("123")


@dataclasses.dataclass
class Order:
    """It holds others."""

    cards: list[Card]


class Colour(Enum):
    """Its values may be anything."""

    RED = auto()
    BLUE = date(2026, 1, 1)


class Client:
    """A way to some service, of which nobody can say whether it is the same."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __repr__(self) -> str:
        return f"<client of {self.url}>"


class Truth:
    """As `numpy.bool` and `numpy.datetime64`: a scalar of an array, which is no number."""

    dtype = "bool"

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:  # the name of a test, which is the same in each process
        return f"<truth {self.value}>"

    def tolist(self) -> bool:
        return self.value


class Raising(dict[str, int]):
    """Cannot even be looked at."""

    def items(self) -> NoReturn:
        raise OSError("it is gone")


endless: list[Any] = [object()]
endless.append(endless)


TYPED = [
    Order([Card(number=1), Card.model_validate({"number": 2, "more": "x"})]),
    {Colour.RED: b"a", Colour.BLUE: frozenset({"a", "b"})},
    [datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), time(1), timedelta(1)],
    (UUID(int=1), decimal.Decimal("1.10"), PurePosixPath("/a"), Client("a")),
]


@pytest.mark.parametrize(
    ("args", "kwargs", "digest"),
    [
        ((), {}, "0"),
        ((5,), {}, "2843f7bc"),
        (("a", None, 2.5, True), {}, "e9a1316d"),
        ((LONG,), {}, "430800417ac42e0c"),
        (({"b": [1], "a": (2,)},), {"n": 1}, "bd46a0b32a9a5647"),
        ((object(),), {}, "e04e268fcc525067"),
        (({1},), {}, "b1c67047289b9a65"),
        (({"milk", "salt", "tea"},), {}, "7af8e476a613f734"),  # in whatever order this process has them
        (("\ud800",), {}, None),
        ((10**5000,), {}, "87b7c6a9c00dd9e2"),
        (({1: 1, "a": 2},), {}, "8cdad9296191f89f"),
        ((TYPED,), {}, "45dcd0982543e270"),
    ],
    ids=[
        "none",
        "number",
        "scalars",
        "long",
        "nested",
        "object",
        "set",
        "texts",
        "no text",
        "huge",
        "mixed keys",
        "typed",
    ],
)
def test_a_digest_stays_what_it_is(args: Any, kwargs: Any, digest: str | None) -> None:
    """It is recorded, so a later release has to come to the same one."""
    assert digest_arguments(args, kwargs) == digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1,), (2,)),
        ((1,), ("1",)),
        ((1,), (1.0,)),
        ((True,), (1,)),
        ((1, 2), (12,)),
        (([1],), ([[1]],)),
        ((LONG,), (LONG + "x",)),
        ((Card(number=1),), (Card(number=2),)),
        ((Card(number=1),), (Card.model_validate({"number": 1, "more": 1}),)),
        ((Order([Card(number=1)]),), (Order([Card(number=2)]),)),
        ((Colour.RED,), (Colour.BLUE,)),
        ((date(2026, 1, 1),), (date(2026, 1, 2),)),
        ((timedelta(1),), (timedelta(2),)),
        ((timedelta(microseconds=1),), (timedelta(microseconds=2),)),
        ((decimal.Decimal("1.0"),), (decimal.Decimal("1.00"),)),
        ((UUID(int=1),), (UUID(int=2),)),
        ((b"\xff",), (b"\xfe",)),
        ((PurePosixPath("/a"),), (PurePosixPath("/b"),)),
        (({"a"},), ({"b"},)),
        (({date(2026, 1, 1): 1},), ({date(2026, 1, 2): 1},)),
        ((AnyUrl("https://a"),), (AnyUrl("https://b"),)),
        ((slice(1),), (slice(2),)),
        ((Truth(True),), (Truth(False),)),
        ((Client("a"), 5), (Client("a"), 50)),
        ((Client("a"),), (None,)),
        ((None,), ()),
        ((), (5,)),
    ],
    ids=repr,
)
def test_other_arguments_have_another_digest(one: Any, other: Any) -> None:
    """By value and by type."""
    assert digest_arguments(one, {}) != digest_arguments(other, {})


def test_neither_the_order_of_keys_nor_a_tuple_for_a_list_matters() -> None:
    """They are the same JSON."""
    assert digest_arguments(({"a": 1, "b": (2,)},), {"x": 1, "y": 2}) == digest_arguments(
        ({"b": [2], "a": 1},), {"y": 2, "x": 1}
    )


def test_numbers_as_keys_count_as_their_texts() -> None:
    """As in JSON; where some keys are texts, the others are told from them."""
    assert digest_arguments(({1: "a"},), {}) == digest_arguments(({"1": "a"},), {})
    assert digest_arguments(({1: "a", "b": 2},), {}) != digest_arguments(({"1": "a", "b": 2},), {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Client("a"), Client("b")),
        (Card(number=1, code=SecretStr("1")), Card(number=1, code=SecretStr("2"))),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        ({Colour.RED: 1, Colour.BLUE: 2}, {Colour.BLUE: 2, Colour.RED: 1}),
        (iter([1]), iter([2])),
    ],
    ids=["objects", "secrets", "a set", "keys of any type", "what can be read once"],
)
def test_what_cannot_be_told_apart_has_one_digest(one: Any, other: Any) -> None:
    """Two clients of a service, secrets, and what is the same in another order."""
    assert digest_arguments((one, 5), {}) == digest_arguments((other, 5), {}) is not None


def test_nothing_is_taken_out_of_an_iterator() -> None:
    """The body is going to read it."""
    items: Iterator[int] = iter([1, 2])

    digest_arguments((items,), {})

    assert list(items) == [1, 2]


@pytest.mark.parametrize("awkward", [Raising(a=1), endless], ids=["raising", "endless"])
def test_what_cannot_be_looked_at_is_not_compared(awkward: Any) -> None:
    """It fails no step."""
    assert digest_arguments((awkward,), {}) is None
    assert digest_item(awkward) is None


@pytest.mark.parametrize(
    ("recorded", "digest", "means"),
    [
        (None, None, Change.NONE),
        (None, "a", Change.NONE),  # recorded before there were digests
        ("a", None, Change.NONE),
        ("a", "a", Change.NONE),
        ("a", "b", Change.ARGUMENTS),
        (None, "2/a", Change.VERSION),
        ("a", "2/a", Change.VERSION),
        ("1/a", "2/b", Change.VERSION),
        ("2/a", "2/b", Change.ARGUMENTS),
        ("0", "a", Change.ARGUMENTS),
        ("a", "0", Change.ARGUMENTS),
        (None, "0", Change.NONE),
        ("2/a", "2/0", Change.ARGUMENTS),
        ("2/a", "2/", Change.NONE),
        ("2/a", "a", Change.NONE),  # the version was taken away
        ("2/a", "b", Change.ARGUMENTS),
    ],
)
def test_what_another_digest_means(recorded: str | None, digest: str | None, means: Change) -> None:
    """Another version is meant, other arguments are not; what is not known is not compared."""
    assert change(recorded, digest) is means


@pytest.mark.parametrize("digest", ["2843f7bc", "0123456789abcdef", digest_version("2", "a"), 'a"b', "", None])
def test_a_start_with_a_digest_is_written_as_every_other_fact(digest: str | None) -> None:
    """Whatever stands in it: an imported journal may hold any text."""
    event = Event(2, 9, StepStarted("a", digest=digest))

    assert decode(encode(event)) == event


def test_items_of_maps_have_the_digests_of_earlier_releases() -> None:
    """Their journals are compared with these."""
    assert digest_item({"b": 1, "a": [2]}) == "48b7a63ec679fdf6"
    assert digest_item(Card(number=1)) != digest_item(Card(number=2))
