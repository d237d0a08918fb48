"""What a file store does with large payloads, how it finds damage in anything it holds, and how it copies itself."""

# ruff: noqa: ASYNC240 - files are what these tests look at, and nothing else runs in their loops meanwhile

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from anyio import CancelScope, from_thread

from backends.conftest import Open
from flujo.backends import FileBackend
from flujo.backends.conformance import DEFINITION, create, creation, event, following, journal, listed, settled
from flujo.backends.file import copying, index, layout, view
from flujo.backends.file.backend import _in_portions
from flujo.backends.file.blobs import LARGE
from flujo.backends.file.copying import Copy, Hold
from flujo.backends.file.disk import Disk, on_each
from flujo.backends.file.index import Entry
from flujo.backends.file.store import Store
from flujo.kernel.backend import Commit, Request, RunFilter, RunSummary
from flujo.kernel.errors import CorruptStoreError, StoreError, StoreFullError

BACKEND = FileBackend


def with_payload(commit: Commit, size: int = LARGE, letter: str = "x") -> Commit:
    """The same commit, its first event with a payload of so many bytes."""
    first, *rest = commit.rows
    return commit._replace(rows=(first._replace(payload='"' + letter * (size - 2) + '"'), *rest))


def free(run_id: str, letter: str = "x", size: int = LARGE) -> Commit:
    """A run of nobody that begins with a large payload."""
    return with_payload(creation(run_id, None), size, letter)


def blobs_of(path: Path) -> list[Path]:
    return sorted(path.glob("blobs/*"))


