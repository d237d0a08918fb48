"""What may befall a fleet on PostgreSQL: servers that are killed or away, networks that go silent, disks that are full,
poolers that are started anew, replicas that lost commits, processes that are killed or stopped, clocks that are wrong.

Each fault is small here; `make torture-postgres` makes all of them large. After each, `faults_in` looks at the store,
and at a ledger of the bodies that is outside of it. Each fault has its control: without the rule that it tries, or with
a store that somebody has damaged, the same look finds something."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from anyio.abc import SocketStream, TaskGroup, TaskStatus

import postgres_server
from backends.fleets import (
    BODY_SECONDS,
    PATIENCE_SECONDS,
    Host,
    begin_body,
    bodies,
    completed,
    faults_in,
    fleet,
    guard_tokens,
    patient,
    size,
    sql,
    steps,
    tokens,
    twice,
    until_waiting,
    wordy,
)
from faults.machine import small_disk
from flujo.backends import PostgresBackend
from flujo.backends.postgres import connection, journal, queries
from flujo.backends.postgres.connection import Refusal
from flujo.backends.postgres.heart import Heart
from flujo.kernel import Context, Kernel, Observer, SystemClock, events, workflow
from flujo.kernel.backend import Refused
from flujo.kernel.errors import RunFinishedError, StoreError, StoreLeaseLostError
from flujo.kernel.events import StepCompleted, StepStarted

directly = pytest.mark.skipif("FLUJO_PGBOUNCER" in os.environ, reason="leads to the server itself")


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg knows asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _nobody_has_done_anything() -> None:
    bodies.clear()


@pytest.fixture
def own_server() -> Iterator[postgres_server.Server]:
    """A server that a test may kill."""
    with postgres_server.own_server() as server:
        yield server


async def all_started(kernels: list[Kernel], runs: int) -> list[str]:
    """Start runs at kernels by turns; return their ids."""
    names = [f"r{number}" for number in range(runs)]
    for number, name in enumerate(names):
        await kernels[number % len(kernels)].start(steps, {"name": name}, run_id=name)
    return names


# -- the checks -----------------------------------------------------------------------------------------------------

DAMAGE = {
    "a gap": "DELETE FROM @.events WHERE seq = 3",
    "a run that did not end": "UPDATE @.runs SET status = 'running', finished_at = NULL",
    "a step that was completed twice": """
        UPDATE @.events SET (type, body, payload) = (SELECT type, body, payload FROM @.events WHERE seq = 3)
        WHERE seq = 5""",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_the_look_at_a_store_finds_what_it_is_for(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of every fault: a store that was damaged is not taken for one that was not."""
    url = postgres_server.new_store()
    async with fleet(url, 1, tmp_path, monkeypatch) as (kernel,):
        await kernel.run(steps, {"name": "r0"}, run_id="r0")
    assert await faults_in(url, bodies, ["r0"]) == []
    await sql(url, DAMAGE[damage])

    assert await faults_in(url, bodies, ["r0"]) != []


def test_a_step_that_was_completed_twice_is_told() -> None:
    """Once in each generation is all there may be."""
    told: list[events.Fact] = []
    for generation in (1, 2):
        told += [StepStarted("load", 1, generation), StepCompleted("load", "1")]

    assert completed(told) == {("load", 1): 1, ("load", 2): 1}
    assert completed([*told, StepCompleted("load", "1")]) == {("load", 1): 1, ("load", 2): 2}


async def test_the_look_at_bodies_and_tokens_finds_what_it_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body too many, one that never ran, a run that is gone, and a token that shrinks."""
    url = postgres_server.new_store()
    async with fleet(url, 1, tmp_path, monkeypatch) as (kernel,):
        await kernel.run(steps, {"name": "r0"}, run_id="r0")
    assert await faults_in(url, bodies, ["r0"]) == []
    assert await faults_in(url, bodies, ["r0", "r1"]) != []
    assert await faults_in(url, {**bodies, "r0/work1": 2}, ["r0"]) != []
    assert await faults_in(url, {name: times for name, times in bodies.items() if "work1" not in name}, ["r0"]) != []
    await guard_tokens(url)
    await sql(url, "UPDATE @.runs SET token = token + 1")
    with pytest.raises(Refusal, match="the token of r0 went from 2 to 1"):
        await sql(url, "UPDATE @.runs SET token = token - 1")


# -- the server -----------------------------------------------------------------------------------------------------


async def killed_under_load(
    server: postgres_server.Server, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Kill the server again and again under two kernels; return what is wrong then."""
    async with fleet(url, 2, folder, monkeypatch) as kernels:
        names = await all_started(kernels, size("RUNS", 20))
        for _ in range(size("KILLS", 3)):
            server.kill()
            await anyio.to_thread.run_sync(server.start)
            await anyio.sleep(0.05)
        with anyio.fail_after(PATIENCE_SECONDS):
            for name in names:
                assert await kernels[0].result(name) == name
    return await faults_in(url, bodies, names)


