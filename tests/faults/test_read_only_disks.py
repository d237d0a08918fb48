"""A store on a disk that may only be read, as a snapshot or a mounted backup is: files are read, checked and copied, a
database says what to do, and what has to write says which file cannot be written."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.history import creation
from faults.machine import small_disk
from faults.victims import opened
from flujo.kernel.backend import RunFilter, StateBackend
from flujo.kernel.errors import StoreError
from shipped import ON_DISK


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8 << 20) as place:
        yield place


def make_read_only(disk: Path) -> None:
    """Let nobody write to a disk any more."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


async def ids_in(reader: StateBackend) -> list[str]:
    return [run.run_id for run in (await reader.list(RunFilter(), limit=9)).runs]


async def test_files_are_read_checked_and_copied(disk: Path, tmp_path: Path) -> None:
    """The copy is elsewhere, and as good as any."""
    async with opened(f"file:{disk}/store", "w") as handle:
        assert await handle.append([creation("w-1", "w", 1)]) == {}
    make_read_only(disk)

    async with opened(f"file:{disk}/store", None) as reader:
        assert await ids_in(reader) == ["w-1"]
        assert await reader.integrity() == []
        await reader.backup(tmp_path / "copy")
    async with opened(f"file:{tmp_path}/copy", None) as reader:
        assert await ids_in(reader) == ["w-1"]


async def test_a_database_is_read_where_it_was_copied_to(disk: Path, tmp_path: Path) -> None:
    """SQLite needs files beside it, also for reading; the hint says what helps, and it does."""
    async with opened(f"sqlite:{disk}/store", "w") as handle:
        assert await handle.append([creation("w-1", "w", 1)]) == {}
    make_read_only(disk)

    with pytest.raises(StoreError) as refused:
        async with opened(f"sqlite:{disk}/store", None):
            pass
    shutil.copy(disk / "store", tmp_path / "copy")

    assert "copy the file" in refused.value.hints[1]
    async with opened(f"sqlite:{tmp_path}/copy", None) as reader:
        assert await ids_in(reader) == ["w-1"]


async def test_a_backup_of_files_is_read_where_it_lies(disk: Path, tmp_path: Path) -> None:
    """It has no lock files, and nobody needs them there."""
    async with opened(f"file:{tmp_path}/store", "w") as handle:
        assert await handle.append([creation("w-1", "w", 1)]) == {}
        await handle.backup(disk / "copy")
    make_read_only(disk)

    async with opened(f"file:{disk}/copy", None) as reader:
        assert await ids_in(reader) == ["w-1"]
        assert await reader.integrity() == []


@pytest.mark.parametrize("scheme", ON_DISK)
async def test_who_has_to_write_is_told_what_cannot_be_written(scheme: str, disk: Path) -> None:
    """In words, with the file."""
    async with opened(f"{scheme}:{disk}/store", "w") as handle:
        assert await handle.append([creation("w-1", "w", 1)]) == {}
    make_read_only(disk)

    with pytest.raises(StoreError) as refused:
        async with opened(f"{scheme}:{disk}/store", "v"):
            pass

    assert "[Errno" not in str(refused.value)
    assert str(disk) in str(refused.value)
