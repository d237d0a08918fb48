"""Runs in memory: the reference implementation of the port, and the double that tests and simulations use.

A `MemoryStore` is the place; each `InMemoryBackend` is one opened handle on it, as each process is on a shared file. A
handle is alive while it is open. `kill()` ends it as a crash ends a process: its runs become claimable at that
instant, and whatever its kernel still tries is refused. There are no threads, timers or polls, so it runs on asyncio,
on trio and under a virtual clock.

Every call passes one scheduling point *before* it looks at the store and none after, as if it had waited for a disk:
a cancelled call has done nothing, and one that has begun to act completes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from pathlib import Path
from socket import gethostname
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import anyio
from anyio.lowlevel import checkpoint

from flujo.kernel.backend import (
    Capabilities,
    Change,
    ClaimedRun,
    Commit,
    Due,
    EventRow,
    FleetLimit,
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
    SlotUse,
    StateBackend,
    StoredDefinition,
    WorkflowStats,
    keep_fixed_columns,
    refusal,
)
from flujo.kernel.checked_calls import check_argument
from flujo.kernel.errors import (
    RunActiveError,
    RunFinishedError,
    RunNotFoundError,
    RunReplacedError,
    StoreError,
    StoreNotFoundError,
    StoreUrlError,
    WorkflowNotFoundError,
)
from flujo.kernel.state import FINAL, RunStatus

from .pages import page_position, page_token, place
from .selection import Families, chooser, matches, overlapping, prunable, tally


@dataclass(slots=True)
class _Run:
    summary: RunSummary
    events: list[EventRow]  # events[n] has seq n + 1


class _Stretch(NamedTuple):
    """The events of one commit in the order of all events: the position and the number of the first, and how many."""

    position: int
    run: _Run
    seq: int
    length: int


@dataclass(slots=True)
class _Slot:
    """A request for a slot of a fleet's limit, in the order of asking."""

    owner: str
    request: SlotRequest
    is_granted: bool
    since: float


@dataclass(slots=True)
class MemoryStore:
    """What a disk would hold, shared by the handles opened on it. Only `InMemoryBackend` looks inside."""

    created: bool = False
    identity: str = field(default_factory=lambda: uuid4().hex)
    runs: dict[str, _Run] = field(default_factory=dict)  # by lower-case id: ids are unique regardless of case
    order: list[tuple[int, str]] = field(default_factory=list)  # (created_at, run_id) of every run, ascending
    positions: int = 0  # the last one given out
    changes: list[_Stretch] = field(default_factory=list)  # every event of every run, ascending
    inbox: dict[int, Posted] = field(default_factory=dict)  # in the order of posting
    definitions: dict[str, StoredDefinition] = field(default_factory=dict)
    workflows: dict[str, StoredDefinition] = field(default_factory=dict)  # by name
    alive: set[str] = field(default_factory=set)  # the owners whose handles are open
    dead: list[str] = field(default_factory=list)  # the owners whose handles have ended, in this order
    limits: dict[str, int] = field(default_factory=dict)  # of all kernels together, by name
    slots: dict[tuple[str, int], _Slot] = field(default_factory=dict)  # by owner and number, in the order of asking
    moves: int = 0  # how often somebody's slots, or a limit, have changed by what another one did
    posts: int = 0  # requests ever posted; also the id of the last one
    wakers: set[anyio.Event] = field(default_factory=set)  # set by the next post, and by the end of a handle

    def wake(self) -> None:
        """Let every `wait_for_posts` and `wait_for_dead_owners` look again."""
        for event in self.wakers:
            event.set()
        self.wakers.clear()


