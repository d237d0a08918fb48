"""`FileBackend`: the port on a folder, shared by the processes of a host, on asyncio and on trio.

Nothing here touches a file: every call is one function of `store` in a worker thread, and a cancelled caller waits for
it, so that nothing is left half done. One function writes at a time, under the store lock, and one reads; waiting for
the lock can be cancelled, and who waits too long is told which file to look at.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from anyio import (
    CancelScope,
    CapacityLimiter,
    create_task_group,
    get_cancelled_exc_class,
    sleep,
    sleep_forever,
    to_thread,
)
from anyio.lowlevel import checkpoint_if_cancelled

from flujo.backends.disk_errors import FULL, disk_error
from flujo.backends.inherited import INHERITED, unusable
from flujo.backends.locks import LOOK_SECONDS, KernelLocks, StoreLock
from flujo.backends.pages import page_position, page_token
from flujo.backends.urls import Durability, parse
from flujo.kernel.backend import (
    Capabilities,
    Change,
    Commit,
    Due,
    EventRow,
    FoundRun,
    Order,
    Page,
    Posted,
    Problem,
    Refused,
    Removal,
    Request,
    RunFilter,
    RunSummary,
    StateBackend,
    StoredDefinition,
    WorkflowStats,
)
from flujo.kernel.checked_calls import check_argument, check_path
from flujo.kernel.errors import (
    FlujoError,
    InvalidNameError,
    RunActiveError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreNotFoundError,
)
from flujo.kernel.forks import close_in_children

from . import layout, restoring
from .copying import Copy, Hold, Snapshot
from .disk import Disk
from .index import Entry
from .run_folder import UnsoundError
from .store import Store
from .view import LockIsBusy, held

logger = logging.getLogger("flujo.backends.file")

Result = TypeVar("Result")

BUSY_SECONDS = 30.0
POLL_SECONDS = 0.2

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCK_SLICE = 0.05  # a cancellation waits this long at most for a store lock somebody else has
_RUNS_PER_DELETION = 20
_RUNS_PER_LOOK = 50
_BYTES_PER_LOOK = 1 << 20


class Lane:
    """One thread at a time, in turn.

    The lock is for a caller that asyncio's own Task.cancel() tears away from a thread that is still at work; it knows
    no shield."""

    def __init__(self) -> None:
        self.turns = CapacityLimiter(1)
        self._at_work = threading.Lock()

    async def run(self, unit: Callable[[], Result]) -> Result:
        """Return what `unit` returns or raises, run in a thread. It can be cancelled until it begins, and not after."""

        def alone() -> Result:
            with self._at_work:
                return unit()

        return await to_thread.run_sync(alone, limiter=self.turns)


class FileBackend(StateBackend):
    """The store in the folder `path`, which need not exist yet; a relative path counts from where this object is made.

    `busy_seconds` bounds the wait for the store lock; then StoreBusyError names the lock file.
    """

    capabilities = Capabilities(durable=True, several_processes=True, restorable=True)
    path: Path

    def __init__(
        self, path: Path | str, durability: Durability = "full", *, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        check_path("path", path)
        check_argument("durability", Durability, durability)
        check_argument("busy_seconds", float, busy_seconds)
        self.url = f"file:{path}" + ("" if durability == "full" else f"?durability={durability}")
        self.path = Path(path).expanduser().absolute()
        self._durability = durability
        self._busy_seconds = busy_seconds
        self._unusable: str | None = "it is not open"
        self._set_up(None)

    # -- opening ------------------------------------------------------------------------------------------------

    async def open(self, owner: str | None) -> None:
        if self._unusable is None:
            raise StoreError(self.url, "this handle is open already")
        if owner is not None and (owner == "store" or not _OWNER.fullmatch(owner)):
            raise InvalidNameError(
                "kernel id", owner, "letters, digits, '.', '_' and '-', at most 100, and not 'store'"
            )
        self._set_up(owner)
        self._unusable = None
        close_in_children(self)
        with self._store_errors():
            try:
                await self._open_unless_cancelled()
            except BaseException:
                await self.close()
                raise
        if damaged := self._store.damaged():
            logger.warning("%s: damaged and left as they are: %s", self.url, ", ".join(damaged))

    def close_in_child(self) -> None:
        """Leave this handle to the parent."""
        if self._unusable is None:
            self._unusable = INHERITED

    def _set_up(self, owner: str | None) -> None:
        self._paths = layout.StorePaths.at(self.url, self.path)
        self._owner = owner
        self._store = Store(self._paths, owner, Disk(durable=self._durability == "full"))
        self._store_lock = StoreLock(self._paths.lock)
        self._readers_lock = StoreLock(self._paths.lock)  # a lock is used by one thread
        self._kernels = KernelLocks(self._paths.kernels)
        self._writing, self._reading = Lane(), Lane()

    async def _open_unless_cancelled(self) -> None:
        """Open the store; a cancellation ends the thread that does so soon, however many runs there are."""
        failures: list[BaseException] = []
        store, has_ended = self._store, False

        async def give_up_when_cancelled() -> None:
            try:
                await sleep_forever()
            finally:
                if not has_ended:
                    store.give_up_opening()

        async with create_task_group() as group:
            group.start_soon(give_up_when_cancelled)
            try:
                await self._open()
            except get_cancelled_exc_class():
                raise
            except BaseException as error:  # kept out of the task group, which would hand it on inside of a group
                failures.append(error)
            has_ended = True
            group.cancel_scope.cancel()
        await checkpoint_if_cancelled()
        if failures:
            raise failures[0]

    async def _open(self) -> None:
        is_there = await self._in_thread(partial(layout.is_there, self._paths), self._writing)
        if self._owner is not None:
            await self._in_thread(partial(layout.make_folders, self._paths), self._writing)
            await self._locked(self._open_writer)
        elif not is_there:
            raise StoreNotFoundError(self.url)
        else:
            await self._in_thread(partial(layout.make_kernels, self._paths), self._writing)
            await self._in_thread(self._store.open, self._reading)
            await self._read(self._store.damaged)

    def _open_writer(self) -> None:
        """Make the store if there is none, and be alive. Needs the store lock."""
        assert self._owner is not None
        if not layout.is_there(self._paths):
            layout.create(self._paths)
        layout.raise_format(self._paths)
        self._kernels.remove_dead()
        if not self._kernels.hold(self._owner):
            raise StoreError(self.url, f"another kernel is alive as {self._owner!r}")
        self._store.open()
        self._store.write(self._store.clear_leftovers)

    async def close(self) -> None:
        if self._unusable is not None:
            return
        self._unusable = "it is closed"
        with CancelScope(shield=True), self._store_errors():
            await self._in_thread(self._close, self._writing)
            await self._in_thread(self._readers_lock.close, self._reading)

    def _close(self) -> None:
        had_owner = self._kernels.file is not None
        self._store.close()
        self._kernels.release()
        try:
            if had_owner and self._store_lock.acquire(_LOCK_SLICE):
                try:
                    self._kernels.remove_dead()
                finally:
                    self._store_lock.release()
        finally:
            self._store_lock.close()

    @property
    def liveness_fd(self) -> int | None:
        return self._kernels.file if self._unusable is None else None

    # -- writing ------------------------------------------------------------------------------------------------

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        self._require_owner()
        batch = tuple(commits)
        return await self._write(partial(self._store.append, batch)) if batch else {}

    async def claim(self, run_id: str) -> RunSummary:
        self._require_owner()
        return await self._write(partial(self._store.claim, run_id, self._require_idle))

    async def claim_idle(
        self, statuses: Sequence[str], workflows: Sequence[str], limit: int, *, owner: str | None = None
    ) -> Sequence[RunSummary]:
        self._require_owner()
        wanted = RunFilter(statuses=tuple(statuses), owner=owner)
        claim = partial(self._store.claim_idle, wanted, tuple(workflows), limit, self._kernels.is_alive)
        return await self._write(claim)

    async def release(self, uids: Sequence[str] | None) -> None:
        self._require_owner()
        await self._write(partial(self._store.release, None if uids is None else frozenset(uids)))

    async def delete(self, run_id: str, uid: str) -> None:
        await self._write(partial(self._store.delete, run_id, uid, self._require_idle))

    async def prune(self, filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        is_alive = self._kernels.is_alive
        if dry_run:
            return await self._preview(filter, limit)
        families = await self._read(partial(self._store.prunable, filter, is_alive))
        gone: list[RunSummary] = []
        size = place = 0
        while place < len(families) and len(gone) < limit:
            batch = _next_to_remove(families, place, limit - len(gone))
            runs, removed = await self._write(partial(self._store.prune, filter, batch, is_alive))
            gone += runs
            size += removed
            place += len(batch)
        return Removal(gone, len(gone), size, place < len(families))

    async def _preview(self, filter: RunFilter, limit: int) -> Removal:
        """Return what a prune would remove. Sizes are looked up a few runs at a time, as each is a look at the disk."""
        families = await self._read(partial(self._store.prunable, filter, self._kernels.is_alive))
        runs = [run for family in families for run in family]
        size = 0
        for place in range(0, len(runs), _RUNS_PER_LOOK):
            size += await self._read(partial(self._store.size, runs[place : place + _RUNS_PER_LOOK]))
        return Removal(runs[:limit], len(runs), size, len(runs) > limit)

    # -- the inbox ----------------------------------------------------------------------------------------------

    async def post(self, run_id: str, request: Request) -> RunSummary:
        return await self._write(partial(self._store.post, run_id, request))

    async def take(self) -> Sequence[Posted]:
        self._require_owner()
        return await self._read(self._store.take)

    async def discard(self, run_id: str, uid: str, ids: Collection[int]) -> None:
        if ids:
            await self._write(partial(self._store.discard, run_id, uid, ids))

    async def paused_with(self, kind: str) -> Sequence[tuple[str, str]]:
        return await self._read(partial(self._store.paused_with, kind))

    async def wait_for_posts(self) -> None:
        self._require_owner()
        while not await self._read(self._store.has_posts):  # noqa: ASYNC110 - other processes set no Event
            await sleep(POLL_SECONDS)

    # -- reading ------------------------------------------------------------------------------------------------

    async def load(self, run_id: str) -> RunSummary:
        return await self._read(partial(self._store.load, run_id))

    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        read = partial(self._store.read_events, run_id, uid, after_seq, limit)
        try:
            return await self._read(read)
        except UnsoundError:
            await self._write(partial(self._store.examine, run_id))
        try:
            return await self._read(read)
        except UnsoundError as error:
            raise StoreError(self.url, f"the journal of run {run_id!r} changes while it is read") from error

    async def identity(self) -> str:
        return await self._read(partial(layout.identity_of, self._paths))

    async def last_position(self) -> int:
        return await self._read(self._store.last_position)

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        read = partial(self._store.changes, after, limit)
        try:
            return await self._read(read)
        except UnsoundError as error:
            await self._write(partial(self._store.examine, *error.args))
        try:
            return await self._read(read)
        except UnsoundError as error:
            raise StoreError(self.url, f"the journal of run {error.args[0]!r} changes while it is read") from error

    async def read_runs(self, run_ids: Sequence[str], events: int) -> Sequence[FoundRun]:
        found = await self._read(partial(self._store.read_runs, run_ids, events))
        return found or await super().read_runs(run_ids[:1], events)

    async def requests(self, run_id: str, uid: str) -> Sequence[Posted]:
        return await self._read(partial(self._store.requests, run_id, uid))

    async def list(
        self, filter: RunFilter, *, order: Order = Order.CREATED, limit: int, page: str | None = None
    ) -> Page:
        below = page_position(await self.identity(), filter, order, page) if page is not None else None
        found = await self._read(partial(self._store.list, filter, order, limit + 1, below))
        runs = found[:limit]
        if len(found) <= limit:
            return Page(runs, None)
        return Page(runs, page_token(await self.identity(), filter, order, runs[-1]))

    async def due(self, instant: int, limit: int) -> Due:
        self._require_owner()
        return await self._read(partial(self._store.due, instant, limit))

    async def count(self, filter: RunFilter) -> int:
        return await self._read(partial(self._store.count, filter))

    async def stats(self, since: int, *, workflow: str | None = None) -> Sequence[WorkflowStats]:
        return await self._read(partial(self._store.stats, since, workflow))

    async def is_alive(self, owner: str) -> bool:
        self._require_usable()
        with self._store_errors():
            return await self._in_thread(partial(self._kernels.is_alive, owner), self._reading)

    async def wait_for_dead_owners(self) -> Sequence[str]:
        while True:
            self._require_usable()
            with self._store_errors():
                if dead := await self._in_thread(self._kernels.newly_dead, self._reading):
                    return dead
            await sleep(LOOK_SECONDS)

    async def get_definition(self, digest: str) -> StoredDefinition:
        return await self._read(partial(self._store.get_definition, digest))

    async def put_workflow(self, definition: StoredDefinition) -> StoredDefinition | None:
        return await self._write(partial(self._store.put_workflow, definition))

    async def get_workflow(self, name: str) -> StoredDefinition:
        return await self._read(partial(self._store.get_workflow, name))

    async def stored_workflows(self) -> Sequence[StoredDefinition]:
        return await self._read(self._store.stored_workflows)

    async def delete_workflow(self, name: str) -> None:
        await self._write(partial(self._store.delete_workflow, name))

    # -- keeping the store ----------------------------------------------------------------------------------------

    async def integrity(self) -> Sequence[Problem]:
        problems: list[Problem] = []
        for entries in _in_portions(await self._read(self._store.entries)):
            folders = [entry.folder for entry in entries]
            doubtful, found = await self._read(partial(self._store.check, folders))
            problems += found
            for run_id in doubtful:
                await self._write(partial(self._store.examine, run_id))
        return await self._write(self._store.problems) + problems

    async def backup(self, target: Path) -> int:
        self._require_usable()
        copy, hold, lane = Copy(self._paths, Path(target)), Hold(self._paths), Lane()

        def begin() -> Snapshot:
            hold.take()
            return self._store.snapshot()

        with self._store_errors(), _full_target(target):
            try:
                await self._in_thread(copy.begin, lane)
                snapshot = await self._write(begin)
                for entries in _in_portions(snapshot.entries):
                    self._require_usable()
                    await self._in_thread(partial(copy.add, snapshot, entries), lane)
                await self._in_thread(partial(copy.complete, snapshot), lane)
                for paths in _in_groups(copy.unsynced()):
                    await self._in_thread(partial(copy.sync, paths), lane)
                await self._in_thread(copy.publish, lane)
            except BaseException:
                with CancelScope(shield=True):
                    await self._in_thread(copy.discard, lane)
                raise
            finally:
                with CancelScope(shield=True):
                    await self._end_hold(hold)
        return copy.bytes

    async def restore(self, backup: Path, *, force: bool = False) -> int:
        if self._unusable is None:
            raise StoreError(self.url, "this handle is open; restore with one that is not")
        return await restoring.restore(backup, self._paths, force=force, open_copy=FileBackend)

    async def _end_hold(self, hold: Hold) -> None:
        """Remove what was kept for a copy. If that cannot be done now, the next owner who opens the store does it."""
        if not hold.release():
            return
        try:
            await self._write(self._store.clear_leftovers)
        except StoreError as error:
            logger.warning("%s: what was deleted while a copy was made stays for now: %s", self.url, error)

    async def details(self) -> Mapping[str, Any]:
        return await self._read(self._store.details)

    # -- how a read and a write are done --------------------------------------------------------------------------

    async def _read(self, work: Callable[[], Result]) -> Result:
        """Run `work` on what is known by now."""
        self._require_usable()
        patience = min(_LOCK_SLICE, self._busy_seconds)
        with self._store_errors():
            unit = partial(self._store.read, work, self._readers_lock, patience)
            return await self._unless_busy(unit, self._reading)

    async def _write(self, work: Callable[[], Result]) -> Result:
        """Run `work` under the store lock."""
        self._require_usable()
        with self._store_errors():
            return await self._locked(partial(self._store.write, work))

    async def _locked(self, work: Callable[[], Result]) -> Result:
        patience = min(_LOCK_SLICE, self._busy_seconds)

        def unit() -> Result:
            with held(self._store_lock, patience):
                return work()

        return await self._unless_busy(unit, self._writing)

    async def _unless_busy(self, unit: Callable[[], Result], lane: Lane) -> Result:
        give_up_at = time.monotonic() + self._busy_seconds
        while True:
            try:
                return await self._in_thread(unit, lane)
            except LockIsBusy:
                if time.monotonic() >= give_up_at:
                    raise StoreBusyError(self.url, self._paths.lock, self._busy_seconds) from None
            self._require_usable()

    async def _in_thread(self, unit: Callable[[], Result], lane: Lane) -> Result:
        return await lane.run(unit)

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Turn what the operating system raises into StoreError and its kinds."""
        try:
            yield
        except OSError as error:
            if isinstance(error, FlujoError):
                raise
            raise disk_error(self.url, error) from error

    # -- what the calls above require -----------------------------------------------------------------------------

    def _require_usable(self) -> None:
        if self._unusable is not None:
            raise unusable(self.url, self._unusable)

    def _require_owner(self) -> str:
        self._require_usable()
        if self._owner is None:
            raise StoreError(self.url, "it was opened without an owner, so it cannot advance runs")
        return self._owner

    def _require_idle(self, summary: RunSummary) -> None:
        if summary.owner is not None and self._kernels.is_alive(summary.owner):
            raise RunActiveError(summary.run_id, summary.owner)


