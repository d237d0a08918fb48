"""Opening and closing something from different tasks: who opens it, who closes it, and what each of them is told."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from flujo.kernel.errors import WrongEventLoopError
from flujo.kernel.lifetimes import Lifetime, until_first
from kernel.harness import settled

season: ContextVar[str] = ContextVar("season", default="none")


class Place:
    """Something that is opened and closed, and tells how often; `fails` is raised by opening it."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.log: list[str] = []
        self.fails = fails
        self.may_open = anyio.Event()
        self.may_open.set()
        self.may_close = anyio.Event()
        self.may_close.set()
        self.breaks = anyio.Event()
        self.inside: Callable[[], Awaitable[None]] | None = None
        self.lifetime = Lifetime("the place", self._live)

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        await self.may_open.wait()
        if self.fails is not None:
            raise self.fails
        async with anyio.create_task_group() as group:
            self.log.append(f"opened in {season.get()}")
            group.start_soon(self._break)
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await self.may_close.wait()
                self.log.append("closed")
                group.cancel_scope.cancel()

    async def _break(self) -> None:
        await self.breaks.wait()
        if self.inside is not None:
            await self.inside()
        raise OSError("it broke")


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Python's own handler of SIGINT, whatever handler the event loop of another test has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


async def in_another_task(call: Callable[[], Awaitable[Any]]) -> None:
    """Make a call in a task that ends with it; what it raises comes out as itself."""
    failures: list[Exception] = []

    async def make() -> None:
        try:
            await call()
        except Exception as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(make)
    if failures:
        raise failures[0]


async def test_what_one_task_opens_another_closes() -> None:
    """Neither task has to live on for it."""
    place = Place()

    await in_another_task(place.lifetime.open)
    assert place.log == ["opened in none"]
    await in_another_task(place.lifetime.close)

    assert place.log == ["opened in none", "closed"]


async def test_what_one_task_enters_another_leaves() -> None:
    """As the generator fixtures of pytest-asyncio do."""
    place = Place()

    await in_another_task(place.lifetime.enter)
    await in_another_task(lambda: place.lifetime.leave(None))

    assert place.log == ["opened in none", "closed"]


async def test_it_has_the_context_variables_of_whoever_opens_it() -> None:
    """They are copied; what is set later does not show."""
    place = Place()
    token = season.set("spring")
    await place.lifetime.open()
    season.reset(token)
    await place.lifetime.close()

    assert place.log[0] == "opened in spring"


async def test_opening_and_closing_twice_changes_nothing() -> None:
    """An application may have several places that open it, and several that close it."""
    place = Place()

    await place.lifetime.close()
    await place.lifetime.open()
    await place.lifetime.open()
    await place.lifetime.close()
    await place.lifetime.close()

    assert place.log == ["opened in none", "closed"]


async def test_the_last_one_who_leaves_closes_it() -> None:
    """Whoever has entered it first."""
    place = Place()

    await place.lifetime.enter()
    await place.lifetime.enter()
    await place.lifetime.leave(None)
    assert place.log == ["opened in none"]
    await place.lifetime.leave(None)

    assert place.log == ["opened in none", "closed"]


async def test_leaving_does_not_close_what_open_has_opened() -> None:
    """Only `close` does, and then leaving finds it closed."""
    place = Place()

    await place.lifetime.open()
    await place.lifetime.enter()
    await place.lifetime.leave(None)
    assert place.log == ["opened in none"]
    await place.lifetime.enter()
    await place.lifetime.close()
    await place.lifetime.leave(None)

    assert place.log == ["opened in none", "closed"]


async def test_opening_what_was_entered_does_not_keep_it_open() -> None:
    """It is open already, so nothing changes."""
    place = Place()

    await place.lifetime.enter()
    await place.lifetime.open()
    await place.lifetime.leave(None)

    assert place.log == ["opened in none", "closed"]


async def test_it_may_be_opened_again() -> None:
    """Also by one who asks while it closes, and waits for that."""
    place = Place()
    place.may_close = anyio.Event()
    await place.lifetime.open()

    async with anyio.create_task_group() as group:
        group.start_soon(place.lifetime.close)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(place.lifetime.open)
        await anyio.wait_all_tasks_blocked()
        assert place.log == ["opened in none"]
        place.may_close.set()
    assert place.log == ["opened in none", "closed", "opened in none"]
    await place.lifetime.close()


async def test_several_who_open_it_at_once_open_it_once() -> None:
    """All of them return when it is open."""
    place = Place()
    place.may_open = anyio.Event()

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(place.lifetime.enter)
        await anyio.wait_all_tasks_blocked()
        place.may_open.set()
    for _ in range(3):
        assert place.log == ["opened in none"]
        await place.lifetime.leave(None)

    assert place.log == ["opened in none", "closed"]


async def test_what_cannot_be_opened_says_why_and_may_be_tried_again() -> None:
    """The error comes out as itself."""
    place = Place(ValueError("no"))

    with pytest.raises(ValueError, match="no"):
        await place.lifetime.open()
    await place.lifetime.close()
    place.fails = None
    await place.lifetime.open()
    await place.lifetime.close()

    assert place.log == ["opened in none", "closed"]


async def test_an_opening_that_nobody_waits_for_any_more_is_given_up() -> None:
    """It goes on as long as one is left who wants it."""
    place = Place()
    place.may_open = anyio.Event()
    scopes = [anyio.CancelScope(), anyio.CancelScope()]

    async def opening(scope: anyio.CancelScope) -> None:
        with scope:
            await place.lifetime.open()

    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(opening, scope)
        await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        assert place.lifetime._host is not None
        scopes[1].cancel()

    assert scopes[0].cancelled_caught
    assert scopes[1].cancelled_caught
    assert place.lifetime._host is None
    assert place.log == []


