"""What every backend must do, as code: the suite that a new backend passes before a kernel may trust it.

A behaviour is an async function whose docstring is the promise it checks, against a fresh, empty store. The suite needs
no test library; this is all it takes, on each event loop the backend declares:

    for behaviour in BEHAVIOURS:
        async with Harness(make_handle) as harness:  # make_handle(): a new, unopened handle on one and the same store
            await behaviour.check(harness)

A failed promise is an AssertionError. Instants and ids are made up; nothing here sleeps or depends on timing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from types import TracebackType
from typing import Any, NamedTuple, Self

from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint

from flujo.kernel.backend import (
    Commit,
    Page,
    Refused,
    Request,
    RunFilter,
    RunSummary,
    StateBackend,
    StoredDefinition,
)
from flujo.kernel.errors import (
    InvalidNameError,
    RunActiveError,
    RunFinishedError,
    RunNotFoundError,
    RunReplacedError,
    StoreError,
    StoreNotFoundError,
    WorkflowNotFoundError,
)
from flujo.kernel.events import EventRow

PATIENCE_SECONDS = 10.0
"""When something that must happen counts as not happening. A guard against hangs; no promise is this slow."""


class Harness:
    """Handles on one store that is empty at first. `make_handle` makes an unopened one; `aclose` closes them all.

    `kill_handle` ends a handle as a crash of its process would; where it is not given, closing has to do.
    """

    def __init__(
        self,
        make_handle: Callable[[], StateBackend],
        kill_handle: Callable[[StateBackend], Awaitable[None]] | None = None,
    ) -> None:
        self._make_handle = make_handle
        self._kill_handle = kill_handle
        self._opened: list[StateBackend] = []

    def handle(self) -> StateBackend:
        """An unopened handle."""
        return self._make_handle()

    async def open(self, owner: str | None) -> StateBackend:
        """A handle opened as `owner`."""
        handle = self.handle()
        await handle.open(owner)
        self._opened.append(handle)
        return handle

    async def kill(self, handle: StateBackend) -> None:
        """End a handle as if its process died at this instant."""
        if self._kill_handle is None:
            await handle.close()
        else:
            await self._kill_handle(handle)

    async def aclose(self) -> None:
        """Close every handle."""
        for handle in self._opened:
            await handle.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


Check = Callable[[Harness], Awaitable[None]]


class Behaviour(NamedTuple):
    """One promise: its name, the sentence it keeps, and the function that checks it."""

    name: str
    promise: str
    check: Check


_behaviours: list[Behaviour] = []


def behaviour(check: Check) -> Check:
    """Add a function to the suite."""
    _behaviours.append(Behaviour(getattr(check, "__name__", ""), (check.__doc__ or "").strip(), check))
    return check


@contextmanager
def raising(kind: type[BaseException]) -> Iterator[None]:
    """Require an error of this class."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"nothing raised {kind.__name__}")


# ---------------------------------------------------------------------------------------------------------------
# Values to store
# ---------------------------------------------------------------------------------------------------------------

_uids = count(1)


def event(seq: int, type: str = "step_started", payload: str | None = None) -> EventRow:
    """A row of a journal."""
    return EventRow(seq, 1_000 + seq, type, 1, f'{{"step":"s{seq}"}}', payload)


def creation(run_id: str, owner: str | None = "one", brings: StoredDefinition | None = None, **fields: Any) -> Commit:
    """A commit that creates a run with one event; `fields` replace what its summary says."""
    summary = RunSummary(
        run_id=run_id,
        uid=f"uid{next(_uids)}",
        workflow="report",
        version=None,
        status="running",
        seq=1,
        owner=owner,
        token=1,
        labels="{}",
        created_at=1_000,
        started_at=None,
        updated_at=1_000,
        finished_at=None,
        wake_at=None,
        current_step=None,
        failed_step=None,
        error_type=None,
        error_message=None,
        steps_done=0,
        steps_total=None,
        retries=0,
        resume_count=0,
        parent_run_id=None,
        definition=None,
    )._replace(**fields)
    rows = (event(1, "run_created", '{"day":1}'),)
    return Commit(run_id, summary.uid, summary.token, 0, rows, summary, definition=brings)


def following(summary: RunSummary, events: int = 1, taken: Sequence[int] = (), **fields: Any) -> Commit:
    """A commit that adds events to the run whose summary this is."""
    last = summary.seq + events
    rows = tuple(event(seq) for seq in range(summary.seq + 1, last + 1))
    after = summary._replace(seq=last, updated_at=1_000 + last, **fields)
    return Commit(summary.run_id, summary.uid, summary.token, summary.seq, rows, after, taken)


async def create(handle: StateBackend, *commits: Commit) -> list[RunSummary]:
    """Append creations that must stand; their summaries."""
    refused = await handle.append(commits)
    assert refused == {}, refused
    return [commit.summary for commit in commits]


async def journal(handle: StateBackend, summary: RunSummary) -> Sequence[EventRow]:
    """All events of a run."""
    return await handle.read_events(summary.run_id, summary.uid, 0, 10_000)


async def listed(handle: StateBackend, filter: RunFilter | None = None) -> list[str]:
    """The ids of all runs that match, as one page lists them."""
    page = await handle.list(filter or RunFilter(), limit=1_000)
    return [summary.run_id for summary in page.runs]


# ---------------------------------------------------------------------------------------------------------------
# Opening, closing, being alive
# ---------------------------------------------------------------------------------------------------------------


@behaviour
async def reading_creates_no_store(harness: Harness) -> None:
    """A reader of a store that is not there is told so, twice: the first attempt has not created it."""
    for _ in range(2):
        with raising(StoreNotFoundError):
            await harness.open(None)


@behaviour
async def an_owner_creates_the_store(harness: Harness) -> None:
    """Opening as an owner creates an empty store that readers can open."""
    await harness.open("one")
    reader = await harness.open(None)

    assert await listed(reader) == []
    assert await reader.count(RunFilter()) == 0


@behaviour
async def closing_twice_is_allowed(harness: Harness) -> None:
    """A handle may be closed twice, and one that was never opened may be closed."""
    handle = await harness.open("one")
    await handle.close()
    await handle.close()
    await harness.handle().close()