def flip(path: Path, place: int) -> None:
    """Change one byte where it stands, as a failing disk does."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


async def texts_of_problems(store: FileBackend) -> dict[str | None, str]:
    return {problem.run_id: problem.text for problem in await store.integrity()}


# -- large payloads -----------------------------------------------------------------------------------------------


async def test_equal_payloads_are_one_file(store: FileBackend, path: Path) -> None:
    """However many runs record a large payload, and however often, it is in the store once."""
    runs = await create(store, free("a"), free("b"), free("c", "y"))
    await store.append([with_payload(following(runs[0]))])

    x, y = sorted(blobs_of(path), key=lambda file: file.read_bytes())
    assert (x.stat().st_nlink, y.stat().st_nlink) == (4, 2)
    assert sum(file.stat().st_size for file in path.glob("runs/*/journal")) < LARGE
    assert (await store.details())["blob_bytes"] == 2 * LARGE


@pytest.mark.parametrize(("size", "letter", "files"), [(LARGE - 1, "x", 0), (LARGE, "x", 1), (LARGE // 2 + 1, "ü", 1)])
async def test_only_large_payloads_are_files(
    store: FileBackend, path: Path, size: int, letter: str, files: int
) -> None:
    """A payload is a file of its own from so many bytes on, however many characters they are."""
    commit = free("a", letter, size)
    (summary,) = await create(store, commit)

    assert len(blobs_of(path)) == files
    assert (await journal(store, summary))[0] == commit.rows[0]


async def test_a_payload_goes_with_its_last_run(store: FileBackend, path: Path) -> None:
    """Deleting and pruning remove a payload from the disk as soon as nobody has it any more."""
    a, b, c = await create(store, free("a"), free("b"), free("c", "y"))
    await store.delete("a", a.uid)
    assert len(blobs_of(path)) == 2
    await store.prune(RunFilter(id_prefix="b"), limit=1, dry_run=False)
    assert len(blobs_of(path)) == 1
    await store.delete("c", c.uid)

    assert blobs_of(path) == []
    assert b.run_id not in await listed(store)


@pytest.mark.parametrize("harm", ["flipped", "cut", "longer", "missing"])
async def test_a_damaged_payload_is_damage_of_its_runs(
    store: FileBackend, path: Path, open_store: Open, harm: str
) -> None:
    """A payload that is not as it was recorded is never handed out: whoever reads its run is told which file it is,
    and other runs work, also one that records the same payload now."""
    harmed, sound = await create(store, free("harmed"), free("sound", "y"))
    (file,) = path.glob("runs/harmed/blobs/*")
    match harm:
        case "flipped":
            flip(file, LARGE // 2)
        case "cut":
            os.truncate(file, LARGE - 1)
        case "longer":
            with file.open("ab") as end:
                end.write(b"x")
        case "missing":
            file.unlink()
    reader = await open_store(None)

    for _ in range(2):
        with pytest.raises(CorruptStoreError, match=r"run 'harmed'.*payload of event 1, blobs/1-") as raised:
            await journal(reader, harmed)
        assert raised.value.hints
    assert (await texts_of_problems(reader)).keys() - {None} == {"harmed"}
    assert (await journal(reader, sound))[0].payload == free("x", "y").rows[0].payload
    (again,) = await create(store, free("again"))
    assert (await journal(reader, again))[0].payload == free("x").rows[0].payload
    with pytest.raises(CorruptStoreError):
        await store.claim("harmed")


async def test_a_copy_without_links_is_whole(store: FileBackend, path: Path, open_store: Open, tmp_path: Path) -> None:
    """A program that makes two files of one misses nothing, and the next owner removes what nobody needs."""
    runs = await create(store, free("a"), free("b"))
    shutil.copytree(path, tmp_path / "copy")
    copy = await open_store("two", tmp_path / "copy")

    for run in runs:
        assert (await journal(copy, run))[0].payload == free("x").rows[0].payload
    assert blobs_of(tmp_path / "copy") == []
    assert await copy.integrity() == []


@pytest.mark.parametrize("problem", [errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP])
async def test_links_are_not_needed(
    store: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch, problem: int
) -> None:
    """Where a file can have no more names, each run has a file of its own."""

    def link(*_: object) -> None:
        raise OSError(problem, os.strerror(problem))

    monkeypatch.setattr(Disk, "link", link)
    runs = await create(store, free("a"), free("b"))

    for run in runs:
        assert (await journal(store, run))[0].payload == free("x").rows[0].payload
    assert [file.stat().st_nlink for file in path.glob("runs/*/blobs/*")] == [1, 1]


async def test_a_full_disk_takes_no_payload(store: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit whose record does not fit leaves neither its payload nor a name of it."""
    (summary,) = await create(store, creation("a"))
    write = Disk.write

    def full(disk: Disk, file: int, data: bytes, position: int) -> None:
        if position > 0:  # the record
            raise OSError(errno.ENOSPC, "no space")
        write(disk, file, data, position)

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "write", full)
        with pytest.raises(StoreFullError):
            await store.append([with_payload(following(summary))])

    assert blobs_of(path) == list(path.glob("runs/a/blobs/*")) == []
    assert await store.append([following(summary)]) == {}
    assert await store.integrity() == []


# -- looking for damage -------------------------------------------------------------------------------------------


async def test_damage_anywhere_is_found(store: FileBackend, path: Path, open_store: Open) -> None:
    """Looking for damage reads everything: journals that nobody has touched since, definitions, requests, payloads."""
    commits = [creation(run_id, None, brings=DEFINITION) for run_id in ("a", "b", "c", "d")]
    await create(store, *commits, free("large"))
    await store.post("b", Request("signal", '{"n":1}', 1))
    assert await store.integrity() == []
    flip(path / "runs/a/journal", 100)
    (request,) = path.glob("runs/b/inbox/*")
    flip(request, 40)
    flip(path / "definitions/digest", 40)
    (payload,) = path.glob("runs/large/blobs/*")
    flip(payload, 40)
    (path / "runs/c/blobs").mkdir()
    (path / f"runs/c/blobs/1-{'0' * 64}").write_bytes(b"nobody's")
    (path / "blobs" / ("1" * 64)).write_bytes(b"nobody's")
    reader = await open_store(None)
    found = await reader.integrity()

    assert {problem.run_id for problem in found} == {"a", "b", "c", "large", None}
    texts = [problem.text for problem in found]
    for part in (
        "runs/a/journal from byte 0",
        "inbox/",
        "blobs/1-0000",
        "payload of event 1",
        "digest does not",
    ):
        assert sum(part in text for text in texts) == 1, part
    assert (
        len(texts) == 5
    )  # a shared payload that nobody uses is no damage: test_a_backup_that_lost_its_hard_links_is_sound
    assert len(await journal(reader, commits[3].summary)) == 1


