"""A copy of a whole store, of one moment, while kernels go on.

Journals only grow, so the store at a moment is known by how long each journal was then: that much is copied of each,
whenever its turn comes. Only what is removed would be lost. So whoever copies holds a lock, `kernels/copying`, shared
with others who copy: while anybody holds it runs that are deleted go out of the way as ever, and are not removed. What
is left behind is removed when the last one is done, or by the next owner who opens the store.

The copy is made aside, synced, and renamed into place: it is there wholly or not at all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from flujo.backends.locks import open_lock
from flujo.kernel.errors import StoreError, StoreExistsError
from flujo.kernel.trust import open_own

from . import index, layout
from .blobs import BLOBS, digest_of, names_in
from .disk import Disk, content_of, on_each, opened, read_at
from .index import Entry, Index
from .journal import scan
from .layout import StorePaths
from .run_folder import INBOX, JOURNAL
from .writing import Writer, name_of_removed

_DURABLE = Disk(durable=True)


# -- holding back what is removed -------------------------------------------------------------------------------------


class Hold:
    """Keeps the files of runs that others delete. Is taken under the store lock, and ends with its process."""

    def __init__(self, paths: StorePaths) -> None:
        self._path = paths.copying
        self._file: int | None = None

    def take(self) -> None:
        """Keep them from now on."""
        self._file = open_lock(self._path)
        if self._file is not None:
            # Who asks for more than this holds the store lock, and does not wait.
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def release(self) -> bool:
        """Keep nothing any more; whether anything was kept."""
        if self._file is None:
            return False
        os.close(self._file)
        self._file = None
        return True


def is_held(paths: StorePaths) -> bool:
    """True if anybody copies the store. Needs the store lock."""
    try:
        file = open_own(paths.copying, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


# -- the copy ---------------------------------------------------------------------------------------------------------


class Snapshot(NamedTuple):
    """A store at one moment."""

    entries: Sequence[Entry]
    requests: Mapping[str, Mapping[str, bytes]]  # by folder, the open ones by the names of their files
    last_request: int


class Copy:
    """A copy of `source` that is going to be at `target`. Every call is one piece of work for a thread."""

    def __init__(self, source: StorePaths, target: Path) -> None:
        self._source = source
        self._target = target.expanduser().absolute()
        aside = self._target.with_name(f".{self._target.name}.unfinished-{uuid4().hex}")
        self._aside = StorePaths(source.store, aside)
        self._disk = Disk(durable=False)  # all is synced at the end, which is cheaper than each by itself
        self._writer = Writer(self._aside, self._disk)
        self._entries: list[Entry] = []
        self._is_in_place = False
        self._sizes: dict[int, int] = {}  # of the files that were synced, by their numbers

    @property
    def bytes(self) -> int:
        """Return what the copy takes."""
        return sum(self._sizes.values())

    def begin(self) -> None:
        """Make the folder; raises StoreExistsError, StoreError."""
        if os.path.lexists(self._target):
            raise StoreExistsError(str(self._target))
        if Path(os.path.realpath(self._target)).is_relative_to(self._source.folder):
            raise StoreError(self._source.store, f"{self._target} lies in the store", ["name a place outside of it"])
        self._disk.make_folder(self._aside.folder)
        for folder in (self._aside.runs, self._aside.definitions, self._aside.kernels, self._aside.blobs):
            self._disk.make_folder(folder)

    def add(self, snapshot: Snapshot, entries: Sequence[Entry]) -> None:
        """Copy some of the runs."""
        for entry in entries:
            copied = self._add_run(entry)
            if copied is not None:
                self._entries.append(copied)
                if entry.summary.owner is None:
                    self._writer.write_state(copied)
            requests = snapshot.requests.get(entry.folder, {})
            inbox = self._aside.runs / entry.folder / INBOX
            if requests and not inbox.exists():
                self._disk.make_folder(inbox)
                for name, data in requests.items():
                    self._disk.create(inbox / name, data)

    def _add_run(self, entry: Entry) -> Entry | None:
        """Copy a run; how it stands in the copy, None for one that its first reader there has to look at."""
        target = self._aside.runs / entry.folder
        paths = [self._source.runs / name for name in (entry.folder, name_of_removed(entry))]
        for run in paths:
            before = _identity(run)
            journal = None if entry.damage is not None else _journal_of(run, entry)
            names = {name: digest for name, (seq, digest) in names_in(run).items() if seq <= entry.summary.seq}
            if journal is None or _identity(run) != before:
                continue  # it was removed, perhaps between the two looks, and has the other name now
            self._disk.make_folder(target)
            changed_at = self._disk.create(target / JOURNAL, journal)
            self._add_blobs(paths, target, names)
            return entry._replace(changed_at=changed_at, durable=True)
        for run in paths:
            if run.is_dir():
                self._add_as_it_is(run, target)
                return None
        return None  # a damaged run that went to the quarantine meanwhile

    def _add_blobs(self, paths: Sequence[Path], target: Path, names: Mapping[str, str]) -> None:
        """Copy the payloads with these names, and digests, of a run that is at the first of these paths until it is
        removed, and then at the other."""
        if names:
            self._disk.make_folder(target / BLOBS)
        for name, digest in names.items():
            data = _payload(paths, name)
            shared = self._aside.blobs / digest
            if digest_of(data) != digest:  # it is damaged, and so is its run in the copy
                self._disk.create(target / BLOBS / name, data)
                continue
            if not shared.exists():
                self._disk.create(shared, data)
            try:
                self._disk.link(shared, target / BLOBS / name)
            except OSError:
                self._disk.create(target / BLOBS / name, data)

    def _add_as_it_is(self, run: Path, target: Path) -> None:
        """Copy all files of a damaged run, so that the copy knows of it what the store does."""
        for folder, _, names in os.walk(run):
            place = target / Path(folder).relative_to(run)
            self._disk.make_folder(place)
            for name in names:
                path = Path(folder) / name
                if path.is_file() and not path.is_symlink():
                    self._disk.create(place / name, content_of(path))

    def complete(self, snapshot: Snapshot) -> None:
        """Copy what runs share, and say what this is."""
        for path in self._source.definitions.glob("*"):
            if not path.name.endswith(".new"):
                self._disk.create(self._aside.definitions / path.name, content_of(path))
        self._disk.create(self._aside.folder / ".gitignore", b"*\n")
        told = Index(self._aside.index_file, self._disk)
        told.rewrite([index.NewRequest("", snapshot.last_request), *self._entries])
        told.close()
        layout.write_marker(self._aside)

    def unsynced(self) -> Iterator[Sequence[Path]]:
        """Yield every file and folder of the copy, some at a time."""
        for folder, _, names in os.walk(self._aside.folder):
            yield [*(Path(folder) / name for name in names), Path(folder)]

    def sync(self, paths: Sequence[Path]) -> None:
        """Make files and folders durable."""
        for found in on_each(_sync, paths):
            if stat.S_ISREG(found.st_mode):
                self._sizes[found.st_ino] = found.st_size

    def publish(self) -> None:
        """Put the copy into place; raises StoreExistsError."""
        try:
            self._disk.make_folder(self._target)  # a rename replaces an empty folder, so nobody else's is there
        except FileExistsError:
            raise StoreExistsError(str(self._target)) from None
        self._is_in_place = True
        self._disk.rename(self._aside.folder, self._target)
        _DURABLE.sync_folder(self._target.parent)

    def discard(self) -> None:
        """Leave nothing behind. A caller that has cancelled the copy waits for this."""
        if self._aside.runs.is_dir():
            on_each(_remove, list(self._aside.runs.iterdir()))
        _remove(self._aside.folder)
        if self._is_in_place:
            _remove(self._target)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> os.stat_result:
    with opened(path) as file:
        _DURABLE.sync(file)
        return os.fstat(file)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what a folder keeps when it is renamed; None if there is none."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _payload(paths: Sequence[Path], name: str) -> bytes:
    """Return the payload with this name, which is made of its digest, of the first run that has it."""
    *others, last = paths
    for path in others:
        with suppress(FileNotFoundError, NotADirectoryError):
            return content_of(path / BLOBS / name)
    return content_of(last / BLOBS / name)


def _journal_of(run: Path, entry: Entry) -> bytes | None:
    """Return the part of a journal that was acknowledged at the moment of the copy, if this is the run's folder."""
    try:
        with opened(run / JOURNAL) as file:
            data = read_at(file, entry.length, 0)
    except (FileNotFoundError, NotADirectoryError):
        return None
    found = scan(data)
    return data if (found.end, found.checksum) == (entry.length, entry.checksum) else None