class InMemoryBackend(StateBackend):
    """One handle on a `MemoryStore`, by default on a new one of its own."""

    url = "memory:"
    capabilities = Capabilities(durable=False, several_processes=False, shares_limits=True)

    def __init__(self, store: MemoryStore | None = None) -> None:
        check_argument("store", MemoryStore | None, store)
        self.store = MemoryStore() if store is None else store
        self._owner: str | None = None
        self._unusable: str | None = "it is not open"
        self._seen = 0  # `store.posts` at the last take
        self._seen_moves = 0  # `store.moves` at the last exchange of slots
        self._seen_dead = 0  # how many of `store.dead` were returned

    # -- opening ------------------------------------------------------------------------------------------------

    async def open(self, owner: str | None) -> None:
        await checkpoint()
        if self._unusable is None:
            raise StoreError(self.url, "this handle is open already")
        if owner is None and not self.store.created:
            raise StoreNotFoundError(self.url)
        if owner in self.store.alive:
            raise StoreError(self.url, f"another handle is open as {owner!r}")
        if owner is not None:
            self.store.created = True
            self.store.alive.add(owner)
        self._owner = owner
        self._unusable = None

    async def close(self) -> None:
        self._end("it is closed")

    def kill(self) -> None:
        """Die at this instant: the owner counts as dead, and nothing this handle does from now on reaches the store."""
        self._end("its process was killed")

    def _end(self, problem: str) -> None:
        if self._unusable is None:
            self._unusable = problem
            if self._owner is not None:
                self.store.alive.discard(self._owner)
                self.store.dead.append(self._owner)
                self._free_slots([key for key in self.store.slots if key[0] == self._owner])
            self.store.wake()

    # -- writing ------------------------------------------------------------------------------------------------

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        await self._enter()
        self._require_owner()
        refused: dict[str, Refused] = {}
        for commit in commits:
            _require_well_formed(commit)
        blocked = overlapping(commits, self._uids_of)
        for commit in commits:
            refusal = self._create(commit, blocked) if commit.expected_seq == 0 else self._extend(commit, blocked)
            if refusal is not None:
                refused[commit.uid] = refusal
                continue
            for id in commit.taken:
                self.store.inbox.pop(id, None)
            if commit.definition is not None:
                self.store.definitions.setdefault(commit.definition.digest, commit.definition)
        return refused

    def _uids_of(self, filter: RunFilter) -> Iterator[str]:
        return (run.uid for run in self._summaries() if matches(filter, run))

    def _create(self, commit: Commit, blocked: Collection[str]) -> Refused | None:
        key = commit.run_id.lower()
        if key in self.store.runs:
            return Refused.EXISTS
        if commit.uid in blocked:
            return Refused.OVERLAPS
        self.store.runs[key] = run = _Run(commit.summary, list(commit.rows))
        self._place(run, commit)
        insort(self.store.order, (commit.summary.created_at, commit.run_id))
        return None

    def _extend(self, commit: Commit, blocked: Collection[str]) -> Refused | None:
        run = self._find(commit.run_id)
        if run is None:
            return refusal(None, commit)
        stored = run.summary
        if (stored.uid, stored.token, stored.seq) != (commit.uid, commit.token, commit.expected_seq):
            return refusal((stored.uid, stored.token, stored.seq), commit)
        if commit.uid in blocked:
            return Refused.OVERLAPS
        run.summary = keep_fixed_columns(stored, commit.summary)
        run.events.extend(commit.rows)
        self._place(run, commit)
        return None

    def _place(self, run: _Run, commit: Commit) -> None:
        """Give the events of a commit their positions."""
        store, length = self.store, len(commit.rows)
        store.changes.append(_Stretch(store.positions + 1, run, commit.expected_seq + 1, length))
        store.positions += length

    async def claim(self, run_id: str) -> RunSummary:
        await self._enter()
        owner = self._require_owner()
        run = self._require_run(run_id)
        self._require_idle(run.summary)
        claimed = ClaimedRun.by(owner, run.summary)
        run.summary = RunSummary._make(claimed)
        self._seen = -1  # the run may have come with requests, also for a wait that is under way
        self.store.wake()
        return claimed

    async def claim_idle(
        self, statuses: Sequence[str], workflows: Sequence[str], limit: int, *, owner: str | None = None
    ) -> Sequence[RunSummary]:
        await self._enter()
        heir = self._require_owner()
        claimed: list[RunSummary] = []
        for _, run_id in self.store.order:
            if len(claimed) >= limit:
                break
            run = self.store.runs[run_id.lower()]
            found = run.summary
            is_known = found.definition is not None or found.workflow in workflows
            is_idle = found.owner not in self.store.alive and owner in (None, found.owner)
            if found.status in statuses and is_known and is_idle:
                claimed.append(ClaimedRun.by(heir, found))
                run.summary = RunSummary._make(claimed[-1])
        if claimed:
            self._seen = -1
            self.store.wake()
        return claimed

    async def release(self, uids: Sequence[str] | None) -> None:
        await self._enter()
        owner = self._require_owner()
        for run in self.store.runs.values():
            if run.summary.owner == owner and (uids is None or run.summary.uid in uids):
                run.summary = run.summary._replace(owner=None)

    async def delete(self, run_id: str, uid: str) -> None:
        await self._enter()
        run = self._require_run(run_id)
        if run.summary.uid != uid:
            raise RunNotFoundError(run_id, self.url)
        self._require_idle(run.summary)
        self._remove(run.summary)

    async def prune(self, filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        await self._enter()
        chosen: list[RunSummary] = []
        more = False
        for family in prunable(filter, self._summaries(), self._families(), self.store.alive.__contains__):
            more = len(chosen) >= limit
            if more and not dry_run:
                break
            chosen += family
        size = sum(self._size(summary) for summary in chosen)
        if dry_run:
            return Removal(chosen[:limit], len(chosen), size, len(chosen) > limit)
        for summary in chosen:
            self._remove(summary)
        return Removal(chosen, len(chosen), size, more)

    def _families(self) -> Families:
        def find(run_id: str) -> RunSummary | None:
            run = self._find(run_id)
            return None if run is None else run.summary

        children: defaultdict[str | None, list[RunSummary]] = defaultdict(list)
        for run in self._summaries():
            children[run.parent_run_id].append(run)
        return Families(find, lambda parent: children.get(parent, ()))

    def _size(self, summary: RunSummary) -> int:
        events = self.store.runs[summary.run_id.lower()].events
        return sum(len(row.body.encode()) + len((row.payload or "").encode()) for row in events)

    def _remove(self, summary: RunSummary) -> None:
        gone = self.store.runs[summary.run_id.lower()]
        del self.store.runs[summary.run_id.lower()]  # as whoever looks on (tests/simulation) expects
        self.store.changes = [stretch for stretch in self.store.changes if stretch.run is not gone]
        del self.store.order[bisect_left(self.store.order, (summary.created_at, summary.run_id))]
        for posted in [posted for posted in self.store.inbox.values() if posted.uid == summary.uid]:
            del self.store.inbox[posted.id]

    # -- the inbox ----------------------------------------------------------------------------------------------

    async def post(self, run_id: str, request: Request) -> RunSummary:
        await self._enter()
        summary = self._require_run(run_id).summary
        if summary.status in FINAL:
            raise RunFinishedError(run_id, summary.status)
        self.store.posts += 1
        self.store.inbox[self.store.posts] = Posted(self.store.posts, summary.uid, request)
        self.store.wake()
        return summary

    async def take(self) -> Sequence[Posted]:
        await self._enter()
        owner = self._require_owner()
        self._seen = self.store.posts
        if not self.store.inbox:
            return []
        mine = {run.summary.uid for run in self.store.runs.values() if run.summary.owner == owner}
        return [posted for posted in self.store.inbox.values() if posted.uid in mine]

    async def discard(self, run_id: str, uid: str, ids: Collection[int]) -> None:
        await self._enter()
        for id in ids:
            if (posted := self.store.inbox.get(id)) is not None and posted.uid == uid:
                del self.store.inbox[id]

    async def paused_with(self, kind: str) -> Sequence[tuple[str, str]]:
        await self._enter()
        asked = {posted.uid for posted in self.store.inbox.values() if posted.request.kind == kind}
        if not asked:
            return []
        idle = (run.summary for run in self.store.runs.values() if run.summary.owner is None)
        return [(run.run_id, run.uid) for run in idle if run.uid in asked and run.status == RunStatus.PAUSED]

    async def wait_for_posts(self) -> None:
        await self._enter()
        self._require_owner()
        while self._seen >= self.store.posts:
            await self._woken()
            self._require_usable()
        self._seen = self.store.posts

    # -- limits of all kernels together ---------------------------------------------------------------------------

    async def set_fleet_limit(self, name: str, slots: int | None) -> int | None:
        await self._enter()
        before = self.store.limits.pop(name, None)
        if slots is not None:
            self.store.limits[name] = slots
        self.store.moves += 1
        self._grant([name])
        self.store.wake()
        return before

    async def fleet_limits(self) -> Sequence[FleetLimit]:
        await self._enter()
        found: dict[tuple[str, bool], list[SlotUse]] = defaultdict(list)
        for each in self.store.slots.values():
            _, limit, run_id, uid, step = each.request
            use = SlotUse(each.owner, gethostname(), run_id, uid, step, monotonic() - each.since)
            found[limit, each.is_granted].append(use)
        return [
            FleetLimit(name, slots, found[name, True], found[name, False])
            for name, slots in sorted(self.store.limits.items())
        ]

    async def exchange_slots(self, asked: Sequence[SlotRequest], given_back: Collection[int]) -> Slots:
        await self._enter()
        owner = self._require_owner()
        self._seen_moves = self.store.moves
        needless = [each.number for each in asked if each.limit not in self.store.limits]
        for each in asked:
            if each.limit in self.store.limits:
                self.store.slots.setdefault((owner, each.number), _Slot(owner, each, False, monotonic()))
        self._grant({each.limit for each in asked})
        self._free_slots([(owner, number) for number in given_back])
        granted = [number for (holder, number), slot in self.store.slots.items() if holder == owner and slot.is_granted]
        return Slots(dict(self.store.limits), [*needless, *granted])

    async def wait_for_slots(self) -> bool:
        await self._enter()
        self._require_owner()
        while self._seen_moves >= self.store.moves:
            await self._woken()
            self._require_usable()
        self._seen_moves = self.store.moves
        return True

    def _free_slots(self, keys: Sequence[tuple[str, int]]) -> None:
        gone = [slot for key in keys if (slot := self.store.slots.pop(key, None)) is not None]
        self._grant({slot.request.limit for slot in gone})

    def _grant(self, limits: Collection[str]) -> None:
        """Give the free slots of these limits to the first in line."""
        for limit in limits:
            slots = [slot for slot in self.store.slots.values() if slot.request.limit == limit]
            line = [slot for slot in slots if not slot.is_granted]
            size = self.store.limits.get(limit, len(slots))
            for slot in line[: max(0, size - (len(slots) - len(line)))]:
                slot.is_granted, slot.since = True, monotonic()
                if slot.owner != self._owner:
                    self.store.moves += 1
                    self.store.wake()

    # -- reading ------------------------------------------------------------------------------------------------

    async def load(self, run_id: str) -> RunSummary:
        await self._enter()
        return self._require_run(run_id).summary

    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        await self._enter()
        run = self._require_run(run_id)
        if run.summary.uid != uid:
            raise RunReplacedError(run_id)
        return run.events[after_seq : after_seq + limit]

    async def identity(self) -> str:
        await self._enter()
        return self.store.identity

    async def last_position(self) -> int:
        await self._enter()
        return self.store.positions

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        await self._enter()
        start = bisect_right(self.store.changes, after, key=attrgetter("position"))
        each_event = (
            Change(stretch.position + index, run.summary.run_id, run.summary.uid, run.events[stretch.seq - 1 + index])
            for stretch in islice(self.store.changes, max(0, start - 1), None)
            for run in (stretch.run,)
            for index in range(stretch.length)
            if stretch.position + index > after
        )
        return list(islice(each_event, limit))

    async def requests(self, run_id: str, uid: str) -> Sequence[Posted]:
        await self._enter()
        if self._require_run(run_id).summary.uid != uid:
            raise RunReplacedError(run_id)
        return [posted for posted in self.store.inbox.values() if posted.uid == uid]

    async def list(
        self, filter: RunFilter, *, order: Order = Order.CREATED, limit: int, page: str | None = None
    ) -> Page:
        await self._enter()
        below = None if page is None else page_position(self.store.identity, filter, order, page)
        runs: Iterator[RunSummary]
        if order is Order.CREATED:
            runs = self._newest_first(len(self.store.order) if below is None else bisect_left(self.store.order, below))
        else:
            rest = (run for run in self._summaries() if below is None or place(order, run) < below)
            runs = iter(sorted(rest, key=lambda run: place(order, run), reverse=True))
        fits = chooser(filter)
        found = list(islice((run for run in runs if fits(run)), limit + 1))
        if len(found) <= limit:
            return Page(found, None)
        return Page(found[:limit], page_token(self.store.identity, filter, order, found[limit - 1]))

    async def due(self, instant: int, limit: int) -> Due:
        await self._enter()
        owner = self._require_owner()
        waiting = sorted(
            (run.summary.wake_at, run.summary.run_id)
            for run in self.store.runs.values()
            if run.summary.owner == owner and run.summary.wake_at is not None
        )
        ready = [self.store.runs[run_id.lower()].summary for wake_at, run_id in waiting if wake_at <= instant][:limit]
        return Due(ready, waiting[len(ready)][0] if len(ready) < len(waiting) else None)

    async def count(self, filter: RunFilter) -> int:
        await self._enter()
        return sum(map(chooser(filter), self._summaries()))

    async def stats(self, since: int, *, workflow: str | None = None) -> Sequence[WorkflowStats]:
        await self._enter()
        return tally((run for run in self._summaries() if workflow in (None, run.workflow)), since)

    async def is_alive(self, owner: str) -> bool:
        await self._enter()
        return owner in self.store.alive

    async def wait_for_dead_owners(self) -> Sequence[str]:
        await self._enter()
        while self._seen_dead >= len(self.store.dead):
            await self._woken()
        found, self._seen_dead = self.store.dead[self._seen_dead :], len(self.store.dead)
        return [owner for owner in found if owner not in self.store.alive]

    async def _woken(self) -> None:
        """Return when something was posted, or a handle has ended."""
        event = anyio.Event()
        self.store.wakers.add(event)
        try:
            await event.wait()
        finally:
            self.store.wakers.discard(event)

    async def get_definition(self, digest: str) -> StoredDefinition:
        await self._enter()
        try:
            return self.store.definitions[digest]
        except KeyError:
            raise WorkflowNotFoundError(digest, ()) from None

    async def put_workflow(self, definition: StoredDefinition) -> StoredDefinition | None:
        await self._enter()
        before = self.store.workflows.get(definition.workflow)
        self.store.workflows[definition.workflow] = definition.of_its_text()
        return before

    async def get_workflow(self, name: str) -> StoredDefinition:
        await self._enter()
        try:
            return self.store.workflows[name]
        except KeyError:
            raise WorkflowNotFoundError(name, ()) from None

    async def stored_workflows(self) -> Sequence[StoredDefinition]:
        await self._enter()
        return sorted(self.store.workflows.values(), key=attrgetter("workflow"))

    async def delete_workflow(self, name: str) -> None:
        await self._enter()
        if self.store.workflows.pop(name, None) is None:
            raise WorkflowNotFoundError(name, ())

    # -- keeping the store ----------------------------------------------------------------------------------------

    async def integrity(self) -> Sequence[Problem]:
        await self._enter()
        return []

    async def backup(self, target: Path) -> int:
        await self._enter()
        raise StoreError(self.url, "it ends with its process, so there is nothing to keep", ["--store sqlite:PATH"])

    async def details(self) -> Mapping[str, Any]:
        await self._enter()
        return {"runs": len(self.store.runs), "events": sum(len(run.events) for run in self.store.runs.values())}

    # -- what the calls above require -----------------------------------------------------------------------------

    async def _enter(self) -> None:
        self._require_usable()
        await checkpoint()
        self._require_usable()  # it may have been killed meanwhile

    def _require_usable(self) -> None:
        if self._unusable is not None:
            raise StoreError(self.url, self._unusable)

    def _require_owner(self) -> str:
        if self._owner is None:
            raise StoreError(self.url, "it was opened without an owner, so it cannot advance runs")
        return self._owner

    def _find(self, run_id: str) -> _Run | None:
        run = self.store.runs.get(run_id.lower())
        return run if run is not None and run.summary.run_id == run_id else None

    def _require_run(self, run_id: str) -> _Run:
        run = self._find(run_id)
        if run is None:
            raise RunNotFoundError(run_id, self.url)
        return run

    def _require_idle(self, summary: RunSummary) -> None:
        if summary.owner is not None and summary.owner in self.store.alive:
            raise RunActiveError(summary.run_id, summary.owner)

    def _summaries(self) -> Iterator[RunSummary]:
        return (run.summary for run in self.store.runs.values())

    def _newest_first(self, end: int) -> Iterator[RunSummary]:
        for position in range(end - 1, -1, -1):
            yield self.store.runs[self.store.order[position][1].lower()].summary


def open_memory(url: str) -> InMemoryBackend:
    """Return the factory behind `memory:`; every call makes a new, private store. Raises StoreUrlError."""
    if url != "memory:":
        raise StoreUrlError(url, "memory: takes no path and no options")
    return InMemoryBackend()


def _require_well_formed(commit: Commit) -> None:
    """Refuse what only a bug in the kernel can ask for, here, where its tests run."""
    last = commit.expected_seq
    for row in commit.rows:
        last += 1
        if row.seq != last:
            numbers = [row.seq for row in commit.rows]
            raise ValueError(f"the events of {commit.run_id!r} do not follow {commit.expected_seq}: {numbers}")
    told, summary = (commit.run_id, commit.uid, commit.token, last), commit.summary
    if told != (summary.run_id, summary.uid, summary.token, summary.seq):
        raise ValueError(f"the summary of {commit.run_id!r} does not belong to its commit: {told}")