@contextmanager
def _full_target(target: Path) -> Iterator[None]:
    """Tell of a disk that is full under a backup as that: the store itself is only read."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FlujoError) or error.errno not in FULL:
            raise
        folder = quote(str(Path(target).expanduser().absolute().parent))
        hints = [f"free some space in {folder}, or: flujoctl db backup OTHER-PLACE"]
        raise StoreFullError(str(target), hints) from error


def _in_portions(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield the same runs, so many at a time that reading them takes a moment: a cancellation waits for one portion."""
    portion: list[Entry] = []
    size = 0
    for entry in entries:
        if portion and (len(portion) == _RUNS_PER_LOOK or size + entry.length > _BYTES_PER_LOOK):
            yield portion
            portion, size = [], 0
        portion.append(entry)
        size += entry.length
    if portion:
        yield portion


def _in_groups(several: Iterable[Sequence[Path]]) -> Iterator[Sequence[Path]]:
    """Yield the same paths, enough of them at a time to be worth a thread."""
    group: list[Path] = []
    for paths in several:
        group += paths
        if len(group) >= _RUNS_PER_LOOK:
            yield group
            group = []
    yield group


def _next_to_remove(families: Sequence[Sequence[RunSummary]], place: int, limit: int) -> Sequence[Sequence[RunSummary]]:
    """Return the families from `place` on that are removed under one lock: one at least, and no more than the limit
    needs."""
    runs = 0
    for number in range(place, len(families)):
        if runs >= min(limit, _RUNS_PER_DELETION):
            return families[place:number]
        runs += len(families[number])
    return families[place:]


def open_file(url: str) -> FileBackend:
    """Return the factory behind `file:DIR[?durability=full|normal]`. Raises StoreUrlError."""
    return FileBackend(*parse(url, "folder"))
