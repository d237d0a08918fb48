"""Calls whose connection is cut before they are answered: those that may be repeated are, and carried out once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from google.protobuf.descriptor_pool import Default

from flujo.client import Client
from flujo.client.reconnecting import READS
from flujo.kernel import Kernel
from flujo.kernel.errors import ServerUnreachableError
from flujo.server.access import RULES
from flujo.server.tokens import Role
from kernel.harness import Harness
from server.flows import Flaky, doubling, stuck, waiting
from server.harness import served
from server.test_reconnects import way_to

Act = Callable[[Client, str | None], Awaitable[Any]]

ACTS: dict[str, tuple[str, Act, str]] = {
    "signal": ("signal", lambda client, id: client.signal("waits", "go", 1, request_id=id), "signal_received"),
    "cancel": ("cancel", lambda client, id: client.cancel("waits", "enough", request_id=id), "cancel_requested"),
    "pause": ("pause", lambda client, id: client.pause("waits", "lunch", request_id=id), "pause_requested"),
    "resume": ("resume", lambda client, id: client.resume("failed", request_id=id), "run_resumed"),
    "set_variable": (
        "set_variable",
        lambda client, id: client.set_variable("waits", "n", 1, request_id=id),
        "variable_set",
    ),
    "skip": ("skip", lambda client, id: client.skip("failed", "middle", 2, request_id=id), "step_skipped"),
    "signal_runs": (
        "signal_runs",
        lambda client, id: client.signal_runs("go", 1, id_prefix="waits", request_id=id),
        "signal_received",
    ),
}
"""What a client does, the call of the kernel that does it, and the event that stands for it."""


@asynccontextmanager
async def cut_after(folder: Path, address: str, call: str) -> AsyncIterator[tuple[Kernel, Client, list[str]]]:
    """A kernel, and a client whose connection is cut when the kernel has carried out its first `call`."""
    flaky = Flaky()
    made: list[str] = []
    kernel = Harness().kernel(waiting, doubling, stuck, flaky.workflow)
    async with kernel, served(kernel, address), way_to(folder, address) as (way, through), Client(through) as client:
        await kernel.start("waiting", run_id="waits")
        await kernel.start("flaky", run_id="failed")
        await kernel.wait("failed")
        flaky.broken = False
        await client.summary("waits")
        carried_out = getattr(kernel, call)

        async def cutting(*arguments: Any, **options: Any) -> Any:
            answer = await carried_out(*arguments, **options)
            made.append(call)
            if len(made) == 1:
                way.cut()
            return answer

        setattr(kernel, call, cutting)
        with anyio.fail_after(30):
            yield kernel, client, made


@pytest.mark.parametrize("name", ACTS)
async def test_a_call_with_a_request_id_is_repeated_and_carried_out_once(name: str, folder: Path, address: str) -> None:
    """Nobody needs to know that the answer was lost."""
    call, act, type = ACTS[name]
    async with cut_after(folder, address, call) as (kernel, client, made):
        await act(client, "once")

        assert made == [call] * 2
        run_id = "failed" if name in ("resume", "skip") else "waits"
        assert [event.type for event in await kernel.events(run_id)].count(type) == 1


@pytest.mark.parametrize("name", ACTS)
async def test_a_call_without_one_is_not_repeated(name: str, folder: Path, address: str) -> None:
    """It would be another request: whoever asked decides."""
    call, act, _ = ACTS[name]
    async with cut_after(folder, address, call) as (_, client, made):
        with pytest.raises(ServerUnreachableError):
            await act(client, None)

        assert made == [call]


async def test_a_start_is_repeated(folder: Path, address: str) -> None:
    """Its run has an id from the beginning, so there is one run."""
    async with cut_after(folder, address, "start") as (kernel, client, made):
        assert await client.run("doubling", {"number": 4}) == 8

        assert made == ["start"] * 2
        assert await kernel.count(workflow="doubling") == 1


async def test_what_only_reads_is_repeated(folder: Path, address: str) -> None:
    """Whatever it is."""
    async with cut_after(folder, address, "count") as (_, client, made):
        assert await client.count(workflow="waiting") == 1
        assert made == ["count"] * 2


def test_the_methods_that_read_are_those_that_need_no_right_to_act() -> None:
    """Of the unary ones: but for those that wait, which go on by themselves, and those that look at a definition."""
    paths = {
        path.rpartition("/")[2]
        for path, role in RULES.items()
        if role is Role.VIEWER and path.startswith("/flujo.") and not _streams(path)
    }

    assert paths - {"WaitRun"} | {"ValidateWorkflow", "DiffRun"} == READS


def _streams(path: str) -> bool:
    service, _, name = path.removeprefix("/").rpartition("/")
    return bool(Default().FindServiceByName(service).methods_by_name[name].server_streaming)
