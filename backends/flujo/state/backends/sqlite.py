"""States in an SQLite file."""

from __future__ import annotations

from pathlib import Path

from flujo.backends.discovery import workspaces_beside
from flujo.backends.sqlite import SQLiteBackend as DatabaseHandle

from .base import StateBackend


class SQLiteBackend(StateBackend, DatabaseHandle):
    """The store in a file, which need not exist yet. On asyncio only, as its driver."""

    def handle(self) -> DatabaseHandle:
        """Another handle on the same store, not open yet."""
        return DatabaseHandle(self._path, self._durability, busy_seconds=self._busy_seconds)

    @property
    def workspaces(self) -> Path | None:
        """Beside the file."""
        return workspaces_beside(self._path)
