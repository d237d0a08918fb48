"""Turns: few followers wait for nothing, and a crowd holds up nobody who works."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel.store.turns import (
    BUSY_SECONDS,
    CROWD,
    MOST_PAUSES,
    PAUSE_SECONDS,
    READ_PAUSES,
    UNHURRIED,
    Turns,
)
from flujo.kernel.testing import run_virtually


class Commits:
    """What is set by the next commit, another one after each."""

    def __init__(self) -> None:
        self.next = anyio.Event()

    def happen(self) -> None:
        self.next.set()
        self.next = anyio.Event()


async def served(turns: Turns, followers: int, work: list[int] | None = None) -> float:
    """How long it takes until so many followers have had their turns once."""
    turns.followers = followers
    done = work if work is not None else []

    async def one(number: int) -> None:
        async def note() -> None:
            done.append(number)

        await turns.take(note)

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for number in range(followers):
            tasks.start_soon(one, number)
    return anyio.current_time() - began


def test_a_few_wait_for_nothing() -> None:
    """Whatever goes on."""

    async def scenario() -> float:
        commits = Commits()
        turns = Turns(lambda: commits.next)
        await served(turns, CROWD)
        commits.happen()
        return await served(turns, CROWD)

    assert run_virtually(scenario) == 0


def test_a_crowd_goes_one_behind_the_other_while_runs_are_at_work() -> None:
    """In the order in which they came."""

    async def scenario() -> tuple[float, list[int]]:
        turns = Turns(lambda: commits.next)
        await served(turns, CROWD + 1)
        await anyio.sleep(2 * BUSY_SECONDS)
        commits.happen()
        order: list[int] = []
        took = await served(turns, 2 * CROWD, order)
        return took, order

    commits = Commits()
    took, order = run_virtually(scenario)
    assert order == list(range(2 * CROWD))
    assert abs(took - min(2 * CROWD * PAUSE_SECONDS, BUSY_SECONDS)) <= PAUSE_SECONDS


@pytest.mark.parametrize(
    ("followers", "pauses"),
    [(CROWD + 1, 1), (UNHURRIED, 1), (2 * UNHURRIED, 2), (1_000, MOST_PAUSES), (2_000, MOST_PAUSES)],
)
def test_a_larger_crowd_goes_more_slowly(followers: int, pauses: int) -> None:
    """So that a thousand who do not read cost a running workload no more than a hundred."""

    async def scenario() -> float:
        commits = Commits()
        turns = Turns(lambda: commits.next)
        turns.followers = followers
        began = anyio.current_time()
        await turns.take(checkpoint)
        return anyio.current_time() - began

    assert run_virtually(scenario) == pytest.approx(pauses * PAUSE_SECONDS)


def test_a_crowd_does_not_wait_when_nothing_is_at_work() -> None:
    """Then the processor is theirs. Nor where commits are not known."""

    async def scenario() -> list[float]:
        commits = Commits()
        idle, blind = Turns(lambda: commits.next), Turns(lambda: None)
        await served(idle, 5 * CROWD)
        await anyio.sleep(2 * BUSY_SECONDS)
        return [await served(idle, 5 * CROWD), await served(blind, 5 * CROWD)]

    assert run_virtually(scenario) == [0, 0]


def test_a_turn_for_which_the_store_was_read_is_followed_by_a_longer_pause() -> None:
    """It has cost more."""

    async def scenario() -> float:
        commits = Commits()
        turns = Turns(lambda: commits.next)
        turns.followers = CROWD + 1

        async def read() -> None:
            turns.has_read()

        await turns.take(read)
        began = anyio.current_time()
        await turns.take(checkpoint)
        return anyio.current_time() - began

    assert abs(run_virtually(scenario) - READ_PAUSES * PAUSE_SECONDS) < PAUSE_SECONDS / 2
