"""Print the answer of a command on stdout, in the format that was asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .session import Session

if TYPE_CHECKING:
    from flujo.kernel import WorkflowState


def emit(value: Any, format: str) -> None:
    """Print one object as json, jsonl or yaml."""
    if format == "yaml":
        print(_yaml(value), end="")
    elif format == "jsonl":
        print(json.dumps(value, ensure_ascii=_is_ascii(), separators=(",", ":")), flush=True)
    else:
        print(json.dumps(value, ensure_ascii=_is_ascii(), indent=2))


def emit_all(values: Iterable[Any], format: str) -> None:
    """Print several objects: an array in json and yaml, a line each in jsonl."""
    if format == "jsonl":
        for value in values:
            emit(value, format)
    else:
        emit(list(values), format)


def emit_run(state: WorkflowState, session: Session) -> bool:
    """Print a run in the format asked for; False, and nothing printed, if that is table."""
    if session.output == "table":
        return False
    if session.output == "name":
        print(state.run_id)
    else:
        emit(state.to_dict(), session.output)
    return True


def _is_ascii() -> bool:
    """True if stdout cannot hold every character: JSON escapes them then."""
    return not (sys.stdout.encoding or "").lower().startswith("utf")


def _yaml(value: Any) -> str:
    import yaml

    plain = json.loads(json.dumps(value))  # YAML itself refuses what JSON writes as text, such as a status
    return str(yaml.safe_dump(plain, allow_unicode=not _is_ascii(), sort_keys=False, width=120))
