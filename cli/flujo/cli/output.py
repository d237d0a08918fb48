"""Print the answer of a command on stdout, in the format that was asked for."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .session import Session

if TYPE_CHECKING:
    from flujo.kernel import WorkflowState


_HARMFUL = re.compile("[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]")
"""What moves the cursor of a terminal, turns the order of a text around, or hides in it. JSON and YAML can write it as
letters in quotes, which mean the same to whoever reads them."""


def emit(value: Any, format: str) -> None:
    """Print one object as json, jsonl or yaml."""
    if format == "yaml":
        print(_yaml(value), end="")
    elif format == "jsonl":
        print(_json(value, separators=(",", ":")), flush=True)
    else:
        print(_json(value, indent=2))


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


def _json(value: Any, **layout: Any) -> str:
    text = json.dumps(value, ensure_ascii=_is_ascii(), **layout)
    return _HARMFUL.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _yaml(value: Any) -> str:
    import yaml

    from flujo.workflows.document_writer import quoting

    class Dumper(yaml.SafeDumper):
        """Puts a text in quotes, where a character can be written as letters, if that is needed."""

        def represent_text(self, text: str) -> yaml.ScalarNode:
            return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _HARMFUL.search(text) else None)

    Dumper.add_representer(str, Dumper.represent_text)
    plain = json.loads(json.dumps(value))  # YAML itself refuses what JSON writes as text, such as a status
    text = str(yaml.dump(plain, Dumper=quoting(Dumper), allow_unicode=not _is_ascii(), sort_keys=False, width=120))
    return _HARMFUL.sub(lambda found: f"\\U{ord(found[0]):08X}", text)
