"""Reading one run."""

from __future__ import annotations

from collections.abc import Sequence

from flujo.kernel.backend import READ_BYTES, FoundRun, Request, RunFilter, StoredRun
from flujo.kernel.errors import (
    RunNotFoundError,
    RunReplacedError,
)

from .harness import Harness, behaviour, raising
from .values import create, creation, following, journal, listed


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
async def a_journal_is_read_event_by_event(harness: Harness) -> None:
    """A page of one event after any seq is the next event, whoever reads and in whatever order."""
    one = await harness.open("one")
    reader = await harness.open(None)
    (summary,) = await create(one, creation("a"))
    for _ in range(4):
        commit = following(summary, 3)
        await one.append([commit])
        summary = commit.summary

    for after in (12, 0, 7, 3, 11, 1):
        assert [row.seq for row in await reader.read_events("a", summary.uid, after, 1)] == [after + 1]


@behaviour
async def a_journal_grows_under_its_reader(harness: Harness) -> None:
    """A reader at the end of a journal finds what was added since, and only that."""
    one = await harness.open("one")
    reader = await harness.open(None)
    (summary,) = await create(one, creation("a"))
    seen: list[int] = []
    for events in (1, 4, 2):
        commit = following(summary, events)
        await one.append([commit])
        summary = commit.summary
        seen += [row.seq for row in await reader.read_events("a", summary.uid, seen[-1] if seen else 0, 100)]

    assert seen == list(range(1, 9))


@behaviour
async def journals_are_kept_apart(harness: Harness) -> None:
    """Each run has its own events, however the commits of many were mixed."""
    one = await harness.open("one")
    runs = list(await create(one, *(creation(f"run{number}") for number in range(5))))
    for round in range(6):
        commits = [following(run, 1 + (round + n) % 3, steps_done=n) for n, run in enumerate(runs) if (round + n) % 4]
        assert await one.append(commits) == {}
        moved = {commit.run_id: commit.summary for commit in commits}
        runs = [moved.get(run.run_id, run) for run in runs]

    for run in runs:
        assert await one.load(run.run_id) == run
        assert [row.seq for row in await journal(one, run)] == list(range(1, run.seq + 1))


def _whole(found: Sequence[FoundRun]) -> list[StoredRun]:
    runs = [run for run in found if isinstance(run, StoredRun)]
    assert len(runs) == len(found), found
    return runs


@behaviour
async def many_runs_are_read_at_once(harness: Harness) -> None:
    """Runs that are asked for together come in the order in which they were named, each with its summary, its journal
    and what waits in its inbox, as the calls for one run give them."""
    one = await harness.open("one")
    reader = await harness.open(None)
    await create(one, *(creation(f"run{number}") for number in range(5)))
    for number in (3, 1):
        await one.append([following(await one.load(f"run{number}"), number)])
        await one.post(f"run{number}", Request("signal", "{}", number))
    names = ["run3", "run0", "run1", "run4"]

    for handle in (one, reader):
        found = _whole(await handle.read_runs(names, 100))
        assert [run.summary for run in found] == [await one.load(name) for name in names]
        assert [list(run.events) for run in found] == [list(await journal(one, run.summary)) for run in found]
        assert [[each.request.at for each in run.requests] for run in found] == [[3], [], [1], []]
        assert all(each.uid == run.summary.uid for run in found for each in run.requests)
    assert list(await one.read_runs([], 100)) == []


@behaviour
async def so_many_events_of_each_run_are_read(harness: Harness) -> None:
    """Of a journal that is longer than was asked for its first events are there, and with 0 none."""
    one = await harness.open("one")
    runs = await create(one, creation("a"), creation("b"))
    await one.append([following(runs[0], 5)])

    for events, expected in ((3, [3, 1]), (0, [0, 0]), (6, [6, 1])):
        found = _whole(await one.read_runs(["a", "b"], events))
        assert [len(run.events) for run in found] == expected
        assert [run.summary.seq for run in found] == [6, 1]


@behaviour
async def a_run_that_is_not_there_is_named_among_many(harness: Harness) -> None:
    """In the place of a run that is not there, under exactly this id, is its RunNotFoundError; the others are read."""
    one = await harness.open("one")
    (_, gone, _) = await create(one, creation("a"), creation("gone", None), creation("c"))
    await one.delete("gone", gone.uid)

    first, second, third, fourth = await one.read_runs(["a", "gone", "A", "c"], 10)

    assert isinstance(first, StoredRun)
    assert isinstance(second, RunNotFoundError)
    assert isinstance(third, RunNotFoundError)
    assert isinstance(fourth, StoredRun)


@behaviour
async def what_is_read_at_once_is_bounded(harness: Harness) -> None:
    """An answer ends behind the run with which it is larger than READ_BYTES, so asking on for the rest gives each run
    once, however large they are."""
    one = await harness.open("one")
    payload = '"' + "x" * (READ_BYTES // 2) + '"'
    names = [f"run{number}" for number in range(6)]
    for name in names:
        commit = creation(name)
        await create(one, commit._replace(rows=(commit.rows[0]._replace(payload=payload),)))
    answers: list[list[str]] = []
    while rest := names[sum(map(len, answers)) :]:
        answers.append([run.summary.run_id for run in _whole(await one.read_runs(rest, 10))])

    assert answers == [names[:2], names[2:4], names[4:]]


@behaviour
async def an_empty_store_has_nothing(harness: Harness) -> None:
    """In an empty store nothing is found, counted, pruned or added up."""
    one = await harness.open("one")

    assert await listed(one) == []
    assert await one.count(RunFilter()) == 0
    assert list(await one.stats(0)) == []
    assert list(await one.take()) == []
    assert list(await one.claim_idle(["running"], ["report"], 10)) == []
    with raising(RunNotFoundError):
        await one.load("a")
