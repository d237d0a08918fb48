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
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio

from flujo.kernel.errors import (
    CorruptStoreError,
    RunNotFoundError,
    RunReplacedError,
    StoreError,
    WorkflowNotFoundError,
)
from flujo.kernel.journal.rows import EventRow
from flujo.kernel.journal.state import UNFINISHED
from flujo.kernel.journal.summaries import RunSummary, WorkflowStats

from .fleet import Member

SHA256 = re.compile(r"[0-9a-f]{64}")


class StoredDefinition(NamedTuple):
    """The text of a definition under its digest; the same digest is always the same text."""

    digest: str
    workflow: str
    version: str | None
    text: str

    @property
    def is_genuine(self) -> bool:
        """False for a text that its digest contradicts: every run of that digest would execute it. A digest that is no
        SHA-256, as of a definition from elsewhere, says nothing."""
        return SHA256.fullmatch(self.digest) is None or self.of_its_text().digest == self.digest

    def of_its_text(self) -> StoredDefinition:
        """Return the same text under the digest that it has."""
        return self._replace(digest=sha256(self.text.encode()).hexdigest())

    def under_its_name(self) -> StoredDefinition:
        """Return the same text under a key that its workflow's name makes: how a backend may keep what
        `put_workflow` stores among its definitions."""
        return self._replace(digest=workflow_key(self.workflow))


WORKFLOW_KEYS = "workflow-"
"""How the keys of definitions begin that are stored under the names of their workflows; a digest is hexadecimal."""


def workflow_key(name: str) -> str:
    """Return the key of the definition that is stored under the name of a workflow."""
    return WORKFLOW_KEYS + sha256(name.encode()).hexdigest()


class Commit(NamedTuple):
    """Some events of one run, with the summary they lead to: all of it becomes durable, or none.

    `expected_seq` is the last event before these; 0 creates the run. `taken` are the ids of inbox requests these events
    answer, removed in the same breath. `definition` is stored, if it is not there yet, together with a creation.

    With `alone_from` it is refused while another run of the same workflow, one that was created at that instant or
    later, is not final: in the store as the batch finds it, or with an earlier commit of the batch.
    """

    run_id: str
    uid: str
    token: int
    expected_seq: int
    rows: Sequence[EventRow]
    summary: RunSummary
    taken: Sequence[int] = ()
    definition: StoredDefinition | None = None
    alone_from: int | None = None


FIXED_COLUMNS = ("run_id", "uid", "token", "workflow", "labels", "created_at", "parent_run_id")
"""The columns of a summary that only the creation of a run sets. A later commit leaves them as they are stored,
whatever its own summary says, since listings rely on them; a claim raises the token."""

_FIXED_PLACES = tuple(map(RunSummary._fields.index, FIXED_COLUMNS))


def keep_fixed_columns(stored: RunSummary, summary: RunSummary) -> RunSummary:
    """Return what a commit with this summary makes of a stored one. Called for every commit, so by position."""
    columns = list(summary)
    for place in _FIXED_PLACES:
        columns[place] = stored[place]
    return RunSummary._make(columns)


class Refused(StrEnum):
    """Why a commit was not made. The other commits of its batch stand."""

    EXISTS = "exists"
    """A creation, but the run id is taken (ids are unique regardless of case)."""

    STALE = "stale"
    """The run is gone, or has another uid, token or last event: this kernel does not own it any more."""

    REWOUND = "rewound"
    """The run is there with an earlier token or an earlier last event than this kernel was told is durable: the store
    has forgotten commits, as a replica that was promoted before it had them all, or a restored backup."""

    OVERLAPS = "overlaps"
    """A commit with `alone_from`, and another run of its workflow is not final. A creation whose id is taken is refused
    for that first."""


def refusal(stored: tuple[str, int, int] | None, commit: Commit) -> Refused:
    """Return why a commit is refused to a run that is stored with this uid, token and last event; None if it is
    gone."""
    if stored is None or stored[0] != commit.uid:
        return Refused.STALE
    return Refused.REWOUND if stored[1:] < (commit.token, commit.expected_seq) else Refused.STALE


def in_the_way_of(commit: Commit) -> RunFilter:
    """Return what finds the runs that a commit with `alone_from` is refused for; one of them may be its own."""
    return RunFilter(statuses=UNFINISHED, workflow=commit.summary.workflow, created_from=commit.alone_from)


class Request(NamedTuple):
    """What somebody who does not own a run asks of its owner."""

    kind: str  # a name in journal/requests.py's REQUEST_KINDS, or one of a newer release
    body: str  # JSON text of an object
    at: int


class Posted(NamedTuple):
    """A request in the inbox of a run; it stays there until a commit names its id in `taken`."""

    id: int
    uid: str
    request: Request


class StoredRun(NamedTuple):
    """One run as it stood at one moment. Of a run that goes on, events behind the last one of its summary may be there
    already; no request is missing that these events have not answered."""

    summary: RunSummary
    events: Sequence[EventRow]  # the first ones of its journal, as many as were asked for at most
    requests: Sequence[Posted]


