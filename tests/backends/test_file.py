"""The file store beyond the port: its folder, refusals, index, damage, full disks, processes."""

# ruff: noqa: ASYNC240 - files are what these tests look at, and nothing else runs in their loops meanwhile

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from backends.conftest import Open
from backends.processes import let_write, next_line, processes
from flujo.backends import FileBackend
from flujo.backends.conformance import DEFINITION, create, creation, following, journal, listed
from flujo.backends.file import run_folder, view
from flujo.backends.file.disk import Disk
from flujo.backends.file.journal import scan
from flujo.backends.file.view import View
from flujo.kernel.backend import Refused, Request, RunFilter
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignStoreError,
    NewerStoreError,
    PlaceTakenError,
    RunNotFoundError,
    StoreError,
    StoreFullError,
    StoreNotFoundError,
    WorkflowNotFoundError,
)

BACKEND = FileBackend


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    loop: str = request.param
    return loop


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def contents(path: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder, with the instant of its last change."""
    return {
        str(file.relative_to(path)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in path.rglob("*")
        if file.is_file()
    }


# -- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o277, 0o777])
async def test_a_store_is_private(tmp_path: Path, umask: int) -> None:
    """Every file is made for the user alone, whatever the umask; a store and a new `.flujo` ignore themselves."""
    path = tmp_path / "project" / ".flujo" / "runs"
    before = os.umask(umask)
    try:
        handle = FileBackend(path)
        await handle.open("one")
        (summary,) = await create(handle, creation("a", brings=DEFINITION))
        await handle.post("a", Request("signal", "{}", 1))
        await handle.append([following(summary, owner=None, status="paused")])
        below = list(path.rglob("*"))
        files = {str(file.relative_to(path)): mode_of(file) for file in below if file.is_file()}
        folders = [path.parent.parent, path.parent, path, *(folder for folder in below if folder.is_dir())]

        assert files == dict.fromkeys(files, 0o600)
        assert {"flujo-store.json", "index", "runs/a/journal", "runs/a/state.json", "definitions/digest"} < set(files)
        assert {"kernels/one.lock", "kernels/store.lock"} < set(files)
        assert [mode_of(folder) for folder in folders] == [0o700] * len(folders)
        for folder in (path.parent, path):
            assert (folder / ".gitignore").read_text() == "*\n"
        assert not (path.parent.parent / ".gitignore").exists()
    finally:
        os.umask(before)
        await handle.close()


async def test_an_empty_folder_becomes_a_store(path: Path, open_store: Open) -> None:
    """An existing empty folder is no store for a reader, and becomes one for an owner, with the mode it had."""
    path.mkdir(mode=0o750)
    with pytest.raises(StoreNotFoundError):
        await open_store(None)
    assert list(path.iterdir()) == []
    await create(await open_store("one"), creation("a"))

    assert mode_of(path) == 0o750


class CutShort(BaseException):
    """The process dies here."""


@contextmanager
def cut_short(monkeypatch: pytest.MonkeyPatch, steps: int) -> Iterator[None]:
    """Let this many changes of the disk happen, and none after them."""
    left = steps

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(Disk, name)

        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise CutShort
            return real(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for name in ("write", "cut", "sync", "sync_folder", "rename", "make_folder", "remove"):
            patch.setattr(Disk, name, counted(name))
        yield


async def test_a_creation_that_was_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the making of a store is cut short, there is a whole one or none, and the next owner finishes it."""
    for steps in count():
        path = tmp_path / str(steps)
        try:
            with cut_short(monkeypatch, steps):
                handle = FileBackend(path)
                await handle.open("one")
        except CutShort:
            is_there = (path / "flujo-store.json").exists()
            try:
                async with FileBackend(path) as reader:
                    assert (is_there, await listed(reader)) == (True, [])
            except StoreNotFoundError:
                assert not is_there
            heir = FileBackend(path)
            await heir.open("two")
            await create(heir, creation("a", "two"))
            await heir.close()
        else:
            await handle.close()
            break

    assert steps > 10


async def test_a_backup_without_its_lesser_parts_is_a_store(store: FileBackend, path: Path, open_store: Open) -> None:
    """Locks, definitions, the index and .gitignore may be missing in a copy: readers and owners can use it all the
    same."""
    (summary,) = await create(store, creation("a", None))
    await store.close()
    for name in ("kernels", "definitions"):
        shutil.rmtree(path / name)
    for name in ("index", ".gitignore"):
        (path / name).unlink()
    reader = await open_store(None)
    assert await reader.load("a") == summary
    owner = await open_store("two")

    await create(owner, creation("b", brings=DEFINITION))
    assert await reader.get_definition(DEFINITION.digest) == DEFINITION


async def test_a_gitignore_that_is_there_is_kept(path: Path, open_store: Open) -> None:
    """A folder in which somebody has put a .gitignore becomes a store, and the file stays as it is."""
    path.mkdir()
    (path / ".gitignore").write_text("*.tmp\n")
    await create(await open_store("one"), creation("a"))

    assert (path / ".gitignore").read_text() == "*.tmp\n"


async def test_a_closed_store_holds_no_locks(store: FileBackend, path: Path) -> None:
    """After the last handle is closed no kernel's lock file is left."""
    await create(store, creation("a"))
    await store.close()

    assert [file.name for file in (path / "kernels").iterdir()] == ["store.lock"]


@pytest.mark.parametrize("run_id", ["a.b..c", "Report-7", "..", ".", "a/b", "grün", "x" * 200, "a\nb", "~x", ".new-a"])
async def test_any_id_is_a_safe_folder(store: FileBackend, path: Path, run_id: str) -> None:
    """Whatever an id is, its run has one folder, right below `runs`, that all cases of the id share."""
    (summary,) = await create(store, creation(run_id))
    (folder,) = (path / "runs").iterdir()
    late = creation(run_id.upper())

    assert folder.is_dir()
    assert folder.name == folder.name.lower()
    assert await store.append([late]) == {late.uid: Refused.EXISTS}
    assert await store.load(run_id) == summary


async def test_a_settled_run_can_be_read_by_people(store: FileBackend, path: Path) -> None:
    """`state.json` says how a run has settled, with instants people can read."""
    (summary,) = await create(store, creation("a", labels='{"team":"größe"}', created_at=1_764_016_250_000_000))
    assert not (path / "runs" / "a" / "state.json").exists()
    await store.append([following(summary, owner=None, status="failed", error_message="no", finished_at=0)])
    state = json.loads((path / "runs" / "a" / "state.json").read_text())

    assert (state["run_id"], state["status"], state["error_message"]) == ("a", "failed", "no")
    assert state["labels"] == {"team": "größe"}
    assert state["created_at"] == "2025-11-24T20:30:50+00:00"
    assert state["journal"]["length"] == (path / "runs" / "a" / "journal").stat().st_size


# -- what is not ours ---------------------------------------------------------------------------------------------


def folder_with(**files: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        for name, text in files.items():
            (path / name.replace("__", ".")).write_text(text)

    return make


def folder_of_kernels(path: Path) -> None:
    (path / "kernels").mkdir(parents=True)
    (path / "kernels" / "linux-6.1.tar").write_text("x")


REFUSED: dict[str, tuple[Callable[[Path], object], type[StoreError]]] = {
    "a file": (lambda path: path.write_text("runs"), ForeignStoreError),
    "a folder of other things": (folder_with(README__md="hello"), ForeignStoreError),
    "another program's kernels": (folder_of_kernels, ForeignStoreError),
    "another program's marker": (folder_with(**{"flujo-store__json": '{"kind":"x","format":1}'}), ForeignStoreError),
    "a newer store": (folder_with(**{"flujo-store__json": '{"kind":"flujo file store","format":7}'}), NewerStoreError),
    "a store of no format": (
        folder_with(**{"flujo-store__json": '{"kind":"flujo file store","format":0}'}),
        CorruptStoreError,
    ),
    "a scribbled marker": (folder_with(**{"flujo-store__json": "{"}), CorruptStoreError),
    "a store without runs": (
        folder_with(**{"flujo-store__json": '{"kind":"flujo file store","format":1}'}),
        CorruptStoreError,
    ),
    "an empty marker": (folder_with(**{"flujo-store__json": ""}), CorruptStoreError),
    "a marker of another form": (folder_with(**{"flujo-store__json": "[1]"}), CorruptStoreError),
}


@pytest.mark.parametrize("owner", [None, "one"], ids=["reader", "owner"])
@pytest.mark.parametrize(("make", "error"), REFUSED.values(), ids=REFUSED)
async def test_other_folders_are_refused_unchanged(
    path: Path, open_store: Open, make: Callable[[Path], object], error: type[StoreError], owner: str | None
) -> None:
    """What is no store of this release is refused with the right error and a hint, and nothing of it changes."""
    make(path)
    before = contents(path.parent)
    for _ in range(2):
        with pytest.raises(error) as caught:
            await open_store(owner)
        assert caught.value.hints
        assert caught.value.store == f"file:{path}"

    assert contents(path.parent) == before


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_text("runs"), "it is a file; a file store is a folder"),
        (folder_with(README__md="hello"), "a folder that holds other things and no flujo-store.json"),
        (folder_with(**{"flujo-store__json": '{"kind":"x","format":1}'}), "flujo-store.json says 'x'"),
    ],
)
async def test_what_is_there_instead_of_a_store_is_said(path: Path, make: Callable[[Path], object], says: str) -> None:
    """The error says which of the things that are no store it has found."""
    make(path)
    with pytest.raises(ForeignStoreError, match=re.escape(says)):
        await FileBackend(path).open("one")


