"""`flujoctl token`: who a server on TCP lets in. Each of its commands is a module of its name."""

from __future__ import annotations

from pathlib import Path

from flujo.cli.groups import CommandGroup
from flujo.cli.session import Session
from flujo.cli.source_files import unreadable

COMMANDS = {
    "create": "make a token, or let a certificate in",
    "list": "list who is let in",
    "revoke": "let somebody in no longer",
}


def tokens_file(session: Session, given: Path | None) -> Path:
    """Return the file of tokens to work on: the one given, else the one beside the store.

    Raises SourceNotFoundError for a folder."""
    if given is not None and given.is_dir():
        raise unreadable(given, IsADirectoryError())
    return given or session.store_target.tokens


command = CommandGroup(
    "token",
    COMMANDS,
    help="Make, list and revoke the tokens of a server on TCP. The server sees a change with the next call.",
    short_help="make, list and revoke tokens for a server on TCP",
)
