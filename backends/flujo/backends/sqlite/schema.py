"""What the tables of a store are: the SQL texts, and whether a database has the triggers and views they make.

A trigger runs whenever its table changes, a view is read in the place of a table: one that flujo has not made could
change what is recorded, or what is read. Tables and indexes beside ours do no harm.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from pkgutil import get_data

from flujo.kernel.errors import CorruptStoreError, ForeignStoreError


def script(name: str) -> str:
    """Return an SQL text of this package."""
    # Each reader asks for one: importlib.resources would cost it as much as SQLite itself.
    text = get_data(__package__, name)
    if text is None:
        raise FileNotFoundError(name)
    return text.decode("utf-8")


def statements(script: str) -> Iterator[str]:
    """Yield the statements of an SQL text, one by one; a trigger's body holds semicolons of its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def require_own_triggers(store: str, connection: sqlite3.Connection, *, complete: bool = True) -> None:
    """Raise ForeignStoreError for a trigger or a view that flujo has not made, CorruptStoreError for a trigger that is
    not what was written, or is missing where they are to be `complete`: an earlier schema has fewer."""
    query = "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view')"
    left = dict(_own_triggers())
    for type, name, sql in connection.execute(query).fetchall():
        if type == "view" or name not in left:
            raise ForeignStoreError(store, f"flujo has not made its {type} {name!r}")
        if _plain(sql) != left.pop(name):
            raise CorruptStoreError(store, f"its trigger {name!r} is not what was written")
    for name in left if complete else ():
        raise CorruptStoreError(store, f"its trigger {name!r} is missing")


@cache
def _own_triggers() -> dict[str, str]:
    """Return the triggers of the schema, by name."""
    texts = [_plain(statement) for statement in statements(script("schema.sql"))]
    return {text.split()[2]: text for text in texts if text.startswith("CREATE TRIGGER")}


def _plain(sql: str) -> str:
    """Return SQL without comments, line breaks and the semicolon at its end."""
    lines = (line.partition("--")[0] for line in sql.splitlines())
    return " ".join(" ".join(lines).split()).rstrip("; ")
