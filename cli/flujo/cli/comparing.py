"""Compare two runs: what they were given, the definitions they have, and what became of each step.

A run is a list of named texts, `facts_of`; two runs differ by the names that one of them lacks and by the texts that
are not equal. Texts are compared line by line, other values as JSON with a line for each member.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from itertools import islice
from typing import Any

from flujo.kernel import StoredDefinition, WorkflowState
from flujo.kernel.errors import Difference

LINES = 200
"""How many lines of one difference are shown at most."""


def facts_of(state: WorkflowState, definition: StoredDefinition | None) -> dict[str, str]:
    """Return what is to be compared of a run, by name; a step that has not begun is not among it."""
    facts = {"workflow": state.workflow, "version": state.version or "", "status": state.status}
    facts |= {f"inputs.{name}": as_lines(value) for name, value in state.inputs.items()}
    facts |= {f"labels.{name}": label for name, label in state.labels.items()}
    facts |= {f"variables.{name}": as_lines(value) for name, value in state.variables.items()}
    facts["definition"] = state.definition or "" if definition is None else definition.text
    for name, step in state.steps.items():
        facts[f"steps.{name}.status"] = step.status
        if step.output_json is not None:
            facts[f"steps.{name}.output"] = as_lines(step.output)
        if step.error is not None:
            facts[f"steps.{name}.error"] = f"{step.error.type}: {step.error.message}"
    if state.output is not None:
        facts["output"] = as_lines(state.output)
    return facts


def as_lines(value: Any) -> str:
    """Return a text as it is, and any other value as JSON with a line for each member."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[Difference]:
    """Yield what is not the same, in the order of the first run and then of the second."""
    for name in dict.fromkeys((*one, *other)):
        if name not in other:
            yield Difference(name, "removed", "\n".join(line_by_line(one[name], "")))
        elif name not in one:
            yield Difference(name, "inserted", "\n".join(line_by_line("", other[name])))
        elif one[name] != other[name]:
            yield Difference(name, "changed", "\n".join(line_by_line(one[name], other[name])))


def line_by_line(one: str, other: str) -> Iterator[str]:
    """Yield how one text becomes another one, as `diff -u` shows it but for the names of the two."""
    lines = unified_diff(one.splitlines(), other.splitlines(), n=2, lineterm="")
    found = list(islice(lines, 2, LINES + 3))
    yield from found[:LINES]
    if len(found) > LINES:
        yield "…"