async def test_a_server_that_is_killed_again_and_again_loses_nothing(
    own_server: postgres_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its processes die under load: every run ends, every body has run once, no run has changed hands."""
    url = postgres_server.new_store("", base=own_server.url)

    assert await killed_under_load(own_server, url, tmp_path, monkeypatch) == []
    assert set(await tokens(url)) == {1}


async def test_without_patience_a_server_that_is_killed_ends_its_kernels(
    own_server: postgres_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    url = postgres_server.new_store("&patience=0", base=own_server.url)
    async with fleet(url, 1, tmp_path, monkeypatch) as (kernel,):
        await all_started([kernel], 20)
        own_server.kill()
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(StoreError, match="cannot be reached"):
            await kernel.wait_closed()


async def test_an_outage_of_three_leases_takes_no_run_away(
    own_server: postgres_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies stop when a kernel cannot know any more whether it counts as alive; when the server is back each kernel
    goes on with its own runs. The token of each is the one it had."""
    lease = size("LEASE", 2)
    url = postgres_server.new_store(f"&lease={lease}", base=own_server.url)
    async with fleet(url, 2, tmp_path, monkeypatch) as kernels:
        names = [f"r{number}" for number in range(size("RUNS", 10))]
        for number, name in enumerate(names):
            await kernels[number % 2].start(patient, run_id=name)
        own_server.kill()
        await anyio.sleep(3 * lease)
        await anyio.to_thread.run_sync(own_server.start)
        with anyio.fail_after(PATIENCE_SECONDS):
            for number, name in enumerate(names):
                await kernels[1].signal(name, "go", number)
            assert [await kernels[0].result(name) for name in names] == list(range(len(names)))

    assert set(await tokens(url)) == {1}
    assert await faults_in(url, bodies, names) == []


async def test_an_outage_that_nobody_knows_of_takes_runs_away(
    own_server: postgres_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: where the store does not learn since when it can be reached, the kernel that is back first takes the
    runs of the other one."""
    url = postgres_server.new_store("&lease=2", base=own_server.url)
    async with fleet(url, 2, tmp_path, monkeypatch) as (early, late):
        assert isinstance(late.backend, PostgresBackend)
        await late.start(patient, run_id="r0")
        await sql(url, "ALTER TABLE @.store ALTER available_since DROP NOT NULL")
        forgetful = "BEGIN NEW.available_since := OLD.available_since - interval '1 day'; RETURN NEW; END"
        await sql(url, f"CREATE FUNCTION @.forgetful() RETURNS trigger LANGUAGE plpgsql AS $${forgetful}$$")
        await sql(url, "CREATE TRIGGER forget BEFORE UPDATE ON @.store FOR EACH ROW EXECUTE FUNCTION @.forgetful()")
        own_server.kill()
        late.backend._background.cancel()  # it comes back later than the other one
        await anyio.sleep(2)
        await anyio.to_thread.run_sync(own_server.start)
        with anyio.fail_after(PATIENCE_SECONDS):
            while (await early.summary("r0")).token == 1:  # noqa: ASYNC110 - another kernel
                await anyio.sleep(0.05)
        with suppress(StoreLeaseLostError):
            await late.close()


# -- a pooler -------------------------------------------------------------------------------------------------------


async def pooler_started_anew(
    server: postgres_server.Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Start a pooler anew again and again under two kernels; return what is wrong then."""
    pooler = postgres_server.Pooler(shutil.which("pgbouncer") or "", server)
    pooler.start()
    try:
        url = postgres_server.new_store("", base=pooler.url)
        async with fleet(url, 2, folder, monkeypatch) as kernels:
            names = await all_started(kernels, size("RUNS", 20))
            for _ in range(size("KILLS", 3)):
                pooler.stop()
                await anyio.to_thread.run_sync(pooler.start)
                await anyio.sleep(0.05)
            with anyio.fail_after(PATIENCE_SECONDS):
                for name in names:
                    assert await kernels[0].result(name) == name
            assert all(reconnects(kernel) > 0 for kernel in kernels)
        found = await faults_in(url, bodies, names)
        return found + [f"a run has the token {token}" for token in await tokens(url) if token != 1]
    finally:
        pooler.stop()


def reconnects(kernel: Kernel) -> int:
    """How often the connections of a kernel broke."""
    backend = kernel.backend
    assert isinstance(backend, PostgresBackend)
    return backend._writer.reconnects + backend._reader.reconnects


needs_pooler = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs PgBouncer")


@needs_pooler
async def test_a_pooler_that_is_started_anew_loses_nothing(
    own_server: postgres_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load: commits whose answers went with it are sent again and known again."""
    assert await pooler_started_anew(own_server, tmp_path, monkeypatch) == []


@needs_pooler
async def test_without_patience_a_pooler_that_is_started_anew_ends_its_kernels(
    own_server: postgres_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    pooler = postgres_server.Pooler(shutil.which("pgbouncer") or "", own_server)
    pooler.start()
    try:
        url = postgres_server.new_store("&patience=0", base=pooler.url)
        async with fleet(url, 1, tmp_path, monkeypatch) as (kernel,):
            await all_started([kernel], 20)
            pooler.stop()
            with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(StoreError, match="cannot be reached"):
                await kernel.wait_closed()
    finally:
        pooler.stop()


# -- a disk ---------------------------------------------------------------------------------------------------------

DISK_BYTES = 300 * 1024 * 1024


@pytest.fixture
def server_on_a_small_disk() -> Iterator[postgres_server.Server]:
    """A server whose disk has no more than it needs, and what a test may fill."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        with small_disk(Path(folder) / "disk", DISK_BYTES) as place:
            place.chmod(0o755)
            server = postgres_server.Server(place, {**postgres_server.SETTINGS, "max_wal_size": "64MB"})
            try:
                server.start()
                yield server
            finally:
                server.stop()


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def fill(filler: Path) -> None:
    """Write until there is no space left on a disk."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 65536):
            pass


async def disk_filled_up(
    server: postgres_server.Server, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Fill the disk of a server again and again, and give it space again, under a kernel; return what is wrong then."""
    filler = server.folder / "filler"
    url = postgres_server.new_store("", base=server.url)
    names: list[str] = []
    async with fleet(url, 1, folder, monkeypatch) as (kernel,):
        for turn in range(size("FILLINGS", 1)):
            fill(filler)
            caplog.clear()
            async with anyio.create_task_group() as runs:
                for number in range(40):
                    names.append(name := f"r{turn}-{number}")
                    runs.start_soon(partial(kernel.run, wordy, {"name": name}, run_id=name))
                with anyio.fail_after(PATIENCE_SECONDS):
                    while "No space left" not in caplog.text:  # noqa: ASYNC110 - the log tells nobody
                        await anyio.sleep(0.02)
                filler.unlink()
    found = await faults_in(url, bodies, names)
    return found + [f"a run has the token {token}" for token in await tokens(url) if token != 1]


@needs_root
async def test_a_full_disk_stops_nothing_for_good(
    server_on_a_small_disk: postgres_server.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Commits are refused for want of space, and made once there is some: no run fails, and no body runs twice."""
    assert await disk_filled_up(server_on_a_small_disk, tmp_path, monkeypatch, caplog) == []


@needs_root
async def test_a_full_disk_that_is_taken_for_a_refusal_ends_the_kernel(
    server_on_a_small_disk: postgres_server.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The control."""
    monkeypatch.setattr(connection, "_AGAIN", tuple(code for code in connection._AGAIN if code != connection.FULL))
    with pytest.raises((ExceptionGroup, StoreError)):
        await disk_filled_up(server_on_a_small_disk, tmp_path, monkeypatch, caplog)


# -- a replica ------------------------------------------------------------------------------------------------------


async def failed_over(kernel: Kernel, server: postgres_server.Server, names: list[str]) -> None:
    """Let runs go on behind the moment that the replica has, and have that take over."""
    for name in names:
        await kernel.start(twice, run_id=name)
    for name in names:
        await until_waiting(kernel, name, 1)
    await anyio.to_thread.run_sync(server.keep)  # the moment that the replica has
    for name in names:
        await kernel.signal(name, "go", 1)
    for name in names:
        await until_waiting(kernel, name, 2)
    await anyio.to_thread.run_sync(server.fail_over)
    with anyio.fail_after(PATIENCE_SECONDS):
        for name in names:
            with suppress(StoreError):
                await kernel.signal(name, "news", 0)


async def test_a_replica_that_lost_commits_strands_no_run(
    own_server: postgres_server.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a failover to a copy of an earlier moment each run goes on from what is there, its kernel says so, and none
    is stuck with an owner that is refused for ever."""
    url = postgres_server.new_store(base=own_server.url)
    names = [f"r{number}" for number in range(size("RUNS", 8))]
    async with fleet(url, 1, tmp_path, monkeypatch) as (kernel,):
        await failed_over(kernel, own_server, names)
        with anyio.fail_after(PATIENCE_SECONDS):
            for name in names:
                await kernel.signal(name, "go", 2)
                await kernel.signal(name, "on", 3)
            assert [await kernel.result(name) for name in names] == [[2, 3]] * len(names)

    assert await faults_in(url, bodies, names) == []
    assert caplog.text.count("has forgotten events") >= len(names)


async def test_a_run_of_a_replica_that_lost_commits_is_stuck_where_its_kernel_takes_it_for_taken(
    own_server: postgres_server.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The control: a kernel that is told STALE lets go of the run, which the store still has as its own."""
    monkeypatch.setattr(journal, "refusal", lambda stored, commit: Refused.STALE)
    url = postgres_server.new_store(base=own_server.url)
    async with fleet(url, 1, tmp_path, monkeypatch) as (kernel,):
        await failed_over(kernel, own_server, ["r0"])
        uid = (await kernel.summary("r0")).uid
        with anyio.fail_after(PATIENCE_SECONDS):
            while kernel._runtime.runs.get(uid) is not None:  # noqa: ASYNC110 - nobody is told
                await anyio.sleep(0.02)
        run = await kernel.summary("r0")

        assert (run.owner, run.token, run.status) == (kernel.id, 1, "waiting")
        assert "has forgotten events" not in caplog.text


# -- a network ------------------------------------------------------------------------------------------------------

at_work: list[str] = []
most_at_work: list[int] = []


@workflow()
async def endless(ctx: Context) -> None:
    async def work() -> None:
        at_work.append("body")
        most_at_work[:] = [max([len(at_work), *most_at_work])]
        try:
            await anyio.sleep_forever()
        finally:
            at_work.pop()

    await ctx.step(work)


class Silence:
    """A way to a server on which, at a word, nothing comes through any more, and no connection ends."""

    def __init__(self, server: str, folder: Path) -> None:
        self.folder = folder
        self._server = server
        self.is_silent = False

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Lead everybody to the server until cancelled."""
        listener = await anyio.create_unix_listener(self.folder / ".s.PGSQL.5432")
        async with listener, anyio.create_task_group() as group:
            task_status.started()
            await listener.serve(partial(self._lead, group), group)

    async def _lead(self, group: TaskGroup, client: SocketStream) -> None:
        server = await anyio.connect_unix(self._server)
        async with client, server, anyio.create_task_group() as both:
            both.start_soon(self._copy, client, server, both)
            both.start_soon(self._copy, server, client, both)

    async def _copy(self, source: SocketStream, target: SocketStream, both: TaskGroup) -> None:
        try:
            async for chunk in source:
                while self.is_silent:  # noqa: ASYNC110 - nobody may notice
                    await anyio.sleep(0.05)
                await target.send(chunk)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        both.cancel_scope.cancel()


def pass_over_what_the_driver_complains_about() -> None:
    """A connection that is dropped while asyncpg 0.32 waits for a cancel of its own has a callback that finds its
    future done already. Nobody waits for that any more."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), asyncio.InvalidStateError) and before is not None:
            before(loop, context)

    loop.set_exception_handler(handle)


@contextmanager
def a_way() -> Iterator[Silence]:
    """A way to the server of the session."""
    folder = Path(tempfile.mkdtemp(prefix="flujo-", dir="/tmp"))
    host = parse_qs(urlsplit(postgres_server.url()).query)["host"][0]
    try:
        yield Silence(f"{host}/.s.PGSQL.5432", folder)
    finally:
        shutil.rmtree(folder)


async def cut_off(way: Silence, url: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Have one kernel cut off and another one take its run; return how many bodies were at work at once at most."""
    pass_over_what_the_driver_complains_about()
    through = re.sub(r"host=[^&]*", f"host={way.folder}", url)
    most_at_work.clear()
    async with anyio.create_task_group() as group:
        await group.start(way.serve)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(way.folder / "one"))
        lost = Kernel(PostgresBackend(through), [endless])
        await lost.open()
        await lost.start(endless, run_id="r")
        await until_begun(lost, "r", 1)
        way.is_silent = True
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(way.folder / "two"))
        async with Kernel(PostgresBackend(url), [endless]) as heir:
            with anyio.fail_after(PATIENCE_SECONDS):
                await until_begun(heir, "r", 2)
                way.is_silent = False
                with pytest.raises(StoreLeaseLostError):
                    await lost.wait_closed()
            assert (await heir.summary("r")).token == 2
        group.cancel_scope.cancel()
    return most_at_work[0]


async def until_begun(kernel: Kernel, run_id: str, times: int) -> None:
    """Return once a step of a run has begun so often."""
    async for event in kernel.watch(run_id):
        times -= event.type == "step_started"
        if times == 0:
            return


@directly
async def test_a_network_that_goes_silent_takes_the_runs_away_and_gives_none_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel behind it ends its bodies before others begin them, and hears of its death when the network is back:
    nothing that it recorded meanwhile stands."""
    for _ in range(size("CUTS", 1)):
        with a_way() as way:
            assert await cut_off(way, postgres_server.new_store("&lease=3"), monkeypatch) == 1


@directly
async def test_a_kernel_that_never_doubts_works_beside_its_heir(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""

    async def until_dead(heart: Heart) -> None:
        while not heart.is_dead:  # noqa: ASYNC110 - nothing of the heart tells only that
            await anyio.sleep(0.05)

    monkeypatch.setattr(Heart, "doubt", until_dead)
    with a_way() as way:
        assert await cut_off(way, postgres_server.new_store("&lease=3"), monkeypatch) == 2


# -- clocks ---------------------------------------------------------------------------------------------------------


@workflow()
async def napping(ctx: Context) -> None:
    await ctx.wait_signal("go")
    await ctx.sleep(2)


def skewed(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """Let kernels that are made from now on find the clock of their host so far ahead."""
    ahead = round(hours * 3600 * 10**9)

    class Skewed(SystemClock):
        def __init__(self) -> None:
            super().__init__(wall=lambda: time.time_ns() + ahead)

    monkeypatch.setattr("flujo.kernel.kernel.SystemClock", Skewed)


async def nap_begun(kernel: Kernel) -> int:
    """Have a run begin its nap; return how many seconds from now it is to end, by the clock of this process."""
    await kernel.start(napping, run_id="r")
    await until_waiting(kernel, "r", 1)
    await kernel.signal("r", "go")
    await until_waiting(kernel, "r", 2)
    wake_at = (await kernel.backend.load("r")).wake_at
    assert wake_at is not None
    return round(wake_at / 1e6 - time.time())


@pytest.mark.parametrize("hours", [1, -1])
async def test_the_clocks_of_hosts_may_be_wrong(hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nap that began on a host whose clock is an hour ahead, and goes on at one that is an hour behind, takes as long
    as it is to, and so the other way round; the journal tells the time of the server, and nothing in it goes back."""
    url = postgres_server.new_store("&lease=3")
    skewed(monkeypatch, hours)
    started_at = time.time_ns() // 1000
    async with fleet(url, 1, tmp_path, monkeypatch, [napping]) as (first,):
        assert -PATIENCE_SECONDS < await nap_begun(first) <= 3
        skewed(monkeypatch, -hours)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "other"))
        async with Kernel(PostgresBackend(url), [napping], recover=False) as second:
            await first.drain()
            await second.recover()
            with anyio.fail_after(PATIENCE_SECONDS):
                await second.result("r")
            instants = [event.at for event in await second.events("r")]

    assert started_at - 1_000_000 < instants[0]
    assert instants == sorted(instants)
    assert instants[-1] < time.time_ns() // 1000 + 1_000_000
    assert await faults_in(url, bodies, ["r"]) == []


async def test_a_kernel_that_goes_by_its_own_clock_naps_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    skewed(monkeypatch, 1)
    monkeypatch.setattr(SystemClock, "follow", lambda clock, wall: None)
    async with fleet(postgres_server.new_store(), 1, tmp_path, monkeypatch, [napping]) as (kernel,):
        assert await nap_begun(kernel) > 3000


# -- hosts ----------------------------------------------------------------------------------------------------------


@contextmanager
def host(
    url: str, folder: Path, runs: int, before: Sequence[str] = (), settings: Mapping[str, str] | None = None
) -> Iterator[Host]:
    """A kernel on a host of its own, which has started runs."""
    found = Host(url, folder, runs, before, settings)
    try:
        found.wait_until_open()
        yield found
    finally:
        found.end()


async def all_completed(url: str, names: Sequence[str]) -> None:
    """Return once these runs have completed, whoever advances them."""
    async with PostgresBackend(url) as backend:
        with anyio.fail_after(PATIENCE_SECONDS):
            for name in names:
                await Observer(backend).result(name)


async def taken_over(url: str, gone: Host, heir: Host) -> None:
    """Return once a host has completed the runs of one that is gone; each with a body more at most per takeover."""
    await all_completed(url, gone.runs)
    doubts = gone.doubts() + heir.doubts()
    assert await faults_in(url, gone.bodies() + heir.bodies(), gone.runs, doubts=doubts) == []
    assert max(await tokens(url)) > 1


async def test_the_runs_of_a_process_that_is_killed_go_on_at_others(tmp_path: Path) -> None:
    """SIGKILL; a lease later every run goes on."""
    url = postgres_server.new_store("&lease=3")
    with host(url, tmp_path / "heir", 0) as heir:
        await guard_tokens(url)
        for number in range(size("DEATHS", 1)):
            with host(url, tmp_path / f"gone{number}", size("RUNS", 10)) as gone:
                gone.wait_until_at_work(1)
                gone.end()
                await taken_over(url, gone, heir)


async def test_a_process_that_is_stopped_for_two_leases_records_nothing_when_it_goes_on(tmp_path: Path) -> None:
    """SIGSTOP: its runs are taken and completed meanwhile. It finds that out, and ends."""
    url = postgres_server.new_store("&lease=3")
    with host(url, tmp_path / "heir", 0) as heir:
        await guard_tokens(url)
        for number in range(size("DEATHS", 1)):
            with host(url, tmp_path / f"gone{number}", size("RUNS", 10)) as gone:
                gone.wait_until_at_work(1)
                gone.process.send_signal(signal.SIGSTOP)
                await anyio.sleep(2 * 3)
                await all_completed(url, gone.runs)
                gone.process.send_signal(signal.SIGCONT)
                end = partial(gone.process.wait, timeout=PATIENCE_SECONDS)
                assert await anyio.to_thread.run_sync(end) == 0
                await taken_over(url, gone, heir)


async def test_without_takeovers_the_runs_of_a_process_that_is_killed_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of SIGKILL."""
    url = postgres_server.new_store("&lease=3")
    with host(url, tmp_path / "gone", 3, settings={BODY_SECONDS: "3600"}) as gone:
        gone.wait_until_at_work(3)
        gone.end()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "heir"))
        async with Kernel(PostgresBackend(url), [steps], recover=False) as heir:
            with anyio.fail_after(PATIENCE_SECONDS):
                while not await heir.is_interrupted(await heir.summary(gone.runs[0])):  # noqa: ASYNC110 - nobody is told
                    await anyio.sleep(0.05)

        found = await faults_in(url, gone.bodies(), gone.runs)
        assert [fault for fault in found if "it is running" in fault] == [f"{run}: it is running" for run in gone.runs]


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP])
async def test_takeovers_that_raise_no_token_are_bodies_too_many(
    way: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of SIGSTOP and of takeovers without number: no commit of an earlier owner could be told from one of
    the owner."""
    with_tokens = queries.claim_idle
    assert "token = token + 1" in with_tokens(["running"])
    monkeypatch.setattr(queries, "claim_idle", lambda statuses: with_tokens(statuses).replace("token + 1", "token"))
    url = postgres_server.new_store("&lease=3")
    with host(url, tmp_path / "gone", 3, settings={BODY_SECONDS: "3600"}) as gone:
        gone.wait_until_at_work(3)
        gone.process.send_signal(way)
        async with fleet(url, 1, tmp_path, monkeypatch):
            await all_completed(url, gone.runs)

        found = await faults_in(url, gone.bodies() + bodies, gone.runs)
        told = [
            fault.partition(":")[0] for fault in found if fault.endswith("have begun, and it was taken over 0 times")
        ]
        assert told == gone.runs


class Namespace:
    """A network of its own, which leads to this one until it is cut."""

    def __init__(self) -> None:
        self.name = f"flujo{os.getpid()}"
        self._link = f"fl{os.getpid()}"
        self.address = f"10.213.{os.getpid() % 250}.1"
        other = self.address.removesuffix("1") + "2"
        self._ip("netns", "add", self.name)
        self._ip("link", "add", self._link, "type", "veth", "peer", "name", "inside", "netns", self.name)
        self._ip("address", "add", f"{self.address}/24", "dev", self._link)
        self._ip("link", "set", self._link, "up")
        self._ip("-n", self.name, "address", "add", f"{other}/24", "dev", "inside")
        self._ip("-n", self.name, "link", "set", "inside", "up")

    def cut(self) -> None:
        """Let nothing through any more; nobody is told."""
        self._ip("address", "del", f"{self.address}/24", "dev", self._link)

    def mend(self) -> None:
        """Let everything through again."""
        self._ip("address", "add", f"{self.address}/24", "dev", self._link)

    def close(self) -> None:
        """Take it away, and its link with it."""
        self._ip("netns", "delete", self.name)

    @staticmethod
    def _ip(*command: str) -> None:
        subprocess.run(["ip", *command], check=True, capture_output=True)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A network of its own; skipped where nobody may make one."""
    try:
        found = Namespace()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs root, and ip of iproute2, to make a network namespace")
    yield found
    found.close()


async def test_a_host_whose_network_is_silent_loses_its_runs(namespace: Namespace, tmp_path: Path) -> None:
    """In a network namespace of its own: packets vanish, no connection ends. Its runs are completed elsewhere, and it
    ends once the network is back, or before."""
    with postgres_server.own_server({"listen_addresses": namespace.address}) as server:
        with (server.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        await sql(f"{server.url}&schema=flujo", "SELECT pg_reload_conf()")
        url = postgres_server.new_store("&lease=3", base=server.url)
        schema = parse_qs(urlsplit(url).query)["schema"][0]
        through = f"postgresql://postgres@{namespace.address}/postgres?schema={schema}"
        inside = ["ip", "netns", "exec", namespace.name]
        with host(url, tmp_path / "heir", 0) as heir:
            for number in range(size("CUTS", 1)):
                with host(through, tmp_path / f"gone{number}", size("RUNS", 10), inside) as gone:
                    gone.wait_until_at_work(1)
                    namespace.cut()
                    await all_completed(url, gone.runs)
                    namespace.mend()
                    end = partial(gone.process.wait, timeout=PATIENCE_SECONDS)
                    assert await anyio.to_thread.run_sync(end) == 0
                    await taken_over(url, gone, heir)


# -- takeovers ------------------------------------------------------------------------------------------------------


is_enough = anyio.Event()


@workflow()
async def until_told(ctx: Context, name: str) -> str:
    """Make steps until there were enough takeovers."""
    number = 0

    async def work() -> bool:
        begin_body(name, f"work{number}")
        await anyio.sleep(0.02)
        return is_enough.is_set()

    while not await ctx.step(work, name=f"work{number}"):
        number += 1
    return name


class Doomed:
    """A kernel that dies as its process would."""

    def __init__(self) -> None:
        self._life = anyio.CancelScope()
        self.has_ended = anyio.Event()
        self.kernel: Kernel

    async def live(self, url: str, *, task_status: TaskStatus[None]) -> None:
        """Be a kernel until killed."""
        with self._life:
            async with Kernel(PostgresBackend(url), [until_told]) as self.kernel:
                task_status.started()
                await anyio.sleep_forever()
        self.has_ended.set()

    async def die(self) -> None:
        """Be dead, in this instant."""
        assert isinstance(self.kernel.backend, PostgresBackend)
        self.kernel.backend.kill()
        self._life.cancel()
        await self.has_ended.wait()


async def test_takeovers_without_number_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four kernels on one host, one of which dies again and again while another one comes: what the dead ones leave is
    shared among the others each time."""
    global is_enough
    is_enough = anyio.Event()
    lots = random.Random(1)
    url = postgres_server.new_store()
    names = [f"r{number}" for number in range(40)]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with anyio.create_task_group() as group:
        kernels: list[Doomed] = []
        for _ in range(4):
            kernels.append(Doomed())
            await group.start(kernels[-1].live, url)
        await guard_tokens(url)
        for number, name in enumerate(names):
            await kernels[number % 4].kernel.start(until_told, {"name": name}, run_id=name)
        while takeovers_in(await tokens(url)) < size("TAKEOVERS", 30):
            await kernels.pop(lots.randrange(4)).die()
            kernels.append(Doomed())
            await group.start(kernels[-1].live, url)
            with anyio.fail_after(PATIENCE_SECONDS):
                while await orphans(url, kernels):  # noqa: ASYNC110 - the server tells nobody
                    await anyio.sleep(0.05)
        is_enough.set()
        await all_completed(url, names)
        for kernel in kernels:
            await kernel.die()

    assert await faults_in(url, bodies, names) == []


def takeovers_in(found: Mapping[int, int]) -> int:
    """Return how often runs have changed hands, of how many have which token."""
    return sum((token - 1) * runs for token, runs in found.items())


async def orphans(url: str, kernels: Sequence[Doomed]) -> int:
    """Return how many runs none of these kernels has."""
    alive = ", ".join(f"'{each.kernel.id}'" for each in kernels)
    ((number,),) = await sql(url, f"SELECT count(*) FROM @.runs WHERE owner IS NULL OR owner NOT IN ({alive})")
    return int(number)


# -- answers --------------------------------------------------------------------------------------------------------


class Swallowing:
    """A way to a server that drops the n-th of its answers, and the connection with it."""

    def __init__(self, server: str, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self.left: int | None = None

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Lead everybody to the server until cancelled."""
        listener = await anyio.create_unix_listener(self._folder / ".s.PGSQL.5432")
        async with listener, anyio.create_task_group() as group:
            task_status.started()
            await listener.serve(self._lead, group)

    async def _lead(self, client: SocketStream) -> None:
        server = await anyio.connect_unix(self._server)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            async with client, server, anyio.create_task_group() as both:
                both.start_soon(self._send, client, server, both)
                async for answer in server:
                    if self.left is not None:
                        self.left -= 1
                        if self.left == 0:
                            break
                    await client.send(answer)
                both.cancel_scope.cancel()

    @staticmethod
    async def _send(client: SocketStream, server: SocketStream, both: TaskGroup) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for question in client:
                await server.send(question)
        both.cancel_scope.cancel()


async def without_answer(way: Swallowing, url: str, through: str, number: int, patience: float) -> list[str]:
    """Let a kernel run a scenario in which one answer is dropped; return what is wrong then."""
    bodies.clear()
    async with Kernel(PostgresBackend(through), [steps, patient]) as kernel:
        way.left = number
        with anyio.fail_after(patience):
            await kernel.start(steps, {"name": "r"}, run_id="r")
            await kernel.start(patient, run_id="p")
            while (await kernel.summary("p")).status != "waiting":  # noqa: ASYNC110 - the answer may be lost
                await anyio.sleep(0.01)
            with suppress(RunFinishedError):
                try:
                    await kernel.signal("p", "go", 1)
                except StoreError:  # it says that nobody knows whether it was posted
                    await kernel.signal("p", "go", 1)
            assert (await kernel.result("r"), await kernel.result("p")) == ("r", 1)
    found = await faults_in(url, bodies, ["r", "p"])
    return found + [f"a run has the token {token}" for token in await tokens(url) if token != 1]


async def every_answer_dropped(stride: int, patience: float = PATIENCE_SECONDS) -> list[str]:
    """Drop one answer of a scenario after the other; return what was wrong then."""
    pass_over_what_the_driver_complains_about()
    host = parse_qs(urlsplit(postgres_server.url()).query)["host"][0]
    with tempfile.TemporaryDirectory(prefix="flujo-", dir="/tmp") as folder:
        way = Swallowing(f"{host}/.s.PGSQL.5432", Path(folder))
        async with anyio.create_task_group() as group:
            await group.start(way.serve)
            found: list[str] = []
            number = 1
            way.left = None
            while way.left is None or way.left <= 0:
                url = postgres_server.new_store()
                way.left = None
                found += await without_answer(way, url, re.sub(r"host=[^&]*", f"host={folder}", url), number, patience)
                number += stride
            assert number > 10
            group.cancel_scope.cancel()
    return found


@directly
async def test_whichever_answer_is_dropped_a_kernel_does_everything_once() -> None:
    """On its way from the server, with the connection: of the commits, the reads and the heartbeats of a kernel."""
    assert await every_answer_dropped(size("STRIDE", 4)) == []


@directly
async def test_a_commit_that_is_not_known_again_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with commits that are sent again and not known again."""
    judge = journal._judge
    monkeypatch.setattr(journal, "_judge", lambda batch, uid, stored, is_repeat: judge(batch, uid, stored, False))
    with pytest.raises((AssertionError, StoreError, ExceptionGroup, TimeoutError)):
        assert await every_answer_dropped(2, patience=15) == []
