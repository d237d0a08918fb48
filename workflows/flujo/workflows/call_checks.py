"""Whether a template calls filters, tests and functions with the arguments they take, which Jinja2 finds out only when
it gets there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from .wording import nearest


def problem_with_call(kind: str, name: str, function: Callable[..., Any], node: Any, given: int) -> str | None:
    """Return what is wrong with the arguments of a call, None if nothing is or it cannot be told. `given` arguments
    come before those that are written: the value that is filtered or tested."""
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        return None
    if kind == "filter" and name in _NEEDING_ONE and not (node.args or node.kwargs):
        return f"filter `{name}` needs {_NEEDING_ONE[name]}"
    takes = _parameters(function)
    if takes is None:
        return None
    try:
        inspect.Signature(takes).bind(*[None] * given, *node.args, **{each.key: each for each in node.kwargs})
    except TypeError as error:
        unknown = next((each.key for each in node.kwargs if each.key not in {own.name for own in takes}), None)
        return _told(kind, name, takes[given:], str(error), unknown)
    return None


_NEEDING_ONE = {
    "map": "the name of a filter, or `attribute=`",
    "selectattr": "the name of an attribute",
    "rejectattr": "the name of an attribute",
}
"""Filters that take any arguments, and need one."""


@lru_cache(maxsize=256)
def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...] | None:
    """Return what a function takes from a template: without what Jinja2 hands it, such as the environment."""
    function = inspect.unwrap(function)  # Jinja2 marks what it wraps as well, and the mark says nothing of the inside
    try:
        parameters = tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C, without a signature
        return None
    return parameters[1:] if hasattr(function, "jinja_pass_arg") else parameters


def _told(kind: str, name: str, takes: Sequence[inspect.Parameter], problem: str, unknown: str | None) -> str:
    names = [each.name for each in takes if each.kind is not inspect.Parameter.VAR_POSITIONAL]
    if unknown is not None:
        meant = nearest(unknown, names)
        hint = f"; did you mean `{meant}`?" if meant else f"; it takes: {', '.join(names) or 'nothing'}"
        return f"{kind} `{name}` takes no `{unknown}`{hint}"
    needed = [each.name for each in takes if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]
    if problem.startswith("missing"):
        named = " and ".join(f"`{each}`" for each in needed)
        return f"{kind} `{name}` needs {named}, as in {_example(kind, name, needed)}"
    return f"{kind} `{name}` is given too much: it takes {', '.join(names) or 'nothing'}"


def _example(kind: str, name: str, needed: Sequence[str]) -> str:
    arguments = ", ".join(needed)
    return {"filter": f"x | {name}({arguments})", "test": f"x is {name}({arguments})"}.get(kind, f"{name}({arguments})")
