"""A line to the server: one connection that is made anew as often as it breaks, and asks one thing at a time.

A question runs in a task of its own: neither side can take back what was sent, so a caller that is cancelled waits
until it is over, for a moment at most, and then leaves."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from flujo.kernel.errors import StoreError

from .connection import FULL, Again, Connection, Lost, Refusal
from .rows import Damaged
from .url import Address

logger = logging.getLogger("flujo.backends.postgres")

Result = TypeVar("Result")
Work = Callable[[Connection], Awaitable[Result]]
Problem = Callable[[Exception], StoreError]

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
LEAVE_SECONDS = 5.0
"""So long a cancelled caller waits for what is under way."""


class Line:
    """Asks the server. `usable` raises what keeps the handle from asking anything, as soon as that is known."""

    def __init__(self, address: Address, usable: Callable[[], None], problem: Problem, patience: float) -> None:
        """`patience` is for how many seconds the server may be away; `problem` tells what the handle raises then."""
        self._address = address
        self._usable = usable
        self._problem = problem
        self._patience = patience
        self._lock = anyio.Lock()
        self.connection: Connection | None = None
        self.reconnects = 0

    async def connect(self) -> Connection:
        """Connect now, without patience; raises Lost and Refusal."""
        self.connection = await Connection.connect(self._address)
        return self.connection

    async def ask(self, work: Work[Result], *, once: bool = False) -> Result:
        """Return what `work` returns, which is begun again after every failure that may pass: it has to be something
        that may be done twice. What may only be done `once` is not begun again after its answer was lost.

        Raises what `problem` makes of what the server says."""
        hurry = asyncio.Event()
        task = asyncio.ensure_future(self._insist(work, hurry, once))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            hurry.set()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task], timeout=LEAVE_SECONDS)
                if not task.done():
                    task.cancel()
                await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # nobody is told any more
            raise

    async def _insist(self, work: Work[Result], hurry: asyncio.Event, once: bool) -> Result:
        give_up_at = time.monotonic() + self._patience
        pause = FIRST_PAUSE_SECONDS
        async with self._lock:
            while True:
                self._usable()
                is_sent = False
                try:
                    connection = await self._connected()
                    is_sent = True
                    return await work(connection)
                except (Damaged, Refusal) as error:
                    await self._drop_closed()
                    raise self._problem(error) from None
                except (Lost, Again) as error:
                    if isinstance(error, Lost):
                        await self._drop()
                    is_unsure = once and is_sent and isinstance(error, Lost)
                    if is_unsure or hurry.is_set() or time.monotonic() >= give_up_at:
                        raise self._problem(error) from None
                    if pause == FIRST_PAUSE_SECONDS or (isinstance(error, Again) and error.code == FULL):
                        logger.warning("%s: %s; trying again", self._address.shown, error)
                pause = await _wait(pause, hurry)

    async def _connected(self) -> Connection:
        if self.connection is None or self.connection.is_closed:
            if self.connection is not None:
                self.reconnects += 1
            await self.connect()
        assert self.connection is not None
        return self.connection

    async def _drop_closed(self) -> None:
        if self.connection is not None and self.connection.is_closed:
            await self._drop()

    async def _drop(self) -> None:
        if self.connection is not None:
            self.connection.terminate()
            self.connection = None
            self.reconnects += 1

    async def close(self) -> None:
        """Give the connection back, after what is under way."""
        async with self._lock:
            if self.connection is not None:
                connection, self.connection = self.connection, None
                await connection.close()


async def _wait(pause: float, hurry: asyncio.Event) -> float:
    """Wait for some of a pause, so that a fleet does not come back in one moment; return the next one."""
    with anyio.move_on_after(pause * random.uniform(0.5, 1.0)):
        await hurry.wait()
    return min(2 * pause, LONGEST_PAUSE_SECONDS)
