"""What SQLite answers about many runs: the same as the pure functions of `selection`, and never by looking at all."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import anyio
import pytest

from flujo.backends import SQLiteBackend
from flujo.backends.conformance import creation
from flujo.backends.pages import Position, place
from flujo.backends.selection import Families, matches, prunable, tally
from flujo.backends.sqlite import checksums, listing, pruning, queries, statistics
from flujo.backends.sqlite import journal as journal_statements
from flujo.kernel.backend import Order, RunFilter, RunSummary
from flujo.kernel.state import FINAL, RunStatus

RUNS = 10_000

FILTERS: dict[str, RunFilter] = {
    "all": RunFilter(),
    "a rare status": RunFilter(statuses=["paused"]),
    "two statuses": RunFilter(statuses=["failed", "completed"]),
    "a status nobody has": RunFilter(statuses=["pending"]),
    "a workflow": RunFilter(workflow="report"),
    "a workflow and a status": RunFilter(workflow="report", statuses=["failed", "failed"]),
    "a workflow and statuses": RunFilter(workflow="nightly", statuses=["failed", "waiting", "completed"]),
    "a label": RunFilter(labels=[("team", "a")]),
    "a rare label": RunFilter(labels=[("odd", "%")]),
    "two labels": RunFilter(labels=[("team", "a"), ("zone", "2")]),
    "a label that contradicts itself": RunFilter(labels=[("team", "b"), ("team", "a")]),
    "a label and a status": RunFilter(labels=[("team", "a")], statuses=["paused", "failed"]),
    "a prefix of many": RunFilter(id_prefix="run"),
    "a prefix of few": RunFilter(id_prefix="run-12"),
    "a prefix in capitals": RunFilter(id_prefix="RUN-1"),
    "an empty prefix": RunFilter(id_prefix=""),
    "an owner": RunFilter(owner="one"),
    "a failed step": RunFilter(failed_step="load"),
    "a parent": RunFilter(parent="run-40"),
    "created between": RunFilter(created_from=2_000, created_before=4_000),
    "a workflow, created between": RunFilter(workflow="report", created_from=2_000, created_before=2_100),
    "statuses, created between": RunFilter(statuses=["failed", "paused"], created_from=2_000, created_before=5_000),
    "a label, created since": RunFilter(labels=[("team", "a")], created_from=9_000),
    "updated since": RunFilter(updated_from=9_900),
    "not moving since": RunFilter(statuses=["running", "waiting"], updated_before=3_000),
    "updated between": RunFilter(updated_from=2_000, updated_before=8_000),
    "finished between": RunFilter(finished_from=5_000, finished_before=5_100),
    "finished since": RunFilter(finished_from=1_000),
    "settled before": RunFilter(settled_before=5_000, statuses=["paused", "completed"]),
    "everything": RunFilter(
        statuses=["failed", "completed"],
        workflow="report",
        id_prefix="run",
        labels=[("team", "a")],
        created_from=100,
        created_before=9_000,
        updated_from=200,
        updated_before=9_500,
        finished_from=200,
        finished_before=9_500,
        settled_before=9_400,
        failed_step="load",
        parent="run-40",
    ),
}


def various_runs(number: int) -> list[RunSummary]:
    """Runs that differ in all that a filter looks at, in a random order, and now and then in nothing but their ids."""
    chance = random.Random(5)
    return [_various_run(place, chance) for place in chance.sample(range(number), number)]


def _various_run(number: int, chance: random.Random) -> RunSummary:
    status = chance.choices(["completed", "failed", "cancelled", "running", "waiting", "paused"], [80, 9, 3, 3, 3, 2])[
        0
    ]
    created_at = number - number % 3
    finished_at = created_at + 1 + chance.randrange(300) if status in FINAL else None
    labels = {"team": chance.choice("abc"), "zone": str(number % 5)} if number % 2 else {}
    if number % 1_000 == 17:
        labels["odd"] = "%"
    return creation(
        f"{'Run' if number % 7 == 3 else 'run'}-{number}",
        chance.choice(["one", "two", None]) if status in ("running", "waiting") else None,
        uid=f"uid-{number}",
        workflow=chance.choice(["report", "nightly", "other"]),
        status=status,
        labels=json.dumps(labels),
        created_at=created_at,
        started_at=chance.choice([None, created_at, created_at + 1]),
        updated_at=(finished_at or created_at) + chance.choice([0, 0, 0, 50]),
        finished_at=finished_at,
        failed_step=chance.choice(["load", "save"]) if status == RunStatus.FAILED else None,
        retries=chance.choice([0, 0, 2]),
        parent_run_id=f"run-{chance.choice([40, 41, 44, number // 2])}" if number % 4 == 1 else None,
    ).summary


@pytest.fixture(scope="module")
def runs() -> list[RunSummary]:
    """What the store of this module holds."""
    return various_runs(RUNS)


def fill(path: Path, runs: Sequence[RunSummary]) -> None:
    """Make a store of runs, each with one event; every seventh has a large payload, one of three."""

    async def make() -> None:
        handle = SQLiteBackend(path, "normal")
        await handle.open("maker")
        for start in range(0, len(runs), 1_000):
            commits = [creation(run.run_id)._replace(uid=run.uid, summary=run) for run in runs[start : start + 1_000]]
            await handle.append(
                [
                    commit._replace(rows=(commit.rows[0]._replace(payload=f'"{number % 21}{"é" * 20_000}"'),))
                    if number % 7 == 0
                    else commit
                    for number, commit in enumerate(commits)
                ]
            )
        await handle.close()

    anyio.run(make)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory, runs: Sequence[RunSummary]) -> Iterator[sqlite3.Connection]:
    """A connection to the store, for reading."""
    path = tmp_path_factory.mktemp("many") / "state.db"
    fill(path, runs)
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    yield connection
    connection.close()


Explain = Callable[[queries.Statement], list[str]]


@pytest.fixture
def explain(connection: sqlite3.Connection) -> Explain:
    """What SQLite says it does for a statement, line by line."""

    def explain(statement: queries.Statement) -> list[str]:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)]

    return explain


def scans(plan: Sequence[str]) -> list[str]:
    """The lines of a plan that read a table without an index."""
    return [line for line in plan if line.startswith("SCAN") and line.split()[1] in TABLES and "INDEX" not in line]


TABLES = ("runs", "events", "labels", "blobs", "parent", "child", "other")


def sorted_by(order: Order, runs: Sequence[RunSummary]) -> list[RunSummary]:
    return sorted(runs, key=lambda run: place(order, run), reverse=True)


# -- pages and counts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_every_way_leads_to_the_same_runs(
    connection: sqlite3.Connection, runs: Sequence[RunSummary], filter: RunFilter, order: Order
) -> None:
    """Whatever index is taken, a page holds the runs that match, in order, and the next one goes on behind it."""
    expected = sorted_by(order, [run for run in runs if matches(filter, run)])
    middle = place(order, expected[len(expected) // 2]) if expected else Position(5_000, "run")
    below = [run for run in expected if place(order, run) < middle]

    for way in listing.ways(filter, order):
        assert checksums.listed(listing.page(way, order, -1, None).rows(connection)) == expected
        assert listing.number_of_runs(way).rows(connection) == [(len(expected),)]
    for way in listing.ways(listing.beyond(filter, order), order):
        assert checksums.listed(listing.page(way, order, 50, middle).rows(connection)) == below[:50]


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_pages_add_up(
    connection: sqlite3.Connection, runs: Sequence[RunSummary], filter: RunFilter, order: Order
) -> None:
    """Page after page, each read in the way that is best for it, gives every run that matches, once, in order."""
    found: list[RunSummary] = []
    below: Position | None = None
    while page := listing.read_page(filter, order, 499, below, connection):
        found += page
        below = place(order, page[-1])

    assert found == sorted_by(order, [run for run in runs if matches(filter, run)])
    assert listing.read_number(filter, connection) == len(found)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("position", [None, Position(5_000, "run-5000")], ids=["first", "later"])
@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_pages_are_read_from_an_index(
    explain: Explain, filter: RunFilter, order: Order, position: Position | None
) -> None:
    """No way scans a table, and those that are said to be in order of creation need no sorting."""
    for way in listing.ways(filter if position is None else listing.beyond(filter, order), order):
        plan = explain(listing.page(way, order, 10, position))

        assert scans(plan) == [], plan
        if way.in_order and order is Order.CREATED:
            assert not any("TEMP B-TREE" in line for line in plan), plan


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_counts_are_read_from_an_index(explain: Explain, filter: RunFilter) -> None:
    """No number is found by scanning a table, nor how many entries each way has."""
    candidates = listing.ways(filter, Order.CREATED)

    assert scans(explain(listing.sizes_of_ways(candidates))) == []
    for way in candidates:
        plan = explain(listing.number_of_runs(way))
        assert scans(plan) == [], plan


@pytest.mark.parametrize(
    "filter",
    [
        RunFilter(),
        RunFilter(statuses=["failed", "paused"]),
        RunFilter(workflow="report"),
        RunFilter(workflow="report", statuses=["failed"]),
        RunFilter(labels=[("team", "a")]),
        RunFilter(id_prefix="run-1"),
        RunFilter(failed_step="load"),
        RunFilter(parent="run-40"),
        RunFilter(created_from=5, created_before=10),
    ],
    ids=str,
)
def test_plain_counts_read_no_run(explain: Explain, filter: RunFilter) -> None:
    """How many runs have a status, a workflow, a label and the like is read from the index alone, and so is how many
    entries a way has."""
    (*_, way) = ways = listing.ways(filter, Order.CREATED)
    for plan in (explain(listing.number_of_runs(way)), explain(listing.sizes_of_ways(ways))):
        assert all("COVERING INDEX" in line for line in plan if "runs" in line.split()), plan


@pytest.mark.parametrize("filter", [RunFilter(created_before=9), RunFilter(workflow="report", created_before=9)])
def test_a_later_page_begins_where_the_last_one_ended(explain: Explain, filter: RunFilter) -> None:
    """A bound on the instant of creation does not make later pages begin there again."""
    (way,) = listing.ways(listing.beyond(filter, Order.CREATED), Order.CREATED)
    plan = explain(listing.page(way, Order.CREATED, 10, Position(5, "a")))

    assert any("(created_at,run_id)<" in line for line in plan), plan


def test_the_last_page_ends_where_the_filter_does(explain: Explain) -> None:
    """A page does not go on below the earliest instant that is asked for."""
    (way,) = listing.ways(RunFilter(created_from=3), Order.CREATED)
    plan = explain(listing.page(way, Order.CREATED, 10, Position(5, "a")))

    assert plan == ["SEARCH runs USING INDEX runs_by_age (created_at>? AND (created_at,run_id)<(?,?))"]


def test_the_way_with_few_entries_is_taken() -> None:
    """A way with few entries is taken even if it has to be sorted; without one, the first in order is."""
    by_label, by_status, by_prefix = listing.ways(
        RunFilter(labels=[("team", "a")], statuses=["failed"], id_prefix="run"), Order.CREATED
    )
    ways = [by_label, by_status, by_prefix]

    assert [way.in_order for way in ways] == [True, True, False]
    assert listing.best(ways, [listing.FEW, 7, 3]) is by_prefix
    assert listing.best(ways, [listing.FEW, 3, 7]) is by_status
    assert listing.best(ways, [listing.FEW, listing.FEW, listing.FEW]) is by_label
    assert listing.best(ways[::-1], [listing.FEW] * 3) is by_status


# -- single runs --------------------------------------------------------------------------------------------------


def test_single_runs_are_found_by_an_index(explain: Explain) -> None:
    """Loading and claiming, reading a journal, taking requests and committing go straight to their rows."""
    assert explain(queries.find_run("a")) == ["SEARCH runs USING INDEX runs_by_id (run_id=?)"]
    journal = explain(queries.events_of(1, 5, 10))
    assert journal[0] == "SEARCH run_segments USING PRIMARY KEY (run=? AND segment>?)"
    assert "SEARCH events USING INDEX sqlite_autoindex_events_1 (segment=? AND run=? AND seq>?)" in journal
    assert scans(journal) == []
    assert not [line for line in journal if "TEMP B-TREE" in line]
    assert explain(queries.requests_for("one")) == [
        "SCAN inbox",  # only what nobody has answered yet
        "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)",
    ]
    assert scans(explain(queries.idle_runs(["one"], ["waiting"], ["report"], 10))) == []
    assert scans(explain(queries.requests_to(1))) == []
    for columns in (checksums.HOT, journal_statements._EVERY):
        update = queries.Statement(journal_statements._update(columns, 32), [1] * (32 * (5 + len(columns))))
        assert "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)" in explain(update)


def test_a_kernel_finds_its_runs_by_an_index(explain: Explain) -> None:
    """Releasing looks at the runs of one owner only, and asking for posts does not read them at all."""
    release = explain(queries.Statement("UPDATE runs SET owner = NULL WHERE owner = ?", ["one"]))

    assert release == ["SEARCH runs USING INDEX runs_by_owner (owner=?)"]


def test_a_run_goes_by_indexes(connection: sqlite3.Connection, explain: Explain) -> None:
    """Deleting a run finds its events, requests, labels and blobs by indexes; no trigger scans a table."""
    assert scans(explain(queries.Statement("DELETE FROM runs WHERE run = ?", [1]))) == []
    bodies = [
        sql.partition("BEGIN")[2].rpartition("END")[0].strip().rstrip(";")
        for (sql,) in connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%DELETE%'")
    ]
    assert len(bodies) == 2
    for body in bodies:
        text = body.replace("old.labels", "'{}'").replace("old.created_at", "1").replace("old.run_id", "'a'")
        plan = explain(queries.Statement(text.replace("old.blob", "x'00'"), []))
        assert scans(plan) == [], plan


def test_a_step_touches_no_index_of_runs(connection: sqlite3.Connection) -> None:
    """No index of `runs` has a column that a step changes, unless it leaves out the runs that are advanced."""
    indexes = {
        name: sql
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'runs' AND sql <> ''")
        if sql.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX"))
    }
    hot = [name for name, sql in indexes.items() if any(column in sql for column in checksums.HOT)]

    assert sorted(hot) == ["runs_by_rest", "runs_by_update"]
    assert all("WHERE owner IS NULL" in indexes[name] for name in hot)


# -- statistics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", [None, "report", "unknown"])
@pytest.mark.parametrize("since", [-1, 0, 5_000, 9_990, 99_999])
def test_statistics_are_a_tally(
    connection: sqlite3.Connection, runs: Sequence[RunSummary], since: int, workflow: str | None
) -> None:
    """Statistics say what the runs of each workflow add up to, whatever the instant they begin at."""
    chosen = [run for run in runs if workflow in (None, run.workflow)]
    found = statistics.read(since, workflow, connection)

    assert list(found) == list(tally(chosen, since))
    assert [list(stats.failed_steps) for stats in found] == [list(stats.failed_steps) for stats in tally(chosen, since)]


def test_statistics_come_from_indexes(explain: Explain) -> None:
    """Statistics are added up in one index, without a look at the table."""
    statements = [statistics.runs_alike(5_000, None), statistics.runs_alike(5_000, "report")]
    statements += [statistics.failed_steps(5_000, "report"), statistics.durations(5_000, "report")]
    for statement in statements:
        plan = [line for line in explain(statement) if "runs" in line.split()]

        assert plan, statement
        assert all("COVERING INDEX runs_by_workflow_and_status" in line for line in plan), plan


# -- pruning ------------------------------------------------------------------------------------------------------


def going(runs: Sequence[RunSummary], filter: RunFilter, live: Sequence[str]) -> list[RunSummary]:
    """What should go, in the order in which it does."""
    by_id = {run.run_id: run for run in runs}
    children: dict[str, list[RunSummary]] = {}
    for run in sorted(runs, key=lambda run: (run.created_at, run.run_id)):
        if run.parent_run_id is not None:
            children.setdefault(run.parent_run_id, []).append(run)
    families = Families(by_id.get, lambda parent: children.get(parent, []))
    return [run for family in prunable(filter, runs, families, live.__contains__) for run in family]


LIVE = ("one",)


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_a_dry_run_tells_what_goes(
    connection: sqlite3.Connection, runs: Sequence[RunSummary], filter: RunFilter
) -> None:
    """A dry run counts every family that goes, children with their roots, and shows the first ones in order."""
    expected = going(runs, filter, LIVE)
    ((size,),) = connection.execute(
        "SELECT coalesce(sum(length(CAST(body AS BLOB)) + length(CAST(coalesce(payload, text) AS BLOB))), 0) "
        "FROM events LEFT JOIN blobs ON digest = blob JOIN runs USING (run) "
        "WHERE uid IN (SELECT value FROM json_each(?))",
        (json.dumps([run.uid for run in expected]),),
    ).fetchall()
    removal = pruning.preview(filter, 100, lambda: LIVE, connection)

    assert removal.runs == expected[:100]
    assert (removal.total, removal.bytes) == (len(expected), size)
    assert removal.more == (len(expected) > 100)


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_the_line_is_read_from_an_index(explain: Explain, filter: RunFilter) -> None:
    """The next runs to go, those of dead owners and the numbers of a dry run are found by indexes, without sorting."""
    line = explain(pruning.next_at_rest(filter, Position(5_000, "run"), 10))

    assert not any("TEMP B-TREE" in text for text in line), line
    assert any(text.startswith("SEARCH runs USING INDEX runs_by_rest (<expr>>?") for text in line), line
    others = [pruning.owned(filter, LIVE), pruning.size_of("a", 9), pruning.children_of("a")]
    others += [pruning.totals(way, LIVE) for way in listing.ways(filter, Order.CREATED)]
    for statement in (pruning.next_at_rest(filter, None, 10), *others):
        plan = explain(statement)
        assert scans(plan) == [], plan


@pytest.fixture
def writable(connection: sqlite3.Connection, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A copy of the store, open for writing as a backend opens it."""
    copy = sqlite3.connect(tmp_path / "copy.db", isolation_level=None)
    connection.backup(copy)
    copy.execute("PRAGMA foreign_keys = ON")
    copy.execute("PRAGMA trusted_schema = OFF")
    copy.execute("PRAGMA synchronous = OFF")
    yield copy
    copy.close()


