"""Following the events of all runs, in one order."""

from __future__ import annotations

from re import fullmatch

from flujo.kernel.backend import StateBackend

from .harness import Harness, behaviour
from .values import create, creation, following

Seen = list[tuple[str, int]]


async def _after(store: StateBackend, position: int, limit: int = 100) -> tuple[Seen, int]:
    """The events after a position, page by page, and the position of the last one."""
    seen: Seen = []
    while page := await store.changes(position, limit):
        assert len(page) <= limit
        positions = [change.position for change in page]
        assert positions == sorted(set(positions))
        assert positions[0] > position
        position = positions[-1]
        seen += [(change.run_id, change.row.seq) for change in page]
    return seen, position


@behaviour
async def all_events_have_one_order(harness: Harness) -> None:
    """It is that of the commits, whatever run they are of and whoever reads; a page may end anywhere."""
    one = await harness.open("one")
    (a,) = await create(one, creation("a"))
    (b,) = await create(one, creation("b"))
    await one.append([following(a, 2)])
    await one.append([following(b, 1)])
    expected = [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)]
    reader = await harness.open(None)

    for limit in (1, 2, 3, 100):
        assert (await _after(one, 0, limit))[0] == expected
        assert (await _after(reader, 0, limit))[0] == expected
    assert (await _after(one, 0))[1] == await one.last_position() == await reader.last_position()


@behaviour
async def a_store_without_events_has_no_position(harness: Harness) -> None:
    """It is 0, and there is nothing after it."""
    one = await harness.open("one")

    assert (await one.last_position(), list(await one.changes(0, 10))) == (0, [])


@behaviour
async def a_store_is_the_same_one_to_all(harness: Harness) -> None:
    """Every handle has the same identity of it, and so has whoever opens it later. It is short, and no cursor breaks
    by it."""
    one = await harness.open("one")
    identity = await one.identity()
    assert await (await harness.open(None)).identity() == identity
    if one.capabilities.durable:
        await create(one, creation("a", owner=None))
        await one.close()
        assert await (await harness.open("two")).identity() == identity

    assert fullmatch("[A-Za-z0-9_-]{8,64}", identity)


@behaviour
async def an_event_that_comes_later_stands_later(harness: Harness) -> None:
    """Whoever has read up to a position finds behind it what came since, once; also that of another process."""
    one = await harness.open("one")
    (a,) = await create(one, creation("a"))
    _, position = await _after(one, 0)
    await one.append([following(a, 1)])
    other = await harness.open("two") if one.capabilities.several_processes else one
    await create(other, creation("b"))

    seen, position = await _after(one, position)
    assert seen == [("a", 2), ("b", 1)]
    assert await _after(other, position) == ([], position)


@behaviour
async def a_change_of_owner_is_no_event(harness: Harness) -> None:
    """Nothing stands in the order for it, and the events after it stand behind those before it."""
    one = await harness.open("one")
    await create(one, creation("a"))
    _, position = await _after(one, 0)
    await one.release(None)
    claimed = await one.claim("a")
    assert await _after(one, position) == ([], position)
    await one.append([following(claimed, 1)])

    assert (await _after(one, position))[0] == [("a", 2)]


@behaviour
async def a_position_is_never_given_out_again(harness: Harness) -> None:
    """Not when the run that had the last one is gone, nor when the store was closed meanwhile. The events of a run that
    is gone are gone from the order."""
    one = await harness.open("one")
    await create(one, creation("a"))
    await create(one, creation("b", owner=None))
    before = await one.last_position()
    await one.delete("b", (await one.load("b")).uid)
    assert (await _after(one, 0))[0] == [("a", 1)]
    if one.capabilities.durable:
        await one.close()
        one = await harness.open("two")
    await create(one, creation("c"))

    assert (await _after(one, before))[0] == [("c", 1)]


@behaviour
async def refused_commits_leave_no_event(harness: Harness) -> None:
    """The order holds what stands, and nothing of a commit that was refused."""
    one = await harness.open("one")
    (a,) = await create(one, creation("a"))
    stale = following(a, 1)
    await one.append([stale])
    assert await one.append([stale])

    assert (await _after(one, 0))[0] == [("a", 1), ("a", 2)]
