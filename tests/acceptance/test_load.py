"""Four processes on one store: a hundred runs advance while others list, prune and keep. Nobody sees an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import anyio
import pytest

from acceptance.terminal import SOURCES
from flujo.backends import open_backend
from flujo.kernel.checking import check
from shipped import ON_DISK

PROGRAM = Path(__file__).with_name("load.py")

LINES = {"runner": 150, "lister": 5, "pruner": 5, "keeper": 4}
"""How many lines each has to say, so much to get done beside the others."""

SECONDS = float(os.environ.get("FLUJO_CROWD_SECONDS", "0"))
"""How long they go on after that."""


class Member:
    """One process of the crowd, and what it has said."""

    def __init__(self, role: str, url: str, folder: Path, errors: IO[bytes]) -> None:
        self.role = role
        self.enough = threading.Event()
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), role, url, str(folder)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": SOURCES},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if len(self.lines) >= LINES[self.role]:
                self.enough.set()
        self.enough.set()  # it has ended, well or not

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def member(role: str, url: str, folder: Path) -> Iterator[Member]:
    """A process of the crowd, that does not outlive this."""
    with (folder / f"{role}.errors").open("wb") as errors:
        member = Member(role, url, folder, errors)
        try:
            yield member
        finally:
            member.process.kill()
            member.end()


@pytest.mark.timeout(180 + 3 * SECONDS)
@pytest.mark.parametrize("scheme", ON_DISK)
def test_nobody_in_a_crowd_sees_an_error(scheme: str, tmp_path: Path) -> None:
    """Each gets its work done, no run is lost, every backup is sound, and so is the store in the end."""
    url = f"{scheme}:{tmp_path / 'terminal' / 'store'}"

    async def make() -> None:
        backend = open_backend(url)
        await backend.open("maker")
        await backend.close()

    anyio.run(make)
    with ExitStack() as stack:
        members = [stack.enter_context(member(role, url, tmp_path)) for role in LINES]
        for each in members:
            each.enough.wait()
        time.sleep(SECONDS)
        (tmp_path / "stop").touch()
        codes = {each.role: each.process.wait() for each in members}
    said = {each.role: (tmp_path / f"{each.role}.errors").read_text() for each in members}
    assert codes == dict.fromkeys(LINES, 0), said
    assert said == dict.fromkeys(LINES, "")
    assert max(line.get("held", 0) for line in members[3].lines) > 0
    done = {each.role: each.lines[-1]["done"] for each in members}

    async def look() -> None:
        async with open_backend(url) as backend:
            report = await check(backend)
            assert report.is_sound, report
            assert report.interrupted == 0
            stats = {each.workflow: each for each in await backend.stats(0)}
            assert stats["chain"].runs == {"completed": done["runner"]}

    anyio.run(look)
