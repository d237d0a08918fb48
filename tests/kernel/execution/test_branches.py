"""Parts of a program side by side: all of their errors come back together, however hard they are to look at."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel.execution.branches import run_together


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
