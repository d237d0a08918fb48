"""Which task and which event loop a call runs on."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from anyio import to_thread

from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.errors import UnsupportedEventLoopError, WrongEventLoopError
from flujo.kernel.loops import require_asyncio, this_task
from kernel.harness import Harness


async def test_a_task_is_itself_across_its_awaits_and_no_other() -> None:
    """The number is the same before and after a pause, differs between tasks, and is the one that anyio gives."""
    seen: list[list[int]] = []

    async def look() -> None:
        before = this_task()
        await anyio.lowlevel.checkpoint()
        seen.append([before, this_task(), anyio.get_current_task().id])

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        group.start_soon(look)

    assert [len(set(each)) for each in seen] == [1, 1]
    assert seen[0][0] != seen[1][0]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_is_what_is_required(anyio_backend: str) -> None:
    """On asyncio nothing is raised."""
    require_asyncio("gRPC")


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_what_needs_asyncio_says_so_on_another_loop(anyio_backend: str) -> None:
    """The error names what was used, the loop it was used on and those it can be used on."""
    with pytest.raises(UnsupportedEventLoopError, match="gRPC") as refused:
        require_asyncio("gRPC")

    assert "asyncio" in f"{refused.value} {refused.value.hints}"


def test_what_needs_asyncio_says_so_without_a_loop() -> None:
    """In a program that runs no event loop at all."""
    with pytest.raises(UnsupportedEventLoopError):
        require_asyncio("gRPC")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "call", ["start", "run", "resume", "cancel", "signal", "set_variable", "result", "wait", "watch"]
)
async def test_a_call_from_another_event_loop_says_so_at_once(call: str) -> None:
    """A `def` endpoint that calls asyncio.run in its thread would wait for ever for what another loop tells."""

    @workflow()
    async def patient(ctx: Context) -> None:
        await ctx.wait_signal("go")

    async def elsewhere(kernel: Kernel) -> None:
        match call:
            case "start" | "run":
                await getattr(kernel, call)(patient)
            case "signal":
                await kernel.signal("r", "go")
            case "set_variable":
                await kernel.set_variable("r", "x", 1)
            case "watch":
                async for _ in kernel.watch("r"):
                    pass
            case _:
                await getattr(kernel, call)("r")

    async with Harness().kernel(patient) as kernel:
        await kernel.start(patient, run_id="r")
        with pytest.raises(WrongEventLoopError) as refused:
            await to_thread.run_sync(lambda: asyncio.run(elsewhere(kernel)))
        assert (await kernel.summary("r")).status in ("pending", "running", "waiting")

    assert refused.value.hints[0] == "await it in the event loop that opened it"
