"""Putting a backup into the place of a store.

The backup is copied beside the store, looked through there, and only then given the name of the store, so there is a
whole store or none at any time. What is no part of a backup is left behind: lock files, the index, which is made anew,
and what a writer that died had not finished.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from shlex import quote

from flujo.backends.disk_errors import disk_error
from flujo.backends.locks import KernelLocks, StoreLock
from flujo.kernel.backend import StateBackend
from flujo.kernel.checking import Severity, check
from flujo.kernel.errors import (
    CorruptStoreError,
    NewerStoreError,
    StoreBusyError,
    StoreError,
    StoreExistsError,
    StoreInUseError,
    StoreNotFoundError,
)
from flujo.kernel.loops import in_thread
from flujo.kernel.trust import set_mode

from .disk import Disk
from .layout import StorePaths, is_there, make_missing, renew_identity

LOCK_SECONDS = 30.0
"""How long a restore waits for the store lock."""

_FILES_AT_ONCE = 100  # a cancellation waits for so many
_DISK = Disk(durable=True)


async def restore(backup: Path, paths: StorePaths, *, force: bool, open_copy: Callable[[Path], StateBackend]) -> int:
    """Make a store at `paths` of the folder `backup`, which stays as it is; returns its bytes.

    It is read through before it is put into place, with the handle that `open_copy` makes, so that nothing damaged is
    taken for a store. Raises what `StateBackend.restore` says.
    """
    source = StorePaths.at(f"file:{backup}", backup)
    with _store_errors(source.store):
        if not is_there(source):
            raise StoreNotFoundError(source.store)
    with _store_errors(paths.store):
        _require_room(paths, force)
        await in_thread(partial(make_missing, paths.folder.parent))
        with _unfinished(paths) as unfinished:
            size = await _copy(source.folder, unfinished)
            await in_thread(partial(renew_identity, StorePaths.at(source.store, unfinished)))
            await _require_sound(source, paths, open_copy(unfinished))
            await in_thread(partial(_put_into_place, unfinished, paths, force))
    return size


def _require_room(paths: StorePaths, force: bool) -> bool:
    """True if a store is there, damaged or not. Raises StoreExistsError if it must not be replaced, ForeignStoreError
    if it is none."""
    try:
        found = is_there(paths)
    except (CorruptStoreError, NewerStoreError):
        found = True
    if found and not force:
        raise StoreExistsError(
            paths.store, ["restore to another place, and look at it there", "or replace this one: --force"]
        )
    return found


# -- copying ------------------------------------------------------------------------------------------------------


@contextmanager
def _unfinished(paths: StorePaths) -> Iterator[Path]:
    """A new folder beside the store, which is gone afterwards if it still has that name; so are those of restores that
    have died."""
    prefix = f".{paths.folder.name}.restoring-"
    for leftovers in paths.folder.parent.glob(f"{prefix}*"):
        with suppress(OSError), _held(leftovers):
            shutil.rmtree(leftovers, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=paths.folder.parent))
    with _held(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder; raises BlockingIOError while another process does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


async def _copy(source: Path, target: Path) -> int:
    """Copy what a backup is made of, durably; returns its bytes."""
    names: dict[tuple[int, int], Path] = {}  # (device, inode) → its copy: files with several names keep them
    folders = [target]
    size = 0
    files = _walk(source)
    while batch := await in_thread(lambda: list(islice(files, _FILES_AT_ONCE))):
        size += await in_thread(partial(_copy_files, source, target, batch, names, folders))
    for folder in reversed(folders):
        await in_thread(partial(_DISK.sync_folder, folder))
    return size


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the folders and files of a backup, each folder before what is in it. Links are not followed, nor taken
    along, nor are pipes."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            is_file = entry.is_file(follow_symlinks=False)
            if not (is_file or entry.is_dir(follow_symlinks=False)) or _is_left_behind(entry.name):
                continue
            yield entry
            if not is_file:
                yield from _walk(Path(entry.path))


def _is_left_behind(name: str) -> bool:
    """True if a name is that of a cache, of lock files, or of something unfinished."""
    return name in ("kernels", "index") or name.startswith((".new-", ".gone-")) or name.endswith(".new")


def _copy_files(
    source: Path,
    target: Path,
    batch: Sequence[os.DirEntry[str]],
    names: dict[tuple[int, int], Path],
    folders: list[Path],
) -> int:
    size = 0
    for entry in batch:
        copy = target / Path(entry.path).relative_to(source)
        if entry.is_dir():
            _DISK.make_folder(copy)
            folders.append(copy)
            continue
        found = entry.stat()
        identity = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and identity in names:
            os.link(names[identity], copy)
            continue
        names[identity] = copy
        shutil.copyfile(entry.path, copy, follow_symlinks=False)
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))  # by which the index knows a journal
        set_mode(copy, stat.S_IMODE(found.st_mode))
        file = os.open(copy, os.O_RDWR | os.O_CLOEXEC)
        try:
            _DISK.sync(file)
        finally:
            os.close(file)
        size += found.st_size
    return size


async def _require_sound(source: StorePaths, paths: StorePaths, copy: StateBackend) -> None:
    async with copy:
        report = await check(copy)
    for finding in report.findings:
        if finding.severity is Severity.DAMAGED:
            which = "" if finding.run_id is None else f"run {finding.run_id!r}: "
            raise CorruptStoreError(
                source.store,
                f"{which}{finding.text}",
                [
                    f"flujoctl db check --store {source.store}",
                    f"flujoctl db copy {source.store} {paths.store}  # brings what is sound, and names the rest",
                ],
            )


# -- into place ---------------------------------------------------------------------------------------------------


def _put_into_place(unfinished: Path, paths: StorePaths, force: bool) -> None:
    if _require_room(paths, force):
        with _alone(paths):
            kept = paths.folder.with_name(f"{paths.folder.name}.replaced")
            # From here on it is a whole store, which nobody may take for the leftovers of a restore that has died.
            ready = paths.folder.with_name(unfinished.name.replace(".restoring-", ".restored-"))
            _DISK.rename(unfinished, ready)
            try:
                exchange(ready, paths.folder)
            except OSError:
                _DISK.rename(ready, unfinished)  # which is removed then
                raise
            _keep_old(paths, ready, kept)
    else:
        _give_name(unfinished, paths)
    _DISK.sync_folder(paths.folder.parent)


def _keep_old(paths: StorePaths, old: Path, kept: Path) -> None:
    """Give the store that was replaced its last name. Nothing of an earlier one goes before the new one is in place."""
    try:
        _DISK.remove_tree(kept)
        _DISK.rename(old, kept)
    except OSError as error:
        raise StoreError(
            paths.store,
            f"it is restored, but the store that was there could not be named {kept.name}: {error.strerror}",
            [
                f"mv {quote(str(old))} OTHER-PLACE  # the store that was there",
                f"flujoctl db check --store {paths.store}",
            ],
        ) from error


def _give_name(unfinished: Path, paths: StorePaths) -> None:
    try:
        _DISK.rename(unfinished, paths.folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise StoreExistsError(paths.store, ["somebody has made one just now; look at it first"]) from error
        raise


_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_HERE = -100  # AT_FDCWD
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def exchange(one: Path, other: Path) -> None:
    """Let two folders change names, in one instant where the system can do that: there is a store at any time."""
    system = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    if hasattr(system, "renameat2"):
        failed = system.renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE)
    elif hasattr(system, "renamex_np"):
        failed = system.renamex_np(*paths, _EXCHANGE)
    else:
        ctypes.set_errno(errno.ENOSYS)
        failed = -1
    if not failed:
        return
    if (number := ctypes.get_errno()) not in _UNKNOWN:
        raise OSError(number, os.strerror(number), str(other))
    between = one.with_name(f"{one.name}.between")
    _DISK.rename(other, between)
    try:
        _DISK.rename(one, other)
    except OSError:
        _DISK.rename(between, other)
        raise
    _DISK.rename(between, one)


@contextmanager
def _alone(paths: StorePaths) -> Iterator[None]:
    """Hold the store lock while nobody is alive on a store; raises StoreInUseError, StoreBusyError."""
    with suppress(FileExistsError):  # a store that came from a backup may lack it
        _DISK.make_folder(paths.kernels)
    lock = StoreLock(paths.lock)
    try:
        if not lock.acquire(LOCK_SECONDS):
            raise StoreBusyError(paths.store, paths.lock, LOCK_SECONDS)
        alive = KernelLocks(paths.kernels).live_owners()
        if alive:
            raise StoreInUseError(paths.store, "restoring", alive, paths.kernels / f"{alive[0]}.lock")
        yield
    finally:
        lock.close()


@contextmanager
def _store_errors(store: str) -> Iterator[None]:
    """Turn what the operating system raises into StoreError and its kinds."""
    try:
        yield
    except OSError as error:
        raise disk_error(store, error) from error
