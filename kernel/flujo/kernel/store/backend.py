"""The port: what the kernel asks of a place where journals live.

A backend stores, per run, the rows of its journal and one summary, and keeps them equal: both change in the same atomic
commit. Everything is in domain verbs; nothing here knows SQL, files or sockets. Every backend passes the suite in
`flujo.backends.conformance`, which is the executable form of these docstrings.

Ownership. A run is advanced by one owner at a time, the kernel that holds its highest token. `claim` raises the
token and every commit carries it, so a commit of an earlier owner is refused whatever the clocks say.

Being alive. On one host an owner counts as alive exactly as long as its process does (the backend holds an operating
system lock, or something as good), so a crash frees its runs at once and a slow process never loses them. Where owners
are on several hosts (`Capabilities.several_hosts`) it counts as alive while it renews a lease of `lease_seconds`, or as
long as its process is known to live; a death that was told by the lease is final.

Cancelling any of these calls leaves nothing half done: a commit that was under way is wholly there or wholly
absent. Every call may raise StoreError for what the disk or another process does; after a StoreError from `append`
the caller must read again what it wants to know, and never guess."""

from __future__ import annotations

import builtins
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio

from flujo.kernel.errors import (
    CorruptStoreError,
    RunNotFoundError,
    RunReplacedError,
    StoreError,
    WorkflowNotFoundError,
)
from flujo.kernel.journal.rows import EventRow
from flujo.kernel.journal.statuses import RunStatus
from flujo.kernel.journal.summaries import RunSummary, WorkflowStats

from .fleet import FleetLimit, Member, SlotRequest, Slots
from .records import (
    READ_BYTES,
    Capabilities,
    Change,
    Commit,
    Due,
    FoundRun,
    Order,
    Page,
    Posted,
    Problem,
    Refused,
    Removal,
    Request,
    RunFilter,
    StoredDefinition,
    StoredRun,
    size_of_rows,
)

NO_SHARED_LIMITS = (
    "it keeps no limits of a fleet, a store on PostgreSQL does",
    (
        "flujoctl serve --limit NAME=N  # bounds the kernel of one server",
        "flujoctl limits --store postgresql://USER@HOST/DATABASE  # a store of many hosts",
    ),
)
NO_FLEET = (
    "its kernels are all of one host",
    ("flujoctl db info", "flujoctl hosts --store postgresql://USER@HOST/DATABASE  # a store of many hosts"),
)


