"""Several kernels on one database: who takes what, who answers, and what becomes of runs when a host, or the server,
goes away."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from anyio.abc import SocketStream, TaskGroup, TaskStatus

import postgres_server
from faults.machine import small_disk
from flujo.backends import PostgresBackend
from flujo.backends.postgres.connection import Connection
from flujo.backends.postgres.url import parse
from flujo.kernel import Context, Kernel, Observer, SystemClock, workflow
from flujo.kernel.backend import RunFilter
from flujo.kernel.checking import check
from flujo.kernel.errors import StoreError, StoreLeaseLostError
from flujo.kernel.outcomes import CancelOutcome, Delivery
from flujo.kernel.state import RunStatus
from kernel.execution.processes import Fifo, fifo

__all__ = ["fifo"]

PATIENCE_SECONDS = 60.0

bodies: Counter[str] = Counter()
"""How often the body of each step of each run has begun, by everybody in this process."""


@workflow()
async def steps(ctx: Context, name: str) -> str:
    async def work() -> str:
        bodies[f"{name}/{ctx_step}"] += 1
        await anyio.sleep(0.02)
        return "done"

    for ctx_step in range(5):
        await ctx.step(work, name=f"work{ctx_step}")
    return name


@workflow()
async def patient(ctx: Context) -> object:
    return await ctx.wait_signal("go")


@workflow()
async def twice(ctx: Context) -> list[object]:
    first = await ctx.wait_signal("go")
    return [first, await ctx.wait_signal("on")]


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


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg knows asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _nobody_has_done_anything() -> None:
    bodies.clear()


@pytest.fixture
def url() -> str:
    return postgres_server.new_store()


@asynccontextmanager
async def fleet(url: str, number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Kernel]]:
    """Kernels on the same store, each as if on a host of its own."""
    async with AsyncExitStack() as stack:
        kernels: list[Kernel] = []
        for place in range(number):
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / f"host{place}"))
            kernels.append(
                await stack.enter_async_context(Kernel(PostgresBackend(url), [steps, patient, twice, gated, wordy]))
            )
        yield kernels


async def until_started(kernel: Kernel, run_id: str) -> None:
    """Return once a step of a run has begun."""
    async for event in kernel.watch(run_id):
        if event.type == "step_started":
            return


async def until_waiting(kernel: Kernel, run_id: str, waits: int) -> None:
    """Return once a run has begun to wait for so many signals."""
    async for event in kernel.watch(run_id):
        waits -= event.type == "step_waiting"
        if waits == 0:
            return


async def owners(kernel: Kernel) -> Counter[str | None]:
    """How many runs each kernel has."""
    found = await kernel.backend.list(RunFilter(statuses=["pending", "running", "waiting"]), limit=1000)
    return Counter(run.owner for run in found.runs)


async def test_what_is_submitted_is_spread(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are left to whoever has room go to all kernels alike, whichever of them was asked."""
    async with fleet(url, 3, tmp_path, monkeypatch) as kernels:
        for number in range(30):
            await kernels[0].submit(patient, run_id=f"r{number}")
        with anyio.fail_after(PATIENCE_SECONDS):
            while None in (found := await owners(kernels[1])):  # noqa: ASYNC110 - the server tells nobody
                await anyio.sleep(0.05)

        assert sum(found.values()) == 30
        assert all(8 <= found[kernel.id] <= 12 for kernel in kernels)


