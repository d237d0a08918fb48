"""A second Ctrl-C in a program that `asyncio.run` or `anyio.run` runs.

asyncio cancels the main task on the first SIGINT. On the second its handler raises KeyboardInterrupt, wherever the main
thread happens to be: perhaps in a callback of the event loop, which is then never completed, so that whoever waits for
it waits for ever. While a kernel is open, and until whoever closes it is told, that KeyboardInterrupt is raised between
two callbacks instead, and the program ends as asyncio ends it (tests/kernel/test_ctrl_c.py interrupts it everywhere). A
third SIGINT does not wait for the end of a callback. Handlers of other origin stay as they are: trio raises nothing in
the middle of its own work.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from .loops import is_asyncio


def raise_between_callbacks() -> PatientHandler | None:
    """Have a second SIGINT raise KeyboardInterrupt between two callbacks of the running event loop, until `end` of what
    this returns. None, and nothing is changed, if the handler of SIGINT is not that of asyncio."""
    if threading.current_thread() is not threading.main_thread():
        return None
    present = signal.getsignal(signal.SIGINT)
    if isinstance(present, PatientHandler):
        present.users += 1
        return present
    if not (isinstance(present, partial) and isinstance(getattr(present.func, "__self__", None), asyncio.Runner)):
        return None
    if not is_asyncio():  # but trio, inside of what asyncio runs
        return None
    handler = PatientHandler(asyncio.get_running_loop(), present)
    signal.signal(signal.SIGINT, handler)
    return handler


class PatientHandler:
    """Handles SIGINT as `handle` does, but that what it raises waits for the end of the present callback."""

    def __init__(self, loop: asyncio.AbstractEventLoop, handle: Callable[[int, FrameType | None], Any]) -> None:
        self.users = 1
        self._loop = loop
        self._handle = handle
        self._is_due = False
        self._has_raised = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._is_due:
            self._is_due = False
            raise KeyboardInterrupt
        try:
            self._handle(number, frame)
        except KeyboardInterrupt:
            if self._loop.is_closed():
                raise
            self._is_due = self._has_raised = True
            self._loop.call_soon_threadsafe(self._raise)

    def _raise(self) -> None:
        if self._is_due:
            self._is_due = False
            raise KeyboardInterrupt

    def end(self) -> None:
        """Give the signal back once nobody uses this handler any more."""
        self.users -= 1
        is_in_use: bool = signal.getsignal(signal.SIGINT) is self
        if self.users == 0 and is_in_use:
            # asyncio takes its handler away when it has raised, but not another one.
            signal.signal(signal.SIGINT, signal.default_int_handler if self._has_raised else self._handle)
