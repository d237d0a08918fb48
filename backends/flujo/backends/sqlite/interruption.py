"""Work that takes long: in a thread of its own, and given up when whoever asked for it is cancelled.

SQLite has no await to be cancelled at. So the work asks now and then, its statements are interrupted, and a cancelled
caller waits until that has ended it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import anyio

from .connection import kind_of

Result = TypeVar("Result")

AGAIN_SECONDS = 0.02
"""An interruption that falls between two statements meets none, so it is repeated until the work has ended."""

_INSTRUCTIONS = 1_000_000  # of SQLite's machine between two questions: some milliseconds


class Stopped(Exception):
    """What was asked for was given up, because whoever asked was cancelled or closed."""


class Cancellation:
    """A question that long work asks again and again: `stop()` is True once another thread has called `stop.tell()`,
    and the work then raises Stopped."""

    def __init__(self) -> None:
        self._is_told = False
        self._at_work: list[sqlite3.Connection] = []
        self._lock = threading.Lock()  # a connection is interrupted while it is open, or not at all

    def __call__(self) -> bool:
        return self._is_told

    def tell(self) -> None:
        """Say yes from now on, and interrupt what is under way."""
        self._is_told = True
        with self._lock:
            for connection in self._at_work:
                connection.interrupt()

    @contextmanager
    def interrupting(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Statements of this connection are interrupted when `tell` is called meanwhile."""
        with self._lock:
            self._at_work.append(connection)
        try:
            yield
        finally:
            with self._lock:
                self._at_work.remove(connection)


never = Cancellation()
"""For whoever waits for the end."""


@contextmanager
def stoppable(connection: sqlite3.Connection, stop: Cancellation) -> Iterator[None]:
    """Statements inside end with Stopped, once `stop` was told so.

    The handler is not enough: before SQLite 3.42 the checks of whole files never call it.
    """
    connection.set_progress_handler(stop, _INSTRUCTIONS)
    try:
        with stop.interrupting(connection):
            yield
    except sqlite3.OperationalError as error:
        if kind_of(error) == sqlite3.SQLITE_INTERRUPT:
            raise Stopped from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
    if stop():
        raise Stopped  # what was found may be half of it


async def stopped_when_cancelled(work: Callable[[Cancellation], Result]) -> Result:
    """Return what `work(stop)` returns or raises, in a thread of its own; a cancellation stops it and waits for it."""
    from anyio.lowlevel import checkpoint_if_cancelled

    from flujo.kernel.loops import in_thread

    stop, ended = Cancellation(), threading.Event()
    results: list[Result] = []
    failures: list[Exception] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_tell_when_cancelled, stop, ended)
        try:
            results.append(await in_thread(partial(_run, work, stop, ended)))
        except Exception as error:
            failures.append(error)
        finally:
            ended.set()  # who was cancelled before the thread began would wait for ever
        tasks.cancel_scope.cancel()
    await checkpoint_if_cancelled()
    if failures:
        raise failures[0]
    return results[0]


def _run(work: Callable[[Cancellation], Result], stop: Cancellation, ended: threading.Event) -> Result:
    try:
        return work(stop)
    finally:
        ended.set()


async def _tell_when_cancelled(stop: Cancellation, ended: threading.Event) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            stop.tell()
            while not ended.is_set():
                await anyio.sleep(AGAIN_SECONDS)
                stop.tell()
