"""Arguments of a wrong type: each is refused at once, by our own error, which names the argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.client import Client
from flujo.kernel import Kernel, Observer, RunHandle
from flujo.kernel.errors import FlujoError, InvalidNameError, InvalidValueError
from kernel.flows import doubling, waiting
from kernel.harness import Harness, until
from kernel.hostile_arguments import ANY, HOSTILE, Argument, arguments_of

CALLS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("an object", lambda kernel: kernel.start(doubling, {"number": object()}), "number"),
    ("bytes", lambda kernel: kernel.start(doubling, {"number": b"\xff"}), "number"),
    ("a list of inputs", lambda kernel: kernel.start(doubling, [1]), "inputs"),
    ("a number for inputs", lambda kernel: kernel.start(doubling, 5), "inputs"),
    ("a text for inputs", lambda kernel: kernel.start(doubling, "ab"), "inputs"),
    ("a list of labels", lambda kernel: kernel.start(doubling, labels=["a"]), "labels"),
    ("a label that is a number", lambda kernel: kernel.start(doubling, labels={"a": 1}), "labels.a"),
    ("a run id", lambda kernel: kernel.start(doubling, run_id=5), "run_id"),
    ("a request id", lambda kernel: kernel.start(doubling, request_id=5), "request_id"),
    ("by of a cancel", lambda kernel: kernel.cancel("r", by=5), "by"),
    ("a reason", lambda kernel: kernel.cancel("r", 5), "reason"),
    ("a signal", lambda kernel: kernel.signal("r", 5), "name"),
    ("a payload", lambda kernel: kernel.signal("r", "go", object()), "\\$"),
    ("by of a signal", lambda kernel: kernel.signal("r", "go", by=b"x"), "by"),
    ("by of a pause", lambda kernel: kernel.pause("r", by=5), "by"),
    ("a limit that is no whole number", lambda kernel: kernel.list(limit=2.5), "limit"),
    ("a limit that is text", lambda kernel: kernel.list(limit="5"), "limit"),
    ("a limit that is true", lambda kernel: kernel.list(limit=True), "limit"),
    ("a limit that no store can count to", lambda kernel: kernel.list(limit=2**63), "limit"),
    ("a run id that is no text of UTF-8", lambda kernel: kernel.inspect("\ud800"), "run_id"),
    ("the same by name", lambda kernel: kernel.cancel(run_id="\ud800"), "run_id"),
    ("a page", lambda kernel: kernel.list(page=5), "page"),
    ("one status for several", lambda kernel: kernel.list(statuses="failed"), "statuses"),
    ("a number for statuses", lambda kernel: kernel.list(statuses=5), "statuses"),
    ("a workflow to look for", lambda kernel: kernel.list(workflow=5), "workflow"),
    ("labels to look for", lambda kernel: kernel.list(labels=["a"]), "labels"),
    ("an event to begin behind", lambda kernel: kernel.events("r", "x"), "after_seq"),
    ("an event before the first one", lambda kernel: kernel.events("r", -1), "event number"),
    ("the same of a watch", lambda kernel: anext(kernel.watch("r", -1)), "event number"),
    ("an event beyond all numbers", lambda kernel: kernel.events("r", 2**64), "after_seq"),
    ("how many events", lambda kernel: kernel.events("r", limit=2.5), "limit"),
    ("inputs of a resume", lambda kernel: kernel.resume("r", inputs=[1]), "inputs"),
    ("skipped steps", lambda kernel: kernel.resume("r", skip=[1]), "skip"),
    ("by of a resume", lambda kernel: kernel.resume("r", by=5), "by"),
    ("labels of a fork", lambda kernel: kernel.fork("r", labels=5), "labels"),
    ("how many to prune", lambda kernel: kernel.prune(limit=2.5, statuses=["failed"]), "limit"),
    ("a variable", lambda kernel: kernel.set_variable("r", 5, 1), "name"),
]


@pytest.mark.parametrize(("call", "names"), [each[1:] for each in CALLS], ids=[each[0] for each in CALLS])
async def test_a_wrong_type_is_refused_by_name(call: Callable[[Kernel], Any], names: str) -> None:
    """Never by an error of a library, and before anything has changed."""
    async with Harness().kernel(doubling, waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")

        with pytest.raises(FlujoError, match=names) as refused:
            await call(kernel)

        assert isinstance(refused.value, ValueError)
        assert isinstance(refused.value, (InvalidNameError, InvalidValueError)) or names == "number"
        assert (await kernel.inspect("r")).seq == 2


MADE: dict[type, Callable[[], Any]] = {
    Kernel: lambda: Kernel(InMemoryBackend(), [doubling]),
    Observer: lambda: Observer(InMemoryBackend()),
    Client: lambda: Client("unix:server.sock"),
    RunHandle: lambda: RunHandle(Kernel(InMemoryBackend()), "r"),
}
"""None is open: an argument is refused before that matters."""

ARGUMENTS = [(cls, each) for cls in MADE for each in arguments_of(cls) if each.type not in ANY]


@pytest.mark.parametrize(
    ("cls", "argument"), ARGUMENTS, ids=[f"{cls.__name__}.{each.method}-{each.name}" for cls, each in ARGUMENTS]
)
def test_every_argument_of_every_call_is_looked_at(cls: type, argument: Argument) -> None:
    """By what its signature declares, and in the words of its caller."""
    made = MADE[cls]()

    for value in HOSTILE[argument.type]:
        with pytest.raises((InvalidNameError, InvalidValueError), match=rf"\b{argument.name}\b"):
            anyio.run(_called, getattr(made, argument.method), {**argument.needed, argument.name: value})


async def _called(method: Callable[..., Any], arguments: dict[str, Any]) -> None:
    answer = method(**arguments)
    if inspect.isasyncgen(answer):
        await anext(answer)
    elif inspect.isawaitable(answer):
        await answer


def test_the_table_has_found_the_calls() -> None:
    """As a guard against a table that is empty."""
    found = {(cls.__name__, each.method, each.name) for cls, each in ARGUMENTS}

    assert len(found) > 250
    assert {("Kernel", "start", "labels"), ("Client", "watch", "after_seq"), ("RunHandle", "cancel", "reason")} <= found


CONSTRUCTED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda value: Kernel(value), "backend"),
    (lambda value: Kernel(InMemoryBackend(), value), "workflows"),
    (lambda value: Kernel(InMemoryBackend(), [value]), "workflows"),
    (lambda value: Kernel(InMemoryBackend(), recover=value), "recover"),
    (lambda value: Kernel(InMemoryBackend(), max_steps=value), "max_steps"),
    (lambda value: Kernel(InMemoryBackend(), max_threads=value), "max_threads"),
    (lambda value: Kernel(InMemoryBackend(), limits=value), "limits"),
    (lambda value: Kernel(InMemoryBackend(), workspaces=value), "workspaces"),
    (lambda value: Kernel(InMemoryBackend(), retention=value), "retention"),
    (lambda value: Observer(value), "backend"),
    (lambda value: Client(value), "address"),
    (lambda value: Client("unix:a", call_seconds=value), "call_seconds"),
]


@pytest.mark.parametrize(("make", "name"), CONSTRUCTED)
def test_so_is_every_argument_of_a_constructor(make: Callable[[Any], Any], name: str) -> None:
    """A URL is no backend, a function is no workflow, one workflow is no list of them."""
    for value in (2.5j, "sqlite:state.db" if name not in ("address",) else 5, [1]):
        with pytest.raises(InvalidNameError, match=rf"\b{name}\b"):
            make(value)


def test_what_is_refused_is_shown_only_if_it_is_short() -> None:
    """A value may be of any size."""
    values: list[Any] = [[1] * 10**6, 10**5000]
    for value in values:
        with pytest.raises(InvalidNameError) as refused:
            anyio.run(_called, Kernel(InMemoryBackend()).inspect, {"run_id": value})
        assert len(str(refused.value)) < 300
