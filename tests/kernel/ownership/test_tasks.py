"""The tasks of a kernel outlive the callers that ask for them, and end with the kernel."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel.errors import KernelClosedError
from flujo.kernel.ownership.tasks import KernelTasks
from kernel.harness import is_cancelled_after


async def test_work_is_finished_although_its_caller_is_cancelled() -> None:
    """A claim must not be left half-way."""
    tasks, done = KernelTasks("one"), anyio.Event()

    async def work() -> None:
        for _ in range(5):
            await checkpoint()
        done.set()

    async with anyio.create_task_group() as group:
        tasks.open(group)
        assert await is_cancelled_after(2, lambda: tasks.finish(work))
        with anyio.fail_after(30):
            await done.wait()


async def test_a_caller_gets_what_its_work_returns_or_raises() -> None:
    """The same value, the same error."""
    tasks = KernelTasks("one")

    async def fails() -> None:
        raise ValueError("no")

    async def works() -> int:
        return 1

    async with anyio.create_task_group() as group:
        tasks.open(group)
        assert await tasks.finish(works) == 1
        with pytest.raises(ValueError, match="no"):
            await tasks.finish(fails)


async def test_a_kernel_that_closes_begins_no_work() -> None:
    """A caller is told so; what was only to be spawned is left out."""
    tasks, begun = KernelTasks("one"), []

    async def work() -> None:
        begun.append(1)

    async with anyio.create_task_group() as group:
        tasks.open(group)
        tasks.close()
        tasks.spawn(work)
        with pytest.raises(KernelClosedError):
            await tasks.finish(work)
    assert begun == []


@pytest.mark.parametrize("closes", [True, False])
async def test_work_that_a_closing_kernel_overtakes_ends_with_it(closes: bool) -> None:
    """That the kernel is not open any more is no fault to tell, unless it is open."""
    tasks = KernelTasks("one")

    async def works() -> None:
        await checkpoint()
        raise KernelClosedError

    async def has_failed() -> bool:
        try:
            async with anyio.create_task_group() as group:
                tasks.open(group)
                tasks.spawn(works)
                if closes:
                    tasks.close()
        except ExceptionGroup as raised:
            return [type(error) for error in raised.exceptions] == [KernelClosedError]
        return False

    assert await has_failed() is not closes
