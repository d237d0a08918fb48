"""Following the log of a run on a server: whole, once, and across restarts."""

from __future__ import annotations

from pathlib import Path

import anyio

from flujo.backends import open_backend
from flujo.client import Client
from flujo.kernel import Kernel
from flujo.server.listening import load_stored
from flujo.workflows import load_workflow_text
from server.harness import served

DEFINITION = "name: letters\nsteps: [{name: first, task: noop}]"


def kernel_on(folder: Path) -> Kernel:
    """A kernel on the store of a folder, as a server opens it."""
    return Kernel(open_backend(f"sqlite:{folder}/s.db"), workspaces=folder / "w", load_definition=load_stored)


def append(log: Path, lines: bytes) -> None:
    """Write lines as a step does."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(lines)


async def test_a_log_that_is_followed_goes_on_after_a_restart(folder: Path, address: str) -> None:
    """Whoever has a position waits for a server, as a watch does; who has none is told that none answers."""
    async with Client(address) as client:
        async with kernel_on(folder) as kernel, served(kernel, address):
            await kernel.run(load_workflow_text(DEFINITION, "letters.yaml"), run_id="r")
            log = Path((await kernel.inspect("r")).environment["log_file"])
            append(log, b"first.1| one\n")
            before = await client.read_log("r")

        async def add_and_serve_again() -> None:
            append(log, b"first.1| two\n")
            async with kernel_on(folder) as kernel, served(kernel, address):
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(add_and_serve_again)
            after = await client.read_log("r", offset=before.next_offset, uid=before.uid)
            tasks.cancel_scope.cancel()

    assert [line.text for line in before.lines] == ["one"]
    assert [line.text for line in after.lines] == ["two"]


async def test_an_answer_without_a_message_leaves_the_position_where_it_was(folder: Path, address: str) -> None:
    """A server may have nothing to say of what is behind it."""

    async with kernel_on(folder) as kernel, served(kernel, address), Client(address) as client:
        await kernel.run(load_workflow_text(DEFINITION, "letters.yaml"), run_id="r")
        uid = (await client.inspect("r")).uid
        client._open.runs.ReadLogs = _Empty()  # type: ignore[assignment]

        assert await client.read_log("r", offset=7) == ((), 7, uid)


class _Empty:
    """A method whose stream ends with OK and without a message."""

    def __call__(self, request: object, **options: object) -> _Empty:
        return self

    def __aiter__(self) -> _Empty:
        return self

    async def __anext__(self) -> object:
        raise StopAsyncIteration

    def cancel(self) -> None:
        pass

    async def code(self) -> None:
        pass
