"""The moment in which a server closes ends what waits, and nothing else."""

from __future__ import annotations

import anyio
import pytest

from flujo.kernel.errors import ServerStoppingError
from flujo.server.closing import Closing


async def test_whoever_waits_stops_waiting() -> None:
    """Each with the error that says why, also who comes later."""
    closing, ended = Closing(), []

    async def wait() -> None:
        with pytest.raises(ServerStoppingError):
            await closing.unless(anyio.sleep_forever)
        ended.append(True)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        closing.set()
    with pytest.raises(ServerStoppingError):
        await closing.unless(anyio.sleep_forever)

    assert ended == [True] * 3
    assert closing.is_set()


async def test_what_is_done_in_time_is_done() -> None:
    """Its result and its errors come through."""
    closing = Closing()

    async def fail() -> None:
        raise LookupError

    async def answer() -> int:
        return 42

    assert await closing.unless(answer) == 42
    with pytest.raises(LookupError):
        await closing.unless(fail)
    assert not closing.is_set()


async def test_a_cancellation_from_outside_is_no_closing() -> None:
    """The client has gone, and nobody says that the server stops."""
    with anyio.move_on_after(0) as scope:
        await Closing().unless(anyio.sleep_forever)

    assert scope.cancelled_caught
