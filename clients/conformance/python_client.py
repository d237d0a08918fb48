"""The driver of `flujo.client.Client`: commands in, answers out (driving.py)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from grpc import aio

from flujo.client import Client
from flujo.kernel.errors import FlujoError
from flujo.v1 import run_service_pb2, run_service_pb2_grpc

from .python_commands import client_options, commands, new_runs, say, settled, start_values, told, told_outcomes, values


class Driver:
    """Answers commands with clients that it has opened."""

    def __init__(self, open_clients: AsyncExitStack) -> None:
        self._open_clients = open_clients
        self._clients: dict[str, Client] = {}

    async def answer(self, do: str, parts: dict[str, Any]) -> Any:
        """What a command answers."""
        if do == "open":
            client = Client(parts["address"], **client_options(parts))
            self._clients[parts["client"]] = await self._open_clients.enter_async_context(client)
            return {}
        command: Callable[..., Awaitable[Any]] = getattr(self, f"_{do}")
        return await command(self._clients[parts.get("client", "main")], parts)

    async def _start(self, client: Client, parts: dict[str, Any]) -> Any:
        handle = await client.start(**start_values(parts))
        return {"run_id": handle.run_id, "created": handle.created}

    async def _starts(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"outcomes": told_outcomes(await client.start_runs(new_runs(parts)))}

    async def _get(self, client: Client, parts: dict[str, Any]) -> Any:
        summary = await client.summary(parts["run_id"])
        return {"status": str(summary.status), "seq": str(summary.seq)}

    async def _list(self, client: Client, parts: dict[str, Any]) -> Any:
        found: list[str] = []
        page = None
        while True:
            listed = await client.list(id_prefix=parts["id_prefix"], limit=1000, page=page)
            found += [run.run_id for run in listed.runs]
            if (page := listed.next) is None:
                return {"run_ids": found}

    async def _wait(self, client: Client, parts: dict[str, Any]) -> Any:
        return settled(await client.wait(parts["run_id"]))

    async def _follow(self, client: Client, parts: dict[str, Any]) -> Any:
        async with aclosing(client.watch(parts["run_id"])) as events:
            async for event in events:
                say(event={"seq": str(event.seq), "type": event.type})
                if str(event.seq) == parts.get("leave_at"):
                    return {"left": True}
        return {"status": str((await client.summary(parts["run_id"])).status)}

    async def _follows(self, client: Client, parts: dict[str, Any]) -> Any:
        counts = dict.fromkeys(parts["run_ids"], 0)
        waiting = set(counts)

        async def follow(run_id: str) -> None:
            async for event in client.watch(run_id):
                counts[run_id] = event.seq
                if run_id in waiting:
                    waiting.remove(run_id)
                    if not waiting:
                        say(event={"open": len(counts)})

        async with anyio.create_task_group() as group:
            for run_id in counts:
                group.start_soon(follow, run_id)
        return {"events": list(counts.values())}

    async def _time(self, client: Client, parts: dict[str, Any]) -> Any:
        began = time.perf_counter()
        count = 0
        if parts["bare"]:
            async with aio.insecure_channel(client.url) as channel:
                stub = run_service_pb2_grpc.RunServiceStub(channel)
                async for message in stub.WatchRun(run_service_pb2.WatchRunRequest(run_id=parts["run_id"])):
                    count += len(message.events.events)
        else:
            async for _ in client.watch(parts["run_id"]):
                count += 1
        return {"seconds": time.perf_counter() - began, "events": count}

    async def _signal(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"outcome": str(await client.signal(**values(parts, "payload")))}

    async def _cancel(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"outcome": str(await client.cancel(parts["run_id"]))}

    async def _pause(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"outcome": str(await client.pause(parts["run_id"]))}

    async def _resume(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"run_id": (await client.resume(**values(parts, "inputs"))).run_id}

    async def _retry(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"run_id": (await client.resume(parts["run_id"], retry=[parts["step"]])).run_id}

    async def _fork(self, client: Client, parts: dict[str, Any]) -> Any:
        handle = await client.fork(**values(parts, "inputs"))
        return {"run_id": handle.run_id, "created": handle.created}

    async def _prune(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"total": (await client.prune(**values(parts))).total}


async def main() -> None:
    """Answer until the input ends."""
    given: Sequence[Any] = [commands()]
    async with AsyncExitStack() as clients:
        driver = Driver(clients)
        while (command := await anyio.to_thread.run_sync(partial(next, given[0], None))) is not None:
            try:
                say(ok=await driver.answer(*command))
            except FlujoError as error:
                say(error=told(error))


if __name__ == "__main__":
    anyio.run(main)
