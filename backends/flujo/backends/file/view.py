"""What one handle knows of its store, and how that stays true while others write.

Two threads at most are in here at once, one that reads and one that writes, under the store lock; `mutex` makes them
take turns. Knowing is following the index. Where that does not tell, because the index is missing or behind or because
a writer has died, the files themselves are looked at, under the store lock, and what they say is written into the index
for all.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from flujo.backends.disk_errors import displaced_error
from flujo.backends.locks import StoreLock
from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import CorruptStoreError, RunNotFoundError, StoreError

from .disk import Disk, opened
from .index import Damage, Dirty, Entry, Index, NewRequest, Note, Removed
from .layout import StorePaths, inode, safe_name
from .run_folder import DAMAGED, JOURNAL, survey
from .run_table import RunTable

logger = logging.getLogger("flujo.backends.file")

_LINES_PER_RUN = 4
_LINES_TO_SPARE = 2_000


class LockIsBusy(Exception):
    """Somebody else has held the store lock for as long as we were ready to wait."""


class OpeningGivenUp(Exception):
    """Whoever wanted to open the store was cancelled."""


@contextmanager
def held(lock: StoreLock, patience: float) -> Iterator[None]:
    """Hold the store lock; raises LockIsBusy if it is not to be had within `patience` seconds."""
    if not lock.acquire(patience):
        raise LockIsBusy
    try:
        yield
    finally:
        lock.release()


class View:
    """The runs of a store, as the kernel `owner` or a reader knows them."""

    def __init__(self, paths: StorePaths, owner: str | None, disk: Disk) -> None:
        self.paths = paths
        self.owner = owner
        self.disk = disk
        self.mutex = threading.RLock()
        self.stop = threading.Event()  # set once nobody waits for the opening any more
        self.run_table = RunTable()
        self.dirty_inboxes: set[str] = set()  # runs whose inboxes may hold something new
        self.last_position = 0  # the highest one that an event of a run is known to have had, also of one that is gone
        self.last_request = 0  # the highest number a request is known to have had
        self._index = Index(paths.index_file, disk)
        self._dirty: set[str] = set()  # a writer has begun to change these, and has not said more
        self._unverified: set[str] = set()  # these are not as the index says
        self._is_open = False
        self._inode: tuple[int, int] | None = None
        self._marker: int | None = None  # kept open, so that no later store is given the number of its inode

    # -- staying true -------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Learn what is there."""
        with self.mutex:
            self._inode = inode(self.paths)
            if self._inode is not None:
                self._marker = os.open(self.paths.marker, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._is_open = True
            self._follow()

    def close(self) -> None:
        """Give the files back; nothing is read or written from now on."""
        with self.mutex:
            self._is_open = False
            self._index.close()
            if self._marker is not None:
                os.close(self._marker)
                self._marker = None

    def look(self, lock: StoreLock, patience: float) -> None:
        """Know what was committed by now; raises LockIsBusy if that takes the store lock and others have it."""
        with self.mutex:
            self._require_open()
            self._require_in_place()
            self._follow()
            if not self._unverified and self._index.is_current():
                if self._dirty:
                    self._settle_if_free(lock)
                return
        with held(lock, patience), self.mutex:
            self._follow()
            self._settle()

    def _settle_if_free(self, lock: StoreLock) -> None:
        try:
            with held(lock, 0):
                self._settle()
        except LockIsBusy:
            pass  # a writer is at it: what it has begun has not happened yet

    def begin_to_write(self) -> None:
        """Know for sure how every run stands. Needs the store lock."""
        with self.mutex:
            self._require_open()
            self._require_in_place()
            self._follow()
            self._settle()

    def end_writing(self) -> None:
        """Keep the index short. Needs the store lock."""
        with self.mutex:
            if self._index.lines > _LINES_PER_RUN * len(self.run_table) + _LINES_TO_SPARE:
                self._note(rewrite=True)

    def begin_change(self, folders: Sequence[str]) -> None:
        """Say that these runs are about to change. Unless `publish` follows, the next call looks how they stand."""
        with self.mutex:
            if not self._index.is_current():  # it could not be written before, so nobody would be told
                self._index.rewrite([NewRequest("", self.last_request), *self.run_table])
            self._index.append([Dirty(folders)])
            self._dirty.update(folders)

    def publish(self, found: Sequence[Note]) -> None:
        """Say how the runs stand that were about to change."""
        with self.mutex:
            for note in found:
                self._learn(note)
            self._note(found)

    def up_to_date(self, entry: Entry) -> Entry | None:
        """Return how a run stands that is about to change. Needs the store lock.

        Between two writes nothing but a crash or a stranger changes a journal; both change its length."""
        try:
            if os.lstat(f"{self.paths.runs}/{entry.folder}/{JOURNAL}").st_size == entry.length:
                return entry
        except OSError:
            pass  # looking at it says what is wrong
        return self.examine(entry)

    def examine(self, entry: Entry, *, whole: bool = False) -> Entry | None:
        """Look at the files of a run; with `whole` at every byte of its journal. Needs the store lock."""
        with self.mutex:
            self.publish([self._survey(entry.folder, entry, whole=whole)])
            return self.run_table.get(entry.folder)

    def _follow(self) -> None:
        """Learn what others have said in the index since the last look."""
        if not self._index.is_current():
            self._begin()
        for note in self._index.news():
            if isinstance(note, Entry) and note.folder in self._dirty:
                self.dirty_inboxes.add(note.folder)  # perhaps somebody died who was about to post
            self._learn(note)

    def _begin(self) -> None:
        """Read the whole index, and compare it with the journals: what differs is not verified."""
        self.run_table = RunTable()
        self._dirty.clear()
        self._unverified.clear()
        self._index.open()
        for note in self._index.news():
            self._require_wanted()
            self._learn(note)
        runs = str(self.paths.runs)
        there = {name for name in os.listdir(runs) if not name.startswith(".")}
        for name in there:
            self._require_wanted()
            entry = self.run_table.get(name)
            if entry is None or entry.damage is not None or _has_changed(f"{runs}/{name}/{JOURNAL}", entry):
                self._unverified.add(name)
        self._unverified.update(entry.folder for entry in self.run_table if entry.folder not in there)
        self.dirty_inboxes.update(entry.folder for entry in self.run_table if self.is_mine(entry.summary))

    def _learn(self, note: Note) -> None:
        match note:
            case Entry():
                before = self.run_table.get(note.folder)
                self.run_table.put(note)
                self.last_position = max(self.last_position, note.position)
                self._is_settled(note.folder)
                if before is not None and self.is_mine(note.summary) and not self.is_mine(before.summary):
                    self.dirty_inboxes.add(note.folder)  # it may have come with requests
            case Removed():
                self.run_table.drop(note.folder)
                self._is_settled(note.folder)
            case Dirty():
                self._dirty.update(note.folders)
            case NewRequest():
                self.last_request = max(self.last_request, note.number)
                if note.folder:
                    self._is_settled(note.folder)
                    self.dirty_inboxes.add(note.folder)

    def _is_settled(self, folder: str) -> None:
        self._dirty.discard(folder)
        self._unverified.discard(folder)

    def _settle(self) -> None:
        """Look at the files of every run that is not known for sure, and say what was found. Needs the store lock."""
        is_missing = not self._index.is_current()
        unsure = self._dirty | self._unverified
        found = []
        for folder in sorted(unsure):
            self._require_wanted()
            found.append(self._survey(folder, self.run_table.get(folder)))
        for note in found:
            self._learn(note)
        self.dirty_inboxes |= unsure
        if is_missing or found:
            self._note(found, rewrite=is_missing)

    def _note(self, found: Sequence[Note] = (), *, rewrite: bool = False) -> None:
        """Write to the index what is done or found already. If that fails, the next one has to look for himself."""
        try:
            if rewrite:
                self._index.rewrite([NewRequest("", self.last_request), *self.run_table])
            else:
                self._index.append(found)
        except OSError as error:
            logger.warning("%s: the index could not be written: %s", self.paths.store, error)

    def _survey(self, folder: str, known: Entry | None, *, whole: bool = False) -> Entry | Removed:
        """Return how a run stands, by its files. What is there beyond the known part is synced before anybody is
        told."""
        run = self.paths.runs / folder
        found = survey(run, None if known is not None and known.damage is not None else known, whole=whole)
        if isinstance(found, Removed):
            return found
        if found.damage is not None:
            if known is None or known.damage != found.damage:
                self._report(found, found.damage)
            return found
        with opened(run / JOURNAL) as file:
            self.disk.sync(file)
        return found._replace(durable=self.disk.durable)

    # -- what is damaged ----------------------------------------------------------------------------------------

    def _report(self, entry: Entry, damage: Damage) -> None:
        """Mark a run as damaged, so that everybody knows; nothing of it is removed."""
        logger.error("%s", self.damage_error(entry, damage))
        run = self.paths.runs / entry.folder
        if not run.is_dir() or run.is_symlink() or (run / DAMAGED).exists():
            return
        found_at = to_iso(time.time_ns() // 1_000)
        try:
            mark = {"run_id": entry.summary.run_id, "found_at": found_at, **damage._asdict()}
            self.disk.replace(run / DAMAGED, readable(mark))
            self.disk.sync_folder(run)
        except OSError as error:
            logger.warning("%s: %s could not be marked as damaged: %s", self.paths.store, run, error)

    def damaged(self) -> list[Entry]:
        """Return the runs whose journals are damaged."""
        with self.mutex:
            return [entry for entry in self.run_table if entry.damage is not None]

    def damage_error(self, entry: Entry, damage: Damage) -> CorruptStoreError:
        """Return what is raised for a damaged run."""
        journal = self.paths.runs / entry.folder / JOURNAL
        return CorruptStoreError(
            self.paths.store,
            f"run {entry.summary.run_id!r}: {journal} from byte {damage.offset} on: {damage.problem}",
            [
                f"flujoctl delete {entry.summary.run_id}  # moves it to {self.paths.quarantine}",
                "see docs/file-store.md to go on with its sound part; nothing was removed",
            ],
        )

    @property
    def index_lines(self) -> int:
        """Return how long the index is."""
        return self._index.lines

    # -- what calls require -------------------------------------------------------------------------------------

    def is_mine(self, summary: RunSummary) -> bool:
        """True if this handle's kernel owns a run."""
        return self.owner is not None and summary.owner == self.owner

    def entry_of(self, run_id: str) -> Entry:
        """Return how a run stands; raises RunNotFoundError."""
        entry = self.run_table.get(safe_name(run_id))
        if entry is None or entry.summary.run_id != run_id:
            raise RunNotFoundError(run_id, self.paths.store)
        return entry

    def sound_entry_of(self, run_id: str) -> Entry:
        """Return how a run stands; raises RunNotFoundError, CorruptStoreError."""
        entry = self.entry_of(run_id)
        if entry.damage is not None:
            raise self.damage_error(entry, entry.damage)
        return entry

    def _require_wanted(self) -> None:
        """Raise OpeningGivenUp once nobody waits for the opening any more: of many runs it takes long."""
        if self.stop.is_set():
            raise OpeningGivenUp

    def _require_open(self) -> None:
        if not self._is_open:
            raise StoreError(self.paths.store, "it is closed")

    def _require_in_place(self) -> None:
        """Raise StoreError once the folder was moved, removed or replaced: what is told of it would be told of another
        store, or of one that nobody writes to."""
        if inode(self.paths) != self._inode:
            raise displaced_error(self.paths.store, self.paths.folder, self._inode, self.paths.marker.name)


def _has_changed(journal: str, entry: Entry) -> bool:
    try:
        found = os.lstat(journal)
    except (FileNotFoundError, NotADirectoryError):
        return True
    return (found.st_size, found.st_mtime_ns) != (entry.length, entry.changed_at)


def to_iso(micros: int) -> str:
    """Return an instant for people."""
    try:
        return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat()
    except (OverflowError, ValueError, OSError):  # further away than a calendar goes
        return f"{micros} µs"


def readable(value: dict[str, Any]) -> bytes:
    """Return a JSON file for people."""
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"