def remove_all(work: pruning.Pruning, connection: sqlite3.Connection) -> int:
    """Prune in transactions as a backend does; how many there were."""
    turns = 0
    while not work.is_done:
        work.look(connection)
        if work.has_candidates:
            connection.execute("BEGIN IMMEDIATE")
            work.remove(connection)
            connection.execute("COMMIT")
            turns += 1
    return turns


@pytest.mark.parametrize("name", ["all", "two statuses", "a rare status", "a label", "a parent", "settled before"])
def test_pruning_removes_what_the_dry_run_told(
    writable: sqlite3.Connection, runs: Sequence[RunSummary], name: str
) -> None:
    """Pruning removes the families a dry run counts, in order, with events, labels and blobs, and nothing else."""
    filter = FILTERS[name]
    expected = going(runs, filter, LIVE)
    foretold = pruning.preview(filter, 0, lambda: LIVE, writable)
    work = pruning.Pruning(filter, RUNS, lambda: LIVE)
    remove_all(work, writable)
    removal = work.removal()
    left = {uid for (uid,) in writable.execute("SELECT uid FROM runs")}

    assert removal.runs == expected
    assert (removal.total, removal.bytes, removal.more) == (foretold.total, foretold.bytes, False)
    assert left == {run.uid for run in runs} - {run.uid for run in expected}
    for orphans in (
        "SELECT count(*) FROM events WHERE run NOT IN (SELECT run FROM runs)",
        "SELECT count(*) FROM labels WHERE run NOT IN (SELECT run FROM runs)",
        "SELECT count(*) FROM blobs WHERE digest NOT IN (SELECT blob FROM events WHERE blob IS NOT NULL)",
        "SELECT count(*) FROM events WHERE blob NOT IN (SELECT digest FROM blobs)",
    ):
        assert writable.execute(orphans).fetchall() == [(0,)], orphans
    assert pruning.preview(filter, 0, lambda: LIVE, writable).total == 0
    assert writable.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("limit", [1, 150, 2_500])
