"""A forked child keeps nothing of a kernel's: its locks are free once it has died, and its commands get their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends import open_backend
from flujo.kernel import Kernel
from flujo.kernel.forks import close_in_children

PROGRAM = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import anyio
from flujo.backends import open_backend
from flujo.kernel import Kernel, current_attempt, workflow

pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))

async def in_a_pool() -> int:
    children = current_attempt().children
    await children.run(["true"], cwd="/", env={"PATH": "/usr/bin:/bin"})  # the guardian is there when the pool forks
    return pool.submit(int, "7").result()

@workflow()
async def busy(ctx):
    await ctx.step(in_a_pool)
    await ctx.wait_signal("go")
    return "went"

async def main():
    async with Kernel(open_backend(sys.argv[1]), [busy]) as kernel:
        await kernel.start(busy, run_id="r")
        async for event in kernel.watch("r"):
            if event.type == "step_waiting":
                break
        print(*pool._processes, flush=True)
        await anyio.sleep_forever()

if __name__ == "__main__":
    anyio.run(main)
"""


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("scheme", ["sqlite", "file"])
async def test_the_worker_of_a_pool_does_not_keep_a_dead_kernel_alive(scheme: str, tmp_path: Path) -> None:
    """The kernel gets SIGKILL, an idle worker that it has forked lives on, and another kernel takes the run over."""
    script = tmp_path / "busy.py"
    script.write_text(PROGRAM)
    store = f"{scheme}:{tmp_path / 'store'}"
    process = _started([sys.executable, str(script), store])
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.kill(worker, 0)  # it is there
        async with Kernel(open_backend(store)) as kernel:
            summary = await kernel.summary("r")
            assert summary.owner is not None
            with anyio.fail_after(30):  # the guardian of its commands dies a moment after it
                while await kernel.backend.is_alive(summary.owner):
                    await checkpoint()
            assert await kernel.is_interrupted(summary)
    finally:
        process.stdout.close()
        os.kill(worker, signal.SIGKILL)


def test_what_is_registered_is_closed_in_a_child_only() -> None:
    """The child closes its copy before any of its code runs; the parent's stays open."""
    read, write = os.pipe()

    class Holder:
        def close_in_child(self) -> None:
            os.close(write)

    holder = Holder()
    close_in_children(holder)
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"x")
        except OSError:
            os._exit(7)
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)
    del holder


FORKING_IN_C = """
import ctypes, os, sys
from flujo.backends import open_backend
from flujo.kernel import blocking
from flujo.kernel.errors import ForkedProcessError

with blocking.Kernel(open_backend(sys.argv[1])) as kernel:
    if (child := ctypes.PyDLL(None).fork()) == 0:  # Python runs nothing of what it does for a fork of its own
        try:
            kernel.list()
        except ForkedProcessError:
            os._exit(7)
        os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_a_kernel_refuses_to_be_called_in_a_child_that_was_forked_behind_pythons_back(
    scheme: str, tmp_path: Path
) -> None:
    """A library in C that forks by itself tells nobody; the process is looked at with every call."""
    command = [sys.executable, "-c", FORKING_IN_C, f"{scheme}:{tmp_path / 'store'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("7\n", "")
