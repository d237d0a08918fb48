"""Conditions with braces around parts of them, as other engines have them: what each means as one expression."""

from __future__ import annotations

import pytest

from flujo.workflows.mixed_conditions import as_one_expression


@pytest.mark.parametrize(
    ("condition", "meant"),
    [
        ("'{{ args.mode }}' == 'full'", "args.mode == 'full'"),
        ('"{{ args.mode }}" != "full"', 'args.mode != "full"'),
        ("{{ args.n }} > 2", "args.n > 2"),
        ("{{args.n}}>{{ steps.a.result.x }}", "args.n>steps.a.result.x"),
        ("{{ steps['a-b'].result }} == true", "steps['a-b'].result == true"),
        ("not {{ args.dry | default(false) }}", "not args.dry | default(false)"),
        ("{{ args.n + 1 }} in [1, 2]", "(args.n + 1) in [1, 2]"),
        ("{{ 'a' if x else 'b' }} == 'a'", "('a' if x else 'b') == 'a'"),
        ("  '{{ args.mode }}'=='full' and {{ y }}\n", "args.mode=='full' and y"),
        ("{{- args.n -}} == 1", "args.n == 1"),
    ],
)
def test_parts_in_braces_are_taken_out_of_them(condition: str, meant: str) -> None:
    """With their quotes, and in brackets where they are more than a name."""
    assert as_one_expression(condition) == meant


@pytest.mark.parametrize(
    "condition",
    [
        "args.mode == 'full'",
        "{{ args.mode == 'full' }}",
        " {{ args.n > 2 }}\n",
        "{% if args.n > 2 %}true{% else %}false{% endif %}",
        "{{ {'a': 1}.a == 1 }}",
        "{{ '}}' == x }}",
        "true",
    ],
)
def test_what_is_one_expression_or_statements_is_left(condition: str) -> None:
    """So are braces within one."""
    assert as_one_expression(condition) is None
