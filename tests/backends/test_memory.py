"""The memory backend beyond the port: what it adds as a test double."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends import InMemoryBackend
from flujo.backends.conformance import create, creation, following
from flujo.backends.memory import MemoryStore, open_memory
from flujo.kernel.backend import Refused, RunFilter
from flujo.kernel.errors import StoreError


async def test_every_url_is_a_store_of_its_own() -> None:
    """Two handles made from `memory:` share nothing."""
    one, two = open_memory("memory:"), open_memory("memory:")
    await one.open("one")
    await two.open("one")
    await create(one, creation("a"))

    assert await two.count(RunFilter()) == 0


async def test_a_kill_stops_a_commit_on_its_way() -> None:
    """A commit that has not reached the store when its process dies never does, and raises StoreError."""
    store = MemoryStore()
    victim, heir = InMemoryBackend(store), InMemoryBackend(store)
    await victim.open("victim")
    await heir.open("heir")
    (summary,) = await create(victim, creation("a", "victim"))
    errors: list[StoreError] = []

    async def append() -> None:
        try:
            await victim.append([following(summary)])
        except StoreError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(append)
        victim.kill()

    assert len(errors) == 1
    assert await heir.load("a") == summary
    assert (await heir.claim("a")).token == 2


async def test_a_kill_ends_a_wait_for_posts() -> None:
    """A wait for posts ends with StoreError when its handle is killed or closed."""
    for end in ("kill", "close"):
        handle = InMemoryBackend()
        await handle.open("one")
        raised: list[StoreError] = []

        async def wait(handle: InMemoryBackend = handle, raised: list[StoreError] = raised) -> None:
            try:
                await handle.wait_for_posts()
            except StoreError as error:
                raised.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            for _ in range(5):
                await checkpoint()
            if end == "kill":
                handle.kill()
            else:
                await handle.close()
        assert len(raised) == 1


async def test_an_append_is_a_scheduling_point() -> None:
    """Other tasks run while an append waits, as they do while a disk works."""
    handle = InMemoryBackend()
    await handle.open("one")
    seen: list[str] = []

    async def append() -> None:
        await handle.append([creation("a")])
        seen.append("appended")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(append)
        while not seen:
            seen.extend(["other"] * (len(handle.store.runs) == 0))
            await checkpoint()

    assert seen[0] == "other"


@pytest.mark.parametrize("mistake", ["a gap", "another uid", "another token", "another last event"])
async def test_mistakes_of_a_kernel_are_refused(mistake: str) -> None:
    """A commit that contradicts itself raises ValueError and nothing of its batch is stored."""
    handle = InMemoryBackend()
    await handle.open("one")
    (summary,) = await create(handle, creation("a"))
    good = following(summary, 2)
    wrong = {
        "a gap": good._replace(rows=good.rows[1:]),
        "another uid": good._replace(summary=good.summary._replace(uid="other")),
        "another token": good._replace(token=9),
        "another last event": good._replace(summary=good.summary._replace(seq=9)),
    }[mistake]
    with pytest.raises(ValueError, match="'a'"):
        await handle.append([creation("b"), wrong])

    assert await handle.load("a") == summary
    assert await handle.count(RunFilter()) == 1
    assert await handle.append([following(summary._replace(seq=7))]) == {summary.uid: Refused.REWOUND}
