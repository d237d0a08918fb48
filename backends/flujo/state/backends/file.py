"""States as files in a folder, which people can read."""

from __future__ import annotations

from pathlib import Path

from flujo.backends.file import FileBackend as FolderHandle
from flujo.backends.file.backend import BUSY_SECONDS
from flujo.backends.urls import Durability
from flujo.state import arguments

from .base import StateBackend


class FileBackend(StateBackend, FolderHandle):
    """The store in a folder, which need not exist yet."""

    def __init__(
        self, path: Path | str, durability: Durability = "full", *, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        arguments.place(path, durability, busy_seconds)
        super().__init__(path, durability, busy_seconds=busy_seconds)

    def handle(self) -> FolderHandle:
        """Another handle on the same store, not open yet."""
        return FolderHandle(self.path, self._durability, busy_seconds=self._busy_seconds)