async def test_strangers_in_a_store_are_left_alone(store: FileBackend, path: Path, open_store: Open) -> None:
    """Files that somebody has put into a store are no runs, and stay."""
    await create(store, creation("a"))
    for place in (path, path / "runs", path / "kernels", path / "definitions"):
        (place / "notes.txt").write_text("mine")
        (place / ".DS_Store").write_text("apple")
    await store.close()
    other = await open_store("two")

    assert await listed(other) == ["a"]
    assert len(list(path.rglob("notes.txt"))) == 4
    assert len(list(path.rglob(".DS_Store"))) == 4


async def test_a_store_that_vanishes_is_an_error(store: FileBackend, path: Path) -> None:
    """Whoever removes a store in use takes its runs with it; its kernel is told at the next call of any kind."""
    (summary,) = await create(store, creation("a"))
    shutil.rmtree(path)
    for call in (lambda: store.append([following(summary)]), lambda: store.list(RunFilter(), limit=1)):
        with pytest.raises(StoreError, match="its folder was removed while it was in use"):
            await call()

    assert not path.exists()


async def test_nothing_is_acknowledged_in_a_folder_that_was_replaced(store: FileBackend, path: Path) -> None:
    """A kernel never writes to a store that took the place of its own."""
    (summary,) = await create(store, creation("a"))
    shutil.rmtree(path)
    other = FileBackend(path)
    await other.open("other")
    await create(other, creation("a", "other"))
    await other.close()

    with pytest.raises(StoreError, match="its folder was replaced while it was in use"):
        await store.append([following(summary)])
    with pytest.raises(StoreError, match="its folder was replaced while it was in use"):
        await store.load("a")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not tell where an open file is")
