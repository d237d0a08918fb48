"""States as files in a folder, which people can read."""

from __future__ import annotations

from flujo.backends.file import FileBackend as FolderHandle

from .base import StateBackend


class FileBackend(StateBackend, FolderHandle):
    """The store in a folder, which need not exist yet."""

    def handle(self) -> FolderHandle:
        """Another handle on the same store, not open yet."""
        return FolderHandle(self.path, self._durability, busy_seconds=self._busy_seconds)
