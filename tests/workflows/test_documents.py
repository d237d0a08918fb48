"""YAML is read strictly: no surprises of YAML 1.1, and nothing that grows without bounds."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from flujo.kernel.errors import DefinitionError
from flujo.workflows.documents import MAX_BYTES, Node, Position, Problems, read_document


def read(text: str) -> Node:
    problems = Problems("f")
    root = read_document(text, problems)
    problems.raise_if_any()
    assert root is not None
    return root


def problems_of(text: str) -> list[str]:
    with pytest.raises(DefinitionError) as raised:
        read(text)
    return [str(problem) for problem in raised.value.problems]


SPREAD = "\"{{ ['…', *NAME] }}\" puts the items of a list among others"
"""What an alias without an anchor may be meant as."""


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ("0123", "0123"),
        ("1_000", "1_000"),
        ("0x1F", 31),
        ("0o17", 15),
        ("-5", -5),
        ("+1", 1),
        ("0", 0),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'true'", "true"),
        ('"5"', "5"),
        ("! 7", "7"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(scalar: str, value: Any) -> None:
    """Only true, false, null and numbers are more than text, and quotes always make text."""
    read_value = read(f"key: {scalar}").plain()["key"]

    assert read_value == value
    assert type(read_value) is type(value)


def test_block_scalars_are_text() -> None:
    """`|` and `>` never give a number."""
    assert read("a: |\n  5\nb: >-\n  true\n  x\n").plain() == {"a": "5\n", "b": "true x"}


def test_nodes_know_where_they_stand() -> None:
    """Lines and columns count from 1, of values and of keys."""
    root = read("a: 1\nb:\n  - x\n  - c: y\n")

    inner = root.value["b"].value[1]
    assert inner.at == Position(4, 5)
    assert inner.value["c"].at == Position(4, 8)
    assert root.keys["b"] == Position(2, 1)


def test_an_alias_repeats_a_value_where_it_is_used() -> None:
    """A few aliases are fine."""
    root = read("a: &x {k: [1]}\nb: *x\n")

    assert root.plain() == {"a": {"k": [1]}, "b": {"k": [1]}}
    assert root.value["b"].at == Position(2, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ["f:3:1: `a` is here twice, first in line 1"]),
        ("<<: {a: 1}\n", ["f:1:1: merge keys (`<<`) are not supported; write the keys out"]),
        ("1: x\n", ["f:1:1: keys must be text, and 1 is not; quote it"]),
        ("true: x\n", ["f:1:1: keys must be text, and true is not; quote it"]),
        ("? [a]\n: x\n", ["f:1:3: keys must be text, and a collection is not; quote it"]),
        ("a: !!str 5\n", ["f:1:4: the tag `tag:yaml.org,2002:str` is not supported; leave it out"]),
        ("a: !!python/name:os.system\n",
         ["f:1:4: the tag `tag:yaml.org,2002:python/name:os.system` is not supported; leave it out"]),
        ("a: .inf\n", ["f:1:4: .inf has no JSON form; quote it if it is text"]),
        ("a: " + "1" * 5000 + "\n",
         [f"f:1:4: {'1' * 99}… is a larger number than can be recorded; quote it if it is text"]),
        ("a: 1e999\n", ["f:1:4: 1e999 is a larger number than can be recorded; quote it if it is text"]),
        ("a: 99999999999999999999\n",
         ["f:1:4: 99999999999999999999 is a larger number than can be recorded; quote it if it is text"]),
        ("a: &a [*a]\n", [f"f:1:8: there is no complete `&a` before this alias; {SPREAD.replace('NAME', 'a')}"]),
        ("a: *b\n", [f"f:1:4: there is no complete `&b` before this alias; {SPREAD.replace('NAME', 'b')}"]),
        ("a: [b\nc: d\n", ["f:2:2: this is not YAML: did not find expected ',' or ']'; close each `{` and `[`, "
                           "and quote a text inside of them that holds `,`, `: ` or quotes"]),
        ("a: 'it's'\n", ["f:1:8: this is not YAML: did not find expected key; a text in quotes ends with its second "
                        "quote: write the inner one twice, as 'it''s', or use other ones"]),
        ("a: {b: \"c\" d}\n", ["f:1:12: this is not YAML: did not find expected ',' or '}'; a text in quotes ends with "
                              "its second quote: write the inner one twice, as 'it''s', or use other ones"]),
        ('a: "C:\\new\\q"\n', ["f:1:11: this is not YAML: found unknown escape character; in double quotes a backslash "
                               "is written twice, and stands for itself in single quotes or below a `|`"]),
        ("a: *.txt\n", ["f:1:5: this is not YAML: did not find expected alphabetic or numeric character; "
                       "quote the text, since `*` and `&` at its beginning mean something else in YAML"]),
        ("a:\n  b: |\n  echo\n", ["f:4:1: this is not YAML: could not find expected ':'; "
                                "the text below a `|` is indented more than its key"]),
        ("a: b: c\n", ["f:1:5: this is not YAML: mapping values are not allowed in this context; "
                         "quote the text that holds `: `, or write it below a `|`"]),
        ("a:\n  - b: 'echo \"x: y\"'\n    c: echo a: b # c\n", [
            "f:3:14: this is not YAML: mapping values are not allowed in this context; "
            "quote the text that holds `: `, or write it below a `|`"]),
        ("a:\n\tb: 1\n", ["f:2:1: this is not YAML: found character that cannot start any token; "
                         "indent with spaces, this line begins with a tab"]),
        ("a: \x07\n", ["f:1:4: this is not YAML: unacceptable character #x0007: control characters are not allowed"]),
        ("a: \ud800\n", ["f:1:1: the text holds half a character (an unpaired surrogate)"]),
        ("", ["f:1:1: the file is empty"]),
        ("a: 1\n---\nb: 2\n", ["f:2:1: a file holds one document, this is the second one"]),
        ("[" * 40, ["f:1:34: this nests deeper than 32 levels"]),
        ("- 1\n" * 10_001, ["f:10000:3: the document has more than 10000 nodes, counting what aliases repeat"]),
        ("x" * (MAX_BYTES + 1), ["f:1:1: the file is larger than 256 KiB"]),
    ],
)  # fmt: skip
def test_what_is_refused_is_told_with_its_place(text: str, expected: list[str]) -> None:
    """Line and column point at the key or value that is wrong."""
    assert problems_of(text) == expected


def test_all_problems_are_told_at_once() -> None:
    """In the order of the file, and each once."""
    assert problems_of("b: .nan\na: 1\na: 2\n<<: {}\n") == [
        "f:1:4: .nan has no JSON form; quote it if it is text",
        "f:3:1: `a` is here twice, first in line 2",
        "f:4:1: merge keys (`<<`) are not supported; write the keys out",
    ]


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{c}: &{c} [{','.join(['*' + chr(ord(c) - 1)] * 9)}]\n" for c in "bcdefghij"),
        "[" * 200_000,
        "{a: " * 60_000,
        "- - - - " * 30_000,
        "a: &a x\nb: [" + "*a," * 60_000 + "]",
    ],
    ids=["billion-laughs", "brackets", "braces", "dashes", "aliases"],
)
def test_bombs_are_refused_with_little_time_and_memory(bomb: str) -> None:
    """A small file cannot become a large value."""
    tracemalloc.start()
    started = time.perf_counter()
    assert len(problems_of(bomb)) == 1
    elapsed = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20_000_000
    assert elapsed < 5  # milliseconds in truth; the bound only tells finite from not
