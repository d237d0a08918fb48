"""The moment in which a server begins to close, and what may not outlast it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from flujo.kernel.errors import ServerStoppingError

Result = TypeVar("Result")


class Closing:
    """Whether a server closes. Those who wait for long wait inside of `unless`, without a task of their own: there may
    be a thousand of them."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: set[anyio.CancelScope] = set()

    def is_set(self) -> bool:
        """True once the server closes."""
        return self._is_set

    def set(self) -> None:
        """Let the server close: whoever waits stops waiting."""
        self._is_set = True
        for scope in self._waiting:
            scope.cancel()

    async def unless(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Return what may take as long as a run; raises ServerStoppingError when the server closes meanwhile."""
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                if self._is_set:
                    raise ServerStoppingError
                return await work()
            finally:
                self._waiting.discard(scope)
        raise ServerStoppingError
