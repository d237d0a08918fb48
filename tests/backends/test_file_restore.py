"""A backup of a file store comes into place wholly or not at all, and nothing damaged does."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.backends.file import FileBackend, restoring
from flujo.backends.file.disk import Disk
from flujo.backends.file.restoring import exchange
from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.backend import RunFilter
from flujo.kernel.checking import check
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignStoreError,
    StoreError,
    StoreExistsError,
    StoreFullError,
    StoreInUseError,
    StoreNotFoundError,
)


@workflow(name="listening")
async def listening(ctx: Context) -> Any:
    return await ctx.wait_signal("go")


async def fill(folder: Path, *run_ids: str) -> None:
    """Runs that wait for a signal."""
    async with Kernel(FileBackend(folder, "normal"), [listening], recover=False) as kernel:
        for run_id in run_ids:
            await kernel.start(listening, run_id=run_id)


async def restore(backup: Path, folder: Path, *, force: bool = False) -> int:
    """Put a backup into the place of the store in `folder`; the bytes it takes."""
    return await FileBackend(folder).restore(backup, force=force)


async def run_ids(folder: Path) -> set[str]:
    """The runs of a store, which is sound."""
    async with FileBackend(folder, "normal") as backend:
        assert (await check(backend)).findings == []
        return {run.run_id for run in (await backend.list(RunFilter(), limit=100)).runs}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> set[str]:
    """What is in a folder."""
    return set(os.listdir(folder))


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    """A backup of two runs."""
    await fill(tmp_path / "source", "a", "b")
    async with FileBackend(tmp_path / "source") as backend:
        await backend.backup(tmp_path / "backup")
    return tmp_path / "backup"


async def test_a_backup_becomes_a_store(backup: Path, tmp_path: Path) -> None:
    """Its runs go on there; the backup stays as it is, and the folders above are made."""
    before = tree(backup)
    place = tmp_path / "new" / "place"

    size = await restore(backup, place)

    assert size > 0
    assert tree(backup) == before
    assert await run_ids(place) == {"a", "b"}
    assert place.stat().st_mode & 0o777 == 0o700
    async with Kernel(FileBackend(place, "normal"), [listening]) as kernel:
        await kernel.signal("a", "go", 1)
        assert await kernel.result("a") == 1


@workflow(name="large")
async def large(ctx: Context) -> str:
    return "naïve 🙂 " * 100_000


async def test_the_bytes_of_a_restore_are_those_of_its_files(backup: Path, tmp_path: Path) -> None:
    """What a restore says it takes is what the files of the store take that came from the backup."""
    size = await restore(backup, tmp_path / "place")
    kept = [data for name, data in tree(backup).items() if name != "index" and not name.startswith("kernels/")]

    assert size == sum(map(len, kept))


async def test_a_backup_that_lost_its_hard_links_is_sound(tmp_path: Path) -> None:
    """As one that went through `scp -r` or an archive has: nobody uses its shared payloads, and it was refused as
    damaged for that."""
    async with Kernel(FileBackend(tmp_path / "store"), [large]) as kernel:
        output = await kernel.run(large, run_id="r")
        await kernel.backend.backup(tmp_path / "backup")
    shutil.copytree(tmp_path / "backup", tmp_path / "fetched")
    await restore(tmp_path / "fetched", tmp_path / "restored")

    async with FileBackend(tmp_path / "restored") as reader:
        assert (await check(reader)).findings == []
    async with Kernel(FileBackend(tmp_path / "restored"), [large]) as kernel:
        assert await kernel.result("r") == output
    assert not any((tmp_path / "restored" / "blobs").iterdir())


async def test_a_large_output_is_restored_once(tmp_path: Path) -> None:
    """Runs that share it share it in the restored store too, and it goes with the last of them."""
    source, place = tmp_path / "source", tmp_path / "place"
    async with Kernel(FileBackend(source, "normal"), [large], recover=False) as kernel:
        for run_id in ("a", "b"):
            await kernel.run(large, run_id=run_id)
        await kernel.backend.backup(tmp_path / "backup")

    size = await restore(tmp_path / "backup", place)

    assert size < 2_000_000
    assert await run_ids(place) == {"a", "b"}
    async with FileBackend(place, "normal") as backend:
        for run_id in ("a", "b"):
            summary = await backend.load(run_id)
            assert len((await backend.read_events(run_id, summary.uid, summary.seq - 1, 1))[0].payload or "") > 800_000
            await backend.delete(run_id, summary.uid)
            assert (await backend.integrity()) == []
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < 100_000


async def test_what_was_kept_goes_only_when_another_store_is(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore of NAME.replaced that fails leaves it, and no folder that nobody knows of; and one that cannot name the
    store it has replaced says where that is."""
    place, kept = tmp_path / "place", tmp_path / "place.replaced"
    for _ in range(2):
        await restore(backup, place, force=True)
    before = tree(kept)

    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "it is broken")

    with monkeypatch.context() as broken:
        broken.setattr(restoring, "exchange", refuse)
        with pytest.raises(StoreError, match="it is broken"):
            await restore(kept, place, force=True)
    assert tree(kept) == before
    assert names(tmp_path) == {"source", "backup", "place", "place.replaced"}

    with monkeypatch.context() as broken:
        broken.setattr(Disk, "remove_tree", refuse)
        with pytest.raises(StoreError, match="could not be named") as told:
            await restore(kept, place, force=True)
    (old,) = names(tmp_path) - {"source", "backup", "place", "place.replaced"}
    assert old in told.value.hints[0]
    assert await run_ids(tmp_path / old) == await run_ids(place)


