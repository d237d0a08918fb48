"""Kernels for code that blocks: scripts, notebooks, threads, plain `def` endpoints of web frameworks.

    from flujo.kernel import blocking

    with blocking.Kernel(open_backend("sqlite:state.db"), workflows=[report]) as kernel:
        run = kernel.start(report, {"day": "2026-11-22"})
        for event in run.watch():
            print(event.seq, event.type)
        print(run.result(timeout=60))

The kernel lives in an event loop in a thread of its own (asyncio, on which every backend runs). Any number of threads
may call it at once, also threads in which an event loop of their own runs, which stands still during a call. Every
method is that of `flujo.kernel.Kernel`, and waits for its answer; `flujo.client.blocking` has the same for a client.

Ctrl-C ends a wait at once, and nothing else: the run goes on. It also ends the wait for a close, and then cancels, as
asyncio does on a second Ctrl-C, whatever keeps the kernel from closing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial, wraps
from threading import Lock
from types import TracebackType
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, Self, TypeVar, Unpack, overload

from . import api
from .durations import Duration
from .errors import FlujoError, ForkedProcessError, KernelClosedError
from .execution.programs import Result_co, Workflow
from .journal.state import WorkflowState
from .kernel import Kernel as AsyncKernel
from .loop_threads import LoopThread
from .ownership.many_runs import NewRun
from .ownership.starting import Inputs, RunOptions, StartOptions
from .reading_ahead import Batch, ReadAhead
from .store.records import StoredDefinition

__all__ = ["BlockingRuns", "Kernel", "LoopThread", "RunHandle", "Stream", "made_as", "singly", "streaming", "waiting"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class _Facade(Protocol):
    """What the methods below are methods of: something async, and the thread in which its event loop runs."""

    _target: Any
    _thread: LoopThread


def waiting(method: Callable[Concatenate[Any, P], Awaitable[T]]) -> Callable[Concatenate[Any, P], T]:
    """Return a method that calls this one of the target, and waits for what it returns."""

    @wraps(method)
    def call(self: _Facade, /, *args: P.args, **kwargs: P.kwargs) -> T:
        bound: Callable[P, Awaitable[T]] = getattr(self._target, method.__name__)
        return self._thread.call(method.__name__, partial(bound, *args, **kwargs))

    return call


def _waiting_for_run(
    method: Callable[Concatenate[Any, P], Awaitable[api.RunHandle]],
) -> Callable[Concatenate[Any, P], RunHandle]:
    started = waiting(method)

    @wraps(method)
    def call(self: _Facade, /, *args: P.args, **kwargs: P.kwargs) -> RunHandle:
        return RunHandle(started(self, *args, **kwargs), self._thread)

    return call


def streaming(
    method: Callable[Concatenate[Any, P], AsyncGenerator[T, None]], batches: Callable[[Any], Callable[..., Any]]
) -> Callable[Concatenate[Any, P], Stream[T]]:
    """Return a method that hands out what this one of the target yields. `batches` gives what yields the same in
    batches: one at a time would wake two threads for each."""

    @wraps(method)
    def call(self: _Facade, /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]:
        return Stream(self._thread, partial(batches(self._target), *args, **kwargs))

    return call


def made_as(
    made: Callable[P, Any],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """Give a constructor the arguments of another class."""

    def declare(constructor: Callable[..., None]) -> Callable[Concatenate[Any, P], None]:
        return constructor

    return declare


class _Single(NamedTuple, Generic[T]):
    """What is handed out as it comes."""

    events: tuple[T]


def singly(watch: Callable[P, AsyncGenerator[T, None]]) -> Callable[P, AsyncGenerator[_Single[T], None]]:
    """Return a function that yields what this one does in batches of one."""

    async def call(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[_Single[T], None]:
        async with aclosing(watch(*args, **kwargs)) as pieces:
            async for each in pieces:
                yield _Single((each,))

    return call


class Stream(Iterator[T]):
    """The events of a run, one after the other, as they are committed. Close it, or use it in a `with`, when you leave
    early. After a Ctrl-C it goes on with the next event. Several threads that take from it share the events."""

    def __init__(self, thread: LoopThread, watch: Callable[[], AsyncGenerator[Batch[T], None]]) -> None:
        self._ahead: ReadAhead[T] | None = None
        self._thread = thread
        self._here: deque[T] = deque()  # what was taken, and not asked for yet
        self._taking = Lock()  # held by the one thread that waits for more
        self._ahead = thread.call("watch", partial(_reading_ahead, watch))

    def __next__(self) -> T:
        try:
            return self._here.popleft()
        except IndexError:
            return self._next()

    def _next(self) -> T:
        ahead = self._ahead
        assert ahead is not None
        self._thread.require_outside("watch")
        with self._taking:
            while True:
                has_ended = ahead.has_ended  # asked first: what came before the end is here then
                ahead.take(self._here)
                with suppress(IndexError):  # nothing was there, or another thread has it
                    return self._here.popleft()
                if has_ended:
                    ahead.raise_error()
                    raise StopIteration
                self._wait(ahead)

    def _wait(self, ahead: ReadAhead[T]) -> None:
        self._thread.require_running("watch")
        if not ahead.has_begun:
            self._thread.call("watch", ahead.start)
        ahead.wait()

    def close(self) -> None:
        """End it; nothing to do if it has ended."""
        if (ahead := self._ahead) is not None:
            ahead.leave()
            self._here.clear()
            with suppress(KernelClosedError, ForkedProcessError):  # it has ended with its event loop
                self._thread.call("close", ahead.stop)

    def __del__(self) -> None:
        if (ahead := getattr(self, "_ahead", None)) is not None:
            ahead.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _reading_ahead(watch: Callable[[], AsyncGenerator[Batch[T], None]]) -> ReadAhead[T]:
    return ReadAhead(watch())


class RunHandle(Generic[Result_co]):
    """A run that was started or resumed, as flujo.kernel.RunHandle."""

    def __init__(self, target: api.RunHandle[Result_co], thread: LoopThread) -> None:
        self._target = target
        self._thread = thread

    def __repr__(self) -> str:
        return repr(self._target)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._target.run_id

    @property
    def created(self) -> bool:
        """False if the run was there already."""
        return self._target.created

    @property
    def workflow(self) -> Workflow[Result_co] | None:
        """What was started, if that was a workflow and not its name."""
        return self._target.workflow

    def result(self, timeout: Duration | None = None) -> Result_co:
        """Return the output once the run completed, as flujo.kernel.RunHandle.result.

        Raises WaitTimedOutError when the run has not ended in time; it goes on."""
        return self._thread.ended(self.run_id, self._target.result, timeout)

    def wait(self, timeout: Duration | None = None) -> WorkflowState:
        """Return the run once it is final or paused; raises WaitTimedOutError when it is not in time."""
        return self._thread.ended(self.run_id, self._target.wait, timeout)

    watch = streaming(api.RunHandle.watch, lambda run: partial(run.runs.watch_batches, run.run_id))
    inspect = waiting(api.RunHandle.inspect)
    signal = waiting(api.RunHandle.signal)
    cancel = waiting(api.RunHandle.cancel)


class BlockingRuns:
    """The calls of flujo.kernel.Runs, each of which waits for its answer. `with` opens and closes what they are about,
    or `open` and `close`, which any thread may call; entering what is open shares it."""

    _target: Any
    _thread: LoopThread

    @property
    def url(self) -> str:
        """How messages name the place: a store's URL, or the address of a server."""
        url: str = self._target.url
        return url

    def __repr__(self) -> str:
        return f"<blocking {str(self._target).strip('<>')}>"

    def open(self) -> Self:
        """Open it until `close`, in a thread of its own. What is open stays as it is.

        Raises what opening the async one raises, and ForkedProcessError."""
        self._thread.open()
        return self

    def close(self) -> None:
        """Close it and return when it is closed; nothing to do if it is. Ctrl-C ends what keeps it from closing."""
        self._thread.close()

    def __enter__(self) -> Self:
        self._thread.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.leave()

    @overload
    def start(
        self, workflow: Workflow[R], inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle[R]: ...
    @overload
    def start(
        self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle: ...
    def start(
        self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle:
        """As Runs.start."""
        started = self._thread.call("start", partial(self._target.start, workflow, inputs, **options))
        return RunHandle(started, self._thread)

    @overload
    def run(self, workflow: Workflow[R], inputs: Inputs | None = None, **options: Unpack[RunOptions]) -> R: ...
    @overload
    def run(self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[RunOptions]) -> Any: ...
    def run(self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[RunOptions]) -> Any:
        """As Runs.run."""
        return self.start(workflow, inputs, **options).result()

    def wait(self, run_id: str, timeout: Duration | None = None) -> WorkflowState:
        """As Runs.wait; raises WaitTimedOutError when the run has not ended in time."""
        state: WorkflowState = self._thread.ended(run_id, partial(self._target.wait, run_id), timeout)
        return state

    def result(self, run_id: str, timeout: Duration | None = None) -> Any:
        """As Runs.result; raises WaitTimedOutError when the run has not ended in time."""
        return self._thread.ended(run_id, partial(self._target.result, run_id), timeout)

    resume = _waiting_for_run(api.Runs.resume)
    unpause = _waiting_for_run(api.Runs.unpause)
    fork = _waiting_for_run(api.Runs.fork)
    watch = streaming(api.Runs.watch, lambda runs: runs.watch_batches)
    watch_runs = streaming(api.Runs.watch_runs, lambda runs: runs.watch_runs_batches)
    inspect = waiting(api.Runs.inspect)
    summary = waiting(api.Runs.summary)
    explain = waiting(api.Runs.explain)
    read_log = waiting(api.Runs.read_log)
    is_interrupted = waiting(api.Runs.is_interrupted)
    list = waiting(api.Runs.list)
    count = waiting(api.Runs.count)
    stats = waiting(api.Runs.stats)
    events = waiting(api.Runs.events)
    signal = waiting(api.Runs.signal)
    cancel = waiting(api.Runs.cancel)
    pause = waiting(api.Runs.pause)
    skip = waiting(api.Runs.skip)
    set_output = waiting(api.Runs.set_output)
    set_variable = waiting(api.Runs.set_variable)

    def start_runs(self, starts: Sequence[NewRun]) -> Sequence[RunHandle | FlujoError]:
        """As Runs.start_runs."""
        outcomes = self._thread.call("start_runs", partial(self._target.start_runs, starts))
        return [RunHandle(each, self._thread) if isinstance(each, api.RunHandle) else each for each in outcomes]

    cancel_runs = waiting(api.Runs.cancel_runs)
    pause_runs = waiting(api.Runs.pause_runs)
    unpause_runs = waiting(api.Runs.unpause_runs)
    resume_runs = waiting(api.Runs.resume_runs)
    signal_runs = waiting(api.Runs.signal_runs)
    diff = waiting(api.Runs.diff)
    delete = waiting(api.Runs.delete)
    prune = waiting(api.Runs.prune)


class Kernel(BlockingRuns):
    """A flujo.kernel.Kernel in an event loop of its own. Made with the same arguments."""

    @made_as(AsyncKernel)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As flujo.kernel.Kernel."""
        self._target: AsyncKernel = AsyncKernel(*args, **kwargs)
        self._thread = LoopThread(self._target, f"kernel {self._target.id}")

    @property
    def id(self) -> str:
        """The id under which the kernel owns runs."""
        return self._target.id

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """The workflows that can be started by name."""
        return self._target.workflows

    def accept_definitions(self, load: Callable[[StoredDefinition], Workflow]) -> None:
        """As Kernel.accept_definitions; before it is opened."""
        self._target.accept_definitions(load)

    submit = _waiting_for_run(AsyncKernel.submit)
    wait_closed = waiting(AsyncKernel.wait_closed)
    amend = waiting(AsyncKernel.amend)
    recover = waiting(AsyncKernel.recover)
    suspend = waiting(AsyncKernel.suspend)
    drain = waiting(AsyncKernel.drain)
    put_workflow = waiting(AsyncKernel.put_workflow)
    delete_workflow = waiting(AsyncKernel.delete_workflow)
    stored_workflows = waiting(AsyncKernel.stored_workflows)
    find_workflow = waiting(AsyncKernel.find_workflow)
    look = waiting(AsyncKernel.look)
    watch_batches = streaming(AsyncKernel.watch_batches, lambda kernel: singly(kernel.watch_batches))
    watch_runs_batches = streaming(AsyncKernel.watch_runs_batches, lambda kernel: singly(kernel.watch_runs_batches))
