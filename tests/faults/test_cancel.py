"""Every method of the port, cancelled at random awaits: nothing is left open or locked, and nothing is half done."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from anyio import CancelScope
from anyio.lowlevel import checkpoint

from faults.cancelling import Cancelled, awaits_of, cancelled_at
from faults.history import (
    ALL,
    DEFINITION,
    Append,
    Claim,
    ClaimIdle,
    Delete,
    Holding,
    Kept,
    Moment,
    Operation,
    Post,
    Prune,
    Release,
    creation,
    differences,
    following,
    observe,
)
from faults.victims import opened
from flujo.backends import FileBackend, InMemoryBackend, SQLiteBackend
from flujo.backends.memory import MemoryStore
from flujo.backends.sqlite import connection
from flujo.kernel.backend import Commit, Refused, RunFilter, StateBackend
from flujo.kernel.errors import StoreError

CANCELS = 12
"""Of each method on each backend and loop, which makes more than a thousand."""

NOTHING = Append((), None)
Make = Callable[[], StateBackend]
Call = Coroutine[Any, Any, object]


class Place:
    """A store with a handle that is tried, called `w`, another one that must be able to go on, and what is held."""

    def __init__(self, folder: Path, make: Make) -> None:
        self.folder = folder
        self.make = make
        self.handle, self.other = make(), make()
        self.connections: list[sqlite3.Connection] = []
        self._held: Holding = {}
        self._others = creation("other", "other", 1)
        self._numbers = 0

    async def open(self) -> None:
        """Open both handles."""
        await self.handle.open("w")
        await self.other.open("other")
        assert await self.other.append([self._others]) == {}

    async def close(self) -> None:
        """Close both handles."""
        await self.handle.close()
        await self.other.close()

    def number(self) -> int:
        """Another one with each call."""
        self._numbers += 1
        return self._numbers

    async def add(self, owner: str | None, **fields: Any) -> Kept:
        """A run of the tried handle; `fields` say what is special about its summary."""
        number = self.number()
        made = creation(f"w-{number}", "w", number, DEFINITION)
        ended = following(made.summary, owner=owner, **fields)
        for commit in (made, ended):
            await self.perform(Append((commit,), None))
        return self._held[made.run_id]

    async def perform(self, operation: Operation) -> None:
        """Do something that is not cancelled."""
        await operation.perform(self.handle)
        self._held = operation.after(self._held)

    async def look(self, operation: Operation) -> None:
        """Require that all is as before an operation or, for each run, as after it, and that everybody can go on.

        Then remove it all."""
        self.connections = [each for each in self.connections if _is_open(each)]
        assert not any(each.in_transaction for each in self.connections)
        found = await observe(self.other, "w")
        assert differences(found, Moment(self._held, operation)) == []
        self._others = following(self._others.summary)
        assert await self.other.append([self._others]) == {}
        await self.handle.release(None)
        await self.handle.prune(RunFilter(id_prefix="w-"), limit=ALL, dry_run=False)
        self._held = {}


async def append(place: Place) -> tuple[Operation, Call]:
    """A run goes on and another one begins."""
    run = await place.add("w")
    number = place.number()
    operation = Append((following(run.summary, 3), creation(f"w-{number}", "w", number)), None)
    return operation, operation.perform(place.handle)


async def claim(place: Place) -> tuple[Operation, Call]:
    """A run gets an owner."""
    operation = Claim((await place.add(None)).summary.run_id, "w")
    return operation, operation.perform(place.handle)


async def claim_idle(place: Place) -> tuple[Operation, Call]:
    """Two runs get an owner."""
    for _ in range(2):
        await place.add(None)
    return ClaimIdle("w"), ClaimIdle("w").perform(place.handle)


async def release(place: Place) -> tuple[Operation, Call]:
    """All runs lose their owner."""
    await place.add("w")
    return Release(), Release().perform(place.handle)


async def delete(place: Place) -> tuple[Operation, Call]:
    """A run goes."""
    run = (await place.add(None)).summary
    operation = Delete(run.run_id, run.uid)
    return operation, operation.perform(place.handle)


async def prune(place: Place) -> tuple[Operation, Call]:
    """Two runs go."""
    for _ in range(2):
        await place.add(None, status="completed", finished_at=1)
    return Prune("w"), Prune("w").perform(place.handle)


async def post(place: Place) -> tuple[Operation, Call]:
    """A run gets a request."""
    operation = Post((await place.add("w")).summary.run_id, place.number())
    return operation, operation.perform(place.handle)


async def wait_for_posts(place: Place) -> tuple[Operation, Call]:
    """There is something to be found, so it ends."""
    run = await place.add("w")
    await place.perform(Post(run.summary.run_id, place.number()))
    return NOTHING, place.handle.wait_for_posts()


async def backup(place: Place) -> tuple[Operation, Call]:
    """A copy is there whole, or not at all."""
    target = place.folder / f"copy-{place.number()}"

    async def copy() -> None:
        try:
            await place.handle.backup(target)
        except StoreError:
            assert not place.handle.capabilities.durable

    return NOTHING, _and_then(copy(), lambda: _require_whole(place, target))


async def _require_whole(place: Place, target: Path) -> None:
    if await anyio.Path(target).exists():
        async with opened(f"{place.handle.url.partition(':')[0]}:{target}", None) as copied:
            assert await copied.integrity() == []


async def open_(place: Place) -> tuple[Operation, Call]:
    """Whoever was kept from opening may open, under the same name."""
    handle = place.make()
    owner = f"third-{place.number()}"

    async def again() -> None:
        await handle.close()
        assert not await place.other.is_alive(owner)
        await handle.open(owner)
        await handle.close()

    return NOTHING, _and_then(handle.open(owner), again)


async def close(place: Place) -> tuple[Operation, Call]:
    """Whoever was kept from closing is closed all the same, or may close again."""
    handle = place.make()
    owner = f"third-{place.number()}"
    await handle.open(owner)

    async def again() -> None:
        await handle.close()
        assert not await place.other.is_alive(owner)

    return NOTHING, _and_then(handle.close(), again)


async def _and_then(call: Call, look: Callable[[], Awaitable[None]]) -> None:
    """What comes after a call, also after one that was cancelled. That in turn is not cancelled."""
    try:
        await call
    finally:
        with CancelScope(shield=True):
            await look()


def reading(call: Callable[[StateBackend, Kept], Call]) -> Callable[[Place], Awaitable[tuple[Operation, Call]]]:
    """A method that changes nothing."""

    async def prepare(place: Place) -> tuple[Operation, Call]:
        return NOTHING, call(place.handle, await place.add("w"))

    return prepare


METHODS: dict[str, Callable[[Place], Awaitable[tuple[Operation, Call]]]] = {
    "open": open_,
    "close": close,
    "append": append,
    "claim": claim,
    "claim_idle": claim_idle,
    "release": release,
    "delete": delete,
    "prune": prune,
    "post": post,
    "take": reading(lambda handle, run: handle.take()),
    "paused_with": reading(lambda handle, run: handle.paused_with("cancel")),
    "wait_for_posts": wait_for_posts,
    "load": reading(lambda handle, run: handle.load(run.summary.run_id)),
    "read_events": reading(lambda handle, run: handle.read_events(run.summary.run_id, run.summary.uid, 0, 9)),
    "read_runs": reading(lambda handle, run: handle.read_runs([run.summary.run_id, "none"], 9)),
    "requests": reading(lambda handle, run: handle.requests(run.summary.run_id, run.summary.uid)),
    "list": reading(lambda handle, run: handle.list(RunFilter(), limit=9)),
    "due": reading(lambda handle, run: handle.due(9, 9)),
    "count": reading(lambda handle, run: handle.count(RunFilter())),
    "stats": reading(lambda handle, run: handle.stats(0)),
    "is_alive": reading(lambda handle, run: handle.is_alive("other")),
    "get_definition": reading(lambda handle, run: handle.get_definition(DEFINITION.digest)),
    "integrity": reading(lambda handle, run: handle.integrity()),
    "integrity_beside_runs": reading(lambda handle, run: handle.integrity_beside_runs()),
    "backup": backup,
    "details": reading(lambda handle, run: handle.details()),
}


def test_every_method_of_the_port_is_tried() -> None:
    """No method is forgotten."""
    assert METHODS.keys() == StateBackend.__abstractmethods__ | {"paused_with", "read_runs", "integrity_beside_runs"}


class TornBackend(SQLiteBackend):
    """One that gives way to others in the middle of a transaction, which is wrong."""

    async def append(self, commits: Any) -> dict[str, Refused]:
        """Begin, wait, and write."""
        assert self._writer is not None
        await self._writer.run(lambda connection: connection.execute("BEGIN IMMEDIATE"))
        await checkpoint()
        await self._writer.run(lambda connection: connection.execute("ROLLBACK"))
        return await super().append(commits)


class HastyBackend(InMemoryBackend):
    """One whose summaries are ahead of its journals while it waits, which is wrong."""

    async def append(self, commits: Any) -> dict[str, Refused]:
        """Write the summary, wait, and write all."""
        for commit in list[Commit](commits):
            run = self.store.runs.get(commit.run_id.lower())
            if run is not None:
                before, run.summary = run.summary, commit.summary
                await checkpoint()
                run.summary = before
        return await super().append(commits)


def memory(kind: type[InMemoryBackend], folder: Path) -> Make:
    """Handles on one store in memory."""
    store = MemoryStore()
    return lambda: kind(store)


def sqlite(kind: type[SQLiteBackend], folder: Path) -> Make:
    """Handles on one database."""
    return lambda: kind(folder / "store", "normal")


def file(folder: Path) -> Make:
    """Handles on one folder."""
    return lambda: FileBackend(folder / "store", "normal")


@pytest.fixture
async def place(
    backend: Callable[[Path], Make], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    """An open store, and all connections that are made to it."""
    place = Place(tmp_path, backend(tmp_path))

    class Known(connection._UnitConnection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            place.connections.append(self)

    monkeypatch.setattr(connection, "_UnitConnection", Known)
    await place.open()
    yield place
    await place.close()


async def cancel(place: Place, method: str, times: int, random: Random) -> Counter[Cancelled]:
    """Cancel a method so often, each time at a random await; return what became of the calls. They are fewer only where
    a method never waits."""
    operation, call = await METHODS[method](place)
    awaits = await awaits_of(call)
    await place.look(operation)
    done: Counter[Cancelled] = Counter()
    for _ in range(3 * times if awaits else 0):
        operation, call = await METHODS[method](place)
        done[await cancelled_at(call, random.randrange(awaits))] += 1
        await place.look(operation)
        if done[Cancelled.ENDED] + done[Cancelled.IN_VAIN] == times:
            break
    return done


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.total_changes
    except sqlite3.ProgrammingError:
        return False
    return True


BACKENDS = [
    pytest.param(lambda folder: memory(InMemoryBackend, folder), "asyncio", id="memory-asyncio"),
    pytest.param(lambda folder: memory(InMemoryBackend, folder), "trio", id="memory-trio"),
    pytest.param(file, "asyncio", id="file-asyncio"),
    pytest.param(file, "trio", id="file-trio"),
    pytest.param(lambda folder: sqlite(SQLiteBackend, folder), "asyncio", id="sqlite-asyncio"),
]


@pytest.mark.parametrize(("backend", "anyio_backend"), BACKENDS)
async def test_a_cancelled_call_leaves_nothing_behind(place: Place, anyio_backend: str) -> None:
    """Whichever await of whichever method is cancelled: no transaction stays open, another handle writes at once, what
    was acknowledged is there, and what the call would have done has happened to each run wholly or not at all."""
    random = Random(f"{place.handle.url.partition(':')[0]} {anyio_backend}")
    done = {method: await cancel(place, method, CANCELS, random) for method in METHODS}

    came = {method: ends[Cancelled.ENDED] + ends[Cancelled.IN_VAIN] for method, ends in done.items()}
    assert sum(came.values()) >= 1_000 / len(BACKENDS)
    assert list(came.values()).count(0) <= 2  # a method that never waits cannot be cancelled
    ended = {method for method, ends in done.items() if ends[Cancelled.ENDED]}
    assert ended >= {"prune", "integrity"}  # what may take long is ended; a short unit of work comes to its own end


@pytest.mark.parametrize(
    ("backend", "anyio_backend"),
    [
        pytest.param(lambda folder: sqlite(TornBackend, folder), "asyncio", id="sqlite"),
        pytest.param(lambda folder: memory(HastyBackend, folder), "asyncio", id="memory"),
    ],
)
async def test_a_torn_transaction_is_caught(place: Place) -> None:
    """A backend that lets others in between two halves of an append does not get through this."""
    with pytest.raises(AssertionError):
        await cancel(place, "append", CANCELS, Random(1))
