"""Work that takes long: in a thread of its own, and given up when whoever asked for it is cancelled.

SQLite has no await to be cancelled at, so the work asks now and then, and a cancelled caller waits until it has
noticed.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from anyio import create_task_group, sleep_forever, to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from .connection import kind_of

Result = TypeVar("Result")

Stop = Callable[[], bool]
"""Whether to stop; whoever is told so raises Stopped."""

_INSTRUCTIONS = 1_000_000  # of SQLite's machine between two questions: some milliseconds


class Stopped(Exception):
    """What was asked for was given up, because whoever asked was cancelled or closed."""


def never() -> bool:
    """For whoever waits for the end."""
    return False


@contextmanager
def stoppable(connection: sqlite3.Connection, stop: Stop) -> Iterator[None]:
    """Statements inside end with Stopped, once `stop` says so."""
    connection.set_progress_handler(stop, _INSTRUCTIONS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if kind_of(error) == sqlite3.SQLITE_INTERRUPT:
            raise Stopped from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


async def in_thread(work: Callable[[Stop], Result]) -> Result:
    """What `work(stop)` returns or raises, in a thread of its own; a cancellation stops it and waits for it."""
    stopped = threading.Event()
    results: list[Result] = []
    failures: list[Exception] = []
    async with create_task_group() as tasks:
        tasks.start_soon(_set_when_cancelled, stopped)
        try:
            results.append(await to_thread.run_sync(partial(work, stopped.is_set)))
        except Exception as error:
            failures.append(error)
        tasks.cancel_scope.cancel()
    await checkpoint_if_cancelled()
    if failures:
        raise failures[0]
    return results[0]


async def _set_when_cancelled(stopped: threading.Event) -> None:
    try:
        await sleep_forever()
    finally:
        stopped.set()
