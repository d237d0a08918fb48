"""Which texts are templates, and what is known of one that needs no Jinja2, which takes longer to import than a small
workflow to run: nothing here, nor what imports it, does before there is a template (tests/cli/test_startup.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


def is_template(text: str) -> bool:
    """True if rendering `text` could change it."""
    return "{{" in text or "{%" in text


def in_braces(expression: str) -> str:
    """Return the template that an expression without braces stands for."""
    return "{{ " + expression.strip() + " }}"


def excerpt(source: str) -> str:
    """Return the beginning of a template, to say which one is meant."""
    line = source.strip().partition("\n")[0]
    return line if len(line) <= 80 else line[:79] + "…"


def map_texts(value: Any, change: Callable[[str], Any]) -> Any:
    """Return a copy of the value in which `change` was applied to every template."""
    if isinstance(value, str):
        return change(value) if is_template(value) else value
    if isinstance(value, Mapping):
        return {key: map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    return value


class EvaluationError(ValueError):
    """A template cannot be read or evaluated. `source` is the template, if it is known which one, and `place` where in
    it what is meant begins, in characters."""

    def __init__(self, message: str, source: str = "", place: int = 0) -> None:
        super().__init__(message)
        self.message, self.source, self.place = message, source, place


class TooHeavy(Exception):
    """Not an error: the template may take longer, or more memory, than there is here."""


class References(NamedTuple):
    """What a template mentions by name.

    `fields` pairs a step with one of its fields. `bare_env` and `bare_results` are the variables, and the steps whose
    result, it uses without a `default`, a test or an alternative; `bare_inputs` the names that it uses so, alone or out
    of `args`; `bare_fields` pairs such a step with a field of its result. `members` pairs `args`, `settings` and
    `workflow` with what it takes out of each, None where that cannot be told. `size` counts the parts of the template.
    """

    roots: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    fields: frozenset[tuple[str, str]] = frozenset()
    parameters: frozenset[str] = frozenset()
    env: frozenset[str] = frozenset()
    computed_env: bool = False
    computed_step: bool = False
    bare_env: frozenset[str] = frozenset()
    bare_inputs: frozenset[str] = frozenset()
    bare_results: frozenset[str] = frozenset()
    bare_fields: frozenset[tuple[str, str]] = frozenset()
    members: frozenset[tuple[str, str | None]] = frozenset()
    size: int = 0
