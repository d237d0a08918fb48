"""What a backend stores of an event, which it need not understand."""

from __future__ import annotations

from typing import NamedTuple


class EventRow(NamedTuple):
    """An event as a backend stores it. `payload` is the one large field of some kinds, kept apart from the small
    `body`."""

    seq: int
    at: int
    type: str
    format: int
    body: str  # JSON text of an object
    payload: str | None  # JSON text of any value
