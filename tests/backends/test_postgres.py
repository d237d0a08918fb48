"""What is PostgreSQL's own: leases, lost answers, ears, what a step costs, and passwords that nobody sees."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pytest
from anyio import create_task_group, fail_after

import postgres_server
from flujo.backends import PostgresBackend, open_backend
from flujo.backends.conformance import creation, event, following, journal
from flujo.backends.pages import Position
from flujo.backends.postgres import connection, heart, leases, listing, schema
from flujo.backends.postgres.connection import Connection, Lost
from flujo.backends.postgres.url import Address, parse
from flujo.kernel.backend import Commit, Order, Refused, Request, RunFilter, RunSummary
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignStoreError,
    InvalidNameError,
    NewerStoreError,
    RunActiveError,
    StoreError,
    StoreLeaseLostError,
    StoreUrlError,
    without_password,
    without_passwords,
)

PATIENCE_SECONDS = 20.0

IS_POOLED = "FLUJO_PGBOUNCER" in os.environ
directly = pytest.mark.skipif(IS_POOLED, reason="about what a pooler does otherwise")
STEPS = 40


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg knows asyncio only."""
    return "asyncio"


@pytest.fixture
def url() -> str:
    """The URL of a store that is not there yet."""
    return postgres_server.new_store()


@asynccontextmanager
async def opened(url: str, owner: str | None) -> AsyncIterator[PostgresBackend]:
    """A handle while it is open."""
    handle = PostgresBackend(url)
    await handle.open(owner)
    try:
        yield handle
    finally:
        await handle.close()


async def sql(url: str, statement: str, *values: Any) -> Sequence[Sequence[Any]]:
    """What the server says to a statement; `@.` is the schema of the store."""
    asking = await Connection.connect(parse(url))
    try:
        return await asking.fetch(statement, *values)
    finally:
        await asking.close()


async def advance(handle: PostgresBackend, summary: RunSummary, steps: int) -> RunSummary:
    """Let a run make steps, each a commit of its own."""
    for number in range(steps):
        commit = following(summary, 2, steps_done=number, current_step=f"step{number}")
        assert await handle.append([commit]) == {}
        summary = commit.summary
    return summary


# -- URLs and passwords ---------------------------------------------------------------------------------------------

