"""Share what the commands need that work on a store itself: check, back up, export, copy.

They open the store directly, and a few of them ask a server to do so with its own. Ctrl-C and SIGTERM end them cleanly:
the file they were writing is whole, or does not exist.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from flujo.backends import open_backend
from flujo.kernel import StateBackend
from flujo.kernel.errors import StoreError, StoreExistsError

from .session import Session, run_async
from .target import ServerTarget, StoreTarget, discover_store

Result = TypeVar("Result")

Counted = Callable[[int, int], None]
"""Called with how much is done and how much there is in all."""


def own_store(session: Session) -> StoreTarget:
    """Return the store this command works on; raises click.UsageError if a server was named."""
    if session.server is None and session.store is not None:
        return discover_store(session.store)
    target = session.target
    if isinstance(target, ServerTarget):
        raise click.UsageError(
            f"this command works on a store itself and not through a server ({target.address}): run it beside the "
            "store, with --store URL"
        )
    return target


def store_or_server(session: Session) -> StoreTarget | ServerTarget:
    """Return the store this command works on, or the server that works on its own."""
    if session.server is None and session.store is not None:
        return discover_store(session.store)
    return session.target


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[StateBackend]:
    """Yield a store opened for writing, by an owner that owns no run; the store is created if there is none."""
    backend = open_backend(url)
    await backend.open(f"flujoctl-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield backend
    finally:
        await backend.close()


def run_interruptible(function: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run an async function; the first Ctrl-C, SIGTERM or SIGHUP cancels it and raises KeyboardInterrupt."""

    async def run() -> Result:
        from .interruption import Interruption

        with Interruption() as interruption, interruption.scope:
            return await function()
        raise KeyboardInterrupt

    return run_async(run)


@contextmanager
def counting(session: Session, what: str) -> Iterator[Counted]:
    """Show a progress bar if stderr is a terminal; `what` is said before the numbers."""
    if not session.draws_on(sys.stderr):
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .display import console_of

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console_of(session), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def write_whole(path: Path, text: str, *, force: bool) -> None:
    """Write a text to a file that is whole or does not exist, whatever happens meanwhile.

    Raises StoreExistsError if the file exists, unless `force` replaces it, and StoreError."""
    unfinished: str | None = None
    try:
        if not force and path.exists():
            raise StoreExistsError(str(path), _ROOM)
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        unfinished = None
    except OSError as error:
        raise StoreError(str(path), f"it cannot be written: {error.strerror}", ["name another file"]) from error
    finally:
        if unfinished is not None:
            with suppress(OSError):
                os.unlink(unfinished)


_ROOM = ("name a file that does not exist yet", "or replace this one: --force")
