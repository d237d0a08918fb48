"""Being alive: a lease for each kernel, on the clock of the server, and deaths that are final.

A kernel beats three times in a lease, on a connection of its own. Whoever wants the runs of a kernel whose lease is
over says that it is dead first, and from then on no heartbeat revives it: the tokens of its runs grow, and its commits
are refused.

Nobody is said to be dead for a time in which nobody reached the store. Each beat writes when it was, and whether there
was a gap of half a lease before it; a lease counts as over only while somebody beats, and one lease after such a gap.
So a server that was restarted, or away for an hour, takes no run away from anybody.

Processes of one host need not wait for a lease: each kernel holds a lock file, and a lock that can be had means that
its process, and all that it started, are gone (flujo.backends.locks)."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path

from flujo.backends.locks import KernelLocks, StoreLock
from flujo.kernel.errors import PlaceTakenError
from flujo.kernel.trust import write_own

from .connection import Connection
from .url import Address

TURN_SECONDS = 2.0

# -- statements ---------------------------------------------------------------------------------------------------

_NO_VERDICT = "(s.beat_at < clock_timestamp() - s.lease / 2 OR clock_timestamp() < s.available_since + s.lease)"
LIVES = f"""(k.closed_at IS NULL AND k.dead_at IS NULL
    AND (clock_timestamp() < k.expires_at OR EXISTS (SELECT FROM @.store s WHERE {_NO_VERDICT})))"""
"""SQL: a kernel `k` may not be said to be dead."""

SEEMS_ALIVE = f"""(k.closed_at IS NULL AND k.dead_at IS NULL AND EXISTS (SELECT FROM @.store s
    WHERE clock_timestamp() < k.expires_at + CASE WHEN {_NO_VERDICT} THEN s.lease ELSE interval '0' END))"""
"""SQL: what people are told of a kernel `k`. One that has not been heard of for two leases is said to be gone even
where no verdict is possible, as where nobody beats because all are dead."""

HAS_OWNER = """(r.owner IS NOT NULL AND EXISTS (SELECT FROM @.kernels k
    WHERE k.kernel = r.owner AND k.dead_at IS NULL AND k.closed_at IS NULL))"""
"""SQL: a run `r` has an owner that nobody has said to be dead."""

BEAT = """
WITH s AS (UPDATE @.store SET beat_at = clock_timestamp(),
               available_since = CASE WHEN clock_timestamp() - beat_at > lease / 2 THEN clock_timestamp()
                                      ELSE available_since END
           WHERE beat_at < clock_timestamp() - lease / 8)
UPDATE @.kernels k SET expires_at = clock_timestamp() + (SELECT lease FROM @.store)
WHERE kernel = $1 AND incarnation = $2 AND dead_at IS NULL AND closed_at IS NULL
RETURNING draining_at IS NOT NULL, extract(epoch FROM clock_timestamp())::float8, (SELECT limits_set FROM @.store)"""

HELLO = f"""
INSERT INTO @.kernels AS k (kernel, incarnation, host, host_name, pid, version, opened_at, expires_at)
VALUES ($1, 1, $2, $3, $4, $6, clock_timestamp(), clock_timestamp() + (SELECT lease FROM @.store))
ON CONFLICT (kernel) DO UPDATE SET incarnation = k.incarnation + 1, host = $2, host_name = $3, pid = $4, version = $6,
    dead_at = NULL, closed_at = NULL, draining_at = NULL, opened_at = clock_timestamp(),
    expires_at = clock_timestamp() + (SELECT lease FROM @.store)
