"""Bringing a store of an earlier release to the schema of this one.

`migrations/N.sql` turns schema N-1 into N; all together make an old store equal to a new one. Each is one transaction
that also says the new schema, so a crash leaves a store of one schema or of the other. Before the first, a copy that
was read through and synced lies beside the store: the way back to the earlier release.

An earlier release does not know what this one writes, so a store is migrated only while nobody else has it open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing

from flujo.kernel.trust import remove_own

from . import checksums, copies, files, schema
from .connection import in_transaction, open_exclusively


def pending(found: int, known: int = files.SCHEMA) -> Sequence[int]:
    """Return the migrations a store of this schema needs, in order; each is named after the schema it leads to."""
    return range(found + 1, known + 1)


def migrate(places: files.StoreFiles, alive: Sequence[str]) -> None:
    """Copy and migrate the store, if it needs it. `alive` are the kernels that are. Needs the store lock.

    Raises StoreInUseError if anybody else has the store open, CorruptStoreError if it is damaged; then it is as it was.
    """
    with closing(open_exclusively(places, "migrating to this release", alive)) as connection:
        checksums.register(connection)
        found = files.schema_of(places.store, connection)  # with the log, which may know more than the file
        schema.require_own_triggers(places.store, connection, complete=False)
        if pending(found):
            _back_up(places, found, connection)
        for version in pending(found):
            _apply(version, connection)


def _back_up(places: files.StoreFiles, found: int, connection: sqlite3.Connection) -> None:
    """Leave a copy beside the store. An earlier one is of a store that went on since, so this one takes its place."""
    unfinished = places.kernels / "backup.db"
    remove_own(unfinished)  # of a process that died in here
    copies.copy(places.store, connection, unfinished, files.mode_for(places.database))
    unfinished.replace(places.beside(f".schema-{found}.backup"))
    files.sync(places.database.parent)


def _apply(version: int, connection: sqlite3.Connection) -> None:
    script = schema.script(f"migrations/{version}.sql")

    def change(connection: sqlite3.Connection) -> None:
        for statement in schema.statements(script):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")

    in_transaction("BEGIN IMMEDIATE", change, connection)
