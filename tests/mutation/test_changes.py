"""The small changes that can be made to a file."""

from __future__ import annotations

import textwrap

import pytest

from mutation.changes import changes_of


def mutants_of(source: str) -> set[str]:
    """Every source that one change makes of this one."""
    text = textwrap.dedent(source).encode()
    return {change.apply(text).decode() for change in changes_of(text) if change.compiles(text)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"a <= b"}),
        ("a <= b < c", {"a < b < c", "a <= b <= c"}),
        ("a is not b", {"a is b"}),
        ("a not in b", {"a in b"}),
        ("a and b or c", {"a or b or c", "a and b and c"}),
        ("(a) == (b)", {"(a) != (b)"}),
        ("a + b * c", {"a - b * c", "a + b // c"}),
        ("a += b", {"a -= b", "pass"}),
        ("not a", {"(a)"}),
        ("x = 7", {"x = 8"}),
        ("x = True", {"x = False"}),
        ("f(a, b)", {"f(b, a)", "pass"}),
        ("x = f(a, b=c)", {"x = f(a, )"}),
        ("x = f(b=c, d=e)", {"x = f( d=e)", "x = f(b=c, )"}),
        ("min(a)", {"max(a)", "pass"}),
        ("x = a if b else c", {"x = a if (not (b)) else c"}),
        ("x = a if b is c else d", {"x = a if b is not c else d"}),
        ("x = [a for a in b if a]", {"x = [a for a in b if (not (a))]"}),
        ("x.y = a", {"pass"}),
        ("raise a", {"pass"}),
        ("ä = 'ö' + b", {"ä = 'ö' - b"}),
    ],
)
def test_the_changes_of_a_line(source: str, expected: set[str]) -> None:
    """Each is what a person might have written instead."""
    assert mutants_of(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Words."""',
        "x: int | None",
        "def f(a: int | None) -> int | None: ...",
        "x = f'{a + b}'",
        "assert_never(x)",
        "@dataclass(frozen=True)\nclass A: ...",
        "if TYPE_CHECKING:\n    x = 1",
        "return_ = None",
    ],
)
def test_what_no_test_is_asked_to_notice_is_left_alone(source: str) -> None:
    """Prose, annotations, and what only a type checker sees."""
    assert mutants_of(source) == set()


def test_a_function_may_return_nothing_and_a_loop_go_on() -> None:
    """What a statement was there for is missing, and the rest is as it was."""
    made = mutants_of(
        """
        def f(a):
            for b in a:
                if b:
                    break
                await_(b)
            return a
        """
    )

    assert {each.count("pass") for each in made} == {0, 1}
    assert any("return None" in each for each in made)
    assert any("if (not (b)):" in each for each in made)
    assert len(made) == 4


def test_a_change_knows_its_line_and_that_of_its_statement() -> None:
    """So the tests that run the statement are found, whatever part of it is changed."""
    (swapped, constant, *_) = changes_of(b"\n\nx = f(\n    a,\n    b, 7,\n)\n")

    assert (swapped.line, swapped.statement) == (4, 3)
    assert (constant.line, constant.statement) == (5, 3)