SECRET = "s3cr3t-canary"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        (f"postgresql://ann:{SECRET}@host:5432/db", "postgresql://ann@host:5432/db"),
        (f"postgres://ann:{SECRET}@host/db?schema=x", "postgres://ann@host/db?schema=x"),
        (f"postgresql://ann:p@{SECRET}@host/db", "postgresql://ann@host/db"),
        (f"postgresql://ann:p/{SECRET}@host/db", "postgresql://ann@host/db"),
        (f"postgresql://ann:p?{SECRET}@host/db", "postgresql://ann@host/db"),
        (f"postgresql:///db?user=ann&password={SECRET}", "postgresql:///db?user=ann&password=***"),
        (f"postgresql:///db?PASSWORD={SECRET}&x=1", "postgresql:///db?PASSWORD=***&x=1"),
        (f"postgresql://h/db?listen=postgresql://a:{SECRET}@h2/db", "postgresql://h/db?listen=postgresql://a@h2/db"),
        (
            f"postgresql://h/db?listen=postgresql%3A%2F%2Fa%3A{SECRET}%40h2",
            "postgresql://h/db?listen=postgresql%3A%2F%2Fa%40h2",
        ),
        (f"postgresql:ann:{SECRET}@host/db", "postgresql:ann@host/db"),
        (f"ann:{SECRET}@host/db", "ann@host/db"),
        (f"postgresql://ann@host/db?pasword={SECRET}&x=1", "postgresql://ann@host/db?pasword=***&x=1"),
        (f"postgresql://ann@host/db?sslpassword={SECRET}", "postgresql://ann@host/db?sslpassword=***"),
        ("postgresql://ann@host/db?passfile=/etc/pgpass", "postgresql://ann@host/db?passfile=/etc/pgpass"),
        ("sqlite:/a/b:c@d/state.db", "sqlite:/a/b:c@d/state.db"),
        ("sqlite:b@d.db", "sqlite:b@d.db"),
        ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"),
    ],
)
def test_a_url_is_shown_without_its_password(written: str, shown: str) -> None:
    """However it is written, and whether or not that can be read."""
    assert without_password(written) == shown
    assert SECRET not in StoreError(written, "it is away").message


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql:db", "write postgresql://USER@HOST/DATABASE"),
        ("postgresql://host:port/db", "host and port cannot be read"),
        (f"postgresql://ann:pa/{SECRET}@host/db", "write %40 for @"),
        ("postgresql:///db?schema=Ünique", "a schema has lower case letters"),
        ("postgresql:///db?schema=a%22b", "a schema has lower case letters"),
        ("postgresql:///db?lease=0", "a lease takes 1 to 300 seconds"),
        ("postgresql:///db?lease=soon", "lease is a number of seconds"),
        ("postgresql:///db?patience=-1", "patience is a number of seconds"),
        ("postgresql:///db?durability=some", "durability is full or normal"),
        ("postgresql:///db?statement_cache_size=x", "statement_cache_size is a number"),
    ],
)
def test_a_url_that_means_nothing_is_refused(url: str, problem: str) -> None:
    """With what is wrong with it, and without a password."""
    with pytest.raises(StoreUrlError) as refused:
        open_backend(url)

    assert problem in refused.value.message
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"no run 'postgresql://ann:{SECRET}@host/db' in sqlite:x", "no run 'postgresql://ann@host/db' in sqlite:x"),
        (f"try: curl http://ann:{SECRET}@host/f and mail a@b", "try: curl http://ann@host/f and mail a@b"),
        (f"'postgres:ann:{SECRET}@host/db' is nothing", "'postgres:ann@host/db' is nothing"),
        ("tcp://host:7777 is not for a@b", "tcp://host:7777 is not for a@b"),
        ("sqlite:/a/b:c@d/state.db", "sqlite:/a/b:c@d/state.db"),
    ],
)
def test_a_text_is_told_without_the_passwords_of_its_urls(text: str, told: str) -> None:
    """A URL may have been typed where none belongs."""
    assert without_passwords(text) == told


def everything_in(error: BaseException | None) -> list[str]:
    """What can be read of an error, of what it came of, and of the addresses in its frames."""
    told: list[str] = []
    while error is not None:
        told += [str(error), repr(error), *getattr(error, "__notes__", ()), str(vars(error))]
        told += [
            repr(value)
            for frame, _ in walk_tb(error.__traceback__)
            for value in frame.f_locals.values()
            if isinstance(value, Address)
        ]
        error = error.__cause__ or error.__context__
    return told


