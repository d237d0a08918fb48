"""Digests of arguments: the same in every process, another one for other arguments."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel.events import Event, StepStarted, decode, encode
from flujo.kernel.execution.arguments import Change, change, digest_arguments, digest_item, digest_version

LONG = "x" * 100


@pytest.mark.parametrize(
    ("args", "kwargs", "digest"),
    [
        ((), {}, None),
        ((5,), {}, "2843f7bc"),
        (("a", None, 2.5, True), {}, "e9a1316d"),
        ((LONG,), {}, "430800417ac42e0c"),
        (({"b": [1], "a": (2,)},), {"n": 1}, "bd46a0b32a9a5647"),
        ((object(),), {}, None),
        (({1},), {}, None),
        (("\ud800",), {}, None),
        ((10**5000,), {}, "87b7c6a9c00dd9e2"),
        (({1: 1, "a": 2},), {}, None),
    ],
    ids=["none", "number", "scalars", "long", "nested", "object", "set", "no text", "huge", "mixed keys"],
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
    assert digest_item(object()) is None
