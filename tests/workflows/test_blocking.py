"""Work that blocks for ever can be given up: by a cancel, a timeout and the end of the process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from flujo.workflows import blocking
from flujo.workflows.blocking import GivenUp, may_block


async def test_what_the_work_returns_or_raises_is_handed_on() -> None:
    """As if it had been called here."""
    assert await may_block(lambda _: threading.current_thread().daemon) is True
    with pytest.raises(ZeroDivisionError):
        await may_block(lambda _: 1 // 0)


async def test_a_cancel_waits_for_work_that_comes_to_an_end() -> None:
    """Usually none is left behind, and it is told."""
    told: list[bool] = []
    started = threading.Event()

    def work(given_up: GivenUp) -> None:
        started.set()
        told.append(given_up.wait(60))

    async with anyio.create_task_group() as group:
        group.start_soon(may_block, work)
        while not started.is_set():
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()

    assert told == [True]


async def test_a_cancel_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that hangs is left behind after a grace."""
    monkeypatch.setattr(blocking, "GRACE_SECONDS", 0.01)
    read, write = os.pipe()

    with anyio.move_on_after(0.01) as limit:
        await may_block(lambda _: os.read(read, 1))

    assert limit.cancelled_caught
    os.write(write, b"x")  # the thread goes on to its end
    for thread in threading.enumerate():
        if thread.name == "flujo-may-block":
            await anyio.to_thread.run_sync(thread.join)
    os.close(read)
    os.close(write)


async def test_work_that_was_given_up_changes_nothing_more() -> None:
    """It asks right before it would."""
    given_up = GivenUp()
    given_up.check()
    given_up.set()

    with pytest.raises(InterruptedError, match="the step has ended"):
        given_up.check()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_ends_although_its_work_hangs(backend: str) -> None:
    """Nothing waits for the thread when the process ends."""
    program = (
        "import anyio, os\n"
        "from flujo.workflows.blocking import may_block\n"
        "async def main():\n"
        "    with anyio.move_on_after(0.1):\n"
        "        await may_block(lambda _: os.read(os.pipe()[0], 1))\n"
        "    print('given up', flush=True)\n"
        f"anyio.run(main, backend={backend!r})\n"
    )
    path = ":".join(entry for entry in sys.path if entry)

    ended = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": path}, stdout=subprocess.PIPE, timeout=60, check=True
    )

    assert ended.stdout == b"given up\n"
