"""`flujoctl token revoke`: let somebody in no longer."""

from __future__ import annotations

from pathlib import Path

import click

from flujo.cli.commands.token import COMMANDS, tokens_file
from flujo.cli.session import Session, declare, harmless
from flujo.server.tokens import revoke


@declare("revoke", formats=("table", "name"), short_help=COMMANDS["revoke"])
@click.argument("which", metavar="ID|NAME")
@click.option("--tokens", metavar="FILE", type=Path, help="the file of tokens (default: tokens.json beside the store)")
def command(session: Session, which: str, tokens: Path | None) -> int:
    """Let in no longer the token with this id, or all tokens and certificates of this name.

    A running server refuses their next call, and ends a watch that is open before its next message.
    """
    for entry in revoke(tokens_file(session, tokens), which):
        print(harmless(entry.id if session.output == "name" else f"revoked {entry.id} of {entry.name}"))
    return 0
