"""Talk to a driver: a small program in the language of a client, which uses the public API of that client only.

A driver reads a command a line, as a JSON object with the name of a call as `do`, and answers each by a line: a JSON
object with `ok`, or with `error`, an object with what the client's error tells: `code`, `reason`, `message`, `fields`
and `hints`. Before it answers a command that follows runs it may print lines with `event`. Values of runs travel as
JSON text inside of strings, so that each driver reads and writes them by the means of its own client. 64-bit numbers
are strings. README.md has the list of commands.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

LONGEST_LINE = 64 * 1024 * 1024


class DriverError(Exception):
    """A driver has ended, or printed what is no answer."""


class CallError(Exception):
    """A call of the client has failed, with what it tells."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(f"{told.get('code')} {told.get('reason')}: {told.get('message')}")
        self.code: str = told.get("code") or ""
        self.reason: str = told.get("reason") or ""
        self.message: str = told.get("message") or ""
        self.fields: list[str] = list(told.get("fields") or ())
        self.hints: list[str] = list(told.get("hints") or ())


class Driver:
    """A driver that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self, do: str, **parts: Any) -> Any:
        """Return what a command answers. Raises CallError, DriverError."""
        await self.send(do, **parts)
        while True:
            line = await self.line()
            if "event" not in line:
                return line["ok"]

    async def send(self, do: str, **parts: Any) -> None:
        """Give a command, whose lines are still to be read."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **parts}).encode() + b"\n")
        await self._process.stdin.drain()

    async def line(self) -> dict[str, Any]:
        """Return the next line. Raises CallError for one with an error, DriverError for what is none."""
        assert self._process.stdout is not None
        text = await self._process.stdout.readline()
        if not text:
            raise DriverError(f"the driver has ended with exit code {await self._process.wait()}")
        try:
            line = json.loads(text)
        except ValueError as error:
            raise DriverError(f"not a line of JSON: {text[:200]!r}") from error
        if "error" in line:
            raise CallError(line["error"])
        if not line.keys() & {"ok", "event"}:
            raise DriverError(f"neither ok, error nor event: {text[:200]!r}")
        return dict(line)

    async def follow(self, **parts: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the lines of a follow, the answer last."""
        await self.send("follow", **parts)
        while True:
            line = await self.line()
            yield line
            if "ok" in line:
                return


@asynccontextmanager
async def driving(command: str, folder: Path) -> AsyncIterator[Driver]:
    """A driver in a folder, which is ended with the block."""
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=LONGEST_LINE,
    )
    try:
        yield Driver(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
