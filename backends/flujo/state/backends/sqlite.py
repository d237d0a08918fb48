"""States in an SQLite file."""

from __future__ import annotations

from pathlib import Path

from flujo.backends.sqlite import SQLiteBackend as DatabaseHandle
from flujo.backends.sqlite.backend import BUSY_SECONDS
from flujo.backends.urls import Durability
from flujo.state import arguments

from .base import StateBackend


class SQLiteBackend(StateBackend, DatabaseHandle):
    """The store in a file, which need not exist yet. On asyncio only, as its driver."""

    def __init__(
        self, path: Path | str, durability: Durability = "full", *, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        arguments.place(path, durability, busy_seconds)
        super().__init__(path, durability, busy_seconds=busy_seconds)

    def handle(self) -> DatabaseHandle:
        """Another handle on the same store, not open yet."""
        return DatabaseHandle(self.path, self._durability, busy_seconds=self._busy_seconds)
