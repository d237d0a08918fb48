"""A checksum in every row: it tells that something in the row has changed since the row was made.

It is of 62 bits, made with XXH3: of all that is quick enough for a step, which makes three of them, the quickest by far
on a kilobyte (ADR 0012). It is no protection against anyone who means to change a store.

What it is computed of is what Python has at hand. Text is in UTF-8; numbers are added up, and the hash begins with the
sum, so that no changed byte of one leaves it as it was. xxhash itself takes the sum modulo 2 to the power of 64.

    event      from hash(uid) + at + 256 × seq + format: type, U+001F, body; plus hash(payload, or its digest, if any)
    summary    from hash(the rest) + updated_at + 256 × seq + steps_done: current_step; plus hash(owner, token)
    others     the values with U+001F between them, numbers in decimal, NULL as U+001E

All this is part of the schemas of the backends that use it: another formula is another schema, and a migration. A
backend whose SQL cannot compute a checksum leaves out what SQL changes, the owner and the token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from xxhash import xxh3_64_intdigest as hash_of

from flujo.kernel.backend import RunSummary

HOT = ("seq", "updated_at", "current_step", "steps_done")
"""What a step changes in a summary. They come last, so that the checksum of the others need not be computed again."""

OWNERSHIP = ("owner", "token")

_STEADY = tuple(name for name in RunSummary._fields if name not in (*HOT, *OWNERSHIP))
_steady: Callable[[RunSummary], tuple[Any, ...]] = itemgetter(*map(RunSummary._fields.index, _STEADY))
_hot: Callable[[RunSummary], tuple[Any, ...]] = itemgetter(*map(RunSummary._fields.index, HOT))

BITS = (1 << 62) - 1
"""So many bits, that SQL can add two of them."""


def of_event(run: int, row: Sequence[Any], blob: bytes | None = None) -> int:
    """Return the checksum of an event. `run` is `of_uid` of its run, `blob` the digest of a payload that lies
    elsewhere."""
    seq, at, type, format, body, payload = row
    checksum = hash_of(f"{type}\x1f{body}".encode(), run + at + (seq << 8) + format)
    if blob is not None:
        checksum += hash_of(blob)
    elif payload is not None:
        checksum += hash_of(payload.encode())  # to begin with a sum makes XXH3 of a long text a microsecond slower
    return checksum & BITS


@lru_cache(maxsize=10_000)
def of_uid(uid: str) -> int:
    """Return the part of the checksums of a run's events that is the same for all of them."""
    return hash_of(uid.encode())


def of_summary(summary: RunSummary) -> int:
    """Return the checksum of a summary."""
    return of_hot(of_steady(summary), of_ownership(summary.owner, summary.token), _hot(summary))


def of_steady(summary: RunSummary) -> int:
    """Return the checksum of what a step does not change, without owner and token: `of_hot` completes it."""
    return of_values(*_steady(summary))


def of_unowned(summary: RunSummary, steady: int) -> int:
    """Return the checksum of a summary without its owner and token, which SQL may change then."""
    return of_hot(steady, 0, _hot(summary))


def of_ownership(owner: str | None, token: int) -> int:
    """Return the part of a summary's checksum that is about its owner."""
    return of_values(owner, token)


def of_hot(steady: int, ownership: int, hot: tuple[Any, ...]) -> int:
    """Return the checksum of a summary, of those of its other parts and the values of HOT."""
    seq, updated_at, current_step, steps_done = hot
    step = "\x1e" if current_step is None else current_step
    return (hash_of(step.encode(), steady + updated_at + (seq << 8) + steps_done) + ownership) & BITS


def of_values(*values: str | int | None) -> int:
    """Return the checksum of any other row."""
    return hash_of("\x1f".join(["\x1e" if value is None else str(value) for value in values]).encode()) & BITS
