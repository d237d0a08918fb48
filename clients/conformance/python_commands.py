"""What both drivers of Python clients share: reading commands, and telling answers and errors."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from flujo.client import Credentials
from flujo.kernel import WorkflowState
from flujo.kernel.api import NewRun, StartOptions
from flujo.kernel.errors import CallTimeoutError, DefinitionError, FlujoError, ServerUnreachableError
from flujo.workflows import load_workflow_text

CODES = {CallTimeoutError: "DEADLINE_EXCEEDED", ServerUnreachableError: "UNAVAILABLE"}
"""Of errors that the client itself raises; those of a server have a reason."""


def commands() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each command, and its parts."""
    for line in sys.stdin:
        parts = json.loads(line)
        yield parts.pop("do"), parts


def say(**line: Any) -> None:
    """Print a line."""
    print(json.dumps(line), flush=True)


def told(error: FlujoError) -> dict[str, Any]:
    """What an error tells."""
    named = getattr(error, "what", None) or getattr(error, "field", None)
    if isinstance(error, DefinitionError):
        named = "definition"
    return {
        "code": CODES.get(type(error), ""),
        "reason": error.reason,
        "message": str(error),
        "fields": [] if named is None else [named],
        "hints": list(error.hints),
    }


def client_options(parts: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a client."""
    paths = {name: Path(parts[name]) for name in ("ca", "certificate", "key") if name in parts}
    made: dict[str, Any] = {"credentials": Credentials(token=parts.get("token"), **paths)}
    if "call_seconds" in parts:
        made["call_seconds"] = math.inf if parts["call_seconds"] == "inf" else parts["call_seconds"]
    return made


def values(parts: dict[str, Any], *names: str) -> dict[str, Any]:
    """The parts with those that are JSON text read, and without a client."""
    return {name: json.loads(value) if name in names else value for name, value in parts.items() if name != "client"}


def start_values(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts of a start; a workflow as YAML is read before it is sent along."""
    read = values(parts, "inputs")
    if (text := read.pop("definition", None)) is not None:
        read["workflow"] = load_workflow_text(text, read["workflow"])
    return read


def new_runs(parts: dict[str, Any]) -> list[NewRun]:
    """The runs that many starts ask for."""
    read = [start_values(each) for each in parts["starts"]]
    return [NewRun(each.pop("workflow"), each.pop("inputs", None), cast(StartOptions, each)) for each in read]


def told_outcomes(outcomes: Iterable[Any]) -> list[dict[str, Any]]:
    """What became of each of many starts."""
    return [
        {"error": told(each)} if isinstance(each, FlujoError) else {"run_id": each.run_id, "created": each.created}
        for each in outcomes
    ]


def settled(state: WorkflowState) -> dict[str, Any]:
    """How a run has ended."""
    return {"status": str(state.status), "output": json.dumps(state.output)}
