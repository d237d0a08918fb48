"""The Python of an earlier system's page on state, word for word but for the import line, on real stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.backends import open_backend
from flujo.kernel.checking import check
from flujo.kernel.events import RunCompleted, RunResumed, StepOutputSet, VariableSet
from flujo.state import WorkflowState
from state.stories import INTERRUPTED, STORIES, Story, facts_of

READING = """\
from flujo.state import WorkflowState

# Load current state
state = WorkflowState.load("workflow_id")

# Access state information
current_step = state.current_step
outputs = state.step_outputs
variables = state.variables
"""

MODIFYING = """\
# Update state
state.update_step("step1", status="completed", output="result")
state.set_variable("key", "value")
state.mark_completed()

# Save changes
state.save()
"""

SHAPE = """\
{
    "workflow_id": "unique-workflow-id",
    "name": "workflow-name",
    "start_time": "2025-04-14T10:00:00Z",
    "last_updated": "2025-04-14T10:05:00Z",
    "status": "running",
    "execution_state": {
        "status": "running",
        "current_step": "step2",
        "failed_step": null,
        "step_outputs": {
            "step1": {
                "result": "Output from Step 1"
            }
        },
        "retry_state": {
            "step_1_retry": {
                "attempt": 1,
                "max_attempts": 3
            }
        }
    },
    "variables": {
        "user_input": "value",
        "computed_value": 42
    }
}
"""
"""The state file of that page, without its comments."""


def findings(url: str) -> list[Any]:
    """What a check of the whole store finds wrong."""

    async def look() -> list[Any]:
        async with open_backend(url) as backend:
            return list((await check(backend)).findings)

    return anyio.run(look, backend="asyncio")


@pytest.fixture(params=["sqlite:.flujo/state.db", "file:.flujo/runs"])
def url(request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of a store that is found from the working directory."""
    found: str = request.param
    if found != "sqlite:.flujo/state.db":
        (folder / "flujo.toml").write_text(f'store = "{found}"\n', encoding="utf-8")
    return found


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_the_snippets_run_as_they_are_written(url: str, story: Story) -> None:
    """On a run that failed, was interrupted, waits, is paused or was cancelled, whatever has become of step1."""
    story.tell_blocking(url)
    before = facts_of(url)
    names: dict[str, Any] = {}

    exec(READING, names)
    read = names["current_step"], names["outputs"], names["variables"]
    exec(MODIFYING, names)

    seen = WorkflowState.load("workflow_id")
    after = facts_of(url)
    assert read[0] in ("step1", "step2")
    assert read[2] == {"user_input": "value", "computed_value": 42}
    assert read[1] in ({}, {"step1": {"result": "Output from Step 1"}})
    assert seen.to_dict() == names["state"].to_dict()
    assert (seen.status, seen.step_outputs["step1"]) == ("completed", {"result": "result"})
    assert seen.variables == {"user_input": "value", "computed_value": 42, "key": "value"}
    assert after[: len(before)] == before
    assert findings(url) == []


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_what_the_snippets_save_is_audited(url: str, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change is an event that says who made it and why, behind everything that was recorded before."""
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    story.tell_blocking(url)
    before = len(facts_of(url))

    exec(READING + MODIFYING, {})

    audited = [fact for fact in facts_of(url)[before:] if isinstance(fact, StepOutputSet | VariableSet | RunCompleted)]
    assert [type(fact) for fact in audited] == [StepOutputSet, VariableSet, RunCompleted]
    assert {(fact.by, fact.reason) for fact in audited} == {("ann", "saved through flujo.state")}
    assert {fact.by for fact in facts_of(url)[before:] if isinstance(fact, RunResumed)} <= {"ann"}


def test_a_state_has_the_shape_of_a_state_file() -> None:
    """The same names in the same order, the same meaning, and types that JSON knows."""
    INTERRUPTED.tell_blocking("sqlite:.flujo/state.db")
    wanted = json.loads(SHAPE)

    shown = json.loads(json.dumps(WorkflowState.load("workflow_id").to_dict()))

    assert list(shown) == list(wanted)
    assert list(shown["execution_state"]) == list(wanted["execution_state"])
    assert shown["execution_state"]["step_outputs"] == wanted["execution_state"]["step_outputs"]
    assert shown["execution_state"]["retry_state"] == {}
    assert shown["variables"] == wanted["variables"]
    assert (shown["workflow_id"], shown["name"]) == ("workflow_id", wanted["name"])
    assert (shown["status"], shown["execution_state"]["current_step"]) == ("running", "step2")