@behaviour
async def a_closed_handle_refuses(harness: Harness) -> None:
    """A handle that is closed, or not open yet, raises StoreError instead of answering."""
    closed = await harness.open("one")
    await closed.close()
    for handle in (closed, harness.handle()):
        with raising(StoreError):
            await handle.append([creation("a")])
        with raising(StoreError):
            await handle.load("a")
        with raising(StoreError):
            await handle.list(RunFilter(), limit=1)


@behaviour
async def a_handle_is_opened_once(harness: Harness) -> None:
    """Opening a handle that is open raises StoreError and does it no harm."""
    handle = await harness.open("one")
    with raising(StoreError):
        await handle.open("two")

    assert await handle.is_alive("one")
    assert not await handle.is_alive("two")


@behaviour
async def names_of_live_owners_are_unique(harness: Harness) -> None:
    """Nobody else can be alive under the name of a live owner."""
    first = await harness.open("one")
    with raising(StoreError):
        await harness.open("one")

    assert await first.is_alive("one")


@behaviour
async def an_owner_is_alive_while_open(harness: Harness) -> None:
    """An owner is alive from open to close, for itself as for others."""
    one = await harness.open("one")
    two = await harness.open("two")
    assert await one.is_alive("one")
    assert await two.is_alive("one")
    await one.close()

    assert not await two.is_alive("one")


@behaviour
async def a_killed_owner_is_dead(harness: Harness) -> None:
    """An owner whose process has died is not alive, and its handle reaches the store no more."""
    one, two = await harness.open("one"), await harness.open("two")
    await harness.kill(one)

    assert not await two.is_alive("one")
    with raising(StoreError):
        await one.append([creation("a", "one")])
    assert await listed(two) == []


@behaviour
async def a_stranger_is_dead(harness: Harness) -> None:
    """An owner nobody has heard of is not alive, and a reader is nobody."""
    await harness.open("one")
    reader = await harness.open(None)

    assert not await reader.is_alive("stranger")


@behaviour
async def what_is_stored_outlives_its_handle(harness: Harness) -> None:
    """What was appended is there after every handle was closed and another one opened."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.append([following(summary, 3)])
    await one.close()
    two = await harness.open("two")

    assert (await two.load("a")).seq == 4
    assert [row.seq for row in await journal(two, summary)] == [1, 2, 3, 4]


@behaviour
async def the_liveness_file_is_open(harness: Harness) -> None:
    """Where owners are processes, an open owner has a file descriptor to pass on; a reader has none."""
    one = await harness.open("one")
    reader = await harness.open(None)

    if one.capabilities.several_processes:
        assert one.liveness_fd is not None
    assert reader.liveness_fd is None


# ---------------------------------------------------------------------------------------------------------------
# Append
# ---------------------------------------------------------------------------------------------------------------


@behaviour
async def a_creation_can_be_loaded(harness: Harness) -> None:
    """A run that was created is loaded as it was given, by every handle at once."""
    one = await harness.open("one")
    reader = await harness.open(None)
    (summary,) = await create(one, creation("a"))

    assert await one.load("a") == summary
    assert await reader.load("a") == summary


@behaviour
async def every_field_is_kept(harness: Harness) -> None:
    """Every field of a summary comes back as it was stored, at a creation and after a later commit."""
    one = await harness.open("one")
    fields: dict[str, Any] = {
        "version": "2",
        "labels": '{"team":"a"}',
        "started_at": 2_000,
        "wake_at": 2**62,
        "current_step": "fetch",
        "failed_step": "fetch#2",
        "error_type": "ConnectionError",
        "error_message": "no\x00route\nto host",
        "steps_done": 3,
        "steps_total": 9,
        "retries": 2,
        "resume_count": 1,
        "parent_run_id": "parent",
        "definition": "digest",
    }
    (summary,) = await create(one, creation("a", **fields))
    assert await one.load("a") == summary
    changes: dict[str, Any] = {
        "version": "3",
        "status": "failed",
        "owner": None,
        "started_at": 2_001,
        "finished_at": 9_000,
        "wake_at": None,
        "current_step": None,
        "failed_step": "load",
        "error_type": "ValueError",
        "error_message": "bad",
        "steps_done": 4,
        "steps_total": None,
        "retries": 5,
        "resume_count": 2,
        "definition": "other",
    }
    commit = following(summary, **changes)
    await one.append([commit])

    assert await one.load("a") == commit.summary


@behaviour
async def fields_change_one_by_one(harness: Harness) -> None:
    """A commit that changes a single field of the summary changes that one, however ordinary the commits before it."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    changes: list[dict[str, Any]] = [
        {"steps_done": 1},
        {"current_step": "b"},
        {"status": "waiting"},
        {"wake_at": 7_000},
        {"steps_done": 2},
        {"status": "running", "wake_at": None},
        {"error_message": "x"},
        {"retries": 1},
        {"steps_done": 3},
        {"version": "2"},
    ]
    for change in changes:
        commit = following(summary, **change)
        assert await one.append([commit]) == {}
        assert await one.load("a") == commit.summary, change
        summary = commit.summary


@behaviour
async def events_come_back_as_written(harness: Harness) -> None:
    """Events come back in order, each with every field it was written with."""
    one = await harness.open("one")
    first = creation("a")
    await create(one, first)
    second = following(first.summary, 5)
    await one.append([second])

    assert list(await journal(one, first.summary)) == [*first.rows, *second.rows]


@behaviour
async def text_of_any_script_is_kept(harness: Harness) -> None:
    """Text outside ASCII comes back unchanged, in payloads, bodies, labels and messages."""
    one = await harness.open("one")
    text = "Größe 走る \U0001f680 \u2028 \x7f"
    (summary,) = await create(one, creation("a", labels=f'{{"größe":"{text}"}}', error_message=text))
    row = EventRow(2, 5, "step_completed", 1, f'{{"step":"{text}"}}', f'"{text}"')
    commit = following(summary)._replace(rows=(row,))
    await one.append([commit])

    assert (await one.load("a")).error_message == text
    assert (await journal(one, summary))[1] == row
    assert await listed(one, RunFilter(labels=[("größe", text)])) == ["a"]


