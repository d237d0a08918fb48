"""End cleanly on Ctrl-C, SIGTERM and SIGHUP, and at once on the second Ctrl-C.

    with Interruption() as interruption:
        with interruption.scope:
            ...                      # cancelled by the first signal
    if interruption.received: ...

The handlers are plain ones, not the event loop's, so that the second Ctrl-C works even when the loop is stuck.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any, Self

import anyio

EXIT_CODE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Enter it inside the event loop, in the main thread."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            # What was ignored on purpose, by nohup or a shell without job control, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            self._loop.call_soon_threadsafe(self.scope.cancel)
        elif number != signal.SIGHUP:  # a closing terminal may send that one twice
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # the cursor may be hidden
            os._exit(EXIT_CODE)
