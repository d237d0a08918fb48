"""What a forked child has of the stores that its parent had open: handles that it must not use.

The threads of a handle are not in the child, so a call would never be answered, and a connection to a server is the
parent's own. Of a database that SQLite had open the child cannot even open another connection: SQLite keeps in the
memory of the process which locks it holds, and takes those of the parent for its own. The last other process to close
the database would then remove its log under the child, with what the child has acknowledged
(tests/backends/test_inherited.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from flujo.kernel.errors import ForkedProcessError, StoreError

INHERITED = "it was opened before this process was forked"
"""Why a handle cannot be used in a forked child."""

_DATABASES: set[tuple[int, int]] = set()  # that SQLite had open in a parent of this process


def unusable(store: str, reason: str) -> StoreError | ForkedProcessError:
    """Return what is raised by the calls of a handle that cannot be used."""
    return ForkedProcessError(f"the store {store}") if reason == INHERITED else StoreError(store, reason)


def note_database(inode: tuple[int, int] | None) -> None:
    """Remember in a forked child that SQLite had this file open before the fork."""
    if inode is not None:
        _DATABASES.add(inode)


def require_not_inherited(store: str, inode: tuple[int, int] | None) -> None:
    """Raise ForkedProcessError if SQLite had this file open when this process was forked."""
    if inode in _DATABASES:
        raise ForkedProcessError(f"the database of {store}", _HINTS)


_HINTS: Sequence[str] = (
    "open it after the fork only, in the parent as well",
    'start the process anew: multiprocessing.get_context("spawn")',
)
