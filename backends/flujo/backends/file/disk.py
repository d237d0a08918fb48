"""Everything that changes a file or a folder of a store, in one place, and what each does against a power cut; and how
to read all of something.

Names are made durable by syncing the folder they are in, contents by syncing the file, and both only where `durable`
says so. Files are made with mode 0600 and folders with 0700 whatever the umask; links are never followed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from flujo.kernel.errors import PlaceTakenError
from flujo.kernel.trust import set_mode

Result = TypeVar("Result")

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, where fsync stops at the drive's cache
NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL)
"""What reading a file raises where there is none, or something else: a link, a folder, a pipe."""

_UNFINISHED = ".new"
_AT_ONCE = 8


class Disk:
    """The writing side of one store's folder."""

    def __init__(self, *, durable: bool) -> None:
        self.durable = durable

    # -- contents -----------------------------------------------------------------------------------------------

    def write(self, file: int, data: bytes, position: int) -> None:
        """Write all of `data` at `position`; after an error any part of it may be there."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(file, rest, position)
            rest, position = rest[written:], position + written

    def cut(self, file: int, length: int) -> None:
        """Make a file end at `length`."""
        os.ftruncate(file, length)

    def sync(self, file: int) -> None:
        """Make the contents of an open file durable."""
        if self.durable:
            _sync(file)

    def create(self, path: Path, data: bytes) -> int:
        """Make a file that is not there yet, and sync it; returns the instant of its last change (ns)."""
        file = _new_file(path)
        try:
            self.write(file, data, 0)
            self.sync(file)
            return os.fstat(file).st_mtime_ns
        finally:
            os.close(file)

    def replace(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        """Put a file into place whole, over what is there; with `sync`, its folder is to be synced by the caller."""
        unfinished = path.with_name(path.name + _UNFINISHED)
        unfinished.unlink(missing_ok=True)
        file = _new_file(unfinished)
        try:
            self.write(file, data, 0)
            if sync:
                self.sync(file)
        finally:
            os.close(file)
        self.rename(unfinished, path)

    def make_own(self, path: Path) -> None:
        """Make a file that has other names a file of its own: one of those is in a copy of the store that was made of
        hard links, and what is written here is not to be there."""
        self.replace(path, content_of(path))
        self.sync_folder(path.parent)

    # -- names --------------------------------------------------------------------------------------------------

    def make_folder(self, path: Path) -> None:
        """Make a folder that is not there yet."""
        path.mkdir(mode=0o700)
        set_mode(path, 0o700)

    def rename(self, path: Path, target: Path) -> None:
        """Give a file or a folder another name, in one instant."""
        try:
            path.rename(target)
        except IsADirectoryError:
            raise PlaceTakenError(str(target), "a folder") from None

    def link(self, path: Path, target: Path) -> None:
        """Give a file another name besides."""
        os.link(path, target, follow_symlinks=False)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder and all that is in it, if it is there; of a link, the link and nothing else."""
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        if not self.durable:
            return
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(file)
        finally:
            os.close(file)


def on_each(work: Callable[[Path], Result], paths: Sequence[Path]) -> list[Result]:
    """Return what `work` makes of each path, several at a time.

    Removing and syncing wait for the disk far longer than they compute: eight at a time remove and sync files seven to
    nine times as fast as one. An error is raised when all that has begun has ended."""
    if len(paths) < 2:
        return [work(path) for path in paths]
    with ThreadPoolExecutor(min(_AT_ONCE, len(paths)), "flujo-file") as threads:
        return list(threads.map(work, paths))


def _new_file(path: Path) -> int:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    set_mode(file, 0o600)
    return file


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Yield a descriptor of a file or a folder. Raises OSError for a link, and a pipe, which would be waited for."""
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_IFMT(os.fstat(file).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        yield file
    finally:
        os.close(file)


def content_of(path: Path) -> bytes:
    """Return all that is in a file."""
    with opened(path) as file:
        return read_at(file, os.fstat(file).st_size, 0)


def holds(path: Path, data: bytes) -> bool:
    """True if this is all that is in a file; False for what is none."""
    try:
        return content_of(path) == data
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return False


def read_at(file: int, size: int, position: int) -> bytes:
    """Return so many bytes, or as many as there are. One call of the system gives 2 GiB at most, and may give less."""
    parts: list[bytes] = []
    while size > 0 and (part := os.pread(file, size, position)):
        parts.append(part)
        size, position = size - len(part), position + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _sync(file: int) -> None:
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(file, _FULL_SYNC)
            return
        except OSError:
            pass  # not every file system can; then fsync has to do
    os.fsync(file)
