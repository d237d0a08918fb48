"""Every backend that ships with flujo keeps every promise of the port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest

from flujo.backends import FileBackend, InMemoryBackend, SQLiteBackend
from flujo.backends.conformance import BEHAVIOURS, Behaviour, Harness
from flujo.backends.memory import MemoryStore
from flujo.kernel.backend import StateBackend


async def kill_memory(handle: StateBackend) -> None:
    cast("InMemoryBackend", handle).kill()


def memory(_: Path) -> Harness:
    store = MemoryStore()
    return Harness(lambda: InMemoryBackend(store), kill_memory)


def file(folder: Path) -> Harness:
    return Harness(  # syncs are no part of these promises
        lambda: FileBackend(folder / "store", "normal"), open_copy=lambda target: FileBackend(target, "normal")
    )


def sqlite(folder: Path) -> Harness:
    return Harness(
        lambda: SQLiteBackend(folder / "state.db", "normal"), open_copy=lambda target: SQLiteBackend(target, "normal")
    )


BACKENDS: dict[str, Callable[[Path], Harness]] = {"memory": memory, "file": file, "sqlite": sqlite}
LOOPS = {
    "memory": InMemoryBackend.capabilities.event_loops,
    "file": FileBackend.capabilities.event_loops,
    "sqlite": SQLiteBackend.capabilities.event_loops,
}


@pytest.fixture(params=[(name, loop) for name in BACKENDS for loop in LOOPS[name]], ids="-".join)
def backend_and_loop(request: pytest.FixtureRequest) -> tuple[str, str]:
    pair: tuple[str, str] = request.param
    return pair


@pytest.fixture
def anyio_backend(backend_and_loop: tuple[str, str]) -> str:
    return backend_and_loop[1]


@pytest.fixture
async def harness(backend_and_loop: tuple[str, str], tmp_path: Path) -> AsyncIterator[Harness]:
    async with BACKENDS[backend_and_loop[0]](tmp_path) as harness:
        yield harness


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=[behaviour.name for behaviour in BEHAVIOURS])
async def test_the_port(behaviour: Behaviour, harness: Harness) -> None:
    """The backend keeps this promise."""
    await behaviour.check(harness)


def test_the_suite_is_readable() -> None:
    """Every behaviour has a name of its own and says in one sentence what it promises."""
    assert len({behaviour.name for behaviour in BEHAVIOURS}) == len(BEHAVIOURS) >= 150
    for behaviour in BEHAVIOURS:
        assert behaviour.promise.endswith(".")
        assert "\n" not in behaviour.promise
