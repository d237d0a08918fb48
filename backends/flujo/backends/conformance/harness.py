"""What a behaviour is, and the harness it is checked with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, TracebackType
from typing import NamedTuple, Self

from flujo.kernel.backend import StateBackend

PATIENCE_SECONDS = 10.0
"""When something that must happen counts as not happening. A guard against hangs; no promise is this slow."""


class Harness:
    """Handles on one store that is empty at first. `make_handle` makes an unopened one; `aclose` closes them all.

    `kill_handle` ends a handle as a crash of its process would; where it is not given, closing has to do. `open_copy`
    makes an unopened handle on what `backup` has written to a path; a durable backend needs it.
    """

    def __init__(
        self,
        make_handle: Callable[[], StateBackend],
        kill_handle: Callable[[StateBackend], Awaitable[None]] | None = None,
        open_copy: Callable[[Path], StateBackend] | None = None,
    ) -> None:
        self._make_handle = make_handle
        self._kill_handle = kill_handle
        self._open_copy = open_copy
        self._opened: list[StateBackend] = []

    def handle(self) -> StateBackend:
        """Return an unopened handle."""
        return self._make_handle()

    async def open(self, owner: str | None) -> StateBackend:
        """Return a handle opened as `owner`."""
        handle = self.handle()
        await handle.open(owner)
        self._opened.append(handle)
        return handle

    async def open_copy(self, target: Path, owner: str | None) -> StateBackend:
        """Return a handle on a copy that `backup` has written, opened as `owner`."""
        assert self._open_copy is not None, "this backend is durable; tell Harness how its copies open: open_copy=..."
        handle = self._open_copy(target)
        await handle.open(owner)
        self._opened.append(handle)
        return handle

    async def kill(self, handle: StateBackend) -> None:
        """End a handle as if its process died at this instant."""
        if self._kill_handle is None:
            await handle.close()
        else:
            await self._kill_handle(handle)

    async def aclose(self) -> None:
        """Close every handle."""
        for handle in self._opened:
            await handle.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


Check = Callable[[Harness], Awaitable[None]]


class Behaviour(NamedTuple):
    """One promise: its name, the sentence it keeps, and the function that checks it."""

    name: str
    promise: str
    check: Check


_chapters: dict[str, list[Behaviour]] = {}  # by module


def behaviour(check: Check) -> Check:
    """Make a function a part of the suite."""
    found = Behaviour(getattr(check, "__name__", ""), " ".join((check.__doc__ or "").split()), check)
    _chapters.setdefault(check.__module__, []).append(found)
    return check


def suite(*chapters: ModuleType) -> tuple[Behaviour, ...]:
    """Return the behaviours of these modules, in their order."""
    return tuple(chain.from_iterable(_chapters[chapter.__name__] for chapter in chapters))


@contextmanager
def raising(kind: type[BaseException]) -> Iterator[None]:
    """Require an error of this class."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"nothing raised {kind.__name__}")


@contextmanager
def empty_folder() -> Iterator[Path]:
    """A folder outside the store, removed with all that is in it."""
    with TemporaryDirectory(prefix="flujo-conformance-") as folder:
        yield Path(folder)
