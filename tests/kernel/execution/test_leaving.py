"""What may be dropped from memory: leaving executes nothing of the user's, and forgets nothing that would wake it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import copy_context
from types import FunctionType
from typing import Any

import anyio
import pytest

from flujo.kernel.execution.holdings import Holdings
from flujo.kernel.execution.leaving import LooseWork, is_guarded, running_program

Program = Callable[[], Awaitable[None]]


async def _asleep() -> None:
    await anyio.sleep_forever()


waits: Any = FunctionType(_asleep.__code__, {"anyio": anyio, "__name__": "flujo.kernel.execution.context"})
"""A call of `ctx` that waits: what is below it is not the program's."""


async def plain() -> None:
    await waits()


async def in_a_loop() -> None:
    while True:
        await waits()


async def after_a_try() -> None:
    try:
        pass
    finally:
        pass
    await waits()


async def while_it_handles_an_error() -> None:
    try:
        raise ValueError
    except ValueError:
        await waits()


async def in_a_comprehension() -> None:
    [await waits() for _ in range(2)]


async def plainly_generated() -> AsyncIterator[int]:
    yield 1
    yield 2


async def over_a_plain_generator() -> None:
    async for _ in plainly_generated():
        await waits()


async def in_a_try() -> None:
    try:
        await waits()
    except ValueError:
        pass


async def in_a_finally_to_be() -> None:
    try:
        await waits()
    finally:
        pass


async def in_a_with() -> None:
    with contextlib.suppress(ValueError):
        await waits()


async def in_an_async_with() -> None:
    async with contextlib.AsyncExitStack():
        await waits()


async def around_another() -> None:
    try:
        await plain()
    finally:
        pass


async def carefully_generated() -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        pass


async def over_a_careful_generator() -> None:
    async for _ in carefully_generated():
        await waits()


async def waiting_generator() -> AsyncIterator[int]:
    try:
        await waits()
        yield 1
    finally:
        pass


async def inside_of_a_generator() -> None:
    async for _ in waiting_generator():
        pass


def careful_generator() -> Iterator[int]:
    try:
        yield 1
    finally:
        pass


async def with_a_generator_in_hand() -> None:
    generator = careful_generator()
    next(generator)
    await waits()


FREE = [plain, in_a_loop, after_a_try, while_it_handles_an_error, in_a_comprehension, over_a_plain_generator]
GUARDED = [
    in_a_try,
    in_a_finally_to_be,
    in_a_with,
    in_an_async_with,
    around_another,
    over_a_careful_generator,
    inside_of_a_generator,
    with_a_generator_in_hand,
]


async def called(program: Program) -> None:
    """Stands for Context.run_program, the outermost coroutine that is looked into."""
    await program()


@pytest.mark.parametrize(
    ("program", "guarded"),
    [*((program, False) for program in FREE), *((program, True) for program in GUARDED)],
    ids=[program.__name__ for program in (*FREE, *GUARDED)],
)
async def test_a_program_is_guarded_where_unwinding_it_would_run_its_code(program: Program, guarded: bool) -> None:
    """A `try`, `with` or `async with` around the wait, or around a generator in hand, would be executed."""
    coroutine = called(program)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_hold, coroutine)
            await anyio.wait_all_tasks_blocked()
            assert Holdings().add("r", coroutine).stays is guarded
            group.cancel_scope.cancel()
    finally:
        coroutine.close()


async def _hold(coroutine: Any) -> None:
    await coroutine


def test_code_that_is_not_suspended_inside_of_a_handler_is_free() -> None:
    """The first instruction of a function is before any of its handlers."""
    assert not is_guarded(in_a_try.__code__, 0)


# -- what programs leave on the event loop, on asyncio --------------------------------------------------------------


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def as_the_program(uid: str, function: Callable[[], Any]) -> Any:
    """Call a function where the program of a run would."""
    context = copy_context()
    context.run(running_program.set, uid)
    return context.run(function)


def own_task() -> int:
    return id(asyncio.current_task())


async def test_a_task_of_the_loop_keeps_the_run_that_made_it() -> None:
    """asyncio.create_task makes a task without a parent; the program that made it is told by its context."""
    task = as_the_program("mine", lambda: asyncio.ensure_future(asyncio.sleep(3600)))
    await asyncio.sleep(0)

    loose = LooseWork()

    assert loose.of("mine", own_task(), frozenset())
    assert not loose.of("another", own_task(), frozenset())
    task.cancel()


async def test_a_timer_of_the_loop_keeps_the_run_that_made_it() -> None:
    """loop.call_later is what a deadline that anyio does not know of is made of; a cancelled one keeps nothing."""
    loop = asyncio.get_running_loop()
    timer = as_the_program("mine", lambda: loop.call_later(3600, print))

    assert LooseWork().of("mine", own_task(), frozenset())
    timer.cancel()
    assert not LooseWork().of("mine", own_task(), frozenset())


async def test_the_timer_of_what_the_program_waits_for_keeps_nothing() -> None:
    """A durable sleep stands on a timer as well, as asyncio.sleep makes it; it goes with the program."""
    sleeping = as_the_program("mine", lambda: asyncio.ensure_future(asyncio.sleep(3600)))
    await asyncio.sleep(0)

    held = Holdings().add("r", sleeping.get_coro())

    assert LooseWork().of("mine", id(sleeping), frozenset())
    assert not LooseWork().of("mine", id(sleeping), held.futures)
    sleeping.cancel()


async def test_on_a_loop_that_does_not_show_its_timers_every_run_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be shown to be harmless counts as harmful."""
    monkeypatch.setattr("flujo.kernel.execution.leaving._handles_of", lambda loop: None)

    assert LooseWork().of("mine", own_task(), frozenset())
