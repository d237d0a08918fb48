"""Which task and which event loop a call runs on."""

from __future__ import annotations

import anyio
import pytest

from flujo.kernel.errors import UnsupportedEventLoopError
from flujo.kernel.loops import require_asyncio, this_task


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
