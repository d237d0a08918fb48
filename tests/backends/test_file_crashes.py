"""The file store survives the death of its process, and a power cut, at every single thing it does to the disk.

A history writes to a store and is cut short after a number of changes of the disk: nothing of it happens any more, no
clean-up either. A power cut besides takes back what was not synced. Then a reader and an heir look: every commit that
was acknowledged has to be there, every other one wholly or not at all, and nothing may count as damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from anyio.lowlevel import checkpoint

from flujo.backends import FileBackend
from flujo.backends.conformance import DEFINITION, creation, following, journal
from flujo.backends.file.backend import Lane
from flujo.backends.file.blobs import LARGE, Blobs
from flujo.backends.file.disk import Disk
from flujo.backends.file.inbox import Inboxes
from flujo.backends.file.view import View
from flujo.backends.file.writing import Writer
from flujo.kernel.backend import Commit, Request, RunFilter, RunSummary
from flujo.kernel.errors import FlujoError


@pytest.fixture(autouse=True)
def _without_changes_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one client does in threads, one thing after another, it does at once. To change to a thread and back a
    hundred thousand times takes three times as long as what is done to the disk."""

    async def run(lane: Lane, unit: Callable[[], Any]) -> Any:
        await checkpoint()
        return unit()

    monkeypatch.setattr(Lane, "run", run)


class CutShort(BaseException):
    """The process is dead; every later change of the disk raises it as well."""


class Cut(NamedTuple):
    """What becomes of the disk of a process that died."""

    torn: bool = False  # the write it died in has happened in part
    contents: str = "kept"  # what was not synced: "kept", "lost", or only its size is there: "zeros"
    names: str = "kept"  # new names in folders that were not synced: "kept" or "lost"


CUTS = {
    "a death": Cut(),
    "a death within a write": Cut(torn=True),
    "a power cut": Cut(contents="lost", names="lost"),
    "a power cut that keeps names": Cut(torn=True, contents="lost"),
    "a power cut that leaves zeros": Cut(torn=True, contents="zeros"),
    "a power cut that keeps contents": Cut(names="lost"),
}


