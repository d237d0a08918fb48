"""Large payloads: kept once each, under the digest of their text, however many events have them.

An event that has one names its digest instead of holding the text. Nobody above this package knows. What is no longer
used goes with the last event that used it, by a trigger of the schema.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from flujo.backends.payloads import LARGEST_INLINE as LARGEST_INLINE
from flujo.backends.payloads import digest_of as digest_of
from flujo.kernel.backend import EventRow

PAYLOAD = "CASE WHEN blob IS NULL THEN payload ELSE (SELECT text FROM blobs WHERE digest = blob) END"
"""SQL: the payload of an event, wherever it is."""

SIZE = (
    "length(CAST(body AS BLOB)) + CASE WHEN blob IS NULL THEN coalesce(length(CAST(payload AS BLOB)), 0)"
    " ELSE (SELECT length(CAST(text AS BLOB)) FROM blobs WHERE digest = blob) END"
)
"""SQL: the bytes of an event, wherever they are; a shared text counts for each event that has it."""


def split(rows: Iterable[EventRow]) -> Iterator[tuple[EventRow, bytes | None, str | None]]:
    """(row, digest, text) of each event: what stays in it, and the large payload that goes beside it, if it has one."""
    for row in rows:
        if row.payload is None or len(row.payload) <= LARGEST_INLINE:
            yield row, None, None
        else:
            yield row._replace(payload=None), digest_of(row.payload), row.payload


def keep(texts: Iterable[tuple[bytes, str]], connection: sqlite3.Connection) -> None:
    """Store these (digest, text), as far as they are not there."""
    connection.executemany("INSERT INTO blobs VALUES (?, ?) ON CONFLICT DO NOTHING", texts)
