"""Where everything of a store is, how a store comes into being, and which folders are not ours to touch.

    DIR/flujo-store.json         the marker: what this is, which one, and in which format; written last, so no store is
                                 half made
    DIR/.gitignore               keeps the store out of version control
    DIR/runs/RUN/journal         the records of a run; the truth about it
    DIR/runs/RUN/state.json      how the run stood when it last settled; for people
    DIR/runs/RUN/inbox/NUMBER    one request each
    DIR/runs/RUN/blobs/          its large payloads, see `blobs`
    DIR/runs/RUN/damaged.json    there only if the journal is damaged: where and how
    DIR/definitions/DIGEST       the text of a definition, as one record
    DIR/blobs/DIGEST             a large payload, under the name that all runs with it share
    DIR/quarantine/RUN.NUMBER    what was deleted although it was damaged
    DIR/kernels/                 the lock files, see `flujo.backends.locks`
    DIR/index                    a cache: may be removed at any time

RUN is the run id in lower case, so that ids are unique regardless of case on every file system; an id that is no safe
name for a file stands there as a digest.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from flujo.kernel.errors import CorruptStoreError, ForeignStoreError, NewerStoreError, PlaceTakenError
from flujo.kernel.trust import require_own_file, require_own_folder

from .disk import Disk

FORMAT = 2
"""Of everything in a store but the index, which is made anew when it is of another one. A store of format 1 has no
large payloads beside its journals; all else is the same, so the next owner only has to say what it is now."""

_MARKER = "flujo-store.json"
_KIND = "flujo file store"
_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_FIRST_PARTS = {".gitignore", ".gitignore.new", "kernels", "runs", "definitions", _MARKER + ".new"}


class StorePaths(NamedTuple):
    """Where everything of one store is; `store` is its URL, for error messages. Paths are absolute, without links."""

    store: str
    folder: Path

    @classmethod
    def at(cls, store: str, path: Path | str) -> StorePaths:
        """Return the files of the store at `path`. Links are followed, so that all names of a store share its locks."""
        return cls(store, Path(os.path.realpath(Path(path).expanduser())))

    @property
    def marker(self) -> Path:
        return self.folder / _MARKER

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def definitions(self) -> Path:
        return self.folder / "definitions"

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def quarantine(self) -> Path:
        return self.folder / "quarantine"

    @property
    def kernels(self) -> Path:
        return self.folder / "kernels"

    @property
    def parts(self) -> Sequence[Path]:
        """Return the folders in the folder of the store."""
        return self.runs, self.definitions, self.blobs, self.quarantine, self.kernels

    @property
    def lock(self) -> Path:
        return self.kernels / "store.lock"

    @property
    def copying(self) -> Path:
        return self.kernels / "copying"

    @property
    def index_file(self) -> Path:
        return self.folder / "index"


def safe_name(name: str) -> str:
    """Return a file name for a run id or a digest: equal for names that differ in case only, and no path."""
    lower = name.lower()
    if _SAFE_NAME.fullmatch(lower):
        return lower
    return "~" + blake2b(lower.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def is_there(paths: StorePaths) -> bool:
    """True if there is a store; an empty folder, or one whose making was cut short, is none. Changes nothing.

    Raises ForeignStoreError, NewerStoreError, CorruptStoreError for what is something else, PlaceTakenError for what is
    in the place of the marker or of a folder.
    """
    try:
        found = paths.folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise ForeignStoreError(paths.store, "it is a file; a file store is a folder")
    require_own_file(paths.marker, paths.folder)
    try:
        marker = paths.marker.read_bytes()
    except FileNotFoundError:
        if not _is_unfinished(paths):
            raise ForeignStoreError(paths.store, f"a folder that holds other things and no {_MARKER}") from None
        return False
    _require_ours(paths.store, marker)
    for folder in paths.parts:
        _require_real(paths, folder)
    if not paths.runs.is_dir():
        raise CorruptStoreError(paths.store, f"{paths.runs} is missing", ["restore it from a backup"])
    return True


def _require_real(paths: StorePaths, folder: Path) -> None:
    """Raise PlaceTakenError for what another user has put in the place of a folder of the store, and for any link."""
    if folder.is_symlink():
        raise PlaceTakenError(str(folder), "a link")
    require_own_folder(folder, paths.folder)


def inode(paths: StorePaths) -> tuple[int, int] | None:
    """Tells one store from another at the same path; None if there is none. What is written to files that were removed
    is lost, and nothing but this tells."""
    try:
        found = paths.marker.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _require_ours(store: str, marker: bytes) -> None:
    try:
        found = json.loads(marker)
        kind, format = found["kind"], found["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptStoreError(store, f"{_MARKER} cannot be read", _MARKER_HINTS) from error
    if kind != _KIND:
        raise ForeignStoreError(store, f"{_MARKER} says {kind!r}")
    if not isinstance(format, int) or format < 1:
        raise CorruptStoreError(store, f"{_MARKER} says format {format!r}, which no release has written", _MARKER_HINTS)
    if format > FORMAT:
        raise NewerStoreError(store, format, FORMAT)


_MARKER_HINTS = [f"if this is your store, write it again: {json.dumps({'kind': _KIND, 'format': FORMAT})}"]


def _is_unfinished(paths: StorePaths) -> bool:
    """True if a folder holds nothing but what the making of a store begins with."""
    if not {entry.name for entry in paths.folder.iterdir()} <= _FIRST_PARTS:
        return False
    empty = (paths.runs, paths.definitions)
    if any(folder.exists() and (not folder.is_dir() or any(folder.iterdir())) for folder in empty):
        return False
    return not paths.kernels.exists() or (
        paths.kernels.is_dir() and all(entry.suffix == ".lock" for entry in paths.kernels.iterdir())
    )


def make_folders(paths: StorePaths) -> None:
    """Make the folder of a store, those above it, and those in it that a backup may lack."""
    make_missing(paths.folder)
    for folder in (paths.kernels, paths.definitions):
        _make_folder(folder)
        _require_real(paths, folder)


def make_kernels(paths: StorePaths) -> None:
    """Make the folder of lock files in a store that is there: a backup may lack it, and on a disk that may only be read
    nobody needs it."""
    if paths.kernels.exists():
        return
    try:
        make_folders(paths)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise


def make_missing(folder: Path) -> None:
    """Make a folder and those above it, as far as they are missing. A new `.flujo` keeps itself out of version
    control."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        _make_folder(each, ignored=each.name == ".flujo")