def test_pruning_stops_at_its_limit(writable: sqlite3.Connection, runs: Sequence[RunSummary], limit: int) -> None:
    """With a limit the first families go, whole, until so many runs are gone; the answer says that there is more."""
    expected = going(runs, RunFilter(), LIVE)
    work = pruning.Pruning(RunFilter(), limit, lambda: LIVE)
    remove_all(work, writable)
    removal = work.removal()

    assert limit <= removal.total < limit + 200
    assert removal.runs == expected[: removal.total]
    assert removal.more


def test_a_transaction_ends_when_its_time_is_up(writable: sqlite3.Connection, runs: Sequence[RunSummary]) -> None:
    """Each transaction looks at one candidate at least, and at no other one after its time is used up."""
    ticks = iter(range(1_000_000))
    filter = FILTERS["a rare status"]
    work = pruning.Pruning(filter, RUNS, lambda: LIVE, clock=lambda: float(next(ticks)))
    candidates = sum(matches(filter, run) for run in runs)

    assert candidates > 100
    assert remove_all(work, writable) == candidates
    assert work.removal().runs == going(runs, filter, LIVE)


def test_what_changed_since_it_was_looked_at_stays(writable: sqlite3.Connection) -> None:
    """A run that somebody has claimed, or that settled anew, between the look and the removal is not removed."""
    filter = RunFilter(statuses=["paused"])
    work = pruning.Pruning(filter, RUNS, lambda: LIVE)
    work.look(writable)
    writable.execute("UPDATE runs SET owner = 'one' WHERE status = 'paused' AND run % 2 = 0")
    writable.execute("UPDATE runs SET updated_at = updated_at + 1 WHERE status = 'paused' AND run % 2 = 1")
    remove_all(work, writable)

    assert work.removal().total == 0


