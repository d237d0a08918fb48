"""What can be recorded: strict JSON, refused with the path of what is not, and read back as it was written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Base64Bytes, BaseModel, Field
from typing_extensions import TypedDict  # on Python 3.11 pydantic refuses the one of typing

from flujo.kernel import values
from flujo.kernel.errors import InvalidValueError, OutputTooLargeError
from flujo.kernel.values import Codec, codec_for, decode, encode

cycle: list[Any] = []
cycle.append(cycle)

deep: Any = 0
for _ in range(101):
    deep = [deep]


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        (float("nan"), "$", "nan has no JSON form"),
        ({"a": float("inf")}, "$.a", "inf has no JSON form"),
        ([1, [2.0, float("-inf")]], "$[1][1]", "-inf has no JSON form"),
        ({"rows": [{"price": b"3"}]}, "$.rows[0].price", "bytes is not a JSON type"),
        ({1, 2}, "$", "set is not a JSON type"),
        ((1, frozenset()), "$[1]", "frozenset is not a JSON type"),
        ({"when": datetime(2026, 1, 1, tzinfo=UTC)}, "$.when", "datetime is not a JSON type"),
        ({"a": {1: "one"}}, "$.a", "the key 1 is int, not text"),
        ({None: 1}, "$", "the key None is NoneType, not text"),
        (cycle, "$" + 100 * "[0]", "contains itself"),
        (deep, "$" + 100 * "[0]", "nests deeper than 100 levels"),
        ("\ud800", "$", "surrogate"),
        ({"\udfff": 1}, "$", "surrogate"),
        (object(), "$", "object is not a JSON type"),
    ],
    ids=lambda value: None if isinstance(value, str) else "value",
)
def test_what_is_not_json_is_refused_with_its_path(value: Any, path: str, problem: str) -> None:
    """Nothing that would be read back otherwise, or not at all, is ever written."""
    with pytest.raises(InvalidValueError, match="cannot be recorded") as refused:
        encode(value)

    assert refused.value.path == path
    assert problem in refused.value.problem


def test_a_hundred_levels_are_allowed() -> None:
    """The deepest value that is accepted nests a hundred levels."""
    (value,) = deep

    assert decode(encode(value)) == value


def test_an_output_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value with more bytes than a store accepts is refused, with both sizes."""
    monkeypatch.setattr(values, "MAX_OUTPUT_BYTES", 10)

    assert encode("12345678") == '"12345678"'
    with pytest.raises(OutputTooLargeError) as refused:
        encode("123456789")
    assert (refused.value.size, refused.value.limit) == (11, 10)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(json_values)
def test_every_json_value_reads_back_as_itself(value: Any) -> None:
    """Encoding and decoding any JSON value is the identity, types included."""
    again = decode(encode(value))

    assert again == value
    assert repr(again) == repr(value)


class Item(BaseModel):
    name: str
    price: float = 0


@dataclass
class Point:
    x: int
    y: int


class Row(TypedDict):
    when: datetime


@pytest.mark.parametrize(
    ("annotation", "value", "recorded"),
    [
        (tuple[int, str], (1, "a"), '[1,"a"]'),
        (Point, Point(1, 2), '{"x":1,"y":2}'),
        (Item, Item(name="tea", price=3), '{"name":"tea","price":3.0}'),
        (list[Item], [Item(name="a")], '[{"name":"a","price":0.0}]'),
        (datetime, datetime(2026, 1, 1, tzinfo=UTC), '"2026-01-01T00:00:00Z"'),
        (Row, {"when": datetime(2026, 1, 1, tzinfo=UTC)}, '{"when":"2026-01-01T00:00:00Z"}'),
        (bytes, b"plain", '"plain"'),
        (Base64Bytes, b"\xff\x00", '"/wA="'),
        (set[int], {1}, "[1]"),
        (dict[int, str], {1: "one"}, '{"1":"one"}'),
        (float, 3.0, "3.0"),
        (int | None, None, "null"),
        (Annotated[int, Field(ge=0)], 4, "4"),
    ],
    ids=str,
)
def test_annotated_values_read_back_in_their_type(annotation: Any, value: Any, recorded: str) -> None:
    """With a return annotation a value is written as pydantic writes it, and read back as that type."""
    codec = codec_for(annotation)

    assert codec.encode(value) == recorded
    assert codec.decode(recorded) == value
    assert type(codec.decode(recorded)) is type(value)


def test_three_is_three_point_zero_for_a_float() -> None:
    """An int where a float is declared is read back as a float, the first time as on replay."""
    codec = codec_for(float)

    again = codec.decode(codec.encode(3))

    assert (again, type(again)) == (3.0, float)


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (float, float("nan"), "$"),
        (bytes, b"\xff", "$"),
        (Item, Item(name="a", price=float("inf")), "$.price"),
        (list[float], [1.0, float("nan")], "$[1]"),
        (int, "many", "$"),
        (Item, {"name": "a"}, "$"),
        (Annotated[int, Field(ge=0)], -1, "$"),
    ],
    ids=["nan", "bytes that are no text", "inf in a model", "nan in a list", "a wrong type", "no model", "a bound"],
)
def test_what_an_annotation_does_not_hold_is_refused(annotation: Any, value: Any, path: str) -> None:
    """A value that its annotation cannot write, or would not read back, is refused before it is recorded."""
    with pytest.raises(InvalidValueError) as refused:
        codec_for(annotation).encode(value)

    assert refused.value.path == path


def test_recorded_text_that_no_longer_fits_is_refused_with_its_path() -> None:
    """A value recorded under an earlier annotation says where it does not fit the new one."""
    with pytest.raises(InvalidValueError) as refused:
        codec_for(list[Item]).decode('[{"name":"a"},{"price":1}]')

    assert refused.value.path == "$[1].name"


class Opaque:
    pass


def test_an_annotation_that_pydantic_does_not_know_means_plain_json() -> None:
    """A return annotation of some foreign class does not stand in the way of returning JSON."""
    codec = codec_for(Opaque)

    assert codec.decode(codec.encode({"a": [1]})) == {"a": [1]}
    assert isinstance(codec, Codec)
