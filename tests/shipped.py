"""The backends that ship with flujo: one line each, for every test that holds for all of them.

The conformance suite, the model of the port, the copies between stores, and the tests of crashes, power cuts, full
disks and terminals run on what stands here. tests/backends/test_open.py fails for a registered backend that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import postgres_server
from flujo.backends import InMemoryBackend, PostgresBackend, open_backend
from flujo.backends.conformance import Harness
from flujo.backends.memory import MemoryStore
from flujo.kernel.backend import StateBackend

MakeHarness = Callable[[Path], Harness]
"""Makes the harness of a store that is in this folder, if it is anywhere."""


def in_memory(_: Path) -> Harness:
    store = MemoryStore()

    async def kill(handle: StateBackend) -> None:
        cast("InMemoryBackend", handle).kill()

    return Harness(lambda: InMemoryBackend(store), kill)


def on_disk(scheme: str) -> MakeHarness:
    """For a backend that is named by a path. Syncs are no part of what these tests ask for."""

    def handle_on(path: Path) -> StateBackend:
        return open_backend(f"{scheme}:{path}?durability=normal")

    return lambda folder: Harness(lambda: handle_on(folder / "store"), open_copy=handle_on)


def on_postgres(_: Path) -> Harness:
    """A schema of its own on the server of this test session."""
    url = postgres_server.new_store()

    async def kill(handle: StateBackend) -> None:
        cast("PostgresBackend", handle).kill()

    return Harness(lambda: open_backend(url), kill)


HARNESSES: dict[str, MakeHarness] = {
    "file": on_disk("file"),
    "memory": in_memory,
    "postgres": on_postgres,
    "sqlite": on_disk("sqlite"),
}

_HANDLES = {
    name: open_backend("postgres:") if make is on_postgres else make(Path("folder")).handle()
    for name, make in HARNESSES.items()
}

EVENT_LOOPS = {name: tuple(handle.capabilities.event_loops) for name, handle in _HANDLES.items()}
"""The event loops each backend runs on."""

ON_DISK = tuple(name for name, handle in _HANDLES.items() if handle.path is not None)
"""The schemes of those whose stores are files that a process may leave behind."""

ON_EVERY_LOOP = [(name, loop) for name, loops in EVENT_LOOPS.items() for loop in loops]
"""(backend, event loop) of every combination there is."""
