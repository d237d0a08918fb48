"""An expression of a template can be found in it, and written out as it can be typed."""

from __future__ import annotations

import pytest
from jinja2 import nodes

from flujo.workflows.expressions import Placed, place_of_member, start_of, written


def expression(source: str) -> nodes.Node:
    """Return the tree of the one expression of a template."""
    output = Placed().parse(source).body[0]
    assert isinstance(output, nodes.Output)
    return output.nodes[0]


@pytest.mark.parametrize(
    "text",
    [
        *("a", "a.b['c-d'][0]", "a[1:]", "a[:b.c:2]", "'x'", "none", "true", "3.5"),
        *("a + b", "(a + b) * 2", "-a", "not a", "a and (b or c)", "a ~ 'x' ~ 2", "a == 1", "0 < a <= b", "a not in b"),
        *("a | default('x', true)", "(a ~ b) | upper", "[a, *b]".replace("*b", "b"), "{'a': 1}", "(1, 2)"),
        *("a is defined", "a is divisibleby(3)", "a.strip()", "dict(a, **b)", "range(1, n)", "f(x=1)", "a if b else c"),
    ],
)
def test_an_expression_is_written_as_it_can_be_typed(text: str) -> None:
    """What is written reads as the same expression again."""
    tree = expression("{{ " + text + " }}")

    assert written(tree) == text
    assert expression("{{ " + written(tree) + " }}") == tree


def test_a_long_expression_is_cut() -> None:
    """A message stays readable."""
    assert written(expression("{{ " + " ~ ".join(["name"] * 50) + " }}")).endswith("…")


@pytest.mark.parametrize(
    ("source", "way", "found"),
    [
        ("ls {{ a }} {{ b.c }}", ("b", "c"), "b.c }}"),
        ("{{ x.a }}{{ a }}", ("a",), "a }}"),
        ("one\r\ntwo {{ a }}", ("a",), "a }}"),
        ("{% if x -%}\n\n  {{ steps['a-b'].result }}{% endif %}", ("steps", "a-b"), "steps['a-b']"),
        ("{{ steps.a.result }} {{ steps.b.resullt }}", ("steps", "b", "resullt"), "steps.b"),
        ("{{ [1, 2] | map('int') }} {{ n | f(env[x]) }}", ("env",), "env[x]"),
    ],
)
def test_a_name_is_found_in_its_template(source: str, way: tuple[str, ...], found: str) -> None:
    """The place is that of the first character of what uses it."""
    normal = source.replace("\r\n", "\n")

    assert normal[place_of_member(source.replace("\r\n", "\n"), *way) :].startswith(found)


def test_what_is_not_there_has_no_place() -> None:
    """Nor has anything in a template that cannot be read."""
    assert place_of_member("{{ a }}", "b") == 0
    assert place_of_member("{{ a b }}", "a") == 0


def test_an_expression_begins_where_its_first_part_does() -> None:
    """Jinja2 says of `a.b | c` where the filter stands."""
    source = "x {{ a.b | upper ~ c }}"

    assert start_of(expression(source[2:]), source[2:]) == source.index("a.b") - 2