async def test_a_run_is_asked_of_any_kernel(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has it hears of signals and cancels, and everybody sees every event once and in order."""
    async with fleet(url, 2, tmp_path, monkeypatch) as (one, two):
        await one.start(patient, run_id="r")
        await one.start(patient, run_id="s")
        assert await two.signal("r", "go", 7) is Delivery.POSTED
        with anyio.fail_after(PATIENCE_SECONDS):
            seen = [event.seq async for event in two.watch("r")]
            assert await two.result("r") == 7
            assert await two.cancel("s") is CancelOutcome.REQUESTED
            assert (await two.wait("s")).status is RunStatus.CANCELLED

        assert seen == list(range(1, len(seen) + 1))
        assert (await two.summary("r")).owner is None


async def test_the_details_name_the_kernels(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that live and those that went a while ago, with where they are and how many runs they have."""
    async with fleet(url, 2, tmp_path, monkeypatch) as (one, two):
        await one.start(patient, run_id="r")
        async with Kernel(PostgresBackend(url)) as gone:
            pass
        told = {each["kernel"]: each for each in (await two.backend.details())["kernels"]}

    assert {name: (each["state"], each["runs"]) for name, each in told.items()} == {
        one.id: ("alive", 1),
        two.id: ("alive", 0),
        gone.id: ("closed", 0),
    }


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


async def test_the_clocks_of_hosts_may_be_wrong(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nap that began on a host whose clock is an hour ahead, and goes on at one that is an hour behind, takes as long
    as it is to; the journal tells the time of the server, and nothing in it goes back."""
    async with AsyncExitStack() as stack:
        kernels: list[Kernel] = []
        for hours in (1, -1):
            skewed(monkeypatch, hours)
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / f"host{hours}"))
            kernel = Kernel(PostgresBackend(url + "&lease=3"), [napping], recover=hours > 0)
            kernels.append(await stack.enter_async_context(kernel))
        ahead, behind = kernels
        started_at = time.time_ns() // 1000
        await ahead.start(napping, run_id="r")
        await until_waiting(ahead, "r", 1)
        await ahead.signal("r", "go")
        await until_waiting(ahead, "r", 2)
        summary = await ahead.backend.load("r")
        await ahead.drain()
        await behind.recover()
        with anyio.fail_after(PATIENCE_SECONDS):
            await behind.result("r")
        ended_at = time.time_ns() // 1000
        events = await behind.events("r")

    instants = [event.at for event in events]
    assert started_at - 1_000_000 < instants[0] <= instants[-1] < ended_at + 1_000_000
    assert instants == sorted(instants)
    assert summary.wake_at is not None
    assert instants[-1] >= summary.wake_at
    assert instants[-1] - summary.wake_at < PATIENCE_SECONDS * 1e6


gate = anyio.Event()


@workflow()
async def gated(ctx: Context) -> str:
    async def work() -> str:
        bodies["gated"] += 1
        await gate.wait()
        return "done"

    return await ctx.step(work)


async def test_a_kernel_that_drains_interrupts_nothing_and_keeps_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits there goes on at another kernel, what is started there begins elsewhere, and a body that has begun
    ends where it has begun, once."""
    global gate
    gate = anyio.Event()
    async with fleet(url + "&lease=3", 2, tmp_path, monkeypatch) as (draining, other):
        for number in range(3):
            await draining.start(patient, run_id=f"p{number}")
            await until_waiting(draining, f"p{number}", 1)
        at_work = await draining.start(gated, run_id="g")
        await until_started(draining, "g")
        assert await other.backend.drain(draining.id) == [draining.id]
        with anyio.fail_after(PATIENCE_SECONDS):
            while await owners(other) != {draining.id: 1, other.id: 3}:  # noqa: ASYNC110 - the server tells nobody
                await anyio.sleep(0.02)
            states = {each.kernel: each.state for each in await other.backend.members()}
            late = await draining.start(patient, run_id="late")
            await until_waiting(other, "late", 1)
            gate.set()
            assert await at_work.result() == "done"
            await draining.drain()
            for run_id in ("p0", "p1", "p2", "late"):
                await draining.signal(run_id, "go", 1)
                assert await other.result(run_id) == 1
        g = await other.inspect("g")

    assert states == {draining.id: "draining", other.id: "alive"}
    assert late.created
    assert bodies["gated"] == 1
    assert [step.interruptions for step in g.steps.values()] == [0]


async def test_no_kernel_takes_more_than_it_may(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel has no room for is taken by others, although it was started there."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "host0"))
    async with Kernel(PostgresBackend(url), [steps], max_runs=2) as narrow:
        for number in range(8):
            await narrow.start(steps, {"name": f"r{number}"}, run_id=f"r{number}")
        assert (await owners(narrow))[narrow.id] <= 2
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "host1"))
        async with Kernel(PostgresBackend(url), [steps]) as wide:
            with anyio.fail_after(PATIENCE_SECONDS):
                assert [await wide.result(f"r{number}") for number in range(8)] == [f"r{n}" for n in range(8)]


async def test_the_runs_of_a_host_that_is_gone_go_on_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease later, each with one body more at most, and with no step completed twice."""
    url = postgres_server.new_store("&lease=3")
    async with fleet(url, 2, tmp_path, monkeypatch) as (one, two):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
        async with anyio.create_task_group() as group:
            opened, end = anyio.Event(), anyio.Event()

            async def live() -> None:
                kernel = Kernel(PostgresBackend(url), [steps])
                with anyio.CancelScope() as life:
                    async with kernel:
                        for number in range(12):
                            await kernel.start(steps, {"name": f"r{number}"}, run_id=f"r{number}")
                        opened.set()
                        await end.wait()
                        kernel.backend.kill()  # type: ignore[attr-defined]
                        life.cancel()

            group.start_soon(live)
            await opened.wait()
            await anyio.sleep(0.05)
            end.set()
        with anyio.fail_after(PATIENCE_SECONDS):
            results = [await one.result(f"r{number}") for number in range(12)]
        problems = [problem async for problem in _problems(two)]

    assert results == [f"r{number}" for number in range(12)]
    assert problems == []
    assert set(bodies.values()) <= {1, 2}
    assert sum(count - 1 for count in bodies.values()) <= 12


STOPPED = """\
import os, sys
from contextlib import suppress

import anyio

from flujo.backends import PostgresBackend
from flujo.kernel import Context, Kernel, current_attempt, workflow
from flujo.kernel.errors import StoreLeaseLostError


@workflow()
async def commanding(ctx: Context, command: str) -> str:
    async def work() -> str:
        await current_attempt().children.run(["sh", "-c", command], cwd="/", env=dict(os.environ))
        return "the command has ended"

    return await ctx.step(work)


async def main() -> None:
    async with Kernel(PostgresBackend(sys.argv[1]), [commanding]) as kernel:
        await kernel.start(commanding, {"command": sys.argv[2]}, run_id="r")
        with suppress(StoreLeaseLostError):
            await kernel.wait_closed()


anyio.run(main)
"""


async def test_the_commands_of_a_kernel_that_is_stopped_end_before_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fifo: Fifo
) -> None:
    """A process that gets SIGSTOP can end nothing itself: its guardian does. Nobody else is there, as on another host
    nobody could. How the command ended is not taken for an outcome of its step once the process goes on."""
    url = postgres_server.new_store("&lease=3")

    @workflow()
    async def commanding(ctx: Context, command: str) -> str:
        async def work() -> str:
            return "it was begun anew"

        return await ctx.step(work)

    command = f"{fifo.opening}; trap '' TERM; echo up >&9; while :; do sleep 9; done"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XDG_RUNTIME_DIR": str(tmp_path / "stopped")}
    process = subprocess.Popen([sys.executable, "-c", STOPPED, url, command], env=env)  # noqa: ASYNC220
    try:
        await fifo.line()
        process.send_signal(signal.SIGSTOP)
        with anyio.fail_after(PATIENCE_SECONDS):
            await anyio.to_thread.run_sync(fifo.wait_for_the_end, abandon_on_cancel=True)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "heir"))
        async with Kernel(PostgresBackend(url), [commanding]) as heir:
            with anyio.fail_after(PATIENCE_SECONDS):
                result = await heir.result("r")
            process.send_signal(signal.SIGCONT)
            await anyio.to_thread.run_sync(process.wait)
            types = [event.type for event in await heir.events("r")]
    finally:
        process.kill()
        process.wait()

    assert result == "it was begun anew"
    assert types.count("step_completed") == 1


async def _problems(kernel: Kernel) -> AsyncIterator[str]:
    found = await check(kernel.backend)
    for problem in found.findings:
        yield str(problem)


async def sql(url: str, statement: str) -> None:
    asking = await Connection.connect(parse(url))
    try:
        await asking.fetch(statement)
    finally:
        await asking.close()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres_server.Server]:
    """A server that a test may kill."""
    with postgres_server.own_server() as server:
        yield server


async def test_a_server_that_is_killed_again_and_again_loses_nothing(
    own_server: postgres_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its processes die under load, three times: every run ends, every body has run once, no run has changed
    hands."""
    url = postgres_server.new_store("", base=own_server.url)
    async with fleet(url, 2, tmp_path, monkeypatch) as kernels:
        for number in range(20):
            await kernels[number % 2].start(steps, {"name": f"r{number}"}, run_id=f"r{number}")
        for _ in range(3):
            own_server.kill()
            await anyio.to_thread.run_sync(own_server.start)
            await anyio.sleep(0.05)
        with anyio.fail_after(PATIENCE_SECONDS):
            results = [await kernels[0].result(f"r{number}") for number in range(20)]
        runs = (await kernels[0].backend.list(RunFilter(), limit=100)).runs
        problems = [problem async for problem in _problems(kernels[1])]

    assert results == [f"r{number}" for number in range(20)]
    assert problems == []
    assert {run.token for run in runs} == {1}
    assert set(bodies.values()) == {1}


@workflow()
async def wordy(ctx: Context, name: str) -> str:
    async def work() -> str:
        bodies[f"{name}/{ctx_step}"] += 1
        return name * 2000

    for ctx_step in range(5):
        await ctx.step(work, name=f"work{ctx_step}")
    return name


async def all_ended(kernel: Kernel, number: int) -> list[str]:
    """What is wrong once so many runs have ended: with their results, their journals and the count of their bodies."""
    with anyio.fail_after(PATIENCE_SECONDS):
        results = [await kernel.result(f"r{each}") for each in range(number)]
    runs = (await kernel.backend.list(RunFilter(), limit=1000)).runs
    problems = [problem async for problem in _problems(kernel)]
    problems += [] if results == [f"r{each}" for each in range(number)] else [f"results: {results}"]
    problems += [f"{run.run_id} has changed hands" for run in runs if run.token != 1]
    return problems + [f"the body {step} has run {count} times" for step, count in bodies.items() if count != 1]


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs PgBouncer")
async def test_a_pooler_that_is_started_anew_loses_nothing(
    own_server: postgres_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times under load: commits whose answers went with it are sent again and known again."""
    pooler = postgres_server.Pooler(shutil.which("pgbouncer") or "", own_server)
    pooler.start()
    try:
        async with fleet(postgres_server.new_store("", base=pooler.url), 2, tmp_path, monkeypatch) as kernels:
            for number in range(20):
                await kernels[number % 2].start(steps, {"name": f"r{number}"}, run_id=f"r{number}")
            for _ in range(3):
                pooler.stop()
                await anyio.to_thread.run_sync(pooler.start)
                await anyio.sleep(0.05)

            assert await all_ended(kernels[0], 20) == []
            assert all(reconnects(kernel) > 0 for kernel in kernels)
    finally:
        pooler.stop()


def reconnects(kernel: Kernel) -> int:
    """How often the connections of a kernel broke."""
    backend = kernel.backend
    assert isinstance(backend, PostgresBackend)
    return backend._writer.reconnects + backend._reader.reconnects


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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small disk")
async def test_a_full_disk_stops_nothing_for_good(
    server_on_a_small_disk: postgres_server.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Commits are refused for want of space, and made once there is some: no run fails, and no body runs twice."""
    filler = server_on_a_small_disk.folder / "filler"
    url = postgres_server.new_store("", base=server_on_a_small_disk.url)
    async with fleet(url, 1, tmp_path, monkeypatch) as (kernel,):
        fill(filler)
        async with anyio.create_task_group() as runs:
            for number in range(40):
                runs.start_soon(partial(kernel.run, wordy, {"name": f"r{number}"}, run_id=f"r{number}"))
            with anyio.fail_after(PATIENCE_SECONDS):
                while "No space left" not in caplog.text:  # noqa: ASYNC110 - the log tells nobody
                    await anyio.sleep(0.02)
            filler.unlink()

        assert await all_ended(kernel, 40) == []


def fill(filler: Path) -> None:
    """Write until there is no space left on a disk."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 65536):
            pass


async def test_an_outage_of_three_leases_takes_no_run_away(
    own_server: postgres_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies stop when a kernel cannot know any more whether it counts as alive; when the server is back each kernel
    goes on with its own runs. The token of each is the one it had."""
    url = postgres_server.new_store("&lease=2", base=own_server.url)
    async with fleet(url, 2, tmp_path, monkeypatch) as kernels:
        for number in range(10):
            await kernels[number % 2].start(patient, run_id=f"r{number}")
        own_server.kill()
        await anyio.sleep(6)
        await anyio.to_thread.run_sync(own_server.start)
        with anyio.fail_after(PATIENCE_SECONDS):
            for number in range(10):
                await kernels[1].signal(f"r{number}", "go", number)
            results = [await kernels[0].result(f"r{number}") for number in range(10)]
        runs = (await kernels[0].backend.list(RunFilter(), limit=100)).runs

    assert results == list(range(10))
    assert {run.token for run in runs} == {1}


async def test_a_replica_that_lost_commits_strands_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failover to a copy of an earlier moment each run goes on from what is there, its kernel says so, and none
    is stuck with an owner that is refused for ever."""
    with postgres_server.own_server() as server:
        url = postgres_server.new_store(base=server.url)
        async with fleet(url, 1, tmp_path, monkeypatch) as (kernel,):
            for number in range(8):
                await kernel.start(twice, run_id=f"r{number}")
            for number in range(8):
                await until_waiting(kernel, f"r{number}", 1)
            await anyio.to_thread.run_sync(server.keep)  # the moment that the replica has
            for number in range(8):
                await kernel.signal(f"r{number}", "go", 1)
            for number in range(8):
                await until_waiting(kernel, f"r{number}", 2)
            await anyio.to_thread.run_sync(server.fail_over)
            with anyio.fail_after(PATIENCE_SECONDS):
                for number in range(8):
                    with suppress(StoreError):
                        await kernel.signal(f"r{number}", "news", 0)
                for number in range(8):
                    await kernel.signal(f"r{number}", "go", 2)
                    await kernel.signal(f"r{number}", "on", 3)
                results = [await kernel.result(f"r{number}") for number in range(8)]
            problems = [problem async for problem in _problems(kernel)]

    assert results == [[2, 3]] * 8
    assert problems == []
    assert caplog.text.count("has forgotten events") >= 8


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


@pytest.mark.skipif("FLUJO_PGBOUNCER" in os.environ, reason="leads to the server itself")
async def test_a_network_that_goes_silent_takes_the_runs_away_and_gives_none_back(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel behind it ends its bodies before others begin them, and hears of its death when the network is back:
    nothing that it recorded meanwhile stands."""
    pass_over_what_the_driver_complains_about()
    base = postgres_server.url()
    folder = Path(tempfile.mkdtemp(prefix="flujo-", dir="/tmp"))
    behind = Silence(f"{parse_qs(urlsplit(base).query)['host'][0]}/.s.PGSQL.5432", folder)
    url = postgres_server.new_store("&lease=3")
    through = re.sub(r"host=[^&]*", f"host={folder}", url)
    async with anyio.create_task_group() as group:
        await group.start(behind.serve)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "one"))
        lost = Kernel(PostgresBackend(through), [endless])
        await lost.open()
        await lost.start(endless, run_id="r")
        await until_started(lost, "r")
        behind.is_silent = True
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "two"))
        async with Kernel(PostgresBackend(url), [endless]) as heir:
            with anyio.fail_after(PATIENCE_SECONDS):
                while (await heir.summary("r")).owner != heir.id:  # noqa: ASYNC110 - another kernel
                    await anyio.sleep(0.1)
                assert most_at_work == [1]
                behind.is_silent = False
                with pytest.raises(StoreLeaseLostError):
                    await lost.wait_closed()
            assert (await heir.summary("r")).token == 2
        group.cancel_scope.cancel()
    shutil.rmtree(folder)


async def test_a_reader_knows_no_more_than_the_store(url: str) -> None:
    """An observer on the database sees the runs of every kernel, and needs none."""
    async with Kernel(PostgresBackend(url), [steps]) as kernel:
        assert await kernel.run(steps, {"name": "r"}, run_id="r") == "r"
    async with PostgresBackend(url) as backend:
        assert (await Observer(backend).inspect("r")).output == "r"
