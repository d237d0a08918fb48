"""The server under test, over each transport: started, killed, started again in the same place."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from flujo.client import Client, Credentials
from flujo.server.tokens import Role, add_certificate, add_token

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TRANSPORTS = ("unix", "token", "mtls")

STRANGER = """
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=eve" -keyout viewer.key -out viewer.csr
printf 'subjectAltName=DNS:eve' > viewer.ext
openssl x509 -req -in viewer.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile viewer.ext -out viewer.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=mallory" \\
    -keyout stranger.key -out stranger.pem
"""
"""Two more certificates: of somebody who may only read, and of somebody whom the authority does not know."""


class Place(NamedTuple):
    """Where a server listens, and what callers of three kinds show it: as keyword arguments of Credentials."""

    transport: str
    address: str
    security: Mapping[str, str]
    admin: Mapping[str, str]
    viewer: Mapping[str, str]
    stranger: Mapping[str, str]


def make_place(transport: str, folder: Path) -> Place:
    """Make what a server needs to listen so, in its folder."""
    if transport == "unix":
        return Place(transport, f"unix:{folder}/s", {}, {}, {}, {})
    tokens = folder / "tokens.json"
    address = f"tcp://localhost:{_free_port()}"
    if transport == "token":
        admin, viewer = (_token(tokens, name, role) for name, role in (("ada", Role.ADMIN), ("eve", Role.VIEWER)))
        return Place(transport, address, {"tokens": str(tokens)}, admin, viewer, {"token": "flujo_" + 64 * "0"})
    page = (ROOT / "docs" / "securing-a-server.md").read_text("utf-8")
    lab = re.search(r"```sh lab\n(.*?)```", page, re.S)
    assert lab is not None
    subprocess.run(["sh", "-e", "-c", lab[1] + STRANGER], cwd=folder, check=True, capture_output=True, timeout=60)
    add_certificate(tokens, "ada", Role.ADMIN, time.time_ns() // 1000)
    files = {"certificate": "server.pem", "key": "server.key", "client_ca": "ca.pem"}
    security = {"tokens": str(tokens), **{name: str(folder / file) for name, file in files.items()}}
    shown = [_certificate(folder, name) for name in ("client", "viewer", "stranger")]
    return Place(transport, address, security, *shown)


def _token(tokens: Path, name: str, role: Role) -> Mapping[str, str]:
    return {"token": add_token(tokens, name, role, time.time_ns() // 1000, os.urandom)}


def _certificate(folder: Path, name: str) -> Mapping[str, str]:
    return {"ca": f"{folder}/ca.pem", "certificate": f"{folder}/{name}.pem", "key": f"{folder}/{name}.key"}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """The server under test. It keeps its place and its store when it is started again."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return when it accepts calls."""
        settings = {"folder": str(self.folder), "address": self.place.address, "security": dict(self.place.security)}
        paths = [str(HERE.parent), *sys.path]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "conformance.served",
            json.dumps(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert (await self._line()).strip(), "the server did not start"

    async def ensure(self) -> None:
        """Start it, if it has ended."""
        if self._process is None or self._process.returncode is not None:
            await self.start()

    async def stop(self, number: int = signal.SIGKILL) -> None:
        """End it by a signal, and return when it has ended."""
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.send_signal(number)
            self._process.stdin.close()
            await self._process.wait()

    async def calls_left(self) -> int:
        """How many calls it is at work on, as soon as that is none, or some seconds later."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return int(await self._line())

    async def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode()

    def client(self) -> Client:
        """A client of the one who judges."""
        shown: dict[str, Any] = {
            name: value if name == "token" else Path(value) for name, value in self.place.admin.items()
        }
        return Client(self.place.address, credentials=Credentials(**shown))


@asynccontextmanager
async def serving(transport: str, folder: Path) -> AsyncIterator[Server]:
    """A server that has started, with its store in the folder."""
    server = Server(make_place(transport, folder), folder)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
