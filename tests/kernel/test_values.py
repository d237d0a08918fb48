"""What can be recorded: strict JSON, refused with the path of what is not, and read back as it was written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.kernel import values
from flujo.kernel.errors import InvalidValueError, OutputTooLargeError
from flujo.kernel.values import MAX_DIGITS, decode, encode

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
        (deep, "$" + 100 * "[0]", "nests deeper than 100 levels, or contains itself; make it flatter"),
        ("\ud800", "$", "surrogate"),
        ({"\udfff": 1}, "$", "surrogate"),
        (object(), "$", "object is not a JSON type"),
        ({"a": [10**MAX_DIGITS]}, "$.a[0]", "it is a number of more than 4300 digits"),
        (-(10**MAX_DIGITS), "$", "it is a number of more than 4300 digits"),
        (1 - 10**MAX_DIGITS, "$", "it is a number of more than 4300 digits, its sign included"),
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


@pytest.mark.parametrize("number", [10**MAX_DIGITS - 1, 1 - 10 ** (MAX_DIGITS - 1)], ids=["largest", "smallest"])
def test_a_number_of_four_thousand_and_three_hundred_digits_is_recorded(number: int) -> None:
    """Python reads no longer one, so no longer one is written."""
    assert decode(encode(number)) == number


@pytest.mark.parametrize("recorded", ["NaN", "[Infinity]", '{"a":-Infinity}'])
def test_recorded_text_with_numbers_that_json_does_not_have_is_refused(recorded: str) -> None:
    """No value was ever recorded so."""
    with pytest.raises(ValueError, match=r"expected value|invalid number"):
        decode(recorded)


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