WHERE NOT {LIVES} OR (k.host = $2 AND $5::bool) RETURNING incarnation"""
"""With $5 this process has the lock of that name on this host: whoever had it before is gone."""

TIME = "SELECT extract(epoch FROM clock_timestamp())::float8"

GOODBYE = "UPDATE @.kernels SET closed_at = clock_timestamp() WHERE kernel = $1 AND incarnation = $2"

DRAIN = f"""
UPDATE @.kernels k SET draining_at = coalesce(draining_at, clock_timestamp())
WHERE (k.kernel = $1 OR k.host_name = $1) AND {LIVES} RETURNING k.kernel"""

BURY = f"""
UPDATE @.kernels k SET dead_at = clock_timestamp()
WHERE k.closed_at IS NULL AND k.dead_at IS NULL AND (NOT {LIVES} OR k.kernel = ANY($1::text[])) RETURNING k.kernel"""

GONE = "SELECT kernel FROM @.kernels WHERE dead_at IS NOT NULL OR closed_at IS NOT NULL ORDER BY kernel"

FORGET = """
DELETE FROM @.kernels k WHERE greatest(dead_at, closed_at) < clock_timestamp() - interval '1 day'
AND NOT EXISTS (SELECT FROM @.runs r WHERE r.owner = k.kernel)"""
"""Kernels that have long gone and have left nothing behind."""

NEIGHBOURS = "SELECT kernel FROM @.kernels WHERE host = $1 AND closed_at IS NULL AND dead_at IS NULL"

SEEN = f"SELECT k.host, {SEEMS_ALIVE} FROM @.kernels k WHERE k.kernel = $1"


def as_interval(seconds: float) -> timedelta:
    """Return seconds as the driver sends an interval."""
    return timedelta(seconds=seconds)


# -- processes of this host -----------------------------------------------------------------------------------------


class Neighbours:
    """The kernels of one store on this host, by their lock files.

    `host` tells those who use the same folder of lock files from all others: processes in another container, or after a
    restart of the machine, do not see the locks."""

    def __init__(self, address: Address) -> None:
        self._folder = _runtime_folder() / blake2b(_place(address).encode(), digest_size=12).hexdigest()
        self._locks: KernelLocks | None = None
        self._told: set[str] = set()  # lock files of kernels that the server was told of
        self.host = f"process-{uuid.uuid4()}"  # without a folder nobody is a neighbour

    def open(self, owner: str | None) -> None:
        """Find the folder, and be alive in it as `owner`. Without a folder of our own there are only leases."""
        try:
            _make_private(self._folder.parent)
            _make_private(self._folder)
            self.host = _host_of(self._folder)
            self._locks = KernelLocks(self._folder)
            with _turn(self._folder):
                if owner is not None and not self._locks.hold(owner):
                    self._locks = None
        except (OSError, PlaceTakenError):
            self._locks = None

    @property
    def file(self) -> int | None:
        """Return the descriptor of the held lock."""
        return None if self._locks is None else self._locks.file

    def knows(self, host: str) -> bool:
        """True if this process can tell whether a kernel on a host lives."""
        return self._locks is not None and host == self.host

    def is_gone(self, kernel: str) -> bool:
        """True if the process of a kernel on this host has ended."""
        return self._locks is not None and not self._locks.is_alive(kernel)

    def have_died(self) -> bool:
        """True if the process of another kernel on this host has ended without saying so. Asks no server."""
        return self._locks is not None and any(owner not in self._told for owner in self._locks.dead_owners())

    async def gone(self, connection: Connection) -> Sequence[str]:
        """Return the kernels that ended on this host without saying so."""
        if self._locks is None:
            return []
        self._told.update(self._locks.dead_owners())
        return [kernel for (kernel,) in await connection.fetch(NEIGHBOURS, self.host) if self.is_gone(kernel)]

    def release(self) -> None:
        """Stop being alive, as far as no child was given the lock."""
        if self._locks is not None:
            locks, self._locks = self._locks, None
            locks.release()
            with suppress(OSError, PlaceTakenError), _turn(self._folder):
                locks.remove_dead()


def _runtime_folder() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given) / "flujo" if given else Path(tempfile.gettempdir()) / f"flujo-{os.getuid()}"


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise OSError(f"{folder} belongs to others as well")


def _host_of(folder: Path) -> str:
    """Return what only users of this very folder, since the machine started, have in common."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = socket.gethostname()
    mark = folder / "host"
    with _turn(folder):
        if not mark.exists():
            write_own(mark, str(uuid.uuid4()))
    found = folder.stat()
    return f"{boot}/{found.st_dev}/{found.st_ino}/{mark.read_text(encoding='ascii')}"


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Lock files are made and removed by one process at a time, or one might remove what another has just made."""
    lock = StoreLock(folder / "store.lock")
    try:
        if not lock.acquire(TURN_SECONDS):
            raise OSError(f"{lock.path} is held by another process")
        yield
    finally:
        lock.close()


def _place(address: Address) -> str:
    return f"{address.shown.partition('?')[0].partition('//')[2]}/{address.schema}"
