"""Every call of `flujo.state` refuses an argument of a wrong kind at once, by an error that names it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.kernel.errors import InvalidNameError
from flujo.state import WorkflowState
from flujo.state.backends.base import StateBackend
from flujo.state.backends.file import FileBackend
from flujo.state.backends.memory import InMemoryBackend
from flujo.state.backends.sqlite import SQLiteBackend
from state.stories import COMPLETED, FAILED, RUN

URL = "sqlite:.flujo/state.db"

TEXTS: tuple[Any, ...] = (5, b"run", ["run"], None, object())
OPTIONAL_TEXTS = TEXTS[:3]
COUNTS: tuple[Any, ...] = ("24", 2.5, True, -1, [3])
PERIODS: tuple[Any, ...] = ("24", [24], None, True, -1, float("nan"), float("inf"), 1e300, 10**5000)

OF_BACKENDS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("load_state", "run_id"): TEXTS,
    ("save_state", "run_id"): TEXTS,
    ("save_state", "state"): (5, "{}", [("status", "completed")], None),
    ("delete_state", "run_id"): TEXTS,
    ("list_states", "status"): OPTIONAL_TEXTS,
    ("list_workflows", "status"): OPTIONAL_TEXTS,
    ("list_workflows", "pipeline_id"): OPTIONAL_TEXTS,
    ("list_workflows", "limit"): COUNTS,
    ("list_workflows", "offset"): (*COUNTS, None),
    ("get_failed_workflows", "hours_back"): PERIODS,
    ("cleanup_old_workflows", "days_old"): PERIODS,
}
OF_STATES: dict[tuple[str, str], tuple[Any, ...]] = {
    ("load", "workflow_id"): TEXTS,
    ("load", "store"): (5, b"sqlite:x", ["sqlite:x"], object()),
    ("update_step", "name"): TEXTS,
    ("update_step", "status"): TEXTS,
    ("set_variable", "name"): TEXTS,
    ("save", "reason"): OPTIONAL_TEXTS,
    ("save", "by"): OPTIONAL_TEXTS,
}
OF_PLACES: dict[tuple[Callable[..., Any], str], tuple[Any, ...]] = {
    (kind, argument): values
    for kind in (FileBackend, SQLiteBackend)
    for argument, values in {
        "path": (5, b"x", None, ["x"]),
        "durability": ("sometimes", 5, None, ["full"]),
        "busy_seconds": PERIODS,
    }.items()
} | {(InMemoryBackend, "store"): (5, "memory:", {})}

VALUES = {"output", "value"}
"""What may be any JSON; recording a value refuses all else (test_models.py)."""


def cases(table: dict[tuple[Any, str], tuple[Any, ...]]) -> list[Any]:
    return [
        pytest.param(call, argument, value, id=f"{getattr(call, '__name__', call)}-{argument}-{str(type(value))[8:-2]}")
        for (call, argument), values in table.items()
        for value in values
    ]


def others(function: Callable[..., Any], argument: str) -> dict[str, Any]:
    """What else a call needs."""
    needed = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in (argument, "self")
    ]
    return {name: {} if name == "state" else "x" for name in needed}


@pytest.mark.parametrize(("call", "argument", "value"), cases(OF_BACKENDS))
def test_a_backend_refuses_what_is_of_a_wrong_kind(call: str, argument: str, value: Any, folder: Path) -> None:
    """Nothing is opened, read or made before that."""
    function = getattr(FileBackend("runs"), call)
    with pytest.raises(InvalidNameError) as refused:
        anyio.run(lambda: function(**others(function, argument), **{argument: value}))

    assert refused.value.what == argument
    assert len(str(refused.value)) < 300
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(("call", "argument", "value"), cases(OF_STATES))
def test_a_state_refuses_what_is_of_a_wrong_kind(call: str, argument: str, value: Any, folder: Path) -> None:
    """It is as it was afterwards, with nothing to save."""
    FAILED.tell_blocking(URL)
    state = WorkflowState.load(RUN)
    function = getattr(state, call)
    before = state.to_dict()
    with pytest.raises(InvalidNameError) as refused:
        function(**others(function, argument), **{argument: value})

    assert refused.value.what == argument
    assert state.to_dict() == before
    assert not state.has_changes


@pytest.mark.parametrize(("call", "argument", "value"), cases(OF_PLACES))
def test_a_place_of_a_wrong_kind_is_refused(call: Callable[..., Any], argument: str, value: Any) -> None:
    """Where a store is, how durable and how patient it is, is looked at when its backend is made."""
    with pytest.raises(InvalidNameError) as refused:
        call(**others(call, argument), **{argument: value})

    assert refused.value.what == argument


def test_every_argument_is_under_test() -> None:
    """A call or an argument that is added is held to the same."""
    for owner, table in ((StateBackend, OF_BACKENDS), (WorkflowState, OF_STATES)):
        own = [
            (name, argument)
            for name, function in vars(owner).items()
            if not name.startswith("_") and callable(getattr(owner, name)) and name != "handle"
            for argument in inspect.signature(getattr(function, "__func__", function)).parameters
            if argument not in ("self", "cls") and argument not in VALUES
        ]
        assert sorted(own) == sorted(table), owner


@pytest.mark.parametrize("hours", [0, 24, 0.5, 10_000_000])
def test_any_period_there_was_is_answered(hours: float, folder: Path) -> None:
    """From nothing to a thousand years."""
    COMPLETED.tell_blocking(URL)
    backend = SQLiteBackend(".flujo/state.db")

    assert anyio.run(backend.get_failed_workflows, hours) == []