@directly
async def test_no_error_has_a_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither of a server that cannot be reached, nor of one that refuses, nor in what is logged or told of a store."""
    with_secret = url.replace("postgres@", f"postgres:{SECRET}@")
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    for wrong in (
        with_secret.replace("/server", "/nowhere"),
        with_secret.replace("/postgres?", "/no-such-database?"),
        with_secret.replace("postgres:", "nobody:"),
    ):
        with pytest.raises(StoreError) as refused:
            await PostgresBackend(wrong).open("one")
        told += [*everything_in(refused.value), *refused.value.hints]
    async with opened(with_secret, "one") as handle:
        told += [handle.url, repr(handle), json.dumps(dict(await handle.details()))]
        told += [str(await sql(url, "SELECT query, application_name FROM pg_stat_activity"))]
        told += [str(await sql(url, "SELECT * FROM @.kernels"))]

    assert [text for text in (*told, *caplog.text.splitlines()) if SECRET in text] == []


# -- stores ---------------------------------------------------------------------------------------------------------


async def test_many_kernels_make_one_store(url: str) -> None:
    """Kernels that come at the same moment find one store, whoever makes it."""
    handles = [PostgresBackend(url) for _ in range(6)]
    async with create_task_group() as group:
        for number, handle in enumerate(handles):
            group.start_soon(handle.open, f"kernel{number}")
    await handles[0].append([creation("a", "kernel0")])

    assert [await handle.count(RunFilter()) for handle in handles] == [1] * 6
    for handle in handles:
        await handle.close()


async def test_a_schema_of_others_is_left_alone(url: str) -> None:
    """Tables that flujo has not made are told as such, and nothing is added to them."""
    await sql(url, f'CREATE SCHEMA "{parse(url).schema}"')
    await sql(url, "CREATE TABLE @.runs (mine int)")
    for owner in (None, "one"):
        with pytest.raises(ForeignStoreError):
            await PostgresBackend(url).open(owner)

    assert await sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = $1", parse(url).schema) == [("runs",)]


async def test_a_newer_store_is_left_alone(url: str) -> None:
    """A store of a later release is refused."""
    async with opened(url, "one"):
        await sql(url, "UPDATE @.store SET schema = $1", schema.SCHEMA + 1)
    with pytest.raises(NewerStoreError):
        await PostgresBackend(url).open("two")


@pytest.mark.parametrize("release", [1, 3])
async def test_a_store_of_an_earlier_release_is_brought_to_this_one(url: str, release: int) -> None:
    """It has what a store that is made today has, its runs go on, and events go with their runs as before."""
    name = parse(url).schema
    asking = await Connection.connect(parse(url))
    await asking.script(f'CREATE SCHEMA "{name}"')
    await asking.script((Path(__file__).parent / f"fixtures/postgres-{release}/schema.sql").read_text())
    await asking.fetch(f"INSERT INTO @.store VALUES ({release}, '15 s', clock_timestamp(), clock_timestamp(), 0)")
    other = postgres_server.new_store()
    async with opened(other, "one"), opened(url, "one") as one:
        assert await shape(asking, name) == await shape(asking, parse(other).schema)
        await one.append([creation("a", None), creation("b")])
        await one.delete("a", (await one.load("a")).uid)
        assert await asking.fetch("SELECT count(*) FROM @.events") == [(1,)]
        assert list(await one.integrity()) == []
    await asking.close()


async def shape(asking: Connection, name: str) -> Sequence[Any]:
    """The columns, indexes, constraints, triggers and settings of the tables of a schema, and its functions."""
    questions = (
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = $1 ORDER BY 1, 2",
        "SELECT replace(indexdef, $1, '') FROM pg_indexes WHERE schemaname = $1 ORDER BY indexname",
        "SELECT c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
        "WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND k.contype <> 'n' ORDER BY 1, 2",
        "SELECT event_object_table, trigger_name, action_orientation FROM information_schema.triggers "
        "WHERE trigger_schema = $1 ORDER BY 1, 2",
        "SELECT relname, ARRAY(SELECT unnest(reloptions) ORDER BY 1) FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) ORDER BY 1",
        "SELECT proname, replace(prosrc, $1, '') FROM pg_proc "
        "WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) ORDER BY 1",
    )
    return [[tuple(row) for row in await asking.fetch(question, name)] for question in questions]


async def test_a_lease_belongs_to_the_store(url: str) -> None:
    """A URL that asks for another lease than the store has is refused, as the kernels would disagree on deaths."""
    async with opened(url + "&lease=30", "one") as one:
        assert (await one.details())["lease_seconds"] == 30
        with pytest.raises(StoreError, match="leases of 30 seconds, and not of 5"):
            await PostgresBackend(url + "&lease=5").open("two")
        async with opened(url, "two") as two:
            assert (await two.details())["lease_seconds"] == 30


@pytest.mark.parametrize("owner", ["", "a b", "a/b", "x" * 101, "ä"])
async def test_a_kernel_has_an_id_that_others_can_write(url: str, owner: str) -> None:
    """It is shown to people, and is the name of a file."""
    with pytest.raises(InvalidNameError):
        await PostgresBackend(url).open(owner)


@directly
async def test_a_server_that_loses_what_it_acknowledges_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the URL says that this is meant; then the details say it too."""
    monkeypatch.setitem(connection.SETTINGS, "synchronous_commit", "off")  # as a server may insist, behind a pooler
    unsafe = url
    with pytest.raises(StoreError, match="synchronous_commit is off"):
        await PostgresBackend(unsafe).open("one")
    async with opened(unsafe + "&durability=normal", "one") as one:
        assert (await one.details())["durability"] == "normal"


# -- what a step costs ----------------------------------------------------------------------------------------------


