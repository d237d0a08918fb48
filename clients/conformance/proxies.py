"""A path to a server that can be cut, or go silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from flujo.client.addresses import ServerAddress


class Proxy:
    """Forwards bytes between clients and a server. `address` is where clients come to it."""

    def __init__(self, target: ServerAddress) -> None:
        self._target = target
        self._writers: dict[asyncio.StreamWriter, int] = {}
        self._dead = 0
        self.address = ""
        self.made = 0

    def cut(self) -> None:
        """End the connections that are open now, in the middle of whatever they carry."""
        for writer in list(self._writers):
            writer.transport.abort()

    def go_silent(self) -> None:
        """Forward nothing more for the connections that are open now, and keep them open."""
        self._dead = self.made

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        self.made += 1
        number = self.made
        try:
            if self._target.path is not None:
                there, back = await asyncio.open_unix_connection(self._target.path)
            else:
                there, back = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer: number, back: number}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, back, number))
                group.create_task(self._forward(there, writer, number))
        finally:
            for each in (back, writer):
                self._writers.pop(each)
                each.close()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, number: int) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if number > self._dead:
                    sink.write(data)
                    await sink.drain()
        if number > self._dead:
            sink.close()


@asynccontextmanager
async def proxied(target: str, folder: Path) -> AsyncIterator[Proxy]:
    """A proxy before the server at an address: another socket in the folder, or another port of this machine."""
    proxy = Proxy(ServerAddress.parse(target))
    connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with suppress(asyncio.CancelledError):
            await proxy.handle(reader, writer)
        connections.discard(task)

    if ServerAddress.parse(target).path is not None:
        path = folder / "p"
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(handle, path)
        proxy.address = f"unix:{path}"
    else:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        proxy.address = f"tcp://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
