"""What the tests of client and server share: asyncio, which is all that gRPC knows, and short paths for sockets."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.harness import Through

LONGEST = 50
"""Characters of a path in which there is still room for the names of our sockets; macOS has longer ones."""


@pytest.fixture
def anyio_backend() -> str:
    """gRPC runs on asyncio."""
    return "asyncio"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of our own with a short path: that of a socket has at most 103 bytes."""
    parent = tempfile.gettempdir()
    path = Path(tempfile.mkdtemp(dir=parent if len(parent) < LONGEST else "/tmp", prefix="flujo-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def address(folder: Path) -> str:
    """Where the server of a test listens."""
    return f"unix:{folder}/s"


@pytest.fixture(params=["kernel", "client"])
def through(request: pytest.FixtureRequest, address: str) -> Through:
    """The two ways to the same runs: the kernel itself, and a client of a server of that kernel."""
    return Through(request.param, address)