@behaviour
async def large_payloads_are_kept(harness: Harness) -> None:
    """A payload of a mebibyte comes back unchanged, beside small ones in the same batch."""
    one = await harness.open("one")
    large = '"' + "x" * (1 << 20) + '"'
    (a, b) = await create(one, creation("a"), creation("b"))
    commit = following(a)._replace(rows=(event(2, payload=large),))
    await one.append([commit, following(b)])

    assert (await journal(one, a))[1].payload == large
    assert (await journal(one, b))[1].payload is None


@behaviour
async def one_commit_may_hold_many_events(harness: Harness) -> None:
    """A commit of hundreds of events is stored whole and in order."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.append([following(summary, 500)])

    assert [row.seq for row in await journal(one, summary)] == list(range(1, 502))


@behaviour
async def an_empty_batch_is_nothing(harness: Harness) -> None:
    """Appending no commits refuses none."""
    one = await harness.open("one")

    assert await one.append([]) == {}


@behaviour
async def a_taken_id_is_refused(harness: Harness) -> None:
    """Creating a run under an id that is taken is refused, and the run that has it does not change."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    late = creation("a", workflow="other")

    assert await one.append([late]) == {late.uid: Refused.EXISTS}
    assert await one.load("a") == summary
    assert len(await journal(one, summary)) == 1


@behaviour
async def ids_differ_by_more_than_case(harness: Harness) -> None:
    """An id that differs from a taken one only in the case of letters is taken too."""
    one = await harness.open("one")
    await create(one, creation("Report-A"))
    late = creation("rEPORT-a")

    assert await one.append([late]) == {late.uid: Refused.EXISTS}
    assert await listed(one) == ["Report-A"]


@behaviour
async def the_first_of_two_equal_ids_stands(harness: Harness) -> None:
    """Of two creations of one id in a batch the first one stands, and both answers name their uid."""
    one = await harness.open("one")
    first, second = creation("a"), creation("A")

    assert await one.append([first, second]) == {second.uid: Refused.EXISTS}
    assert (await one.load("a")).uid == first.uid


@behaviour
async def a_commit_moves_the_run_on(harness: Harness) -> None:
    """A commit adds its events and replaces the summary."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    commit = following(summary, 2, steps_done=1, current_step="next")

    assert await one.append([commit]) == {}
    assert await one.load("a") == commit.summary
    assert [row.seq for row in await journal(one, summary)] == [1, 2, 3]


@behaviour
async def another_token_is_refused(harness: Harness) -> None:
    """A commit with a lower or a higher token than the run's is refused, and leaves no trace."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", token=5))
    for token in (4, 6):
        commit = following(summary._replace(token=token))
        assert await one.append([commit]) == {summary.uid: Refused.STALE}

    assert await one.load("a") == summary
    assert len(await journal(one, summary)) == 1


@behaviour
async def another_last_event_is_refused(harness: Harness) -> None:
    """A commit after an event that is not the last one, or not there yet, is refused, so numbers have no gaps."""
    one = await harness.open("one")
    (first,) = await create(one, creation("a"))
    second = following(first)
    await one.append([second])

    for summary in (first, second.summary._replace(seq=5)):
        assert await one.append([following(summary, steps_done=9)]) == {first.uid: Refused.STALE}
    assert await one.load("a") == second.summary
    assert [row.seq for row in await journal(one, first)] == [1, 2]


@behaviour
async def a_commit_to_no_run_is_refused(harness: Harness) -> None:
    """A commit to a run that was never created is refused, and creates nothing."""
    one = await harness.open("one")
    commit = following(creation("a").summary)

    assert await one.append([commit]) == {commit.uid: Refused.STALE}
    assert await listed(one) == []


