"""SIGKILLs and SIGTERMs of a server under many clients: nothing that was acknowledged is lost, nothing happens twice.

KILLS=500 CLIENTS=16 pytest tests/server/test_kills.py kills it five hundred times: `make torture-watches`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import TypeVar

import anyio
import pytest
from anyio import to_thread

from flujo.backends import open_backend
from flujo.client import Client
from flujo.kernel import Event, Observer
from flujo.kernel.errors import (
    CallTimeoutError,
    KernelClosedError,
    RunActiveError,
    ServerStoppingError,
    ServerUnreachableError,
)
from flujo.kernel.events import StepCompleted, StepStarted, StepWaiting
from server.serving import busy_result, server_process

KILLS = int(os.environ.get("KILLS", "20"))
STOPS = KILLS // 5
CLIENTS = int(os.environ.get("CLIENTS", "16"))
GRACE_SECONDS = 30
"""How long a server that is stopped may take, of which it gives calls ten seconds."""

EVENTS_BETWEEN_KILLS = 60

Answer = TypeVar("Answer")


class Traffic:
    """What the clients have been told so far."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, int] = {}  # run id → the number it was started with
        self.ended: list[str] = []
        self.events = 0
        self.over = False
        self._moved = anyio.Event()

    def move(self) -> None:
        """Another event has been seen."""
        self.events += 1
        self._moved.set()
        self._moved = anyio.Event()

    async def until(self, events: int) -> None:
        """Return once that many have been seen."""
        while self.events < events:
            await self._moved.wait()


async def insist(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """What a person does whose server is restarted: the same again."""
    while True:
        try:
            return await call()
        except (ServerUnreachableError, ServerStoppingError, KernelClosedError, CallTimeoutError):
            await anyio.sleep(0.02)


async def use(address: str, name: str, traffic: Traffic) -> None:
    """Start one run after the other and follow each to its end."""
    async with Client(address) as client:
        number = 0
        while not traffic.over:
            number += 1
            run_id = f"{name}-{number}"
            inputs = {"number": number}
            await insist(lambda run_id=run_id, inputs=inputs: client.start("busy", inputs, run_id=run_id))  # type: ignore[misc]
            traffic.acknowledged[run_id] = number
            await follow(client, run_id, traffic)
            assert await client.result(run_id) == busy_result(number)
            traffic.ended.append(run_id)


async def follow(client: Client, run_id: str, traffic: Traffic) -> None:
    """Watch a run to its end; every event comes once, in order."""
    last = 0
    async with aclosing(client.watch(run_id)) as events:
        async for event in events:
            assert event.seq == last + 1
            last = event.seq
            traffic.move()
            if event.type == "run_paused":  # the same step was under way in too many kills
                await insist(lambda: revive(client, run_id))


async def revive(client: Client, run_id: str) -> None:
    """Resume a run, unless that has happened."""
    try:
        await client.resume(run_id)
    except RunActiveError:
        pass


def check_journal(events: list[Event]) -> None:
    """Numbers without gaps, instants that never go back, and no success twice in a generation."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.at for event in events] == sorted(event.at for event in events)
    generations: dict[str, int] = {}
    successes: Counter[tuple[str, int]] = Counter()
    for event in events:
        match event.fact:
            case StepStarted(step=step, generation=generation) | StepWaiting(step=step, generation=generation):
                generations[step] = generation
            case StepCompleted(step=step):
                successes[step, generations[step]] += 1
    assert set(successes.values()) == {1}
    assert [event.type for event in events].count("run_completed") == 1


async def kill(address: str, folder: Path, traffic: Traffic, *, times: int) -> None:
    """Serve for a while and be killed, again and again."""
    for _ in range(times):
        with ExitStack() as life:
            await to_thread.run_sync(life.enter_context, server_process(folder, address))
            await traffic.until(traffic.events + EVENTS_BETWEEN_KILLS)


async def stop(address: str, folder: Path, traffic: Traffic, *, times: int) -> None:
    """Serve for a while and be stopped in good order, again and again."""
    for _ in range(times):
        with ExitStack() as life:
            process = await to_thread.run_sync(life.enter_context, server_process(folder, address))
            await traffic.until(traffic.events + EVENTS_BETWEEN_KILLS)
            process.terminate()
            assert await to_thread.run_sync(process.wait, GRACE_SECONDS) == 0


@pytest.mark.timeout(120 + 3 * KILLS)
@pytest.mark.parametrize(("end", "times"), [(kill, KILLS), (stop, STOPS)], ids=["kill", "stop"])
async def test_nothing_is_lost_when_servers_end_under_many_clients(
    end: Callable[..., Awaitable[None]], times: int, folder: Path, address: str
) -> None:
    """Every run that was acknowledged ends with its result, every event reaches its watcher once, and the journals hold
    each success once."""
    traffic = Traffic()
    with ExitStack() as last:
        async with anyio.create_task_group() as group:
            for number in range(CLIENTS):
                group.start_soon(use, address, f"client{number}", traffic)
            await end(address, folder, traffic, times=times)
            traffic.over = True
            await to_thread.run_sync(last.enter_context, server_process(folder, address))

    assert set(traffic.ended) == set(traffic.acknowledged)
    async with open_backend(f"sqlite:{folder}/state.db") as backend:
        observer = Observer(backend)
        listed = {run.run_id: run for run in (await observer.list(limit=10_000)).runs}
        assert set(listed) >= set(traffic.acknowledged)
        assert {run.status for run in listed.values()} == {"completed"}
        interrupted = 0
        for run_id, number in traffic.acknowledged.items():
            events = list(await observer.events(run_id, limit=10_000))
            check_journal(events)
            interrupted += sum(event.type == "step_interrupted" for event in events)
            assert await observer.result(run_id) == busy_result(number)
    assert interrupted > 0 or end is stop  # the kills did land in the middle of runs
