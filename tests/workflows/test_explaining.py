"""A template that fails says which of its expressions it was, of which kinds its values are, and what to type."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flujo.workflows.templates import TemplateError, holds, render

NAMES: dict[str, Any] = {
    "t": "x",
    "n": 3,
    "l": [1, "q"],
    "m": {"a": 1},
    "z": None,
    "b": True,
    "args": {},
    "steps": {},
    "env": {},
}


def failure(template: str) -> TemplateError:
    """Return how a template fails."""
    with pytest.raises(TemplateError) as raised:
        anyio.run(render, template, NAMES)
    return raised.value


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ t + n }}", "`+` takes two numbers, two texts or two lists; here `t` is a text and `n` is a number; "
         "write `t ~ n` for one text of both, or `t | int` for the number in the text"),
        ("{{ z + 1 }}", "`+` takes two numbers, two texts or two lists; here `z` is null and `1` is a number; "
         "write `z | default(0, true)` for 0 instead of null"),
        ("{{ l + n }}", "`+` takes two numbers, two texts or two lists; here `l` is a list and `n` is a number; "
         "write `l + [n]` for a list with one more item"),
        ("{{ 1 + l }}", "`+` takes two numbers, two texts or two lists; here `1` is a number and `l` is a list; "
         "write `[1] + l` for a list with one more item"),
        ("{{ m + m }}", "`+` takes two numbers, two texts or two lists; here `m` is a mapping and `m` is a mapping; "
         "write `dict(m, **m)` for one mapping of both"),
        ("{{ t - 1 }}", "`-` takes two numbers; here `t` is a text and `1` is a number; "
         "write `t | int` for the number in the text"),
        ("{{ m * 2 }}", "`*` takes two numbers; here `m` is a mapping and `2` is a number"),
        ("{{ -t }}", "`-` stands before a number, and `t` is a text; write `t | int` for the number in the text"),
        ("{{ n / 0 }}", "nothing can be divided by `0`"),
        ("{{ n % (n - 3) }}", "nothing can be divided by `n - 3`, which is 0"),
        ("{{ t > 3 }}", "`>` compares two numbers, texts or lists; here `t` is a text and `3` is a number; "
         "write `t | int` for the number in the text"),
        ("{{ 1 < n < t }}", "`<` compares two numbers, texts or lists; here `n` is a number and `t` is a text; "
         "write `t | int` for the number in the text"),
        ("{{ n in n }}", "`in` looks into a text, a list or a mapping, and `n` is a number"),
        ("{{ n not in t }}", "texts are looked for in a text, and `n` is a number; write `n | string`"),
        ("{{ l in m }}", "the keys of a mapping are texts, and `l` is a list"),
        ("{{ {l: 1} }}", "a list cannot be a key of a mapping"),
        ("{{ n() }}", "`n` is a number, and cannot be called; leave out the parentheses"),
        ("{{ range(t) }}", "`range` counts with whole numbers, and `t` is a text"),
        ("{{ z | length }}", "filter `length` counts the characters of a text or the items of a list, and `z` is null"),
        ("{{ n | join(',') }}", "filter `join` goes through a list, and `n` is a number"),
        ("{{ n | reverse }}", "filter `reverse` goes through a list, and `n` is a number"),
        ("{{ n | dictsort }}", "filter `dictsort` goes through a mapping, and `n` is a number"),
        ("{{ n | round(t) }}", "filter `round` takes a number in its parentheses, and `t` is a text"),
        ("{{ n | round(1, t) }}", "method must be common, ceil or floor"),
        ("{{ t | truncate(length=l) }}", "filter `truncate` takes a number in its parentheses, and `l` is a list"),
        ("{{ t | sum }}", "filter `sum` goes through a list, and `t` is a text"),
        ("{{ l | sum }}", "filter `sum` takes items that go together, and `l` holds a number and a text; "
         "`map('int')` before it makes numbers of texts"),
        ("{{ l | map('string') | sum }}", "filter `sum` takes items that go together, and `l | map('string')` holds "
         "others; `map('int')` before it makes numbers of texts"),
        ("{{ 1 in n | items }}", "Can only get item pairs from a mapping."),
        ("{{ l < ['a'] }}", "`<` compares two numbers, texts or lists; here `l` is a list and `['a']` is a list, "
         "whose items are of different kinds"),
        ("{{ t | round }}", "filter `round` takes a number, and `t` is a text; "
         "write `t | int` for the number in the text"),
        ("{{ t is divisibleby(2) }}", "test `divisibleby` cannot judge this, since `t` is a text"),
        ("{{ t | fromjson }}", "the text is not JSON: Expecting value, in its line 1 at character 1"),
        ("{{ '{} {}'.format(n) }}", "there are fewer values than are asked for"),
        ("{{ dict(n) }}", "a number is no list to go through"),
        ("{{ t[n:t] }}", "a slice counts with whole numbers, in a text or a list, and this is of a text"),
        ("{{ l.first }}", "a list has no `first`; its items are counted, as in [0]"),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together_are_told_by_their_kinds(template: str, told: str) -> None:
    """With what to type, and without the names that Python has for them."""
    assert failure(template).message == f"{template}: {told}"


@pytest.mark.parametrize(
    ("template", "expression"),
    [
        ("ls {{ n }} {{ n + t }} {{ n }}", "n + t"),
        ("{{ n if t > 3 else n }}", "t > 3"),
        ("{{ (n + (t if b else n)) | string }}", "n + (t if b else n)"),
        ("{{ z | default(n + t, true) }}", "n + t"),
        ("{% for x in l %}{{ x + n }}{% endfor %}", "x + n"),
        ("{% for x in n %}{{ x }}{% endfor %}", "n"),
        ("{% set y = t * t %}{{ y }}", "t * t"),
        ("{% macro f(x) %}{{ x - 1 }}{% endmacro %}{{ f(t) }}", "x - 1"),
        ("{{ l | map('upper') | list }} {{ m.q.r }}", "m.q.r"),
        ("a {{ m.q | default('x') }} {{ m.r }}", "m.r"),
        ("a\n{{- n }}\n{{ n +\n t }}", "n + t"),
    ],
)
def test_the_innermost_expression_that_fails_is_named(template: str, expression: str) -> None:
    """With its place in the template, in loops, macros and conditions too."""
    error = failure(template)

    assert error.message.startswith("{{ " + expression + " }}: ")
    assert error.source == template
    assert template[error.place :].startswith(expression[:3])


def test_a_value_is_not_told() -> None:
    """A part of a secret would not be known as one."""
    names = {**NAMES, "secret": "not to be read by anybody"}

    with pytest.raises(TemplateError) as raised:
        anyio.run(render, "{{ secret + 1 }} {{ secret - 1 }}", names)

    assert "read" not in raised.value.message


@pytest.mark.parametrize(("condition", "rest"), [("  t > 3", "t > 3"), ("{{ t > 3 }}", "t > 3 }}"), ("b and -t", "t")])
def test_a_condition_is_told_as_it_is_written(condition: str, rest: str) -> None:
    """Its place counts from its beginning, with braces and without."""
    with pytest.raises(TemplateError) as raised:
        anyio.run(holds, condition, NAMES)

    assert (raised.value.source, condition[raised.value.place :].lstrip("-")) == (condition, rest)


def test_a_heavy_template_is_explained_as_a_light_one_is() -> None:
    """By the worker that has evaluated it."""
    heavy = "{% for x in range(3) %}{% endfor %}{{ t + n }}"

    assert failure(heavy).message == failure("{{ t + n }}").message
    assert failure(heavy).place == heavy.index("t + n")
