"""Typed values: every keyword is enforced, and all problems are told."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.workflows.parameters import check_inputs, declare, keyword_problems


@pytest.mark.parametrize(
    ("keywords", "value", "problems"),
    [
        ({}, object, []),
        ({"type": "string"}, "x", []),
        ({"type": "string"}, 5, ["must be a string, not 5"]),
        ({"type": "integer"}, 5, []),
        ({"type": "integer"}, 5.0, []),
        ({"type": "integer"}, 5.5, ["must be an integer, not 5.5"]),
        ({"type": "integer"}, True, ["must be an integer, not true"]),
        ({"type": "number"}, 5, []),
        ({"type": "boolean"}, 1, ["must be a boolean, not 1"]),
        ({"type": ["string", "array"]}, {}, ["must be a string or an array, not {}"]),
        ({"type": "object"}, {"a": 1}, []),
        ({"type": "integer"}, None, ["must be an integer, not null"]),
        ({"enum": ["a", "b"]}, "c", ['must be one of "a", "b", not "c"']),
        ({"allowedValues": [1, 2]}, 1, []),
        ({"enum": [1]}, True, ["must be one of 1, not true"]),
        ({"pattern": r"^\d+$"}, "12", []),
        ({"pattern": r"^\d+$"}, "1x", [r'must match ^\d+$, "1x" does not']),
        ({"minimum": 1, "maximum": 3}, 4, ["must be at most 3, not 4"]),
        ({"minimum": 1, "maximum": 3}, 0, ["must be at least 1, not 0"]),
        ({"maximum": 9007199254740993}, 9007199254740994, ["must be at most 9007199254740993, not 9007199254740994"]),
        ({"minimum": 0.1234567}, 0.1, ["must be at least 0.1234567, not 0.1"]),
        ({"minLength": 2}, "a", ["must have at least 2 characters, it has 1"]),
        ({"maxLength": 2}, "abc", ["must have at most 2 characters, it has 3"]),
        ({"minItems": 1}, [], ["must have at least 1 items, it has 0"]),
        ({"maxItems": 1}, [1, 2], ["must have at most 1 items, it has 2"]),
        ({"items": {"type": "integer"}}, [1, "x", 2, None],
         ['item 1 must be an integer, not "x"', "item 3 must be an integer, not null"]),
        ({"format": "duration"}, "1h30m", []),
        ({"format": "duration"}, "1:30", ['must be a duration such as 90, 90s or 1h30m, not "1:30"']),
        ({"pattern": "^a", "minLength": 3}, "b",
         ['must match ^a, "b" does not', "must have at least 3 characters, it has 1"]),
    ],
)  # fmt: skip
def test_every_keyword_is_enforced(keywords: dict[str, Any], value: Any, problems: list[str]) -> None:
    """The message says what is expected and what there is."""
    assert declare("x", keywords).problems(value) == problems


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "5", 5),
        ("integer", " -12 ", -12),
        ("integer", "5.5", "5.5"),
        ("number", "5.5", 5.5),
        ("number", "5", 5),
        ("number", "1e3", 1000.0),
        ("number", "nan", "nan"),
        ("number", "1_000", "1_000"),
        ("number", "٣", "٣"),
        ("boolean", "true", True),
        ("boolean", "FALSE", False),
        ("boolean", "yes", "yes"),
        ("array", '["a", 1]', ["a", 1]),
        ("array", "a,b", "a,b"),
        ("object", '{"a": 1}', {"a": 1}),
        ("string", "5", "5"),
        (["string", "integer"], "5", "5"),
    ],
)
def test_texts_are_read_into_the_declared_type(kind: Any, text: str, value: Any) -> None:
    """What cannot be read stays a text, for the check to refuse."""
    read = declare("x", {"type": kind}).read(text)

    assert read == value
    assert type(read) is type(value)


def test_inputs_become_complete_and_all_problems_are_told() -> None:
    """Defaults fill in, optional parameters stay absent, unknown names get a suggestion."""
    parameters = [
        declare("day", {"type": "string", "required": True}),
        declare("count", {"type": "integer", "default": 3}),
        declare("note", {}),
    ]

    assert check_inputs(parameters, {"day": "x"}) == ({"day": "x", "count": 3}, {})
    _, problems = check_inputs(parameters, {"cout": "5", "count": "many"})
    assert problems == {
        "cout": "there is no parameter `cout`; did you mean `count`?",
        "day": "is required",
        "count": 'must be an integer, not "many"',
    }


def test_inputs_of_a_task_are_not_read_from_texts() -> None:
    """A rendered value has the type it has."""
    _, problems = check_inputs([declare("n", {"type": "integer"})], {"n": "5"}, read_texts=False)

    assert problems == {"n": 'must be an integer, not "5"'}


@pytest.mark.parametrize(
    ("keywords", "problems"),
    [
        ({"type": "text"},
         {"type": '`type` must be one of string, integer, number, boolean, array, object, not "text"; write string'}),
        ({"typ": "string"}, {"typ": "there is no keyword `typ`; did you mean `type`?"}),
        ({"required": "yes"}, {"required": '`required` must be a boolean, not "yes"; write true or false'}),
        ({"pattern": "("},
         {"pattern": "`pattern` is not a regular expression: unclosed group (at its character 1)"}),
        ({"minLength": -1}, {"minLength": "`minLength` must be at least 0, not -1"}),
        ({"items": {"type": "x"}},
         {"items":
          '`items` `type` must be one of string, integer, number, boolean, array, object, not "x"'}),
        ({"type": "integer", "default": "x"}, {"default": '`default` must be an integer, not "x"'}),
        ({"enum": ["a"], "default": "b"}, {"default": '`default` must be one of "a", not "b"'}),
        ({"default": None, "type": "string"}, {}),
    ],
)  # fmt: skip
def test_declarations_are_checked_too(keywords: dict[str, Any], problems: dict[str, str]) -> None:
    """A default that its own declaration refuses is found when a definition is loaded."""
    assert keyword_problems(keywords) == problems


@pytest.mark.parametrize(
    ("kind", "text", "hint"),
    [
        ("boolean", "yes", 'must be a boolean, not "yes"; write true or false'),
        ("array", "a, b", 'must be an array, not "a, b"; write p:=\'["a", "b"]\''),
        ("object", "a=b", "must be an object, not \"a=b\"; write p:='{…}', as JSON"),
    ],
)
def test_a_text_that_is_of_another_type_says_how_to_write_one(kind: str, text: str, hint: str) -> None:
    """As it would be typed."""
    assert check_inputs([declare("p", {"type": kind})], {"p": text})[1] == {"p": hint}


@pytest.mark.parametrize(
    ("items", "text", "written"),
    [
        ("integer", "1, 2", "[1, 2]"),
        ("number", "1,2.5", "[1, 2.5]"),
        ("boolean", "true,FALSE", "[true, false]"),
        ("string", "1,2", '["1", "2"]'),
        ("integer", "a,2", '["a", 2]'),
        ("integer", "", "[]"),
    ],
)
def test_a_list_is_told_with_items_of_the_type_that_is_declared(items: str, text: str, written: str) -> None:
    """What is told to write is then not refused, unless an item is no such value either."""
    declared = declare("p", {"type": "array", "items": {"type": items}})

    assert check_inputs([declared], {"p": text})[1] == {"p": f"must be an array, not \"{text}\"; write p:='{written}'"}


@pytest.mark.parametrize(
    ("keywords", "problems"),
    [
        ({"minimum": 5, "maximum": 1}, {"maximum": "`maximum` is below `minimum`, so no value would fit"}),
        ({"minLength": 2, "maxLength": 1}, {"maxLength": "`maxLength` is below `minLength`, so no value would fit"}),
        ({"minItems": 2, "maxItems": 1}, {"maxItems": "`maxItems` is below `minItems`, so no value would fit"}),
        ({"type": "string", "minimum": 1},
         {"minimum": "`minimum` is for numbers, and this is a string; write `minLength`, or leave it out"}),
        ({"type": "array", "maximum": 1},
         {"maximum": "`maximum` is for numbers, and this is an array; write `maxItems`, or leave it out"}),
        ({"type": "boolean", "pattern": "x"},
         {"pattern": "`pattern` is for texts, and this is a boolean; leave it out"}),
        ({"type": ["string", "integer"], "items": {}},
         {"items": "`items` is for lists, and this is a string or an integer; leave it out"}),
        ({"type": "integer", "enum": [1, "2"]}, {"enum": '`enum` lists "2", which is not an integer'}),
        ({"enum": []}, {"enum": "`enum` lists no value, so none would fit"}),
        ({"enum": ["a"], "allowedValues": ["b"]},
         {"allowedValues": "`allowedValues` is another word for `enum`; leave one of them out"}),
        ({"type": ["string", "number"], "minimum": 1, "maxLength": 1, "pattern": "x"}, {}),
    ],
)  # fmt: skip
def test_a_declaration_that_no_value_fits_is_refused(keywords: dict[str, Any], problems: dict[str, str]) -> None:
    """And a keyword that says nothing about values of the type."""
    assert keyword_problems(keywords) == problems
