"""What holds of every error a user can see: one line, a stable reason, fields, and what to type next."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from flujo.kernel import errors
from flujo.kernel.errors import FlujoError, KernelClosedError, RunNotFoundError, StoreError, WorkflowNotFoundError

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, FlujoError)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_reason_for_machines(kind: type[FlujoError]) -> None:
    """In capitals, its own or that of the class above it, and a paragraph that says what it means."""
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", kind.reason)
    assert kind.__doc__


def test_the_root_says_its_message_and_keeps_its_hints_in_order() -> None:
    """A hint given as an iterator can be read more than once."""
    error = FlujoError("it failed", iter(["first", "then"]))

    assert str(error) == error.message == "it failed"
    assert error.hints == error.hints == ("first", "then")
    assert FlujoError("it failed").hints == ()


def test_errors_are_also_what_python_calls_them() -> None:
    """So that `except LookupError` and `except RuntimeError` do what a Python programmer expects."""
    assert issubclass(RunNotFoundError, LookupError)
    assert issubclass(WorkflowNotFoundError, LookupError)
    assert issubclass(KernelClosedError, RuntimeError)


def test_every_trouble_with_a_store_can_be_caught_at_once() -> None:
    """All errors named after a store are StoreErrors."""
    named = {each for each in CLASSES if "Store" in each.__name__}

    assert named == {each for each in CLASSES if issubclass(each, StoreError)}
    assert len(named) > 8


def test_what_a_user_types_is_quoted_for_the_shell() -> None:
    """A path with a blank in a suggested command is one word there."""
    error = errors.StoreInUseError("sqlite:a b.db", "migrating", [], "a b.db")

    assert "fuser -v 'a b.db'" in error.hints[0]
    assert "another process has it open" in str(error)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_full_name_of_an_error_is_that_of_the_module_people_import(kind: type[FlujoError]) -> None:
    """Journals hold it and retry rules name it, so it does not follow the file that declares the class."""
    assert (kind.__module__, kind.__qualname__) == ("flujo.kernel.errors", kind.__name__)
    assert kind.__name__ in errors.__all__
    assert pickle.loads(pickle.dumps(kind)) is kind


PLAIN: dict[str, Any] = {
    "str": "x",
    "int": 1,
    "float": 1.0,
    "bool": True,
    "Path": Path("x"),
    "BaseException": ValueError("x"),
    "dict[str, str]": {"x": "y"},
    "Sequence[Difference]": [errors.Difference("x", "changed", "y")],
}


def made(kind: type[FlujoError]) -> FlujoError:
    """An error of this class, about nothing in particular."""
    needed = [each for each in inspect.signature(kind).parameters.values() if each.default is each.empty]
    names = [str(each.annotation) for each in needed]
    values: list[Any] = [PLAIN.get(name, None if "None" in name else ["x"]) for name in names]
    return kind(*values)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_text_and_ways_on(kind: type[FlujoError]) -> None:
    """Whoever shows one asks for nothing else."""
    error = made(kind)

    assert str(error) == error.message
    assert all(isinstance(hint, str) and hint for hint in error.hints)
