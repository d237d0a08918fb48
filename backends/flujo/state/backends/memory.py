"""States in this process, for tests and for work that may be lost."""

from __future__ import annotations

from flujo.backends.memory import InMemoryBackend as MemoryHandle
from flujo.backends.memory import MemoryStore
from flujo.kernel.errors import InvalidNameError

from .base import StateBackend


class InMemoryBackend(StateBackend, MemoryHandle):
    """The store is gone with this object, or with the MemoryStore it was given."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        if store is not None and not isinstance(store, MemoryStore):
            raise InvalidNameError("store", type(store), "a MemoryStore")
        super().__init__(store)

    def handle(self) -> MemoryHandle:
        """Another handle on the same store, not open yet."""
        return MemoryHandle(self.store)