FIXTURE = Path(__file__).parent / "fixtures" / "file-1"


async def test_a_backup_of_an_earlier_format_is_restored(tmp_path: Path) -> None:
    """As any other."""
    await restore(FIXTURE, tmp_path / "place")

    assert len(await run_ids(tmp_path / "place")) == 10


async def test_a_store_is_replaced_only_if_that_is_asked_for(backup: Path, tmp_path: Path) -> None:
    """It is kept beside, in the place of one that an earlier restore has kept."""
    place = tmp_path / "place"
    await fill(place, "c")
    with pytest.raises(StoreExistsError):
        await restore(backup, place)
    assert await run_ids(place) == {"c"}

    await restore(backup, place, force=True)
    assert await run_ids(place) == {"a", "b"}
    assert await run_ids(tmp_path / "place.replaced") == {"c"}

    await fill(place, "d")
    await restore(backup, place, force=True)
    assert await run_ids(place) == {"a", "b"}
    assert await run_ids(tmp_path / "place.replaced") == {"a", "b", "d"}
    assert names(tmp_path) == {"source", "backup", "place", "place.replaced"}


async def test_a_store_that_is_damaged_can_be_replaced(backup: Path, tmp_path: Path) -> None:
    """That is what backups are for."""
    place = tmp_path / "place"
    await fill(place, "c")
    (place / "flujo-store.json").write_text("{")

    await restore(backup, place, force=True)

    assert await run_ids(place) == {"a", "b"}


async def test_a_damaged_backup_is_not_taken_for_a_store(backup: Path, tmp_path: Path) -> None:
    """The error names the run, and a command that brings what is sound; nothing is left beside the place."""
    journal = backup / "runs" / "a" / "journal"
    content = bytearray(journal.read_bytes())
    content[40] ^= 1
    journal.write_bytes(content)

    with pytest.raises(CorruptStoreError, match="run 'a'") as refused:
        await restore(backup, tmp_path / "place")

    assert any(hint.startswith("flujoctl db copy file:") for hint in refused.value.hints)
    assert names(tmp_path) == {"source", "backup"}


