"""Opening something in one task and closing it in another.

What is opened lives in a task of its own, which belongs to the event loop. So any task of that loop may close it: the
next test's, the next cell's of a notebook, another method's of an application (tests/kernel/test_opening.py). A task
group that is entered by its user cannot do that, since its cancel scope belongs to the task that has entered it.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar

import anyio

from .errors import ForkedProcessError, KernelClosedError, WrongEventLoopError
from .interrupts import PatientHandler, raise_between_callbacks
from .loops import spawn_unowned, this_loop

logger = logging.getLogger("flujo.kernel")


class Lifetime:
    """Opens and closes what `live` makes. `what` names it in errors and logs.

    Whoever enters it (`enter`, `leave`) shares it with all others inside: the last one who leaves closes it. What was
    opened by `open` stays open until `close`. After that it may be opened again, in another event loop as well."""

    def __init__(self, what: str, live: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._what = what
        self._live = live
        self._host: _Host | None = None
        self._inside = 0
        self._failure: BaseException | None = None  # what has ended it, until somebody is told
        self._was_entered = False  # by the one who has opened it; otherwise only `close` closes it

    @property
    def has_begun(self) -> bool:
        """True from the moment somebody opens it until it is closed, also in a forked child."""
        return self._host is not None

    def require_here(self) -> None:
        """Raise WrongEventLoopError when called in another event loop than the one it was opened in, where what is
        awaited is never told of what happens here, and ForkedProcessError in a child of the process that opened it."""
        if self._host is not None:
            if self._host.process != os.getpid():
                raise ForkedProcessError(self._what)
            if self._host.loop != this_loop():
                raise WrongEventLoopError(self._what)

    async def open(self) -> None:
        """Open it, unless it is open. Raises WrongEventLoopError, and what opening raises."""
        if await self._open():
            self._was_entered = False

    async def enter(self) -> None:
        """Go inside; the first one opens it. Raises as `open`."""
        if await self._open():
            self._was_entered = True
        self._inside += 1

    async def leave(self, error: BaseException | None) -> None:
        """Go out, with what is raised by then; the last one closes it, if it was opened by entering."""
        self.require_here()
        self._inside = max(0, self._inside - 1)
        if self._inside == 0 and self._was_entered:
            await self._close(error)

    async def close(self) -> None:
        """Close it, whoever is inside, and return when it is closed; nothing to do if it is.

        A cancelled caller is told so after that. Called from inside of what is to close, which would wait for itself,
        this returns at once. Raises WrongEventLoopError, and what has ended it before it was closed."""
        self.require_here()
        await self._close(None)

    async def wait_closed(self) -> None:
        """Return when it is closed; raise what has ended it before somebody closed it. Raises WrongEventLoopError."""
        self.require_here()
        if (host := self._host) is not None:
            await host.ended.wait()
            if host.failure is not None:
                raise host.failure
        elif self._failure is not None:
            raise self._failure

    async def _open(self) -> bool:
        """Return when it is open; True if this call has opened it."""
        self.require_here()
        while self._host is not None and self._host.is_closing:
            await self._host.ended.wait()
            self.require_here()
        if is_first := self._host is None:
            self._inside, self._failure = 0, None
            self._host = _Host(self._what, self._live, self._ended)
        assert self._host is not None
        await self._host.opened()
        return is_first

    async def _close(self, error: BaseException | None) -> None:
        self._was_entered = False
        if self._host is not None:
            await self._host.close()
        failure, self._failure = self._failure, None
        if failure is not None and error is None:
            raise failure

    def _ended(self, host: _Host) -> None:
        self._host = None
        self._failure = host.failure if host.has_opened else None


_hosts: ContextVar[tuple[_Host, ...]] = ContextVar("flujo_hosts", default=())
"""Of which openings the running task is a part."""


def is_inside() -> bool:
    """True in a task of something that is open here, such as that of a program in its kernel."""
    return bool(_hosts.get())


class _Host:
    """The task in which one opening lives, from its making on."""

    def __init__(
        self,
        what: str,
        live: Callable[[], AbstractAsyncContextManager[None]],
        on_end: Callable[[_Host], None],
    ) -> None:
        self.loop = this_loop()
        self.process = os.getpid()
        self.ended = anyio.Event()
        self._what = what
        self._live = live
        self._on_end = on_end
        self.failure: BaseException | None = None
        self.has_opened = False
        self._has_settled = anyio.Event()  # it is open, or never will be
        self._may_go = anyio.Event()
        self._openers = self._closers = 0
        self._interrupts: PatientHandler | None = raise_between_callbacks()
        self._scope = anyio.CancelScope()
        self._task = spawn_unowned(self._hold, what)

    @property
    def is_closing(self) -> bool:
        """True from the moment somebody asks it to close."""
        return self._may_go.is_set()

    async def opened(self) -> None:
        """Return when it is open; raise what opening raises. If all who wait for that go away, it ends."""
        self._openers += 1
        try:
            await self._has_settled.wait()
        finally:
            self._openers -= 1
            if self._openers == 0 and not self._has_settled.is_set():
                self._may_go.set()
                self._scope.cancel()
                await self._end()
        if self.failure is not None or not self.has_opened:
            raise self.failure or KernelClosedError  # without a failure the event loop has ended it

    async def close(self) -> None:
        """Have it end, and return when it has, unless the caller is a part of it."""
        self._may_go.set()
        if self not in _hosts.get():
            await self._end()

    async def _end(self) -> None:
        """Return when it has ended, however often the caller is cancelled meanwhile."""
        cancelled: BaseException | None = None
        self._closers += 1
        with anyio.CancelScope(shield=True):
            while not self.ended.is_set():
                try:
                    await self.ended.wait()
                except anyio.get_cancelled_exc_class() as error:  # by asyncio's Task.cancel(), which knows no shield
                    cancelled = error
        self._closers -= 1
        self._give_signals_back()
        if cancelled is not None:
            raise cancelled

    def _give_signals_back(self) -> None:
        """Give SIGINT back once nobody waits any more for what an interrupt might keep from happening."""
        if self._closers == 0 and self._interrupts is not None:
            self._interrupts.end()
            self._interrupts = None

    async def _hold(self) -> None:
        _hosts.set((*_hosts.get(), self))
        try:
            with self._scope:
                async with self._live():
                    self.has_opened = True
                    self._has_settled.set()
                    await self._may_go.wait()
        except (Exception, BaseExceptionGroup) as error:
            self._fail(error)
        finally:
            self._on_end(self)
            self._has_settled.set()
            self.ended.set()
            self._give_signals_back()

    def _fail(self, error: BaseException) -> None:
        """Keep what has ended it for whoever opens or closes it. Nobody else is told of the end of what was open."""
        self.failure = error
        if self.has_opened and not self.is_closing:
            logger.critical("%s has ended", self._what, exc_info=error)
        if isinstance(error, BaseExceptionGroup) and error.subgroup(KeyboardInterrupt) is not None:
            # asyncio has let it end the event loop when it was raised; trio would keep it here.
            signal.raise_signal(signal.SIGINT)


async def until_first(*waits: Callable[[], Awaitable[None]]) -> None:
    """Return when the first of these returns, or raise what it raises; the others are cancelled."""
    failure: BaseException | None = None
    async with anyio.create_task_group() as group:

        async def wait_for(wait: Callable[[], Awaitable[None]]) -> None:
            nonlocal failure
            try:
                await wait()
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                failure = error  # kept out of the task group, which would hand it on inside an ExceptionGroup
            group.cancel_scope.cancel()

        for wait in waits:
            group.start_soon(wait_for, wait)
    if failure is not None:
        raise failure
