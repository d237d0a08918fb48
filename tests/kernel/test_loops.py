"""Which task and which event loop a call runs on."""

from __future__ import annotations

import asyncio
import inspect

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.errors import UnsupportedEventLoopError, WrongEventLoopError
from flujo.kernel.loops import require_asyncio, this_task, to_its_end
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


CALLS = [
    name
    for name, call in inspect.getmembers(Kernel, inspect.isfunction)
    if not name.startswith("_") and name != "accept_definitions"  # which waits for nothing
]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_from_another_event_loop_says_so_at_once(call: str) -> None:
    """A `def` endpoint that calls asyncio.run in its thread would wait for ever for what another loop tells."""

    @workflow()
    async def patient(ctx: Context) -> None:
        await ctx.wait_signal("go")

    needed = [
        name
        for name, each in inspect.signature(getattr(Kernel, call)).parameters.items()
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD and name != "self"
    ]

    async def elsewhere(kernel: Kernel) -> None:
        answer = getattr(kernel, call)(**{name: patient if name == "workflow" else "r" for name in needed})
        await (anext(answer) if inspect.isasyncgen(answer) else answer)

    async with Harness().kernel(patient) as kernel:
        await kernel.start(patient, run_id="r")
        with pytest.raises(WrongEventLoopError) as refused:
            await to_thread.run_sync(lambda: asyncio.run(elsewhere(kernel)))
        assert (await kernel.summary("r")).status in ("pending", "running", "waiting")

    assert refused.value.hints[0] == "await it in the event loop that opened it"
    assert "flujo.kernel.blocking" in refused.value.hints[1]


async def test_what_runs_to_its_end_is_not_cancelled() -> None:
    """Neither by the scope of its caller nor by what it waits for in it."""
    done: list[str] = []

    async def work() -> int:
        await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        done.append("work")
        return 3

    with anyio.CancelScope() as scope:
        scope.cancel()
        done.append(str(await to_its_end(work)))
        await anyio.lowlevel.checkpoint()

    assert done == ["work", "3"]
    assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_that_knows_no_shield_is_told_at_the_end(fails: bool) -> None:
    """Task.cancel(), as often as it is called and whatever is waited for; an error of the work goes before it."""
    done: list[str] = []
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        await asyncio.sleep(0)
        done.append(await to_thread.run_sync(lambda: "from a thread"))
        if fails:
            raise OSError("no")

    task = asyncio.create_task(to_its_end(work))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    gate.set()
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(OSError if fails else asyncio.CancelledError):
        await task
    assert done == ["from a thread"]
