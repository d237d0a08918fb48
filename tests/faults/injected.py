"""A process with a disk that fails: `python injected.py FOLDER STORE WAY FAULTS`, with disk.c loaded.

It lives through one scenario over and over, each time on a new store. Each time the n-th call of some kind fails in
some way, for n = 1, 2, 3 … until the scenario needs fewer calls than that. For every such time it prints a line of
JSON, a `Trial`. STORE is `sqlite` or `file`. WAY is `honest`, or `trusting`, which takes an operation that failed for
done and is wrong on purpose. FAULTS is a key of `FAULTS`.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from anyio.lowlevel import checkpoint

from faults.history import (
    DEFINITION,
    Append,
    Claim,
    ClaimIdle,
    Delete,
    Holding,
    Moment,
    Operation,
    Post,
    Prune,
    Release,
    creation,
    differences,
    following,
    observe,
)
from faults.victims import problems
from flujo.backends import open_backend
from flujo.backends.file import view
from flujo.backends.file.backend import Lane
from flujo.backends.sqlite import backend as sqlite
from flujo.backends.sqlite import checkpoints
from flujo.kernel.backend import Commit, StateBackend
from flujo.kernel.errors import StoreError, StoreFullError

HONEST = "honest"
TRUSTING = "trusting"

CALLS = ("write", "sync", "truncate", "open", "remove", "rename", "make folder")
"""In the order of disk.c."""

FOR_EVER = 1 << 40


class Fault(NamedTuple):
    """How calls of one kind fail."""

    call: str
    error: int
    """The number the system gives; 0 for a write that does half and says so."""

    lasts: bool = False
    """Whether every later call of the kind fails too."""

    partial: bool = False
    """Whether half of a write is done all the same."""

    def __str__(self) -> str:
        name = errno.errorcode.get(self.error, "half of it")
        return (
            f"{self.call}: {name}{', half of it done' if self.partial and self.error else ''}{' for ever' * self.lasts}"
        )


ONCE = tuple(Fault(call, error) for call in CALLS for error in (errno.EIO, errno.ENOSPC))
FULL = Fault("write", errno.ENOSPC, lasts=True, partial=True)  # how a disk becomes full: in the middle of a write
SHORT = Fault("write", 0, partial=True)
FAULTS = {
    "all": (
        *ONCE,
        *(fault._replace(lasts=True) for fault in ONCE),
        *(Fault("write", error, partial=True) for error in (errno.EIO, errno.ENOSPC)),
        FULL,
        SHORT,
        SHORT._replace(lasts=True),
    ),
    "few": (
        *(fault for fault in ONCE if fault.error == errno.EIO),
        *(Fault(call, errno.ENOSPC, lasts=True) for call in CALLS if call != "write"),
        FULL,
        SHORT._replace(lasts=True),
    ),
    "kept": (*(fault for fault in ONCE if fault.error == errno.EIO), FULL),
    "syncs": (Fault("sync", errno.EIO, lasts=True),),
}


STRIDES = {("sqlite", "few"): 5}  # a database is written to page by page; "all" takes every one of them


class Trial(NamedTuple):
    """What one failure came to."""

    fault: str
    number: int
    error: str | None
    """The class of the error that somebody was told of; None where the store got along."""

    problems: list[str]


OWNER = "w"


def scenario() -> list[Moment]:
    """A little of everything that is done to a store."""
    a, b = creation("w-a", OWNER, 1, DEFINITION), creation("w-b", OWNER, 2)
    a2, b2 = _large(following(a.summary), 300), _large(following(b.summary, 2), 40_000)
    a3 = following(a2.summary)
    b3 = following(b2.summary, owner=None, status="completed", finished_at=9)
    b4 = following(b3.summary._replace(owner=OWNER, token=2), owner=None)
    c = _large(creation("w-c", OWNER, 3, DEFINITION), 5_000)
    a4 = following(a3.summary._replace(owner=OWNER, token=2), owner=None, status="failed", finished_at=9)
    c2 = _large(following(c.summary), 20_000)
    return _moments(
        Append((a, b), None),
        Append((a2, b2), None),
        Post("w-a", 3),
        Append((a3,), "w-a"),
        Append((b3,), None),
        Claim("w-b", OWNER),
        Append((b4,), None),
        Release(),
        ClaimIdle(OWNER),
        Append((c, a4), None),
        Delete("w-a", a.uid),
        Prune(OWNER),
        Append((c2,), None),
        Append((), None),  # not performed: what is held before it is what is held in the end
    )


def _large(commit: Commit, size: int) -> Commit:
    first, *rest = commit.rows
    return commit._replace(rows=(first._replace(payload=f'"{"x" * size}"'), *rest))


def _moments(*operations: Operation) -> list[Moment]:
    held: Holding = {}
    found = []
    for operation in operations:
        found.append(Moment(held, operation))
        held = operation.after(held)
    return found


SCENARIO = scenario()


class Disk:
    """The library this process was loaded with."""

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(None)
        self._library.disk_watch(os.fsencode(folder))
        self._library.disk_heal.restype = ctypes.c_long

    def fail(self, fault: Fault, number: int) -> None:
        """Let the call of this number fail."""
        until = FOR_EVER if fault.lasts else number + 1
        self._library.disk_fail(
            CALLS.index(fault.call), ctypes.c_long(number), ctypes.c_long(until), fault.error, int(fault.partial)
        )

    def heal(self) -> int:
        """Let nothing fail any more; how many calls have failed."""
        failed: int = self._library.disk_heal()
        return failed


def trials(folder: Path, scheme: str, way: str, faults: Sequence[Fault], stride: int) -> Iterator[Trial]:
    """Let every call fail in each of these ways, but of the writes only some, `stride` apart."""
    disk = Disk(folder)
    for fault in faults:
        for number in count(1, stride if fault.call == "write" else 1):
            trial = anyio.run(_try, disk, folder, f"{scheme}:{folder}/store", way, fault, number)
            shutil.rmtree(folder)
            folder.mkdir()
            if trial is None:
                break
            yield trial


async def _try(disk: Disk, folder: Path, store: str, way: str, fault: Fault, number: int) -> Trial | None:
    """Live through the scenario; None if it needs fewer calls than that."""
    handle = open_backend(store)
    disk.fail(fault, number)
    is_open, done, told = await _live(handle, way)
    moment = SCENARIO[done]
    failed = disk.heal() if told is not None else 0
    found = await _go_on(handle, moment) if told is not None and is_open else []
    try:
        await handle.close()
    except Exception as error:  # whatever it is: an error of another class is a finding
        told = told or error
    failed += disk.heal()
    if not failed:
        if told is not None:
            raise told  # nothing has failed, so nothing may be said
        return None
    found += [f"{name} is still open" for name in _open_files(folder)]
    if not is_open:
        found += await _require_opens(store)
    if not found:
        found += await problems(store, OWNER, moment)
    found += _misnamed(told, fault, store)
    return Trial(str(fault), number, None if told is None else type(told).__name__, found)


async def _live(handle: StateBackend, way: str) -> tuple[bool, int, Exception | None]:
    """Whether the store was opened, how many operations were acknowledged, and what somebody was told then."""
    done = 0
    try:
        await handle.open(OWNER)
    except Exception as error:
        return False, 0, error
    try:
        for _, operation in SCENARIO[:-1]:
            try:
                await operation.perform(handle)
            except StoreError:
                if way != TRUSTING:
                    raise
            done += 1
    except Exception as error:
        return True, done, error
    return True, done, None


async def _go_on(handle: StateBackend, moment: Moment) -> list[str]:
    """What is wrong with a handle after a call has failed that does not fail any more."""
    try:
        found = differences(await observe(handle, OWNER), moment)
        assert await handle.append([creation("after", OWNER, 1)]) == {}
    except Exception as error:
        return [f"the same handle does not go on: {type(error).__name__}: {error}"]
    return [f"by the same handle: {each}" for each in found]


async def _require_opens(store: str) -> list[str]:
    """What keeps the next kernel from opening the store."""
    handle = open_backend(store)
    try:
        await handle.open("next")
        await handle.close()
    except Exception as error:
        return [f"it does not open any more: {type(error).__name__}: {error}"]
    return []


def _misnamed(told: Exception | None, fault: Fault, store: str) -> list[str]:
    """Whether somebody was told something else than what was wrong.

    SQLite says only of a write that there was no space, so of others its store cannot say so either; and when it cannot
    make the index of its log longer, it does not say why, which is taken for a full disk."""
    if told is None:
        return []
    kinds: set[type[Exception]] = {StoreFullError} if fault.error == errno.ENOSPC else {StoreError}
    if store.startswith("sqlite:"):
        kinds.add(StoreFullError if fault.call == "write" else StoreError)
    is_fine = type(told) in kinds and "locked" not in str(told)
    return [] if is_fine else [f"it was told as {type(told).__name__}: {told}"]


def _open_files(folder: Path) -> list[str]:
    """The files of the store that this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue  # that of the listing itself
    return [name for name in found if name.startswith(f"{folder}/")]


def make_rare_things_frequent() -> None:
    """Let checkpoints and new indexes come so often that the scenario has some of them."""
    for module, name, value in (
        (sqlite, "CHECKPOINT_PAGES", 20),
        (checkpoints, "LONG_LOG", 100_000),
        (view, "_LINES_TO_SPARE", 10),
    ):
        assert hasattr(module, name)
        setattr(module, name, value)


def stay_in_one_thread() -> None:
    """Let a file store do at once what it does in threads, one thing after another: the disk sees the same calls in the
    same order, and a quarter of the time was spent on changes to a thread and back."""

    async def run(lane: Lane, unit: Callable[[], Any]) -> Any:
        await checkpoint()
        return unit()

    Lane.run = run  # type: ignore[method-assign, assignment]


def main(folder: Path, scheme: str, way: str, faults: str) -> None:
    """Print a line for each trial."""
    make_rare_things_frequent()
    stay_in_one_thread()
    folder.mkdir()
    for trial in trials(folder.resolve(), scheme, way, FAULTS[faults], STRIDES.get((scheme, faults), 1)):
        sys.stdout.write(f"{json.dumps(trial)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
