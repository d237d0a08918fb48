"""Three concurrent runs survive the death of their kernel at every await and at every write, on every store.

A failure prints the call of `simulation.sweep.replay` that repeats it exactly."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import pytest

import postgres_server
from simulation.clock import Loop
from simulation.places import FilePlace, PostgresPlace, SQLitePlace
from simulation.scenario import FULL, LEAN, Scenario
from simulation.sweep import simulate, sweep, uninterrupted
from simulation.world import Fault, Point

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])
crashes = pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE_WRITE, Fault.CRASH_AFTER_WRITE])
failures = pytest.mark.parametrize("fault", [Fault.WRITE_FAILS, Fault.WRITE_FAILS_DURABLY])


@loops
@pytest.mark.parametrize(("scenario", "stride"), [(LEAN, 1), (FULL, 8)], ids=["lean", "full"])
def test_crash_at_every_await(loop: Loop, scenario: Scenario, stride: int) -> None:
    """Whichever tick a kernel dies at, the next one brings its runs to the end they would have had."""
    lives = [len(history.ticks) for history in sweep(loop, Fault.CRASH_AT_TICK, scenario, stride=stride)]

    assert lives == [2] * len(lives)
    assert len(lives) > 150 // stride


@loops
@crashes
def test_crash_at_every_write(loop: Loop, fault: Fault) -> None:
    """Neither a write that was lost with its kernel, nor one that nobody learnt of, makes a difference."""
    points = sum(1 for _ in sweep(loop, fault, FULL))

    assert points > 20


@loops
@failures
def test_failure_of_every_write(loop: Loop, fault: Fault) -> None:
    """A kernel whose store fails tells all its clients and ends; the next one goes on from what the store has."""
    points = sum(1 for _ in sweep(loop, fault, LEAN))

    assert points > 10


@crashes
def test_crash_at_every_write_of_a_file(fault: Fault, tmp_path: Path) -> None:
    """The same holds for SQLite, in real time and with its real locks."""
    numbers = count(1)

    def make_store() -> SQLitePlace:
        return SQLitePlace(tmp_path / str(next(numbers)) / "state.db")

    points = sum(1 for _ in sweep("asyncio", fault, LEAN, make_store=make_store, pace=0.003))

    assert points > 10


@crashes
def test_crash_at_every_write_of_a_database(fault: Fault) -> None:
    """The same holds for PostgreSQL, in real time; what is left on the server of a kernel that died is its lease."""

    def make_store() -> PostgresPlace:
        return PostgresPlace(postgres_server.new_store())

    points = sum(1 for _ in sweep("asyncio", fault, LEAN, make_store=make_store, pace=0.003))

    assert points > 10


@loops
@crashes
def test_crash_at_every_write_of_a_folder(loop: Loop, fault: Fault, tmp_path: Path) -> None:
    """The same holds for the file store, in real time, with its real threads and locks."""
    numbers = count(1)

    def make_store() -> FilePlace:
        return FilePlace(tmp_path / str(next(numbers)), in_loop=False)

    points = sum(1 for _ in sweep(loop, fault, LEAN, make_store=make_store, pace=0.003))

    assert points > 10


@pytest.mark.parametrize(("loop", "stride"), [("asyncio", 4), ("trio", 5)])
def test_crash_at_any_await_of_a_folder(loop: Loop, stride: int, tmp_path: Path) -> None:
    """Whichever tick a kernel on a file store dies at, the next one brings its runs to the end they would have had."""
    numbers = count(1)

    def make_store() -> FilePlace:
        return FilePlace(tmp_path / str(next(numbers)), in_loop=True)

    points = sum(1 for _ in sweep(loop, Fault.CRASH_AT_TICK, LEAN, stride=stride, make_store=make_store))

    assert points > 150 // stride


@loops
@failures
def test_failure_of_every_write_of_a_folder(loop: Loop, fault: Fault, tmp_path: Path) -> None:
    """A kernel whose file store fails ends, and the next one goes on from what the store has."""
    numbers = count(1)

    def make_store() -> FilePlace:
        return FilePlace(tmp_path / str(next(numbers)), in_loop=True)

    points = sum(1 for _ in sweep(loop, fault, LEAN, make_store=make_store))

    assert points > 10


@loops
def test_two_crashes(loop: Loop) -> None:
    """A kernel that dies while it recovers leaves no more behind than the first one did."""
    seed = 1
    lots = random.Random(seed)
    reference = uninterrupted(loop, seed, FULL)
    reached = 0
    for first in range(seed, 300, 18):
        points = [Point(Fault.CRASH_AT_TICK, first), Point(Fault.CRASH_AT_TICK, lots.randrange(1, 250), life=2)]
        history = simulate(loop, seed, points, FULL, reference=reference)
        reached += history.reached

    assert reached > 8
