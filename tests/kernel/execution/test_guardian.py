"""What kills the commands of a kernel that is gone, or late. That of one that is gone: test_subprocesses.py."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.kernel.execution.subprocesses import Children, Finished
from kernel.execution.processes import ENV, Fifo, a_kernel, fifo, on_linux

__all__ = ["fifo"]

HOUR = 3600.0


def held(fifo: Fifo) -> list[str]:
    """A command that ends by nothing but SIGKILL, and says when it has begun."""
    return ["sh", "-c", f"{fifo.opening}; trap '' TERM HUP INT; echo up >&9; while :; do sleep 9; done"]


async def test_commands_are_killed_once_nobody_renews(tmp_path: Path, fifo: Fifo) -> None:
    """How they ended is not told: `run` goes on until it is cancelled, as whoever waits for `wait_late` does."""
    children = Children(certain_seconds=HOUR)
    ended: list[Finished] = []

    async def run() -> None:
        ended.append(await children.run(held(fifo), cwd=tmp_path, env=ENV))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await fifo.line()
        children.renew(0.0)
        with anyio.fail_after(20):
            await children.wait_late()
        await anyio.to_thread.run_sync(fifo.wait_for_the_end)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert ended == []
    await children.close()


async def test_all_commands_of_a_late_kernel_are_known_to_be_killed(tmp_path: Path, fifo: Fifo) -> None:
    """Whichever end is seen first, and although nobody renews meanwhile; what begins then does not begin at all."""
    children = Children(certain_seconds=HOUR)
    ended: list[Finished] = []

    async def run(*command: str) -> None:
        ended.append(await children.run(command, cwd=tmp_path, env=ENV))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(run, *held(fifo))
            await fifo.line()
        children.renew(0.0)
        await anyio.to_thread.run_sync(fifo.wait_for_the_end)
        with anyio.fail_after(20):
            await children.wait_late()
        tasks.start_soon(run, "touch", str(tmp_path / "begun"))
        with anyio.fail_after(20):
            await children.wait_late()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert ended == []
    assert not (tmp_path / "begun").exists()
    await children.close()


async def test_a_kernel_that_was_late_can_run_commands_again(tmp_path: Path, fifo: Fifo) -> None:
    """Once that is renewed another guardian guards them."""
    children = Children(certain_seconds=HOUR)
    await children.run(["true"], cwd=tmp_path, env=ENV)
    children.renew(0.0)
    children.renew(HOUR)
    finished = await children.run(["echo", "on"], cwd=tmp_path, env=ENV)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: children.run(held(fifo), cwd=tmp_path, env=ENV))
        await fifo.line()
        await children.close()

    assert finished.stdout == b"on\n"
    assert not fifo.is_held()


async def test_whoever_renews_in_time_loses_no_command(tmp_path: Path) -> None:
    """Each renewal counts from its own moment."""
    children = Children(certain_seconds=HOUR)
    for seconds in (HOUR, HOUR / 2, 2 * HOUR):
        children.renew(seconds)
        assert (await children.run(["echo", "on"], cwd=tmp_path, env=ENV)).return_code == 0
    await children.close()


@on_linux
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_a_kernel_that_is_stopped_loses_its_commands(fifo: Fifo, anyio_backend: Any) -> None:
    """It can do nothing itself; and once it goes on, it does not take their end for what they returned."""
    kernel = a_kernel(
        """
        children = Children(certain_seconds=3600)
        async with anyio.create_task_group() as tasks:
            async def run():
                print("returned", await children.run(["sh", "-c", sys.argv[1]], cwd=".", env=dict(os.environ)))
            async def late():
                await children.wait_late()
                print("late", flush=True)
                tasks.cancel_scope.cancel()
            tasks.start_soon(run)
            tasks.start_soon(late)
            while not os.path.exists(sys.argv[2]):
                await anyio.sleep(0.01)
            children.renew(0.2)
            os.kill(os.getpid(), signal.SIGSTOP)
        await children.close()
        """,
        f"{fifo.opening}; trap '' TERM; echo up >&9; while :; do sleep 9; done",
        f"{fifo.path}.begun",
    )
    assert fifo.line_now() == "up\n"
    Path(f"{fifo.path}.begun").touch()

    fifo.wait_for_the_end()
    os.kill(kernel.pid, signal.SIGCONT)
    output, _ = kernel.communicate()

    assert output == "late\n"
