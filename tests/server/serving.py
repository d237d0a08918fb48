"""A server as a process of its own, to be killed: `server_process` starts one on a store in a folder.

Run as a program it serves the workflows below with flujo.server.app.run_server, which is what `flujoctl serve` runs,
and prints a line once calls are accepted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from flujo.kernel import Context, RetryPolicy, step, workflow


@step
async def note(number: int) -> int:
    await checkpoint()  # awaits something real, so that kills also land in bodies
    return number


@workflow()
async def patient(ctx: Context) -> list[Any]:
    """A hundred steps, then a signal."""
    gone = [await ctx.step(note, number, name=f"before-{number}") for number in range(100)]
    return [len(gone), await ctx.wait_signal("go")]


@workflow()
async def busy(ctx: Context, number: int) -> int:
    """Some steps in a row, one that fails at first, a wait, and a map."""
    failed: list[int] = []

    async def shaky() -> int:
        if not failed:
            failed.append(1)
            raise ConnectionError("at first")
        return number

    total = 0
    for index in range(5):
        total += await ctx.step(note, index, name="note")
    total += await ctx.step(shaky, retry=RetryPolicy(max_attempts=20, delay=0.001))
    await ctx.sleep(0.001)
    return total + sum(await ctx.map(note, range(5)))


@workflow()
async def lasting(ctx: Context, number: int) -> int:
    """Notes and short sleeps that take a second or two, and then a signal."""
    total = 2 * sum(range(5)) + number
    for index in range(10):
        await ctx.step(note, index, name="note")
        await ctx.sleep(0.1)
    await ctx.wait_signal("go")
    return total


@workflow()
async def ticking(ctx: Context) -> None:
    """A note every few milliseconds, until somebody cancels it."""
    for index in range(1_000_000):
        await ctx.step(note, index, name="note")
        await anyio.sleep(0.005)


def busy_result(number: int) -> int:
    """What `busy` returns."""
    return 2 * sum(range(5)) + number


@contextmanager
def server_process(folder: Path, address: str, store: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that serves the store in a folder, SQLite unless another URL is given, and has said so; it is killed at
    the end."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), address, store or f"sqlite:{folder}/state.db"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "listening\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> None:
    from flujo.cli.interruption import Interruption
    from flujo.server.app import run_server

    folder, address, store = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

    async def serve() -> None:
        with (
            Interruption() as interruption,
            interruption.scope,
        ):  # SIGTERM ends it in good order
            await run_server(
                store,
                address,
                [patient, busy, lasting, ticking],
                workspaces=folder / "workspaces",
                started=lambda kernel, address: print("listening", flush=True),  # noqa: T201 - to whoever has started this
            )

    anyio.run(serve)


if __name__ == "__main__":
    main()
