"""An event loop in a thread: what ends a wait, what ends the loop, and what a forked child has of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel.errors import ForkedProcessError, KernelClosedError
from flujo.kernel.loop_threads import LoopThread


class Place:
    """Something to open; `stubborn` does not close before it is cancelled by force, `fails` is what closing raises."""

    def __init__(self, *, stubborn: bool = False, fails: Exception | None = None) -> None:
        self.log: list[str] = []
        self._stubborn = stubborn
        self._fails = fails
        self._tasks: list[object] = []

    async def open(self) -> None:
        self.log.append("opened")

    async def close(self) -> None:
        if self._stubborn:
            await self._until_forced()
        self.log.append("closed")
        if self._fails is not None:
            raise self._fails

    async def _until_forced(self) -> None:
        import asyncio

        sleeping = asyncio.create_task(anyio.sleep_forever())
        await interrupt_main("wait_for_end")
        await asyncio.wait([sleeping])
        self.log.append("forced")


async def interrupt_main(function: str) -> None:
    """Send SIGINT to the main thread once it is in this function."""
    main = threading.main_thread().ident
    assert main is not None
    while not _is_in(sys._current_frames()[main], function):
        await checkpoint()
    signal.pthread_kill(main, signal.SIGINT)


def _is_in(frame: FrameType | None, function: str) -> bool:
    """True if a frame that waits for a lock was called by this function."""
    callers: list[str] = []
    while frame is not None:
        callers.append(frame.f_code.co_name)
        frame = frame.f_back
    return function in callers and callers[0] in ("wait", "_wait")


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    """Python's own handler of SIGINT, whatever the event loop of another test has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_a_wait_and_cancels_what_is_waited_for() -> None:
    """At once; the loop goes on."""
    thread = LoopThread(Place(), "the place")
    cancelled = threading.Event()

    async def endless() -> None:
        try:
            await interrupt_main("_answer")
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async def three() -> int:
        return 3

    thread.open()
    with pytest.raises(KeyboardInterrupt):
        thread.call("endless", endless)
    assert cancelled.wait(60)
    assert thread.call("three", three) == 3
    thread.close()


def test_an_interrupt_ends_what_keeps_it_from_closing() -> None:
    """As asyncio does on a second Ctrl-C: every task is cancelled, and the close goes on to its end."""
    place = Place(stubborn=True)
    thread = LoopThread(place, "the place")
    thread.open()

    with pytest.raises(KeyboardInterrupt):
        thread.close()
    thread.close()

    assert place.log == ["opened", "forced", "closed"]


def test_what_closing_raises_comes_out_once() -> None:
    """The loop has ended all the same."""
    thread = LoopThread(Place(fails=OSError("no")), "the place")
    thread.open()

    with pytest.raises(OSError, match="no"):
        thread.close()
    thread.close()
    with pytest.raises(KernelClosedError):
        thread.call("anything", anyio.sleep_forever)


def _in_child(work: Callable[[], None]) -> int:
    """The exit code of a forked child that does this."""
    if (child := os.fork()) == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_told_that_the_loop_is_its_parents() -> None:
    """No call of it waits for a thread that is not there; closing it there closes nothing."""
    place = Place()
    thread = LoopThread(place, "the place")
    thread.open()

    def refused() -> None:
        for call in (thread.open, thread.enter, lambda: thread.call("sleep", anyio.sleep_forever)):
            with pytest.raises(ForkedProcessError, match="the place"):
                call()
        thread.leave()
        thread.close()

    with thread._lock:  # another thread may have it in that instant
        assert _in_child(refused) == 0
    thread.close()
    assert place.log == ["opened", "closed"]


SCRIPT = """
import sys
from flujo.backends import open_backend
from flujo.kernel import Context, blocking, workflow

@workflow()
async def waiting(ctx: Context) -> None:
    await ctx.wait_signal("go")

kernel = blocking.Kernel(open_backend(sys.argv[1]), [waiting]).open()
print(kernel.start(waiting, run_id="r").inspect().run_id)
"""


def test_what_nobody_closes_is_closed_at_the_end_of_the_program(tmp_path: os.PathLike[str]) -> None:
    """In good order, and the program ends."""
    url = f"sqlite:{tmp_path}/state.db"
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, url], capture_output=True, text=True, env=dict(os.environ), timeout=60
    )

    assert (found.returncode, found.stdout, found.stderr) == (0, "r\n", "")
    assert (
        os.listdir(os.path.join(tmp_path, "state.db.kernels")) == []
        if os.path.isdir(os.path.join(tmp_path, "state.db.kernels"))
        else True
    )
