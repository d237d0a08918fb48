"""Limits of all kernels together: slots that are granted in the order of asking, and never lost with a kernel.

Asked of a backend that declares `shares_limits`; any other refuses, and says what there is instead."""

from __future__ import annotations

import random
from collections.abc import Collection

from anyio import create_task_group, fail_after

from flujo.kernel.backend import FleetLimit, SlotRequest, Slots, StateBackend
from flujo.kernel.errors import StoreError

from .harness import PATIENCE_SECONDS, Harness, behaviour, raising


def shares(harness: Harness) -> bool:
    """True if the backend keeps limits of a fleet."""
    return harness.handle().capabilities.shares_limits


def request(number: int, limit: str = "db") -> SlotRequest:
    """A request of a step called s1, s2, … by its number."""
    return SlotRequest(number, limit, f"run{number}", f"uid{number}", f"s{number}")


async def ask(owner: StateBackend, *numbers: int, limit: str = "db") -> Slots:
    return await owner.exchange_slots([request(number, limit) for number in numbers], ())


async def give_back(owner: StateBackend, *numbers: int) -> Slots:
    return await owner.exchange_slots((), numbers)


async def granted(owner: StateBackend) -> Collection[int]:
    """The numbers of the requests of an owner that have a slot, ascending."""
    return sorted((await owner.exchange_slots((), ())).granted)


async def users(reader: StateBackend, limit: str = "db") -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Who has the slots of a limit and who waits for one, each as owner and step."""
    (found,) = [each for each in await reader.fleet_limits() if each.name == limit]
    return [(use.kernel, use.step) for use in found.held], [(use.kernel, use.step) for use in found.waiting]


@behaviour
async def a_store_without_shared_limits_says_so(harness: Harness) -> None:
    """A backend that keeps no limits of a fleet refuses every question about them with what helps instead."""
    if shares(harness):
        return
    one = await harness.open("one")
    for call in (one.set_fleet_limit("db", 1), one.fleet_limits(), one.exchange_slots((), ())):
        with raising(StoreError):
            await call


@behaviour
async def limits_are_kept_by_name(harness: Harness) -> None:
    """A limit has the slots that were set last, until it is removed; each change returns what was before."""
    if not shares(harness):
        return
    one, reader = await harness.open("one"), await harness.open(None)
    assert await reader.fleet_limits() == []
    assert await reader.set_fleet_limit("db", 2) is None
    assert await one.set_fleet_limit("task:shell", 7) is None
    assert await one.set_fleet_limit("db", 3) == 2
    assert await reader.fleet_limits() == [FleetLimit("db", 3, [], []), FleetLimit("task:shell", 7, [], [])]
    assert (await one.exchange_slots((), ())).limits == {"db": 3, "task:shell": 7}
    assert await reader.set_fleet_limit("db", None) == 3
    assert await reader.set_fleet_limit("db", None) is None
    assert (await one.exchange_slots((), ())).limits == {"task:shell": 7}


@behaviour
async def slots_are_granted_in_the_order_of_asking(harness: Harness) -> None:
    """Free slots are granted at once, the others in the order in which they were asked for, whoever asked."""
    if not shares(harness):
        return
    one, two = await harness.open("one"), await harness.open("two")
    await one.set_fleet_limit("db", 2)
    assert (await ask(one, 1)).granted == [1]
    assert sorted((await ask(two, 1, 2)).granted) == [1]
    await ask(one, 2, 3)
    assert await users(two) == ([("one", "s1"), ("two", "s1")], [("two", "s2"), ("one", "s2"), ("one", "s3")])

    await give_back(one, 1)
    assert (await granted(one), await granted(two)) == ([], [1, 2])
    assert sorted((await give_back(two, 1, 2)).granted) == []
    assert await granted(one) == [2, 3]


@behaviour
async def whoever_asks_for_no_limit_is_granted(harness: Harness) -> None:
    """A request for a limit that nobody has set has what it asks for, and is in nobody's way once it is set."""
    if not shares(harness):
        return
    one, two = await harness.open("one"), await harness.open("two")
    assert (await ask(one, 1, 2)).granted == [1, 2]
    await one.set_fleet_limit("db", 1)
    assert (await ask(two, 1)).granted == [1]
    assert (await give_back(one, 1, 2)).granted == []


@behaviour
async def slots_of_different_limits_are_apart(harness: Harness) -> None:
    """A full limit is in the way of nobody who asks for a slot of another one."""
    if not shares(harness):
        return
    one = await harness.open("one")
    await one.set_fleet_limit("db", 1)
    await one.set_fleet_limit("api", 1)
    assert sorted((await one.exchange_slots([request(1), request(2), request(3, "api")], ())).granted) == [1, 3]
    assert sorted((await give_back(one, 3)).granted) == [1]
    assert sorted((await give_back(one, 1)).granted) == [2]


@behaviour
async def asking_again_changes_nothing(harness: Harness) -> None:
    """Whoever had no answer asks again, and gives back again: places, slots and those of others stay as they are."""
    if not shares(harness):
        return
    one, two = await harness.open("one"), await harness.open("two")
    await one.set_fleet_limit("db", 1)
    await ask(one, 1, 2)
    await ask(two, 1)
    for _ in range(2):
        assert (await ask(one, 1, 2)).granted == [1]
    for _ in range(2):
        assert (await give_back(one, 1)).granted == [2]
    assert await users(one) == ([("one", "s2")], [("two", "s1")])


