"""`PostgresBackend`: the port on one schema of a PostgreSQL database, shared by the processes of many hosts.

An owner has four connections: one writes, one reads, one beats (`heart`), one hears. A question of moments goes over a
line, which connects anew as often as it takes (`line`); what takes long has a connection of its own. When the server is
away an owner tries again for as long as the URL says, or until it is dead: no run ends because a server was restarted.
"""

from __future__ import annotations

import os
import random
import re
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from flujo.backends.inherited import INHERITED, unusable
from flujo.backends.pages import page_token, require_page_of, said_position
from flujo.kernel.backend import (
    WORKFLOW_KEYS,
    Capabilities,
    Change,
    ClaimedRun,
    Commit,
    Due,
    EventRow,
    FleetLimit,
    FoundRun,
    Member,
    Order,
    Page,
    Posted,
    Problem,
    Refused,
    Removal,
    Request,
    RunFilter,
    RunSummary,
    SlotRequest,
    Slots,
    StateBackend,
    StoredDefinition,
    WorkflowStats,
    workflow_key,
)
from flujo.kernel.errors import (
    CorruptStoreError,
    InvalidNameError,
    RunActiveError,
    RunFinishedError,
    RunNotFoundError,
    StoreError,
    StoreFullError,
    StoreLeaseLostError,
    StoreNotFoundError,
    WorkflowNotFoundError,
)
from flujo.kernel.forks import close_in_children
from flujo.kernel.loops import require_asyncio
from flujo.kernel.state import FINAL

from . import details, integrity, journal, leases, listing, pruning, queries, rows, schema, slots, statistics
from .connection import FULL, Again, Connection, Lost, Refusal, Unconnectable
from .heart import Background, Ears, Heart, ServerClock, channel_of, now
from .journal import Journal
from .leases import Neighbours
from .line import Line, Work
from .rows import Damaged
from .url import DEFAULT_LEASE_SECONDS, Address, parse

Result = TypeVar("Result")

READER_PATIENCE_SECONDS = 5.0
"""For how long a handle without runs of its own tries again."""

CLOCK_LOOKS = 3
"""How often a kernel asks for the time when it opens; the first answer takes longer, and says the least."""

