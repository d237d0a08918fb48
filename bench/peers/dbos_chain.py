"""DBOS on SQLite: a rollback journal, synced at each commit, as it opens it."""

import asyncio
import os
import sys
import time

from dbos import DBOS, SetWorkflowID

VALUE = "x" * 1022
folder, mode, runs, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
began, bodies = 0.0, 0


@DBOS.step()
async def work() -> str:
    global bodies
    bodies += 1
    return VALUE


@DBOS.step()
async def last() -> str:
    if mode == "kill":
        os._exit(9)
    print(time.perf_counter() - began, bodies + 1, flush=True)
    return VALUE


@DBOS.workflow()
async def chain(count: int) -> int:
    for _ in range(count):
        await work()
    return count


@DBOS.workflow()
async def chain_with_end(count: int) -> int:
    for _ in range(count):
        await work()
    await last()
    return count


async def main() -> None:
    global began
    began = time.perf_counter()
    DBOS.launch()  # recovers what was interrupted
    if mode == "resume":
        await (await DBOS.retrieve_workflow_async("one")).get_result()
        return
    if mode == "kill":
        with SetWorkflowID("one"):
            await (await DBOS.start_workflow_async(chain_with_end, steps)).get_result()
    began = time.perf_counter()
    handles = [await DBOS.start_workflow_async(chain, steps) for _ in range(runs)]
    for handle in handles:
        assert await handle.get_result() == steps
    print(time.perf_counter() - began, bodies, flush=True)


DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{folder}/dbos.db", "log_level": "ERROR"})
asyncio.run(main())
DBOS.destroy()
