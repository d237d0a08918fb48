"""Reading a watch in an event loop, a little ahead of a thread that blocks (blocking.py).

The thread takes all that has come at once, and the loop reads on meanwhile: to wake both for every batch takes longer
than to read it. What is read ahead is bounded, in batches (`MOST_BATCHES`), and a single event, which may hold a large
value, is read ahead alone. Nobody sees that: errors come behind the events before them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from itertools import chain
from math import inf
from typing import Generic, Protocol, TypeVar

from .errors import KernelClosedError

T = TypeVar("T")
Item_co = TypeVar("Item_co", covariant=True)

MOST_BATCHES = 16
"""How many batches are read ahead of the thread."""

ENOUGH = MOST_BATCHES // 2
"""After so many the thread is woken, while one follows the other."""

LINGER_SECONDS = 0.005
"""Batches within so short a time follow each other. The thread hears of the others at once, and of these so much
later at most: an event that was stored long ago can wait for those behind it."""


class Batch(Protocol[Item_co]):
    """Some of what a watch yields."""

    @property
    def events(self) -> Sequence[Item_co]: ...


class ReadAhead(Generic[T]):
    """What a watch has yielded in the event loop, for one thread at a time to take. The task that reads knows nothing
    of whoever takes, so that a watch that was forgotten can end."""

    def __init__(self, watch: AsyncGenerator[Batch[T], None]) -> None:
        """In the event loop."""
        self.has_ended = False  # nothing more comes than what is here
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._was_left = False
        self._here: deque[Sequence[T]] = deque()
        self._error: Exception | None = None
        self._news = threading.Lock()  # free when there may be something new; a bare one, since it can be interrupted
        self._news.acquire()
        self._came_at = -inf
        self._lingering: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._waits_for_room = False

    # -- in the event loop ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to read, unless it has begun."""
        if self._task is None and not self.has_ended:
            self._task = self._loop.create_task(self._read())

    async def stop(self) -> None:
        """Return when the watch has ended. Whoever waits gets nothing more."""
        self.leave()
        if self._task is None:
            await self._watch.aclose()
            self._end()
        else:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _read(self) -> None:
        try:
            async with aclosing(self._watch) as batches:
                async for batch in batches:
                    if batch.events:
                        self._here.append(batch.events)
                        is_alone = len(batch.events) == 1
                        self._tell_soon(is_alone)
                        await self._has_room(1 if is_alone else MOST_BATCHES)
        except Exception as error:
            self._error = error
        except asyncio.CancelledError:  # the event loop ends
            self._error = None if self._was_left else KernelClosedError()
            raise
        finally:
            self._end()

    async def _has_room(self, most: int) -> None:
        """Return when fewer batches than that are here."""
        while len(self._here) >= most:
            self._room.clear()
            self._waits_for_room = True
            if len(self._here) >= most:  # still: otherwise they were taken before anyone knew that this waits
                await self._room.wait()

    def _end(self) -> None:
        self.has_ended = True
        self._tell()

    def _tell_soon(self, at_once: bool) -> None:
        now = self._loop.time()
        follows, self._came_at = now - self._came_at < LINGER_SECONDS, now
        if at_once or not follows or len(self._here) >= ENOUGH:
            self._tell()
        elif self._lingering is None:
            self._lingering = self._loop.call_later(LINGER_SECONDS, self._tell)

    def _tell(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        with suppress(RuntimeError):  # it is free
            self._news.release()

    # -- in the thread --------------------------------------------------------------------------------------------

    def take(self, into: deque[T]) -> None:
        """Move all that is here, without waiting; nothing once the watch was left. An interrupt finds each event on
        one side or the other: no line of Python runs between them."""
        if not self._was_left:
            with suppress(IndexError):  # there is no more
                into.extend(chain.from_iterable(iter(self._here.popleft, None)))
        if self._waits_for_room:
            self._waits_for_room = False
            self._in_loop(self._room.set)

    @property
    def has_begun(self) -> bool:
        """True once it was started."""
        return self._task is not None

    def wait(self) -> None:
        """Return when something may have come. What interrupts this loses nothing."""
        self._news.acquire()

    def raise_error(self) -> None:
        """Raise what has ended the watch, once, unless it was left."""
        error, self._error = self._error, None
        if error is not None and not self._was_left:
            raise error

    def leave(self) -> None:
        """Have nothing more here from now on."""
        self._was_left = True

    def abandon(self) -> None:
        """Have the watch end some time, without waiting for that."""
        if self._task is not None and not self.has_ended:
            self.leave()
            self._in_loop(self._task.cancel)

    def _in_loop(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function)
