"""The server under test as a program: `python -m conformance.served` with the settings as JSON in its first argument.

It prints a line with its address once it accepts calls. Each line on its standard input asks how many calls it is at
work on, and is answered by a line: as soon as there are none, else after some seconds."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from flujo.client.addresses import ServerAddress
from flujo.server import listening
from flujo.server.access import Security
from flujo.server.app import ListenOptions, run_server
from flujo.server.guard import Guard

from .flows import WORKFLOWS

LONGEST_SECONDS = 5.0
BOOKMARK_SECONDS = 0.5
"""How often a watch brings a sign of life: often, so that a silent path is noticed while somebody waits for it."""


class CountingGuard(Guard):
    """Tells how many handlers have begun and not ended."""

    current: CountingGuard

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        CountingGuard.current = self

    @property
    def at_work(self) -> int:
        return self._running


def options(settings: dict[str, Any]) -> ListenOptions:
    """How to listen, as the settings say."""
    files: dict[str, Any] = {name: Path(path) for name, path in settings["security"].items()}
    return ListenOptions(Security(**files), grace_seconds=1.0, bookmark_seconds=BOOKMARK_SECONDS)


async def answer_questions() -> None:
    """Answer each line until the end of the input."""
    while await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        guard = CountingGuard.current
        with anyio.move_on_after(LONGEST_SECONDS):
            await guard.wait_idle()
        print(guard.at_work, flush=True)


async def main(settings: dict[str, Any]) -> None:
    folder = Path(settings["folder"])
    address = ServerAddress.parse(settings["address"]).text
    setattr(listening, "Guard", CountingGuard)  # noqa: B010 - it is no part of what `listening` offers
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(answer_questions)
            group.start_soon(_serve, folder, address, settings)
            async for _ in signals:
                group.cancel_scope.cancel()
                break


async def _serve(folder: Path, address: str, settings: dict[str, Any]) -> None:
    await run_server(
        f"sqlite:{folder}/state.db?durability=normal",
        address,
        WORKFLOWS,
        workspaces=folder / "workspaces",
        options=options(settings),
        started=lambda kernel, bound: print(bound, flush=True),
    )


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.argv[1]))
