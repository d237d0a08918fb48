"""Two servers on one store: when one is killed, the other goes on with its runs and is not restarted."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from anyio import create_task_group, to_thread

from flujo.client import Client
from flujo.kernel.events import RunTakenOver
from server.serving import busy_result, server_process

RUNS = 50


@pytest.mark.parametrize("store", ["sqlite:{}/state.db", "file:{}/store"])
async def test_a_server_goes_on_with_the_runs_of_one_that_was_killed(folder: Path, address: str, store: str) -> None:
    """Fifty runs, none of them at its end, complete on the server that lives, each with its result, and
    the history of each names the kernel that was killed."""
    dying, living = address, f"{address}2"
    url = store.format(folder)
    with ExitStack() as last:
        await to_thread.run_sync(last.enter_context, server_process(folder, living, url))
        with ExitStack() as life:
            await to_thread.run_sync(life.enter_context, server_process(folder, dying, url))
            async with Client(dying) as client:
                for number in range(RUNS):
                    await client.start("lasting", {"number": number}, run_id=f"r{number}")
                killed = str((await client.summary("r0")).owner)
        async with Client(living) as client:
            heir = (await client.info()).kernel_id
            outputs: dict[int, object] = {}

            async def wait(number: int) -> None:
                outputs[number] = await client.result(f"r{number}")

            async with create_task_group() as group:
                # From the instant of the death on: what this server is to take over is not told to be interrupted.
                for number in range(RUNS):
                    group.start_soon(wait, number)
                for number in range(RUNS):
                    await client.signal(f"r{number}", "go")
            histories = [await client.events(f"r{number}", limit=1000) for number in range(RUNS)]
            ended = [await client.inspect(f"r{number}") for number in range(RUNS)]

    assert outputs == {number: busy_result(number) for number in range(RUNS)}
    named = [[each.fact for each in events if isinstance(each.fact, RunTakenOver)] for events in histories]
    assert {len(found) for found in named} == {1}
    assert {found[0] for found in named} == {RunTakenOver(killed, heir)}
    assert {None if state.taken_over is None else state.taken_over.former_owner for state in ended} == {killed}
