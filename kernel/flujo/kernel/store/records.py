"""What the port takes and gives: definitions, commits and why they are refused, requests, filters, pages and findings.

All are plain values. `StateBackend` says which call takes what (backend.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple, Self

from flujo.kernel.errors import CorruptStoreError, RunNotFoundError
from flujo.kernel.journal.rows import EventRow
from flujo.kernel.journal.state import UNFINISHED
from flujo.kernel.journal.summaries import RunSummary

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


class ClaimedRun(RunSummary):
    """A run as a claim has made it: like its summary, with the owner before that has not given it up, but died."""

    former_owner: str | None = None

    @classmethod
    def of(cls, summary: RunSummary, former_owner: str | None) -> Self:
        """Return a run that is claimed, with the owner that it had; None if nobody had it."""
        claimed = cls._make(summary)
        claimed.former_owner = former_owner
        return claimed

    @classmethod
    def by(cls, owner: str | None, found: RunSummary) -> Self:
        """Return what the claim of a run as it was found makes of it."""
        return cls.of(found._replace(owner=owner, token=found.token + 1), found.owner)


FIXED_COLUMNS = ("run_id", "uid", "token", "workflow", "labels", "created_at", "parent_run_id")
"""The columns of a summary that only the creation of a run sets. A later commit leaves them as they are stored,
whatever its own summary says, since listings rely on them; a claim raises the token."""

_FIXED_PLACES = tuple(map(RunSummary._fields.index, FIXED_COLUMNS))
_fixed = itemgetter(*_FIXED_PLACES)


def keep_fixed_columns(stored: RunSummary, summary: RunSummary) -> RunSummary:
    """Return what a commit with this summary makes of a stored one: nearly always the summary itself."""
    if _fixed(stored) == _fixed(summary):
        return summary
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
    shares_limits: bool = False  # keeps limits that all its kernels count against together