@directly
async def test_a_step_is_one_round_trip_and_touches_no_index(url: str) -> None:
    """However many runs are in a batch it is one statement; and nearly every update of a summary is a heap-only one."""
    async with opened(url, "one") as one:
        commits = [creation(f"run{number}", labels='{"team":"a"}') for number in range(20)]
        await one.append(commits)
        summaries = [commit.summary for commit in commits]
        writer = one._writer.connection
        assert writer is not None
        counted: list[Sequence[Any]] = [(0, 0)]
        # A step that touched an index would not have one heap-only update. Alone all are; beside the transactions of
        # other tests on this server, which keep old rows in their pages, three quarters.
        for start in (0, STEPS):
            before = writer.trips
            for number in range(start, start + STEPS):
                batch = [following(summary, 2, steps_done=number, current_step=f"s{number}") for summary in summaries]
                assert await one.append(batch) == {}
                summaries = [commit.summary for commit in batch]
            assert writer.trips - before == STEPS
            await sql(url, "SELECT pg_stat_force_next_flush()")
            await writer.fetch("SELECT pg_stat_force_next_flush()")
            updated = (
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'runs'"
            )
            counted += await sql(url, updated, parse(url).schema)
        tries = [(second[0] - first[0], second[1] - first[1]) for first, second in pairwise(counted)]

    assert all(updates >= 20 * STEPS for updates, _ in tries)
    assert max(hot / updates for updates, hot in tries) > 0.5, tries


@pytest.mark.parametrize("column", ["seq", "updated_at", "current_step", "steps_done", "checksum"])
async def test_no_index_names_what_a_step_changes(url: str, column: str) -> None:
    """Not even in a predicate: each such index would be written to at every step."""
    async with opened(url, "one"):
        indexes = await sql(url, "SELECT indexdef FROM pg_indexes WHERE schemaname = $1", parse(url).schema)
    of_runs = [definition for (definition,) in indexes if ".runs " in definition]

    assert len(of_runs) > 10
    assert not [definition for definition in of_runs if f"({column}" in definition or f" {column}" in definition]


async def test_old_runs_of_a_status_are_found_at_once(url: str) -> None:
    """However many newer ones of another status there are, the pages of a status are read from its index, in order."""
    async with opened(url, "one"):
        names = ", ".join(name for name in RunSummary._fields if name not in FILLED)
        await sql(
            url,
            f"""INSERT INTO @.runs ({", ".join(FILLED)}, {names}, fixed_checksum, checksum, moved_at, rest_at)
            SELECT 'r' || n, 'u' || n, 'w', CASE WHEN n < 1000 THEN 'waiting' ELSE 'completed' END, 1, 1, '{{}}', n, n,
                0, 0, 0, {", ".join("NULL" for _ in names.split(","))}, 0, 0, n, n
            FROM generate_series(1, 20000) AS n""",
        )
        await sql(url, "ANALYZE @.runs")
        for statuses in (["waiting"], ["waiting", "paused"]):
            statement = listing.page(RunFilter(statuses=statuses), Order.CREATED, 51, Position(900, "r900"))
            plan = "\n".join(line for (line,) in await sql(url, f"EXPLAIN {statement.sql}", *statement.values))

            assert "runs_by_age" not in plan, plan
            assert plan.count("Backward using runs_by_status") == len(statuses), plan
            assert "Filter" not in plan, plan


FILLED = (
    "run_id uid workflow status seq token labels created_at updated_at steps_done retries resume_count".split()  # noqa: SIM905
)


# -- lost answers ---------------------------------------------------------------------------------------------------