@behaviour
async def a_commit_to_a_deleted_run_is_refused(harness: Harness) -> None:
    """A commit that arrives after its run was deleted is refused, also by the handle that wrote the run all along."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    last = following(summary, owner=None, status="paused").summary
    await one.append([following(summary, owner=None, status="paused")])
    await (await harness.open(None)).delete("a", summary.uid)

    assert await one.append([following(last)]) == {summary.uid: Refused.STALE}
    assert await listed(one) == []


@behaviour
async def a_commit_to_another_uid_is_refused(harness: Harness) -> None:
    """A commit to an earlier run of the same id is refused even when token and last event agree."""
    one = await harness.open("one")
    (old,) = await create(one, creation("a", owner=None))
    await one.delete("a", old.uid)
    (new,) = await create(one, creation("a"))

    assert await one.append([following(old)]) == {old.uid: Refused.STALE}
    assert await one.load("a") == new


@behaviour
async def one_refused_commit_leaves_the_others(harness: Harness) -> None:
    """In a large batch of every kind of commit only the refused ones are missing, with all they would have brought."""
    one = await harness.open("one")
    summaries = await create(one, *(creation(f"run{number}") for number in range(150)))
    await create(one, creation("taken"))
    updates = [following(summary, 2, steps_done=1) for summary in summaries]
    updates[70] = updates[70]._replace(token=7, summary=updates[70].summary._replace(token=7))
    updates[71] = following(summaries[71]._replace(seq=3), 2)
    fresh, late = creation("fresh"), creation("taken")
    batch = [*updates[:75], fresh, late, *updates[75:]]

    refused = await one.append(batch)

    assert refused == {
        summaries[70].uid: Refused.STALE,
        summaries[71].uid: Refused.STALE,
        late.uid: Refused.EXISTS,
    }
    for number, summary in enumerate(summaries):
        length = 1 if number in (70, 71) else 3
        assert (await one.load(summary.run_id)).seq == length
        assert len(await journal(one, summary)) == length
    assert (await one.load("fresh")).uid == fresh.uid


@behaviour
async def a_reader_advances_nothing(harness: Harness) -> None:
    """A handle without an owner cannot append, claim, release or take."""
    one = await harness.open("one")
    await create(one, creation("a", owner=None))
    reader = await harness.open(None)
    attempts = (
        lambda: reader.append([creation("b")]),
        lambda: reader.claim("a"),
        lambda: reader.release(None),
        lambda: reader.take(),
    )
    for attempt in attempts:
        with raising(StoreError):
            await attempt()
    assert await listed(reader) == ["a"]


@behaviour
async def concurrent_appends_all_land(harness: Harness) -> None:
    """Batches that several tasks append at once are all stored."""
    one = await harness.open("one")

    async def append(number: int) -> None:
        (summary,) = await create(one, creation(f"run{number}"))
        assert await one.append([following(summary)]) == {}

    async with create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(append, number)
    assert await one.count(RunFilter()) == 20


@behaviour
async def several_owners_write_at_once(harness: Harness) -> None:
    """Handles of several owners write to one store at once, and each sees what all of them wrote."""
    handles = [await harness.open(f"owner{number}") for number in range(3)]

    async def write(number: int) -> None:
        for step in range(5):
            (summary,) = await create(handles[number], creation(f"run{number}-{step}", f"owner{number}"))
            await handles[number].append([following(summary)])

    async with create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(write, number)
    for handle in handles:
        assert await handle.count(RunFilter()) == 15


@behaviour
async def a_cancelled_append_is_whole(harness: Harness) -> None:
    """An append cancelled at any moment has made each of its commits wholly or not at all, and the handle works on."""
    one = await harness.open("one")
    (a, b) = await create(one, creation("a"), creation("b"))
    for ticks in range(25):
        commits = [following(a, 2), following(b, 3)]
        async with create_task_group() as tasks:
            tasks.start_soon(one.append, commits)
            for _ in range(ticks):
                await checkpoint()
            tasks.cancel_scope.cancel()
        seen = [await one.load("a"), await one.load("b")]
        for before, commit, after in zip((a, b), commits, seen, strict=True):
            assert after in (before, commit.summary)
            assert len(await journal(one, after)) == after.seq
        a, b = seen


# ---------------------------------------------------------------------------------------------------------------
# Definitions
# ---------------------------------------------------------------------------------------------------------------

DEFINITION = StoredDefinition("digest", "report", "1", "name: report\nsteps: []\n")


@behaviour
async def a_definition_is_stored_with_its_run(harness: Harness) -> None:
    """The definition of a creation is found by its digest, with or without a version."""
    one = await harness.open("one")
    unversioned = StoredDefinition("other", "report", None, "ü")
    await create(one, creation("a", brings=DEFINITION), creation("b", brings=unversioned))

    assert await one.get_definition("digest") == DEFINITION
    assert await one.get_definition("other") == unversioned


@behaviour
async def a_definition_is_stored_once(harness: Harness) -> None:
    """Many runs may bring the same definition, in one batch and in several."""
    one = await harness.open("one")
    for batch in range(2):
        await create(one, *(creation(f"run{batch}-{number}", brings=DEFINITION) for number in range(3)))

    assert await one.get_definition("digest") == DEFINITION


@behaviour
async def a_refused_creation_brings_no_definition(harness: Harness) -> None:
    """The definition of a refused creation is not stored."""
    one = await harness.open("one")
    await create(one, creation("a"))
    await one.append([creation("a", brings=DEFINITION)])

    with raising(WorkflowNotFoundError):
        await one.get_definition("digest")


@behaviour
async def an_unknown_definition_is_an_error(harness: Harness) -> None:
    """Asking for a digest that is not stored raises WorkflowNotFoundError."""
    one = await harness.open("one")

    with raising(WorkflowNotFoundError):
        await one.get_definition("digest")


# ---------------------------------------------------------------------------------------------------------------
# Ownership
# ---------------------------------------------------------------------------------------------------------------


@behaviour
async def a_run_of_a_dead_owner_can_be_claimed(harness: Harness) -> None:
    """Claiming a run of a dead owner changes its owner, raises its token by one, and changes nothing else."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a", steps_done=4))
    await harness.kill(one)
    claimed = await two.claim("a")

    assert claimed == summary._replace(owner="two", token=2)
    assert await two.load("a") == claimed


@behaviour
async def a_run_without_an_owner_can_be_claimed(harness: Harness) -> None:
    """A run that nobody has to advance can be claimed while everybody is alive."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, creation("a", owner=None, status="failed", finished_at=5))

    assert (await two.claim("a")).owner == "two"


@behaviour
async def a_run_of_a_live_owner_cannot_be_claimed(harness: Harness) -> None:
    """Claiming a run of a live owner raises RunActiveError and changes nothing."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))

    with raising(RunActiveError):
        await two.claim("a")
    assert await two.load("a") == summary


@behaviour
async def a_run_of_ones_own_cannot_be_claimed(harness: Harness) -> None:
    """Claiming a run one owns already raises RunActiveError."""
    one = await harness.open("one")
    await create(one, creation("a"))

    with raising(RunActiveError):
        await one.claim("a")
    assert (await one.load("a")).token == 1


@behaviour
async def an_unknown_run_cannot_be_claimed(harness: Harness) -> None:
    """Claiming a run that is not there raises RunNotFoundError; so does an id in other letters."""
    one = await harness.open("one")
    await create(one, creation("a", owner=None))
    for run_id in ("b", "A"):
        with raising(RunNotFoundError):
            await one.claim(run_id)


@behaviour
async def tokens_only_grow(harness: Harness) -> None:
    """Each change of owner raises the token by one; releasing, committing and reopening never lower it."""
    one = await harness.open("one")
    await create(one, creation("a"))
    await harness.kill(one)
    for token in range(2, 6):
        handle = await harness.open(f"owner{token}")
        claimed = await handle.claim("a")
        assert claimed.token == token
        await handle.append([following(claimed)])
        if token % 2:
            await handle.release(None)
        assert (await handle.load("a")).token == token
        await harness.kill(handle)


