"""The store of a test, for the modules whose subject is one backend: each names it as BACKEND."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flujo.backends import SQLiteBackend
from flujo.kernel.backend import StateBackend

Open = Callable[..., Awaitable[Any]]


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> type[StateBackend]:
    """What the tests of a module are about."""
    kind: type[StateBackend] = request.module.BACKEND
    return kind


@pytest.fixture
def path(tmp_path: Path, backend: type[StateBackend]) -> Path:
    """Where the store of a test is going to be."""
    return tmp_path / ("state.db" if backend is SQLiteBackend else "store")


@pytest.fixture
async def open_store(backend: Callable[..., StateBackend], path: Path) -> AsyncIterator[Open]:
    """`await open_store(owner)` opens the store of a test, `open_store(owner, place)` another one, with what else its
    backend is given; every handle is closed at the end."""
    handles: list[StateBackend] = []

    async def open_store(owner: str | None, place: Path = path, **options: Any) -> StateBackend:
        handle = backend(place, **options)
        handles.append(handle)
        await handle.open(owner)
        return handle

    yield open_store
    for handle in handles:
        await handle.close()


@pytest.fixture
async def store(open_store: Open) -> Any:
    """A new store, open as kernel `one`."""
    return await open_store("one")
