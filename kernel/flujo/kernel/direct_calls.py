"""Async functions that are run to their end without an event loop, because they never have to wait for anything.

Starting a loop costs a command more than the answer to one question of a store on its own disk. A backend that can do
without says so (`Capabilities.listed_directly`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

__all__ = ["has_event_loop", "run_directly"]


def has_event_loop() -> bool:
    """True if the caller runs in one. A library that nobody has imported runs none, and is not imported to be asked."""
    if (asyncio := sys.modules.get("asyncio")) is not None and asyncio._get_running_loop() is not None:
        return True
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()


def run_directly(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what an async function returns, or raise what it raises; raises RuntimeError if it waits."""
    work = function()
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError(f"{function!r} waits for something, which takes an event loop")
