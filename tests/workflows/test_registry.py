"""Tasks are found by name, and a declaration that makes no sense is refused at once."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from flujo.kernel.errors import DeclarationError
from flujo.workflows import TaskCall, registry, task
from flujo.workflows.registry import BUILT_IN, Tasks


@task("mine", inputs={"n": {"type": "integer", "required": True}, "m": {"default": 2}})
async def mine(call: TaskCall) -> Any:
    return call.inputs


class EntryPoint:
    """What importlib.metadata finds, of a distribution that need not be installed."""

    value = "module:name"

    def __init__(self, found: Any, module: str = "module", package: str = "package") -> None:
        self._found, self.module = found, module
        self.dist = SimpleNamespace(name=package)

    def load(self) -> Any:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


@pytest.fixture(autouse=True)
def fresh() -> Any:
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


def test_a_task_given_comes_before_a_built_in_one() -> None:
    """So that an application can put its own in its place."""

    @task("echo")
    async def other(call: TaskCall) -> None: ...

    assert Tasks([other]).find("echo") is other
    assert Tasks().find("echo") is not other
    assert Tasks().find("nobody") is None


def test_installed_tasks_are_found_by_their_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked at only for a name that is not built in, and are among the names that are listed."""
    monkeypatch.setattr(registry, "_entry_points", lambda: {"theirs": EntryPoint(mine), "bad": EntryPoint(5)})

    assert Tasks().find("theirs") is mine
    assert Tasks().names() == sorted([*BUILT_IN, "theirs", "bad"])
    with pytest.raises(DeclarationError, match="module:name is not a task"):
        Tasks().find("bad")


def test_an_installed_task_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its module raises."""
    monkeypatch.setattr(registry, "_entry_points", lambda: {"bad": EntryPoint(ZeroDivisionError("oops"))})

    with pytest.raises(DeclarationError, match=r"task 'bad' \(module:name\) cannot be imported: oops"):
        Tasks().find("bad")


@pytest.mark.parametrize(
    ("missing", "typed"),
    [
        ("word_tasks", "its package 'word-tasks' is not whole: {} --force-reinstall --no-deps word-tasks"),
        ("pandas.core", "'word-tasks' needs it; install what has it: {} PACKAGE"),
    ],
)
def test_a_module_that_an_installed_task_misses_is_told_with_what_to_type(
    missing: str, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own, or one that it imports."""
    error = ModuleNotFoundError(f"No module named {missing!r}", name=missing)
    monkeypatch.setattr(registry, "_entry_points", lambda: {"bad": EntryPoint(error, "word_tasks.tasks", "word-tasks")})

    with pytest.raises(DeclarationError) as raised:
        Tasks().find("bad")

    way = typed.format(f"{sys.executable} -m pip install")
    assert str(raised.value).endswith(f"{error}; it was looked for where {sys.executable} looks; {way}")


def test_inputs_get_their_defaults() -> None:
    """A task receives what it declares."""
    assert mine.checked({"n": 1}) == {"n": 1, "m": 2}


def test_a_declaration_with_unknown_keywords_is_refused() -> None:
    """When the decorator runs, not when the task is called."""
    with pytest.raises(DeclarationError, match="task 'x', input 'a': there is no keyword `typ`; did you mean `type`"):
        task("x", inputs={"a": {"typ": "string"}})
