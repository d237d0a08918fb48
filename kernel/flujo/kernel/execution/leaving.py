"""Whether a program that waits could be dropped from memory without the user's code noticing.

A run leaves memory by having its program unwound where it waits, and comes back by replay. That is only right if
unwinding executes nothing of the user's, and if nothing is forgotten that would have woken the program:

    is_guarded        a frame is suspended inside of a `try`, `with` or `async with`, whose clean-up would be executed
    stands_guarded    the same for every frame of the user's on the stack of the running program
    LooseWork         tasks and timers that programs have left on the event loop

What such a program holds, and what would be executed if that were dropped, is looked at in holdings.py.

What cannot be shown to be harmless counts as harmful: such a run stays in memory.
tests/kernel/execution/test_leaving.py shows each of these on real programs.
"""

from __future__ import annotations

import asyncio
import dis
import sys
from collections.abc import Container, Iterator, Sequence
from contextvars import Context, ContextVar
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, NamedTuple

import anyio

from flujo.kernel.loops import context_of

running_program: ContextVar[str | None] = ContextVar("flujo_running_program", default=None)
"""The uid of the run whose program runs here. Tasks and timers that the program makes inherit it."""

# -- frames -----------------------------------------------------------------------------------------------------------


class _Range(NamedTuple):
    """One row of a code object's exception table, in bytes: instructions from `start` up to `end` go to `target`."""

    start: int
    end: int
    target: int


def _exception_table(code: CodeType) -> Iterator[_Range]:
    """Read `co_exceptiontable`, whose format is described in CPython's InternalDocs/exception_handling.md."""
    numbers = _numbers(code.co_exceptiontable)
    for start in numbers:
        length, target = next(numbers), next(numbers)
        next(numbers)  # the depth of the stack, and whether the last instruction is pushed
        yield _Range(2 * start, 2 * (start + length), 2 * target)


def _numbers(table: bytes) -> Iterator[int]:
    """Read numbers of six bits per byte, the highest first; the seventh bit says that more follow."""
    bytes_left = iter(table)
    for byte in bytes_left:
        number = byte & 63
        while byte & 64:
            byte = next(bytes_left)
            number = number << 6 | byte & 63
        yield number


@lru_cache(maxsize=4096)
def is_guarded(code: CodeType, offset: int) -> bool:
    """True if code that is suspended at this offset has a handler of its author's around it.

    A handler of a `try` or `with` begins by pushing the exception. Since Python 3.12 the interpreter adds rows of its
    own, around every `await` and around the whole body of a coroutine; what they do ends in the row around them."""
    rows = list(_exception_table(code))
    for _ in range(len(rows) + 1):
        row = next((row for row in rows if row.start <= offset < row.end), None)
        if row is None:
            return False
        if code.co_code[row.target] == dis.opmap["PUSH_EXC_INFO"]:
            return True
        offset = row.target
    return True


def stands_guarded(until: CodeType) -> bool:
    """True if a frame of the program that the caller was called by is guarded; the frame that runs the code `until` has
    called the program."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not until:
        frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    for frame in frames[1:]:  # the first one is Context.run_program
        if is_ours(frame):
            return False
        if is_foreign(frame) and is_guarded(frame.f_code, frame.f_lasti):
            return True
    return False


def is_ours(frame: FrameType) -> bool:
    """True for a call of `ctx`: what it calls in turn knows what being unwound means."""
    return frame.f_globals.get("__name__") == "flujo.kernel.execution.context"


def is_foreign(frame: FrameType) -> bool:
    """True unless the code is flujo's, such as the interpreter of YAML workflows."""
    return not str(frame.f_globals.get("__name__", "")).startswith("flujo.")


# -- what programs leave on the event loop ----------------------------------------------------------------------------


class LooseWork:
    """The tasks and timers on this event loop as they are in this instant, by the program that made them."""

    def __init__(self) -> None:
        self._parents = {task.parent_id for task in anyio.get_running_tasks()}
        self._tasks: dict[str, set[int]] = {}  # uid → ids of tasks
        self._timers: dict[str, list[asyncio.Handle]] = {}
        self._is_blind = False  # there may be timers that cannot be seen
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # on trio every task has a parent, and timers belong to cancel scopes
            return
        for task in asyncio.all_tasks(loop):
            if (uid := _program_of(context_of(task))) is not None:
                self._tasks.setdefault(uid, set()).add(id(task))
        handles = _handles_of(loop)
        self._is_blind = handles is None
        for handle in handles or ():
            if not handle.cancelled() and (uid := _program_of(getattr(handle, "_context", None))) is not None:
                self._timers.setdefault(uid, []).append(handle)

    def of(self, uid: str, task: int, futures: Container[int]) -> bool:
        """True if the program of a run has anything besides its own task and the timer of what that task waits for, or
        if that cannot be told."""
        if self._is_blind or self.has_tasks(uid, task):
            return True
        return any(not _sets_one_of(handle, futures) for handle in self._timers.get(uid, ()))

    def has_tasks(self, uid: str, task: int) -> bool:
        """True if the program of a run has tasks besides its own."""
        return task in self._parents or self._tasks.get(uid, {task}) != {task}


def program_of(task: asyncio.Task[Any]) -> str | None:
    """Return the uid of the run whose program has started a task, itself or through others."""
    return _program_of(context_of(task))


def _program_of(context: Context | None) -> str | None:
    return None if context is None else context.get(running_program)


def _handles_of(loop: asyncio.AbstractEventLoop) -> Sequence[asyncio.Handle] | None:
    """Return everything a loop is about to call; None for a loop of another make, which does not show it."""
    scheduled, ready = getattr(loop, "_scheduled", None), getattr(loop, "_ready", None)
    return None if scheduled is None or ready is None else [*scheduled, *ready]


def _sets_one_of(handle: asyncio.Handle, futures: Container[int]) -> bool:
    return any(id(argument) in futures for argument in handle._args or ())