FoundRun = StoredRun | RunNotFoundError | CorruptStoreError
"""A run that was asked for with others, or why there is none."""

READ_BYTES = 1024 * 1024
"""How much an answer of `read_runs` holds before it ends. Whoever is cancelled waits for no more than reading and
looking at so much, some ten milliseconds."""

_ROW_BYTES = 128  # what a row takes beside its texts


def size_of_rows(rows: Sequence[EventRow]) -> int:
    """Return about how many bytes some rows of a journal take in memory."""
    return sum(_ROW_BYTES + len(row.body) + len(row.payload or "") for row in rows)


class RunFilter(NamedTuple):
    """Which runs; every part that is given must match. An empty filter matches all runs.

    Ranges hold their `from` and not their `before`; a run that has no such instant yet is in none of them."""

    statuses: Sequence[str] = ()
    workflow: str | None = None
    id_prefix: str | None = None
    labels: Sequence[tuple[str, str]] = ()
    created_from: int | None = None
    created_before: int | None = None
    updated_from: int | None = None
    updated_before: int | None = None  # with the statuses of runs that go on: those that have not moved since
    finished_from: int | None = None
    finished_before: int | None = None
    settled_before: int | None = None  # finished_at, or updated_at of a paused run, lies before this instant
    failed_step: str | None = None
    parent: str | None = None  # the id of the run that started it
    owner: str | None = None


SAME_VALUE: Mapping[str, str] = {
    "workflow": "workflow",
    "failed_step": "failed_step",
    "parent": "parent_run_id",
    "owner": "owner",
}
"""The parts of a filter that ask for one value of a column of the summary, and that column. Every backend does what
stands here, so that such a part is added in this file and not in each of them."""


class Order(StrEnum):
    """How a listing is sorted; always the newest first, and by run id where instants are equal."""

    CREATED = "created"
    """By `created_at`."""

    UPDATED = "updated"
    """By `updated_at`. A run that moves while its pages are read may show up twice, or not on the rest of them."""


class Page(NamedTuple):
    """Runs in the order that was asked for; `next` asks for the following page, None means there is none."""

    runs: Sequence[RunSummary]
    next: str | None


class Change(NamedTuple):
    """An event of any run, and where it stands among those of all runs."""

    position: int
    run_id: str
    uid: str
    row: EventRow

    damage: str | None = None
    """Why `row` is not what was written, and must not be used. It is handed on all the same, so that a page of nothing
    but damage does not look like the end."""


class Due(NamedTuple):
    """Runs of one kernel whose time has come, soonest first, and the instant of the next one behind them, if any."""

    runs: Sequence[RunSummary]
    next: int | None


class Removal(NamedTuple):
    """What a prune has removed, or would remove."""

    runs: Sequence[RunSummary]
    """The runs that went, the longest settled first and every run before those it has started. Of a dry run, the first
    `limit` of those that would go."""

    total: int
    """How many went, or would go in all."""

    bytes: int
    """What their journals took in this store, in bytes; indexes and the like are not counted."""

    more: bool
    """Whether there may be more to remove."""


class Problem(NamedTuple):
    """Something that is wrong in a store."""

    run_id: str | None
    """The run it is about; None for the store as a whole."""

    text: str


class Capabilities(NamedTuple):
    """What a backend declares, so that callers and the conformance suite adapt instead of guessing."""

    durable: bool  # survives the process
    several_processes: bool  # may be opened by several processes at once
    event_loops: Sequence[str] = ("asyncio", "trio")
    restorable: bool = False  # `restore` puts a copy that `backup` has made into the place of a store
    backs_up: bool = True  # `backup` copies a durable store; otherwise the tools of its database do, and it says so
    several_hosts: bool = False  # those processes may be on several hosts, and share what has to be done
    lease_seconds: float | None = None  # without its store for so long, an owner is dead; None: its process counts
    listed_directly: bool = False  # opened without an owner, `list`, `count` and `is_alive` need no event loop


NO_FLEET = ("its kernels are all of one host", ("flujoctl db info", "docs/many-hosts.md  # tells of fleets"))


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
        """Become the owner of a run whose owner is gone: the token grows by one, durably, before this returns.

        Raises RunNotFoundError, or RunActiveError when a live owner has it (also when that is this kernel itself).
        Nobody has to be alive for a run without an owner.
        """

    @abstractmethod
    async def claim_idle(
        self, statuses: Sequence[str], workflows: Sequence[str], limit: int, *, owner: str | None = None
    ) -> Sequence[RunSummary]:
        """Become the owner of up to `limit` runs in one of these statuses whose owner is gone, oldest first, as `claim`
        does for one of them; returns them as they are then.

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

        They stay until a commit lists them as taken, so a crash in between loses none.
        """

    @abstractmethod
    async def wait_for_posts(self) -> None:
        """Return when `take` may have something new, at most 250 ms after it was posted; spurious returns are
        allowed."""

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
