"""The facade for code that blocks: it has every call of a kernel, and waits in any thread without being in its way."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.backends import open_backend
from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Kernel, RunHandle, blocking, step, workflow
from flujo.kernel.errors import (
    BlockingCallError,
    InvalidDurationError,
    KernelClosedError,
    RunNotFoundError,
    StoreError,
    WaitTimedOutError,
)
from kernel.flows import doubling, stuck, waiting


@pytest.fixture
def kernel() -> Iterator[blocking.Kernel]:
    """One that is open."""
    with blocking.Kernel(InMemoryBackend(), [doubling, waiting, stuck]) as kernel:
        yield kernel


def parameters(method: Callable[..., Any]) -> list[str]:
    """The parameters of a method, without `self` and without how long to wait."""
    return [str(each) for name, each in inspect.signature(method).parameters.items() if name not in ("self", "timeout")]


@pytest.mark.parametrize(("facade", "target"), [(blocking.Kernel, Kernel), (blocking.RunHandle, RunHandle)])
def test_the_facade_has_every_public_call(facade: type, target: type) -> None:
    """With the same parameters, and none of them is async."""
    calls = {name: call for name, call in inspect.getmembers(target, inspect.isfunction) if not name.startswith("_")}

    assert calls
    for name, call in calls.items():
        assert parameters(getattr(facade, name)) == parameters(call), name
        assert not inspect.iscoroutinefunction(getattr(facade, name)), name
    for name in ("id", "url", "workflows") if target is Kernel else ("run_id", "created", "workflow"):
        assert isinstance(getattr(facade, name), property)


def test_a_script_runs_a_workflow(kernel: blocking.Kernel) -> None:
    """Start it, follow it, and get what it returns."""
    run = kernel.start(doubling, {"number": 2}, run_id="r")

    assert (run.run_id, run.created, run.workflow) == ("r", True, doubling)
    assert run.result(timeout=60) == 4
    assert [event.type for event in run.watch()][-1] == "run_completed"
    assert run.inspect().status == run.wait("60s").status == "completed"
    assert kernel.run(doubling, {"number": 3}) == 6
    assert kernel.count() == len(kernel.list().runs) == 2
    assert kernel.result("r") == 4
    assert not kernel.start(doubling, {"number": 2}, run_id="r").created
    assert kernel.submit(doubling, {"number": 4}, run_id="left").run_id == "left"


def test_acting_on_a_run(kernel: blocking.Kernel) -> None:
    """What returns a handle returns one that blocks."""
    run = kernel.start(waiting, run_id="r")
    run.cancel("enough")
    assert kernel.wait("r").status == "cancelled"

    again = kernel.resume("r")
    again.signal("go", 1)
    assert again.result(timeout=60) == 1
    assert kernel.fork("r", new_run_id="s").result(timeout=60) == 1


def test_errors_come_out_as_themselves(kernel: blocking.Kernel) -> None:
    """Those of the kernel, not of threads."""
    with pytest.raises(RunNotFoundError):
        kernel.inspect("nobody")
    with pytest.raises(RunNotFoundError):
        next(kernel.watch("nobody"))


def test_a_wait_may_be_too_short(kernel: blocking.Kernel) -> None:
    """The run goes on, and may be waited for again."""
    run = kernel.start(waiting, run_id="r")

    for wait in (run.result, run.wait, lambda timeout: kernel.result("r", timeout), lambda t: kernel.wait("r", t)):
        with pytest.raises(WaitTimedOutError, match=r"'r' has not ended within 0\.01s"):
            wait(0.01)
    with pytest.raises(InvalidDurationError):
        run.result(timeout="soon")
    run.signal("go", 7)
    assert run.result(timeout=60) == 7


def test_a_watch_may_be_left_early(kernel: blocking.Kernel) -> None:
    """It is an ordinary iterator, and a context manager."""
    run = kernel.start(waiting, run_id="r")

    with run.watch() as events:
        assert next(events).type == "run_created"
    assert list(events) == []
    events.close()
    run.cancel()
    assert [event.type for event in run.watch(after_seq=2)][-1] == "run_cancelled"


def test_many_threads_call_at_once(kernel: blocking.Kernel) -> None:
    """Each gets its own answer."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: kernel.run(doubling, {"number": number}), range(64)))

    assert answers == [2 * number for number in range(64)]