@behaviour
async def a_new_owner_continues_the_journal(harness: Harness) -> None:
    """After a takeover the new owner's commits stand, and those of anybody with the old token are refused."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))
    await one.append([following(summary)])
    await one.release(None)
    claimed = await two.claim("a")

    assert await two.append([following(claimed)]) == {}
    stale = summary._replace(seq=3)
    assert await one.append([following(stale)]) == {summary.uid: Refused.STALE}
    assert [row.seq for row in await journal(two, summary)] == [1, 2, 3]


@behaviour
async def a_run_comes_back_to_its_first_owner(harness: Harness) -> None:
    """An owner that gets a run back after another one changed it writes the whole summary again."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))
    await one.append([following(summary)])
    await one.release(None)
    theirs = following(await two.claim("a"), status="waiting", error_message="theirs")
    await two.append([theirs])
    await two.release(None)
    mine = following((await one.claim("a")), status="running", error_message=None)
    await one.append([mine])

    assert await one.load("a") == mine.summary


@behaviour
async def only_one_of_many_claims_wins(harness: Harness) -> None:
    """Of several owners that claim a run at once, one gets it and the others are told that it is active."""
    handles = [await harness.open(f"owner{number}") for number in range(4)]
    await create(handles[0], creation("a", owner=None))
    winners: list[RunSummary] = []

    async def claim(handle: StateBackend) -> None:
        try:
            winners.append(await handle.claim("a"))
        except RunActiveError:
            pass

    async with create_task_group() as tasks:
        for handle in handles:
            tasks.start_soon(claim, handle)
    assert [summary.token for summary in winners] == [2]
    assert await handles[0].load("a") == winners[0]


@behaviour
async def a_cancelled_claim_is_whole(harness: Harness) -> None:
    """A claim cancelled at any moment has changed owner and token together, or neither."""
    one, two = await harness.open("one"), await harness.open("two")
    for ticks in range(12):
        (summary,) = await create(one, creation(f"run{ticks}", owner=None))
        async with create_task_group() as tasks:
            tasks.start_soon(two.claim, summary.run_id)
            for _ in range(ticks):
                await checkpoint()
            tasks.cancel_scope.cancel()
        seen = await one.load(summary.run_id)
        assert seen in (summary, summary._replace(owner="two", token=2))


@behaviour
async def idle_runs_are_claimed_together(harness: Harness) -> None:
    """A new owner claims the runs of dead owners in one go, oldest first and no more than asked for."""
    dead = await harness.open("one")
    await create(dead, *(creation(f"r{number}", created_at=number) for number in (3, 1, 2)))
    await harness.kill(dead)
    heir = await harness.open("two")

    first = await heir.claim_idle(["running"], ["report"], 2)
    rest = await heir.claim_idle(["running"], ["report"], 2)

    assert [run.run_id for run in first] == ["r1", "r2"]
    assert [run.run_id for run in rest] == ["r3"]
    assert {(run.owner, run.token) for run in [*first, *rest]} == {("two", 2)}
    assert await heir.load("r1") == first[0]
    assert not await heir.claim_idle(["running"], ["report"], 2)


@behaviour
async def only_idle_runs_that_fit_are_claimed(harness: Harness) -> None:
    """Runs of live owners, of other statuses, and of workflows nobody knows, stay; a stored definition is enough."""
    dead, alive = await harness.open("one"), await harness.open("live")
    await create(
        dead,
        creation("mine"),
        creation("waiting", status="waiting"),
        creation("stranger", workflow="strange"),
        creation("told", workflow="strange", definition="d1"),
    )
    await create(alive, creation("theirs", owner="live"))
    await harness.kill(dead)
    heir = await harness.open("two")

    claimed = await heir.claim_idle(["running"], ["report"], 10)

    assert {run.run_id for run in claimed} == {"mine", "told"}
    assert (await heir.load("theirs")).owner == "live"
    assert (await heir.load("waiting")).token == 1


@behaviour
async def due_runs_come_soonest_first(harness: Harness) -> None:
    """Of the runs that wait, those whose time has come, and when the next one's will have."""
    handle, other = await harness.open("one"), await harness.open("two")
    for number, wake_at in enumerate((300, 100, 200, None)):
        await create(handle, creation(f"r{number}", status="waiting", wake_at=wake_at))
    await create(other, creation("theirs", owner="two", status="waiting", wake_at=1))

    none, some, bounded = await handle.due(99, 10), await handle.due(250, 10), await handle.due(1_000, 2)

    assert (list(none.runs), none.next) == ([], 100)
    assert ([run.run_id for run in some.runs], some.next) == (["r1", "r2"], 300)
    assert ([run.run_id for run in bounded.runs], bounded.next) == (["r1", "r2"], 300)
    assert (await handle.due(1_000, 10)).next is None


@behaviour
async def releasing_gives_up_every_run(harness: Harness) -> None:
    """Releasing without names gives up all runs of this owner, with their tokens, and none of another one."""
    one, two = await harness.open("one"), await harness.open("two")
    (a, b) = await create(one, creation("a"), creation("b"))
    (c,) = await create(two, creation("c", "two"))
    await one.release(None)

    assert await two.load("a") == a._replace(owner=None)
    assert await two.load("b") == b._replace(owner=None)
    assert await two.load("c") == c


@behaviour
async def releasing_some_keeps_the_others(harness: Harness) -> None:
    """Releasing by uid gives up those runs only, and never one of another owner."""
    one, two = await harness.open("one"), await harness.open("two")
    (a, b) = await create(one, creation("a"), creation("b"))
    (c,) = await create(two, creation("c", "two"))
    await one.release([a.uid, c.uid])

    assert await one.load("a") == a._replace(owner=None)
    assert await one.load("b") == b
    assert await one.load("c") == c


# ---------------------------------------------------------------------------------------------------------------
# Deleting and pruning
# ---------------------------------------------------------------------------------------------------------------


@behaviour
async def a_deleted_run_is_gone(harness: Harness) -> None:
    """A deleted run cannot be loaded, read, listed, counted, claimed or posted to; others stay."""
    one = await harness.open("one")
    (a, b) = await create(one, creation("a", owner=None), creation("b", owner=None))
    await one.delete("a", a.uid)

    attempts = (
        lambda: one.load("a"),
        lambda: journal(one, a),
        lambda: one.claim("a"),
        lambda: one.post("a", Request("cancel", "{}", 1)),
        lambda: one.delete("a", a.uid),
    )
    for attempt in attempts:
        with raising(RunNotFoundError):
            await attempt()
    assert await listed(one) == ["b"]
    assert await one.count(RunFilter()) == 1
    assert len(await journal(one, b)) == 1


