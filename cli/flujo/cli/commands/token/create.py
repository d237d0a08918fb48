"""`flujoctl token create`: make a token, or let a certificate in."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import click

from flujo.cli.commands.token import COMMANDS, tokens_file
from flujo.cli.output import emit
from flujo.cli.session import Session, declare
from flujo.kernel.durations import MICROSECONDS, format_instant, parse_duration
from flujo.server.tokens import Role, add_certificate, add_token


@declare("create", formats=("table", "json", "jsonl", "yaml"), short_help=COMMANDS["create"])
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="what it may do")
@click.option("--certificate", is_flag=True, help="make no token: let in who shows a certificate with this NAME in it")
@click.option("--expires", metavar="DURATION", help="let it in for so long only, such as 90d (default: until revoked)")
@click.option("--tokens", metavar="FILE", type=Path, help="the file of tokens (default: tokens.json beside the store)")
def command(session: Session, name: str, role: str, certificate: bool, expires: str | None, tokens: Path | None) -> int:
    """Make a token for NAME and print it: this once, since only its digest is stored.

    A viewer reads, an operator also starts runs and acts on them, an admin also deletes and prunes. The name stands in
    events and logs. One name may have several tokens, so that one can be replaced by another.
    """
    path, now = tokens_file(session, tokens), time.time_ns() // 1000
    expires_at = None if expires is None else now + round(parse_duration(expires) * MICROSECONDS)
    if certificate:
        add_certificate(path, name, Role(role), now, expires_at=expires_at)
        made = None
    else:
        made = add_token(path, name, Role(role), now, secrets.token_bytes, expires_at=expires_at)
    if session.output != "table":
        told = {"name": name, "role": role, "token": made, "file": str(path)}
        emit({**told, "expires_at": format_instant(expires_at)}, session.output)
    elif made is not None:
        print(made)
    until = "" if expires_at is None else f" until {format_instant(expires_at)}"
    session.note(f"{name!r} is let in as {role}{until} by servers that are started with --tokens {path}")
    return 0