class StateBackend(ABC):
    """A place where journals live. One instance serves one kernel, or one reader; it is opened once."""

    url: str
    """How `open_backend` names this store, as in `sqlite:state.db`."""

    path: Path | None = None
    """The file or the folder this store is in, absolute; None for a store that is not on a disk of this host.

    Known before `open`, and whether or not there is a store. The URL of a store with a path is
    `SCHEME:PATH[?OPTIONS]`: what lies beside a store, and what a relative path counts from, is derived from that
    (`flujo.backends.discovery`)."""

    capabilities: Capabilities

    # -- opening ------------------------------------------------------------------------------------------------

    @abstractmethod
    async def open(self, owner: str | None) -> None:
        """Open the store as kernel `owner`, creating it if there is none, and be alive under that name until `close`.

        With `owner=None` open it for reading, posting, deleting and pruning only: an absent store raises
        StoreNotFoundError and is not created. Raises UnsupportedEventLoopError, ForeignStoreError, NewerStoreError,
        CorruptStoreError; then nothing was changed."""

    @abstractmethod
    async def close(self) -> None:
        """Stop being alive and give back every file, thread and task. Closing twice is allowed."""

    async def __aenter__(self) -> Self:
        await self.open(None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def time_ns(self) -> int:
        """Return the time that all owners of this store go by, in nanoseconds since 1970: that of this host, or where
        they are on several hosts, as the server has it. Known while an owner has the store open."""
        return time.time_ns()

    @property
    def liveness_fd(self) -> int | None:
        """Return a file descriptor that keeps this owner alive while any process holds it; None where there is no such
        thing. On several hosts it tells only processes of this one that the owner is dead before its lease is over.

        The kernel hands it to the guardian of its child processes, so that nobody takes over its runs before the last
        child is dead.
        """
        return None

    # -- writing ------------------------------------------------------------------------------------------------

    @abstractmethod
    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        """Make the commits durable, each atomic, in one go; on return they survive a power cut.

        Several commits of one run do not occur in a batch. Returns the uids of the refused ones with the reason; all
        others stand. An error means that any subset of whole commits may have been made.
        """

    @abstractmethod
    async def claim(self, run_id: str) -> RunSummary:
        """Become the owner of a run whose owner is gone: the token grows by one, durably, before this returns. The
        answer is a ClaimedRun, with the owner that has not given the run up but died, if there was one; a backend that
        answers with a plain summary keeps the kernel from recording whom it has taken the run over from.

        Raises RunNotFoundError, or RunActiveError when a live owner has it (also when that is this kernel itself).
        Nobody has to be alive for a run without an owner.
        """

    @abstractmethod
    async def claim_idle(
        self, statuses: Sequence[str], workflows: Sequence[str], limit: int, *, owner: str | None = None
    ) -> Sequence[RunSummary]:
        """Become the owner of up to `limit` runs in one of these statuses whose owner is gone, oldest first, as `claim`
        does for one of them; returns them as they are then, each with its former owner.

        Only runs that have a stored definition, or one of these workflows; with `owner` only runs that this kernel has
        left behind by its death. None are left when it returns fewer than `limit`.
        """

    async def claim_share(
        self, statuses: Sequence[str], workflows: Sequence[str], room: int, unfit: Mapping[str, int]
    ) -> Sequence[RunSummary]:
        """Become the owner of this kernel's share of the runs that `claim_idle` would claim: at most `room`, and so
        many that all kernels that live come to have equally many. What others leave for too long is for everybody.

        `unfit` are runs that this kernel cannot go on with, by uid, with the last event they had then; they are left as
        long as that is their last one. None are left for this kernel when it returns none."""
        found = await self.claim_idle(statuses, workflows, room)
        left = [run for run in found if unfit.get(run.uid) == run.seq]
        if left:
            await self.release([run.uid for run in left])
        return [run for run in found if unfit.get(run.uid) != run.seq]

    async def wait_for_idle(self) -> None:
        """Return when there may be something for `claim_share`; spurious returns are allowed. Where all owners are on
        one host it never returns: what a kernel gives up there was stopped on purpose, and waits for a kernel that
        opens."""
        await anyio.sleep_forever()

    @abstractmethod
    async def release(self, uids: Sequence[str] | None) -> None:
        """Give up these runs of this kernel, or with None every one it owns; tokens stay as they are."""

    @abstractmethod
    async def delete(self, run_id: str, uid: str) -> None:
        """Remove a run with its events and inbox. A late commit or post for it is refused from then on.

        Raises RunNotFoundError, RunActiveError while a live owner has it.
        """

    @abstractmethod
    async def prune(self, filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        """Remove runs that match, the longest settled first by (finished_at or else updated_at, run_id), until at least
        `limit` are gone or none is left.

        A run goes with all runs it has started, and they with it only: one whose parent is in the store is not looked
        at by itself (`is_child` says who belongs to whom). A family of which a live owner
        has a member stays whole. Done in short transactions, so that others get their turn; the store gives back what
        becomes free. With `dry_run` nothing goes, and the answer counts all that would, whatever the limit.
        """

    # -- the inbox ----------------------------------------------------------------------------------------------

    @abstractmethod
    async def post(self, run_id: str, request: Request) -> RunSummary:
        """Leave a request for the owner of a run, durable on return. Returns the run as it was at that moment.

        Raises RunNotFoundError, or RunFinishedError when the run is completed, failed or cancelled.
        """

    @abstractmethod
    async def take(self) -> Sequence[Posted]:
        """Return all requests in the inboxes of the runs this kernel owns, in the order they were posted.

        They stay until a commit lists them as taken, so a crash in between loses none. One that is damaged is left out
        and logged: requests to other runs do not wait for it.
        """

    async def discard(self, run_id: str, uid: str, ids: Collection[int]) -> None:  # noqa: B027 - it may do nothing
        """Remove requests from the inbox of a run, whoever owns it: nothing that they ask for can happen any more, as
        with the cancel of a run that has ended before its owner saw it. What is gone already is no error.

        A backend that does not know how leaves them; they go with the run."""

    @abstractmethod
    async def wait_for_posts(self) -> None:
        """Return when `take` may have something new, at most 250 ms after it was posted; spurious returns are
        allowed."""

    async def paused_with(self, kind: str) -> Sequence[tuple[str, str]]:
        """Return the paused runs without an owner that have a request of this kind in their inbox, each as (run_id,
        uid). Costs what lies in inboxes, where the backend knows how, and not what is stored."""
        wanted = RunFilter(statuses=(RunStatus.PAUSED,))
        found: builtins.list[tuple[str, str]] = []
        page: str | None = None
        while True:
            listed = await self.list(wanted, limit=500, page=page)
            for run in listed.runs:
                with suppress(RunNotFoundError, RunReplacedError):
                    posts = () if run.owner is not None else await self.requests(run.run_id, run.uid)
                    if any(posted.request.kind == kind for posted in posts):
                        found.append((run.run_id, run.uid))
            if (page := listed.next) is None:
                return found

    # -- reading ------------------------------------------------------------------------------------------------

    @abstractmethod
    async def load(self, run_id: str) -> RunSummary:
        """Return the summary of a run; raises RunNotFoundError. Ids are matched exactly."""

    @abstractmethod
    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        """Return up to `limit` rows of the journal with seq > `after_seq`, in order. Raises RunNotFoundError,
        RunReplacedError."""

    @abstractmethod
    async def requests(self, run_id: str, uid: str) -> Sequence[Posted]:
        """Return the requests in the inbox of a run, whoever owns it, in the order they were posted. Raises
        RunNotFoundError, RunReplacedError."""

    async def identity(self) -> str:
        """Return what tells this store from every other, and from what it was before a backup took its place: a text of
        at most 64 letters, digits, '-' and '_'. It is made with the store, and anew by `restore`; a copy that `backup`
        has written need not have one of its own. Cursors and page tokens hold it, so that none of another store is
        taken for one of this."""
        raise StoreError(self.url, "nothing tells it from other stores")

    async def last_position(self) -> int:
        """Return the position of the last event that was made durable, of whatever run; 0 for a store without any.
        Positions only grow, over all processes and restarts; they have holes."""
        raise StoreError(self.url, "nothing tells in which order the events of all runs came")

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        """Return up to `limit` events of all runs with a position > `after`, in the order in which they became durable,
        which for each run is that of its journal. Events of runs that were removed are left out; those of damaged runs
        are left out or have a `damage`.

        What is returned next never stands before what was returned once: an event that is committed later has a higher
        position."""
        raise StoreError(self.url, "nothing tells in which order the events of all runs came")

    async def read_runs(self, run_ids: Sequence[str], events: int) -> Sequence[FoundRun]:
        """Each of these runs, in this order, with the first `events` rows of its journal and what waits in its inbox;
        for one that is not there, or is damaged, the error that `load` or `read_events` raises.

        The answer ends behind the run that makes it larger than READ_BYTES, so it may be shorter than `run_ids`, by
        all but one. Copies and checks are quick by asking for many runs at once; a backend that does not know how makes
        several calls for each."""
        found: builtins.list[FoundRun] = []
        size = 0
        for run_id in run_ids:
            if size > READ_BYTES:
                break
            try:
                run = await self._read_run(run_id, events)
            except (RunNotFoundError, CorruptStoreError) as error:
                found.append(error)
            else:
                found.append(run)
                size += size_of_rows(run.events)
        return found

    async def _read_run(self, run_id: str, events: int) -> StoredRun:
        """Read one run call by call."""
        while True:
            uid = (await self.load(run_id)).uid
            try:
                waiting = await self.requests(run_id, uid)
                summary = await self.load(run_id)
                rows = await self.read_events(run_id, uid, 0, events) if events else ()
                still = await self.requests(run_id, uid)
            except RunReplacedError:
                continue
            # What was taken in between is in the journal, but perhaps behind the last event of the summary.
            if summary.uid == uid and {each.id for each in waiting} <= {each.id for each in still}:
                return StoredRun(summary, rows, still)

    @abstractmethod
    async def list(
        self, filter: RunFilter, *, order: Order = Order.CREATED, limit: int, page: str | None = None
    ) -> Page:
        """Return one page of the runs that match, newest first. `page` is the `next` of an earlier answer to the same
        filter and order; InvalidNameError for any other."""

    @abstractmethod
    async def due(self, instant: int, limit: int) -> Due:
        """Return up to `limit` runs of this kernel whose `wake_at` is not after `instant`, soonest first.

        Found by an index: it costs what it returns, however many runs wait.
        """

    @abstractmethod
    async def count(self, filter: RunFilter) -> int:
        """Return how many runs match."""

    @abstractmethod
    async def stats(self, since: int, *, workflow: str | None = None) -> Sequence[WorkflowStats]:
        """Return what the runs of each workflow add up to, or those of one, in the order of their names."""

    @abstractmethod
    async def is_alive(self, owner: str) -> bool:
        """True if the kernel of this id is alive right now."""

    async def wait_for_dead_owners(self) -> Sequence[str]:
        """Return the ids of kernels that are not alive any more, once there are some that this handle has not returned
        before; at most a second after they died. One that has closed in good order may be among them.

        The looking costs what there are kernels, however many runs are stored. A backend that does not know its kernels
        never returns: what a dead one leaves is then adopted by the next kernel that opens the store."""
        await anyio.sleep_forever()
        raise AssertionError("it sleeps for ever")

    async def wait_for_doubt(self) -> None:
        """Return once this owner cannot know any more that it counts as alive, before others may think that it is dead.
        Then its kernel ends what it runs. Where a process counts as alive as long as it lives, it never returns."""
        await anyio.sleep_forever()

    async def wait_for_certainty(self) -> bool:
        """Return True once this owner is known to count as alive, False once it counts as dead for good."""
        return True

    def certain_seconds(self) -> float | None:
        """Return for how many seconds from now on this owner surely counts as alive; None where its process does as
        long as it lives. The guardian of its child processes acts then, if that is not renewed."""
        return None

    async def wait_for_renewal(self) -> None:
        """Return once this owner surely counts as alive for longer than before. Where a process counts as alive as long
        as it lives, it never returns."""
        await anyio.sleep_forever()

    async def members(self) -> Sequence[Member]:
        """Return the kernels that work on this store, and those that went not long ago; the newest first. Raises
        StoreError where they are all of one host."""
        raise StoreError(self.url, *NO_FLEET)

    async def drain(self, name: str) -> Sequence[str]:
        """Ask the kernels on a host, or the one with this id, to take no more runs and to hand over those that wait;
        return their ids. They find out with their next heartbeat. Raises StoreError if none lives there, and where they
        are all of one host."""
        raise StoreError(self.url, *NO_FLEET)

    async def wait_for_drain(self) -> None:
        """Return once this owner was asked to drain. Where all owners are on one host it never returns."""
        await anyio.sleep_forever()

    # -- limits of all kernels together (capabilities.shares_limits) ------------------------------------------------

    async def set_fleet_limit(self, name: str, slots: int | None) -> int | None:
        """Have so many steps at once count against a limit in all kernels together, or with None as many as there are;
        return how many it was before. Kernels find out within moments, and with their next heartbeat at the latest.

        A limit that is lowered takes no slot away: none is granted until fewer are held. One that is raised, or
        removed, grants at once to those who wait. Raises StoreError for a store that keeps none."""
        raise StoreError(self.url, *NO_SHARED_LIMITS)

    async def fleet_limits(self) -> Sequence[FleetLimit]:
        """Return the limits of all kernels, by name, with who has their slots and who waits for one. Raises StoreError
        for a store that keeps none."""
        raise StoreError(self.url, *NO_SHARED_LIMITS)

    async def exchange_slots(self, asked: Sequence[SlotRequest], given_back: Collection[int]) -> Slots:
        """Ask for slots, give others back by the numbers of their requests, and return what this owner has then.

        A slot is granted at once while the limit has a free one; otherwise the request stands in line behind all that
        were made before, of whatever owner, until it is granted or given back. What becomes free goes to the first in
        line. A slot is of its owner as long as that is alive, and free once its death is final. A number that was asked
        for before, or given back before, changes nothing, so whoever had no answer does the same again."""
        raise StoreError(self.url, *NO_SHARED_LIMITS)

    async def wait_for_slots(self) -> bool:
        """Return True when `exchange_slots` may have something new for this owner, a slot or a change of the limits;
        False when it is worth a look for one that waits for a slot."""
        await anyio.sleep_forever()
        raise AssertionError("it sleeps for ever")

    @abstractmethod
    async def get_definition(self, digest: str) -> StoredDefinition:
        """Return the stored definition; raises WorkflowNotFoundError."""

    # -- workflows by name ----------------------------------------------------------------------------------------

    async def put_workflow(self, definition: StoredDefinition) -> StoredDefinition | None:
        """Store a definition under the name of its workflow, in the place of what was there, which is returned; durable
        on return. Its digest is that of its text. Runs keep the definitions that they have stored themselves."""
        raise StoreError(self.url, "it keeps no workflows by name")

    async def get_workflow(self, name: str) -> StoredDefinition:
        """Return what is stored under the name of a workflow, by whatever process; raises WorkflowNotFoundError."""
        raise WorkflowNotFoundError(name, ())

    async def stored_workflows(self) -> Sequence[StoredDefinition]:
        """Return every definition that is stored under the name of its workflow, in the order of the names."""
        return ()

    async def delete_workflow(self, name: str) -> None:
        """Remove what is stored under the name of a workflow, durable on return; raises WorkflowNotFoundError."""
        raise WorkflowNotFoundError(name, ())

    # -- keeping the store ----------------------------------------------------------------------------------------

    @abstractmethod
    async def integrity(self) -> Sequence[Problem]:
        """Everything that is wrong with what the store is made of: damaged files, rows that contradict each other. What
        journals say is looked at by `flujo.kernel.checking`, the same for all backends."""

    async def integrity_beside_runs(self) -> Sequence[Problem]:
        """What `integrity` finds, less what is found by whoever reads every run by `list` and `read_runs`, and every
        definition that one names: a check does that anyway. A backend that does not tell them apart finds all."""
        return await self.integrity()

    @abstractmethod
    async def backup(self, target: Path) -> int:
        """Write a copy of the whole store, of one moment, to `target`, which must not exist; the bytes it takes. The
        copy opens as a store of this backend and is durable on return. Runs go on meanwhile.

        Raises StoreExistsError, and StoreError for a backend that keeps nothing (`capabilities.durable`)."""

    async def restore(self, backup: Path, *, force: bool = False) -> int:
        """Put a copy that `backup` has written into the place of this store, and return its bytes. The handle is not
        open, before or after. The copy is read through first and stays as it is; there is the old store or the new
        one at any time. No owner of a run is alive in the new one, and no kernel that was can commit to it.

        Raises StoreExistsError if a store is there, unless `force` asks to replace it; what it was is then kept beside
        it, as NAME.replaced. Raises StoreInUseError while a kernel has it open, ForeignStoreError if something else is
        there, CorruptStoreError for a damaged copy, StoreNotFoundError if there is no copy, and StoreError for a handle
        that is open and for a backend that cannot do this (`capabilities.restorable`)."""
        raise StoreError(self.url, "flujo cannot restore a store of this kind", ["use the tools of the database"])

    @abstractmethod
    async def details(self) -> Mapping[str, Any]:
        """Return what an operator wants to know of this store: sizes, settings, versions, known defects of what it
        stands on. JSON values under names of the backend's own."""
