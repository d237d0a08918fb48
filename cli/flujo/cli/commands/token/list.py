"""`flujoctl token list`: list who is let in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from flujo.cli.commands.token import COMMANDS, tokens_file
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, harmless
from flujo.kernel import SystemClock
from flujo.kernel.durations import format_instant
from flujo.server.tokens import read_entries


@declare("list", short_help=COMMANDS["list"])
@click.option("--tokens", metavar="FILE", type=Path, help="the file of tokens (default: tokens.json beside the store)")
def command(session: Session, tokens: Path | None) -> int:
    """List who is let in, in the order they were added. The ids tell tokens of one name apart; no token is shown."""
    now = SystemClock().now()
    entries = read_entries(tokens_file(session, tokens))
    rows = [
        {
            "id": each.id,
            "name": each.name,
            "role": each.role.value,
            "created_at": format_instant(each.created_at),
            "expires_at": format_instant(each.expires_at),
            "expired": not each.is_valid(now),
        }
        for each in entries
    ]
    if session.output == "name":
        print(harmless("\n".join(each.name for each in entries)))
    elif session.output != "table":
        emit_all(rows, session.output)
    else:
        width = max([len(each.name) for each in entries], default=4)
        for row in rows:
            print(
                harmless(f"{row['id']:<12} {row['name']:<{width}}  {row['role']:<9} {row['created_at']}{_until(row)}")
            )
    return 0


def _until(row: Mapping[str, Any]) -> str:
    if row["expires_at"] is None:
        return ""
    return f"  {'expired' if row['expired'] else 'expires'} {row['expires_at']}"
