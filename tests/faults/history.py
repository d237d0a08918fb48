"""What a writer does to a store, one operation after another, and what the store has to hold then.

A history is drawn from a seed, so whoever looks at a store knows what its writer was doing when it died: the number of
operations that were acknowledged tells what has to be there. Of the operation after those every run may be as before or
as after it, and as nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from random import Random
from typing import Any, NamedTuple

from flujo.kernel.backend import Commit, Request, RunFilter, RunSummary, StateBackend, StoredDefinition
from flujo.kernel.events import EventRow
from flujo.kernel.state import FINAL

RUNS_AT_ONCE = 8
ALL = 1_000
PAYLOADS = (0, 0, 20, 300, 5_000, 40_000)  # bytes: within a page, several of them, and nothing
DEFINITION = StoredDefinition("digest", "report", "1", "name: report\nsteps: []\n")


class Kept(NamedTuple):
    """What a store holds of a run."""

    summary: RunSummary
    rows: tuple[EventRow, ...]
    requests: tuple[int, ...]
    """The instants of its open requests, each of which is a number of an operation."""


Holding = Mapping[str, Kept]
"""What a store holds, by run id."""


class Append(NamedTuple):
    """Some commits at once. That of the run `answers` takes all requests of the run."""

    commits: tuple[Commit, ...]
    answers: str | None

    async def perform(self, handle: StateBackend) -> None:
        """Do it."""
        commits = [await self._completed(handle, commit) for commit in self.commits]
        assert await handle.append(commits) == {}

    async def _completed(self, handle: StateBackend, commit: Commit) -> Commit:
        if commit.run_id != self.answers:
            return commit
        return commit._replace(taken=[each.id for each in await handle.requests(commit.run_id, commit.uid)])

    def after(self, held: Holding) -> Holding:
        """What is held once it is done."""
        return {**held, **{commit.run_id: self._kept(held.get(commit.run_id), commit) for commit in self.commits}}

    def _kept(self, before: Kept | None, commit: Commit) -> Kept:
        if before is None:
            return Kept(commit.summary, tuple(commit.rows), ())
        requests = () if commit.run_id == self.answers else before.requests
        return Kept(commit.summary, (*before.rows, *commit.rows), requests)


class Post(NamedTuple):
    """A request to a run."""

    run_id: str
    number: int

    async def perform(self, handle: StateBackend) -> None:
        """Do it."""
        await handle.post(self.run_id, Request("signal", '{"name":"go"}', self.number))

    def after(self, held: Holding) -> Holding:
        """What is held once it is done."""
        run = held[self.run_id]
        return {**held, self.run_id: run._replace(requests=(*run.requests, self.number))}


class Delete(NamedTuple):
    """The end of a run that nobody owns."""

    run_id: str
    uid: str

    async def perform(self, handle: StateBackend) -> None:
        """Do it."""
        await handle.delete(self.run_id, self.uid)

    def after(self, held: Holding) -> Holding:
        """What is held once it is done."""
        return {run_id: run for run_id, run in held.items() if run_id != self.run_id}


class Claim(NamedTuple):
    """A run that nobody owns gets an owner."""

    run_id: str
    owner: str

    async def perform(self, handle: StateBackend) -> None:
        """Do it."""
        await handle.claim(self.run_id)

    def after(self, held: Holding) -> Holding:
        """What is held once it is done."""
        return {**held, self.run_id: _claimed(held[self.run_id], self.owner)}


class ClaimIdle(NamedTuple):
    """Every run that nobody owns gets an owner."""

    owner: str

    async def perform(self, handle: StateBackend) -> None:
        """Do it."""
        await handle.claim_idle(("running",), ("report",), ALL)

    def after(self, held: Holding) -> Holding:
        """What is held once it is done."""
        return {
            run_id: _claimed(run, self.owner) if run.summary.owner is None and run.summary.status == "running" else run
            for run_id, run in held.items()
        }


class Release(NamedTuple):
    """Every run loses its owner."""

    async def perform(self, handle: StateBackend) -> None:
        """Do it."""
        await handle.release(None)

    def after(self, held: Holding) -> Holding:
        """What is held once it is done."""
        return {run_id: run._replace(summary=run.summary._replace(owner=None)) for run_id, run in held.items()}


class Prune(NamedTuple):
    """The end of all runs that have completed."""

    name: str

    async def perform(self, handle: StateBackend) -> None:
        """Do it."""
        filter = RunFilter(statuses=("completed",), id_prefix=f"{self.name}-")
        await handle.prune(filter, limit=ALL, dry_run=False)

    def after(self, held: Holding) -> Holding:
        """What is held once it is done."""
        return {
            run_id: run
            for run_id, run in held.items()
            if run.summary.status != "completed" or run.summary.owner is not None
        }


Operation = Append | Post | Delete | Claim | ClaimIdle | Release | Prune


def _claimed(run: Kept, owner: str) -> Kept:
    return run._replace(summary=run.summary._replace(owner=owner, token=run.summary.token + 1))


class Moment(NamedTuple):
    """What is held, and what is done next."""

    held: Holding
    operation: Operation


def history(name: str, seed: int) -> Iterator[Moment]:
    """The moments of the history of this seed, without end. Its runs begin with `name`, which is also their owner."""
    random = Random(f"{name} {seed}")
    held: Holding = {}
    for number in count(1):
        operation = draw(random, held, name, number)
        yield Moment(held, operation)
        held = operation.after(held)


def moment(name: str, seed: int, done: int) -> Moment:
    """The moment when so many operations are done."""
    for number, found in enumerate(history(name, seed)):
        if number == done:
            return found
    raise AssertionError("a history has no end")


def draw(random: Random, held: Holding, name: str, number: int) -> Operation:
    """What is done next."""
    idle = sorted(run_id for run_id, run in held.items() if run.summary.owner is None)
    open_runs = sorted(run_id for run_id, run in held.items() if run.summary.status not in FINAL)
    match random.randrange(16):
        case 0 | 1 if open_runs:
            return Post(random.choice(open_runs), number)
        case 2 if idle:
            run_id = random.choice(idle)
            return Delete(run_id, held[run_id].summary.uid)
        case 3 | 4 if idle:
            return Claim(random.choice(idle), name)
        case 5 if idle:
            return ClaimIdle(name)
        case 6 if len(held) > 3:
            return Release()
        case 7 if any(run.summary.status == "completed" for run in held.values()):
            return Prune(name)
        case _:
            return _draw_append(random, held, name, number)


def _draw_append(random: Random, held: Holding, name: str, number: int) -> Append:
    mine = sorted(run_id for run_id, run in held.items() if run.summary.owner == name)
    chosen = random.sample(mine, random.randint(0, min(3, len(mine))))
    commits = [_draw_following(random, held[run_id].summary, number) for run_id in chosen]
    if not commits or (len(held) < RUNS_AT_ONCE and random.random() < 0.5):
        commits.append(_draw_creation(random, name, number))
    asked = [run_id for run_id in chosen if held[run_id].requests]
    return Append(tuple(commits), asked[0] if asked else None)


def _draw_creation(random: Random, name: str, number: int) -> Commit:
    definition = DEFINITION if random.random() < 0.3 else None
    return _with_payload(random, creation(f"{name}-{number}", name, number, definition))


def _draw_following(random: Random, summary: RunSummary, number: int) -> Commit:
    ends = random.random() < 0.15
    fields: dict[str, Any] = {"status": "running", "finished_at": None}
    if ends:
        fields = {"status": "completed", "finished_at": number, "owner": None}
    return _with_payload(random, following(summary, random.randint(1, 3), steps_done=number, **fields))


def _with_payload(random: Random, commit: Commit) -> Commit:
    size = random.choice(PAYLOADS)
    if not size:
        return commit
    first, *rest = commit.rows
    return commit._replace(rows=(first._replace(payload=f'"{random.randbytes(size // 2).hex()}"'), *rest))


# -- values to store ------------------------------------------------------------------------------------------------


def creation(run_id: str, owner: str | None, created_at: int, definition: StoredDefinition | None = None) -> Commit:
    """A commit that creates a run with one event."""
    nothing = RunSummary._make([None] * len(RunSummary._fields))
    summary = nothing._replace(
        run_id=run_id,
        uid=f"uid-{run_id}",
        workflow="report",
        status="running",
        seq=1,
        owner=owner,
        token=1,
        labels="{}",
        created_at=created_at,
        updated_at=created_at,
        steps_done=0,
        retries=0,
        resume_count=0,
        definition=definition.digest if definition else None,
    )
    rows = (EventRow(1, created_at, "run_created", 1, "{}", '{"day":1}'),)
    return Commit(run_id, summary.uid, summary.token, 0, rows, summary, definition=definition)


def following(summary: RunSummary, events: int = 1, **fields: Any) -> Commit:
    """A commit that adds events to the run whose summary this is; `fields` say what else changes in it."""
    last = summary.seq + events
    rows = tuple(
        EventRow(seq, summary.created_at + seq, "step_started", 1, f'{{"step":"s{seq}"}}', None)
        for seq in range(summary.seq + 1, last + 1)
    )
    after = summary._replace(seq=last, updated_at=summary.created_at + last, **fields)
    return Commit(summary.run_id, summary.uid, summary.token, summary.seq, rows, after)


# -- what is found --------------------------------------------------------------------------------------------------


async def observe(handle: StateBackend, name: str) -> Holding:
    """What a store holds of a history. What contradicts itself raises AssertionError."""
    found: dict[str, Kept] = {}
    page: str | None = None
    filter = RunFilter(id_prefix=f"{name}-")
    while True:
        listed = await handle.list(filter, limit=100, page=page)
        for summary in listed.runs:
            assert await handle.load(summary.run_id) == summary
            rows = await handle.read_events(summary.run_id, summary.uid, 0, 1_000_000)
            assert [row.seq for row in rows] == list(range(1, summary.seq + 1)), summary.run_id
            if summary.definition is not None:
                assert await handle.get_definition(summary.definition) == DEFINITION
            requests = await handle.requests(summary.run_id, summary.uid)
            assert {(each.request.kind, each.request.body) for each in requests} <= {("signal", '{"name":"go"}')}
            found[summary.run_id] = Kept(summary, tuple(rows), tuple(each.request.at for each in requests))
        page = listed.next
        if page is None:
            return found


def differences(found: Holding, moment: Moment) -> list[str]:
    """What is not as it was acknowledged, nor as the operation that was under way would have made it."""
    before, after = moment.held, moment.operation.after(moment.held)
    return [
        f"{run_id}: {_described(found.get(run_id))} instead of {_described(before.get(run_id))}"
        for run_id in sorted(before.keys() | after.keys() | found.keys())
        if found.get(run_id) not in (before.get(run_id), after.get(run_id))
    ]


def _described(run: Kept | None) -> str:
    if run is None:
        return "nothing"
    summary = run.summary
    return f"{summary.status} at event {summary.seq} of {summary.owner}, token {summary.token}, asked {run.requests}"