async def test_events_that_do_not_follow_are_found(store: FileBackend, path: Path) -> None:
    """Sound records whose events leave a gap contradict each other."""
    commit = creation("a", None, seq=3)
    commit = commit._replace(rows=(event(1), event(3)))
    await create(store, commit)

    (problem,) = await store.integrity()
    assert problem.run_id == "a"
    assert "do not follow" in problem.text


# -- copies -------------------------------------------------------------------------------------------------------


async def test_what_is_deleted_stays_for_a_copy(store: FileBackend, path: Path, open_store: Open) -> None:
    """While somebody copies, deleted runs are gone for all and their files are kept; later they are removed, by the
    next owner if the one who copied was killed."""
    runs: list[RunSummary] = await create(store, free("a"), free("b"))
    hold = Hold(layout.StorePaths.at("file:store", path))
    hold.take()
    for run in runs:
        await store.delete(run.run_id, run.uid)
    await create(store, free("a", "y"))

    assert await listed(store) == ["a"]
    assert len(list(path.glob("runs/.gone-*"))) == 2
    await open_store("two")
    assert len(list(path.glob("runs/.gone-*"))) == 2
    hold.release()
    await open_store("three")
    assert list(path.glob("runs/.gone-*")) == []
    assert len(blobs_of(path)) == 1


async def test_a_copy_shares_payloads_and_is_private(store: FileBackend, path: Path, tmp_path: Path) -> None:
    """A copy has each payload once, everything in it is for the user alone, and it takes what it says."""
    await create(store, free("a"), free("b"), settled("c", 5))
    size = await store.backup(tmp_path / "copy")

    (blob,) = blobs_of(tmp_path / "copy")
    assert blob.stat().st_nlink == 3
    files = [file for file in (tmp_path / "copy").rglob("*") if file.is_file()]
    assert size == sum(file.stat().st_size for file in {file.stat().st_ino: file for file in files}.values())
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "copy").rglob("*") if file.is_dir()} == {0o700}


