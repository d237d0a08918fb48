"""Several kernels on one database: who takes what, who answers, and what becomes of runs when a host, or the server,
goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import postgres_server
from backends.fleets import bodies, fleet, patient, steps, until_waiting
from flujo.backends import PostgresBackend
from flujo.kernel import Context, Kernel, Observer, workflow
from flujo.kernel.backend import RunFilter
from flujo.kernel.checking import check
from flujo.kernel.outcomes import CancelOutcome, Delivery
from flujo.kernel.state import RunStatus
from kernel.execution.processes import Fifo, fifo

__all__ = ["fifo"]

PATIENCE_SECONDS = 60.0


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


async def until_started(kernel: Kernel, run_id: str) -> None:
    """Return once a step of a run has begun."""
    async for event in kernel.watch(run_id):
        if event.type == "step_started":
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
    async with fleet(url + "&lease=3", 2, tmp_path, monkeypatch, [patient, gated]) as (draining, other):
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


async def test_a_reader_knows_no_more_than_the_store(url: str) -> None:
    """An observer on the database sees the runs of every kernel, and needs none."""
    async with Kernel(PostgresBackend(url), [steps]) as kernel:
        assert await kernel.run(steps, {"name": "r"}, run_id="r") == "r"
    async with PostgresBackend(url) as backend:
        assert (await Observer(backend).inspect("r")).output == "r"
