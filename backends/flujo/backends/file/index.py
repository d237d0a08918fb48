"""The index: what each journal came to, line by line, so that nobody has to read them all.

    5f0c2a91 ["run","report-7",812,"8c1f…",1764016250123456789,true,[…summary…]]

Whoever holds the store lock appends to it, readers follow it without a lock. Before a writer changes the files of some
runs it says which (`touch`), and afterwards how each of them stands (`run`, `gone`). A reader believes what it was told
last, so it sees whole and synced commits only, and a touch that nobody has answered although the lock is free means
that its writer has died: then the reader takes the lock and looks at the files themselves.

It is a cache. It is never synced, any line of it may be missing after a power cut, and it may be removed at any time;
on opening a store every journal is compared with it by size and instant of change. A line that does not match its
checksum counts as missing. When it has grown long it is written anew, aside, and renamed into place.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import PlaceTakenError
from flujo.kernel.trust import open_own

from .disk import Disk, read_at
from .journal import to_text

FORMAT = ["index", 2, list(RunSummary._fields)]
"""The first line. With another one the index is of another release, and holds nothing."""


class Damage(NamedTuple):
    """What is wrong with a journal, and from which byte on."""

    offset: int
    problem: str


class Entry(NamedTuple):
    """How one run stands: its summary, and how much of its journal that is."""

    folder: str
    length: int  # of the journal's sound and acknowledged part, in bytes
    checksum: bytes  # of its last record
    changed_at: int  # when the journal last changed, ns
    durable: bool  # it was synced up to here
    summary: RunSummary
    damage: Damage | None = None
    position: int = 0  # of its last event among those of all runs


class Dirty(NamedTuple):
    """The files of these runs are about to change."""

    folders: Sequence[str]


class Removed(NamedTuple):
    """There is no such run."""

    folder: str


class NewRequest(NamedTuple):
    """A request of this number has come for a run; an empty name only keeps the number."""

    folder: str
    number: int


Note = Entry | Dirty | Removed | NewRequest


def encode(note: Note) -> bytes:
    """Return a line of the index."""
    match note:
        case Entry():
            fields: list[Any] = ["run", *note[:2], note.checksum.hex(), *note[3:]]
        case Dirty():
            fields = ["touch", note.folders]
        case Removed():
            fields = ["gone", note.folder]
        case NewRequest():
            fields = ["post", *note]
    return _line(fields)


def decode(line: bytes) -> Note | None:
    """Return what a line says, without its newline; None if it is damaged."""
    text = line[9:]
    try:
        if int(line[:8], 16) != zlib.crc32(text):
            return None
        kind, *fields = json.loads(text)
    except ValueError:
        return None
    match kind:
        case "run":
            folder, length, checksum, changed_at, durable, summary, damage, position = fields
            found = None if damage is None else Damage(*damage)
            return Entry(
                folder, length, bytes.fromhex(checksum), changed_at, durable, RunSummary(*summary), found, position
            )
        case "touch":
            return Dirty(fields[0])
        case "gone":
            return Removed(fields[0])
        case "post":
            return NewRequest(*fields)
    return None


def _line(fields: list[Any]) -> bytes:
    text = to_text(fields)
    return b"%08x %b\n" % (zlib.crc32(text), text)


_HEADER = _line(FORMAT)


class Index:
    """The index file of one store, as far as one handle has read it."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._file: int | None = None
        self._identity: tuple[int, int] | None = None  # of the open file
        self._position = 0  # what was read so far: whole lines only
        self.lines = 0  # how many those are

    def is_current(self) -> bool:
        """True if the file read so far is still the one in place; a reader that finds another one begins anew."""
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def open(self) -> bool:
        """Begin to read the file that is in place; False if there is none that this release can read."""
        self.close()
        try:
            self._file = open_own(self._path, os.O_RDONLY)
        except (FileNotFoundError, PlaceTakenError):  # a link or a pipe is no index, and is replaced by one
            return False
        if read_at(self._file, len(_HEADER), 0) != _HEADER:
            self.close()
            return False
        found = os.fstat(self._file)
        self._identity = found.st_dev, found.st_ino
        self._position = len(_HEADER)
        return True

    def news(self) -> Iterator[Note]:
        """Yield what was appended since the last look, in order."""
        if self._file is None or (size := os.fstat(self._file).st_size) <= self._position:
            return
        data = read_at(self._file, size - self._position, self._position)
        *lines, unfinished = data.split(b"\n")
        self._position += len(data) - len(unfinished)
        self.lines += len(lines)
        for line in lines:
            if (note := decode(line)) is not None:
                yield note

    def append(self, notes: Sequence[Note]) -> None:
        """Add lines; needs the store lock, and all there was must have been read. After an error some may be there."""
        data = b"".join(map(encode, notes))
        file = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(file)
            if found.st_nlink > 1:
                self._make_own(data)
                return
            if found.st_size > self._position:
                self._disk.cut(file, self._position)  # a line that a dying writer has begun
            self._disk.write(file, data, self._position)
        finally:
            os.close(file)
        self._position += len(data)
        self.lines += len(notes)

    def _make_own(self, data: bytes) -> None:
        """Add lines to a file that has another name in a copy of the store, and only to the one in this place."""
        assert self._file is not None
        read, lines = read_at(self._file, self._position, 0), self.lines + data.count(b"\n")
        self._disk.replace(self._path, read + data, sync=False)
        self.open()
        self._position, self.lines = len(read) + len(data), lines

    def rewrite(self, notes: Sequence[Note]) -> None:
        """Put a new index into place that says just this; needs the store lock."""
        data = _HEADER + b"".join(map(encode, notes))
        self._disk.replace(self._path, data, sync=False)
        self.open()
        self._position, self.lines = len(data), len(notes)

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._identity, self._position, self.lines = None, 0, 0
