"""Look after the store of a server from elsewhere: copies of it over the wire, and checks."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path

import anyio

from flujo.client.wire.store_keeping import to_report
from flujo.client.wire.values import MAX_INLINE_BYTES
from flujo.kernel import Kernel
from flujo.kernel.checking import check
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.loops import in_thread
from flujo.v1 import system_service_pb2 as pb

PROGRESS_SECONDS = 1.0
"""How often a check says how far it is."""


async def backup_in_pieces(kernel: Kernel) -> AsyncGenerator[pb.BackupResponse, None]:
    """Yield a copy of the store, file by file. It lies beside the store meanwhile, in a folder that nobody else
    reads."""
    store = kernel.backend.path
    beside = None if store is None else store.parent
    with tempfile.TemporaryDirectory(prefix=".flujo-backup-", dir=beside) as folder:
        copy = Path(folder) / "copy"
        await kernel.backend.backup(copy)
        pieces = _pieces_of_files(copy)
        while (piece := await in_thread(lambda: next(pieces, None))) is not None:
            yield piece


def _pieces_of_files(copy: Path) -> Iterator[pb.BackupResponse]:
    if not copy.is_dir():
        yield from _pieces_of_file(copy, "")
        return
    sent: dict[int, str] = {}  # by inode: a payload that several places share is one file, and has to stay one
    for path in sorted(copy.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name, inode = path.relative_to(copy).as_posix(), path.stat().st_ino
        if (earlier := sent.get(inode)) is not None:
            yield pb.BackupResponse(file=name, same_as=earlier)
            continue
        sent[inode] = name
        yield from _pieces_of_file(path, name)


def _pieces_of_file(path: Path, name: str) -> Iterator[pb.BackupResponse]:
    with path.open("rb") as file:
        chunk = file.read(MAX_INLINE_BYTES)
        yield pb.BackupResponse(file=name, chunk=chunk)
        while chunk := file.read(MAX_INLINE_BYTES):
            yield pb.BackupResponse(file=name, chunk=chunk)


async def check_in_steps(kernel: Kernel) -> AsyncGenerator[pb.CheckResponse, None]:
    """Yield how far a check of the store is, at most every second, and what it has found."""
    send, receive = anyio.create_memory_object_stream[pb.CheckResponse](1)
    clock = kernel.clock
    said_at = clock.now()

    def note(done: int, total: int) -> None:
        nonlocal said_at
        if clock.now() - said_at >= PROGRESS_SECONDS * MICROSECONDS:
            with suppress(anyio.WouldBlock):  # the reader is slow, and will be told the next time
                send.send_nowait(pb.CheckResponse(progress=pb.CheckProgress(done=done, total=total)))
                said_at = clock.now()

    async def look() -> None:
        async with send:
            report = await check(kernel.backend, progress=note)
            await send.send(pb.CheckResponse(report=to_report(report)))

    async with anyio.create_task_group() as tasks, receive:
        tasks.start_soon(look)
        async for message in receive:
            yield message
