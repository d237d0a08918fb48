"""Children for tasks, ended with each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flujo.kernel.execution.subprocesses import Children


@pytest.fixture
async def children(anyio_backend: str) -> AsyncIterator[Children]:
    children = Children()
    yield children
    await children.close()
