"""`flujoctl version`: show the versions in use, for bug reports."""

from __future__ import annotations

import platform
import sqlite3

from flujo.cli.command_index import VERSION
from flujo.cli.output import emit
from flujo.cli.session import Session, declare


@declare("version")
def command(session: Session) -> int:
    """Show the versions of flujoctl, Python, SQLite and the platform."""
    versions = {
        "flujoctl": VERSION,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
    }
    if session.output == "name":
        print(VERSION)
    elif session.output != "table":
        emit(versions, session.output)
    else:
        for name, version in versions.items():
            print(f"{name:<10}{version}")
    return 0