async def test_a_folder_that_was_moved_while_in_use_goes_on_when_it_is_put_back(store: FileBackend, path: Path) -> None:
    """The error says where it is now, and the command that puts it back."""
    (summary,) = await create(store, creation("a"))
    elsewhere = path.with_name("else where")
    path.rename(elsewhere)

    with pytest.raises(StoreError, match=f"its folder was moved to {elsewhere} while it") as caught:
        await store.load("a")
    await anyio.run_process(caught.value.hints[0])

    await store.append([following(summary)])
    assert (await store.load("a")).seq == summary.seq + 1


async def test_a_store_in_another_place_of_the_disk_is_another_store(store: FileBackend, path: Path) -> None:
    """File systems give the inode of a removed file to the next one, so a handle holds on to that of its own store:
    no file that is made afterwards is taken for it."""
    marker = path / "flujo-store.json"
    own = marker.stat().st_dev, marker.stat().st_ino
    shutil.rmtree(path)
    path.mkdir()
    later = []
    for number in range(200):
        (path / str(number)).write_text("")
        later.append((path / str(number)).stat())

    assert own not in [(each.st_dev, each.st_ino) for each in later]


# -- what cannot be removed -----------------------------------------------------------------------------------------


async def test_a_linked_run_is_deleted_and_its_target_is_not(
    store: FileBackend, path: Path, open_store: Open, tmp_path: Path
) -> None:
    """Of a run whose folder somebody has moved and linked, the link goes; the store opens afterwards as ever."""
    (linked, _) = await create(store, creation("linked", None), creation("other", None))
    (path / "runs/linked").rename(tmp_path / "moved")
    (path / "runs/linked").symlink_to(tmp_path / "moved")
    await store.delete("linked", linked.uid)
    await store.close()
    again = await open_store("two")

    assert await listed(again) == ["other"]
    assert (tmp_path / "moved/journal").exists()
    assert not [entry for entry in (path / "runs").iterdir() if entry.is_symlink()]


@pytest.mark.parametrize("name", [".gone-a.uid", ".new-a"])
async def test_a_leftover_link_keeps_no_store_closed(path: Path, open_store: Open, tmp_path: Path, name: str) -> None:
    """A link where a crash may leave the folder of a run is removed when the store is opened, and not followed."""
    await (await open_store("one")).close()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    (path / "runs" / name).symlink_to(tmp_path / "mine")
    store = await open_store("two")
    await create(store, creation("a"))

    assert (tmp_path / "mine/file").read_text() == "mine"
    assert not (path / "runs" / name).is_symlink()


