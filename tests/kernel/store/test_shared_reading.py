"""Reading once for many: nobody misses a row or gets one twice, and nobody who comes later sees what is gone."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel.store import shared_reading
from flujo.kernel.store.shared_reading import PAGE, SharedLook, SharedReading


class Store:
    """Rows, which are their own places, and how often they were read."""

    def __init__(self, *rows: int) -> None:
        self.rows = list(rows)
        self.reads: list[int] = []

    async def read(self, behind: int, limit: int) -> Sequence[int]:
        self.reads.append(behind)
        found = [row for row in self.rows if row > behind][:limit]
        await checkpoint()
        return found

    def shared(self) -> SharedReading[int]:
        return SharedReading(self.read, lambda row: row, lambda row: 1)


class Follower:
    """A place, and all that was found from there on."""

    def __init__(self, shared: SharedReading[int], place: int = 0) -> None:
        self.shared = shared
        self.begun = shared.ask()
        self.place = place
        self.caught_up_at: int | None = None
        self.found: list[int] = []

    async def step(self) -> bool:
        """Read on; True if there were no more rows."""
        page = await self.shared.behind(self.place, self.begun, self.shared.ask(), self.caught_up_at)
        self.found += page.rows
        self.place = page.rows[-1] if page.rows else self.place
        if page.is_all and self.caught_up_at is None:
            self.caught_up_at = self.place
        return page.is_all

    async def catch_up(self) -> None:
        while not await self.step():
            pass


async def test_what_many_ask_for_at_once_is_read_once() -> None:
    """A thousand followers at one place cost one read a page."""
    store = Store(*range(1, 200))
    shared = store.shared()
    followers = [Follower(shared) for _ in range(1000)]
    async with anyio.create_task_group() as tasks:
        for follower in followers:
            tasks.start_soon(follower.catch_up)

    assert all(follower.found == store.rows for follower in followers)
    assert len(store.reads) <= 8


async def test_what_is_new_is_read_once_for_those_who_have_caught_up() -> None:
    """Also if they come one after the other, and from different places."""
    store = Store(1)
    shared = store.shared()
    early, late = Follower(shared), Follower(shared)
    for follower in (early, late):
        await follower.catch_up()
    store.rows += [2, 3]
    await early.step()
    store.rows += [4]
    await early.step()
    store.reads.clear()
    await late.step()

    assert early.found == late.found == [1, 2, 3, 4]
    assert store.reads == []


async def test_nothing_is_said_to_be_all_that_was_read_before_it_was_asked_for() -> None:
    """Or a follower would wait for a wake-up that has come already."""
    store = Store(1)
    shared = store.shared()
    early, late = Follower(shared), Follower(shared)
    for follower in (early, late):
        await follower.catch_up()
    store.rows += [2]
    await early.step()
    store.rows += [3]

    assert await late.step() is False
    assert await late.step() is True
    assert late.found == [1, 2, 3]


async def test_who_begins_later_does_not_see_what_is_gone() -> None:
    """Although it is here still, for those who were there when it was new."""
    store = Store(1, 2)
    shared = store.shared()
    first, slow = Follower(shared), Follower(shared)
    for follower in (first, slow):
        await follower.catch_up()
    store.rows += [3, 4]
    await first.step()
    store.rows.remove(1)
    store.rows.remove(3)
    late = Follower(shared)
    for follower in (slow, late):
        await follower.catch_up()

    assert slow.found == [1, 2, 3, 4]
    assert late.found == [2, 4]


async def test_a_follower_far_behind_goes_on_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those who are as far share its pages, wherever they were."""
    monkeypatch.setattr(shared_reading, "KEPT_ROWS", 2 * PAGE)
    store = Store()
    shared = store.shared()
    fast, *slow = [Follower(shared) for _ in range(3)]
    for follower in (fast, *slow):
        await follower.catch_up()
    for number in range(1, 20 * PAGE):
        store.rows.append(number)
        await fast.step()
        if number < 10:
            await slow[0].step()
    store.reads.clear()
    while not await slow[0].step():
        await slow[1].step()
    await slow[1].catch_up()

    assert fast.found == slow[0].found == slow[1].found == store.rows
    assert len(store.reads) < 1.3 * 20


