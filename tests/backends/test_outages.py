"""Stores that fail under a kernel that is kept open: which failures are waited out, and which end it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from flujo.backends import SQLiteBackend, open_backend, outages
from flujo.backends.locks import StoreLock
from flujo.backends.outages import Outages, keep_open
from flujo.kernel import Kernel
from flujo.kernel.errors import CorruptStoreError, StoreBusyError, StoreError, StoreFullError, StoreNotFoundError
from kernel.flows import waiting


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # on which SQLite runs


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for longer than it takes."""
    monkeypatch.setattr(outages, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(outages, "LONGEST_SECONDS", 0.02)
    monkeypatch.setattr(outages, "RETRY_SECONDS", 0.01)


async def made(tmp_path: Path, scheme: str) -> str:
    """The URL of a store."""
    url = f"{scheme}:{tmp_path}/state"
    async with Kernel(open_backend(url), [waiting], workspaces=tmp_path / "w") as kernel:
        await kernel.start(waiting, run_id="r")
    return url


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
async def test_a_store_that_works_again_is_not_waited_for(scheme: str, tmp_path: Path) -> None:
    """Trying it leaves nothing behind."""
    url = await made(tmp_path, scheme)

    with anyio.fail_after(20):
        await Outages(url).wait(StoreError(url, "an input/output error"), "probe")

    async with Kernel(open_backend(url), [waiting], workspaces=tmp_path / "w") as kernel:
        assert not await kernel.is_interrupted(await kernel.summary("r"))


async def test_a_full_disk_needs_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes more are not enough: the next write would fail as the last one did."""
    url = await made(tmp_path, "sqlite")
    monkeypatch.setattr(outages, "ROOM", 1 << 62)
    with anyio.move_on_after(0.2) as waited:
        await Outages(url).wait(StoreFullError(url), "probe")
    assert waited.cancelled_caught

    monkeypatch.undo()
    with anyio.fail_after(20):
        await Outages(url).wait(StoreFullError(url), "probe")


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
async def test_what_does_not_pass_is_not_waited_for(scheme: str, tmp_path: Path) -> None:
    """A store that is damaged, or was removed: none is made in its place."""
    url = await made(tmp_path, scheme)
    with pytest.raises(CorruptStoreError):
        await Outages(url).wait(CorruptStoreError(url, "it is torn"), "probe")
    gone = f"{scheme}:{tmp_path}/gone"
    with pytest.raises(StoreError, match="removed"):
        await Outages(gone).wait(StoreError(gone, "its file was removed"), "probe")

    assert not (tmp_path / "gone").exists()


class Openings:
    """Tells how often a kernel was opened."""

    def __init__(self) -> None:
        self.each = [anyio.Event(), anyio.Event()]

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        next(each for each in self.each if not each.is_set()).set()
        yield


async def test_an_embedded_kernel_goes_on_once_its_database_is_unlocked(tmp_path: Path) -> None:
    """Somebody else has held the lock of the store for longer than a commit waits: what was not recorded is told so,
    what is stored can be read, and the run goes on as soon as that is over. The kernel stays the same object."""
    path = tmp_path / "state.db"
    kernel = Kernel(SQLiteBackend(path, busy_seconds=0.1), [waiting], workspaces=tmp_path / "w")
    openings = Openings()
    lock = StoreLock(tmp_path / "state.db-kernels" / "store.lock")
    async with anyio.create_task_group() as group:
        await group.start(partial(keep_open, kernel, beside=openings.beside))
        await kernel.start(waiting, run_id="r")
        assert lock.acquire(5)
        with pytest.raises(StoreBusyError):
            await kernel.signal("r", "go", 1)
        assert (await kernel.inspect("r")).run_id == "r"
        lock.close()
        with anyio.fail_after(20):
            await openings.each[1].wait()
            await kernel.signal("r", "go", 2)
            assert await kernel.result("r") == 2
        group.cancel_scope.cancel()

    async with Kernel(open_backend(f"sqlite:{path}"), workspaces=tmp_path / "w") as reader:
        assert (await reader.summary("r")).owner is None


async def test_a_kernel_that_somebody_closes_is_not_kept_open(tmp_path: Path) -> None:
    """Whoever closes it wants it closed; what keeps it open returns."""
    kernel = Kernel(open_backend(f"sqlite:{tmp_path}/state.db"), [waiting], workspaces=tmp_path / "w")
    async with anyio.create_task_group() as group:
        await group.start(keep_open, kernel)
        await kernel.close()
    assert not kernel._lifetime.has_begun


async def test_what_opening_raises_is_raised_to_who_waits_for_it(tmp_path: Path) -> None:
    """A kernel that was never open has nothing to go on with."""
    (tmp_path / "state.db").write_text("no database")
    kernel = Kernel(open_backend(f"sqlite:{tmp_path}/state.db"), [waiting], workspaces=tmp_path / "w")

    async def open_it() -> None:
        async with anyio.create_task_group() as group:
            await group.start(keep_open, kernel)

    with pytest.raises(ExceptionGroup) as raised:
        await open_it()

    assert [each for each in raised.value.exceptions if isinstance(each, StoreError)]


async def test_a_store_that_was_removed_under_a_kernel_ends_what_keeps_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No empty one is made in its place, however often it was opened again before."""
    kernel = Kernel(open_backend(f"sqlite:{tmp_path}/state.db"), [waiting], workspaces=tmp_path / "w")
    openings = Openings()
    gone = StoreNotFoundError(f"sqlite:{tmp_path}/state.db")

    async def fails() -> None:
        raise StoreError(kernel.url, "an input/output error") if not openings.each[1].is_set() else gone

    monkeypatch.setattr(kernel, "wait_closed", fails)
    with anyio.fail_after(20), pytest.raises(StoreNotFoundError):
        await keep_open(kernel, beside=openings.beside)