async def test_what_cannot_be_removed_is_named_and_the_store_goes_on(
    path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs are created, deleted and read beside folders that the file system does not give up; `details` names them."""
    store = await open_store("one")
    (held,) = await create(store, creation("held", None))
    await store.close()
    (path / "runs/.new-next").mkdir()
    remove_tree = Disk.remove_tree

    def refuse(self: Disk, folder: Path) -> None:
        if folder.name in (".new-next", f".gone-held.{held.uid}") and folder.exists():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(folder))
        remove_tree(self, folder)

    monkeypatch.setattr(Disk, "remove_tree", refuse)
    two = await open_store("two")
    await create(two, creation("next", None))
    await two.delete("held", held.uid)
    (held_again,) = await create(two, creation("held", None))
    three = await open_store("three")

    assert sorted(await listed(three)) == ["held", "next"]
    assert await three.load("held") == held_again
    leftovers = [str(path / "runs" / name) for name in (f".gone-held.{held.uid}", ".new-next")]
    assert (await three.details())["leftovers"] == leftovers
    assert all(any(leftover in message for message in caplog.messages) for leftover in leftovers)
    assert await three.integrity() == []


@pytest.mark.parametrize("plant", ["link", "folder", "pipe"])
async def test_what_is_no_lock_file_keeps_no_kernel_alive(path: Path, open_store: Open, plant: str) -> None:
    """Whatever lies among the lock files under the name of a kernel, the store opens, and no such kernel is alive."""
    store = await open_store("one")
    planted = path / "kernels/ghost.lock"
    match plant:
        case "link":
            planted.symlink_to(path / "kernels/one.lock")
        case "folder":
            planted.mkdir()
        case "pipe":
            os.mkfifo(planted)
    two = await open_store("two")

    assert not await two.is_alive("ghost")
    assert await store.is_alive("one")
    assert await two.is_alive("one")


# -- links and other users ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["runs", "definitions", "blobs", "quarantine", "kernels"])
@pytest.mark.parametrize("owner", [None, "two"])
async def test_a_link_in_the_place_of_a_part_is_refused(
    store: FileBackend, path: Path, tmp_path: Path, part: str, owner: str | None
) -> None:
    """A folder of the store that is a link is refused by name; nothing is written where it leads."""
    await store.close()
    (tmp_path / "theirs").mkdir()
    if (path / part).exists():
        (path / part).rename(tmp_path / "aside")
    (path / part).symlink_to(tmp_path / "theirs")
    with pytest.raises(PlaceTakenError, match=f"{part} is a link"):
        await FileBackend(path).open(owner)

    assert list((tmp_path / "theirs").iterdir()) == []


@pytest.mark.parametrize("part", ["runs", "definitions", "kernels"])
async def test_a_link_planted_in_an_empty_folder_is_refused(path: Path, tmp_path: Path, part: str) -> None:
    """A store is not made in a folder where somebody has put a link under the name of one of its parts."""
    (tmp_path / "theirs").mkdir()
    path.mkdir(mode=0o777)
    (path / part).symlink_to(tmp_path / "theirs")
    with pytest.raises(PlaceTakenError, match=f"{part} is a link"):
        await FileBackend(path).open("one")

    assert list((tmp_path / "theirs").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_part_of_another_user_is_refused(store: FileBackend, path: Path) -> None:
    """A folder of the store that belongs neither to its owner nor to the user nor to root is refused by name."""
    await store.close()
    os.chown(path / "definitions", 12345, -1)
    with pytest.raises(PlaceTakenError, match="definitions is a folder of user 12345"):
        await FileBackend(path).open("two")


async def test_a_link_in_the_place_of_the_index_is_replaced(path: Path, open_store: Open, tmp_path: Path) -> None:
    """The index is a cache: a link under its name is not followed, and an index takes its place."""
    store = await open_store("one")
    await create(store, creation("a"))
    await store.close()
    (path / "index").unlink()
    (tmp_path / "theirs").write_text("theirs")
    (path / "index").symlink_to(tmp_path / "theirs")
    two = await open_store("two")
    await create(two, creation("b"))

    assert sorted(await listed(two)) == ["a", "b"]
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert not (path / "index").is_symlink()


# -- the index ----------------------------------------------------------------------------------------------------


async def test_the_index_can_be_removed(store: FileBackend, path: Path, open_store: Open) -> None:
    """Without an index everything is read from the journals, by open handles and by new ones, and it is there again."""
    summaries = await create(store, *(creation(f"run{number}", created_at=number) for number in range(5)))
    reader = await open_store(None)
    (path / "index").unlink()
    assert await listed(reader) == [f"run{number}" for number in range(4, -1, -1)]
    assert (path / "index").exists()
    (path / "index").unlink()
    moved = following(summaries[0])
    assert await store.append([moved]) == {}
    (path / "index").unlink()
    late = await open_store(None)

    for handle in (store, reader, late):
        assert await handle.load("run0") == moved.summary
        assert await handle.count(RunFilter()) == 5


async def test_an_index_that_is_behind_is_caught_up(store: FileBackend, path: Path, open_store: Open) -> None:
    """A power cut may leave an older index: what the journals have beyond it is found, and what they lack is gone."""
    kept, deleted, replaced = await create(store, *(creation(id, None) for id in ("kept", "deleted", "replaced")))
    old = (path / "index").read_bytes()
    await create(store, creation("new", None))
    moved = following(kept, 3)
    await store.append([moved])
    await store.delete("deleted", deleted.uid)
    await store.delete("replaced", replaced.uid)
    (again,) = await create(store, creation("replaced", None))
    await store.close()
    (path / "index").write_bytes(old)
    for owner in (None, "two"):
        handle = await open_store(owner)

        assert sorted(await listed(handle)) == ["kept", "new", "replaced"]
        assert await handle.load("kept") == moved.summary
        assert await handle.load("replaced") == again


async def test_what_a_dying_writer_has_begun_is_cut_from_the_index(store: FileBackend, path: Path) -> None:
    """However much longer it is than what is written in its place."""
    (run,) = await create(store, creation("a", None))
    with (path / "index").open("ab") as index:
        index.write(b"torn" * 1000)

    assert await store.append([following(run)]) == {}
    assert b"torn" not in (path / "index").read_bytes()


async def test_every_damaged_index_is_only_a_slow_one(store: FileBackend, path: Path) -> None:
    """However the index is cut or scribbled over, what a reader sees is the same."""
    summaries = await create(store, *(creation(id, None) for id in ("a", "b")))
    moved = [following(summary) for summary in summaries]
    await store.append(moved)
    await store.close()
    index = (path / "index").read_bytes()
    broken = [index[:size] for size in range(0, len(index), 23)]
    broken += [index[:at] + bytes([index[at] ^ 1]) + index[at + 1 :] for at in range(0, len(index), 23)]
    broken += [b"", b"\0" * 500, index + b"7", index + b"\0" * 500, b"x\n" * 50]
    for data in broken:
        (path / "index").write_bytes(data)
        async with FileBackend(path) as reader:
            assert await listed(reader) == ["b", "a"]
            assert [await reader.load(id) for id in ("a", "b")] == [commit.summary for commit in moved]


async def test_listing_reads_no_journals(
    store: FileBackend, open_store: Open, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """With an index, opening a store, listing and counting read no journal but what has changed without its knowing."""
    summaries = await create(store, *(creation(f"run{number}") for number in range(30)))
    await store.append([following(summary) for summary in summaries[:10]])
    read: list[str] = []
    real = run_folder.survey

    def survey(run: Path, *arguments: Any, **options: Any) -> Any:
        read.append(run.name)
        return real(run, *arguments, **options)

    monkeypatch.setattr(view, "survey", survey)
    reader = await open_store(None)
    assert await reader.count(RunFilter()) == len(await listed(reader)) == 30
    await store.append([following(summaries[20])])
    assert (await reader.load("run20")).seq == 2
    assert read == []
    os.utime(path / "runs" / "run7" / "journal")
    await open_store(None)

    assert read == ["run7"]


async def test_the_index_stays_short(store: FileBackend, path: Path, open_store: Open) -> None:
    """However much is committed, the index is written anew before it is long, and nobody loses sight of a run."""
    fast = await open_store("fast", durability="normal")
    reader = await open_store(None)
    summaries = await create(fast, *(creation(f"run{number}", "fast") for number in range(20)))
    for _ in range(150):
        commits = [following(summary) for summary in summaries]
        assert await fast.append(commits) == {}
        summaries = [commit.summary for commit in commits]

    assert len((path / "index").read_bytes().splitlines()) < 2_200
    for handle in (fast, reader, store, await open_store(None)):
        assert {run.seq for run in (await handle.list(RunFilter(), limit=50)).runs} == {151}


# -- damage -------------------------------------------------------------------------------------------------------


def flip(file: Path, position: int) -> None:
    """Change one byte without a trace, as a failing disk does."""
    found = file.stat()
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


async def three_runs(store: FileBackend) -> None:
    """Runs `a`, `b` and `c`, nobody's, of three records each."""
    for run_id in ("a", "b", "c"):
        (summary,) = await create(store, creation(run_id, uid=f"uid-{run_id}"))
        middle = following(summary)
        await store.append([middle])
        await store.append([following(middle.summary, owner=None, status="paused")])


async def test_a_damaged_run_is_reported_and_the_others_work(
    store: FileBackend, path: Path, open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever a byte has changed, whoever reads or advances that run is told which run and which byte; list goes on
    and says so; nothing is removed."""
    await three_runs(store)
    await store.close()
    shutil.copytree(path, path.with_name("saved"))
    size = (path / "runs" / "b" / "journal").stat().st_size
    for position in range(0, size, 41):
        shutil.rmtree(path)
        shutil.copytree(path.with_name("saved"), path)
        flip(path / "runs" / "b" / "journal", position)
        damaged = (path / "runs" / "b" / "journal").read_bytes()
        offset = scan(damaged).end
        handle = FileBackend(path)
        await handle.open("two")
        with pytest.raises(CorruptStoreError, match=rf"run 'b': .*runs/b/journal from byte {offset} on") as caught:
            await journal(handle, await handle.load("b"))
        assert caught.value.hints
        for attempt in (partial(handle.claim, "b"), partial(handle.post, "b", Request("signal", "{}", 1))):
            with pytest.raises(CorruptStoreError, match="run 'b'"):
                await attempt()

        shown = {run.run_id: run.error_type for run in (await handle.list(RunFilter(), limit=9)).runs}
        assert shown == {"a": None, "b": "CorruptStoreError", "c": None}
        claimed = await handle.claim("a")
        assert await handle.append([following(claimed)]) == {}
        assert (path / "runs" / "b" / "journal").read_bytes() == damaged
        mark = json.loads((path / "runs" / "b" / "damaged.json").read_text())
        assert (mark["run_id"], mark["offset"]) == ("b", offset)
        await handle.close()

        caplog.clear()
        async with FileBackend(path) as reader:
            with pytest.raises(CorruptStoreError):
                await journal(reader, await reader.load("b"))
        assert "damaged and left as they are: b" in caplog.text


async def test_a_creation_under_the_id_of_a_damaged_run_is_refused(store: FileBackend, path: Path) -> None:
    """A damaged run keeps its id, even if nothing of it can be read: its steps must not run again by mistake."""
    await three_runs(store)
    for run_id, position in (("b", 40), ("c", -1)):
        file = path / "runs" / run_id / "journal"
        file.write_bytes(file.read_bytes()[:position] + b"!")
        late = creation(run_id.upper())

        assert await store.append([late]) == {late.uid: Refused.EXISTS}
    (path / "index").unlink()
    late = creation("b")
    assert await store.append([late]) == {late.uid: Refused.EXISTS}


async def test_a_record_that_was_acknowledged_is_never_cut(store: FileBackend, path: Path, open_store: Open) -> None:
    """An end that is missing is damage as long as the index or `state.json` knows how long the journal was."""
    await three_runs(store)
    await store.close()
    journal_file, state, index = path / "runs/b/journal", path / "runs/b/state.json", path / "index"
    saved = {file: file.read_bytes() for file in (journal_file, state, index)}
    for removed in ((), (state,), (index,)):
        for cut in (1, 5, len(saved[journal_file]) // 2):
            for file, data in saved.items():
                file.write_bytes(data)
            for file in removed:
                file.unlink()
            (path / "runs/b/damaged.json").unlink(missing_ok=True)
            os.truncate(journal_file, len(saved[journal_file]) - cut)
            async with FileBackend(path) as reader:
                with pytest.raises(CorruptStoreError, match="were acknowledged"):
                    await journal(reader, await reader.load("b"))
            assert journal_file.stat().st_size == len(saved[journal_file]) - cut


async def test_a_torn_end_is_cut_by_the_next_owner_only(store: FileBackend, path: Path, open_store: Open) -> None:
    """What a crash has left of a record is nothing to readers, stays as they read, and is cut before the next one."""
    (summary,) = await create(store, creation("a"))
    commit = following(summary)
    await store.append([commit])
    await store.close()
    file = path / "runs" / "a" / "journal"
    whole = file.read_bytes()
    torn = [b"0000", b"0000020a 0123456789abcdef {", b"\0" * 99, b"0000020a 0123456789abcdef {\0\0\0"]
    for number, rest in enumerate(torn):
        file.write_bytes(whole + rest)
        reader = await open_store(None)
        assert await reader.load("a") == commit.summary
        assert len(await journal(reader, summary)) == commit.summary.seq
        assert file.read_bytes() == whole + rest
        heir = await open_store(f"heir{number}")
        if number % 2:
            (claimed,) = await heir.claim_idle(["running"], ["report"], 9)
        else:
            claimed = await heir.claim("a")
        commit = following(claimed)
        assert await heir.append([commit]) == {}
        assert len(await journal(reader, summary)) == commit.summary.seq
        await heir.close()
        whole = file.read_bytes()
        assert scan(whole).end == len(whole)


async def test_a_journal_that_is_scribbled_on_fences_its_run_only(store: FileBackend, path: Path) -> None:
    """When somebody else changes a journal under a live kernel, its commit is refused, and the others of the batch
    stand."""
    (a, b) = await create(store, creation("a"), creation("b"))
    with (path / "runs" / "a" / "journal").open("ab") as file:
        file.write(b"hello\n")

    assert await store.append([following(a), following(b)]) == {a.uid: Refused.STALE}
    assert (await store.load("a")).error_type == "CorruptStoreError"
    assert (await store.load("b")).seq == 2


async def test_deleting_a_damaged_run_keeps_its_bytes(store: FileBackend, path: Path) -> None:
    """Pruning leaves a damaged run where it is; a delete by name moves it to the quarantine and frees its id."""
    for number in (1, 2):
        await create(store, creation("a", None, status="completed", finished_at=1))
        file = path / "runs" / "a" / "journal"
        with file.open("ab") as journal_file:
            journal_file.write(b"x\n")
        broken = file.read_bytes()
        (path / "index").unlink()
        assert (await store.prune(RunFilter(), limit=9, dry_run=True)).runs == []
        assert (await store.prune(RunFilter(), limit=9, dry_run=False)).runs == []
        await store.delete("a", (await store.load("a")).uid)

        assert await listed(store) == []
        assert (path / "quarantine" / f"a.{number}" / "journal").read_bytes() == broken


async def test_a_run_is_cured_as_documented(store: FileBackend, path: Path, open_store: Open) -> None:
    """Cutting the journal at the reported byte and removing the mark, the state and the index brings the run back."""
    await three_runs(store)
    await store.close()
    folder = path / "runs" / "b"
    flip(folder / "journal", (folder / "journal").stat().st_size - 9)
    async with FileBackend(path) as reader:
        with pytest.raises(CorruptStoreError):
            await journal(reader, await reader.load("b"))
    offset = json.loads((folder / "damaged.json").read_text())["offset"]
    os.truncate(folder / "journal", offset)
    (folder / "damaged.json").unlink()
    (folder / "state.json").unlink()
    (path / "index").unlink()
    store = await open_store("two")
    claimed = await store.claim("b")

    assert (claimed.seq, claimed.token) == (2, 2)
    assert await store.append([following(claimed)]) == {}


async def test_a_definition_under_another_digest_is_damage(store: FileBackend, path: Path) -> None:
    """A definition that was put under the name of another digest is never handed out for it, and is found."""
    await create(store, creation("a", brings=DEFINITION))
    (path / "definitions/digest").rename(path / "definitions/another")
    with pytest.raises(CorruptStoreError, match="definitions/another"):
        await store.get_definition("another")

    assert [problem.text for problem in await store.integrity()] == [
        f"the definition {path}/definitions/another does not match its checksum"
    ]


async def test_a_damaged_definition_is_an_error(store: FileBackend, path: Path) -> None:
    """A definition that does not match its checksum is never handed out."""
    await create(store, creation("a", brings=DEFINITION))
    file = path / "definitions" / "digest"
    flip(file, 60)
    with pytest.raises(CorruptStoreError, match="definitions/digest"):
        await store.get_definition("digest")
    file.unlink()
    with pytest.raises(WorkflowNotFoundError):
        await store.get_definition("digest")


async def test_a_damaged_request_does_not_hide_the_others(
    store: FileBackend, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that does not match its checksum is reported and stays; the others are taken."""
    await create(store, creation("a"))
    for number in range(3):
        await store.post("a", Request("signal", f'{{"n":{number}}}', number))
    _, second, _ = sorted((path / "runs" / "a" / "inbox").iterdir())
    flip(second, 30)

    assert [posted.request.at for posted in await store.take()] == [0, 2]
    assert str(second) in caplog.text
    assert second.exists()


# -- the inbox ----------------------------------------------------------------------------------------------------


async def test_an_answered_request_is_never_taken_again(store: FileBackend, path: Path, open_store: Open) -> None:
    """A crash between a record and the removal of the requests it answers does not answer them twice."""
    (summary,) = await create(store, creation("a"))
    await store.post("a", Request("signal", "{}", 1))
    await store.post("a", Request("cancel", "{}", 2))
    first, second = await store.take()
    file = path / "runs" / "a" / "inbox" / str(first.id)
    request = file.read_bytes()
    await store.append([following(summary, taken=[first.id])])
    assert not file.exists()
    file.write_bytes(request)
    await store.close()
    heir = await open_store("heir")
    await heir.claim("a")

    assert await heir.take() == [second]
    assert not file.exists()


async def test_a_request_that_cannot_be_removed_counts_as_answered(
    store: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit whose requests cannot be removed stands, and they are not taken again."""
    (summary,) = await create(store, creation("a"))
    await store.post("a", Request("signal", "{}", 1))
    (posted,) = await store.take()

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is tired")

    monkeypatch.setattr(Disk, "remove", refuse)
    assert await store.append([following(summary, taken=[posted.id])]) == {}
    await store.post("a", Request("signal", "{}", 2))

    assert [each.request.at for each in await store.take()] == [2]


async def test_a_request_of_a_poster_that_died_is_delivered(
    store: FileBackend, monkeypatch: pytest.MonkeyPatch, open_store: Open
) -> None:
    """A request whose poster died before it could tell the owner is taken as soon as somebody has noticed."""
    await create(store, creation("a"))
    await store.take()
    poster, reader = await open_store(None), await open_store(None)
    with monkeypatch.context() as patch:
        patch.setattr(View, "publish", _die)
        with pytest.raises(CutShort):
            await poster.post("a", Request("signal", "{}", 1))
    await reader.load("a")
    with anyio.fail_after(30):
        await store.wait_for_posts()

    assert [posted.request.at for posted in await store.take()] == [1]


def _die(*_: object) -> None:
    raise CutShort


async def test_numbers_of_requests_grow_without_an_index(store: FileBackend, path: Path) -> None:
    """The numbers of requests grow also when the index was lost in between."""
    await create(store, creation("a"))
    for number in range(4):
        await store.post("a", Request("signal", "{}", number))
        (path / "index").unlink()

    assert [posted.request.at for posted in await store.take()] == [0, 1, 2, 3]


# -- waiting for the store ----------------------------------------------------------------------------------------


@contextmanager
def store_lock_held(path: Path) -> Iterator[None]:
    """Hold the store lock as another process would."""
    with (path / "kernels" / "store.lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def test_readers_do_not_wait_for_a_writer(store: FileBackend, path: Path, open_store: Open) -> None:
    """While somebody holds the store lock, and has begun to write, readers see what was committed before."""
    (summary,) = await create(store, creation("a"))
    reader = await open_store(None, busy_seconds=0.0)
    store._store._view.begin_change(["a"])
    with store_lock_held(path), (path / "runs" / "a" / "journal").open("ab") as file:
        file.write(b"0000020a 0123456789abcdef {")
        file.flush()

        assert await reader.load("a") == summary
        assert await listed(reader) == ["a"]
        assert len(await journal(reader, summary)) == 1


async def test_a_cancellation_storm_leaves_whole_commits(open_store: Open) -> None:
    """However often calls are cancelled, each commit is there wholly or not at all, and the handle works on."""
    store = await open_store("one", durability="normal")
    answered: list[str] = []

    async def append(name: str, ticks: int) -> None:
        await store.append([creation(f"{name}-{part}", created_at=ticks) for part in range(3)])
        answered.append(name)

    for ticks in range(40):
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(append, f"run{ticks}-{number}", ticks)
                tasks.start_soon(store.count, RunFilter())
            for _ in range(ticks % 12):
                await checkpoint()
            tasks.cancel_scope.cancel()
    ids = {run.run_id.rpartition("-")[0] for run in (await store.list(RunFilter(), limit=1_000)).runs}

    assert await store.count(RunFilter()) == 3 * len(ids)
    assert ids >= set(answered)
    assert len(answered) < 40 * 4  # some were cancelled
    assert await store.append([creation("after")]) == {}


class NoticingLock:
    """A lock that tells when somebody has to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_waited_for = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.is_waited_for.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_caller_that_is_torn_away_leaves_its_thread_alone(
    store: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's own Task.cancel() takes a caller away at once; what its thread has begun is finished before anything
    else is written."""
    (a, b) = await create(store, creation("a"), creation("b"))
    begun, go_on = threading.Event(), threading.Event()
    lock = NoticingLock()
    store._writing._at_work = lock  # type: ignore[assignment]
    real = Disk.sync

    def sync(disk: Disk, file: int) -> None:
        begun.set()
        assert go_on.wait(60)
        real(disk, file)

    monkeypatch.setattr(Disk, "sync", sync)
    torn = asyncio.ensure_future(store.append([following(a)]))
    await anyio.to_thread.run_sync(begun.wait)
    torn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await torn
    begun.clear()
    later = asyncio.ensure_future(store.append([following(b)]))
    await anyio.to_thread.run_sync(lock.is_waited_for.wait, 10)
    assert lock.is_waited_for.is_set()
    assert not begun.is_set()
    go_on.set()

    assert await later == {}
    assert [(await store.load(run_id)).seq for run_id in ("a", "b")] == [2, 2]


# -- full disks and failing ones ----------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`with failing("write", ENOSPC, after=n)`: from the n-th call on that disk operation fails, half done."""

    @contextmanager
    def failing(name: str, number: int, *, after: int = 0) -> Iterator[None]:
        real = getattr(Disk, name)
        left = after

        def fail(self: Disk, *arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left > 0:
                left -= 1
                return real(self, *arguments, **options)
            if name == "write":
                file, data, position = arguments
                real(self, file, data[: len(data) // 2], position)
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(Disk, name, fail)
            yield

    return failing


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, StoreFullError), (errno.EDQUOT, StoreFullError), (errno.EIO, StoreError)]
)
@pytest.mark.parametrize("operation", ["write", "sync", "sync_folder", "rename", "make_folder"])
async def test_a_failing_disk_is_said_and_harmless(
    store: FileBackend,
    open_store: Open,
    failing: Callable[..., Any],
    operation: str,
    number: int,
    error: type[StoreError],
) -> None:
    """Whatever fails in the middle of a batch, the error says so, each commit is there wholly or not at all, for this
    handle as for others, and once the disk works again everything goes on."""
    reader = await open_store(None)
    (a, b) = await create(store, creation("a"), creation("b"))
    failures = 0
    for after in range(12):
        batch = [following(a), following(b), creation(f"new{after}")]
        try:
            with failing(operation, number, after=after):
                assert await store.append(batch) == {}
        except error:
            failures += 1
        seen = {id: await store.load(id) for id in ("a", "b")}
        for commit, before in zip(batch, (a, b), strict=False):
            assert seen[commit.run_id] in (before, commit.summary)
            assert await reader.load(commit.run_id) == seen[commit.run_id]
            assert len(await journal(reader, before)) == seen[commit.run_id].seq
        if f"new{after}" in await listed(store):
            assert await reader.load(f"new{after}") == batch[2].summary
        a, b = seen["a"], seen["b"]

    assert failures
    assert await store.append([following(a), following(b), creation("after")]) == {}


async def test_a_full_disk_stops_nothing_but_the_batch(
    store: FileBackend, path: Path, failing: Callable[..., Any]
) -> None:
    """A record that did not fit is not left in the journal, and what was acknowledged before is intact."""
    (summary,) = await create(store, creation("a"))
    before = (path / "runs" / "a" / "journal").read_bytes()
    with failing("write", errno.ENOSPC, after=1), pytest.raises(StoreFullError):  # the first write says what changes
        await store.append([following(summary)])

    assert (path / "runs" / "a" / "journal").read_bytes() == before
    assert await store.append([following(summary)]) == {}


# -- several processes --------------------------------------------------------------------------------------------


async def test_a_store_in_use_is_copied_as_documented(path: Path, tmp_path: Path) -> None:
    """A copy that is made while a process writes holds every run up to some commit, and can be gone on with."""
    copy = tmp_path / "copy"
    with processes(f"file:{path}", "writer", runs=10, commits=100_000) as (child,):
        let_write(child)
        assert next_line(child) == "created"
        acknowledged = int(next_line(child))
        ignored = shutil.ignore_patterns(".new-*", ".gone-*", "*.new", "state.json")
        shutil.copytree(path / "runs", copy / "runs", ignore=ignored)
        shutil.copy2(path / "flujo-store.json", copy)
    handle = FileBackend(copy)
    await handle.open("one")
    runs = (await handle.list(RunFilter(), limit=99)).runs

    assert len(runs) == 10
    for run in runs:
        assert run.error_type is None
        assert run.steps_done >= acknowledged
        assert await handle.append([following(await handle.claim(run.run_id))]) == {}
    await handle.close()


async def test_a_run_that_is_replaced_while_it_is_read_is_no_damage(store: FileBackend, open_store: Open) -> None:
    """A reader that knows a run from before it was deleted and started anew is told so, and calls nothing damaged."""
    (old,) = await create(store, creation("a", None))
    reader = await open_store(None)
    assert len(await journal(reader, old)) == 1
    await store.delete("a", old.uid)
    with pytest.raises(RunNotFoundError):
        await reader.load("a")
    (new,) = await create(store, creation("a", None))

    assert await reader.load("a") == new
    assert len(await journal(reader, new)) == 1


async def test_a_healthy_store_logs_nothing(
    store: FileBackend, open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """In an ordinary life of a store there is nothing to warn of."""
    with caplog.at_level(logging.DEBUG, "flujo"):
        await three_runs(store)
        await store.claim("a")
        await store.close()
        heir = await open_store("heir")
        await heir.claim("a")
        await heir.prune(RunFilter(), limit=9, dry_run=False)

    assert caplog.records == []


# -- hard links ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["the store", "the copy"])
async def test_a_copy_of_hard_links_is_a_store_of_its_own(
    path: Path, tmp_path: Path, open_store: Open, first: str
) -> None:
    """As `cp -al` and rsnapshot make one: whichever is written to first, nothing of that is in the other."""
    store = await open_store("one")
    first_run, other = await create(store, creation("a"), creation("b", owner=None))
    copied = tmp_path / "copied"
    shutil.copytree(path, copied, copy_function=os.link)
    shutil.rmtree(copied / "kernels")
    copy = await open_store("two", copied)
    for handle in [store, copy] if first == "the store" else [copy, store]:
        run = await handle.claim("a") if handle is copy else first_run
        assert await handle.append([following(run, steps_done=3 if handle is copy else 2)]) == {}
    await store.delete("b", other.uid)
    there, here = await open_store(None), await open_store(None, copied)

    assert [sorted(await listed(each)) for each in (there, here)] == [["a"], ["a", "b"]]
    assert [(await each.load("a")).steps_done for each in (there, here)] == [2, 3]
    assert [await each.integrity() for each in (there, here)] == [[], []]
