"""What programs hold that must not be dropped with them: however many steps away, and alone or with others."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import logging
import socket
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from types import FunctionType
from typing import Any

import anyio
import pydantic
import pytest

from flujo.kernel.execution.holdings import MOST_OBJECTS, Holdings, has_finalizer
from kernel.execution.test_leaving import called, careful_generator, carefully_generated

Program = Callable[[], Awaitable[None]]

gates: list[anyio.Event] = []


async def _behind_the_gate() -> None:
    await gates[-1].wait()


waits: Any = FunctionType(_behind_the_gate.__code__, {"gates": gates, "__name__": "flujo.kernel.execution.context"})
"""A call of `ctx` that waits until a test opens the gate."""


class Resource:
    """Does something when it is dropped."""

    def __del__(self) -> None:
        pass

    def use(self) -> None:
        pass


class Node:
    """Refers to something else, and does nothing by itself."""

    def __init__(self, held: object = None) -> None:
        self.held = held

    def itself(self) -> Node:
        return self


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held


def take(*values: object) -> None:
    pass


# -- kept -------------------------------------------------------------------------------------------------------------


async def in_a_list() -> None:
    held = [Resource()]
    await waits()
    del held


async def in_a_dict() -> None:
    held = {"a": (1, Resource())}
    await waits()
    del held


async def in_an_attribute() -> None:
    held = Node(Node(Slotted(Resource())))
    await waits()
    del held


async def by_a_bound_method() -> None:
    held = Resource().use
    await waits()
    del held


async def by_a_partial() -> None:
    held = functools.partial(print, Resource())
    await waits()
    del held


async def by_a_closure() -> None:
    resource = Resource()

    def held() -> object:
        return resource

    await waits()
    held()


async def by_a_default_of_a_function() -> None:
    def held(resource: object = Resource()) -> object:
        return resource

    await waits()
    held()


async def in_a_circle() -> None:
    held = Node()
    held.held = Node([held, Resource()])
    await waits()
    del held


async def by_a_function_that_calls_itself() -> None:
    resource = Resource()

    def held(again: bool) -> object:
        return held(False) if again else resource

    await waits()
    held(True)


async def by_a_class_of_its_own() -> None:
    class Holder:
        held = Resource()

    await waits()
    del Holder


async def by_an_error_that_was_caught() -> None:
    def fails() -> None:
        resource = Resource()
        raise ValueError(resource.use)

    held = None
    try:
        fails()
    except ValueError as error:
        held = error.with_traceback(error.__traceback__)
        held.args = ()
    await waits()
    del held


async def a_generator_in_a_list() -> None:
    generator = careful_generator()
    next(generator)
    held = [generator]
    del generator
    await waits()
    held.clear()


async def an_async_generator_in_an_attribute() -> None:
    generator = carefully_generated()
    await anext(generator)
    held = Node(generator)
    del generator
    await waits()
    await held.held.aclose()  # type: ignore[attr-defined]


async def an_iterator() -> None:
    held = iter([Resource(), Resource()])
    next(held)
    await waits()
    del held


async def what_a_generator_holds() -> None:
    def generate() -> Iterator[object]:
        resource = [Resource()]
        yield None
        yield resource

    held = generate()
    next(held)
    await waits()
    del held


async def an_object_that_awaits() -> None:
    class Awaits:
        def __init__(self) -> None:
            self.resource = Resource()

        def __await__(self) -> Generator[Any, None, None]:
            yield from waits().__await__()

    await Awaits()


async def a_value_on_the_stack() -> None:
    take(Resource(), await waits())


async def while_an_error_is_handled() -> None:
    try:
        raise ValueError([Resource()])
    except ValueError:
        await waits()


async def of_a_thread() -> None:
    held = threading.local()
    held.resource = Resource()
    await waits()
    del held


async def in_a_stream() -> None:
    held = anyio.create_memory_object_stream[object](1)
    held[0].send_nowait(Resource())
    await waits()
    for end in held:
        end.close()


async def the_export_of_a_buffer() -> None:
    class Buffer(bytearray):
        def __del__(self) -> None:
            pass

    held = memoryview(Buffer(8))
    await waits()
    held.release()


async def a_coroutine_that_has_not_begun() -> None:
    held = [called(in_a_list)]
    await waits()
    held.pop().close()


@contextlib.contextmanager
def managed() -> Iterator[None]:
    try:
        yield
    finally:
        pass


async def an_exit_stack() -> None:
    held = contextlib.ExitStack()
    held.enter_context(managed())
    await waits()
    held.close()


async def a_connection() -> None:
    held = sqlite3.connect(":memory:")
    await waits()
    held.close()


async def an_open_transaction_one_step_away() -> None:
    held = Node(sqlite3.connect(":memory:"))
    held.held.execute("BEGIN")  # type: ignore[attr-defined]
    await waits()
    held.held.close()  # type: ignore[attr-defined]


async def a_file_one_step_away() -> None:
    held = [tempfile.TemporaryFile()]  # noqa: SIM115
    held[0].write(b"unflushed")
    await waits()
    held[0].close()


async def a_socket_one_step_away() -> None:
    held = socket.socketpair()
    await waits()
    for each in held:
        each.close()


async def a_folder_one_step_away() -> None:
    held = [tempfile.TemporaryDirectory()]
    await waits()
    held[0].cleanup()


async def a_pool_of_threads() -> None:
    held = [ThreadPoolExecutor(1)]
    held[0].submit(int).result()
    await waits()
    held[0].shutdown()


async def watched_one_step_away() -> None:
    held = [Node()]
    watch = weakref.ref(held[0], print)
    await waits()
    del held, watch


async def a_lock_that_is_taken() -> None:
    held = threading.Lock()
    held.acquire()
    await waits()
    held.release()


async def a_lock_that_can_be_taken_again() -> None:
    held = Node(threading.RLock())
    held.held.acquire()  # type: ignore[attr-defined]
    await waits()
    held.held.release()  # type: ignore[attr-defined]


async def a_lock_of_anyio() -> None:
    held = anyio.Lock()
    await held.acquire()
    await waits()
    held.release()


GLOBAL_LOCK = threading.Lock()


async def a_lock_of_the_module() -> None:
    GLOBAL_LOCK.acquire()
    await waits()
    GLOBAL_LOCK.release()


async def a_file_that_was_detached() -> None:
    held = io.TextIOWrapper(io.BytesIO())
    held.detach()
    await waits()
    del held


async def far_down() -> None:
    held: dict[str, object] = {"last": Resource()}
    for _ in range(1_000):
        held = {"next": [held, held]}
    await waits()
    del held


async def too_much_to_look_at() -> None:
    held = [Node() for _ in range(MOST_OBJECTS + 1)]
    await waits()
    del held


KEPT = [
    in_a_list,
    in_a_dict,
    in_an_attribute,
    by_a_bound_method,
    by_a_partial,
    by_a_closure,
    by_a_default_of_a_function,
    in_a_circle,
    by_a_function_that_calls_itself,
    by_a_class_of_its_own,
    by_an_error_that_was_caught,
    a_generator_in_a_list,
    an_async_generator_in_an_attribute,
    an_iterator,
    what_a_generator_holds,
    an_object_that_awaits,
    a_value_on_the_stack,
    while_an_error_is_handled,
    of_a_thread,
    in_a_stream,
    the_export_of_a_buffer,
    a_coroutine_that_has_not_begun,
    an_exit_stack,
    a_connection,
    an_open_transaction_one_step_away,
    a_file_one_step_away,
    a_socket_one_step_away,
    a_folder_one_step_away,
    a_pool_of_threads,
    watched_one_step_away,
    a_lock_that_is_taken,
    a_lock_that_can_be_taken_again,
    a_lock_of_anyio,
    a_lock_of_the_module,
    a_file_that_was_detached,
    far_down,
    too_much_to_look_at,
]

# -- free -------------------------------------------------------------------------------------------------------------

REGISTRY = {"pool": Node(Resource()), "circle": Node()}
REGISTRY["circle"].held = Node([REGISTRY["circle"], Resource()])
SERVICE = Node(Resource())
RESOURCE = Resource()


async def plain_data() -> None:
    held = {"items": [{"number": number, "tags": ["a"]} for number in range(1_000)], "day": None}
    await waits()
    del held


async def data_that_refers_to_itself() -> None:
    held: list[object] = [{"a": 1}]
    for _ in range(30):
        held = [held] * 30
    held.append(held)
    await waits()
    held.clear()


async def more_data_than_objects_are_looked_at() -> None:
    held = [{"number": number} for number in range(MOST_OBJECTS + 1)]
    await waits()
    del held


async def what_the_module_holds() -> None:
    service, resource = SERVICE, RESOURCE
    await waits()
    del service, resource


async def what_something_else_holds() -> None:
    held = [REGISTRY["pool"], REGISTRY["circle"]]
    await waits()
    del held


async def a_service_that_uses_what_the_module_holds() -> None:
    held = Node([SERVICE, REGISTRY])
    await waits()
    del held


async def an_error_that_holds_nothing() -> None:
    caught = None
    try:
        int("a")
    except ValueError as error:
        caught = error
    await waits()
    del caught


class Report(pydantic.BaseModel):
    lines: list[str]
    inner: Report | None = None


async def a_model_and_a_class_of_its_own() -> None:
    class Summary(pydantic.BaseModel):
        report: Report

    held = Summary(report=Report(lines=["a"], inner=Report(lines=[])))
    await waits()
    del held


async def a_logger() -> None:
    log = logging.getLogger(__name__)
    await waits()
    del log


async def a_file_that_was_closed() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"written")
    await waits()


async def a_file_in_memory() -> None:
    held = io.BytesIO(b"text"), io.StringIO("text")
    await waits()
    del held


async def a_lock_that_is_free() -> None:
    held = threading.Lock(), threading.RLock()
    with held[0]:
        pass
    await waits()


async def objects_in_a_circle() -> None:
    held = Node()
    held.held = [Node(held), held.itself]
    await waits()
    del held


def closing_over(resource: object) -> Program:
    async def what_the_workflow_closes_over() -> None:
        resource_of = [resource]
        await waits()
        del resource_of

    return what_the_workflow_closes_over


FREE = [
    plain_data,
    data_that_refers_to_itself,
    more_data_than_objects_are_looked_at,
    what_the_module_holds,
    what_something_else_holds,
    a_service_that_uses_what_the_module_holds,
    an_error_that_holds_nothing,
    a_model_and_a_class_of_its_own,
    a_logger,
    a_file_that_was_closed,
    a_file_in_memory,
    a_lock_that_is_free,
    objects_in_a_circle,
    closing_over(Resource()),
]


@contextlib.asynccontextmanager
async def suspended(*programs: Program) -> AsyncIterator[list[Any]]:
    """The coroutines of programs that wait; afterwards they go on to their end."""
    coroutines = [called(program) for program in programs]

    async def hold(coroutine: Any) -> None:
        await coroutine

    gates.append(anyio.Event())
    async with anyio.create_task_group() as group:
        for coroutine in coroutines:
            group.start_soon(hold, coroutine)
        await anyio.wait_all_tasks_blocked()
        try:
            yield coroutines
        finally:
            gates.pop().set()


@pytest.mark.parametrize(
    ("program", "stays"),
    [*((program, True) for program in KEPT), *((program, False) for program in FREE)],
    ids=[program.__name__ for program in (*KEPT, *FREE)],
)
async def test_a_program_stays_for_what_only_it_holds(program: Program, stays: bool) -> None:
    """What Python would finalize, close or roll back with the program keeps it; what lives elsewhere does not."""
    async with suspended(program) as (coroutine,):
        holdings = Holdings()
        holdings.add("r", coroutine)

        assert (holdings.keepers() == {"r"}) is stays


CACHE: weakref.WeakValueDictionary[str, Node] = weakref.WeakValueDictionary()


class Shared(Node):
    """Is held by none but those who use it."""


def sharing(shared: list[Node]) -> Program:
    async def program() -> None:
        large, held = shared[0], Node(shared[0])
        await waits()
        del large, held

    return program


async def test_what_two_programs_share_keeps_both() -> None:
    """It would be dropped with the second of them; a third one that shares nothing may go."""
    shared = [Node(Resource())]
    async with suspended(sharing(shared), sharing(shared), plain_data) as coroutines:
        shared.clear()
        holdings = Holdings()
        for uid, coroutine in zip("abc", coroutines, strict=True):
            holdings.add(uid, coroutine)

        assert holdings.keepers() == {"a", "b"}


async def test_what_is_shared_with_a_program_that_stays_does_not_keep_another() -> None:
    """One that has a task of its own goes on holding it."""
    shared = [Node(Resource())]
    async with suspended(sharing(shared), sharing(shared)) as (first, second):
        shared.clear()
        holdings = Holdings()
        holdings.add("a", first)
        holdings.add("b", second)
        holdings.keep("a")

        assert holdings.keepers() == {"a"}


async def test_one_program_is_kept_for_something_large_that_all_know() -> None:
    """The others see that it stays, and so does what they share with it."""
    large = [Node([Node() for _ in range(MOST_OBJECTS)])]
    async with suspended(*(sharing(large) for _ in range(3))) as coroutines:
        holdings = Holdings()
        for uid, coroutine in zip("abc", coroutines, strict=True):
            holdings.add(uid, coroutine)

        assert holdings.keepers() == {"a"}

        another = Holdings()  # which does not see the first one, and is told of it
        another.know(holdings.large["a"])
        another.add("b", coroutines[1])
        assert another.keepers() == set()


variable: ContextVar[object] = ContextVar("variable")


async def test_a_program_stays_for_what_it_has_put_into_a_context_variable() -> None:
    """The variables of its task are dropped with it."""
    async with suspended(plain_data, plain_data) as (first, second):
        holdings = Holdings()
        holdings.add("a", first, [Node(Resource())])
        holdings.add("b", second, [Node()])

        assert holdings.keepers() == {"a"}


async def test_a_look_is_full_once_there_is_much_in_it() -> None:
    """The rest is looked at in another turn of the event loop."""
    async with suspended(plain_data) as (coroutine,):
        small, large = Holdings(most=10_000), Holdings(most=1_500)
        for holdings in (small, large):
            assert not holdings.is_full
            holdings.add("r", coroutine)

        assert (small.is_full, large.is_full) == (False, True)
        large.make_room()
        assert not large.is_full


@pytest.mark.parametrize(
    ("held", "expected"),
    [(Resource(), True), (Node(), False), ("text", False), (Resource, False), (logging, False), (io.BytesIO(), False)],
)
def test_an_object_is_told_by_what_it_does_by_itself(held: object, expected: bool) -> None:
    """What is behind it is another object."""
    assert has_finalizer(held) is expected


def test_a_socket_or_file_that_was_closed_is_over(tmp_path: Path) -> None:
    """Its variable outlives the `with`, and nothing would happen if it is dropped."""
    first, second = socket.socketpair()
    with first, (tmp_path / "file").open("w") as file:
        assert [has_finalizer(first), has_finalizer(file)] == [True, True]

    assert [has_finalizer(first), has_finalizer(file)] == [False, False]
    second.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_is_done_is_looked_behind() -> None:
    """What it has returned is held by it."""

    async def program() -> None:
        async def opens() -> Resource:
            return Resource()

        held = asyncio.ensure_future(opens())
        await held
        await waits()

    async with suspended(program) as (coroutine,):
        holdings = Holdings()
        holdings.add("r", coroutine)

        assert holdings.keepers() == {"r"}
