"""What the tests of client and server share: asyncio, which is all that gRPC knows, and short paths for sockets."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.certificates import make_certificates
from server.harness import WAYS, Through

LONGEST = 50
"""Characters of a path in which there is still room for the names of our sockets; macOS has longer ones."""


class Loop(asyncio.SelectorEventLoop):
    """Does not mind what gRPC has left over for an event loop that was closed.

    All loops of a process share one queue of what has ended. When a call that was cancelled ends late, the loop of the
    next test takes that from the queue, and cannot pass it on to the loop that the call belonged to."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        is_late = str(context.get("exception")) == "Event loop is closed" and "CompletionQueue" in context["message"]
        if not is_late:
            super().call_exception_handler(context)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """gRPC runs on asyncio."""
    return "asyncio", {"loop_factory": Loop}


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


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates of an authority, a server and a client, made once: openssl takes its time."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture(params=WAYS)
def through(request: pytest.FixtureRequest, folder: Path) -> Through:
    """Every way to the same runs: the kernel itself, and clients of a server of that kernel."""
    needs_certificates = request.param == WAYS[-1]
    made = request.getfixturevalue("certificates") if needs_certificates else folder
    return Through(request.param, folder, made)