class Power:
    """Lets a number of changes of the disk happen, and knows how to take back those that were not synced."""

    def __init__(self, steps: int, cut: Cut) -> None:
        self._left = steps
        self._cut = cut
        self._contents: dict[tuple[int, int], list[tuple[int, int]]] = {}  # by file: descriptor, size before a write
        self._names: dict[Path, list[Callable[[], object]]] = {}  # by folder, how to take a new name back

    def supply(self, patch: pytest.MonkeyPatch) -> None:
        """Let `Disk` change things through here."""
        for name in ("write", "cut", "sync", "rename", "make_folder", "link", "remove", "remove_tree", "sync_folder"):
            patch.setattr(Disk, name, self._counted(getattr(Disk, name), getattr(self, f"_before_{name}", None)))

    def _counted(self, real: Callable[..., Any], before: Callable[..., None] | None) -> Callable[..., Any]:
        def change(disk: Disk, *arguments: Any) -> Any:
            if self._left <= 0:
                if self._left == 0 and self._cut.torn and real.__name__ == "write":
                    file, data, position = arguments
                    self._before_write(disk, *arguments)
                    os.pwrite(file, data[: len(data) * 2 // 3], position)
                self._left = -1
                raise CutShort
            self._left -= 1
            if before is not None:
                before(disk, *arguments)
            return None if real.__name__ in ("sync", "sync_folder") else real(disk, *arguments)

        return change

    def _before_write(self, disk: Disk, file: int, data: bytes, position: int) -> None:
        self._contents.setdefault(_identity(file), []).append((os.dup(file), os.fstat(file).st_size))

    def _before_sync(self, disk: Disk, file: int) -> None:
        if disk.durable:
            for kept, _ in self._contents.pop(_identity(file), ()):
                os.close(kept)

    def _before_rename(self, disk: Disk, path: Path, target: Path) -> None:
        before = target.read_bytes() if target.is_file() else None

        def take_back() -> None:
            if target.exists():
                target.rename(path)
            if before is not None:
                target.write_bytes(before)

        self._names.setdefault(target.parent, []).append(take_back)

    def _before_link(self, disk: Disk, path: Path, target: Path) -> None:
        self._names.setdefault(target.parent, []).append(lambda: target.unlink(missing_ok=True))

    def _before_make_folder(self, disk: Disk, path: Path) -> None:
        self._names.setdefault(path.parent, []).append(lambda: shutil.rmtree(path, ignore_errors=True))

    def _before_remove(self, disk: Disk, path: Path) -> None:
        if path.exists():
            before = path.read_bytes()
            self._names.setdefault(path.parent, []).append(lambda: path.parent.exists() and path.write_bytes(before))

    def _before_sync_folder(self, disk: Disk, folder: Path) -> None:
        if disk.durable:
            self._names.pop(folder, None)

    def fail(self) -> None:
        """Take back what was not synced, the newest first."""
        for writes in self._contents.values():
            for file, size in reversed(writes):
                if self._cut.contents == "lost":
                    os.ftruncate(file, size)
                elif self._cut.contents == "zeros":
                    os.pwrite(file, bytes(max(0, os.fstat(file).st_size - size)), size)
                os.close(file)
        if self._cut.names == "lost":
            for names in self._names.values():
                for take_back in reversed(names):
                    take_back()


def _identity(file: int) -> tuple[int, int]:
    found = os.fstat(file)
    return found.st_dev, found.st_ino


# -- a history, and what it was promised --------------------------------------------------------------------------


def _with_payload(commit: Commit) -> Commit:
    """A part of such a record is longer than a whole one."""
    first, *rest = commit.rows
    return commit._replace(rows=(first._replace(payload='"' + "x" * 5_000 + '"'), *rest))


def _with_large_payload(commit: Commit) -> Commit:
    """A payload that is a file of its own, the same one for every commit."""
    first, *rest = commit.rows
    return commit._replace(rows=(first._replace(payload='"' + "y" * LARGE + '"'), *rest))


class Client:
    """Somebody who uses a store and remembers what was acknowledged, and what was asked for last."""

    def __init__(self, handle: FileBackend, watcher: FileBackend) -> None:
        self._handle = handle
        self._watcher = watcher  # has the store open all the time, and looks at it now and then
        self.runs: dict[str, RunSummary | None] = {}  # as acknowledged; None was deleted
        self.asked: dict[str, RunSummary | None] = {}  # what a call that has not returned makes of runs
        self.posted: set[int] = set()
        self.answering: set[int] = set()
        self.answered: set[int] = set()

    async def live(self) -> None:
        """A little of everything that is done to a store."""
        await self._handle.open("one")
        await self._watcher.open(None)
        await self._append(creation("a", brings=DEFINITION), creation("b", created_at=2))
        await self._append(*map(_with_payload, self._next("a", "b", steps_done=1)))
        assert await self._watcher.count(RunFilter()) == 2
        await self._post("a", 1)
        await self._answer("a")
        await self._append(creation("c", created_at=3), *self._next("a"))
        await self._append(*map(_with_large_payload, self._next("a", "b")))
        await self._append(_with_large_payload(creation("d", None, created_at=4, parent_run_id="b")))
        await self._append(*self._next("b", owner=None, status="completed", finished_at=9))
        await self._delete("b")
        await self._append(*map(_with_large_payload, self._next("c")))
        await self._prune("d")
        await self._append(creation("e", None), creation("f", None, parent_run_id="e"))
        await self._prune("e", "f")
        await self._append(*self._next("c", owner=None, status="failed", finished_at=9))
        await self._claim("c")
        await self._append(*self._next("a", "c", status="waiting"))
        await self._post("c", 2)
        await self._append(creation("b", created_at=4))
        await self._handle.release(None)

    def _next(self, *run_ids: str, **fields: Any) -> list[Commit]:
        return [following(self._run(run_id), 2, **fields) for run_id in run_ids]

    def _run(self, run_id: str) -> RunSummary:
        summary = self.runs[run_id]
        assert summary is not None
        return summary

    async def _append(self, *commits: Commit) -> None:
        self.asked = {commit.run_id: commit.summary for commit in commits}
        assert await self._handle.append(commits) == {}
        self._acknowledged()

    async def _delete(self, run_id: str) -> None:
        self.asked = {run_id: None}
        await self._handle.delete(run_id, self._run(run_id).uid)
        self._acknowledged()

    async def _prune(self, root: str, *others: str) -> None:
        self.asked = dict.fromkeys((root, *others))
        removal = await self._handle.prune(RunFilter(id_prefix=root), limit=9, dry_run=False)
        assert [run.run_id for run in removal.runs] == [root, *others]
        self._acknowledged()

    async def _claim(self, run_id: str) -> None:
        summary = self._run(run_id)
        self.asked = {run_id: summary._replace(owner="one", token=summary.token + 1)}
        assert await self._handle.claim(run_id) == self.asked[run_id]
        self._acknowledged()

    async def _post(self, run_id: str, number: int) -> None:
        await self._handle.post(run_id, Request("signal", "{}", number))
        self.posted.add(number)

    async def _answer(self, run_id: str) -> None:
        posted = await self._handle.take()
        self.answering = {each.request.at for each in posted}
        await self._append(following(self._run(run_id), taken=[each.id for each in posted]))
        self.answered = self.answering

    def _acknowledged(self) -> None:
        self.runs |= self.asked
        self.asked = {}

    def require_promised(self, seen: dict[str, RunSummary]) -> None:
        """Every run is as it was acknowledged, or as the call in progress would have made it, but for its owner's
        leaving."""
        for run_id in self.runs.keys() | self.asked.keys() | seen.keys():
            possible = [self.runs.get(run_id)]
            if run_id in self.asked:
                possible.append(self.asked[run_id])
            found = seen.get(run_id)
            released = [each and each._replace(owner=None) for each in possible]
            assert found in possible or found in released, (run_id, found, possible)


@pytest.fixture
def anyio_backend() -> str:
    """What is tried here happens in a thread; tests/simulation tries it on both loops."""
    return "asyncio"


async def cut_short(
    path: Path, durability: Any, steps: int, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> Client | None:
    """Live a history that ends after so many changes of the disk; None if it came to its end before."""
    handle, watcher = FileBackend(path, durability), FileBackend(path, durability)
    client, power = Client(handle, watcher), Power(steps, cut)
    with monkeypatch.context() as patch:
        power.supply(patch)
        try:
            await client.live()
        except CutShort:
            pass
        else:
            return None
        finally:
            await handle.close()
    power.fail()
    if cut.contents == cut.names == "kept" and watcher._unusable is None:
        client.require_promised(await seen_by(watcher))
    await watcher.close()
    return client


async def seen_by(handle: FileBackend) -> dict[str, RunSummary]:
    """Every run, none of them damaged, each with its whole journal."""
    runs = (await handle.list(RunFilter(), limit=99)).runs
    for run in runs:
        assert run.error_type is None, run.error_message
        assert [row.seq for row in await journal(handle, run)] == list(range(1, run.seq + 1))
    return {run.run_id: run for run in runs}


async def require_usable(path: Path, *, is_sound: bool = True) -> tuple[dict[str, RunSummary], set[int]]:
    """A reader and then an heir see the same runs, and the heir goes on with all of them; what they were, and the
    requests the heir was left."""
    seen: dict[str, RunSummary] = {}
    if (path / "flujo-store.json").exists():
        async with FileBackend(path) as reader:
            seen = await seen_by(reader)
    heir = FileBackend(path, "normal")
    await heir.open("heir")
    assert await seen_by(heir) == seen
    assert not is_sound or await heir.integrity() == []
    for run_id, summary in seen.items():
        assert await heir.claim(run_id) == summary._replace(owner="heir", token=summary.token + 1)
    requests = [posted.request.at for posted in await heir.take()]
    assert len(set(requests)) == len(requests)
    for run_id in seen:
        assert await heir.append([following(await heir.load(run_id))]) == {}
    assert await heir.append([creation("late", "heir", brings=DEFINITION)]) == {}
    assert await heir.get_definition("digest") == DEFINITION
    assert not is_sound or await heir.integrity() == []
    await heir.release(None)
    await heir.prune(RunFilter(), limit=99, dry_run=False)
    assert not is_sound or not list(path.glob("blobs/*"))  # noqa: ASYNC240
    await heir.close()
    return seen, set(requests)


async def require_survival(cut: Cut, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Cut histories short at every change of the disk; how many the whole one has."""
    for steps in count():
        path = folder / str(steps)
        client = await cut_short(path, "full", steps, cut, monkeypatch)
        if client is None:
            break
        seen, requests = await require_usable(path)
        client.require_promised(seen)
        assert not requests & client.answered
        assert client.posted - client.answering <= requests
    return steps


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
async def test_what_was_acknowledged_survives(cut: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process dies or the power is cut, every acknowledged commit, claim, delete and request is there, and
    the others wholly or not at all."""
    assert await require_survival(cut, tmp_path, monkeypatch) > 100


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
async def test_without_syncs_the_store_stays_usable(cut: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `durability=normal` the death of a process loses nothing either; a power cut may take commits, and every run
    that is left is whole."""
    for steps in count(0, 3):
        path = tmp_path / str(steps)
        client = await cut_short(path, "normal", steps, cut, monkeypatch)
        if client is None:
            break
        is_kept = cut.contents == cut.names == "kept"
        seen, _ = await require_usable(path, is_sound=is_kept)
        if is_kept:
            client.require_promised(seen)

    assert steps > 100


def nothing(*_: object, **__: object) -> None:
    """What a planted bug does instead of what it should."""


MUTANTS: dict[str, tuple[type, str, str]] = {
    "files are not synced": (Power, "_before_sync", "a power cut that keeps names"),
    "folders are not synced": (Power, "_before_sync_folder", "a power cut that keeps contents"),
    "torn ends are not cut": (Writer, "_cut_torn_end", "a death within a write"),
    "answered requests stay": (Inboxes, "forget_answered", "a power cut"),
    "nobody says what is about to change": (View, "begin_change", "a death"),
    "payloads of no record stay": (Blobs, "forget", "a death"),
    "payloads of no run stay": (Blobs, "collect", "a death"),
    "payloads are not linked": (Blobs, "_share", "a death"),
    "what was said last is believed": (View, "_settle", "a death"),
}


@pytest.mark.parametrize(("owner", "name", "cut"), MUTANTS.values(), ids=MUTANTS)
async def test_planted_bugs_are_caught(
    owner: type, name: str, cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store with this bug does not get through what the store gets through without it."""
    monkeypatch.setattr(owner, name, nothing)
    with pytest.raises((AssertionError, FlujoError)):
        await require_survival(CUTS[cut], tmp_path, monkeypatch)