@behaviour
async def a_request_that_is_given_back_leaves_the_line(harness: Harness) -> None:
    """Those behind it move up; a slot that was granted meanwhile goes to the next."""
    if not shares(harness):
        return
    one, two = await harness.open("one"), await harness.open("two")
    await one.set_fleet_limit("db", 1)
    await ask(one, 1)
    await ask(two, 1, 2)
    await give_back(two, 1)
    await give_back(one, 1)
    assert await users(one) == ([("two", "s2")], [])


@behaviour
async def asking_and_giving_back_go_together(harness: Harness) -> None:
    """In one question a slot is given back and another one asked for, which stands behind whoever waits already."""
    if not shares(harness):
        return
    one, two = await harness.open("one"), await harness.open("two")
    await one.set_fleet_limit("db", 1)
    await ask(one, 1)
    await ask(two, 1)
    assert (await one.exchange_slots([request(2)], [1])).granted == []
    assert await users(one) == ([("two", "s1")], [("one", "s2")])


@behaviour
async def a_lowered_limit_takes_no_slot_away(harness: Harness) -> None:
    """No slot is granted until fewer are held than there are."""
    if not shares(harness):
        return
    one = await harness.open("one")
    await one.set_fleet_limit("db", 3)
    await ask(one, 1, 2, 3, 4)
    await one.set_fleet_limit("db", 1)
    for number, left in ((1, [2, 3]), (2, [3]), (3, [4])):
        assert sorted((await give_back(one, number)).granted) == left


@behaviour
async def a_raised_limit_grants_to_those_who_wait(harness: Harness) -> None:
    """Raising it, and removing it, grant at once to those who wait, and tell them."""
    if not shares(harness):
        return
    one, two = await harness.open("one"), await harness.open("two")
    await one.set_fleet_limit("db", 1)
    await ask(one, 1)
    await ask(two, *range(1, 6))
    await one.set_fleet_limit("db", 3)
    await until_granted(two, [1, 2])
    await one.set_fleet_limit("db", None)
    await until_granted(two, [1, 2, 3, 4, 5])


@behaviour
async def what_has_begun_counts_if_a_limit_is_set_again(harness: Harness) -> None:
    """Whoever has a slot of a limit that was removed has it still when there is such a limit again."""
    if not shares(harness):
        return
    one = await harness.open("one")
    await one.set_fleet_limit("db", 2)
    await ask(one, 1, 2, 3)
    await one.set_fleet_limit("db", None)
    await one.set_fleet_limit("db", 2)
    assert await granted(one) == [1, 2, 3]
    assert sorted((await ask(one, 4)).granted) == [1, 2, 3]
    assert sorted((await give_back(one, 1, 2)).granted) == [3, 4]


@behaviour
async def a_slot_that_comes_is_told(harness: Harness) -> None:
    """Whoever waits is told when another owner has given back what goes to him."""
    if not shares(harness):
        return
    one, two = await harness.open("one"), await harness.open("two")
    await one.set_fleet_limit("db", 1)
    await ask(one, 1)
    await ask(two, 1)
    async with create_task_group() as tasks:
        tasks.start_soon(until_granted, two, [1])
        await give_back(one, 1)


@behaviour
async def the_slots_of_the_dead_are_free(harness: Harness) -> None:
    """What an owner had, and its places in line, are gone once it is dead or closed, and others are told."""
    if not shares(harness):
        return
    one, two, three = [await harness.open(name) for name in ("one", "two", "three")]
    await one.set_fleet_limit("db", 1)
    await ask(one, 1, 2)
    await ask(two, 1)
    await ask(three, 1)
    await harness.kill(one)
    await until_granted(two, [1])
    assert await users(three) == ([("two", "s1")], [("three", "s1")])
    await two.close()
    await until_granted(three, [1])


@behaviour
async def an_owner_begins_without_slots(harness: Harness) -> None:
    """What an earlier life under the same name had is not the next one's."""
    if not shares(harness):
        return
    one = await harness.open("one")
    await one.set_fleet_limit("db", 1)
    await ask(one, 1, 2)
    await one.close()
    one = await harness.open("one")
    assert await granted(one) == []
    assert (await ask(one, 1)).granted == [1]


@behaviour
async def no_more_slots_are_held_than_there_are(harness: Harness) -> None:
    """Whatever three owners ask for and give back at once, no limit has more holders than slots, and none a free slot
    while somebody waits."""
    if not shares(harness):
        return
    owners = [await harness.open(f"owner{number}") for number in range(3)]
    sizes = {"db": 2, "api": 1}
    for name, size in sizes.items():
        await owners[0].set_fleet_limit(name, size)

    async def act(owner: StateBackend, seed: int) -> None:
        lots = random.Random(seed)
        mine: dict[int, SlotRequest] = {}
        for number in range(30):
            asked = [request(number, lots.choice(("db", "api")))] if lots.random() < 0.6 else []
            gone = [each for each in mine if lots.random() < 0.4]
            mine = {key: each for key, each in mine.items() if key not in gone} | {each.number: each for each in asked}
            found = await owner.exchange_slots(asked, gone)
            assert set(found.granted) <= set(mine)
            for limit in await owner.fleet_limits():
                assert len(limit.held) <= sizes[limit.name]
                assert not limit.waiting or len(limit.held) == sizes[limit.name]

    async with create_task_group() as tasks:
        for seed, owner in enumerate(owners):
            tasks.start_soon(act, owner, seed)


async def until_granted(owner: StateBackend, numbers: Collection[int]) -> None:
    """Return once an owner has been told that these of its requests have a slot."""
    with fail_after(PATIENCE_SECONDS):
        while await granted(owner) != numbers:
            await owner.wait_for_slots()
