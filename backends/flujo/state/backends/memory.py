"""States in this process, for tests and for work that may be lost."""

from __future__ import annotations

from flujo.backends.memory import InMemoryBackend as MemoryHandle

from .base import StateBackend


class InMemoryBackend(StateBackend, MemoryHandle):
    """The store is gone with this object, or with the MemoryStore it was given."""

    def handle(self) -> MemoryHandle:
        """Another handle on the same store, not open yet."""
        return MemoryHandle(self.store)