@behaviour
async def a_run_of_a_live_owner_cannot_be_deleted(harness: Harness) -> None:
    """Deleting a run of a live owner raises RunActiveError; once the owner is dead it goes."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    reader = await harness.open(None)
    with raising(RunActiveError):
        await reader.delete("a", summary.uid)
    assert await listed(reader) == ["a"]
    await harness.kill(one)
    await reader.delete("a", summary.uid)

    assert await listed(reader) == []


@behaviour
async def only_the_named_life_is_deleted(harness: Harness) -> None:
    """Deleting with the uid of an earlier run of that id raises RunNotFoundError and leaves the present one."""
    one = await harness.open("one")
    await create(one, creation("a", owner=None))

    with raising(RunNotFoundError):
        await one.delete("a", "another-uid")
    assert await listed(one) == ["a"]


@behaviour
async def an_id_can_be_used_again(harness: Harness) -> None:
    """After a delete the id makes another run, with its own journal; whoever asks by the old uid is told."""
    one = await harness.open("one")
    (old,) = await create(one, creation("a", owner=None, token=3))
    await one.delete("a", old.uid)
    (new,) = await create(one, creation("A"))

    assert await one.load("A") == new
    assert [row.seq for row in await journal(one, new)] == [1]
    with raising(RunReplacedError):
        await one.read_events("A", old.uid, 0, 10)


@behaviour
async def a_dry_run_foretells_the_pruning(harness: Harness) -> None:
    """A dry run of pruning changes nothing and names exactly the runs that pruning then takes."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{number}", owner=None, created_at=number % 7) for number in range(50)))
    for filter in (RunFilter(created_before=3), RunFilter(id_prefix="run4"), RunFilter()):
        before = await listed(one)
        foretold = await one.prune(filter, limit=30, dry_run=True)
        assert await listed(one) == before
        gone = await one.prune(filter, limit=30, dry_run=False)

        assert list(gone.runs) == list(foretold.runs)
        assert gone.total == len(gone.runs) <= foretold.total
        assert gone.more == foretold.more == (foretold.total > 30)
        assert gone.bytes > 0
        assert set(await listed(one)) == set(before) - {summary.run_id for summary in gone.runs}


@behaviour
async def pruning_takes_the_longest_settled_first(harness: Harness) -> None:
    """Pruning takes matching runs from the longest settled on, no more than its limit, and their journals with them."""
    one = await harness.open("one")
    runs = await create(one, *(creation(f"run{n}", owner=None, finished_at=100 - n) for n in range(60)))
    gone = await one.prune(RunFilter(), limit=45, dry_run=False)

    assert [summary.run_id for summary in gone.runs] == [f"run{n}" for n in range(59, 14, -1)]
    assert set(await listed(one)) == {f"run{n}" for n in range(15)}
    with raising(RunNotFoundError):
        await journal(one, runs[59])


@behaviour
async def pruning_spares_live_owners(harness: Harness) -> None:
    """Pruning never takes a run that a live owner has, be it the pruner itself, but takes those of the dead."""
    one, two = await harness.open("one"), await harness.open("two")
    dead = await harness.open("dead")
    await create(dead, creation("c", "dead"), creation("d", None))
    await create(one, creation("a"))
    await create(two, creation("b", "two"))
    await harness.kill(dead)
    foretold = await one.prune(RunFilter(), limit=10, dry_run=True)
    gone = await one.prune(RunFilter(), limit=10, dry_run=False)

    assert [summary.run_id for summary in gone.runs] == ["c", "d"]
    assert foretold == gone
    assert await listed(one) == ["b", "a"]


@behaviour
async def a_reader_may_prune(harness: Harness) -> None:
    """A handle without an owner may post, delete and prune."""
    one = await harness.open("one")
    (a, _, _) = await create(one, creation("a", None), creation("b", None, workflow="old"), creation("c", None))
    reader = await harness.open(None)
    await reader.delete("a", a.uid)
    await reader.post("c", Request("cancel", "{}", 1))
    await reader.prune(RunFilter(workflow="old"), limit=10, dry_run=False)

    assert await listed(reader) == ["c"]


# ---------------------------------------------------------------------------------------------------------------
# The inbox
# ---------------------------------------------------------------------------------------------------------------


@behaviour
async def requests_reach_the_owner_in_order(harness: Harness) -> None:
    """The owner takes the requests for all its runs, in the order they were posted, as they were posted."""
    one = await harness.open("one")
    reader = await harness.open(None)
    (a, b) = await create(one, creation("a"), creation("b"))
    requests = [Request("signal", f'{{"n":{n}}}', n) for n in range(6)]
    for number, request in enumerate(requests):
        await reader.post("ab"[number % 2], request)
    taken = await one.take()

    assert [posted.request for posted in taken] == requests
    assert [posted.uid for posted in taken] == [a.uid, b.uid] * 3
    assert sorted({posted.id for posted in taken}) == [posted.id for posted in taken]


@behaviour
async def a_request_stays_until_answered(harness: Harness) -> None:
    """A request is taken again and again until a commit names it, and goes with that commit alone."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.post("a", Request("signal", "{}", 1))
    await one.post("a", Request("cancel", "{}", 2))
    first, second = await one.take()
    assert list(await one.take()) == [first, second]
    await one.append([following(summary, taken=[first.id])])

    assert list(await one.take()) == [second]


@behaviour
async def a_refused_commit_answers_nothing(harness: Harness) -> None:
    """The requests named by a refused commit stay."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.post("a", Request("signal", "{}", 1))
    (posted,) = await one.take()
    await one.append([following(summary._replace(seq=4), taken=[posted.id])])

    assert list(await one.take()) == [posted]


@behaviour
async def a_final_run_takes_no_requests(harness: Harness) -> None:
    """Posting to a completed, failed or cancelled run raises RunFinishedError; a paused one takes requests."""
    one = await harness.open("one")
    for status in ("completed", "failed", "cancelled"):
        await create(one, creation(status, owner=None, status=status, finished_at=1))
        with raising(RunFinishedError):
            await one.post(status, Request("signal", "{}", 1))
    await create(one, creation("paused", status="paused"))
    await one.post("paused", Request("signal", "{}", 1))

    assert len(await one.take()) == 1


