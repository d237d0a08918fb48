"""The driver of `flujo.client.blocking.Client`: commands in, answers out (driving.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import Lock, Thread
from typing import Any, cast

import grpc

from flujo.client.blocking import Client
from flujo.kernel.errors import FlujoError
from flujo.v1 import run_service_pb2, run_service_pb2_grpc

from .python_commands import client_options, commands, new_runs, say, settled, start_values, told, told_outcomes, values


class Driver:
    """Answers commands with clients that it has opened."""

    def __init__(self, open_clients: ExitStack) -> None:
        self._open_clients = open_clients
        self._clients: dict[str, Client] = {}
        self._addresses: dict[str, str] = {}

    def answer(self, do: str, parts: dict[str, Any]) -> Any:
        """What a command answers."""
        if do == "open":
            client = Client(parts["address"], **client_options(parts))
            self._clients[parts["client"]] = self._open_clients.enter_context(client)
            self._addresses[parts["client"]] = parts["address"]
            return {}
        command: Callable[..., Any] = getattr(self, f"_{do}")
        return command(self._clients[parts.get("client", "main")], parts)

    def _start(self, client: Client, parts: dict[str, Any]) -> Any:
        handle = client.start(**start_values(parts))
        return {"run_id": handle.run_id, "created": handle.created}

    def _starts(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"outcomes": told_outcomes(client.start_runs(new_runs(parts)))}

    def _get(self, client: Client, parts: dict[str, Any]) -> Any:
        summary = client.summary(parts["run_id"])
        return {"status": str(summary.status), "seq": str(summary.seq)}

    def _list(self, client: Client, parts: dict[str, Any]) -> Any:
        found: list[str] = []
        page = None
        while True:
            listed = client.list(id_prefix=parts["id_prefix"], limit=1000, page=page)
            found += [run.run_id for run in listed.runs]
            if (page := listed.next) is None:
                return {"run_ids": found}

    def _wait(self, client: Client, parts: dict[str, Any]) -> Any:
        return settled(client.wait(parts["run_id"]))

    def _follow(self, client: Client, parts: dict[str, Any]) -> Any:
        with client.watch(parts["run_id"]) as events:
            for event in events:
                say(event={"seq": str(event.seq), "type": event.type})
                if str(event.seq) == parts.get("leave_at"):
                    return {"left": True}
        return {"status": str(client.summary(parts["run_id"]).status)}

    def _follows(self, client: Client, parts: dict[str, Any]) -> Any:
        counts = dict.fromkeys(parts["run_ids"], 0)
        waiting, lock = set(counts), Lock()

        def follow(run_id: str) -> None:
            with client.watch(run_id) as events:
                for event in events:
                    counts[run_id] = event.seq
                    with lock:
                        if run_id in waiting:
                            waiting.remove(run_id)
                            if not waiting:
                                say(event={"open": len(counts)})

        threads = [Thread(target=follow, args=[run_id]) for run_id in counts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"events": list(counts.values())}

    def _time(self, client: Client, parts: dict[str, Any]) -> Any:
        began = time.perf_counter()
        count = 0
        if parts["bare"]:
            with grpc.insecure_channel(self._addresses[parts["client"]]) as channel:
                stub = cast(Any, run_service_pb2_grpc).RunServiceStub(channel)  # typed for grpc.aio alone
                for message in stub.WatchRun(run_service_pb2.WatchRunRequest(run_id=parts["run_id"])):
                    count += len(message.events.events)
        else:
            with client.watch(parts["run_id"]) as events:
                for _ in events:
                    count += 1
        return {"seconds": time.perf_counter() - began, "events": count}

    def _signal(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"outcome": str(client.signal(**values(parts, "payload")))}

    def _cancel(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"outcome": str(client.cancel(parts["run_id"]))}

    def _pause(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"outcome": str(client.pause(parts["run_id"]))}

    def _resume(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"run_id": client.resume(**values(parts, "inputs")).run_id}

    def _retry(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"run_id": client.resume(parts["run_id"], retry=[parts["step"]]).run_id}

    def _fork(self, client: Client, parts: dict[str, Any]) -> Any:
        handle = client.fork(**values(parts, "inputs"))
        return {"run_id": handle.run_id, "created": handle.created}

    def _prune(self, client: Client, parts: dict[str, Any]) -> Any:
        return {"total": client.prune(**values(parts)).total}


def main() -> None:
    """Answer until the input ends."""
    with ExitStack() as clients:
        driver = Driver(clients)
        for command in commands():
            try:
                say(ok=driver.answer(*command))
            except FlujoError as error:
                say(error=told(error))


if __name__ == "__main__":
    main()
