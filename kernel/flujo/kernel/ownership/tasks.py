"""The tasks of one kernel: they outlive the callers that ask for them, and end with the kernel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from flujo.kernel.errors import KernelClosedError, WrongEventLoopError
from flujo.kernel.loops import context_of_callbacks, this_loop

Result = TypeVar("Result")


class KernelTasks:
    """Starts tasks in the task group of a kernel while that is open."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._loop: object | None = None
        self._group: TaskGroup | None = None
        self._surroundings = copy_context()  # the context variables that tasks of the kernel begin with

    def open(self, group: TaskGroup) -> None:
        """Start tasks in `group` from now on."""
        self._group, self._loop = group, this_loop()
        self._surroundings = context_of_callbacks()

    def close(self) -> None:
        """Start no task from now on."""
        self._group = self._loop = None

    def require_here(self) -> None:
        """Raise WrongEventLoopError when called in another event loop than the one the tasks run in: what is awaited
        there is never told of what happens here."""
        if self._loop is not None and this_loop() != self._loop:
            raise WrongEventLoopError(f"kernel {self._owner}")

    @property
    def are_open(self) -> bool:
        """True between `open` and `close`."""
        return self._group is not None

    def spawn(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a function in a task of the kernel, unless the kernel closes."""
        if self._group is not None:
            # Not in the context of the caller: a program would see the caller's variables in its first life only, and
            # the kernel's own tasks would pass for tasks of the program that they serve.
            self._surroundings.copy().run(self._group.start_soon, self._unless_closed, function)

    async def _unless_closed(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a function that may ask for more than a kernel has that closes meanwhile, or before it has begun."""
        try:
            await function()
        except KernelClosedError:
            if self.are_open:
                raise

    async def finish(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `work` returns, or raise what it raises, done in a task of the kernel: a caller that is cancelled
        half-way must leave no run claimed that is not driven. Raises KernelClosedError."""
        self.require_here()
        ended = anyio.Event()
        results: list[Result] = []
        failures: list[Exception] = []

        async def task() -> None:
            try:
                results.append(await work())
            except Exception as error:
                failures.append(error)
            finally:
                ended.set()

        if self._group is None:
            raise KernelClosedError
        self._group.start_soon(task)
        await ended.wait()
        if failures:
            raise failures[0]
        if not results:  # this kernel has closed meanwhile
            raise KernelClosedError
        return results[0]