@behaviour
async def posting_to_no_run_is_an_error(harness: Harness) -> None:
    """Posting to an id that is not there raises RunNotFoundError; so does an id in other letters."""
    one = await harness.open("one")
    await create(one, creation("a"))
    for run_id in ("b", "A"):
        with raising(RunNotFoundError):
            await one.post(run_id, Request("signal", "{}", 1))


@behaviour
async def posting_tells_how_the_run_stands(harness: Harness) -> None:
    """Posting answers with the summary at that moment, so the poster knows who will take it."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", status="waiting"))
    reader = await harness.open(None)

    assert await reader.post("a", Request("signal", "{}", 1)) == summary


@behaviour
async def requests_move_with_their_run(harness: Harness) -> None:
    """Only the owner of a run takes its requests, and after a takeover that is the new one."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, creation("a"))
    await two.post("a", Request("signal", "{}", 1))
    assert await two.take() == []
    assert len(await one.take()) == 1
    await harness.kill(one)
    await two.claim("a")

    assert [posted.request.kind for posted in await two.take()] == ["signal"]


@behaviour
async def requests_go_with_a_deleted_run(harness: Harness) -> None:
    """The requests of a deleted run are gone, also for the next run of that id."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", owner=None))
    await one.post("a", Request("signal", "{}", 1))
    await one.delete("a", summary.uid)
    await create(one, creation("a"))

    assert await one.take() == []


@behaviour
async def ids_of_requests_are_never_used_again(harness: Harness) -> None:
    """A request gets an id that no earlier one had, even if that was answered."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    seen: list[int] = []
    for _ in range(3):
        await one.post("a", Request("signal", "{}", 1))
        (posted,) = await one.take()
        seen.append(posted.id)
        commit = following(summary, taken=[posted.id])
        await one.append([commit])
        summary = commit.summary

    assert seen == sorted(set(seen))


@behaviour
async def a_post_wakes_the_owner(harness: Harness) -> None:
    """An owner that waits for posts is woken by one from another handle, and then takes it."""
    one = await harness.open("one")
    reader = await harness.open(None)
    await create(one, creation("a"))
    await one.take()
    with fail_after(PATIENCE_SECONDS):
        async with create_task_group() as tasks:
            tasks.start_soon(reader.post, "a", Request("signal", "{}", 1))
            while not await one.take():
                await one.wait_for_posts()
    assert len(await one.take()) == 1


@behaviour
async def a_post_before_the_wait_is_not_missed(harness: Harness) -> None:
    """A post that comes between taking and waiting ends the wait."""
    one = await harness.open("one")
    await create(one, creation("a"))
    await one.take()
    await one.post("a", Request("signal", "{}", 1))
    with fail_after(PATIENCE_SECONDS):
        await one.wait_for_posts()

    assert len(await one.take()) == 1


@behaviour
async def a_claimed_run_may_bring_posts(harness: Harness) -> None:
    """A wait after claiming a run with open requests ends at once."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, creation("a"))
    await one.post("a", Request("signal", "{}", 1))
    await two.take()
    await harness.kill(one)
    await two.claim("a")
    with fail_after(PATIENCE_SECONDS):
        await two.wait_for_posts()

    assert len(await two.take()) == 1


@behaviour
async def a_claim_during_the_wait_is_not_missed(harness: Harness) -> None:
    """A wait that is under way ends when this owner claims a run with open requests."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, creation("a"))
    await one.post("a", Request("signal", "{}", 1))
    await two.take()
    await harness.kill(one)
    with fail_after(PATIENCE_SECONDS):
        async with create_task_group() as tasks:
            tasks.start_soon(two.claim, "a")
            while not await two.take():
                await two.wait_for_posts()


@behaviour
async def a_wait_can_be_cancelled(harness: Harness) -> None:
    """A cancelled wait for posts leaves nothing behind: the next one works."""
    one = await harness.open("one")
    await create(one, creation("a"))
    await one.take()
    for ticks in range(5):
        async with create_task_group() as tasks:
            tasks.start_soon(one.wait_for_posts)
            for _ in range(ticks):
                await checkpoint()
            tasks.cancel_scope.cancel()
    await one.post("a", Request("signal", "{}", 1))
    with fail_after(PATIENCE_SECONDS):
        await one.wait_for_posts()

    assert len(await one.take()) == 1


# ---------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------


@behaviour
async def ids_are_matched_exactly(harness: Harness) -> None:
    """A run is loaded by its exact id; other letters raise RunNotFoundError."""
    one = await harness.open("one")
    await create(one, creation("Report"))

    assert (await one.load("Report")).run_id == "Report"
    with raising(RunNotFoundError):
        await one.load("report")


