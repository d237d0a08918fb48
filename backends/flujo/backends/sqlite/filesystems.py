"""Which file system a store is on, and whether a write-ahead log can be shared there.

The processes of a store share the index of the log through memory (PATH-shm), and a network file system does not give
two hosts the same memory: each would be sure to be alone, and the store would be lost. One host alone would get by on
most, but nothing here can know that it is alone, so there is no way around the refusal.

For the same reason a database is refused that is mounted as a single file, as with `docker run -v state.db:/state.db`.

Only Linux says what is mounted where in a file that can be read; elsewhere nothing is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from flujo.kernel.errors import StoreError

MOUNTS = Path("/proc/self/mountinfo")

_HOSTS = "9p afs auristorfs beegfs ceph cifs coda davfs glusterfs gpfs kafs lustre nfs nfs4 orangefs pvfs2 smb3 smbfs"
_PROGRAMS = "ceph ceph-fuse curlftpfs davfs davfs2 gcsfuse glusterfs goofys juicefs mfs rclone s3fs s3ql smbnetfs sshfs"

NETWORK = frozenset(_HOSTS.split())
"""File systems whose files other hosts may have open."""

NETWORK_THROUGH_FUSE = frozenset(_PROGRAMS.split())
"""The same for those that are programs; they are mounted as `fuse.NAME`."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


def require_local(store: str, database: Path) -> None:
    """Raise StoreError if a store at this path, which is absolute and without links, would be on a network, or if only
    the file is mounted there: its log and its locks would be elsewhere than those of other processes."""
    mounts = _mounts()
    kind = type_at(mounts, str(database))
    if kind is not None and is_network(kind):
        raise StoreError(
            store,
            f"it would be on a network file system ({kind}), where processes cannot share SQLite's log; "
            "nothing was changed",
            ["put the store on a local disk: --store sqlite:/var/lib/NAME/state.db"],
        )
    if str(database) in (point for point, _ in _mounted(mounts)) and not database.is_dir():
        raise StoreError(
            store,
            "the file is mounted by itself, without the log and the locks that lie beside it; nothing was changed",
            [f"mount the folder that it is in, as with docker run -v FOLDER:{quote(str(database.parent))}"],
        )


def type_of(path: Path) -> str | None:
    """Return the type of the file system a path is on, which is absolute and without links; None if nothing tells."""
    return type_at(_mounts(), str(path))


def is_network(kind: str) -> bool:
    """True if files of such a file system may be open on several hosts."""
    name, _, program = kind.partition(".")
    return name in NETWORK or (name == "fuse" and program in NETWORK_THROUGH_FUSE)


def type_at(mounts: str, path: str) -> str | None:
    """Return the type of the file system a path is on, by the text of a mountinfo; None if the text does not tell."""
    longest, found = -1, None
    for point, kind in _mounted(mounts):
        if _is_below(path, point) and len(point) >= longest:  # a later mount hides an earlier one at the same place
            longest, found = len(point), kind
    return found


def _mounted(mounts: str) -> Iterator[tuple[str, str]]:
    """(mount point, type), in the order they were mounted. Lines that are not as documented are passed over."""
    for line in mounts.splitlines():
        place, separator, rest = line.partition(" - ")
        fields, kinds = place.split(" "), rest.split(" ")
        if separator and len(fields) >= 6 and kinds[0]:
            yield _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), fields[4]), kinds[0]


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point if point.endswith("/") else point + "/")


def _mounts() -> str:
    try:
        return MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
