"""The segments of a store's journals: runs go from one to the next, and many runs share a few pages of the index."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backends.conftest import Open
from flujo.backends import SQLiteBackend
from flujo.backends.conformance import create, creation, following, journal
from flujo.backends.sqlite import files, segments
from flujo.kernel.backend import RunSummary
from flujo.kernel.events import EventRow

BACKEND = SQLiteBackend

SMALL = 8


@pytest.fixture
def anyio_backend() -> str:
    """aiosqlite runs on asyncio only."""
    return "asyncio"


def segments_of(path: Path, run_id: str) -> list[tuple[int, int]]:
    """(segment, first event there) of a run, as the store has them."""
    with closing(sqlite3.connect(path)) as shell:
        query = "SELECT segment, run_segments.seq FROM run_segments JOIN runs USING (run) WHERE run_id = ? ORDER BY 1"
        return shell.execute(query, (run_id,)).fetchall()


async def advance(store: SQLiteBackend, *runs: RunSummary, events: int = 1) -> list[RunSummary]:
    """Record events of these runs in one batch; their summaries after it."""
    commits = [following(run, events) for run in runs]
    assert await store.append(commits) == {}
    return [commit.summary for commit in commits]


async def test_a_long_journal_goes_over_segments(open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal is read whole and from every place, however many segments it lies in."""
    monkeypatch.setattr(segments, "SIZE", SMALL)
    store = await open_store("one")
    a, b = await create(store, creation("a"), creation("b"))
    for _ in range(10):
        a, b = await advance(store, a, b)
    places = segments_of(path, "a")
    everything = await journal(store, a)

    assert [row.seq for row in everything] == list(range(1, 12))
    assert len(places) >= 3
    assert places[0] == (0, 1)
    for after in range(12):
        for limit in (1, 3, 100):
            found = await store.read_events("a", a.uid, after, limit)
            assert found == everything[after : after + limit], (after, limit)
    assert await store.integrity() == []


async def test_a_run_never_goes_back_to_an_earlier_segment(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that has long been in one segment takes up a run where the store is now, and not where it is itself."""
    monkeypatch.setattr(segments, "SIZE", SMALL)
    slow, quick = await open_store("slow"), await open_store("quick")
    (mine,) = await create(slow, creation("mine", "slow"))
    (moved,) = await create(quick, creation("moved", "quick"))
    for _ in range(3 * SMALL):
        (moved,) = await advance(quick, moved)
    (mine,) = await advance(slow, mine)  # still in the segment in which it began
    await quick.release([moved.uid])
    taken = await slow.claim("moved")
    (mine,) = await advance(slow, mine)
    (taken,) = await advance(slow, taken, events=2)
    places = segments_of(path, "moved")

    assert segments_of(path, "mine")[0][0] < places[-1][0]
    assert places == sorted(places)
    assert [seq for _, seq in places] == sorted(seq for _, seq in places)
    assert [row.seq for row in await journal(slow, taken)] == list(range(1, taken.seq + 1))
    assert await slow.integrity() == []


async def test_a_refused_commit_leaves_no_segment(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused in a batch leaves no trace, and the rest of the batch is where it belongs."""
    monkeypatch.setattr(segments, "SIZE", SMALL)
    store = await open_store("one")
    a, b = await create(store, creation("a"), creation("b"))
    for _ in range(SMALL):
        (b,) = await advance(store, b)
    before = segments_of(path, "a")
    refused = await store.append([following(a._replace(seq=5)), following(b)])

    assert set(refused) == {a.uid}
    assert segments_of(path, "a") == before
    assert await store.integrity() == []


async def test_a_pruned_run_leaves_no_segment(open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is deleted goes with its events in every segment, and other runs keep theirs."""
    monkeypatch.setattr(segments, "SIZE", SMALL)
    store = await open_store("one")
    a, b = await create(store, creation("a"), creation("b"))
    for _ in range(SMALL):
        a, b = await advance(store, a, b)
    await store.release([a.uid])
    await store.delete("a", a.uid)
    with closing(sqlite3.connect(path)) as shell:
        query = "SELECT DISTINCT run FROM events UNION ALL SELECT DISTINCT run FROM run_segments"
        left = shell.execute(query).fetchall()

    assert left == [(2,), (2,)]
    assert [row.seq for row in await journal(store, b)] == list(range(1, b.seq + 1))
    assert await store.integrity() == []


async def test_runs_that_advance_together_share_pages(open_store: Open, path: Path) -> None:
    """A step of one of a hundred runs, with an output of a kilobyte, writes less than a page in all."""
    store = await open_store("one")
    runs = await create(store, *(creation(f"run-{number}") for number in range(100)))
    log = path.with_name("state.db-wal")
    sizes = []
    for _ in range(6):
        commits = [following(run, 2) for run in runs]
        commits = [commit._replace(rows=(_with_output(commit.rows[0]), commit.rows[1])) for commit in commits]
        assert await store.append(commits) == {}
        runs = [commit.summary for commit in commits]
        sizes.append(files.size_of(log))
    pages = (sizes[-1] - sizes[0]) / (4096 + 24) / (100 * (len(sizes) - 1))

    assert 0.3 < pages < 0.8, pages


def _with_output(row: EventRow) -> EventRow:
    return row._replace(payload='"' + "x" * 1022 + '"')