@pytest.mark.parametrize("seed", range(20))
async def test_each_row_comes_once_and_in_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is kept, however many come at a time, with holes between their places."""
    random = Random(seed)
    monkeypatch.setattr(shared_reading, "KEPT_ROWS", random.choice([1, PAGE, 10 * PAGE]))
    store, place = Store(), 0
    shared = store.shared()
    followers = [Follower(shared) for _ in range(5)]
    for _ in range(60):
        for _ in range(random.choice([0, 1, 5, 3 * PAGE])):
            place += random.choice([1, 1, 1, 40])
            store.rows.append(place)
        async with anyio.create_task_group() as tasks:
            for follower in random.sample(followers, random.randint(1, 5)):
                tasks.start_soon(random.choice([follower.step, follower.catch_up]))
    for follower in followers:
        await follower.catch_up()

    assert all(follower.found == store.rows for follower in followers)


async def test_small_rows_are_read_some_pages_ahead() -> None:
    """And handed out a page at a time, to all who had begun by then, but to nobody who begins later."""
    store = Store(*range(1, 50 * PAGE))
    shared = store.shared()
    first, second = Follower(shared), Follower(shared)
    for follower in (first, second):
        await follower.catch_up()
    reads = len(store.reads)
    store.rows.remove(2 * PAGE)
    late = Follower(shared)
    await late.catch_up()

    assert first.found == second.found == list(range(1, 50 * PAGE))
    assert reads <= 2 * (50 * PAGE // shared_reading.READ_ROWS + 2)  # no more pages are kept than half of that
    assert late.found == store.rows


async def test_large_rows_are_not_read_ahead() -> None:
    """Since all that one read finds is in memory at once."""
    asked: list[int] = []
    store = Store(*range(1, 10 * PAGE))

    async def read(behind: int, limit: int) -> Sequence[int]:
        asked.append(limit)
        return await store.read(behind, limit)

    follower = Follower(SharedReading(read, lambda row: row, lambda row: shared_reading.READ_BYTES // PAGE))
    await follower.catch_up()

    assert follower.found == store.rows
    assert set(asked) == {PAGE}


async def test_large_rows_are_not_kept() -> None:
    """What is kept is bounded by its size as well."""
    store = Store(*range(1, 10))
    shared = SharedReading(store.read, lambda row: row, lambda row: shared_reading.KEPT_BYTES)
    first, second = Follower(shared), Follower(shared)
    for follower in (first, second):
        await follower.catch_up()

    assert first.found == second.found == store.rows
    assert store.reads[1:] == [0]


async def test_a_read_that_fails_is_the_failure_of_its_own_follower() -> None:
    """Another one reads for itself."""
    failures = [OSError("the disk")]
    store = Store(1)

    async def read(behind: int, limit: int) -> Sequence[int]:
        if failures:
            raise failures.pop()
        return await store.read(behind, limit)

    shared = SharedReading(read, lambda row: row, lambda row: 1)
    with pytest.raises(OSError, match="the disk"):
        await Follower(shared).step()
    second = Follower(shared)
    await second.catch_up()

    assert second.found == [1]


async def test_a_look_is_shared_by_those_who_have_asked_before_it() -> None:
    """And not with somebody who asks later."""
    looks: list[int] = []

    async def look() -> int:
        looks.append(len(looks))
        await checkpoint()
        return len(looks)

    shared = SharedLook(look)
    asked = shared.ask()
    assert await shared.look(asked) == await shared.look(asked) == 1
    assert await shared.look(shared.ask()) == 2
