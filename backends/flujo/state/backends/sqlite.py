"""States in an SQLite file."""

from __future__ import annotations

from flujo.backends.sqlite import SQLiteBackend as DatabaseHandle

from .base import StateBackend


class SQLiteBackend(StateBackend, DatabaseHandle):
    """The store in a file, which need not exist yet. On asyncio only, as its driver."""

    def handle(self) -> DatabaseHandle:
        """Another handle on the same store, not open yet."""
        return DatabaseHandle(self.path, self._durability, busy_seconds=self._busy_seconds)