def test_a_loop_may_run_in_the_calling_thread(kernel: blocking.Kernel) -> None:
    """As in a notebook; it stands still meanwhile."""

    async def cell() -> int:
        return kernel.run(doubling, {"number": 2})

    for backend in ("asyncio", "trio"):
        assert anyio.run(cell, backend=backend) == 4


def test_a_step_in_a_thread_may_call_its_kernel_and_one_in_the_loop_is_refused() -> None:
    """The loop would wait for itself."""

    @step
    def in_a_thread() -> int:
        return own.run(doubling, {"number": 2})

    @step
    async def in_the_loop() -> str:
        with pytest.raises(BlockingCallError):
            own.run(doubling, {"number": 2})
        with pytest.raises(BlockingCallError):
            own.close()
        return "refused"

    @workflow()
    async def calling(ctx: Context) -> list[Any]:
        return [await ctx.step(in_a_thread), await ctx.step(in_the_loop)]

    own = blocking.Kernel(InMemoryBackend(), [calling, doubling])
    with own:
        assert own.run(calling) == [4, "refused"]


def test_what_is_not_open_says_so() -> None:
    """Before it is opened, and after it was closed."""
    kernel = blocking.Kernel(InMemoryBackend(), [waiting])
    with pytest.raises(KernelClosedError):
        kernel.count()
    kernel.close()
    with kernel:
        watch = kernel.start(waiting).watch()
    for call in (kernel.count, lambda: next(watch)):
        with pytest.raises(KernelClosedError):
            call()


def test_opening_and_closing_are_counted_and_may_be_repeated() -> None:
    """As with an async kernel."""
    kernel = blocking.Kernel(InMemoryBackend(), [doubling])

    with kernel, kernel as same:
        assert same is kernel
    with pytest.raises(KernelClosedError):
        kernel.count()
    assert kernel.open() is kernel
    with kernel:
        assert kernel.open().count() == 0
    assert kernel.run(doubling, {"number": 2}) == 4
    kernel.close()
    kernel.close()
    with pytest.raises(KernelClosedError):
        kernel.count()


def test_any_thread_may_close_it_and_those_that_wait_are_told() -> None:
    """It returns when the kernel is closed: its store is free then."""
    store = MemoryStore()
    kernel = blocking.Kernel(InMemoryBackend(store), [waiting]).open()
    run = kernel.start(waiting, run_id="r")
    watch = run.watch()
    for event in watch:
        if event.type == "step_waiting":
            break
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(run.result), pool.submit(run.wait), pool.submit(next, watch)]
        while not all(each.running() for each in waits):
            time.sleep(0)
        pool.submit(kernel.close).result(timeout=60)
        assert store.alive == set()
        assert all(each.exception(timeout=60) is not None for each in waits)


def test_what_cannot_be_opened_says_why_and_leaves_no_thread(tmp_path: Path) -> None:
    """A file that is no store, for one."""
    (tmp_path / "state.db").write_text("this is no database, and long enough to be seen as none" * 20)
    kernel = blocking.Kernel(open_backend(f"sqlite:{tmp_path}/state.db"))
    for _ in range(2):
        with pytest.raises(StoreError):
            kernel.open()

    assert [each for each in threading.enumerate() if each.name.startswith("flujo")] == []


def test_threads_that_open_it_at_once_open_it_once() -> None:
    """And the last one that leaves closes it."""
    store = MemoryStore()
    kernel = blocking.Kernel(InMemoryBackend(store), [doubling])
    together = threading.Barrier(8)

    def live(number: int) -> int:
        together.wait()
        with kernel:
            found = kernel.run(doubling, {"number": number})
            assert len(store.alive) == 1
            return found

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(live, range(8))) == list(range(0, 16, 2))
    assert store.alive == set()
