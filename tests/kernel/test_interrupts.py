"""When a second SIGINT raises KeyboardInterrupt: never in the middle of a callback, unless it has to."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator

import anyio
import pytest

from flujo.kernel.interrupts import PatientHandler, raise_between_callbacks


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    """Python's own handler of SIGINT, whatever the event loop of another test has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def began() -> PatientHandler:
    handler = raise_between_callbacks()
    assert handler is not None
    return handler


def test_the_second_interrupt_waits_for_the_end_of_the_callback() -> None:
    """The first one has cancelled the main task, as asyncio does."""
    seen: list[str] = []

    async def main() -> None:
        handler = began()
        try:
            signal.raise_signal(signal.SIGINT)
            seen.append("first")
            signal.raise_signal(signal.SIGINT)
            seen.append("second")
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            handler.end()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())

    assert seen == ["first", "second", "cancelled"]


def test_the_third_interrupt_waits_for_nothing() -> None:
    """A loop that is stuck in a callback never gets to the next one."""
    seen: list[int] = []

    async def main() -> None:
        handler = began()
        try:
            for number in range(1, 4):
                signal.raise_signal(signal.SIGINT)
                seen.append(number)
        finally:
            handler.end()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())

    assert seen == [1, 2]


def test_the_handler_is_given_back_by_the_last_one_who_uses_it() -> None:
    """asyncio finds its own handler then, and takes it away as ever."""

    async def main() -> None:
        before = signal.getsignal(signal.SIGINT)
        first, second = began(), began()
        assert first is second
        first.end()
        assert signal.getsignal(signal.SIGINT) is first
        second.end()
        assert signal.getsignal(signal.SIGINT) is before

    asyncio.run(main())


def test_handlers_of_others_stay() -> None:
    """A program's own, trio's, and those of a thread that has none."""

    async def main() -> None:
        assert raise_between_callbacks() is None

    signal.signal(signal.SIGINT, lambda number, frame: None)
    asyncio.run(main())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    anyio.run(main, backend="trio")
    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    thread.join()


def test_an_interrupt_after_the_end_of_the_loop_is_raised_at_once() -> None:
    """There is no other callback to wait for."""
    handlers: list[PatientHandler] = []

    async def main() -> None:
        handlers.append(began())

    asyncio.run(main())
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    handlers[0].end()
    signal.signal(signal.SIGINT, signal.default_int_handler)
