"""`SQLiteBackend`: the port on one SQLite file, shared by the processes of a host.

One connection writes, another one, opened read-only, reads; each has a thread. A write is one transaction on the
writing thread: take the store lock, BEGIN IMMEDIATE, the work, COMMIT, perhaps a checkpoint, give the lock back. SQLite
alone would let several processes write in turn, but releases before 3.51.3 can corrupt a database when a commit races
another connection's checkpoint, and its own waiting ends in "database is locked". So nothing writes, checkpoints or
closes a writing connection without the store lock, and who waits for it too long is told which file to look at.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, TypeVarTuple

import anyio

from flujo.backends.disk_errors import displaced_error
from flujo.backends.inherited import INHERITED, note_database, require_not_inherited, unusable
from flujo.backends.locks import LOOK_SECONDS, KernelLocks, StoreLock
from flujo.backends.pages import page_position, page_token
from flujo.backends.urls import Durability, parse
from flujo.kernel.backend import (
    Capabilities,
    Change,
    ClaimedRun,
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
    workflow_key,
)
from flujo.kernel.checked_calls import check_argument, check_path
from flujo.kernel.direct_calls import has_event_loop
from flujo.kernel.errors import (
    CorruptStoreError,
    InvalidNameError,
    RunActiveError,
    RunFinishedError,
    RunNotFoundError,
    RunReplacedError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreNotFoundError,
    WorkflowNotFoundError,
)
from flujo.kernel.forks import close_in_children
from flujo.kernel.state import FINAL

from . import (
    checkpoints,
    checksums,
    files,
    filesystems,
    integrity,
    listing,
    maintenance,
    preparation,
    pruning,
    queries,
    removals,
    segments,
    statistics,
)
from .connection import (
    Database,
    DirectReader,
    Reader,
    Work,
    in_transaction,
    kind_of,
    open_reader,
    reader_settings,
    store_errors,
    writer_settings,
)
from .interruption import Cancellation, stopped_when_cancelled
from .journal import Journal

logger = logging.getLogger("flujo.backends.sqlite")

Result = TypeVar("Result")
Given = TypeVarTuple("Given")

BUSY_SECONDS = 30.0
POLL_SECONDS = 0.2
CHECKPOINT_PAGES = 1_000
EARLY_PAGES = 250  # after each so many it is asked whether the log is long: others may write too, and large batches

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCK_SLICE = 0.05  # a cancellation waits this long at most for a store lock somebody else has
_BUSY: Final = object()


class SQLiteBackend(StateBackend):
    """The store in the file `path`, which need not exist yet; a relative path counts from where this object is made.

    `busy_seconds` bounds the wait for the store lock; then StoreBusyError names the lock file.
    """

    capabilities = Capabilities(
        durable=True, several_processes=True, event_loops=("asyncio",), restorable=True, listed_directly=True
    )
    path: Path

    def __init__(
        self, path: Path | str, durability: Durability = "full", *, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        check_path("path", path)
        check_argument("durability", Durability, durability)
        check_argument("busy_seconds", float, busy_seconds)
        self.url = f"sqlite:{path}" + ("" if durability == "full" else f"?durability={durability}")
        self.path = Path(path).expanduser().absolute()
        self._durability = durability
        self._busy_seconds = busy_seconds
        self._unusable: str | None = "it is not open"

    # -- opening ------------------------------------------------------------------------------------------------

    async def open(self, owner: str | None) -> None:
        self._is_direct = owner is None and not has_event_loop()
        if not self._is_direct:
            _require_asyncio()
        if self._unusable is None:
            raise StoreError(self.url, "this handle is open already")
        if owner is not None and (owner == "store" or not _OWNER.fullmatch(owner)):
            raise InvalidNameError(
                "kernel id", owner, "letters, digits, '.', '_' and '-', at most 100, and not 'store'"
            )
        self._files = files.StoreFiles.at(self.url, self.path)
        self._owner = owner
        self._store_lock = StoreLock(self._files.lock)
        self._kernels = KernelLocks(self._files.kernels)
        self._journal = Journal()
        self._reader: Reader | None = None
        self._writer: Database | None = None
        self._integrity_scan: preparation.IntegrityScan | None = None
        self._damage: str | None = None  # what it has found
        if not self._is_direct:
            # A reader connects for writing when it first posts; nobody may meet it half way.
            self._connecting = anyio.Lock()
        self._inode: tuple[int, int] | None = None  # of what it has open
        self._wait_long_at = checkpoints.LONG_LOG  # bytes of the log
        self._pages = 0  # written to the WAL since the last checkpoint, estimated
        self._pages_unwaited = 0  # of those before it, since a checkpoint was last patient
        self._data_version: int | None = None  # the reader's, when posts were last looked for
        self._last_request = 0  # the newest request `take` can have seen
        self._has_claimed = False  # a run that may have come with requests, since posts were last looked for
        self._unusable = None
        close_in_children(self)
        with store_errors(self.url, self._files.lock):
            try:
                await self._open()
            except BaseException:
                await self.close()
                raise

    def close_in_child(self) -> None:
        """Leave this handle, and the database, to the parent."""
        if self._unusable is None:
            self._unusable = INHERITED
            note_database(files.inode(self._files))

    async def _open(self) -> None:
        filesystems.require_local(self.url, self._files.database)
        require_not_inherited(self.url, files.inode(self._files))
        schema = await self._find_schema()
        if self._owner is not None:
            await self._open_writer()
        elif schema is None:
            raise StoreNotFoundError(self.url)
        else:
            if files.size_of(self._files.rollback_journal):
                async with self._locked():
                    await self._block(preparation.take_back, self._files)
            self._inode = files.inode(self._files)
        self._reader = await self._connect_reader()
        await self._reader.run(partial(files.check, self.url))
        if self._owner is not None:
            await self._sweep(pruning.Pacer())

    async def _connect_reader(self) -> Reader:
        if self._is_direct:
            return DirectReader(open_reader(self._files))
        return await Database.connect(self._files.database, "ro", reader_settings)

    async def _find_schema(self) -> int | None:
        """Return the schema of the store, None if there is none; raises what `files.find` raises."""
        try:
            return await self._block(self._find_file)
        except (StoreError, sqlite3.DatabaseError):
            if not files.may_be_moving(self._files):
                raise
        async with self._locked():
            return await self._block(self._find_file)

    def _find_file(self) -> int | None:
        schema = files.find(self._files)
        files.require_one_name(self._files)
        return schema

    async def _open_writer(self) -> Database:
        """Make the store if there is none, connect to it and, for an owner, be alive."""
        _require_asyncio()
        async with self._connecting:
            self._require_usable()
            if self._writer is None:
                await self._block(files.make_folders, self._files)
                async with self._locked():
                    self._writer = await self._connect_writer()
            return self._writer

    async def _connect_writer(self) -> Database:
        if self._reader is not None:
            self._require_in_place()  # or it would write to another file than it reads
        is_unchecked = await self._block(preparation.prepare, self._files, self._kernels, self._owner)
        if self._owner is not None:
            if not self._kernels.hold(self._owner):
                raise StoreError(self.url, f"another kernel is alive as {self._owner!r}")
            await self._block(files.sync, self._files.kernels)  # what is left of us after a power cut
        settings = partial(writer_settings, self.url, self._durability)
        writer = await Database.connect(self._files.database, "rw", settings)
        self._inode = files.inode(self._files)
        if is_unchecked:
            self._integrity_scan = preparation.IntegrityScan(self._files, self._give_up)
        return writer

    def _give_up(self, damage: str) -> None:
        self._damage = damage

    async def close(self) -> None:
        if self._unusable is not None:
            return
        self._unusable = "it is closed"
        if self._is_direct:
            await self._close_reader()
            return
        with anyio.CancelScope(shield=True), store_errors(self.url, self._files.lock):
            async with self._connecting:
                try:
                    if self._integrity_scan is not None:
                        await self._block(self._integrity_scan.stop)
                    if self._writer is not None:
                        await self._close_writer(self._writer)
                finally:
                    await self._close_reader()

    async def _close_reader(self) -> None:
        self._kernels.release()
        self._store_lock.close()
        if self._reader is not None:
            await self._reader.close()

    async def _close_writer(self, writer: Database) -> None:
        """The last connection to close moves the WAL into the file, so a writer closes under the store lock.

        It also removes the WAL, by its name; if that is another store's by now, our reader has to outlive the writer.
        """
        await writer.run(lambda _: None)  # what was queued before us uses the same lock file
        try:
            async with self._locked():
                if self._reader is not None and files.inode(self._files) == self._inode:
                    # We may not be the last, and a log is what a crash leaves.
                    await writer.run(partial(checkpoints.empty_log, checkpoints.SHORT_WAIT))
                    await self._reader.close()
                    self._reader = None
                await writer.close()
                self._kernels.release()
                if self._owner is not None:
                    self._kernels.remove_dead()
        except StoreBusyError:
            await writer.close()  # not the last one: our reader is still open, so the WAL stays as it is

    @property
    def liveness_fd(self) -> int | None:
        return self._kernels.file if self._unusable is None else None

    # -- writing ------------------------------------------------------------------------------------------------

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        self._require_owner()
        batch = tuple(commits)
        if not batch:
            return {}
        return await self._write(partial(self._journal.append, batch), pages=0)  # the journal knows how many

    async def claim(self, run_id: str) -> RunSummary:
        owner = self._require_owner()

        def claim(connection: sqlite3.Connection) -> RunSummary:
            run, summary = self._find(run_id, connection)
            self._require_idle(summary)
            claimed = ClaimedRun.by(owner, summary)
            connection.execute(*queries.change_owner(run, claimed))
            return claimed

        claimed = await self._write(claim)
        self._has_claimed = True
        return claimed

    async def claim_idle(
        self, statuses: Sequence[str], workflows: Sequence[str], limit: int, *, owner: str | None = None
    ) -> Sequence[RunSummary]:
        heir = self._require_owner()

        def claim(connection: sqlite3.Connection) -> list[RunSummary]:
            idle = partial(queries.idle_runs, self._kernels.live_owners(), statuses, workflows, owner=owner)
            found = queries.sound_idle_runs(idle, limit, connection)
            claimed = [(run, ClaimedRun.by(heir, summary)) for run, summary in found]
            for run, summary in claimed:
                connection.execute(*queries.change_owner(run, summary))
            return [summary for _, summary in claimed]

        claimed = await self._write(claim, pages=8 + limit // 8)
        if claimed:
            self._has_claimed = True
        return claimed

    async def release(self, uids: Sequence[str] | None) -> None:
        owner = self._require_owner()

        def release(connection: sqlite3.Connection) -> None:
            self._journal.forget()
            if uids is None:
                connection.execute(f"{queries.DISOWN} WHERE owner = ?", (owner,))
            else:
                chosen = [(uid, owner) for uid in uids]
                connection.executemany(f"{queries.DISOWN} WHERE uid = ? AND owner = ?", chosen)

        await self._write(release)

    async def delete(self, run_id: str, uid: str) -> None:
        def delete(connection: sqlite3.Connection) -> bool:
            run, *values = self._row_of(run_id, connection)
            summary = RunSummary(*values[:-1])  # a damaged run may go
            if summary.uid != uid:
                raise RunNotFoundError(run_id, self.url)
            self._require_idle(summary)
            return removals.remove(run, connection)

        if await self._write(delete):
            await self._sweep(pruning.Pacer())

    async def prune(self, filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        if dry_run:
            return await self._on_own_connection(partial(pruning.preview, filter, limit, self._kernels.live_owners))
        work, pacer = pruning.Pruning(filter, limit, self._kernels.live_owners), pruning.Pacer()
        await self._sweep(pacer)
        while not work.is_done:
            await self._read(work.look)
            if work.has_candidates:
                await self._run_slice(pacer, work.remove, work.take_back)
        while await self._read(removals.are_left):
            await self._run_slice(pacer, work.sweep, work.take_back)
        while await self._run_slice(pacer, pacer.shrink):
            pass
        return work.removal()

    # -- the inbox ----------------------------------------------------------------------------------------------

    async def post(self, run_id: str, request: Request) -> RunSummary:
        def post(connection: sqlite3.Connection) -> RunSummary:
            run, summary = self._find(run_id, connection)
            if summary.status in FINAL:
                raise RunFinishedError(run_id, summary.status)
            id = _single(queries.next_request().rows(connection), 0)
            checksum = checksums.of_values(id, summary.uid, *request)
            connection.execute("INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?)", (id, run, *request, checksum))
            return summary

        return await self._write(post)

    async def take(self) -> Sequence[Posted]:
        owner = self._require_owner()

        def take(connection: sqlite3.Connection) -> list[Posted]:
            self._last_request = _single(queries.last_request().rows(connection), 0)
            return checksums.sound_posted_of(queries.requests_for(owner).rows(connection))

        return await self._read(take)

    async def discard(self, run_id: str, uid: str, ids: Collection[int]) -> None:
        if ids:
            await self._write(partial(queries.discard, uid, ids))

    async def paused_with(self, kind: str) -> Sequence[tuple[str, str]]:
        return [(str(run_id), str(uid)) for run_id, uid in await self._read(queries.paused_with(kind).rows)]

    async def wait_for_posts(self) -> None:
        self._require_owner()
        while True:
            if self._has_claimed or await self._read(self._see_posts, begin=None):
                self._has_claimed = False
                return
            await anyio.sleep(POLL_SECONDS)

    def _see_posts(self, connection: sqlite3.Connection) -> bool:
        """True if anything was posted since the last take; nearly free as long as nobody commits anything."""
        data_version: int = _single(connection.execute("PRAGMA data_version").fetchall(), 0)
        if data_version == self._data_version:
            return False
        self._data_version = data_version
        last_request = _single(queries.last_request().rows(connection), 0)
        is_new: bool = last_request > self._last_request
        self._last_request = last_request
        return is_new

    # -- reading ------------------------------------------------------------------------------------------------

    async def load(self, run_id: str) -> RunSummary:
        _, summary = await self._read(partial(self._find, run_id))
        return summary

    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        def read_events(connection: sqlite3.Connection) -> list[EventRow]:
            run, summary = self._find(run_id, connection)
            if summary.uid != uid:
                raise RunReplacedError(run_id)
            return checksums.journal_of(
                summary, after_seq, queries.events_of(run, after_seq, limit).rows(connection), limit
            )

        return await self._read(read_events)

    async def read_runs(self, run_ids: Sequence[str], events: int) -> Sequence[FoundRun]:
        return await self._read(partial(queries.read_runs, self.url, run_ids, events))

    async def identity(self) -> str:
        return await self._read(segments.identity)

    async def last_position(self) -> int:
        return await self._read(segments.last_position)

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        def changes(connection: sqlite3.Connection) -> Sequence[Change]:
            return [checksums.change_of(row) for row in queries.changes_after(after, limit).rows(connection)]

        return await self._read(changes)

    async def requests(self, run_id: str, uid: str) -> Sequence[Posted]:
        def requests(connection: sqlite3.Connection) -> list[Posted]:
            run, summary = self._find(run_id, connection)
            if summary.uid != uid:
                raise RunReplacedError(run_id)
            return checksums.posted_of(queries.requests_to(run).rows(connection))

        return await self._read(requests)

    async def list(
        self, filter: RunFilter, *, order: Order = Order.CREATED, limit: int, page: str | None = None
    ) -> Page:
        def read(connection: sqlite3.Connection) -> Page:
            below = page_position(segments.identity(connection), filter, order, page) if page is not None else None
            runs = listing.read_page(filter, order, limit + 1, below, connection)
            if len(runs) <= limit:
                return Page(runs, None)
            return Page(runs[:limit], page_token(segments.identity(connection), filter, order, runs[limit - 1]))

        return await self._read(read)

    async def due(self, instant: int, limit: int) -> Due:
        owner = self._require_owner()
        rows = await self._read(queries.runs_by_wake(owner, limit + 1).rows)
        found = [RunSummary(*summary) for *summary, _ in rows]  # hints: who brings a run back looks at its checksum
        waiting = [run for run in found if isinstance(run.wake_at, int)]
        ready = [run for run in waiting[:limit] if run.wake_at is not None and run.wake_at <= instant]
        return Due(ready, waiting[len(ready)].wake_at if len(ready) < len(waiting) else None)

    async def count(self, filter: RunFilter) -> int:
        return await self._read(partial(listing.read_number, filter))

    async def stats(self, since: int, *, workflow: str | None = None) -> Sequence[WorkflowStats]:
        return await self._on_own_connection(partial(statistics.read, since, workflow))

    async def is_alive(self, owner: str) -> bool:
        self._require_usable()
        with store_errors(self.url, self._files.lock):
            return self._kernels.is_alive(owner)

    async def wait_for_dead_owners(self) -> Sequence[str]:
        while True:
            self._require_usable()
            self._require_in_place()
            with store_errors(self.url, self._files.lock):
                if dead := self._kernels.newly_dead():
                    return dead
            await anyio.sleep(LOOK_SECONDS)

    async def get_definition(self, digest: str) -> StoredDefinition:
        rows = await self._read(queries.definition_of(digest).rows)
        if not rows:
            raise WorkflowNotFoundError(digest, ())
        with store_errors(self.url, self._files.lock):
            return checksums.definition_of(rows[0])

    async def put_workflow(self, definition: StoredDefinition) -> StoredDefinition | None:
        named = definition.under_its_name()

        def put(connection: sqlite3.Connection) -> Sequence[Any]:
            before = queries.definition_of(named.digest).rows(connection)
            connection.execute(*queries.replace_definition(named))
            return before

        found = await self._write(put)
        with suppress(CorruptStoreError), store_errors(self.url, self._files.lock):  # damage that is replaced is over
            return checksums.definition_of(found[0]).of_its_text() if found else None
        return None

    async def get_workflow(self, name: str) -> StoredDefinition:
        try:
            return (await self.get_definition(workflow_key(name))).of_its_text()
        except WorkflowNotFoundError:
            raise WorkflowNotFoundError(name, ()) from None

    async def stored_workflows(self) -> Sequence[StoredDefinition]:
        rows = await self._read(queries.definitions_by_name().rows)
        with store_errors(self.url, self._files.lock):
            return [checksums.definition_of(row).of_its_text() for row in rows]

    async def delete_workflow(self, name: str) -> None:
        if not await self._write(queries.delete_definition(workflow_key(name)).rows):
            raise WorkflowNotFoundError(name, ())

    # -- keeping the store ----------------------------------------------------------------------------------------

    async def integrity(self) -> Sequence[Problem]:
        return await self._in_own_thread(partial(integrity.integrity, self._files))

    async def integrity_beside_runs(self) -> Sequence[Problem]:
        return await self._in_own_thread(partial(integrity.integrity_beside_runs, self._files))

    async def backup(self, target: Path) -> int:
        return await self._in_own_thread(partial(maintenance.backup, self._files, target))

    async def restore(self, backup: Path, *, force: bool = False) -> int:
        _require_asyncio()
        if self._unusable is None:
            raise StoreError(self.url, "this handle is open; restore with one that is not")
        return await stopped_when_cancelled(lambda stop: maintenance.restore(backup, self.path, force=force, stop=stop))

    async def details(self) -> Mapping[str, Any]:
        return await self._in_own_thread(partial(maintenance.details, self._files, self._kernels, self._durability))

    async def _in_own_thread(self, work: Callable[[Cancellation], Result]) -> Result:
        """Run what takes long in a thread, on connections of its own; a cancellation interrupts it."""
        self._require_open()
        with store_errors(self.url, self._files.lock):
            self._require_in_place()
            return await stopped_when_cancelled(work)

    async def _on_own_connection(self, work: Work[Result]) -> Result:
        """Run a question on a snapshot, as `_read` does, that is so long that it would keep the kernel waiting; a
        cancellation interrupts it."""
        self._require_usable()
        return await self._in_own_thread(partial(maintenance.ask, self._files, work))

    # -- how a read and a write are done --------------------------------------------------------------------------

    async def _read(self, work: Work[Result], begin: str | None = "BEGIN") -> Result:
        """Run `work` on one snapshot of the store."""
        self._require_usable()
        await self._end_if_cancelled()
        if self._reader is None:
            raise StoreError(self.url, "it is not open")
        with store_errors(self.url, self._files.lock):
            self._require_in_place()
            return await self._reader.run(work if begin is None else partial(in_transaction, begin, work))

    async def _run_slice(
        self, pacer: pruning.Pacer, work: Work[pruning.Slice], take_back: Callable[[], None] = lambda: None
    ) -> bool:
        """Make one write of many, and leave time for those of others; True if there is more to do. On a full disk the
        write is taken back, to be made again: the log has been emptied, and slices are small from then on."""

        def run(connection: sqlite3.Connection) -> pruning.Slice:
            done = pacer.run(work, connection)
            self._pages += done.pages if done.more else CHECKPOINT_PAGES  # the last one shows in the file
            return done

        try:
            done = await self._write(run, pages=0)
        except StoreFullError:
            if not pacer.begin_again():
                raise
            take_back()
            return True
        pacer.has_failed = False
        await anyio.sleep(pacer.pause())
        return done.more

    async def _sweep(self, pacer: pruning.Pacer) -> None:
        """Remove what is left of long runs that have gone. What keeps us from that, as a full disk does, is nothing to
        whoever called: the next owner does it."""
        try:
            while await self._read(removals.are_left):
                await self._run_slice(pacer, pacer.sweep)
        except StoreError as error:
            logger.warning("%s: what is left of a removed run stays for now: %s", self.url, error)

    async def _write(self, work: Work[Result], pages: int = 8) -> Result:
        """Run `work` in a transaction under the store lock. `pages` is what it adds to the WAL, roughly."""
        self._require_usable()
        await self._end_if_cancelled()
        with store_errors(self.url, self._files.lock):
            writer = self._writer or await self._open_writer()
            give_up_at = time.monotonic() + self._busy_seconds
            while (outcome := await writer.run(partial(self._transact, work, pages))) is _BUSY:
                if time.monotonic() >= give_up_at:
                    raise StoreBusyError(self.url, self._files.lock, self._busy_seconds)
                await self._end_if_cancelled()
                self._require_usable()
        return outcome  # type: ignore[return-value]  # mypy does not narrow by identity with an object

    def _transact(self, work: Work[Result], pages: int, connection: sqlite3.Connection) -> Result | object:
        if not self._store_lock.acquire(min(_LOCK_SLICE, self._busy_seconds)):
            return _BUSY
        try:
            self._require_in_place()
            result = in_transaction("BEGIN IMMEDIATE", work, connection)
            before = self._pages
            self._pages += pages + self._journal.take_pages()
            if self._pages >= CHECKPOINT_PAGES or (
                self._pages // EARLY_PAGES > before // EARLY_PAGES and self._has_long_log()
            ):
                self._pages_unwaited += self._pages
                patient, self._pages = self._pages_unwaited >= CHECKPOINT_PAGES, 0
                self._pages_unwaited = 0 if patient else self._pages_unwaited
                self._wait_long_at = checkpoints.move(self._files.log, patient, self._wait_long_at, connection)
        except sqlite3.Error as error:
            self._journal.forget()
            if kind_of(error) == sqlite3.SQLITE_FULL:  # what the log holds is in the way of the next try
                checkpoints.empty_log(checkpoints.SHORT_WAIT, connection)
            raise
        except BaseException:
            self._journal.forget()
            raise
        finally:
            self._store_lock.release()
        return result

    def _has_long_log(self) -> bool:
        return files.size_of(self._files.log) >= checkpoints.LONG_LOG

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the store lock; what happens inside is not cancelled. For opening and closing, when no unit runs."""
        give_up_at = time.monotonic() + self._busy_seconds
        while not await self._block(self._store_lock.acquire, min(_LOCK_SLICE, self._busy_seconds)):
            if time.monotonic() >= give_up_at:
                raise StoreBusyError(self.url, self._files.lock, self._busy_seconds)
        try:
            with nullcontext() if self._is_direct else anyio.CancelScope(shield=True):
                yield
        finally:
            self._store_lock.release()

    async def _end_if_cancelled(self) -> None:
        if not self._is_direct:
            import anyio.lowlevel  # here, as below, because a direct reader needs nothing of it

            await anyio.lowlevel.checkpoint_if_cancelled()

    async def _block(self, function: Callable[[*Given], Result], *args: *Given) -> Result:
        """Run what blocks in a thread; in that of the caller if it has no event loop that has to go on."""
        if self._is_direct:
            return function(*args)
        from flujo.kernel.loops import in_thread

        return await in_thread(partial(function, *args))

    # -- what the calls above require -----------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._unusable is not None:
            raise unusable(self.url, self._unusable)

    def _require_usable(self) -> None:
        self._require_open()
        if self._damage is not None:
            raise CorruptStoreError(self.url, f"{self._damage}, found while it was in use")

    def _require_in_place(self) -> None:
        """Raise StoreError once the file was moved, removed or replaced: what is written to it would be lost, and what
        is read from it would be told of a store that nobody else sees."""
        if files.inode(self._files) != self._inode:
            raise displaced_error(self.url, self._files.database, self._inode)

    def _require_owner(self) -> str:
        self._require_usable()
        if self._owner is None:
            raise StoreError(self.url, "it was opened without an owner, so it cannot advance runs")
        return self._owner

    def _find(self, run_id: str, connection: sqlite3.Connection) -> tuple[int, RunSummary]:
        run, *summary = self._row_of(run_id, connection)
        return run, checksums.summary_of(summary)

    def _row_of(self, run_id: str, connection: sqlite3.Connection) -> Sequence[Any]:
        rows: list[Sequence[Any]] = queries.find_run(run_id).rows(connection)
        if not rows:
            raise RunNotFoundError(run_id, self.url)
        return rows[0]

    def _require_idle(self, summary: RunSummary) -> None:
        if summary.owner is not None and self._kernels.is_alive(summary.owner):
            raise RunActiveError(summary.run_id, summary.owner)


def open_sqlite(url: str) -> SQLiteBackend:
    """Return the factory behind `sqlite:PATH[?durability=full|normal]`. Raises StoreUrlError."""
    return SQLiteBackend(*parse(url, "path"))


def _require_asyncio() -> None:
    from flujo.kernel.loops import require_asyncio

    require_asyncio("the sqlite backend, through aiosqlite,")


def _single(rows: Sequence[Sequence[Result]], default: Result) -> Result:
    """Return the one value of an answer of at most one row."""
    return rows[0][0] if rows else default
