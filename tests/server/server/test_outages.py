"""Stores that fail under a server: which failures it waits out, and which end it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from flujo.backends import SQLiteBackend, open_backend
from flujo.backends.locks import StoreLock
from flujo.client import Client
from flujo.kernel import Kernel
from flujo.kernel.errors import CorruptStoreError, StoreBusyError, StoreError, StoreFullError
from flujo.server import outages
from flujo.server.app import run_server
from flujo.server.outages import Outages
from server.flows import waiting


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for longer than it takes."""
    monkeypatch.setattr(outages, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(outages, "LONGEST_SECONDS", 0.02)


async def made(folder: Path, scheme: str) -> str:
    """The URL of a store."""
    url = f"{scheme}:{folder}/state"
    async with Kernel(open_backend(url), [waiting], workspaces=folder / "w") as kernel:
        await kernel.start(waiting, run_id="r")
    return url


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
async def test_a_store_that_works_again_is_not_waited_for(scheme: str, folder: Path) -> None:
    """Trying it leaves nothing behind."""
    url = await made(folder, scheme)

    with anyio.fail_after(20):
        await Outages(url).wait(StoreError(url, "an input/output error"), "probe")

    async with Kernel(open_backend(url), [waiting], workspaces=folder / "w") as kernel:
        assert not await kernel.is_interrupted(await kernel.summary("r"))


async def test_a_full_disk_needs_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes more are not enough: the next write would fail as the last one did."""
    url = await made(folder, "sqlite")
    monkeypatch.setattr(outages, "ROOM", 1 << 62)
    with anyio.move_on_after(0.2) as waited:
        await Outages(url).wait(StoreFullError(url), "probe")
    assert waited.cancelled_caught

    monkeypatch.undo()
    with anyio.fail_after(20):
        await Outages(url).wait(StoreFullError(url), "probe")


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
async def test_what_does_not_pass_ends_the_server(scheme: str, folder: Path) -> None:
    """A store that is damaged, or was removed: none is made in its place."""
    url = await made(folder, scheme)
    with pytest.raises(CorruptStoreError):
        await Outages(url).wait(CorruptStoreError(url, "it is torn"), "probe")
    gone = f"{scheme}:{folder}/gone"
    with pytest.raises(StoreError, match="removed"):
        await Outages(gone).wait(StoreError(gone, "its file was removed"), "probe")

    assert not (folder / "gone").exists()


async def test_a_server_goes_on_once_its_database_is_unlocked(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has held the lock of the store for longer than a commit waits."""
    url = await made(folder, "sqlite")

    def impatient(store: str) -> SQLiteBackend:
        return SQLiteBackend(store.partition(":")[2], busy_seconds=0.1)

    monkeypatch.setattr("flujo.server.app.open_backend", impatient)
    bound = [anyio.Event(), anyio.Event()]

    def listens(kernel: Kernel, where: str) -> None:
        next(each for each in bound if not each.is_set()).set()

    lock = StoreLock(folder / "state-kernels" / "store.lock")
    async with anyio.create_task_group() as group:

        async def serve() -> None:
            await run_server(url, address, [waiting], workspaces=folder / "w", started=listens)

        group.start_soon(serve)
        await bound[0].wait()
        assert lock.acquire(5)
        async with Client(address) as client:
            with pytest.raises(StoreBusyError):
                await client.signal("r", "go", 1)
            assert (await client.inspect("r")).status == "waiting"
        lock.close()
        with anyio.fail_after(20):
            await bound[1].wait()
        async with Client(address) as client:
            await client.signal("r", "go", 2)
            assert await client.result("r") == 2
        group.cancel_scope.cancel()
