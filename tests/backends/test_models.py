"""Every backend answers like a model of the port that fits on a page: generated conversations, each answer compared.

The model holds runs in a list and looks at all of them for every question. It shares no code with any backend.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from flujo.backends import InMemoryBackend, selection
from flujo.backends import memory as memory_module
from flujo.backends.conformance import Harness, creation, event, following
from flujo.backends.pages import Position
from flujo.kernel.backend import Commit, Order, Refused, Removal, Request, RunFilter, RunSummary, StateBackend
from flujo.kernel.errors import FlujoError, RunActiveError, RunFinishedError, RunNotFoundError, RunReplacedError
from flujo.kernel.events import EventRow
from shipped import HARNESSES, ON_EVERY_LOOP, in_memory

FINAL = ("completed", "failed", "cancelled")
Result = TypeVar("Result")


# -- the model ----------------------------------------------------------------------------------------------------


class Model:
    """What the port promises, said as plainly as can be. Errors are told by their classes."""

    def __init__(self) -> None:
        self.runs: list[RunSummary] = []
        self.journals: dict[str, list[EventRow]] = {}  # by uid
        self.inbox: list[tuple[str, Request]] = []  # (uid, request), in the order of posting
        self.alive: set[str] = set()

    def find(self, run_id: str) -> RunSummary:
        for run in self.runs:
            if run.run_id == run_id:
                return run
        raise RunNotFoundError(run_id, "the model")

    def put(self, run: RunSummary) -> None:
        self.runs = [run if each.uid == run.uid else each for each in self.runs]

    def is_busy(self, run: RunSummary) -> bool:
        return run.owner in self.alive

    def require_idle(self, run: RunSummary) -> None:
        if self.is_busy(run):
            raise RunActiveError(run.run_id, str(run.owner))

    def append(self, commits: Sequence[Commit], taken: Sequence[tuple[str, Request]]) -> dict[str, Refused]:
        refused: dict[str, Refused] = {}
        for commit in commits:
            if commit.expected_seq == 0:
                if any(run.run_id.lower() == commit.run_id.lower() for run in self.runs):
                    refused[commit.uid] = Refused.EXISTS
                    continue
                self.runs.append(commit.summary)
                self.journals[commit.uid] = list(commit.rows)
                continue
            place = (commit.run_id, commit.uid, commit.token, commit.expected_seq)
            if place not in [(run.run_id, run.uid, run.token, run.seq) for run in self.runs]:
                refused[commit.uid] = self.refusal(commit)
                continue
            self.put(commit.summary)
            self.journals[commit.uid] += commit.rows
            self.inbox = [each for each in self.inbox if each not in taken]
        return refused

    def refusal(self, commit: Commit) -> Refused:
        for run in self.runs:
            if run.uid == commit.uid and (run.token, run.seq) < (commit.token, commit.expected_seq):
                return Refused.REWOUND
        return Refused.STALE

    def claim(self, owner: str, run_id: str) -> RunSummary:
        run = self.find(run_id)
        self.require_idle(run)
        claimed = run._replace(owner=owner, token=run.token + 1)
        self.put(claimed)
        return claimed

    def claim_idle(self, owner: str, statuses: Sequence[str], workflows: Sequence[str], limit: int) -> list[RunSummary]:
        found = [
            run
            for run in sorted(self.runs, key=lambda run: (run.created_at, run.run_id))
            if run.status in statuses and not self.is_busy(run)
            if run.workflow in workflows or run.definition is not None
        ]
        return [self.claim(owner, run.run_id) for run in found[:limit]]

    def release(self, owner: str, uids: Sequence[str] | None) -> None:
        for run in self.runs:
            if run.owner == owner and (uids is None or run.uid in uids):
                self.put(run._replace(owner=None))

    def remove(self, run: RunSummary) -> None:
        self.runs = [each for each in self.runs if each.uid != run.uid]
        self.inbox = [each for each in self.inbox if each[0] != run.uid]

    def delete(self, run_id: str, uid: str) -> None:
        run = self.find(run_id)
        if run.uid != uid:
            raise RunNotFoundError(run_id, "the model")
        self.require_idle(run)
        self.remove(run)

    def post(self, run_id: str, request: Request) -> RunSummary:
        run = self.find(run_id)
        if run.status in FINAL:
            raise RunFinishedError(run_id, run.status)
        self.inbox.append((run.uid, request))
        return run

    def take(self, owner: str) -> list[tuple[str, Request]]:
        mine = [run.uid for run in self.runs if run.owner == owner]
        return [each for each in self.inbox if each[0] in mine]

    def chosen(self, filter: RunFilter) -> list[RunSummary]:
        return [run for run in self.runs if fits(filter, run)]

    def listed(self, filter: RunFilter, order: Order) -> list[RunSummary]:
        instant = "created_at" if order is Order.CREATED else "updated_at"
        return sorted(self.chosen(filter), key=lambda run: (getattr(run, instant), run.run_id), reverse=True)

    def parent_of(self, run: RunSummary) -> RunSummary | None:
        for parent in self.runs:
            if parent.run_id == run.parent_run_id and run.created_at >= parent.created_at:
                return parent
        return None

    def family_of(self, root: RunSummary) -> set[str]:
        family = {root.run_id}
        while True:
            more = {run.run_id for run in self.runs if (parent := self.parent_of(run)) and parent.run_id in family}
            if more <= family:
                return family
            family |= more

    def prunable(self, filter: RunFilter) -> list[set[str]]:
        roots = [run for run in self.chosen(filter) if self.parent_of(run) is None]
        roots.sort(key=lambda run: (run.updated_at if run.finished_at is None else run.finished_at, run.run_id))
        families = [self.family_of(root) for root in roots]
        return [family for family in families if not any(self.is_busy(self.find(member)) for member in family)]

    def stats(self, since: int) -> list[tuple[Any, ...]]:
        return [self._stats_of(name, since) for name in sorted({run.workflow for run in self.runs})]

    def _stats_of(self, workflow: str, since: int) -> tuple[Any, ...]:
        runs = [run for run in self.runs if run.workflow == workflow]
        ended = [
            run for run in runs if run.status in FINAL and run.finished_at is not None and run.finished_at >= since
        ]
        failed = Counter(run.failed_step for run in ended if run.status == "failed" and run.failed_step is not None)
        took = sorted(
            max(0, (run.finished_at or 0) - (run.created_at if run.started_at is None else run.started_at))
            for run in ended
            if run.status == "completed"
        )
        return (
            workflow,
            dict(Counter(run.status for run in runs)),
            len([run for run in runs if run.created_at >= since]),
            dict(Counter(run.status for run in ended)),
            len([run for run in ended if run.retries]),
            sorted(failed.items(), key=lambda item: (-item[1], str(item[0]))),
            least_that_covers(50, took),
            least_that_covers(95, took),
            took[-1] if took else None,
        )


def fits(filter: RunFilter, run: RunSummary) -> bool:
    """Whether a run matches, part by part."""
    labels = json.loads(run.labels)
    settled = run.updated_at if run.status == "paused" else run.finished_at
    return all(
        (
            not filter.statuses or run.status in filter.statuses,
            filter.workflow in (None, run.workflow),
            run.run_id.startswith(filter.id_prefix or ""),
            all(labels.get(name) == value for name, value in filter.labels),
            lies(run.created_at, filter.created_from, filter.created_before),
            lies(run.updated_at, filter.updated_from, filter.updated_before),
            lies(run.finished_at, filter.finished_from, filter.finished_before),
            lies(settled, None, filter.settled_before),
            filter.failed_step in (None, run.failed_step),
            filter.parent in (None, run.parent_run_id),
            filter.owner in (None, run.owner),
        )
    )


def lies(instant: int | None, start: int | None, end: int | None) -> bool:
    if instant is None:
        return start is None and end is None
    return (start is None or start <= instant) and (end is None or instant < end)


def least_that_covers(percent: int, ascending: Sequence[int]) -> int | None:
    for place, value in enumerate(ascending, 1):
        if place * 100 >= percent * len(ascending):
            return value
    return None


# -- what is said -------------------------------------------------------------------------------------------------

IDS = ["a", "A", "ab", "b", "b-1", "b-2", "c", "d", "e", "f", "g"]
OWNERS = ["one", "two"]
STATUSES = ["running", "waiting", "paused", "completed", "failed", "cancelled"]
WORKFLOWS = ["report", "nightly"]
STEPS = ["fetch", "load"]
TEAMS = ["{}", '{"team":"a"}', '{"team":"b","size":"l"}']
PAYLOADS = {"nothing": None, "null": "null", "small": '"small"', **{each: f'"{each * 70_000}"' for each in "xy"}}

ids = st.sampled_from(IDS)
owners = st.sampled_from(OWNERS)
instants = st.integers(0, 6)
payloads = st.sampled_from(list(PAYLOADS))


def maybe(strategy: st.SearchStrategy[Result]) -> st.SearchStrategy[Result | None]:
    return st.none() | strategy


states = st.fixed_dictionaries(
    {
        "status": st.sampled_from(STATUSES),
        "updated_at": instants,
        "started_at": maybe(instants),
        "finished_at": maybe(instants),
        "wake_at": maybe(instants),
        "failed_step": maybe(st.sampled_from(STEPS)),
        "retries": st.integers(0, 1),
        "version": maybe(st.sampled_from(["1", "2"])),
        "error_message": maybe(st.just("größe")),
    }
)
beginnings = st.fixed_dictionaries(
    {
        "workflow": st.sampled_from(WORKFLOWS),
        "labels": st.sampled_from(TEAMS),
        "created_at": instants,
        "parent_run_id": maybe(ids),
        "definition": maybe(st.just("digest")),
    }
)
PARTS: dict[str, st.SearchStrategy[Any]] = {
    "statuses": st.lists(st.sampled_from(STATUSES), min_size=1, max_size=3),
    "workflow": st.sampled_from(WORKFLOWS),
    "id_prefix": st.sampled_from(["", "a", "A", "b", "b-"]),
    "labels": st.lists(st.sampled_from([("team", "a"), ("team", "b"), ("size", "l")]), min_size=1, max_size=2),
    "failed_step": st.sampled_from(STEPS),
    "parent": ids,
    "owner": owners,
    **{name: instants for name in RunFilter._fields if name.endswith(("_from", "_before"))},
}
filters = (
    st.lists(st.sampled_from(sorted(PARTS)), max_size=3, unique=True)
    .flatmap(lambda names: st.fixed_dictionaries({name: PARTS[name] for name in names}))
    .map(lambda parts: RunFilter(**parts))
)


class Conversation(RuleBasedStateMachine):
    """Two owners and a reader on one store, and the model beside it."""

    def __init__(self, portal: BlockingPortal, harness: Harness) -> None:
        super().__init__()
        self.portal = portal
        self.harness = harness
        self.model = Model()
        self.handles: dict[str | None, StateBackend] = {}

    @initialize(
        runs=st.tuples(*(st.tuples(beginnings, states, st.sampled_from([*OWNERS, None, None, None])) for _ in IDS))
    )
    def open(self, runs: Sequence[tuple[Any, Any, str | None]]) -> None:
        for owner in (*OWNERS, None):
            self._open(owner)
        commits = [
            creation(run_id, owner, **beginning, **state)
            for run_id, (beginning, state, owner) in zip(IDS, runs, strict=True)
        ]
        assert self.portal.call(self.handles["one"].append, commits) == self.model.append(commits, [])

    def _open(self, owner: str | None) -> None:
        self.handles[owner] = self.harness.handle()
        self.portal.call(self.handles[owner].open, owner)
        if owner is not None:
            self.model.alive.add(owner)

    def teardown(self) -> None:
        for handle in self.handles.values():
            self.portal.call(handle.close)

    def told(self, ask: Callable[[], Awaitable[Result]]) -> Result | type[FlujoError]:
        """What the store answers, or the class of its error."""
        try:
            return self.portal.call(ask)
        except FlujoError as error:
            return type(error)

    def expected(self, ask: Callable[[], Result]) -> Result | type[FlujoError]:
        """What the model answers, or the class of its error."""
        try:
            return ask()
        except FlujoError as error:
            return type(error)

    # -- writing ------------------------------------------------------------------------------------------------

    @rule(
        owner=owners,
        runs=st.lists(st.tuples(ids, beginnings, states, payloads), min_size=1, max_size=6),
        free=st.booleans(),
    )
    def create(self, owner: str, runs: list[tuple[str, Any, Any, str]], free: bool) -> None:
        commits = []
        for run_id, beginning, state, payload in runs:
            commit = creation(run_id, None if free else owner, **beginning, **state)
            commits.append(commit._replace(rows=(event(1, "run_created", PAYLOADS[payload]),)))
        handle = self.handles[owner]
        assert self.portal.call(handle.append, commits) == self.model.append(commits, [])

    @rule(
        owner=owners,
        run_id=ids,
        state=states,
        written=st.lists(payloads, min_size=1, max_size=3),
        wrong=st.sampled_from(["", "", "", "token", "seq", "uid"]),
        answered=st.integers(0, 2),
        gives_up=st.booleans(),
    )
    def append(
        self, owner: str, run_id: str, state: Any, written: list[str], wrong: str, answered: int, gives_up: bool
    ) -> None:
        runs = [run for run in self.model.runs if run.run_id == run_id]
        if not runs:
            return
        before = runs[0]
        if wrong in ("token", "seq"):
            before = before._replace(**{wrong: getattr(before, wrong) + 1})
        elif wrong == "uid":
            before = before._replace(uid="another")
        handle = self.handles[owner]
        posted = list(self.portal.call(handle.requests, run_id, runs[0].uid))[:answered]
        commit = following(before, len(written), [each.id for each in posted])
        rows = tuple(row._replace(payload=PAYLOADS[payload]) for row, payload in zip(commit.rows, written, strict=True))
        owner_after = None if gives_up else before.owner
        commit = commit._replace(rows=rows, summary=commit.summary._replace(**state, owner=owner_after))
        taken = [(each.uid, each.request) for each in posted]

        assert self.portal.call(handle.append, [commit]) == self.model.append([commit], taken)

    @rule(owner=owners, run_id=ids)
    def claim(self, owner: str, run_id: str) -> None:
        handle = self.handles[owner]
        assert self.told(lambda: handle.claim(run_id)) == self.expected(lambda: self.model.claim(owner, run_id))

    @rule(
        owner=owners,
        statuses=st.lists(st.sampled_from(STATUSES), min_size=1, max_size=3),
        workflows=st.lists(st.sampled_from(WORKFLOWS), max_size=2),
        limit=st.integers(1, 3),
    )
    def claim_idle(self, owner: str, statuses: list[str], workflows: list[str], limit: int) -> None:
        claimed = self.portal.call(self.handles[owner].claim_idle, statuses, workflows, limit)
        assert list(claimed) == self.model.claim_idle(owner, statuses, workflows, limit)

    @rule(owner=owners, some=maybe(st.lists(ids, max_size=2)))
    def release(self, owner: str, some: list[str] | None) -> None:
        uids = None if some is None else [run.uid for run in self.model.runs if run.run_id in some]
        self.portal.call(self.handles[owner].release, uids)
        self.model.release(owner, uids)

    @rule(run_id=ids, is_right=st.booleans())
    def delete(self, run_id: str, is_right: bool) -> None:
        uids = [run.uid for run in self.model.runs if run.run_id == run_id and is_right]
        uid = uids[0] if uids else "another"
        reader = self.handles[None]
        assert self.told(lambda: reader.delete(run_id, uid)) == self.expected(lambda: self.model.delete(run_id, uid))

    @rule(filter=filters, limit=st.integers(1, 8))
    def prune(self, filter: RunFilter, limit: int) -> None:
        families = self.model.prunable(filter)
        total = sum(map(len, families))
        foretold = self.portal.call(lambda: self.handles["one"].prune(filter, limit=limit, dry_run=True))
        self._require_families(foretold, families, limit)
        assert (foretold.total, foretold.more) == (total, total > limit)

        removal = self.portal.call(lambda: self.handles[None].prune(filter, limit=limit, dry_run=False))
        going: list[set[str]] = []
        while families and sum(map(len, going)) < limit:
            going.append(families.pop(0))
        self._require_families(removal, going, len(self.model.runs))
        assert removal.total == len(removal.runs) == sum(map(len, going))
        assert removal.more or not families
        assert (removal.bytes > 0) == bool(going)
        if not families:
            assert removal.bytes == foretold.bytes
        for run in removal.runs:
            self.model.remove(run)

    def _require_families(self, removal: Removal, families: Sequence[set[str]], limit: int) -> None:
        """One family after another, each run before those it has started, and all as they are."""
        runs = list(removal.runs)
        assert len(runs) == min(limit, sum(map(len, families)))
        assert all(run in self.model.runs for run in runs)
        for family in families:
            members = [run.run_id for run in runs[: len(family)]]
            assert set(members) <= family
            for place, run in enumerate(runs[1 : len(family)], 1):
                assert run.parent_run_id in members[:place]
            runs = runs[len(family) :]

    @rule(run_id=ids, number=st.integers(0, 3))
    def post(self, run_id: str, number: int) -> None:
        request = Request("signal", f'{{"n":{number}}}', len(self.model.inbox))
        reader = self.handles[None]
        told = self.told(lambda: reader.post(run_id, request))
        assert told == self.expected(lambda: self.model.post(run_id, request))

    @rule(owner=owners, comes_back=st.booleans())
    def die(self, owner: str, comes_back: bool) -> None:
        self.portal.call(self.harness.kill, self.handles[owner])
        self.model.alive.discard(owner)
        other = OWNERS[OWNERS.index(owner) - 1]
        assert not self.portal.call(self.handles[other].is_alive, owner)
        if not comes_back:  # somebody else comes to what it has left
            for run in list(self.model.runs):
                told = self.told(partial(self.handles[other].claim, run.run_id))
                assert told == self.expected(partial(self.model.claim, other, run.run_id))
        self._open(owner)

    # -- reading ------------------------------------------------------------------------------------------------

    @rule(filter=filters, order=st.sampled_from(list(Order)), limit=st.integers(1, 4), who=maybe(owners))
    def read_pages(self, filter: RunFilter, order: Order, limit: int, who: str | None) -> None:
        handle = self.handles[who]
        found: list[RunSummary] = []
        page = None
        while page is None or page.next is not None:
            ask = partial(handle.list, filter, order=order, limit=limit, page=page and page.next)
            page = self.portal.call(ask)
            found += page.runs
            assert len(page.runs) <= limit
            assert len(found) <= len(self.model.runs)

        assert found == self.model.listed(filter, order)

    @rule(several=st.lists(filters, min_size=3, max_size=6), order=st.sampled_from(list(Order)))
    def choose(self, several: list[RunFilter], order: Order) -> None:
        reader = self.handles[None]
        for filter in several:
            found = self.portal.call(partial(reader.list, filter, order=order, limit=100))
            assert list(found.runs) == self.model.listed(filter, order)
            assert self.portal.call(reader.count, filter) == len(found.runs)

    @rule(since=instants)
    def add_up(self, since: int) -> None:
        stats = [
            (*each[:5], list(each.failed_steps.items()), *each[6:])  # the order of the steps counts
            for each in self.portal.call(self.handles[None].stats, since)
        ]
        assert stats == self.model.stats(since)

    @rule(run_id=ids, after=st.integers(0, 3), limit=st.integers(1, 3))
    def read_one(self, run_id: str, after: int, limit: int) -> None:
        reader = self.handles[None]
        summary = self.told(lambda: reader.load(run_id))
        assert summary == self.expected(lambda: self.model.find(run_id))
        if isinstance(summary, RunSummary):
            uid = summary.uid
            rows = self.portal.call(reader.read_events, run_id, uid, after, limit)
            assert list(rows) == self.model.journals[uid][after : after + limit]
            posted = self.portal.call(reader.requests, run_id, uid)
            assert [(each.uid, each.request) for each in posted] == [
                each for each in self.model.inbox if each[0] == uid
            ]
            assert self.told(lambda: reader.read_events(run_id, "another", 0, 1)) is RunReplacedError

    @rule(owner=owners, instant=instants, limit=st.integers(1, 3))
    def look_at_the_clock(self, owner: str, instant: int, limit: int) -> None:
        due = self.portal.call(self.handles[owner].due, instant, limit)
        waiting = sorted(run.wake_at for run in self.model.runs if run.owner == owner and run.wake_at is not None)
        ready = [wake_at for wake_at in waiting if wake_at <= instant][:limit]

        assert [run.wake_at for run in due.runs] == ready
        assert all(run in self.model.runs for run in due.runs)
        assert due.next == next(iter(waiting[len(ready) :]), None)

    @rule(owner=owners)
    def take(self, owner: str) -> None:
        posted = self.portal.call(self.handles[owner].take)
        assert [(each.uid, each.request) for each in posted] == self.model.take(owner)

    @invariant()
    def all_is_the_same(self) -> None:
        if self.handles:
            page = self.portal.call(lambda: self.handles[None].list(RunFilter(), limit=100))
            assert list(page.runs) == self.model.listed(RunFilter(), Order.CREATED)


@pytest.fixture(params=ON_EVERY_LOOP, ids="-".join)
def name_and_portal(request: pytest.FixtureRequest) -> Iterator[tuple[str, BlockingPortal]]:
    name, loop = request.param
    with start_blocking_portal(loop) as portal:
        yield name, portal


EXAMPLES = int(os.environ.get("FLUJO_EXAMPLES", "25"))
FAR_AWAY = {"postgres": 5}
"""How many conversations are enough with a store that takes a hundred times as long to answer as the others."""


def converse(
    portal: BlockingPortal, begin: Callable[[], Harness], phases: Sequence[Phase], examples: int = EXAMPLES
) -> None:
    """Have some conversations, the same ones every time; an AssertionError tells of the first that goes wrong."""
    run_state_machine_as_test(
        cast("type[Conversation]", lambda: Conversation(portal, begin())),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_backend_answers_as_the_model_does(name_and_portal: tuple[str, BlockingPortal], tmp_path: Path) -> None:
    """Whatever two owners and a reader ask of a store, and whoever dies meanwhile, it answers as the model."""
    name, portal = name_and_portal
    numbers = count()

    def begin() -> Harness:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return HARNESSES[name](folder)

    examples = EXAMPLES if "FLUJO_EXAMPLES" in os.environ else FAR_AWAY.get(name, EXAMPLES)
    converse(portal, begin, (Phase.generate, Phase.shrink), examples)
    assert next(numbers) > 0.8 * examples


def always(answer: Any) -> Callable[..., Any]:
    """A planted bug that knows one answer only."""
    return lambda *_, **__: answer


def within_both_borders(instant: Callable[[RunSummary], int | None], start: int | None, end: int | None) -> Any:
    """A planted bug: ranges hold their end too."""
    return lambda run: lies(instant(run), start, None if end is None else end + 1)


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "ranges hold their end": (selection, "_is_within", within_both_borders),
    "children stay": (selection.Families, "of", lambda _, root: [root]),
    "the percentile is the least": (selection, "rank", always(0)),
    "both orders are one": (memory_module, "place", lambda order, run: Position(run.created_at, run.run_id)),
    "paused runs never settle": (selection, "settled_at", lambda run: run.finished_at),
    "an owner dies without a trace": (InMemoryBackend, "_end", always(None)),
    "everybody is idle": (InMemoryBackend, "_require_idle", always(None)),
    "refused commits are made": (InMemoryBackend, "_extend", always(None)),
}


@pytest.mark.parametrize(("owner", "name", "bug"), MUTANTS.values(), ids=MUTANTS)
def test_planted_bugs_are_caught(owner: Any, name: str, bug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend with this bug does not get through the conversations that it gets through without it."""
    monkeypatch.setattr(owner, name, bug)
    with start_blocking_portal("asyncio") as portal, pytest.raises((AssertionError, FlujoError)):
        converse(portal, lambda: in_memory(Path()), (Phase.generate,))