@pytest.mark.parametrize("look", ["_journal_of", "names_in", "_payload"])
async def test_a_run_that_is_deleted_while_it_is_copied_keeps_its_payloads(
    look: str, store: FileBackend, open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its files is looked at next, the copy has the run as it was when the copy began."""
    (run,) = await create(store, free("a"))
    recorded = await journal(store, run)
    other = await open_store("two")
    real = getattr(copying, look)
    deletions: list[str] = []

    def delete_first(*arguments: Any) -> Any:
        if not deletions:
            deletions.append("a")
            from_thread.run(other.delete, "a", run.uid)
        return real(*arguments)

    monkeypatch.setattr(copying, look, delete_first)
    await store.backup(tmp_path / "copy")
    copy = await open_store(None, tmp_path / "copy")

    assert deletions == ["a"]
    assert await listed(store) == []
    assert await journal(copy, run) == recorded
    assert await copy.integrity() == []


async def test_a_copy_is_opened_by_its_index(
    store: FileBackend, open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens a copy reads no journal, and later finds every byte as it was."""
    await create(store, *(free(f"run{n}", "xyz"[n % 3]) for n in range(9)))
    await store.backup(tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr("flujo.backends.file.view.survey", None)
        copy = await open_store(None, tmp_path / "copy")
        assert await copy.count(RunFilter()) == 9

    assert await copy.integrity() == []


async def test_a_damaged_payload_is_not_shared_in_a_copy(
    store: FileBackend, path: Path, open_store: Open, tmp_path: Path
) -> None:
    """Of two runs with the same payload, of which the first one's is damaged, the second is sound in a copy."""
    harmed, sound = await create(store, free("a"), free("b"))
    (file,) = path.glob("runs/a/blobs/*")
    damaged = bytearray(file.read_bytes())
    damaged[LARGE // 2] ^= 1
    file.unlink()  # and with it the share in what both runs have
    file.write_bytes(damaged)
    await store.backup(tmp_path / "copy")
    copy = await open_store(None, tmp_path / "copy")

    assert (await journal(copy, sound))[0].payload == free("b").rows[0].payload
    with pytest.raises(CorruptStoreError):
        await journal(copy, harmed)
    assert [problem.run_id for problem in await copy.integrity()] == ["a"]


async def test_a_damaged_run_is_copied_as_it_is(
    store: FileBackend, path: Path, open_store: Open, tmp_path: Path
) -> None:
    """A copy says of a damaged run what the store says, known as damaged or not, and the others are sound in it."""
    await create(store, free("known"), free("unknown", "y"), free("payload", "z"), creation("sound", None))
    flip(path / "runs/known/journal", 100)
    await store.integrity()
    flip(path / "runs/unknown/journal", 100)
    (payload,) = path.glob("runs/payload/blobs/*")
    flip(payload, 100)
    await store.backup(tmp_path / "copy")
    copy = await open_store(None, tmp_path / "copy")

    assert set(await texts_of_problems(copy)) == {"known", "unknown", "payload"}
    for run_id in ("known", "unknown"):
        assert (tmp_path / f"copy/runs/{run_id}/journal").read_bytes() == (path / f"runs/{run_id}/journal").read_bytes()


async def test_a_store_is_not_copied_into_itself(store: FileBackend, path: Path) -> None:
    """A copy cannot lie within its store."""
    before = sorted(path.rglob("*"))
    with pytest.raises(StoreError, match="lies in the store"):
        await store.backup(path / "runs" / "copy")

    assert [file for file in sorted(path.rglob("*")) if file.name != "copying"] == before


@pytest.mark.parametrize("operation", ["create", "make_folder", "link", "sync", "rename", "replace"])
async def test_a_copy_that_fails_leaves_nothing(
    store: FileBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Whichever change of the disk fails, nothing of a copy is left, the store is as it was and can be copied."""
    await create(store, free("a"), free("b"), settled("c", 5), creation("d", brings=DEFINITION))
    real: Callable[..., Any] = getattr(Disk, operation)
    folder = tmp_path / "copies"
    folder.mkdir()
    for fails_at in count(1):
        calls = count(1)

        def fail(*arguments: Any, calls: Any = calls, fails_at: int = fails_at, **options: Any) -> Any:
            if next(calls) == fails_at:
                raise OSError(errno.EIO, "an error of the disk")
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Disk, operation, fail)
            try:
                await store.backup(folder / "copy")
            except StoreError:
                assert list(folder.iterdir()) == []
            else:
                shutil.rmtree(folder / "copy")
                if next(calls) <= fails_at:
                    break

    assert fails_at > 1
    assert await store.integrity() == []
    assert await store.backup(folder / "copy") > 0


# -- what takes long ------------------------------------------------------------------------------------------------


def entry(folder: str, length: int) -> Entry:
    return Entry(folder, length, b"", 0, True, creation(folder).summary)


def test_runs_are_looked_at_in_portions() -> None:
    """A portion holds fifty runs or a mebibyte of journals at most, or one run that is larger; none is left out."""
    many = [entry(str(number), 10) for number in range(120)]
    large = [entry("a", 600_000), entry("b", 600_000), entry("c", 9 << 20), entry("d", 1)]

    assert [len(portion) for portion in _in_portions(many)] == [50, 50, 20]
    assert [run for portion in _in_portions(many) for run in portion] == many
    assert [[run.folder for run in portion] for portion in _in_portions(large)] == [["a"], ["b"], ["c"], ["d"]]
    assert list(_in_portions([])) == []


async def look(store: FileBackend, _: Path) -> object:
    return await store.integrity()


async def preview(store: FileBackend, _: Path) -> object:
    return await store.prune(RunFilter(), limit=1, dry_run=True)


async def copy(store: FileBackend, target: Path) -> object:
    return await store.backup(target)


@pytest.mark.parametrize(
    ("call", "owner", "name"),
    [(look, Store, "check"), (preview, Store, "size"), (copy, Copy, "add"), (copy, Copy, "sync")],
    ids=["integrity", "dry run", "backup", "the syncs of a backup"],
)
async def test_what_takes_long_can_be_given_up(
    store: FileBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[FileBackend, Path], Awaitable[object]],
    owner: Any,
    name: str,
) -> None:
    """A cancellation waits for the portion that is under way and for no other one, and leaves nothing behind."""
    await create(store, *(creation(f"r{number}", None) for number in range(120)))
    portions: list[object] = []
    original = getattr(owner, name)
    with CancelScope() as scope:

        def cancelling(self: object, *arguments: Any) -> Any:
            portions.append(arguments)
            from_thread.run_sync(scope.cancel)
            return original(self, *arguments)

        monkeypatch.setattr(owner, name, cancelling)
        await call(store, tmp_path / "target")

    assert scope.cancelled_caught
    assert len(portions) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert await store.count(RunFilter()) == 120


@pytest.mark.parametrize("owner", ["two", None], ids=["an owner", "a reader"])
@pytest.mark.parametrize(
    ("place", "name"),
    [(index, "decode"), (view, "_has_changed"), (view, "survey")],
    ids=["reading the index", "comparing the journals", "making the index anew"],
)
async def test_an_opening_can_be_given_up(
    store: FileBackend, monkeypatch: pytest.MonkeyPatch, place: ModuleType, name: str, owner: str | None
) -> None:
    """It ends with the run that it looks at, however many there are; the next one opens the store as it was."""
    await create(store, *(creation(f"r{number}", None) for number in range(120)))
    if name == "survey":
        (store.path / "index").unlink()
    opening = FileBackend(store.path)
    looked_at: list[object] = []
    original = getattr(place, name)
    with CancelScope() as scope:

        def cancelling(*arguments: Any, **options: Any) -> Any:
            looked_at.append(arguments)
            if len(looked_at) == 5:
                from_thread.run_sync(scope.cancel)
                opening._store._view.stop.wait()
            return original(*arguments, **options)

        monkeypatch.setattr(place, name, cancelling)
        await opening.open(owner)
        await opening.count(RunFilter())  # a reader makes no index before it is asked

    monkeypatch.undo()
    assert scope.cancelled_caught
    assert len(looked_at) == 5
    await opening.open(owner)
    assert await opening.count(RunFilter()) == 120
    await opening.close()


@pytest.mark.parametrize("number", [1, 2, 30])
def test_a_failure_on_one_path_is_raised_when_all_have_ended(number: int, tmp_path: Path) -> None:
    """Of several paths that are worked on at a time, every one that has begun ends before the error is told."""
    begun: list[Path] = []
    ended: list[Path] = []

    def work(path: Path) -> None:
        begun.append(path)
        if path.name == "0":
            raise OSError(errno.EIO, "no")
        ended.append(path)

    with pytest.raises(OSError, match="no"):
        on_each(work, [tmp_path / str(each) for each in range(number)])

    assert len(begun) == len(ended) + 1


def test_what_is_made_of_paths_comes_in_their_order(tmp_path: Path) -> None:
    """However many are worked on at a time."""
    paths = [tmp_path / str(number) for number in range(50)]

    assert on_each(lambda path: path.name, paths) == [path.name for path in paths]
    assert on_each(lambda path: path.name, []) == []