def test_free_pages_are_given_back(writable: sqlite3.Connection) -> None:
    """What pruning has freed is cut off the file, a few pages per transaction, and the store stays whole."""

    def ask(question: str) -> int:
        ((answer,),) = writable.execute(question).fetchall()
        return int(answer)

    remove_all(pruning.Pruning(RunFilter(settled_before=8_000), RUNS, lambda: LIVE), writable)
    pages, free = ask("PRAGMA page_count"), ask("PRAGMA freelist_count")
    ticks = iter(range(1_000_000))
    turns = 1
    while pruning.shrink(writable, clock=lambda: float(next(ticks))).more:
        turns += 1

    assert free > 100
    assert turns >= free // 2
    assert ask("PRAGMA freelist_count") == 0
    assert ask("PRAGMA page_count") <= pages - free
    assert writable.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_others_have_half_of_the_time(writable: sqlite3.Connection, tmp_path: Path) -> None:
    """A long job pauses for as long as its transaction took while others write, and hardly at all while they do not."""
    now = [0.0]
    pacer = pruning.Pacer(clock=lambda: now[0])

    def work(connection: sqlite3.Connection) -> pruning.Slice:
        connection.execute("UPDATE runs SET token = token + 1 WHERE run = 1")
        now[0] += 3.0
        return pruning.Slice(1, True)

    pacer.run(work, writable)
    pacer.run(work, writable)
    alone = pacer.pause()
    other = sqlite3.connect(tmp_path / "copy.db", isolation_level=None)
    other.execute("UPDATE runs SET token = token + 1 WHERE run = 2")
    other.close()
    pacer.run(work, writable)
    beside_another_process = pacer.pause()
    pacer.run(work, writable)
    alone_again = pacer.pause()
    writable.execute("UPDATE runs SET token = token + 1 WHERE run = 3")
    pacer.run(work, writable)
    beside_its_own_kernel = pacer.pause()

    assert alone == alone_again == pruning.LEAST_PAUSE_SECONDS
    assert beside_another_process == beside_its_own_kernel == 3.0
