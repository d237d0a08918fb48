"""What the programs of episodes do with the event loop themselves, without asking the kernel.

    within     a script under a deadline of the program's own
    guarded    a script inside of a handler
    side_by_side   scripts in tasks of the program's own making
    beside     a script, and plain code that goes on meanwhile

A `Stay` is one call of a run's program, from its beginning to its end, or until the run leaves memory. It knows which
handlers the kernel has executed and what is left on the event loop. The checker (invariant_checker.py) looks at it when
the program is called again: a run that has only left memory must have executed and left behind nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import anyio
import sniffio

Work = Callable[[], Coroutine[Any, Any, Any]]

DEADLINES = ("asyncio.timeout", "asyncio.wait_for", "anyio.fail_after", "anyio.move_on_after")
HANDLERS = ("finally", "except", "with", "async with")
GROUPS = ("asyncio.TaskGroup", "anyio")
LOOSE = ("task", "timer")

GAVE_UP = "gave up"


class Cancellable(Protocol):
    """A task or a timer."""

    def cancel(self) -> object: ...


class Stay:
    """One call of a program, in one life of its kernel."""

    def __init__(self, run_id: str, loose: list[Cancellable]) -> None:
        self.run_id = run_id
        self._of_the_process = loose  # what ends with the process
        self.tidied: dict[tuple[int, ...], str] = {}  # handlers that were executed by a cancellation, by their place
        self.left: dict[int, str] = {}  # plain code that goes on, by number
        self._count = 0

    def number(self) -> int:
        """The next number."""
        self._count += 1
        return self._count

    def end_with_the_process(self, thing: Cancellable) -> None:
        """This ends when the process does."""
        self._of_the_process.append(thing)

    def leave(self, what: str) -> Callable[..., None]:
        """Something of the program's goes on from now on that the kernel was not told of. Returns what to call once it
        is over."""
        number = self.number()
        self.left[number] = what

        def over(*_: object) -> None:
            del self.left[number]

        return over


class Flow(NamedTuple):
    """A place in a program."""

    stay: Stay
    place: tuple[int, ...] = ()

    def deeper(self) -> Flow:
        """A place within this one."""
        return Flow(self.stay, (*self.place, self.stay.number()))

    def goes_on(self) -> None:
        """The program goes on behind this place, so what was cancelled within, it has cancelled itself."""
        tidied = self.stay.tidied
        for place in [place for place in tidied if place[: len(self.place)] == self.place]:
            del tidied[place]

    def left(self, handler: str, error: BaseException | None) -> None:
        """A handler at this place was executed."""
        if error is not None and not isinstance(error, Exception):
            self.stay.tidied[self.place] = f"{handler} ({type(error).__name__})"


# -- deadlines ----------------------------------------------------------------------------------------------------


async def within(how: str, seconds: float, work: Work) -> Any:
    """What `work` returns, or `GAVE_UP` if that takes longer."""
    try:
        match _here(how):
            case "asyncio.timeout":
                async with asyncio.timeout(seconds):
                    return await work()
            case "asyncio.wait_for":
                return await asyncio.wait_for(work(), seconds)
            case "anyio.fail_after":
                with anyio.fail_after(seconds):
                    return await work()
            case _:
                with anyio.move_on_after(seconds):
                    return await work()
    except TimeoutError:
        pass
    return GAVE_UP


def _here(how: str) -> str:
    """The tool, or on trio the one that stands for it."""
    return "anyio.fail_after" if how.startswith("asyncio.") and _on_trio() else how


def _on_trio() -> bool:
    return sniffio.current_async_library() == "trio"


# -- handlers -----------------------------------------------------------------------------------------------------


class _Handler:
    """A context manager that notes how it is left."""

    def __init__(self, flow: Flow, how: str) -> None:
        self._flow = flow
        self._how = how

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._flow.left(self._how, error)

    async def __aenter__(self) -> None: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._flow.left(self._how, error)


async def guarded(flow: Flow, how: str, work: Work) -> Any:
    """What `work` returns, called inside of a handler."""
    match how:
        case "with":
            with _Handler(flow, how):
                return await work()
        case "async with":
            async with _Handler(flow, how):
                return await work()
        case "except":
            try:
                return await work()
            except BaseException as error:
                flow.left(how, error)
                raise
        case _:
            try:
                return await work()
            finally:
                flow.left(how, sys.exc_info()[1])


# -- tasks --------------------------------------------------------------------------------------------------------


async def side_by_side(how: str, works: Sequence[Work]) -> list[Any]:
    """What all of these return, each in a task that the kernel did not start."""
    if how == "asyncio.TaskGroup" and not _on_trio():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for work in works]
        return [task.result() for task in tasks]
    results: list[Any] = [None] * len(works)

    async def run(index: int, work: Work) -> None:
        results[index] = await work()

    async with anyio.create_task_group() as tasks_of_anyio:
        for index, work in enumerate(works):
            tasks_of_anyio.start_soon(run, index, work)
    return results


async def beside(flow: Flow, how: str, seconds: float, work: Work, then: Work) -> list[Any]:
    """What `work` returns, and what `then` does, which is called in so many seconds by something that the program has
    left on the event loop and waits for only at the end."""
    if _on_trio():  # where every task has a parent
        return await _beside_on_trio(seconds, work, then)
    # Without any handler: it is what is left that has to keep the run in memory, until it is over.
    what = f"a {how} of {seconds} seconds"
    if how == "task":
        task = asyncio.create_task(_later(seconds, then))
        task.add_done_callback(flow.stay.leave(what))
        flow.stay.end_with_the_process(task)
        return [await work(), await task]
    rung = asyncio.Event()
    over = flow.stay.leave(what)

    def ring() -> None:
        over()
        rung.set()

    flow.stay.end_with_the_process(asyncio.get_running_loop().call_later(seconds, ring))
    output = await work()
    await rung.wait()
    return [output, await then()]


async def _beside_on_trio(seconds: float, work: Work, then: Work) -> list[Any]:
    later: list[Any] = []

    async def do_later() -> None:
        later.append(await _later(seconds, then))

    async with anyio.create_task_group() as group:
        group.start_soon(do_later)
        output = await work()
    return [output, *later]


async def _later(seconds: float, then: Work) -> Any:
    await asyncio.sleep(seconds) if not _on_trio() else await anyio.sleep(seconds)
    return await then()


async def end_with_the_process(loose: Sequence[Cancellable]) -> None:
    """End what programs have left on the event loop, as the death of their process does."""
    for each in loose:
        each.cancel()
    tasks: list[Awaitable[Any]] = [each for each in loose if isinstance(each, asyncio.Task)]
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
