"""Watchers whose connections are cut again and again, and whose server is killed: each event once, and in order.

WATCHERS=50 RUNS=20 CUTS=20 pytest tests/server/test_reconnects.py makes a thousand reconnects: `make torture-watches`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from flujo.client import Client
from server.serving import server_process
from server.test_kills import insist

WATCHERS = int(os.environ.get("WATCHERS", "5"))
RUNS = int(os.environ.get("RUNS", "2"))
CUTS = int(os.environ.get("CUTS", "20"))
KILL_EVERY = 10


class Way:
    """A way from watchers to the server that can be cut: every connection that is open then ends."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()
        self.cuts = 0

    def cut(self) -> None:
        """End every connection."""
        self.cuts += len(self._open) // 2
        for writer in list(self._open):
            writer.transport.abort()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until it ends on either side."""
        try:
            there, back = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            forwards = [asyncio.create_task(_forward(reader, back)), asyncio.create_task(_forward(there, writer))]
            await asyncio.wait(forwards, return_when=asyncio.FIRST_COMPLETED)
            for each in forwards:
                each.cancel()
            await asyncio.gather(*forwards, return_exceptions=True)
        finally:
            self._open -= {writer, back}
            writer.transport.abort()
            back.transport.abort()


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()


@asynccontextmanager
async def way_to(folder: Path, address: str) -> AsyncIterator[tuple[Way, str]]:
    """A way to the server at an address, and its own address."""
    made = Way(address.removeprefix("unix:"))
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await made.handle(reader, writer)

    server = await asyncio.start_unix_server(handle, folder / "p")
    try:
        yield made, f"unix:{folder}/p"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Watcher:
    """What one watcher has seen of all runs, or of one."""

    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = {}
        self.signals = 0
        self._moved = anyio.Event()

    async def all_runs(self, client: Client) -> None:
        """Watch every run."""
        async with aclosing(client.watch_runs()) as events:
            async for event in events:
                self._note(event.run_id, event.event.seq, event.event.type)

    async def one_run(self, client: Client, run_id: str) -> None:
        """Watch one run."""
        async with aclosing(client.watch(run_id)) as events:
            async for event in events:
                self._note(run_id, event.seq, event.type)

    def _note(self, run_id: str, seq: int, type_: str) -> None:
        self.seen.setdefault(run_id, []).append(seq)
        self.signals += type_ == "signal_received"
        self._moved.set()
        self._moved = anyio.Event()

    async def until(self, signals: int) -> None:
        """Return when so many signals were seen."""
        while self.signals < signals:
            await self._moved.wait()


@pytest.mark.timeout(600)
async def test_watchers_miss_nothing_however_often_they_are_cut_off(folder: Path, address: str) -> None:
    """Each cut ends the connections of all, each tenth the server itself. Half of them watch every run, half one."""
    watchers = [Watcher() for _ in range(WATCHERS)]
    runs = [f"run-{number}" for number in range(RUNS)]
    async with way_to(folder, address) as (path, through), AsyncExitStack() as clients:
        life = ExitStack()
        await to_thread.run_sync(life.enter_context, server_process(folder, address))
        acting = await clients.enter_async_context(Client(address))
        for run_id in runs:
            await acting.start("patient", run_id=run_id)
        async with anyio.create_task_group() as tasks:
            for number, watcher in enumerate(watchers):
                client = await clients.enter_async_context(Client(through))
                if number % 2:
                    tasks.start_soon(watcher.one_run, client, runs[number % RUNS])
                else:
                    tasks.start_soon(watcher.all_runs, client)
            for cut in range(1, CUTS + 1):
                for run_id in runs:
                    asked = partial(acting.signal, run_id, "noted", cut, request_id=f"{run_id}-{cut}")
                    await insist(asked)
                for number, watcher in enumerate(watchers):
                    await watcher.until(cut if number % 2 else cut * RUNS)
                if cut % KILL_EVERY == 0:
                    await to_thread.run_sync(life.close)
                    life = ExitStack()
                    await to_thread.run_sync(life.enter_context, server_process(folder, address))
                path.cut()
            heads = {run_id: (await insist(partial(acting.summary, run_id))).seq for run_id in runs}
            tasks.cancel_scope.cancel()
        await to_thread.run_sync(life.close)

    assert path.cuts >= WATCHERS * (CUTS - CUTS // KILL_EVERY - 1)
    for number, watcher in enumerate(watchers):
        assert set(watcher.seen) == ({runs[number % RUNS]} if number % 2 else set(runs))
        for run_id, seqs in watcher.seen.items():
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(seqs) <= heads[run_id]
