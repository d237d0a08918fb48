"""Errors of the store in background work: each is logged once a minute, and the work goes on a second later."""

from __future__ import annotations

import anyio
import pytest

from flujo.kernel.errors import StoreError
from flujo.kernel.ownership.setbacks import Setbacks
from kernel.harness import JumpingClock, ManualClock


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_the_same_error_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However often the work is tried: a store that is away for an hour fills no log."""
    setbacks = Setbacks(JumpingClock(), "the inbox cannot be read")
    for _ in range(150):
        await setbacks.wait_after(StoreError("sqlite:a.db", "it is locked"))

    assert len(caplog.records) == 3
    assert set(logged(caplog)) == {f"the inbox cannot be read: {StoreError('sqlite:a.db', 'it is locked')}"}


async def test_another_error_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """It says something new, and so does the first one when it comes back."""
    setbacks = Setbacks(JumpingClock(), "runs cannot be taken")
    for problem in ("locked", "full", "locked"):
        await setbacks.wait_after(StoreError("sqlite:a.db", problem))

    assert [message.rpartition(" ")[2] for message in logged(caplog)] == ["locked", "full", "locked"]


async def test_a_clock_that_is_set_back_hides_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Or nothing would be logged until it is as late again."""
    clock = JumpingClock()
    setbacks = Setbacks(clock, "runs cannot be taken")
    await setbacks.wait_after(StoreError("sqlite:a.db", "locked"))
    clock.advance(-86400)
    await setbacks.wait_after(StoreError("sqlite:a.db", "locked"))

    assert len(caplog.records) == 2


async def test_the_work_is_tried_again_after_a_second() -> None:
    """And not before."""
    clock = ManualClock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Setbacks(clock, "x").wait_after, StoreError("sqlite:a.db", "locked"))
        await clock.asleep(1)
        clock.advance(0.999)
        await anyio.wait_all_tasks_blocked()
        assert len(clock.sleepers) == 1
        clock.advance(0.001)
