"""Large payloads: kept once each, under the digest of their text, however many events have them.

An event that has one names its digest instead of holding the text. Nobody above this package knows. What is no longer
used goes with the last event that used it, by a trigger of the schema.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator

from flujo.kernel.events import EventRow

LARGEST_INLINE = 16_384
"""Characters a payload may have to lie in its event. A new text costs 1.6 to 1.8 times as much to write as a blob, at
any size: 30 µs more at this one, about what a step costs otherwise. Smaller ones are so many that it would be felt, and
take so little room that it would not pay."""

PAYLOAD = "CASE WHEN blob IS NULL THEN payload ELSE (SELECT text FROM blobs WHERE digest = blob) END"
"""SQL: the payload of an event, wherever it is."""

SIZE = (
    "length(CAST(body AS BLOB)) + CASE WHEN blob IS NULL THEN coalesce(length(CAST(payload AS BLOB)), 0)"
    " ELSE (SELECT length(CAST(text AS BLOB)) FROM blobs WHERE digest = blob) END"
)
"""SQL: the bytes of an event, wherever they are; a shared text counts for each event that has it."""


def digest_of(text: str) -> bytes:
    """Return the name of a text."""
    return hashlib.blake2b(text.encode(), digest_size=32).digest()


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
