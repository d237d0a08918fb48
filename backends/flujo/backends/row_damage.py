"""What becomes of rows that are not what was written, in every backend whose rows have checksums.

A backend says how one of its rows is read and which error tells of damage; what follows from that is said here once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from flujo.kernel.backend import EventRow

Value = TypeVar("Value")
Row = Sequence[Any]


def sound(
    read: Callable[[Row], Value], rows: Sequence[Row], damage: type[Exception], logger: logging.Logger
) -> list[Value]:
    """Return what the rows mean without those that are damaged: `read` raises `damage` for them. They stay, for `check`
    to name: nothing that is sound must wait for them."""
    found: list[Value] = []
    for row in rows:
        try:
            found.append(read(row))
        except damage as error:
            logger.error("it stays as it is: %s", error)
    return found


def journal_of(
    read: Callable[[Row], EventRow], rows: Sequence[Row], after_seq: int, last: int, limit: int
) -> tuple[list[EventRow], str | None]:
    """Return the events of a journal after one of them, up to a limit, and which of those up to the `last` is the first
    that is missing, if one is."""
    found: list[EventRow] = []
    seq = after_seq
    for row in rows:
        seq += 1
        if row[0] != seq:
            break
        found.append(read(row))
    is_short = len(found) < min(limit, last - after_seq)
    return found, f"event {after_seq + len(found) + 1}" if is_short else None
