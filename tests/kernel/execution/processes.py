"""Kernels that can be killed, and what tells that nothing of theirs is alive."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

ENV = {"PATH": os.environ["PATH"]}
KERNEL = str(Path(__file__).parents[3] / "kernel")

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


class Fifo:
    """Tells when everybody who holds its writing end is dead."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.opening = f"exec 9>'{path}'"  # for the beginning of a shell command

    async def line(self) -> str:
        """What a holder writes next: it is alive and has begun."""
        await anyio.wait_readable(self.fd)
        return os.read(self.fd, 4096).decode()

    def line_now(self) -> str:
        """The same for a test without an event loop."""
        select.select([self.fd], [], [])
        return os.read(self.fd, 4096).decode()

    def wait_for_the_end(self) -> None:
        os.set_blocking(self.fd, True)
        while os.read(self.fd, 4096):
            pass

    def is_held(self) -> bool:
        os.set_blocking(self.fd, False)
        try:
            return bool(os.read(self.fd, 1))
        except BlockingIOError:
            return True


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    fifo = Fifo(tmp_path / "fifo")
    yield fifo
    os.close(fifo.fd)


def a_kernel(program: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that runs `program`, the body of an async function, and can be killed."""
    lines = [
        "import anyio, fcntl, os, signal, sys",
        "from flujo.kernel.execution.subprocesses import Children",
        "async def main():",
        textwrap.indent(textwrap.dedent(program), "    "),
        "anyio.run(main)",
    ]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**ENV, "PYTHONPATH": os.pathsep.join([KERNEL, *sys.path])},
    )
