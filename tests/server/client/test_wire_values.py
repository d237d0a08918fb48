"""Instants, durations and payloads between Python and `flujo.v1`."""

from __future__ import annotations

import hashlib

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from flujo.client.wire.values import (
    JSON,
    MAX_INLINE_BYTES,
    Payloads,
    from_duration,
    from_timestamp,
    given_object,
    given_value,
    inline,
    micros_from_duration,
    micros_to_duration,
    to_duration,
    to_timestamp,
)
from flujo.kernel.api import MAX_INPUT_BYTES
from flujo.kernel.errors import InvalidValueError, PayloadTooLargeError
from flujo.kernel.values import encode
from flujo.v1.payload_pb2 import Payload, PayloadReference


@given(st.integers(0, 253_402_300_799_999_999))
def test_instants_keep_their_microseconds(instant: int) -> None:
    """From 1970 to the year 9999."""
    assert from_timestamp(to_timestamp(instant)) == instant
    assert to_timestamp(instant).ToNanoseconds() == instant * 1000


@given(st.integers(0, 100 * 366 * 86400 * 1_000_000))
def test_durations_in_microseconds_are_exact(micros: int) -> None:
    """Up to a hundred years."""
    assert micros_from_duration(micros_to_duration(micros)) == micros


@given(st.floats(0, 100 * 366 * 86400))
def test_durations_in_seconds_are_good_to_a_nanosecond(seconds: float) -> None:
    """As precise as the message can be, and a message that is valid."""
    duration = to_duration(seconds)

    assert from_duration(duration) == pytest.approx(seconds, abs=1e-9, rel=1e-15)
    assert 0 <= duration.nanos < 1_000_000_000


@given(st.integers(0, 10**10))
def test_durations_in_decimals_are_the_same_again(millis: int) -> None:
    """8.601 seconds are not 8.600999999999999."""
    assert from_duration(to_duration(millis / 1000)) == millis / 1000


@pytest.mark.parametrize(("seconds", "whole"), [(0.9999999999, 1), (1.9999999999, 2), (59.9999999999, 60)])
def test_a_duration_just_below_a_second_is_rounded_up_to_it(seconds: float, whole: int) -> None:
    """The nanoseconds carry into the seconds: they are neither lost nor a billion."""
    assert to_duration(seconds) == Duration(seconds=whole)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_small_payloads_come_along(text: str) -> None:
    """The text itself, byte for byte."""
    assert Payloads().make(text, 7) == Payload(content_type=JSON, json=text)


@pytest.mark.parametrize("character", ["a", "é", "東", "🙂"])
def test_a_payload_comes_along_up_to_64_kib_of_utf8(character: str) -> None:
    """One byte more, and it is a reference with size and digest."""
    size = len(character.encode())
    fits = character * (MAX_INLINE_BYTES // size)
    too_large = fits + character

    assert Payloads().make(fits, 7).json == fits
    assert Payloads().make(too_large, 7).reference == PayloadReference(
        seq=7, size_bytes=len(too_large.encode()), sha256=hashlib.sha256(too_large.encode()).hexdigest()
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("1E2", "100.0"),
        ("-0", "0"),
        ("12345678901234567890.5", "1.2345678901234567e+19"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (' { "a" : [1, 1.0] } ', '{"a":[1,1.0]}'),
        ('{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'),
        (r'"\u00e9"', '"é"'),
    ],
)
def test_values_are_kept_in_the_normal_form_that_the_contract_promises(given: str, kept: str) -> None:
    """Whole numbers with all their digits, others as the nearest double, each name once. Before pydantic 2.13 an
    exponent has no plus."""
    assert encode(given_value(Payload(json=given), "the value")) in (kept, kept.replace("e+", "e"))


def test_values_may_all_be_left_out() -> None:
    """A watch without values has references only, that of the smallest value too."""
    assert Payloads(0).make("1", 7).reference.size_bytes == 1


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (Payload(content_type="text/yaml", json="{}"), "content type"),
        (Payload(), "no `json`"),
        (Payload(reference=PayloadReference(seq=1)), "no `json`"),
        (Payload(json=""), "not JSON"),
        (Payload(json="{'a': 1}"), "not JSON"),
        (Payload(json="NaN"), "not JSON"),
        (Payload(json="[" * 100_000), "not JSON"),
    ],
    ids=["type", "empty", "reference", "nothing", "quotes", "NaN", "deep"],
)
def test_what_is_no_json_is_refused(payload: Payload, problem: str) -> None:
    """The message names what was given, and why it is none."""
    with pytest.raises(InvalidValueError, match=problem) as refused:
        given_value(payload, "the payload")

    assert refused.value.path == "the payload"


def test_what_is_given_is_bounded_in_bytes() -> None:
    """A megabyte, as JSON in UTF-8."""
    fits = '"' + "é" * (MAX_INPUT_BYTES // 2 - 1) + '"'

    assert given_value(inline(fits), "the payload") == fits[1:-1]
    with pytest.raises(PayloadTooLargeError) as refused:
        given_value(inline(fits[:-1] + 'x"'), "the payload")
    assert (refused.value.size, refused.value.limit) == (MAX_INPUT_BYTES + 1, MAX_INPUT_BYTES)


@pytest.mark.parametrize("text", ["null", "[]", "1", '"{}"'])
def test_inputs_are_objects(text: str) -> None:
    """Any other value has no names."""
    assert given_object(inline('{"a": 1}'), "the inputs") == {"a": 1}
    with pytest.raises(InvalidValueError, match="not a JSON object"):
        given_object(inline(text), "the inputs")
