"""`flujoctl db info`: show the size, settings and users of a store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flujo.backends import open_backend
from flujo.cli.commands.db import COMMANDS
from flujo.cli.maintenance import own_store, run_interruptible
from flujo.cli.output import emit
from flujo.cli.session import Session, declare


@declare("info", formats=("table", "json", "jsonl", "yaml"), short_help=COMMANDS["info"])
def command(session: Session) -> int:
    """Show where a store is, its sizes, settings and versions, and which processes have it open.

    The names are those of its backend; its page in docs/ explains them.
    """
    store = own_store(session)

    async def look() -> Mapping[str, Any]:
        async with open_backend(store.url) as backend:
            return {"store": store.shown, **await backend.details()}

    details = run_interruptible(look)
    if session.output != "table":
        emit(dict(details), session.output)
        return 0
    width = max(map(len, details)) + 2
    for name, value in details.items():
        if value is not None:
            print(f"{name:<{width}}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    return 0
