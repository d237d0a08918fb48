"""Async calls for code that blocks: each runs to its end on an event loop of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from flujo.kernel.errors import BlockingCallError

Result = TypeVar("Result")


def run_blocking(call: str, function: Callable[[], Awaitable[Result]]) -> Result:
    """Return what `function` returns or raises. `call` names what blocks, as a user would type it.

    Raises BlockingCallError where an event loop runs in this thread: it would stand still, and the run that is asked
    about may be one of its own."""
    if _is_in_event_loop():
        raise BlockingCallError(call)
    return anyio.run(function, backend="asyncio")  # the one loop that every backend runs on


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        trio = sys.modules.get("trio")  # nobody is in its loop who has not imported it
        return trio is not None and trio.lowlevel.in_trio_run()
    return True
