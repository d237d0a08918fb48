"""Opening, closing, being alive."""

from __future__ import annotations

from flujo.kernel.backend import (
    RunFilter,
)
from flujo.kernel.errors import (
    RunActiveError,
    StoreError,
    StoreNotFoundError,
)

from .harness import Harness, behaviour, raising
from .values import create, creation, following, journal, listed


@behaviour
async def reading_creates_no_store(harness: Harness) -> None:
    """A reader of a store that is not there is told so, twice: the first attempt has not created it."""
    for _ in range(2):
        with raising(StoreNotFoundError):
            await harness.open(None)


@behaviour
async def an_owner_creates_the_store(harness: Harness) -> None:
    """Opening as an owner creates an empty store that readers can open."""
    await harness.open("one")
    reader = await harness.open(None)

    assert await listed(reader) == []
    assert await reader.count(RunFilter()) == 0


@behaviour
async def closing_twice_is_allowed(harness: Harness) -> None:
    """A handle may be closed twice, and one that was never opened may be closed."""
    handle = await harness.open("one")
    await handle.close()
    await handle.close()
    await harness.handle().close()


@behaviour
async def a_closed_handle_refuses(harness: Harness) -> None:
    """A handle that is closed, or not open yet, raises StoreError instead of answering."""
    closed = await harness.open("one")
    await closed.close()
    for handle in (closed, harness.handle()):
        with raising(StoreError):
            await handle.append([creation("a")])
        with raising(StoreError):
            await handle.load("a")
        with raising(StoreError):
            await handle.list(RunFilter(), limit=1)


@behaviour
async def a_handle_is_opened_once(harness: Harness) -> None:
    """Opening a handle that is open raises StoreError and does it no harm."""
    handle = await harness.open("one")
    with raising(StoreError):
        await handle.open("two")

    assert await handle.is_alive("one")
    assert not await handle.is_alive("two")


@behaviour
async def names_of_live_owners_are_unique(harness: Harness) -> None:
    """Nobody else can be alive under the name of a live owner."""
    first = await harness.open("one")
    with raising(StoreError):
        await harness.open("one")

    assert await first.is_alive("one")


@behaviour
async def an_owner_is_alive_while_open(harness: Harness) -> None:
    """An owner is alive from open to close, for itself as for others."""
    one = await harness.open("one")
    two = await harness.open("two")
    assert await one.is_alive("one")
    assert await two.is_alive("one")
    await one.close()

    assert not await two.is_alive("one")


@behaviour
async def a_killed_owner_is_dead(harness: Harness) -> None:
    """An owner whose process has died is not alive, and its handle reaches the store no more."""
    one, two = await harness.open("one"), await harness.open("two")
    await harness.kill(one)

    assert not await two.is_alive("one")
    with raising(StoreError):
        await one.append([creation("a", "one")])
    assert await listed(two) == []


@behaviour
async def a_stranger_is_dead(harness: Harness) -> None:
    """An owner nobody has heard of is not alive, and a reader is nobody."""
    await harness.open("one")
    reader = await harness.open(None)

    assert not await reader.is_alive("stranger")


@behaviour
async def what_is_stored_outlives_its_handle(harness: Harness) -> None:
    """What was appended is there after every handle was closed and another one opened."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.append([following(summary, 3)])
    await one.close()
    two = await harness.open("two")

    assert (await two.load("a")).seq == 4
    assert [row.seq for row in await journal(two, summary)] == [1, 2, 3, 4]


@behaviour
async def the_liveness_file_is_open(harness: Harness) -> None:
    """Where owners are processes of one host, an open owner has a file descriptor to pass on; a reader has none."""
    one = await harness.open("one")
    reader = await harness.open(None)

    if one.capabilities.several_processes and not one.capabilities.several_hosts:
        assert one.liveness_fd is not None
    assert reader.liveness_fd is None


@behaviour
async def a_closed_owner_leaves_its_runs(harness: Harness) -> None:
    """An owner that has closed is dead: its runs can be claimed, and they stand as it left them."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))
    await one.close()

    assert await two.load("a") == summary
    assert (await two.claim("a")).token == 2


@behaviour
async def an_owner_comes_back_to_its_runs(harness: Harness) -> None:
    """Who opens under the name of an owner that is gone is that owner: nobody can claim the runs it has."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))
    await one.close()
    again = await harness.open("one")

    assert await two.is_alive("one")
    with raising(RunActiveError):
        await two.claim("a")
    assert await again.append([following(summary)]) == {}


@behaviour
async def every_handle_sees_a_commit_at_once(harness: Harness) -> None:
    """What one handle was told is stored, every other one reads from then on, owner or not."""
    writer = await harness.open("one")
    others = [await harness.open("two"), await harness.open(None), await harness.open(None)]
    (summary,) = await create(writer, creation("a"))
    for steps in range(1, 6):
        commit = following(summary, steps_done=steps)
        await writer.append([commit])
        summary = commit.summary
        for handle in others:
            assert await handle.load("a") == summary
            assert len(await journal(handle, summary)) == summary.seq


@behaviour
async def many_readers_see_the_same(harness: Harness) -> None:
    """Readers come and go while an owner is at work, and none of them counts as alive."""
    one = await harness.open("one")
    for number in range(5):
        await create(one, creation(f"run{number}"))
        reader = await harness.open(None)
        assert await reader.count(RunFilter()) == number + 1
        assert await reader.is_alive("one")
        await reader.close()


@behaviour
async def the_store_says_what_it_can(harness: Harness) -> None:
    """A handle has a URL, and declares the event loops it runs on, before it is opened and after."""
    handle = harness.handle()
    before = handle.url, handle.capabilities
    await handle.open("one")

    assert before == (handle.url, handle.capabilities)
    assert ":" in handle.url
    assert set(handle.capabilities.event_loops) <= {"asyncio", "trio"}
    assert handle.capabilities.event_loops
    await handle.close()
