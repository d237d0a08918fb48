"""Time and identifiers: the machine's clock, the clock of these tests, ids that sort by time."""

from __future__ import annotations

import time
from uuid import UUID

import anyio
import pytest

from flujo.kernel.clock import Identifiers, SystemClock, sleep_out
from flujo.kernel.durations import MICROSECONDS
from kernel.harness import START, ManualClock


def test_a_clock_that_nobody_moves_stands_still() -> None:
    """The clock of these tests gives the same instant until it is advanced."""
    clock = ManualClock()

    assert clock.now() == clock.now()


def test_the_machines_clock_is_the_time_in_microseconds() -> None:
    """What `now` says lies between two looks at the time of the system."""
    before = time.time_ns()
    now = SystemClock().now()

    assert before // 1000 <= now <= time.time_ns() // 1000


async def test_a_sleep_until_an_instant_that_has_passed_does_not_pause() -> None:
    """No other task comes between, and a cancelled scope is not noticed."""
    clock = SystemClock()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep_until(clock.now() - 1)

    assert not scope.cancelled_caught


async def test_a_wall_clock_that_is_set_forward_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sleep is made of naps, none longer than LONGEST_NAP, and after each the wall clock is read again."""
    clock = SystemClock()
    instants = iter([START, START + 3600 * MICROSECONDS])
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(clock, "now", lambda: next(instants))
    monkeypatch.setattr(anyio, "sleep", nap)
    await clock.sleep_until(START + 1800 * MICROSECONDS)

    assert naps == [SystemClock.LONGEST_NAP]


class Machine:
    """Two clocks of one machine, moved by hand; the wall clock can be set."""

    def __init__(self) -> None:
        self.passed = 0
        self.set_by = 0
        self.clock = SystemClock(lambda: 1000 * (START + self.passed + self.set_by), lambda: 1000 * self.passed)

    def wait(self, seconds: float) -> int:
        """Let time pass and return what the clock says then, in seconds since the start."""
        self.passed += round(seconds * MICROSECONDS)
        return (self.clock.now() - START) // MICROSECONDS

    def set(self, seconds: float) -> None:
        """Set the wall clock forward, or back."""
        self.set_by += round(seconds * MICROSECONDS)


DAY = 86400


def test_a_clock_that_is_set_back_goes_on_as_before(caplog: pytest.LogCaptureFixture) -> None:
    """A sleep of three seconds takes three seconds although it is two days earlier now; the jump is said once."""
    machine = Machine()
    assert machine.wait(1) == 1

    machine.set(-2 * DAY)

    assert [machine.wait(1) for _ in range(3)] == [2, 3, 4]
    assert [each.getMessage() for each in caplog.records] == ["the clock of this machine was set back by 2d"]
    assert machine.clock.jumps == 0


def test_a_clock_that_is_set_forward_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    """What has become due meanwhile, as while a laptop slept, is due."""
    machine = Machine()
    machine.set(DAY)

    assert [machine.wait(1) for _ in range(3)] == [DAY + 1, DAY + 2, DAY + 3]
    assert [each.getMessage() for each in caplog.records] == ["the clock of this machine was set forward by 1d"]
    assert machine.clock.jumps == 1


def test_a_jump_forward_that_is_taken_back_counts_for_nothing() -> None:
    """The clock is where it would have been."""
    machine = Machine()
    machine.set(400 * DAY)
    machine.wait(1)
    machine.set(-400 * DAY)

    assert machine.wait(1) == 2
    machine.set(-DAY)
    assert machine.wait(1) == 3


async def test_a_wait_that_was_set_while_the_clock_was_ahead_takes_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds are three seconds, also when the clock is put right by a day in the midst of them."""
    machine = Machine()
    machine.set(DAY)
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        machine.wait(1)
        if len(naps) == 1:
            machine.set(-DAY)

    monkeypatch.setattr(anyio, "sleep", nap)
    await sleep_out(machine.clock, machine.clock.now() + 3 * MICROSECONDS, 3)

    assert naps == [3, 2, 1]


def test_a_jump_forward_that_lasts_is_believed() -> None:
    """After ten minutes a jump back is measured from the new time."""
    machine = Machine()
    machine.set(DAY)
    machine.wait(1)
    assert machine.wait(600) == DAY + 601
    machine.set(-2 * DAY)

    assert machine.wait(1) == DAY + 602


def test_small_corrections_are_followed_both_ways() -> None:
    """What a time service does all day is no jump."""
    machine = Machine()
    for _ in range(10):
        machine.set(-0.5)
        machine.wait(1)
    assert machine.wait(0) == 5
    assert machine.clock.jumps == 0


def test_run_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    """The first 48 bits are milliseconds, whatever the random bytes are."""
    clock = ManualClock()
    ids = []
    for fill in (b"\xff", b"\x00"):
        ids.append(Identifiers(clock, lambda count, fill=fill: fill * count).run_id())  # type: ignore[misc]
        clock.advance(0.001)

    assert ids == sorted(ids)
    assert [UUID(each).version for each in ids] == [7, 7]
    assert [UUID(each).variant for each in ids] == ["specified in RFC 4122"] * 2
    assert [UUID(each).int >> 80 for each in ids] == [START // 1000, START // 1000 + 1]


def test_a_uid_is_128_random_bits() -> None:
    """As hexadecimal text, from the source that was handed in."""
    assert Identifiers(ManualClock(), lambda count: b"\xab" * count).uid() == "ab" * 16


def test_a_clock_that_follows_another_one_does_not_take_the_difference_for_a_jump(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither when it begins to follow, nor when the other one is corrected by less than a second."""
    other = [5_000 * 10**9]
    clock = SystemClock(wall=lambda: 0, monotonic=lambda: 7)
    clock.follow(lambda: other[0])
    before = clock.now()
    other[0] += 10**8

    assert before == 5_000 * 10**6
    assert clock.now() == 5_000 * 10**6 + 10**5
    assert clock.jumps == 0
    assert not caplog.records
