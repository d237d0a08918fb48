"""Retry rules by what a failure says: `on_text` and `give_up_on_text` of `retry`.

    retry: {max_attempts: 5, on_text: [connection reset, '^E429'], give_up_on_text: no such host}

A rule is a regular expression (`patterns.py`), searched for in the end of each output of a command, which its error
has as `said`, and in the message of any other error. A failure in which it is found has one name more by which a retry
policy may know it, as a return code is `ExitCode75` to it; the kernel knows of names only.
"""

from __future__ import annotations

from collections.abc import Sequence

from flujo.kernel.programs import Described, RetryPolicy, described

from .patterns import matches as is_found
from .patterns import problem_with, size_of

MOST_SEARCHED = 65_536
"""Characters of a text, from its end, in which a rule is searched for."""
MAX_SIZE = 1_000
"""What the rules of one key may come to together, as `patterns.size_of` counts: it bounds the time of a search, during
which nothing else happens, to about 0.1 s."""

_NAME = "text "


def name_of(rule: str) -> str:
    """Return the name by which a retry policy knows a failure in which a rule is found."""
    return _NAME + rule


def problem_with_rules(rules: Sequence[str]) -> str | None:
    """Return what is wrong with the rules of one key, as the end of a sentence that begins with its name."""
    for rule in rules:
        if problem := problem_with(rule):
            return f"{rule[:80]!r} {problem}"
    size = sum(size_of(rule) for rule in rules)
    return None if size <= MAX_SIZE else f"stands for {size} characters with all it counts, at most {MAX_SIZE} go"


def rules_of(policy: RetryPolicy) -> list[str]:
    """Return the rules by texts that a policy has."""
    names = (*(policy.on_error or ()), *policy.give_up_on)
    return [name.removeprefix(_NAME) for name in names if name.startswith(_NAME)]


def found_in(error: Exception, rules: Sequence[str], step: str, attempt: int) -> Described:
    """Return the error that has ended an attempt as it is recorded, with the names of the rules that are found."""
    failed = described(error, step, attempt)
    texts = _said(error) or (failed.failure.message,)
    found = tuple(name_of(rule) for rule in rules if any(_is_in(rule, text) for text in texts))
    return Described(failed._replace(kinds=tuple((*names, *found) for names in failed.kinds)))


def _said(error: BaseException) -> Sequence[str]:
    said = getattr(error, "said", ())
    return said if isinstance(said, tuple) and all(isinstance(text, str) for text in said) else ()


def _is_in(rule: str, text: str) -> bool:
    return is_found(_by_lines(rule), text[-MOST_SEARCHED:])


def _by_lines(rule: str) -> str:
    """Return a rule whose `^` and `$` are the ends of a line."""
    return f"(?m){rule}"
