"""Errors that are hard to describe: their attributes raise, their texts are no texts, their chains have no end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any, cast

import anyio
import pytest

DEPTH = 3_000


class OrderError(Exception):
    """Its author forgot that there may be one argument only."""

    def __str__(self) -> str:
        return str(self.args[1])


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    def __repr__(self) -> str:
        raise ValueError("no repr either")


class Evasive(Exception):
    """Every attribute that is asked for raises, but for those the interpreter insists on."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"nobody may see {name}")


class Masked(Exception):
    @property
    def __class__(self) -> Any:
        raise LookupError("nobody may know")

    @__class__.setter
    def __class__(self, value: Any) -> None: ...

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise LookupError("nobody may ask why")

    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise LookupError("nobody may ask where")


class Text(str):
    def encode(self, *_: Any, **__: Any) -> bytes:
        raise TypeError("not today")

    def __len__(self) -> int:
        raise TypeError("nor this")


class Textual(Exception):
    def __str__(self) -> str:
        return Text("looks like text")


class Verbose(Exception):
    def __str__(self) -> str:
        return "\udcff\x00\n" * 1_000_000


class Nameless(Exception):
    __module__ = 5  # type: ignore[assignment]


class WrongNotes(Exception):
    __notes__ = 7  # type: ignore[assignment]


class TypedWrongly(Exception):
    @property
    def type(self) -> str:
        raise AttributeError("a property that raises")


class Own(BaseException):
    """A user's own BaseException."""


class Secretive(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise OSError("members only")


def chained(number: int) -> Exception:
    error = ValueError("the first")
    for index in range(number):
        following = RuntimeError(f"number {index}")
        following.__cause__ = error
        error = following  # type: ignore[assignment]
    return error


def nested(number: int) -> BaseException:
    error: Exception = ConnectionError("the only one")
    for _ in range(number):
        error = ExceptionGroup("a group", [error])
    return error


def in_a_circle() -> Exception:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    return first


def cancellation() -> BaseException:
    """A cancellation of the running loop that no scope has asked for."""
    made = anyio.get_cancelled_exc_class()
    return made("mine") if made is asyncio.CancelledError else cast(Any, made)._create(source="unknown")


AWKWARD: dict[str, Callable[[], BaseException]] = {
    "its __str__ raises": lambda: OrderError(17),
    "its __str__ and __repr__ raise": Unprintable,
    "every attribute raises": Evasive,
    "its class, cause and traceback raise": Masked,
    "its text is of a class of its own": Textual,
    "its text is no text and very long": Verbose,
    "its module is a number": Nameless,
    "its notes are a number": WrongNotes,
    "its type raises": TypedWrongly,
    "a BaseException of the user's": lambda: Own("mine"),
    "GeneratorExit": lambda: GeneratorExit("done"),
    "SystemExit": lambda: SystemExit(3),
    "StopIteration": lambda: StopIteration(1),
    "StopAsyncIteration": lambda: StopAsyncIteration(1),
    "thousands of causes": lambda: chained(DEPTH),
    "thousands of nested groups": lambda: nested(DEPTH),
    "a group that hides its members": lambda: Secretive("s", [ValueError("v")]),
    "a group of awkward ones": lambda: BaseExceptionGroup("g", [OrderError(1), Evasive(), GeneratorExit(), Own("o")]),
    "a context that leads back to itself": in_a_circle,
    "a cancellation that was not asked for": lambda: cancellation(),
}


def generated(seed: int) -> BaseException:
    """A random tree of groups, causes, contexts and notes over the awkward ones."""
    lots = random.Random(seed)

    def draw(depth: int) -> BaseException:
        if depth < 4 and lots.random() < 0.5:
            each = [draw(depth + 1) for _ in range(lots.randint(1, 3))]
            error: BaseException = BaseExceptionGroup("drawn", each)
        else:
            error = AWKWARD[lots.choice([name for name in AWKWARD if not name.startswith("a cancellation")])]()
        for attribute in ("__cause__", "__context__"):
            if depth < 4 and lots.random() < 0.2:
                try:
                    setattr(error, attribute, draw(depth + 1))
                except BaseException:
                    pass
        return error

    return draw(0)


def makers() -> Iterator[Any]:
    for name, make in AWKWARD.items():
        yield pytest.param(make, id=name)
    for seed in range(40):
        yield pytest.param(lambda seed=seed: generated(seed), id=f"generated {seed}")
