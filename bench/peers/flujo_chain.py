"""flujo on SQLite: a write-ahead log, synced at each commit; runs that are under way share commits."""

import os
import sys
import time

import anyio

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, step, workflow

VALUE = "x" * 1022
folder, mode, runs, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
began, bodies = 0.0, 0


@step
async def work() -> str:
    global bodies
    bodies += 1
    return VALUE


@step
async def last() -> str:
    if mode == "kill":
        os._exit(9)
    print(time.perf_counter() - began, bodies + 1, flush=True)
    return VALUE


@workflow
async def chain(ctx: Context, count: int) -> int:
    for _ in range(count):
        await ctx.step(work)
    return count


@workflow
async def chain_with_end(ctx: Context, count: int) -> int:
    for _ in range(count):
        await ctx.step(work)
    await ctx.step(last)
    return count


async def main() -> None:
    global began
    began = time.perf_counter()
    backend = open_backend(f"sqlite:{folder}/flujo.db")
    async with Kernel(backend, workflows=[chain, chain_with_end]) as kernel:
        if mode != "throughput":
            await kernel.run(chain_with_end, {"count": steps}, run_id="one")  # the same id again: the same run
            return
        began = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(runs):
                group.start_soon(kernel.run, chain, {"count": steps})
        print(time.perf_counter() - began, bodies, flush=True)


anyio.run(main)