def create(paths: StorePaths) -> None:
    """Make a store in its folder, the marker last. Needs the store lock."""
    if not (paths.folder / ".gitignore").exists():
        _DISK.replace(paths.folder / ".gitignore", b"*\n")
    _make_folder(paths.runs)
    _require_real(paths, paths.runs)
    _DISK.sync_folder(paths.folder)
    write_marker(paths)


def raise_format(paths: StorePaths) -> None:
    """Make a store of an earlier format, or without an identity, one of ours. Needs the store lock; a kernel of an
    earlier release that has it open is stopped by that, see `inode`."""
    found = json.loads(paths.marker.read_bytes())
    if found["format"] < FORMAT or "identity" not in found:
        write_marker(paths)


def write_marker(paths: StorePaths, format: int = FORMAT) -> None:
    """Say that a folder is a store, of which format, and that it is no other one from now on."""
    marker = {"kind": _KIND, "format": format, "identity": uuid4().hex}
    _DISK.replace(paths.marker, json.dumps(marker).encode() + b"\n")
    _DISK.sync_folder(paths.folder)


def renew_identity(paths: StorePaths) -> None:
    """Tell a copy from what it is a copy of."""
    write_marker(paths, json.loads(paths.marker.read_bytes())["format"])


def identity_of(paths: StorePaths) -> str:
    """Return what tells this store from every other; nothing does before its first owner of this release."""
    return str(json.loads(paths.marker.read_bytes()).get("identity", ""))


def _make_folder(folder: Path, *, ignored: bool = False) -> None:
    try:
        _DISK.make_folder(folder)
    except FileExistsError:  # another process is making it too
        return
    if ignored:
        _DISK.replace(folder / ".gitignore", b"*\n")
    _DISK.sync_folder(folder.parent)


_DISK = Disk(durable=True)  # a store is made once; half of one would be in the way whatever its runs are worth
