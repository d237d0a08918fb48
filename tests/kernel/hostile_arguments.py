"""A value of a wrong type for every argument of every public method of a class, by what its signature says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints, is_typeddict

from flujo.kernel import Workflow
from kernel.flows import doubling

NO_TEXT = (5, b"x", ["a"], object())
NO_NUMBER = ("5", [5], True, object())
NO_MAPPING = ([1], 5, "ab", {1: 2}, object())
NO_LIST_OF_TEXTS = ("failed", b"failed", 5, [5], {"failed": 1}, object())

HOSTILE: dict[str, tuple[Any, ...]] = {
    "str": (*NO_TEXT, None),
    "str | None": NO_TEXT,
    "bool": ("no", 1, None, []),
    "int": (*NO_NUMBER, 2.5, None),
    "int | None": (*NO_NUMBER, 2.5),
    "float | None": NO_NUMBER,
    "float | int | str | timedelta": ([5], b"5s", True, None, object()),
    "float | int | str | timedelta | None": ([5], b"5s", True, object()),
    "datetime | int | None": ("yesterday", 2.5, True, [5], object()),
    "Mapping[str, Any] | None": NO_MAPPING,
    "Mapping[str, str] | None": NO_MAPPING,
    "Sequence[str]": NO_LIST_OF_TEXTS,
    "Sequence[NewRun]": ("report", 5, {"a": 1}, object()),
    "Collection[str]": NO_LIST_OF_TEXTS,
    "Sequence[SetOutput | Skip | SetVariable | Complete]": ("SetOutput", 5, ["a"], object()),
    "Workflow | str": (5, b"doubling", None, len, object()),
    "Workflow | None": (5, "doubling", len, object()),
    "Workflow": (5, "doubling", None, len, object()),
    "RunSummary": ("r", 5, None, object()),
    "WorkflowState": ("r", 5, None, object()),
    "Path": ("copy", 5, None, object()),
    "Export": ({}, "{}", 5, None, object()),
    "Callable[[int, int], None]": ("progress", 5, None, object()),
    "Callable[[StoredDefinition], Workflow]": ("load", 5, None, object()),
}
"""What is no value of a type. A type that is not here fails the test of the argument that has it."""

ANY = {"Any"}
"""Types of values that the journal judges (test_values.py)."""

FITTING: dict[str, Any] = {
    "run_id": "r",
    "name": "go",
    "step": "fetch",
    "value": 1,
    "output": 1,
    "changes": [],
    "workflow": doubling,
    "address": "unix:server.sock",
    "text": "name: x",
    "target": Path("copy"),
    "export": None,
}
"""What else a call needs."""


class Argument(NamedTuple):
    """One argument of a public method. `needed` are the others that it cannot do without."""

    method: str
    name: str
    type: str
    needed: dict[str, Any]


def declared_types(call: Callable[..., Any]) -> dict[str, str]:
    """The arguments of a function, and their types as they are written in a signature."""
    hints = get_type_hints(call, include_extras=True)
    return {name: _written(hint) for name, hint in hints.items() if name != "return"}


def arguments_of(cls: type) -> Iterator[Argument]:
    """Every argument of every public method of a class, with the keywords that a TypedDict declares."""
    for method, call in inspect.getmembers(cls, inspect.isfunction):
        if method.startswith("_"):
            continue
        declared = _declared(call)
        parameters = list(inspect.signature(call).parameters.values())[1:]
        needed = [each.name for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
        for name, type in declared.items():
            yield Argument(method, name, type, {each: FITTING[each] for each in needed if each != name})


@cache
def _declared(call: Callable[..., Any]) -> dict[str, str]:
    hints = get_type_hints(call, include_extras=True)
    found: dict[str, str] = {}
    for each in list(inspect.signature(call).parameters.values())[1:]:
        if each.kind is each.VAR_KEYWORD:
            options = get_args(hints[each.name])[0]
            assert is_typeddict(options)
            found |= {name: _written(hint) for name, hint in get_type_hints(options, include_extras=True).items()}
        else:
            found[each.name] = _written(hints[each.name])
    return found


def _written(hint: Any) -> str:
    """A type as it is written in a signature, without modules."""
    if hint is Any:
        return "Any"
    if isinstance(hint, type) and not get_args(hint):
        return "None" if hint is type(None) else hint.__name__
    text = str(hint)
    for prefix in ("collections.abc.", "typing.", "datetime."):
        text = text.replace(prefix, "")
    text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text)
    for name, alias in (("Count", 1), ("CountOrZero", 0)):
        text = text.replace(f"Annotated[int, AtLeast(least={alias})]", name)
    text = re.sub(r"\bWorkflow\[[^\]]*\]", Workflow.__name__, text)
    if (optional := re.fullmatch(r"Optional\[(.*)\]", text)) is not None:
        return f"{optional[1]} | None"
    if (union := re.fullmatch(r"Union\[(.*)\]", text)) is not None:
        return union[1].replace(", ", " | ").replace("NoneType", "None")
    return text
