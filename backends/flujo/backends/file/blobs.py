"""Large payloads: stored once, in the folder `blobs` of the store, and shared by the runs that recorded them.

The record of an event with a large payload holds a reference, the digest and the size of it. The payload itself is the
file `blobs/SEQ-DIGEST` in the folder of the run, which is another name, a hard link, of the file `blobs/DIGEST` of the
store. So the file system counts who uses a payload: a file of the store that has no other name any more is removed,
together with the last run that used it, or by whoever opens the store next if a crash came in between. And a run's
folder is whole by itself: in a copy that made two files of one nothing is missing.

A payload and its names are synced before the record that refers to them, whatever the durability: no record is ever
without its payload. Where a name cannot be shared, because the file system knows no links or a file has too many, the
run gets a file of its own.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from flujo.kernel.backend import EventRow

from .disk import NO_FILE, Disk, holds, opened, read_at
from .journal import Reference
from .layout import StorePaths

BLOBS = "blobs"

LARGE = 1 << 16
"""From so many bytes on a payload is a file of its own. Below that a record holds it for less than the syncs cost."""

_NAME = re.compile(r"[0-9]+-[0-9a-f]+")
_CANNOT_BE_SHARED = {errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Blob(NamedTuple):
    """A large payload and how a record refers to it."""

    reference: Reference
    data: bytes


def large_payloads(rows: Sequence[EventRow]) -> dict[int, Blob]:
    """Return the payloads of these events that are to be files of their own, by seq."""
    found: dict[int, Blob] = {}
    for row in rows:
        if row.payload is not None and len(row.payload) * 4 >= LARGE:  # a character takes four bytes at most
            data = row.payload.encode()
            if len(data) >= LARGE:
                found[row.seq] = Blob(Reference(digest_of(data), len(data)), data)
    return found


def references_to(blobs: Mapping[int, Blob]) -> dict[int, Reference]:
    """Return what records say of these payloads."""
    return {seq: blob.reference for seq, blob in blobs.items()}


def digest_of(data: bytes) -> str:
    """Return what a payload is known by."""
    return blake2b(data, digest_size=32).hexdigest()


def name_of(seq: int, reference: Reference) -> str:
    """Return the file of a payload in the folder of its run."""
    return f"{seq}-{reference.digest}"


def read_blob(run: Path, seq: int, reference: Reference) -> bytes | None:
    """Return the payload of an event; None if it is not there as it was recorded."""
    try:
        with opened(run / BLOBS / name_of(seq, reference)) as file:
            data = read_at(file, reference.size + 1, 0)
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        raise
    return data if len(data) == reference.size and digest_of(data) == reference.digest else None


def names_in(run: Path) -> dict[str, tuple[int, str]]:
    """(seq, digest) of each payload in the folder of a run, by the names of their files."""
    try:
        names = os.listdir(run / BLOBS)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = ((name, *name.split("-", 1)) for name in names if _NAME.fullmatch(name))
    return {name: (int(seq), digest) for name, seq, digest in found}


def size_of(run: Path) -> int:
    """Return the bytes of the payloads of a run, whether others share them or not."""
    return sum(os.lstat(run / BLOBS / name).st_size for name in names_in(run))


class Blobs:
    """The payloads of one store, as whoever holds the store lock changes them."""

    def __init__(self, paths: StorePaths) -> None:
        self._paths = paths
        self._disk = Disk(durable=True)

    def add(self, run: Path, blobs: Mapping[int, Blob]) -> None:
        """Give a run its payloads, durably, before the record that refers to them is written."""
        if not blobs:
            return
        folder = run / BLOBS
        is_new = not folder.exists()
        if is_new:
            self._disk.make_folder(folder)
        for seq, blob in blobs.items():
            name = folder / name_of(seq, blob.reference)
            self._disk.remove(name)  # of a record that was never finished
            self._share(self._stored(blob), name, blob)
        self._disk.sync_folder(folder)
        if is_new:
            self._disk.sync_folder(run)

    def _stored(self, blob: Blob) -> Path:
        """Return the file of a payload in the store. One that has changed is put there anew: those who have it keep
        theirs."""
        path = self._paths.blobs / blob.reference.digest
        if holds(path, blob.data):
            return path
        if not self._paths.blobs.exists():
            self._disk.make_folder(self._paths.blobs)
            self._disk.sync_folder(self._paths.folder)
        self._disk.replace(path, blob.data)
        self._disk.sync_folder(self._paths.blobs)
        return path

    def _share(self, path: Path, name: Path, blob: Blob) -> None:
        try:
            self._disk.link(path, name)
        except OSError as error:
            if error.errno not in _CANNOT_BE_SHARED:
                raise
            self._disk.replace(name, blob.data)

    def forget(self, run: Path, after_seq: int) -> None:
        """Remove the payloads of events that were never recorded."""
        digests = set()
        for name, (seq, digest) in names_in(run).items():
            if seq > after_seq:
                self._disk.remove(run / BLOBS / name)
                digests.add(digest)
        self.collect(digests)

    def collect(self, digests: Iterable[str]) -> None:
        """Remove those of these payloads that no run has any more."""
        for digest in digests:
            path = self._paths.blobs / digest
            if _is_orphan(path):
                self._disk.remove(path)

    def orphans(self) -> list[str]:
        """Return the files that no run has."""
        try:
            names = os.listdir(self._paths.blobs)
        except FileNotFoundError:
            return []
        return [name for name in names if _is_orphan(self._paths.blobs / name)]


def _is_orphan(path: Path) -> bool:
    try:
        return os.lstat(path).st_nlink == 1
    except FileNotFoundError:
        return False
