"""Changing the files of runs: creating, extending, removing. Needs the store lock, and knows nothing but what it is
told.

Each run comes to be, grows and goes in one instant: a new folder is built aside and renamed, a record counts from its
last byte on, a folder is renamed away before anything in it is removed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flujo.kernel.backend import Commit, EventRow, RunSummary, StoredDefinition

from .blobs import Blob, Blobs, large_payloads, names_in, references_to
from .disk import Disk, holds, on_each, read_at
from .index import Entry
from .journal import NOTHING_BEFORE, Rest, encode, scan, to_json, to_text
from .layout import StorePaths, safe_name
from .run_folder import JOURNAL, STATE
from .view import readable, to_iso

logger = logging.getLogger("flujo.backends.file")

_UNFINISHED = ".new-"
_REMOVED = ".gone-"


def name_of_removed(entry: Entry) -> str:
    """Return the folder of a run that was removed, until `clear` comes to it."""
    return f"{_REMOVED}{entry.folder}.{safe_name(entry.summary.uid)}"


class Extension(NamedTuple):
    """A record to be added to a journal, and how the run stands with it."""

    entry: Entry
    summary: RunSummary
    blobs: Mapping[int, Blob]
    line: bytes
    checksum: bytes
    position: int

    @classmethod
    def of(
        cls,
        entry: Entry,
        summary: RunSummary,
        rows: Sequence[EventRow] = (),
        taken: Sequence[int] = (),
        position: int | None = None,
    ) -> Extension:
        """Add these events, the last of which has this position; without any it is a change of owner."""
        position = entry.position if position is None else position
        blobs = large_payloads(rows)
        content = to_json(rows, summary, taken, references_to(blobs), position)
        return cls(entry, summary, blobs, *encode(content, entry.checksum), position)

    def done(self, file: int, *, durable: bool) -> Entry:
        """Return how the run stands once the record is in `file`."""
        return self.entry._replace(
            length=self.entry.length + len(self.line),
            checksum=self.checksum,
            changed_at=os.fstat(file).st_mtime_ns,
            durable=durable,
            summary=self.summary,
            position=self.position,
        )


class Writer:
    """The writing side of a store's runs."""

    def __init__(self, paths: StorePaths, disk: Disk) -> None:
        self._paths = paths
        self._disk = disk
        self._blobs = Blobs(paths)

    def create(self, creations: Mapping[str, Commit], positions: Mapping[str, int]) -> list[Entry]:
        """Make the runs of these folders, each with its first record and synced, or not at all. `positions` are those
        of the last event of each."""
        done: list[Entry] = []
        asides = {folder: self._room_aside(folder) for folder in creations}
        for folder, commit in creations.items():
            aside = asides[folder]
            self._disk.make_folder(aside)
            blobs = large_payloads(commit.rows)
            self._blobs.add(aside, blobs)
            position = positions[folder]
            content = to_json(commit.rows, commit.summary, commit.taken, references_to(blobs), position)
            line, checksum = encode(content, NOTHING_BEFORE)
            changed_at = self._disk.create(aside / JOURNAL, line)
            self._disk.sync_folder(aside)
            entry = Entry(folder, len(line), checksum, changed_at, self._disk.durable, commit.summary)
            done.append(entry._replace(position=position))
        for folder, aside in asides.items():
            run = self._paths.runs / folder
            if os.path.lexists(run):  # what a power cut has left of a creation: there is no record in it
                self._disk.rename(run, self._place_in_quarantine(folder))
            self._disk.rename(aside, run)
        if done:
            self._disk.sync_folder(self._paths.runs)
        return done

    def extend(self, extensions: Sequence[Extension]) -> list[Entry]:
        """Add a record to each journal, then sync them. After an error, none that was not synced is left."""
        files: list[int] = []
        synced = 0
        try:
            for extension in extensions:
                self._blobs.add(self._paths.runs / extension.entry.folder, extension.blobs)
                files.append(self._open_own_journal(extension.entry))
                self._cut_torn_end(files[-1], extension.entry)
                self._disk.write(files[-1], extension.line, extension.entry.length)
            for file in files:
                self._disk.sync(file)
                synced += 1
            return [each.done(file, durable=self._disk.durable) for each, file in zip(extensions, files, strict=True)]
        except OSError:
            for file, extension in list(zip(files, extensions, strict=False))[synced:]:
                self._take_back(file, extension.entry.length)
            for extension in extensions[synced:]:
                if extension.blobs:
                    self.forget_unrecorded(extension.entry)
            raise
        finally:
            for file in files:
                os.close(file)

    def _open_own_journal(self, entry: Entry) -> int:
        path = self._paths.runs / entry.folder / JOURNAL
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        if os.fstat(file).st_nlink == 1:
            return file
        os.close(file)
        self._disk.make_own(path)
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)

    def _cut_torn_end(self, file: int, entry: Entry) -> None:
        """Remove what a crash has left of a record."""
        size = os.fstat(file).st_size
        if size == entry.length:
            return
        rest = read_at(file, size - entry.length, entry.length) if size > entry.length else b""
        if scan(rest, entry.length, entry.checksum).rest is not Rest.TORN:
            raise OSError(f"somebody else has changed the journal of {entry.summary.run_id}")
        self._disk.cut(file, entry.length)
        self._disk.sync(file)  # or a power cut might leave bytes of the old rest within the new record

    def _take_back(self, file: int, length: int) -> None:
        try:
            self._disk.cut(file, length)
        except OSError as error:
            logger.warning("%s: a record that failed could not be cut off: %s", self._paths.store, error)

    def forget_unrecorded(self, entry: Entry) -> None:
        """Remove the payloads that a crash or an error has left without their record. That may be done later too."""
        try:
            self._blobs.forget(self._paths.runs / entry.folder, entry.summary.seq)
        except OSError as error:
            logger.warning("%s: payloads of no record stay: %s", self._paths.store, error)

    def write_state(self, entry: Entry) -> None:
        """How a run has settled, for people, and how long its journal is. The journal has it all: a failure is none."""
        summary = entry.summary._asdict()
        for name, value in summary.items():
            if name.endswith("_at") and value is not None:
                summary[name] = to_iso(value)
        summary["labels"] = json.loads(entry.summary.labels)
        summary["journal"] = {"length": entry.length, "checksum": entry.checksum.hex(), "durable": entry.durable}
        try:
            self._disk.replace(self._paths.runs / entry.folder / STATE, readable(summary), sync=False)
        except OSError as error:
            logger.warning("%s: no %s for run %s: %s", self._paths.store, STATE, entry.summary.run_id, error)

    def write_definitions(self, definitions: Iterable[StoredDefinition | None]) -> None:
        """Store the definitions that are not there yet, or not as they ought to be."""
        lines = {
            self._paths.definitions / safe_name(definition.digest): encode(to_text(definition), NOTHING_BEFORE)[0]
            for definition in definitions
            if definition is not None
        }
        new = {place: line for place, line in lines.items() if not holds(place, line)}
        for place, line in new.items():
            self._disk.replace(place, line)
        if new:
            self._disk.sync_folder(self._paths.definitions)

    def remove_definition(self, digest: str) -> None:
        """Remove a definition, for good on return."""
        self._disk.remove(self._paths.definitions / safe_name(digest))
        self._disk.sync_folder(self._paths.definitions)

    def remove(self, entries: Sequence[Entry]) -> list[Path]:
        """Rename runs out of the way, which is when they are gone; returns what `clear` is to remove.

        The last one first: a crash in between leaves parents without children, not children nobody asks about. A
        damaged run goes to the quarantine, and stays there."""
        removed: list[Path] = []
        for entry in reversed(entries):
            run = self._paths.runs / entry.folder
            if entry.damage is not None:
                self._disk.rename(run, self._place_in_quarantine(entry.folder))
                self._disk.sync_folder(self._paths.quarantine)
            else:
                removed.append(self._paths.runs / name_of_removed(entry))
                self._disk.remove_tree(removed[-1])
                self._disk.rename(run, removed[-1])
        self._disk.sync_folder(self._paths.runs)
        return removed

    def clear(self, folders: Iterable[Path]) -> None:
        """Remove folders that no run is in any more, and the payloads nobody else has.

        What cannot be removed stays, under a name that no reader looks at, and `leftovers` names it: a store that
        failed to open for that could not be used at all (test_file.py plants links and failures)."""
        going = list(folders)
        digests = {digest for folder in going for _, digest in names_in(folder).values()}
        on_each(self._clear_one, going)
        try:
            self._blobs.collect(digests)
        except OSError as error:
            logger.warning("%s: payloads of removed runs stay: %s", self._paths.store, error)

    def _clear_one(self, folder: Path) -> None:
        try:
            self._disk.remove_tree(folder)
        except OSError as error:
            logger.warning("%s: %s could not be removed: %s", self._paths.store, folder, error)

    def leftovers(self) -> list[Path]:
        """Return what is there of runs that are being created, or were removed. The next owner who opens the store
        removes it, unless the file system refuses."""
        return sorted(path for prefix in (_UNFINISHED, _REMOVED) for path in self._paths.runs.glob(f"{prefix}*"))

    def clear_unfinished(self) -> None:
        """Remove what a crash has left of runs that were being created."""
        self.clear(self._paths.runs.glob(f"{_UNFINISHED}*"))

    def clear_removed(self) -> None:
        """Remove what is left of runs that were removed, by a crash or for a copy that was being made."""
        self.clear(self._paths.runs.glob(f"{_REMOVED}*"))

    def clear_blobs(self, entries: Iterable[Entry]) -> None:
        """Remove every payload that a crash has left without a record."""
        if self._paths.blobs.exists():
            for entry in entries:
                if entry.damage is None:
                    self.forget_unrecorded(entry)
            try:
                self._blobs.collect(self._blobs.orphans())
            except OSError as error:
                logger.warning("%s: payloads of no record stay: %s", self._paths.store, error)

    def _room_aside(self, folder: str) -> Path:
        """Return where the folder of a new run is built. What a crash has left there goes, if it can be removed."""
        aside = self._paths.runs / f"{_UNFINISHED}{folder}"
        self.clear([aside])
        number = 1
        while os.path.lexists(aside):
            aside = self._paths.runs / f"{_UNFINISHED}{folder}.{number}"
            number += 1
        return aside

    def _place_in_quarantine(self, folder: str) -> Path:
        if not self._paths.quarantine.exists():
            self._disk.make_folder(self._paths.quarantine)
            self._disk.sync_folder(self._paths.folder)
        number = 1
        while os.path.lexists(place := self._paths.quarantine / f"{folder}.{number}"):
            number += 1
        return place
