"""Rules by what a failure says: which are refused, and where they are searched for."""

from __future__ import annotations

import pytest

from flujo.kernel.programs import NO_RETRY, RetryPolicy
from flujo.workflows.failure_texts import MOST_SEARCHED, found_in, name_of, problem_with_rules, rules_of


class ToolError(Exception):
    """An error of a command."""

    def __init__(self, *said: str) -> None:
        super().__init__("the command ended with code 1, and printed nothing: grep boom")
        self.said = said


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (["boom", "^E4[0-9]+$", "(?i)try later"], None),
        (["boom", "(a"], "'(a' is not a regular expression: unclosed group (at its character 1)"),
        (["(?=a)"], "'(?=a)' is not a regular expression: look-around"),
        ([r"(a)\1"], "is not a regular expression: backreferences are not supported"),
        (["a" * 1_001], "has at most 1000 characters, not 1001"),
        (["(ab){200}", "(abc){300}"], "characters with all it counts, at most 1000 go"),
    ],
)
def test_what_takes_too_long_to_search_for_is_refused(rules: list[str], problem: str | None) -> None:
    """And so is what is no regular expression."""
    told = problem_with_rules(rules)

    assert told is None if problem is None else problem in str(told)


def test_a_policy_knows_its_rules() -> None:
    """Those of both keys, beside names of errors."""
    policy = RetryPolicy(on_error=["OSError", name_of("boom")], give_up_on=[name_of("^no"), "ValueError"])

    assert rules_of(policy) == ["boom", "^no"]
    assert rules_of(NO_RETRY) == []


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ValueError("boom"), True),
        (ValueError("a\nboom\nb"), True),
        (ValueError("a boom"), False),
        (ToolError("", ""), False),
        (ToolError("boom\n", ""), True),
        (ToolError("x" * MOST_SEARCHED, "boom"), True),
        (ToolError("boom\n" + "x" * MOST_SEARCHED), False),
        (ToolError("x" * MOST_SEARCHED + "\nboom"), True),
        (ExceptionGroup("two", [ValueError("boom"), OSError()]), False),
    ],
    ids=str,
)
def test_a_rule_is_searched_for_in_what_an_error_says(error: Exception, found: bool) -> None:
    """In the ends of its outputs if it has any, line by line, and else in its message; never in the command itself."""
    kinds = found_in(error, ["^boom$"], "a", 1).failed.kinds

    assert all((name_of("^boom$") in names) is found for names in kinds)
    assert kinds
