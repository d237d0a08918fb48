"""The server as a program: what it does before it listens, and what it goes on with."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends import SQLiteBackend, open_backend, outages
from flujo.backends.locks import StoreLock
from flujo.client import Client
from flujo.client.addresses import ServerAddress
from flujo.kernel import Kernel, Observer, Retention, RunFailed
from flujo.kernel.errors import AddressInUseError, InvalidAddressError, StoreBusyError
from flujo.kernel.ownership.inbox import Inbox
from flujo.server.app import run_server
from flujo.server.sockets import claimed
from flujo.workflows import load_workflow_text
from server.flows import FAILS, WAITS, WORKS, doubling, letters, waiting
from server.serving import server_process

PROCESSES = """
name: processes
steps:
  - {name: shout, task: shell, inputs: {command: "echo hello | tr a-z A-Z"}}
  - {name: count, task: python_code, inputs: {code: "result = len(steps['shout']['result']['stdout'])"}}
outputs: {count: "{{ steps.count.result }}"}
"""


async def test_a_server_recovers_what_it_can_read(folder: Path, address: str) -> None:
    """Runs of the workflows it was given, and runs whose definition is stored, before the first call is answered."""
    store = f"sqlite:{folder}/state.db"
    async with Kernel(open_backend(store), [waiting], workspaces=folder / "w") as kernel:
        await kernel.start(waiting, run_id="python")
        await kernel.start(letters(WAITS), run_id="yaml")
    async with anyio.create_task_group() as group:
        ready = anyio.Event()

        async def serve() -> None:
            await run_server(
                store, address, [waiting], workspaces=folder / "w", started=lambda kernel, address: ready.set()
            )

        group.start_soon(serve)
        await ready.wait()
        async with Client(address) as client:
            assert not any([await client.is_interrupted(run) for run in (await client.list()).runs])
            await client.signal("python", "go", 1)
            await client.signal("yaml", "b", 2)
            assert await client.result("python") == 1
            assert await client.result("yaml") == {"last": 2}
        group.cancel_scope.cancel()
    assert not (folder / "s").exists()


async def test_a_server_forgets_old_runs_by_its_rule(folder: Path, address: str) -> None:
    """As soon as it is open; a definition that a client sends has no say in it."""
    store = f"sqlite:{folder}/state.db"
    async with Kernel(open_backend(store), [doubling], workspaces=folder / "w") as kernel:
        for number in range(3):
            await kernel.run(doubling, run_id=f"r{number}")
    greedy = load_workflow_text("name: greedy\nretention: {last: 1}\nsteps: [{name: a, task: noop}]\n", "greedy.yaml")
    async with anyio.create_task_group() as group:
        ready = anyio.Event()

        async def serve() -> None:
            await run_server(
                store,
                address,
                workspaces=folder / "w",
                retention=Retention(completed=0, last=2),
                started=lambda kernel, address: ready.set(),
            )

        group.start_soon(serve)
        await ready.wait()
        async with Client(address) as client:
            with anyio.fail_after(20):
                while await client.count() > 2:
                    await checkpoint()
            for number in range(2):
                await client.run(greedy, run_id=f"g{number}")
            assert [run.run_id for run in (await client.list()).runs] == ["g1", "g0", "r2", "r1"]
        group.cancel_scope.cancel()


async def test_a_server_that_cannot_listen_touches_nothing(folder: Path, address: str) -> None:
    """An address that is taken, or too long, is said before the store is made or a run is taken up."""
    with claimed(ServerAddress.parse(address)), pytest.raises(AddressInUseError):
        await run_server(f"sqlite:{folder}/state.db", address, workspaces=folder / "w")
    with pytest.raises(InvalidAddressError):
        await run_server(f"sqlite:{folder}/state.db", f"unix:/{'d' * 200}", workspaces=folder / "w")

    assert os.listdir(folder) == ["s.lock"]


async def test_a_server_ends_with_its_kernel(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug that ends a kernel must not leave a server that answers every call with an error."""
    listens = anyio.Event()

    async def fail(self: Inbox) -> None:
        await listens.wait()
        raise LookupError("a bug")

    monkeypatch.setattr(Inbox, "serve", fail)
    with anyio.fail_after(20), pytest.raises(ExceptionGroup) as ended:
        await run_server(
            f"sqlite:{folder}/state.db", address, workspaces=folder / "w", started=lambda kernel, bound: listens.set()
        )

    assert ended.group_contains(LookupError, match="a bug")


async def test_a_server_runs_child_processes(folder: Path, address: str) -> None:
    """Shells and Python in processes of their own, beside the threads of gRPC."""
    with server_process(folder, address):
        async with Client(address) as client:
            outputs = [await client.run(load_workflow_text(PROCESSES, "processes.yaml")) for _ in range(3)]

    assert outputs == [{"count": 6}] * 3


async def test_definitions_of_clients_survive_the_server(folder: Path, address: str) -> None:
    """A run that was started with a definition is resumed with it, or with another one, by the next server."""
    with server_process(folder, address):
        async with Client(address) as client:
            for run_id in ("a", "b"):
                with pytest.raises(RunFailed):
                    await client.run(letters(FAILS), run_id=run_id)
    with server_process(folder, address):
        async with Client(address) as client:
            await client.resume("a")
            with pytest.raises(RunFailed):
                await client.result("a")
            await client.resume("b", workflow=letters(WORKS))
            assert await client.result("b") == {"last": "two"}

    async with open_backend(f"sqlite:{folder}/state.db") as backend:
        assert (await Observer(backend).inspect("a")).resume_count == 1


async def test_a_server_goes_on_once_its_database_is_unlocked(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has held the lock of the store for longer than a commit waits."""
    monkeypatch.setattr(outages, "FIRST_SECONDS", 0.01)
    url = f"sqlite:{folder}/state"
    async with Kernel(open_backend(url), [waiting], workspaces=folder / "w") as kernel:
        await kernel.start(waiting, run_id="r")

    def impatient(store: str) -> SQLiteBackend:
        return SQLiteBackend(store.partition(":")[2], busy_seconds=0.1)

    monkeypatch.setattr("flujo.server.app.open_backend", impatient)
    bound = [anyio.Event(), anyio.Event()]

    def listens(kernel: Kernel, where: str) -> None:
        next(each for each in bound if not each.is_set()).set()

    lock = StoreLock(folder / "state-kernels" / "store.lock")
    async with anyio.create_task_group() as group:

        async def serve() -> None:
            await run_server(url, address, [waiting], workspaces=folder / "w", started=listens)

        group.start_soon(serve)
        await bound[0].wait()
        assert lock.acquire(5)
        async with Client(address) as client:
            with pytest.raises(StoreBusyError):
                await client.signal("r", "go", 1)
            assert (await client.inspect("r")).status == "waiting"
        lock.close()
        with anyio.fail_after(20):
            await bound[1].wait()
        async with Client(address) as client:
            await client.signal("r", "go", 2)
            assert await client.result("r") == 2
        group.cancel_scope.cancel()
