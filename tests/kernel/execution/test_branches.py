"""Parts of a program side by side: all of their errors come back together, however hard they are to look at."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel.execution.branches import run_together
from flujo.kernel.loops import TOGETHER


async def test_the_first_error_has_the_others_cancelled_and_all_errors_are_raised() -> None:
    """A part that is cancelled may still raise while it tidies up; both errors are in the group."""
    seen: list[str] = []

    async def fails() -> None:
        await checkpoint()
        raise ValueError("first")

    async def tidies_up() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("tidied up")
            raise LookupError("second")

    with pytest.raises(ExceptionGroup) as caught:
        await run_together([fails, tidies_up])

    assert seen == ["tidied up"]
    assert [type(error) for error in caught.value.exceptions] == [ValueError, LookupError]


async def test_a_part_that_exits_the_interpreter_only_raises() -> None:
    """A SystemExit in a task of its own would end the event loop on asyncio."""

    async def leaves() -> None:
        raise SystemExit(3)

    with pytest.raises(BaseExceptionGroup) as caught:
        await run_together([leaves])

    assert [type(error) for error in caught.value.exceptions] == [SystemExit]


async def test_a_cancellation_from_outside_is_nobodys_error() -> None:
    """A deadline around all parts ends them and raises nothing."""
    with anyio.move_on_after(0) as scope:
        await run_together([anyio.sleep_forever, anyio.sleep_forever])

    assert scope.cancelled_caught


async def test_thousands_of_parts_begin_in_turns() -> None:
    """Whoever else uses the event loop has a turn after some hundred of them, and not after all."""
    begun = 0
    seen: list[int] = []

    async def part() -> None:
        nonlocal begun
        begun += 1
        await checkpoint()

    async def somebody_else() -> None:
        while begun < 10 * TOGETHER:
            seen.append(begun)
            await checkpoint()
        seen.append(begun)

    async with anyio.create_task_group() as group:
        group.start_soon(somebody_else)
        await run_together([part] * (10 * TOGETHER))

    assert max(after - before for before, after in pairwise(seen)) <= 2 * TOGETHER
