"""What docs/state.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from flujo.state import WorkflowState
from flujo.state.backends.base import StateBackend
from flujo.state.backends.sqlite import SQLiteBackend
from state.stories import FAILED

PAGE = (Path(__file__).parents[2] / "docs" / "state.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Block by block, each going on from the ones before."""
    FAILED.tell_blocking("sqlite:.flujo/state.db")
    FAILED.tell_blocking("sqlite:.flujo/state.db", "other")
    names: dict[str, Any] = {}

    for block in BLOCKS:
        exec(block, names)

    assert len(BLOCKS) == 3
    assert WorkflowState.load("workflow_id").status == "completed"
    assert capsys.readouterr().out.startswith("other step2 no\n{'total_workflows': 2,")


def test_the_page_names_every_call() -> None:
    """And every name of a state; a new one is a new line."""
    own = {name for kind in (WorkflowState, StateBackend) for name in vars(kind) if not name.startswith("_")}
    inner = {"handle", "workspaces", "has_changes"}

    assert [name for name in sorted(own - inner) if f"`{name}" not in PAGE] == []
    assert {"list_workflows", "save_state", "update_step"} <= own
    assert issubclass(SQLiteBackend, StateBackend)