class Drops:
    """Drops the answer of the n-th statement that a handle's lines ask, as a connection does that breaks behind it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.dropped: list[str] = []
        fetch = Connection.fetch

        async def fetch_or_drop(asked: Connection, statement: str, *values: Any, **options: Any) -> Any:
            rows = await fetch(asked, statement, *values, **options)
            if self.left is not None and not statement.startswith(("WITH s AS", "SELECT 1", "SELECT pg_notify")):
                self.left -= 1
                if self.left == 0:
                    self.left = None
                    self.dropped.append(statement)
                    asked.terminate()
                    raise Lost("the answer was dropped")
            return rows

        monkeypatch.setattr(Connection, "fetch", fetch_or_drop)


async def scenario(handle: PostgresBackend) -> RunSummary:
    """Create, advance, ask, release, claim and end a run."""
    commit = creation("a")
    assert await handle.append([commit, creation("other", None)]) == {}
    summary = await advance(handle, commit.summary, 2)
    await handle.post("a", Request("signal", "{}", 1))
    (posted,) = await handle.take()
    taking = following(summary)._replace(taken=[posted.id])
    assert await handle.append([taking]) == {}
    await handle.release(None)
    claimed = await handle.claim("a")
    summary = await advance(handle, claimed, 1)
    last = following(summary, owner=None, status="completed", finished_at=9)
    assert await handle.append([last]) == {}
    other = await handle.load("other")
    await handle.delete("other", other.uid)
    return last.summary


async def lives_through(url: str, drops: Drops, number: int, told: list[str]) -> bool:
    """Drop one answer of the scenario and look at what comes of it; True if the scenario has fewer answers. `told` are
    the statements after whose loss nobody knew."""
    async with opened(url, "one") as one:
        drops.left = number
        try:
            last = await scenario(one)
        except StoreError as error:
            told.append(f"{error.problem} {drops.dropped[-1]}")
            return False
        is_over, drops.left = drops.left is not None, None
        assert await one.load("a") == last
        assert last.token == 2
        assert [row.seq for row in await journal(one, last)] == list(range(1, last.seq + 1))
        assert list(await one.take()) == []
        assert list(await one.integrity()) == []
        assert await one.count(RunFilter()) == 1
        return is_over


async def test_an_answer_that_is_lost_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever answer it is, what was asked for is done once; only a post says that nobody knows."""
    drops = Drops(monkeypatch)
    told: list[str] = []
    number = 1
    while not (over := await lives_through(postgres_server.new_store(), drops, number, told)):
        number += 1

    assert over
    assert number > 15
    assert told
    assert all("dropped" in each and ("inbox" in each or "FOR SHARE" in each) for each in told)