async def test_a_store_in_use_is_not_replaced(backup: Path, tmp_path: Path) -> None:
    """A live kernel would go on in a store that has another name."""
    place = tmp_path / "place"
    async with Kernel(FileBackend(place, "normal"), [listening]) as kernel:
        await kernel.start(listening, run_id="c")
        with pytest.raises(StoreInUseError) as refused:
            await restore(backup, place, force=True)

    assert refused.value.kernels == (kernel.id,)
    assert await run_ids(place) == {"c"}


async def test_other_things_are_refused(backup: Path, tmp_path: Path) -> None:
    """What is no backup, and a place where there is something else; they stay as they are."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("hello")

    with pytest.raises(StoreNotFoundError):
        await restore(tmp_path / "nosuch", tmp_path / "place")
    with pytest.raises(ForeignStoreError):
        await restore(other, tmp_path / "place")
    with pytest.raises(ForeignStoreError):
        await restore(backup, other, force=True)

    assert tree(other) == {"file": b"hello"}
    assert not (tmp_path / "place").exists()


async def test_caches_locks_links_and_remains_are_left_behind(backup: Path, tmp_path: Path) -> None:
    """Only what a store is made of comes along; a file with two names keeps both."""
    for name in ("kernels", "runs/.new-1", "runs/.gone-1"):
        (backup / name).mkdir(exist_ok=True)
        (backup / name / "file").write_text("x")
    (backup / "index").write_text("x")
    (backup / "flujo-store.json.new").write_text("x")
    (backup / "link").symlink_to("/etc")
    (backup / "one").write_text("twice")
    os.link(backup / "one", backup / "two")
    place = tmp_path / "place"

    await restore(backup, place)

    assert not (place / "kernels" / "file").exists()
    assert not any((place / "runs" / name).exists() for name in (".new-1", ".gone-1"))
    assert not (place / "flujo-store.json.new").exists()
    assert not (place / "link").is_symlink()
    assert (place / "one").stat().st_ino == (place / "two").stat().st_ino
    assert await run_ids(place) == {"a", "b"}


async def test_the_remains_of_a_restore_that_died_are_removed(backup: Path, tmp_path: Path) -> None:
    """But not those of one that goes on in another process, which holds a lock on them."""
    place = tmp_path / "place"
    dead, alive = tmp_path / ".place.restoring-1", tmp_path / ".place.restoring-2"
    for remains in (dead, alive):
        remains.mkdir()
    with restoring._held(alive):
        await restore(backup, place)

    assert (dead.exists(), alive.exists()) == (False, True)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_fails_leaves_nothing(
    error: int, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what the disk did, and the next restore may succeed."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fail)
        with pytest.raises(StoreFullError if error == errno.ENOSPC else StoreError):
            await restore(backup, tmp_path / "place")
    assert names(tmp_path) == {"source", "backup"}

    await restore(backup, tmp_path / "place")
    assert await run_ids(tmp_path / "place") == {"a", "b"}


async def test_a_restore_that_is_cancelled_leaves_nothing(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it change the store that is there."""
    place = tmp_path / "place"
    await fill(place, "c")

    async def stop(*arguments: object) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    monkeypatch.setattr(restoring, "_require_sound", stop)
    with anyio.CancelScope() as scope:
        await restore(backup, place, force=True)

    assert scope.cancelled_caught
    assert await run_ids(place) == {"c"}
    assert names(tmp_path) == {"source", "backup", "place"}


@pytest.mark.parametrize("at_once", [True, False])
def test_two_folders_change_names(at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one instant, or in three steps where the system cannot do that."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    if not at_once:
        monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: object())

    exchange(one, other)

    assert ((one / "name").read_text(), (other / "name").read_text()) == ("other", "one")
    assert names(tmp_path) == {"one", "other"}


def test_a_folder_that_is_not_there_cannot_change_names(tmp_path: Path) -> None:
    """The other one stays."""
    (tmp_path / "one").mkdir()

    with pytest.raises(OSError, match="No such file"):
        exchange(tmp_path / "one", tmp_path / "other")

    assert (tmp_path / "one").is_dir()
