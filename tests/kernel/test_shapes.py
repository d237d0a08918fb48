"""Sketches of JSON Schemas, as people read them in an error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from flujo.kernel.codecs import Codec
from flujo.kernel.shapes import LONGEST, sketch


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    name: str
    size: float = 1.0


class Tree(BaseModel):
    leaf: Leaf
    children: list[Tree] = []


@dataclass
class Moment:
    at: datetime


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, "integer"),
        (str | None, "string | null"),
        (list[int], "[integer, …]"),
        (tuple[int, str], "[integer, string]"),
        (dict[str, bool], "{…: boolean}"),
        (Literal["yes", "no"], '"yes" | "no"'),
        (Literal["yes"], '"yes"'),
        (Colour, '"red" | "blue"'),
        (Leaf, '{"name": string, "size"?: number}'),
        (Moment, '{"at": string (date-time)}'),
        (list[Any], "[anything, …]"),
        (int | str | int, "integer | string"),
    ],
    ids=str,
)
def test_a_type_is_sketched_by_what_it_accepts(annotation: Any, expected: str) -> None:
    """Names of members in quotes, optional ones with a question mark."""
    assert Codec(annotation).fits == expected


def test_a_type_that_holds_itself_is_sketched_to_some_depth() -> None:
    """A sketch ends."""
    fits = Codec(Tree).fits

    assert fits is not None
    assert fits.startswith('{"leaf": {"name": string, "size"?: number}, "children"?: [')
    assert "…" in fits
    assert len(fits) <= LONGEST + 1


def test_a_long_sketch_is_cut() -> None:
    """It stands in a sentence."""
    properties = {f"member-{number}": {"type": "integer"} for number in range(100)}

    assert len(sketch({"type": "object", "properties": properties})) == LONGEST + 1


def test_what_takes_anything_has_no_sketch() -> None:
    """Plain JSON needs no words."""
    assert Codec().fits is None