LOOK_SECONDS = 1.0
"""How often a kernel looks whether others on its host have died."""

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class PostgresBackend(StateBackend):
    """The store in one schema of the database that the URL names; it need not exist yet, the database does."""

    def __init__(self, url: str) -> None:
        """Raises StoreUrlError."""
        self._address: Address = parse(url)
        self.url = self._address.shown
        self.capabilities = Capabilities(
            durable=True,
            several_processes=True,
            event_loops=("asyncio",),
            backs_up=False,
            several_hosts=True,
            lease_seconds=self._address.lease_seconds or DEFAULT_LEASE_SECONDS,
            shares_limits=True,
        )
        self._unusable: str | None = "it is not open"
        self._clock = ServerClock()  # of one server, however often it is opened

    # -- opening ------------------------------------------------------------------------------------------------

    async def open(self, owner: str | None) -> None:
        require_asyncio("the postgres backend, through asyncpg,")
        if self._unusable is None:
            raise StoreError(self.url, "this handle is open already")
        if owner is not None and not _OWNER.fullmatch(owner):
            raise InvalidNameError("kernel id", owner, "letters, digits, '.', '_' and '-', at most 100")
        patience = READER_PATIENCE_SECONDS if owner is None else self._address.patience_seconds
        self._owner = owner
        self._journal = Journal()
        self._reader, self._writer = (Line(self._address, self._require_open, self._problem, patience) for _ in "rw")
        self._neighbours = Neighbours(self._address)
        self._background = Background()
        self._heart: Heart | None = None
        self._ears: Ears | None = None
        self._incarnation = 0
        self._lease = DEFAULT_LEASE_SECONDS
        self._left_since: dict[tuple[str, ...], float] = {}  # idle runs of these statuses that are others' share
        self._buried_at = -inf
        self._limits_set = -1  # how often limits had been set at the last exchange of slots, if there was one
        self._told: set[str] = set()  # kernels that have gone, as far as `wait_for_dead_owners` has returned them
        self._unusable = None
        close_in_children(self)
        try:
            await self._open(owner)
        except (Lost, Again, Refusal) as error:
            await self.close()
            raise self._problem(error) from None
        except BaseException:
            await self.close()
            raise

    async def _open(self, owner: str | None) -> None:
        connection = await self._reader.connect()
        await schema.require_fit(self._address, connection)
        if owner is None:
            found = await schema.find(self._address, connection)
            if found is None:
                raise StoreNotFoundError(self.url)
            self._lease = found
        else:
            self._lease = await schema.prepare(self._address, connection)
        ((self._journal.base,),) = await connection.fetch(journal.BASE)
        self._neighbours.open(owner)
        if owner is not None:
            await self._be_alive(owner, await self._writer.connect())

    async def _be_alive(self, owner: str, connection: Connection) -> None:
        await connection.fetch(leases.BEAT, "", 0)  # an outage is noticed before anybody is judged
        place = self._neighbours.host, socket.gethostname(), os.getpid()
        sent = await connection.fetch(leases.HELLO, owner, *place, self._neighbours.file is not None, _version())
        if not sent:
            self._owner = None  # it is somebody else's name
            raise StoreError(
                self.url, f"another kernel is alive as {owner!r}", [f"or it was, {self._lease:g} seconds ago"]
            )
        self._incarnation = sent[0][0]
        await connection.fetch(leases.FORGET)
        if self._incarnation > 1:
            await connection.fetch(slots.FORGET, owner)
        await self._read_clock(connection)
        self._heart = Heart(self._address, owner, self._incarnation, self._lease, self._clock, self._note_limits_set)
        self._ears = Ears(self._address, owner, self._notify)
        self._background.start(self._heart.serve, f"heart of {owner}")
        self._background.start(self._ears.serve, f"ears of {owner}")

    async def _read_clock(self, connection: Connection) -> None:
        for _ in range(CLOCK_LOOKS):
            sent = now()
            ((instant,),) = await connection.fetch(leases.TIME)
            self._clock.note(sent, instant, now())

    def close_in_child(self) -> None:
        """Leave this handle to the parent, whose connections it has."""
        if self._unusable is None:
            self._unusable = INHERITED

    async def close(self) -> None:
        if self._unusable is not None:
            return
        self._unusable = "it is closed"
        with anyio.CancelScope(shield=True):
            await self._background.stop()
            if self._incarnation and self._owner is not None:
                await self._say_goodbye(self._owner)
            self._neighbours.release()
            for line in (self._writer, self._reader):
                await line.close()

    async def _say_goodbye(self, owner: str) -> None:
        """Without it others wait for the end of the lease."""
        try:
            with anyio.fail_after(leases.TURN_SECONDS):
                if self._writer.connection is not None:
                    await self._writer.connection.fetch(leases.GOODBYE, owner, self._incarnation)
        except (Lost, Again, Refusal, TimeoutError):
            pass

    def kill(self) -> None:
        """Die as a process does: nothing is said to the server, and nothing this handle does from now on reaches it."""
        if self._unusable is None:
            self._unusable = "its process was killed"
            self._background.cancel()
            self._neighbours.release()
            for line in (self._writer, self._reader):
                if line.connection is not None:
                    line.connection.terminate()

    def time_ns(self) -> int:
        return self._clock.time_ns()

    @property
    def liveness_fd(self) -> int | None:
        return self._neighbours.file if self._unusable is None and self._owner is not None else None

    # -- writing ------------------------------------------------------------------------------------------------

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        self._require_owner()
        if not commits:
            return {}
        await checkpoint_if_cancelled()
        is_apart = any(commit.alone_from is not None for commit in commits)
        batch = None if is_apart else self._journal.prepare(tuple(commits))
        tries = 0

        async def make(connection: Connection) -> dict[str, Refused]:
            nonlocal tries
            tries += 1
            if batch is None:
                return await self._journal.make_apart(commits, connection, is_repeat=tries > 1)
            return await self._journal.make(batch, connection, is_repeat=tries > 1)

        try:
            refused = await self._writer.ask(make)
        except BaseException:
            self._journal.forget()
            raise
        if any(each.expected_seq == 0 and each.summary.owner is None for each in commits):
            await self._notify(channel_of(self._address.schema, None))  # it may be work for others
        return refused

    async def claim(self, run_id: str) -> RunSummary:
        owner = self._require_owner()
        give_up_at = time.monotonic() + 2 * self._lease
        while True:
            await self._bury()
            seen = await self.load(run_id)
            if (claimed := await self._writer.ask(partial(self._claim, run_id, owner, seen))) is not None:
                self._wake()
                return claimed
            found = await self.load(run_id)
            if found.owner in (None, owner) or time.monotonic() >= give_up_at or await self._beats(str(found.owner)):
                raise RunActiveError(run_id, str(found.owner))
            await anyio.sleep(min(LOOK_SECONDS, self._lease / 10))  # its lease is over, and no verdict possible yet

    async def _claim(self, run_id: str, owner: str, seen: RunSummary, connection: Connection) -> RunSummary | None:
        found = await connection.fetch(queries.CLAIM, run_id, owner)
        if not found and seen.owner != owner:
            # An earlier try may have claimed it, and its answer was lost.
            asked = ClaimedRun.by(owner, seen)
            found = [
                (seen.owner, *row)
                for row in await connection.fetch(queries.FIND, run_id)
                if rows.summary_of(row)[:8] == asked[:8]
            ]
        return rows.claimed(found[0]) if found else None

    async def _beats(self, kernel: str) -> bool:
        found = await self._read(lambda connection: connection.fetch(queries.IS_BEATING, kernel))
        return bool(found and found[0][0])

    async def claim_idle(
        self, statuses: Sequence[str], workflows: Sequence[str], limit: int, *, owner: str | None = None
    ) -> Sequence[RunSummary]:
        heir = self._require_owner()
        asked = [str(status) for status in statuses]

        async def claim(connection: Connection) -> Sequence[RunSummary]:
            gone = [name for (name,) in await connection.fetch(queries.OWNERS_GONE) if owner in (None, name)]
            values: tuple[Any, ...] = (heir, asked, list(workflows), limit, gone, owner is None, [], [])
            return rows.soundly_claimed(await connection.fetch(queries.claim_idle(asked), *values))

        return await self._claim_some(claim)

    async def _claim_some(self, claim: Work[Sequence[RunSummary]]) -> Sequence[RunSummary]:
        await self._bury()
        claimed = await self._writer.ask(claim, once=True)
        if claimed:
            self._wake()
        return sorted(claimed, key=lambda run: (run.created_at, run.run_id))

    async def claim_share(
        self, statuses: Sequence[str], workflows: Sequence[str], room: int, unfit: Mapping[str, int]
    ) -> Sequence[RunSummary]:
        heir = self._require_owner()
        asked = [str(status) for status in statuses]

        async def claim(connection: Connection) -> Sequence[RunSummary]:
            gone = [name for (name,) in await connection.fetch(queries.OWNERS_GONE)]
            values = (heir, asked, list(workflows), room, gone, True, list(unfit), list(unfit.values()))
            share, each = await queries.share_of(asked, connection, *values)
            size = min(room, self._patiently(tuple(asked), share, each))
            if size <= 0:
                return []
            sql = queries.claim_idle(asked)
            return rows.soundly_claimed(await connection.fetch(sql, *values[:3], size, *values[4:]))

        return await self._claim_some(claim)

    def _patiently(self, statuses: tuple[str, ...], share: int, each: int) -> int:
        """Return how many idle runs to take: this kernel's share; and of those that others have left for half a lease,
        as without room or without their workflow, as many as there are for each."""
        if each == 0 or share > 0:
            self._left_since.pop(statuses, None)
            return share
        since = self._left_since.setdefault(statuses, time.monotonic())
        if time.monotonic() - since < self._lease / 2:
            return 0
        self._left_since[statuses] = time.monotonic()
        return each

    async def wait_for_idle(self) -> None:
        self._require_owner()
        assert self._ears is not None
        while True:
            with anyio.move_on_after(self._lease / 3 * random.uniform(0.8, 1.2)):
                await self._ears.idle.wait()
            self._ears.idle.clear()
            self._require_owner()
            if (await self._read(lambda each: each.fetch(queries.HAS_IDLE)))[0][0]:
                return

    async def wait_for_doubt(self) -> None:
        self._require_open()
        assert self._heart is not None
        await self._heart.doubt()

    def certain_seconds(self) -> float | None:
        assert self._heart is not None
        return self._heart.good_until - now()

    async def wait_for_renewal(self) -> None:
        self._require_open()
        assert self._heart is not None
        await self._heart.renewal()

    async def members(self) -> Sequence[Member]:
        return await self._read(details.kernels)

    async def drain(self, name: str) -> Sequence[str]:
        found = await self._read(lambda each: each.fetch(leases.DRAIN, name))
        if not found:
            raise StoreError(self.url, f"no kernel lives on a host {name!r}, or has that id", ["flujoctl hosts"])
        return sorted(kernel for (kernel,) in found)

    async def wait_for_drain(self) -> None:
        self._require_owner()
        assert self._heart is not None
        await self._heart.is_draining.wait()

    async def wait_for_certainty(self) -> bool:
        assert self._heart is not None
        return await self._heart.certainty()

    async def release(self, uids: Sequence[str] | None) -> None:
        owner = self._require_owner()
        self._journal.forget()
        chosen = None if uids is None else list(uids)
        if await self._writer.ask(lambda connection: connection.fetch(queries.RELEASE, owner, chosen)):
            await self._notify(channel_of(self._address.schema, None))

    async def delete(self, run_id: str, uid: str) -> None:
        await self._bury()
        tries = 0

        async def delete(connection: Connection) -> None:
            nonlocal tries
            tries += 1
            if await connection.fetch(queries.DELETE, run_id, uid):
                return
            found = [rows.judged(row)[0] for row in await connection.fetch(queries.FIND, run_id)]  # damaged ones may go
            if found and found[0].uid == uid:
                raise RunActiveError(run_id, str(found[0].owner))
            if tries == 1:  # or an earlier try has done it
                raise RunNotFoundError(run_id, self.url)

        await self._read(delete)

    async def prune(self, filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        await self._bury()
        if dry_run:
            return await self._aside(partial(pruning.preview, filter, limit))
        work = pruning.Pruning(filter, limit)
        line = Line(self._address, self._require_open, self._problem, READER_PATIENCE_SECONDS)
        try:
            while not work.is_done:
                await line.ask(work.look)
                if work.has_candidates:
                    await line.ask(work.remove_some)
        finally:
            with anyio.CancelScope(shield=True):
                await line.close()
        return work.removal()

    # -- the inbox ----------------------------------------------------------------------------------------------

    async def post(self, run_id: str, request: Request) -> RunSummary:
        # Not repeated once it was sent: it might be there twice.
        summary = await self._read(partial(queries.post, run_id, request, self.url), once=True)
        if summary.status in FINAL:
            raise RunFinishedError(run_id, summary.status)
        if summary.owner is not None:
            await self._notify(channel_of(self._address.schema, summary.owner))
        return summary

    async def _notify(self, channel: str) -> None:
        """Tell others. Whoever does not hear it looks for itself, so it is no error if it cannot be told."""
        try:
            await self._reader.ask(lambda connection: connection.fetch(queries.NOTIFY, channel), once=True)
        except StoreError:
            pass

    async def take(self) -> Sequence[Posted]:
        owner = self._require_owner()
        if self._ears is not None:
            self._ears.posted.clear()
        found = await self._read(lambda connection: connection.fetch(queries.TAKE, owner))
        return rows.sound_posted_of(found)

    async def discard(self, run_id: str, uid: str, ids: Collection[int]) -> None:
        if ids:
            await self._read(lambda connection: connection.fetch(queries.DISCARD, uid, list(ids)))

    async def paused_with(self, kind: str) -> Sequence[tuple[str, str]]:
        found = await self._read(lambda connection: connection.fetch(queries.PAUSED_WITH, kind))
        return [(str(run_id), str(uid)) for run_id, uid in found]

    async def wait_for_posts(self) -> None:
        self._require_owner()
        assert self._ears is not None
        with anyio.move_on_after(self._ears.patience):
            await self._ears.posted.wait()
        self._require_owner()

    def _wake(self) -> None:
        """Runs that were claimed may have come with requests."""
        if self._ears is not None:
            self._ears.posted.set()

    # -- limits of all kernels together ---------------------------------------------------------------------------

    async def set_fleet_limit(self, name: str, slots_: int | None) -> int | None:
        async def change(connection: Connection) -> int | None:
            before = await slots.set_limit(name, slots_, connection)
            await self._tell_all_of_slots(connection)
            return before

        return await self._read(change)

    async def _tell_all_of_slots(self, connection: Connection) -> None:
        await connection.fetch(slots.TELL, [channel_of(self._address.schema, None)])

    async def fleet_limits(self) -> Sequence[FleetLimit]:
        return await self._read(slots.limits)

    async def exchange_slots(self, asked: Sequence[SlotRequest], given_back: Collection[int]) -> Slots:
        owner = self._require_owner()
        if time.monotonic() >= self._buried_at + self._lease / 5:
            await self._bury()
        exchange = slots.Exchange(owner, asked, given_back)
        found = await self._read(exchange.make)
        self._limits_set = exchange.limits_set
        if exchange.tell:
            channels = [channel_of(self._address.schema, kernel) for kernel in exchange.tell]
            with suppress(StoreError):  # whoever does not hear it looks for itself
                await self._read(lambda connection: connection.fetch(slots.TELL, channels))
        return found

    async def wait_for_slots(self) -> bool:
        self._require_owner()
        assert self._ears is not None
        with anyio.move_on_after(self._ears.patience):
            await self._ears.slots.wait()
        self._require_owner()
        is_told = self._ears.slots.is_set()
        self._ears.slots.clear()
        return is_told

    def _note_limits_set(self, times: int) -> None:
        """Look at the limits again if they have changed since: a notification may not have been heard."""
        if self._ears is not None and self._limits_set not in (-1, times):
            self._ears.slots.set()

    # -- reading ------------------------------------------------------------------------------------------------

    async def load(self, run_id: str) -> RunSummary:
        return await self._read(partial(queries.find, run_id, self.url))

    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        return await self._read(partial(queries.events, run_id, uid, after_seq, limit, self.url))

    async def identity(self) -> str:
        return await self._read(queries.identity)

    async def last_position(self) -> int:
        return await self._read(queries.last_position)

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        return await self._read(partial(queries.changes, after, limit))

    async def read_runs(self, run_ids: Sequence[str], events: int) -> Sequence[FoundRun]:
        return await self._read(partial(queries.read_runs, run_ids, events, self.url))

    async def requests(self, run_id: str, uid: str) -> Sequence[Posted]:
        return await self._read(partial(queries.requests, run_id, uid, self.url))

    async def list(
        self, filter: RunFilter, *, order: Order = Order.CREATED, limit: int, page: str | None = None
    ) -> Page:
        below = None if page is None else said_position(page)
        sql, values = listing.page(filter, order, limit + 1, below)
        found = await self._read(lambda connection: connection.fetch(sql, *values))
        store = found[0][-1] if found else await self.identity()
        if page is not None:
            require_page_of(store, filter, order, page)
        runs = rows.listed([row[:-1] for row in found])
        if len(runs) <= limit:
            return Page(runs, None)
        return Page(runs[:limit], page_token(store, filter, order, runs[limit - 1]))

    async def due(self, instant: int, limit: int) -> Due:
        owner = self._require_owner()
        waiting = rows.listed(await self._read(lambda connection: connection.fetch(queries.DUE, owner, limit + 1)))
        ready = [run for run in waiting[:limit] if run.wake_at is not None and run.wake_at <= instant]
        return Due(ready, waiting[len(ready)].wake_at if len(ready) < len(waiting) else None)

    async def count(self, filter: RunFilter) -> int:
        sql, values = listing.number(filter)
        ((number,),) = await self._read(lambda connection: connection.fetch(sql, *values, timeout=None))
        return int(number)

    async def stats(self, since: int, *, workflow: str | None = None) -> Sequence[WorkflowStats]:
        return await self._aside(partial(statistics.read, since, workflow))

    async def is_alive(self, owner: str) -> bool:
        found = await self._read(lambda connection: connection.fetch(leases.SEEN, owner))
        if not found:
            return False
        host, seems_alive = found[0]
        return bool(seems_alive) and not (self._neighbours.knows(host) and self._neighbours.is_gone(owner))

    async def wait_for_dead_owners(self) -> Sequence[str]:
        looked_at = -self._lease
        while True:
            self._require_open()
            if time.monotonic() >= looked_at + self._lease / 5 or self._neighbours.have_died():
                looked_at = time.monotonic()
                await self._bury()
                gone = {kernel for (kernel,) in await self._read(lambda each: each.fetch(leases.GONE))}
                new = sorted(gone - self._told)
                self._told = gone
                if new:
                    return new
            await anyio.sleep(min(LOOK_SECONDS, self._lease / 5))

    async def _bury(self) -> None:
        """Say of everybody whose lease is over, or whose process has ended on this host, that he is dead."""

        async def bury(connection: Connection) -> None:
            if await connection.fetch(leases.BURY, list(await self._neighbours.gone(connection))):
                await self._tell_all_of_slots(connection)

        await self._read(bury)
        self._buried_at = time.monotonic()

    async def get_definition(self, digest: str) -> StoredDefinition:
        found = await self._read(lambda connection: connection.fetch(queries.DEFINITION, digest))
        if not found:
            raise WorkflowNotFoundError(digest, ())
        return self._judged(rows.definition_of, found[0])

    async def put_workflow(self, definition: StoredDefinition) -> StoredDefinition | None:
        named = definition.under_its_name()

        async def put(connection: Connection) -> Sequence[Any]:
            async with connection.transaction():
                before = await connection.fetch(queries.DEFINITION, named.digest)
                await connection.fetch(queries.REPLACE_DEFINITION, *rows.definition_values(named))
                return before

        found = await self._read(put)
        with suppress(CorruptStoreError):  # damage that is replaced is over
            return self._judged(rows.definition_of, found[0]).of_its_text() if found else None
        return None

    async def get_workflow(self, name: str) -> StoredDefinition:
        try:
            return (await self.get_definition(workflow_key(name))).of_its_text()
        except WorkflowNotFoundError:
            raise WorkflowNotFoundError(name, ()) from None

    async def stored_workflows(self) -> Sequence[StoredDefinition]:
        found = await self._read(lambda connection: connection.fetch(queries.DEFINITIONS_BY_NAME, WORKFLOW_KEYS))
        return [self._judged(rows.definition_of, row).of_its_text() for row in found]

    async def delete_workflow(self, name: str) -> None:
        key, tries = workflow_key(name), 0

        async def delete(connection: Connection) -> bool:
            nonlocal tries
            tries += 1  # an earlier try may have done it, and not have been told so
            return bool(await connection.fetch(queries.DELETE_DEFINITION, key)) or tries > 1

        if not await self._read(delete):
            raise WorkflowNotFoundError(name, ())

    # -- keeping the store ----------------------------------------------------------------------------------------

    async def integrity(self) -> Sequence[Problem]:
        return await self._aside(integrity.integrity)

    async def integrity_beside_runs(self) -> Sequence[Problem]:
        return await self._aside(integrity.integrity_beside_runs)

    async def backup(self, target: Path) -> int:
        self._require_open()
        await checkpoint_if_cancelled()
        raise StoreError(
            self.url,
            "a database is backed up with its own tools",
            [
                f"pg_dump --format=custom --schema={self._address.schema} --file={target.name} DATABASE",
                "or archive its log (pg_basebackup, PITR), or: flujoctl db copy URL sqlite:FILE",
            ],
        )

    async def details(self) -> Mapping[str, Any]:
        found = dict(await self._aside(partial(details.read, self._address.schema)))
        found["pooled"] = self._reader.connection is not None and self._reader.connection.is_pooled
        found["lease_seconds"] = self._lease
        if self._ears is not None:
            found["hears"] = self._ears.hears
        return found

    # -- how a question is asked ----------------------------------------------------------------------------------

    async def _read(self, work: Work[Result], *, once: bool = False) -> Result:
        self._require_open()
        await checkpoint_if_cancelled()
        return await self._reader.ask(work, once=once)

    async def _aside(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Ask what takes long, on a connection of its own; a cancellation drops it."""
        self._require_open()
        connection: Connection | None = None
        try:
            connection = await Connection.connect(self._address)
            return await work(connection)
        except (Lost, Again, Refusal, Damaged) as error:
            raise self._problem(error) from None
        finally:
            if connection is not None:
                connection.terminate()

    def _judged(self, judge: Callable[[Any], Result], found: Any) -> Result:
        try:
            return judge(found)
        except Damaged as error:
            raise queries.damage(self.url, str(error)) from None

    def _problem(self, error: Exception) -> StoreError:
        """Return what a caller is told of what the driver, or a row, says."""
        if isinstance(error, Damaged):
            return queries.damage(self.url, str(error))
        if isinstance(error, Again) and error.code == FULL:
            return StoreFullError(self.url, ["free some space on the server, then: flujoctl resume RUN_ID"])
        if isinstance(error, Refusal):
            who = "no connection can be made" if isinstance(error, Unconnectable) else "the server refuses"
            return StoreError(self.url, f"{who}: {error}", _ways_on(error.code))
        return StoreError(
            self.url, f"the server cannot be reached: {error}", ["pg_isready  # with the host and port of the URL"]
        )

    # -- what the calls above require -----------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._unusable is not None:
            raise unusable(self.url, self._unusable)
        if self._heart is not None and self._heart.is_dead:
            raise StoreLeaseLostError(self.url, self._owner or "")

    def _require_owner(self) -> str:
        self._require_open()
        if self._owner is None:
            raise StoreError(self.url, "it was opened without an owner, so it cannot advance runs")
        return self._owner


@cache
def _version() -> str:
    return version("flujoctl")


def _ways_on(code: str) -> Sequence[str]:
    match code:
        case "3D000":
            return ["createdb DATABASE"]
        case "28P01" | "28000":
            return ["PGPASSWORD=... or a line in ~/.pgpass; never in a URL that others may read"]
        case "42501":
            return ["GRANT CREATE ON DATABASE name TO role  # or create the schema, owned by that role"]
        case _:
            return ["look at the URL and at the log of the server, then try again"]


def open_postgres(url: str) -> PostgresBackend:
    """Return the factory behind `postgresql://...` and `postgres:`. Raises StoreUrlError."""
    return PostgresBackend(url)