async def test_a_cancelled_close_closes_and_then_says_so() -> None:
    """In a scope that is cancelled already as in one that is cancelled meanwhile."""
    place = Place()
    place.may_close = anyio.Event()
    await place.lifetime.open()

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(settled, lambda: place.lifetime._host is not None and place.lifetime._host.is_closing)
            scope.cancel()
            group.start_soon(_soon, place.may_close)
            await place.lifetime.close()
            await checkpoint()

    assert scope.cancelled_caught
    assert place.log == ["opened in none", "closed"]


async def _soon(event: anyio.Event) -> None:
    for _ in range(5):
        await checkpoint()
    event.set()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_close_outlives_cancellations_that_know_no_shield() -> None:
    """Task.cancel(), as often as it is called."""
    place = Place()
    place.may_close = anyio.Event()
    await place.lifetime.open()

    closing = asyncio.create_task(place.lifetime.close())
    for _ in range(3):
        await checkpoint()
        closing.cancel()
    await checkpoint()
    assert not closing.done()
    place.may_close.set()

    with pytest.raises(asyncio.CancelledError):
        await closing
    assert place.log == ["opened in none", "closed"]


async def test_what_breaks_while_it_is_open_is_told_to_whoever_closes_it(caplog: pytest.LogCaptureFixture) -> None:
    """Once; the log has it at once, since nobody may be about to close it. Whoever leaves with an error keeps that."""
    place = Place()
    with caplog.at_level(logging.CRITICAL, "flujo.kernel"):
        await place.lifetime.open()
        place.breaks.set()
        await settled(lambda: place.lifetime._host is None)
    assert [record.getMessage() for record in caplog.records] == ["the place has ended"]

    with pytest.raises(ExceptionGroup) as told:
        await place.lifetime.close()
    assert told.group_contains(OSError, match="it broke")
    await place.lifetime.close()


@pytest.mark.parametrize("breaks", [False, True])
async def test_whoever_waits_for_its_end_is_told_what_has_ended_it(breaks: bool) -> None:
    """Nothing, if somebody has closed it; whoever asks late is told as well."""
    place = Place()
    told: list[BaseException | None] = []

    async def wait() -> None:
        try:
            await place.lifetime.wait_closed()
            told.append(None)
        except ExceptionGroup as error:
            told.append(error.exceptions[0])

    await place.lifetime.open()
    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert told == []
        if breaks:
            place.breaks.set()
        else:
            await place.lifetime.close()
    await wait()

    assert [type(each) for each in told] == [OSError if breaks else type(None)] * 2


@pytest.mark.parametrize("error", [None, KeyError("mine")])
async def test_whoever_leaves_with_an_error_keeps_it(error: Exception | None) -> None:
    """It may well be the consequence of what has broken."""
    place = Place()
    await place.lifetime.enter()
    place.breaks.set()
    await settled(lambda: place.lifetime._host is None)

    if error is None:
        with pytest.raises(ExceptionGroup):
            await place.lifetime.leave(error)
    else:
        await place.lifetime.leave(error)


async def test_what_is_inside_asks_for_the_end_and_does_not_wait_for_it() -> None:
    """It would wait for itself."""
    place = Place()
    place.inside = place.lifetime.close
    await place.lifetime.open()

    place.breaks.set()
    await settled(lambda: place.lifetime._host is None)

    assert place.log == ["opened in none", "closed"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("call", ["open", "enter", "close", "leave"])
async def test_another_event_loop_is_refused(call: str) -> None:
    """Until it is closed; then any loop may open it."""
    place = Place()
    arguments = [None] if call == "leave" else []
    await place.lifetime.open()

    with pytest.raises(WrongEventLoopError, match="the place"):
        await to_thread.run_sync(lambda: asyncio.run(getattr(place.lifetime, call)(*arguments)))
    await place.lifetime.close()

    async def elsewhere() -> None:
        place.breaks = anyio.Event()
        await place.lifetime.open()
        await place.lifetime.close()

    await to_thread.run_sync(lambda: asyncio.run(elsewhere()))
    assert place.log == ["opened in none", "closed"] * 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_nobody_closes_is_closed_when_the_event_loop_ends(backend: str) -> None:
    """In good order: the end of the loop cancels it."""

    async def forgetful() -> Place:
        place = Place()
        await place.lifetime.open()
        return place

    assert anyio.run(forgetful, backend=backend).log == ["opened in none", "closed"]


def test_a_keyboard_interrupt_inside_ends_a_program_on_trio(own_signals: None) -> None:
    """There it would stay in the task it was raised in, and the main task would go on."""

    async def interrupted() -> None:
        place = Place()

        async def interrupt() -> None:
            raise KeyboardInterrupt

        place.inside = interrupt
        await place.lifetime.open()
        place.breaks.set()
        await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        anyio.run(interrupted, backend="trio")


async def test_the_first_of_several_waits_ends_the_others() -> None:
    """What it raises is raised as it is, and not in a group."""
    ended: list[str] = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("wait")

    async def fail() -> None:
        raise LookupError("first")

    await until_first(wait, anyio.lowlevel.checkpoint)
    with pytest.raises(LookupError, match="first"):
        await until_first(wait, fail)

    assert ended == ["wait", "wait"]