@behaviour
async def a_journal_is_read_in_pages(harness: Harness) -> None:
    """Reading after the last event one has seen, page by page, gives every event once, and then nothing."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.append([following(summary, 9)])
    seen: list[int] = []
    while rows := await one.read_events("a", summary.uid, seen[-1] if seen else 0, 4):
        assert len(rows) <= 4
        seen += [row.seq for row in rows]

    assert seen == list(range(1, 11))
    assert list(await one.read_events("a", summary.uid, 99, 4)) == []


@behaviour
async def a_journal_of_no_run_is_an_error(harness: Harness) -> None:
    """Reading the journal of an id that is not there raises RunNotFoundError, of another uid RunReplacedError."""
    one = await harness.open("one")
    await create(one, creation("a"))
    with raising(RunNotFoundError):
        await one.read_events("b", "uid", 0, 10)

    with raising(RunReplacedError):
        await one.read_events("a", "another-uid", 0, 10)


@behaviour
async def runs_are_listed_newest_first(harness: Harness) -> None:
    """Runs are listed newest first by instant of creation, and where that is equal by id, in order of code points."""
    one = await harness.open("one")
    created = {"a": 2, "b": 5, "c": 2, "D": 2, "e": 1}
    await create(one, *(creation(run_id, created_at=at) for run_id, at in created.items()))

    assert await listed(one) == ["b", "c", "a", "D", "e"]


async def _filtered(harness: Harness) -> StateBackend:
    """A store of runs that differ in everything a filter looks at."""
    one = await harness.open("one")
    await create(
        one,
        creation("alpha-1", status="running", created_at=1, labels='{"team":"a","n":"1"}'),
        creation("alpha-2", None, status="completed", created_at=2, finished_at=20, workflow="nightly"),
        creation("Alpha-3", None, status="failed", created_at=3, finished_at=30, labels='{"team":"b"}'),
        creation("beta_1", None, status="paused", created_at=4, updated_at=25, workflow="nightly"),
        creation("beta%2", "two", status="waiting", created_at=5, updated_at=5, labels='{"team":"a"}'),
        creation("gamma", None, status="cancelled", created_at=6, finished_at=40, labels='{"odd \\"key\\"":"%"}'),
    )
    return one


FILTERS: tuple[tuple[RunFilter, list[str]], ...] = (
    (RunFilter(), ["gamma", "beta%2", "beta_1", "Alpha-3", "alpha-2", "alpha-1"]),
    (RunFilter(statuses=["running"]), ["alpha-1"]),
    (RunFilter(statuses=["failed", "running", "waiting"]), ["beta%2", "Alpha-3", "alpha-1"]),
    (RunFilter(statuses=["pending"]), []),
    (RunFilter(workflow="nightly"), ["beta_1", "alpha-2"]),
    (RunFilter(workflow="night"), []),
    (RunFilter(id_prefix="alpha"), ["alpha-2", "alpha-1"]),
    (RunFilter(id_prefix="beta_"), ["beta_1"]),
    (RunFilter(id_prefix="beta%"), ["beta%2"]),
    (RunFilter(id_prefix="gamma"), ["gamma"]),
    (RunFilter(id_prefix=""), ["gamma", "beta%2", "beta_1", "Alpha-3", "alpha-2", "alpha-1"]),
    (RunFilter(labels=[("team", "a")]), ["beta%2", "alpha-1"]),
    (RunFilter(labels=[("team", "a"), ("n", "1")]), ["alpha-1"]),
    (RunFilter(labels=[('odd "key"', "%")]), ["gamma"]),
    (RunFilter(labels=[("team", "A")]), []),
    (RunFilter(created_before=3), ["alpha-2", "alpha-1"]),
    (RunFilter(settled_before=30), ["beta_1", "alpha-2"]),
    (RunFilter(settled_before=31), ["beta_1", "Alpha-3", "alpha-2"]),
    (RunFilter(owner="one"), ["alpha-1"]),
    (RunFilter(owner="two"), ["beta%2"]),
    (RunFilter(owner="nobody"), []),
    (RunFilter(statuses=["waiting", "running"], labels=[("team", "a")], created_before=5), ["alpha-1"]),
    (RunFilter(statuses=["paused"], workflow="nightly", id_prefix="b", settled_before=26), ["beta_1"]),
)


@behaviour
async def filters_choose_runs(harness: Harness) -> None:
    """Each part of a filter chooses exactly the runs that match it, and parts given together must all match."""
    one = await _filtered(harness)
    for filter, expected in FILTERS:
        assert await listed(one, filter) == expected, filter


@behaviour
async def counting_agrees_with_listing(harness: Harness) -> None:
    """Counting gives the number of runs that listing finds, for every filter."""
    one = await _filtered(harness)
    for filter, expected in FILTERS:
        assert await one.count(filter) == len(expected), filter


@behaviour
async def pruning_uses_the_same_filters(harness: Harness) -> None:
    """Pruning chooses by filters as listing does, less the runs of live owners."""
    one = await _filtered(harness)
    for filter, expected in FILTERS:
        chosen = await one.prune(filter, limit=100, dry_run=True)
        assert {run.run_id for run in chosen.runs} == {run for run in expected if run != "alpha-1"}, filter


@behaviour
async def pages_have_no_gaps_and_no_repeats(harness: Harness) -> None:
    """Pages give every run that was there at the first one exactly once, while others arrive and go in between."""
    one = await harness.open("one")
    filters = (RunFilter(), RunFilter(workflow="report"), RunFilter(statuses=["running", "waiting"]))
    for round, filter in enumerate(filters):
        statuses = ["waiting" if number % 3 else "running" for number in range(20)]
        await create(
            one,
            *(creation(f"{round}-{n}", None, created_at=n // 3, status=status) for n, status in enumerate(statuses)),
        )
        before = await listed(one, filter)
        seen: list[str] = []
        page: Page | None = None
        while page is None or page.next is not None:
            page = await one.list(filter, limit=3, page=page and page.next)
            assert len(page.runs) <= 3
            seen += [summary.run_id for summary in page.runs]
            (_, brief) = await create(
                one,
                creation(f"{round}-young-{len(seen)}", None, created_at=99),
                creation(f"{round}-brief-{len(seen)}", None, created_at=0),
            )
            await one.delete(brief.run_id, brief.uid)
        assert seen == before


@behaviour
async def the_last_page_says_so(harness: Harness) -> None:
    """A page that ends with the last run has no next one, also when it is exactly full."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{number}") for number in range(6)))
    first = await one.list(RunFilter(), limit=3)
    second = await one.list(RunFilter(), limit=3, page=first.next)

    assert first.next is not None
    assert len(second.runs) == 3
    assert second.next is None
    assert (await one.list(RunFilter(), limit=6)).next is None


@behaviour
async def a_page_token_fits_its_filter_only(harness: Harness) -> None:
    """A page token of another filter, or one that was made up, raises InvalidNameError."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{number}") for number in range(3)))
    token = (await one.list(RunFilter(), limit=1)).next
    for filter, page in ((RunFilter(workflow="report"), token), (RunFilter(), "made up"), (RunFilter(), "AAAA")):
        with raising(InvalidNameError):
            await one.list(filter, limit=1, page=page)


BEHAVIOURS: tuple[Behaviour, ...] = tuple(_behaviours)
"""The whole suite, in the order of this page."""
