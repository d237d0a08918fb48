"""A watch that is read a little ahead of the thread that follows it: nobody can tell, but by the time it takes."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import NamedTuple

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel.blocking import Stream
from flujo.kernel.errors import BlockingCallError, KernelClosedError
from flujo.kernel.loop_threads import LoopThread
from flujo.kernel.reading_ahead import MOST_BATCHES


class Place:
    """Something to open."""

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Some(NamedTuple):
    """A batch."""

    events: Sequence[int]


class Watch:
    """Yields batches, and then waits for ever or raises `fails`; knows how many were asked for and when it was left."""

    def __init__(self, *batches: Sequence[int], fails: Exception | None = None) -> None:
        self.asked = 0
        self.left = threading.Event()
        self._batches = batches
        self._fails = fails

    async def __call__(self) -> AsyncGenerator[Some, None]:
        try:
            for batch in self._batches:
                self.asked += 1
                yield Some(batch)
            if self._fails is not None:
                raise self._fails
            await anyio.sleep_forever()
        finally:
            self.left.set()


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    """An event loop that runs."""
    made = LoopThread(Place(), "the place")
    made.open()
    yield made
    made.close()


def settled(thread: LoopThread, watch: Watch) -> int:
    """How many batches were asked for, once the event loop has nothing more to do."""

    async def quiet() -> None:
        for _ in range(100):
            await checkpoint()

    thread.call("quiet", quiet)
    return watch.asked


def test_an_error_comes_behind_the_events_before_it(thread: LoopThread) -> None:
    """Once; then there is nothing more."""
    stream = Stream(thread, Watch([1, 2], [3], fails=OSError("gone")))

    assert [next(stream), next(stream), next(stream)] == [1, 2, 3]
    with pytest.raises(OSError, match="gone"):
        next(stream)
    assert list(stream) == []


def test_nothing_is_read_before_it_is_asked_for(thread: LoopThread) -> None:
    """A watch that is made and left has not begun."""
    watch = Watch([1, 2])

    stream = Stream(thread, watch)
    assert settled(thread, watch) == 0
    stream.close()
    assert list(stream) == []


def test_so_many_batches_are_read_ahead(thread: LoopThread) -> None:
    """However slow the thread is; then the loop reads on."""
    watch = Watch(*[[number, number] for number in range(3 * MOST_BATCHES)])
    with Stream(thread, watch) as stream:
        taken = [next(stream)]

        assert settled(thread, watch) <= 2 * MOST_BATCHES  # those in the hand of the thread, and those ahead
        taken += [next(stream) for _ in range(6 * MOST_BATCHES - 1)]

    assert taken == [number for number in range(3 * MOST_BATCHES) for _ in range(2)]


def test_an_event_by_itself_is_read_ahead_alone(thread: LoopThread) -> None:
    """It may hold a large value: one is in the hand of the thread, and one ahead."""
    watch = Watch([1], [2], [3], [4])
    with Stream(thread, watch) as stream:
        assert next(stream) == 1
        assert settled(thread, watch) == 2
        assert [next(stream), next(stream), next(stream)] == [2, 3, 4]


def test_one_thread_may_leave_what_another_one_waits_for(thread: LoopThread) -> None:
    """That one has come to the end, and the watch has ended when `close` returns."""
    watch = Watch([1, 2])
    stream = Stream(thread, watch)
    assert [next(stream), next(stream)] == [1, 2]

    with ThreadPoolExecutor(2) as pool:
        rest = [pool.submit(list, stream) for _ in range(2)]
        wait_until(lambda: any(_is_in(frame, "wait") for frame in sys._current_frames().values()))
        stream.close()

        assert watch.left.is_set()
        assert [each.result(timeout=60) for each in rest] == [[], []]


def test_what_was_read_ahead_is_gone_when_it_is_left(thread: LoopThread) -> None:
    """Also what the watch had come to the end with."""
    stream = Stream(thread, Watch([1, 2], [3, 4], fails=OSError("gone")))
    assert next(stream) == 1

    stream.close()

    assert list(stream) == []


def test_a_stream_that_is_forgotten_ends(thread: LoopThread) -> None:
    """As one does that a `for` was left of."""
    watch = Watch([1, 2], [3])
    for _ in Stream(thread, watch):
        break

    gc.collect()

    assert watch.left.wait(60)


def test_threads_share_the_events(thread: LoopThread) -> None:
    """Each comes to one of them, and in order to each."""
    watch = Watch(*[[number, number + 1] for number in range(0, 2000, 2)], fails=OSError("gone"))
    stream = Stream(thread, watch)

    def taken() -> list[int]:
        found: list[int] = []
        try:
            found.extend(stream)
        except OSError:
            return [*found, -1]
        return found

    with ThreadPoolExecutor(4) as pool:
        lists = [each.result(timeout=60) for each in [pool.submit(taken) for _ in range(4)]]

    together = sorted(number for found in lists for number in found)
    assert together == list(range(-1, 2000)) or together[1:] == list(range(2000))
    assert sum(-1 in found for found in lists) == 1


def test_an_interrupted_wait_loses_nothing(thread: LoopThread) -> None:
    """So a watch goes on after a Ctrl-C."""
    go = threading.Event()

    async def slow() -> AsyncGenerator[Some, None]:
        yield Some([1])
        main = threading.main_thread().ident
        assert main is not None
        while not _is_in(sys._current_frames()[main], "wait"):
            await checkpoint()
        signal.pthread_kill(main, signal.SIGINT)
        while not go.is_set():
            await checkpoint()
        yield Some([2, 3])

    with Stream(thread, slow) as stream:
        assert next(stream) == 1
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        go.set()
        assert list(stream) == [2, 3]


def test_what_was_read_is_there_after_its_loop_has_ended() -> None:
    """Unread batches keep no loop from ending; behind them it is told that it has ended."""
    thread = LoopThread(Place(), "the place")
    thread.open()
    watch = Watch(*[[number, number] for number in range(3 * MOST_BATCHES)])
    stream = Stream(thread, watch)
    assert next(stream) == 0
    settled(thread, watch)

    thread.close()

    assert watch.left.is_set()
    rest: list[int] = []
    with pytest.raises(KernelClosedError):
        rest.extend(stream)
    assert [0, *rest] == [number for number in range(watch.asked) for _ in range(2)]
    stream.close()


def test_the_loop_cannot_wait_for_itself(thread: LoopThread) -> None:
    """It is told so, and goes on."""
    stream = Stream(thread, Watch([1, 2]))

    async def ask() -> int:
        return next(stream)

    with pytest.raises(BlockingCallError):
        thread.call("ask", ask)
    assert next(stream) == 1
    stream.close()


def wait_until(holds: Callable[[], bool]) -> None:
    while not holds():
        pass


def _is_in(frame: FrameType | None, function: str) -> bool:
    """True if a frame is in this function of reading_ahead."""
    return (
        frame is not None and frame.f_code.co_name == function and frame.f_code.co_filename.endswith("reading_ahead.py")
    )
