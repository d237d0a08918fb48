"""A part of a scalar is found in the file it is written in, whatever the way of writing it."""

from __future__ import annotations

import pytest

from flujo.workflows.documents import Problems, read_document
from flujo.workflows.places import place_in, position_in

WRITTEN = {
    "a plain text": "message: one {MARK} two\n",
    "a plain text of several lines": "message: one\n  two\n\n  {MARK} three\n",
    "in single quotes": "message: 'it''s {MARK}'\n",
    "in double quotes": 'message: "it\\"s \\u00e9\\x41 \\t\\n {MARK}"\n',
    "in double quotes on several lines": 'message: "one \\\n  two\n\n  \\  {MARK}"\n',
    "a block": "message: |\n  one\n\n    two {MARK}\n  three\n",
    "a block with its indentation": "message: |2-\n    one\n  {MARK}\n",
    "a block behind a comment": "message: |  # why\n  one\n  {MARK}\n",
    "a folded block": "message: >-\n  one\n  two\n\n  three {MARK}\n",
    "behind an anchor": "message: &name 'one {MARK}'\n",
    "in a list": "- [a, {x: 'one {MARK}'}]\n",
    "with line ends of Windows": "name: x\r\nmessage: |\r\n  one\r\n  two {MARK}\r\n",
    "behind other characters": "message: 'ü 名前 \U0001f600 {MARK}'\n",
}


@pytest.mark.parametrize("case", WRITTEN)
def test_a_part_of_a_scalar_is_found(case: str) -> None:
    """At the line and column that an editor shows for it."""
    text = WRITTEN[case].replace("{MARK}", "§")
    root = read_document(text, Problems("f"))
    assert root is not None
    (node,) = [each for each in root.scalars() if isinstance(each.value, str) and "§" in each.value]

    found = place_in(text, node.at, node.value, node.value.index("§"))

    before, _, _ = text.partition("§")
    lines = before.replace("\r\n", "\n").split("\n")
    assert (found.line, found.column) == (len(lines), len(lines[-1]) + 1)


def test_a_part_of_what_an_alias_repeats_stands_where_the_alias_does() -> None:
    """Its own text is elsewhere."""
    text = "a: &b 'one §'\nc: *b\n"
    root = read_document(text, Problems("f"))
    assert root is not None

    node = root.value["c"]

    assert place_in(text, node.at, node.value, 4) == node.at == (2, 4, "")


def test_the_lines_of_a_text_are_counted() -> None:
    """From 1, as their columns are."""
    assert position_in("one\ntwo three", 8) == (2, 5, "")