async def test_a_commit_that_somebody_else_has_made_is_not_taken_for_a_repeat(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without a lost answer in the same call, what stands there already is refused."""
    async with opened(url, "one") as one:
        commit = creation("a")
        await one.append([commit])
        step = following(commit.summary)
        assert await one.append([step]) == {}

        assert await one.append([step]) == {commit.uid: Refused.STALE}
        assert await one.append([commit]) == {commit.uid: Refused.EXISTS}


# -- leases ---------------------------------------------------------------------------------------------------------


class Hosts:
    """Handles as if each were on a host of its own: none sees the lock file of another one."""

    def __init__(self, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url = url
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._opened: list[PostgresBackend] = []

    async def open(self, owner: str) -> PostgresBackend:
        self._monkeypatch.setenv("XDG_RUNTIME_DIR", str(self._folder / owner))
        handle = PostgresBackend(self._url)
        await handle.open(owner)
        self._opened.append(handle)
        return handle

    async def close(self) -> None:
        for handle in self._opened:
            await handle.close()


@pytest.fixture
async def hosts(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hosts]:
    found = Hosts(url + "&lease=3", tmp_path, monkeypatch)
    yield found
    await found.close()


def freeze(handle: PostgresBackend) -> None:
    """Stop the heartbeat of a handle, as a process that is stopped, or a network that is gone, does."""
    handle._background.cancel()


async def told_dead(handle: PostgresBackend, owner: str) -> None:
    """Return once a handle was told of a death."""
    with fail_after(PATIENCE_SECONDS):
        while owner not in await handle.wait_for_dead_owners():
            pass


async def test_a_kernel_on_another_host_is_dead_once_its_lease_is_over(hosts: Hosts) -> None:
    """Not before; then its runs can be claimed, and what it still tries is refused."""
    one, two = await hosts.open("one"), await hosts.open("two")
    commit = creation("a")
    await one.append([commit])
    freeze(one)
    assert await two.is_alive("one")
    assert not await two.claim_idle(["running"], ["report"], 5)
    await told_dead(two, "one")

    assert not await two.is_alive("one")
    assert (await two.claim("a")).token == 2
    assert await one.append([following(commit.summary)]) == {commit.uid: Refused.STALE}


async def test_a_death_that_was_told_is_final(hosts: Hosts) -> None:
    """A kernel that comes back after its death was told is told so by its next heartbeat, and does nothing more."""
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.append([creation("a")])
    freeze(one)
    await told_dead(two, "one")
    assert one._heart is not None
    one._background.start(one._heart.serve, "the heart goes on")
    with fail_after(PATIENCE_SECONDS):
        assert not await one._heart.certainty()

    with pytest.raises(StoreLeaseLostError, match="taken for dead"):
        await one.append([creation("b")])
    with pytest.raises(StoreLeaseLostError, match="taken for dead"):
        await one.claim("a")
    assert await two.count(RunFilter()) == 1


async def test_nobody_is_dead_for_a_time_in_which_nobody_was_heard(hosts: Hosts, url: str) -> None:
    """After an outage there is a lease of patience, however long it was; without that rule the first kernel that is
    back would take everybody's runs."""
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.append([creation("a")])
    freeze(one)
    freeze(two)
    # An hour passes in which nobody reaches the server.
    await sql(url, "UPDATE @.kernels SET expires_at = expires_at - interval '1 hour'")
    await sql(url, "UPDATE @.store SET beat_at = beat_at - interval '1 hour', available_since = '2020-01-01'")
    await sql(url, leases.BEAT, "two", two._incarnation)

    assert not await two.claim_idle(["running"], ["report"], 5)
    assert await sql(url, f"SELECT kernel FROM @.kernels k WHERE NOT {leases.LIVES}") == []
    # The control: what is judged without knowing of the outage takes the runs.
    await sql(url, "UPDATE @.store SET available_since = available_since - interval '1 day'")
    assert [run.run_id for run in await two.claim_idle(["running"], ["report"], 5)] == ["a"]


async def test_a_kernel_knows_when_it_can_no_longer_count_as_alive(hosts: Hosts) -> None:
    """Before others may say that it is dead; and another heartbeat gives it back."""
    one = await hosts.open("one")
    assert one._heart is not None
    with fail_after(PATIENCE_SECONDS):
        assert await one._heart.certainty()
        freeze(one)
        await one._heart.doubt()
        assert heart.now() >= one._heart.good_until
        assert (await sql(one._address.dsn + f"&schema={one._address.schema}", "SELECT dead_at FROM @.kernels"))[0][
            0
        ] is None
        one._background.start(one._heart.serve, "the heart goes on")
        assert await one._heart.certainty()


async def test_a_claim_waits_for_the_verdict(hosts: Hosts, url: str) -> None:
    """Of a run whose owner is gone, when nobody was there to see it: a resume works, a lease later."""
    one = await hosts.open("one")
    await one.append([creation("a")])
    one.kill()
    await sql(url, "UPDATE @.kernels SET expires_at = clock_timestamp()")
    two = await hosts.open("two")
    with fail_after(PATIENCE_SECONDS):
        assert (await two.claim("a")).token == 2


def test_the_clock_of_a_server_is_believed_no_further_than_its_answers_say() -> None:
    """A slow answer says little and moves nothing that fits it; a quick one that does not fit moves it just so far."""
    clock = heart.ServerClock()
    clock.note(10.0, 1_000.5, 11.0)  # between 989.5 and 990.5 ahead: 990
    assert clock._ahead == 990.0
    clock.note(20.0, 1_012.0, 24.0)
    assert clock._ahead == 990.0
    clock.note(30.0, 1_020.25, 30.125)
    assert clock._ahead == 990.125
    clock.note(40.0, 1_030.0, 40.125)

    assert clock._ahead == 990.0


async def test_a_neighbour_is_dead_at_once(url: str) -> None:
    """Processes of one host look at each other's lock files and wait for no lease."""
    async with opened(url + "&lease=300", "one") as one, opened(url, "two") as two:
        await one.append([creation("a")])
        with pytest.raises(RunActiveError):
            await two.claim("a")
        one.kill()

        assert not await two.is_alive("one")
        assert (await two.claim("a")).owner == "two"


async def test_a_name_is_free_as_soon_as_its_process_has_ended(url: str) -> None:
    """On its host, whatever its lease says; while it lives nobody else can have it."""
    async with opened(url + "&lease=300", "one") as one:
        await one.append([creation("a")])
        with pytest.raises(StoreError, match="alive as 'one'"):
            await PostgresBackend(url).open("one")
        one.kill()
        async with opened(url, "one") as again:
            assert await again.is_alive("one")
            assert await again.append([following(await again.load("a"))]) == {}


# -- ears -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", ["", "&listen=postgresql://nobody@/nowhere"], ids=["ears", "deaf"])
async def test_posts_are_noticed_with_and_without_ears(url: str, listen: str) -> None:
    """A server that notifies nobody is asked again and again."""
    async with opened(url + listen, "one") as one, opened(url, None) as poster:
        await one.append([creation("a")])
        with fail_after(PATIENCE_SECONDS):
            await one.wait_for_posts()
            await one.take()
            await poster.post("a", Request("signal", "{}", 1))
            while not await one.take():
                await one.wait_for_posts()
        details = await one.details()

    assert details["hears"] is (listen == "" and not IS_POOLED)


@directly
async def test_ears_that_hear_wait_in_peace(url: str) -> None:
    """A kernel that has proved its ears looks without a reason every five seconds, and not four times in one."""
    async with opened(url, "one") as one:
        assert one._ears is not None
        with fail_after(PATIENCE_SECONDS):
            while not one._ears.hears:
                await one.wait_for_posts()
                await one.take()

        assert one._ears.patience == heart.HEARING_SECONDS


# -- damage ---------------------------------------------------------------------------------------------------------

SCARS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "a summary": ("UPDATE @.runs SET retries = 7", lambda text: "summary" in text),
    "what the creation sets": ("UPDATE @.runs SET workflow = 'other'", lambda text: "summary" in text),
    "an event": ("UPDATE @.events SET body = '{}' WHERE seq = 1", lambda text: "event 1" in text),
    "a missing event": ("DELETE FROM @.events WHERE seq = 1", lambda text: "journal" in text),
    "events of no run": ("UPDATE @.events SET run = 77 WHERE seq = 2", lambda text: "gone, number 77" in text),
    "a request": ("UPDATE @.inbox SET body = '[]'", lambda text: "request" in text),
    "a payload": ("UPDATE @.blobs SET text = 'x'", lambda text: "payload" in text),
    "a label": ("DELETE FROM @.labels", lambda text: "labels" in text),
}


