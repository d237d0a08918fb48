"""Tasks that go on although the run that has started them has ended: the kernel names them, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flujo.kernel import Context, Kernel, RunStatus, step, workflow
from flujo.kernel.ownership import left_tasks
from flujo.kernel.ownership.left_tasks import LeftTasks
from kernel.harness import Harness

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])  # in trio every task is waited for

Starting = Callable[[Context], Awaitable[Any]]

others: set[asyncio.Task[Any]] = set()
"""What keeps tasks from the garbage collector; each test cancels its own."""


def start(work: Awaitable[Any]) -> asyncio.Task[Any]:
    """A task of asyncio that nobody waits for."""
    task = asyncio.ensure_future(work)
    others.add(task)
    return task


async def end_all() -> None:
    """Cancel the tasks of a test."""
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    others.clear()


async def beat() -> None:
    """Go on for ever."""
    await asyncio.Event().wait()


async def _in_the_program(ctx: Context) -> None:
    start(beat())


async def _in_a_step(ctx: Context) -> None:
    @step
    async def body() -> None:
        start(beat())

    await ctx.step(body)


async def _in_a_task_of_a_task(ctx: Context) -> None:
    async def first() -> None:
        start(beat())

    await start(first())


async def _and_fail(ctx: Context) -> None:
    start(beat())
    raise ValueError


async def warned(
    starting: Starting, caplog: pytest.LogCaptureFixture, look: Callable[[Kernel], Awaitable[Any]] | None = None
) -> str:
    """Run a program to its end and return what was warned of."""

    @workflow(name="leaving")
    async def leaving(ctx: Context) -> None:
        await starting(ctx)

    async with Harness().kernel(leaving) as kernel:
        await (await kernel.start(leaving, run_id="r")).wait()
        if look is not None:
            await look(kernel)
    await end_all()
    return caplog.text


WAYS = {"its program": _in_the_program, "a step": _in_a_step, "its task": _in_a_task_of_a_task, "a failure": _and_fail}


@pytest.mark.parametrize("starting", WAYS.values(), ids=WAYS)
async def test_a_task_that_goes_on_is_named_with_its_place(
    starting: Starting, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has started it, and however the run has ended; once."""
    said = await warned(starting, caplog)

    assert said.count("run r has ended, and goes on outside of its record: beat (") == 1
    assert "test_left_tasks.py:" in said


async def test_explain_names_it_for_as_long_as_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """What has ended meanwhile is nothing to worry about."""
    told = []

    async def look(kernel: Kernel) -> None:
        told.append((await kernel.explain("r")).reasons[0].text)
        await end_all()
        told.append((await kernel.explain("r")).reasons[0].text)

    await warned(_in_the_program, caplog, look)

    assert told[0].startswith("it has completed; tasks that it has started go on outside of its record: beat (")
    assert told[1] == "it has completed"


async def test_what_is_waited_for_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    """Tasks that have ended, that are being cancelled, that stand in a group of the application's, and the kernel's."""
    async with anyio.create_task_group() as group:

        async def structured(ctx: Context) -> None:
            group.start_soon(beat)
            start(beat()).cancel()
            await start(asyncio.sleep(0))
            async with asyncio.TaskGroup() as own:
                own.create_task(asyncio.sleep(0))
            with anyio.move_on_after(0):
                await ctx.wait_signal("never")

        said = await warned(structured, caplog)
        group.cancel_scope.cancel()

    assert "outside of its record" not in said


async def test_a_task_of_a_run_that_goes_on_is_none_of_this(caplog: pytest.LogCaptureFixture) -> None:
    """Another run has ended beside it."""

    @workflow()
    async def busy(ctx: Context) -> None:
        start(beat())
        await ctx.wait_signal("go")

    @workflow()
    async def quick(ctx: Context) -> None:
        pass

    async with Harness().kernel(busy, quick) as kernel:
        await kernel.start(busy, run_id="b")
        await kernel.run(quick)
        assert (await kernel.inspect("b")).status is not RunStatus.COMPLETED

    assert "outside of its record" not in caplog.text
    await end_all()


async def test_there_is_one_look_for_many_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes all tasks there are, which would cost a busy kernel more than its runs."""
    looks = []
    left = LeftTasks()
    look = left.look

    def counted() -> None:
        looks.append(1)
        look()

    monkeypatch.setattr(left, "look", counted)

    for number in range(100):
        left.ended(f"r{number}", f"u{number}")

    assert 1 <= len(looks) < 10


async def test_a_look_that_takes_long_is_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes every task there is, and a server has one for each watcher."""
    now, looks = [0.0], []

    def look(ended: object) -> dict[str, list[str]]:
        looks.append(now[0])
        now[0] += 0.01
        return {}

    monkeypatch.setattr(left_tasks, "_left_by", look)
    monkeypatch.setattr(anyio, "current_time", lambda: now[0])
    left = LeftTasks()
    for number in range(100):
        left.ended(f"r-{number}", str(number))
        now[0] += 0.1

    assert len(looks) <= 11
