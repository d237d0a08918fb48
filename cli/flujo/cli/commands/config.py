"""`flujoctl config`: show which store or server a command here works on, and which setting says so."""

from __future__ import annotations

from typing import Any

from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare
from flujo.cli.settings import settings_here
from flujo.cli.text import printable


@declare("config", formats=("table", "json", "jsonl", "yaml"))
def command(session: Session) -> int:
    """Show which store or server commands in this folder work on, and what says so. Changes nothing.

    Settings are options, then variables, then `server` and `store` in the nearest flujo.toml upwards; there is no
    other file. Passwords and tokens are not shown.
    """
    settings = settings_here(session)
    if session.output != "table":
        emit_all([_object(*each) for each in settings], session.output)
        return 0
    width = max(len(value) for _, value, _ in settings)
    for name, value, origin in settings:
        print(f"{name:<22}{printable(value):<{width}}  {printable(origin)}".rstrip())
    return 0


def _object(name: str, value: str, origin: str) -> dict[str, Any]:
    return {"name": name, "value": value, "from": origin}