@pytest.mark.parametrize("scar", SCARS)
async def test_every_kind_of_damage_is_found(url: str, scar: str) -> None:
    """Whatever changes a row behind flujo's back, a check names it."""
    change, is_named = SCARS[scar]
    async with opened(url, "one") as one:
        commit = creation("a", labels='{"team":"a"}')
        large = event(2, "step_completed", '"' + "y" * 50_000 + '"')
        await one.append([commit])
        await one.append([Commit("a", commit.uid, 1, 1, [large], commit.summary._replace(seq=2))])
        await one.post("a", Request("signal", "{}", 1))
        assert list(await one.integrity()) == []
        await sql(url, change)
        problems = await one.integrity()

    assert problems
    assert any(is_named(problem.text) for problem in problems)


async def test_a_damaged_request_is_in_nobodys_way(url: str) -> None:
    """A kernel takes what was asked of other runs, and the damaged request stays for a check to name."""
    async with opened(url, "one") as one:
        commits = [creation("a"), creation("b")]
        await one.append(commits)
        for run_id in ("a", "b"):
            await one.post(run_id, Request("signal", "{}", 1))
        await sql(url, "UPDATE @.inbox SET body = '[]' WHERE id = (SELECT min(id) FROM @.inbox)")

        assert [posted.uid for posted in await one.take()] == [commits[1].uid]
        assert [problem.run_id for problem in await one.integrity()] == ["a"]


async def test_a_damaged_summary_is_in_nobodys_way(url: str) -> None:
    """It is not claimed, it is told as damaged where it is asked for, and other runs go on."""
    async with opened(url, "one") as one:
        await one.append([creation("a", None), creation("b", None)])
        await sql(url, "UPDATE @.runs SET retries = 7 WHERE run_id = 'a'")

        with pytest.raises(CorruptStoreError, match="not what was written"):
            await one.load("a")
        assert [run.run_id for run in await one.claim_idle(["running"], ["report"], 5)] == ["b"]
