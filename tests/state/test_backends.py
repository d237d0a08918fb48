"""The backends under the names of an earlier system: states, and queries, on every one of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo import backends
from flujo.kernel import Kernel, SystemClock, workflow
from flujo.kernel.backend import StateBackend as Port
from flujo.kernel.errors import (
    InvalidNameError,
    RunActiveError,
    StateNotRecordableError,
    StoreNotFoundError,
)
from flujo.kernel.events import RunCompleted, StepOutputSet, VariableSet
from flujo.kernel.observer import Observer
from flujo.state.backends.base import StateBackend
from flujo.state.backends.file import FileBackend
from flujo.state.backends.memory import InMemoryBackend
from flujo.state.backends.sqlite import SQLiteBackend
from state.stories import COMPLETED, FAILED, INTERRUPTED, Story

MAKE: dict[str, Callable[[], StateBackend]] = {
    "memory": InMemoryBackend,
    "file": partial(FileBackend, "runs", "normal"),
    "sqlite": partial(SQLiteBackend, "state.db", "normal"),
}
PAIRS = [(name, loop) for name, make in MAKE.items() for loop in make().capabilities.event_loops]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def anyio_backend(pair: tuple[str, str]) -> str:
    return pair[1]


@pytest.fixture
def backend(pair: tuple[str, str], folder: Path) -> StateBackend:
    """A backend that nobody has opened, on a store that is not there yet."""
    return MAKE[pair[0]]()


async def tell(backend: StateBackend, **stories: Story) -> None:
    for run_id, story in stories.items():
        await story.tell(backend.handle, run_id)


# -- what they are -----------------------------------------------------------------------------------------------------


async def test_a_backend_runs_workflows(backend: StateBackend) -> None:
    """It is a backend of flujo, and answers queries while a kernel has it open."""

    @workflow(name="flow")
    async def flow(ctx: Any) -> str:
        return "done"

    async with Kernel(backend, [flow]) as kernel:
        output = await kernel.run(flow, run_id="r")
        listed = await backend.list_workflows()

    assert isinstance(backend, Port)
    assert (output, [row["run_id"] for row in listed]) == ("done", ["r"])


@pytest.mark.parametrize("name", MAKE)
def test_the_classes_are_those_of_flujo(name: str) -> None:
    """Each stands on the class of the same name in flujo.backends."""
    made = MAKE[name]()

    assert isinstance(made, getattr(backends, type(made).__name__))


async def test_asking_makes_no_store(backend: StateBackend, folder: Path) -> None:
    """Every call says that there is none."""
    for ask in (
        backend.list_states,
        backend.list_workflows,
        backend.get_workflow_stats,
        backend.get_failed_workflows,
        backend.cleanup_old_workflows,
        partial(backend.load_state, "r"),
        partial(backend.save_state, "r", {}),
        partial(backend.delete_state, "r"),
    ):
        with pytest.raises(StoreNotFoundError):
            await ask()

    assert os.listdir(folder) == [".flujo"]


# -- states ------------------------------------------------------------------------------------------------------------


async def test_a_state_is_loaded_in_the_shape_of_a_state_file(backend: StateBackend) -> None:
    """As plain JSON; None for a run that is not there."""
    await tell(backend, r=FAILED)

    state = await backend.load_state("r")

    assert state is not None
    assert json.loads(json.dumps(state)) == state
    assert (state["workflow_id"], state["status"], state["execution_state"]["failed_step"]) == ("r", "failed", "step2")
    assert state["execution_state"]["step_outputs"] == {"step1": {"result": "Output from Step 1"}}
    assert await backend.load_state("absent") is None


@pytest.mark.parametrize("story", [FAILED, INTERRUPTED], ids=str)
async def test_a_state_that_was_changed_is_saved_as_events(backend: StateBackend, story: Story) -> None:
    """What the journal held is still there, and loading gives what was saved."""
    await tell(backend, r=story)
    async with backend.handle() as handle:
        before = list(await Observer(handle).events("r"))
    state = await backend.load_state("r")
    assert state is not None

    state["variables"]["key"] = "value"
    state["execution_state"]["step_outputs"]["step2"] = {"result": 2}
    state["status"] = "completed"
    await backend.save_state("r", state)

    loaded = await backend.load_state("r")
    async with backend.handle() as handle:
        after = list(await Observer(handle).events("r"))
    assert loaded is not None
    assert (loaded["status"], loaded["variables"]) == ("completed", state["variables"])
    assert loaded["execution_state"]["step_outputs"] == state["execution_state"]["step_outputs"]
    assert after[: len(before)] == before
    given = [event.fact for event in after[len(before) :]]
    kinds = [type(fact) for fact in given]
    assert [kind for kind in kinds if kind in (StepOutputSet, VariableSet, RunCompleted)] == [
        StepOutputSet,
        VariableSet,
        RunCompleted,
    ]


async def test_a_state_that_was_not_changed_records_nothing(backend: StateBackend) -> None:
    """However often it is saved."""
    await tell(backend, r=FAILED)
    state = await backend.load_state("r")
    assert state is not None

    await backend.save_state("r", state)

    assert await backend.load_state("r") == state


async def test_no_journal_is_forged(backend: StateBackend) -> None:
    """A run that nobody has run, an attempt that nobody made and a state that is out of date are refused."""
    await tell(backend, r=FAILED)
    state = await backend.load_state("r")
    assert state is not None

    with pytest.raises(StateNotRecordableError, match="a run comes into being by being run") as refused:
        await backend.save_state("new", state)
    with pytest.raises(StateNotRecordableError):
        await backend.save_state("r", {**state, "status": "running"})
    await backend.save_state("r", {"variables": {**state["variables"], "key": 1}})
    with pytest.raises(StateNotRecordableError, match="moved on"):
        await backend.save_state("r", {**state, "variables": {**state["variables"], "key": 2}})

    assert refused.value.hints == ("flujoctl run FILE --id new",)
    assert [row["run_id"] for row in await backend.list_workflows()] == ["r"]


async def test_deleting_a_state_forgets_the_run(backend: StateBackend) -> None:
    """With its workspace; a second time there is nothing to do."""
    await tell(backend, r=FAILED, other=FAILED)
    if backend.workspaces is not None:
        (backend.workspaces / "r").mkdir(parents=True)

    await backend.delete_state("r")
    await backend.delete_state("r")

    assert [row["run_id"] for row in await backend.list_states()] == ["other"]
    assert backend.workspaces is None or not (backend.workspaces / "r").exists()


async def test_a_run_that_a_process_runs_is_not_deleted(backend: StateBackend) -> None:
    """Nor does it take an output from outside."""
    begun = anyio.Event()

    @workflow(name="flow")
    async def flow(ctx: Any) -> None:
        begun.set()
        await ctx.wait_signal("go")

    async with Kernel(backend, [flow]) as kernel:
        await kernel.start(flow, run_id="r")
        await begun.wait()
        with pytest.raises(RunActiveError):
            await backend.delete_state("r")
        with pytest.raises(RunActiveError):
            await backend.save_state("r", {"status": "completed"})
        await kernel.cancel("r")
        await kernel.wait("r")

    await backend.delete_state("r")
    assert await backend.list_states() == []


# -- queries -----------------------------------------------------------------------------------------------------------


async def test_runs_are_listed_newest_first(backend: StateBackend) -> None:
    """All, by status, by workflow, and piece by piece."""
    await tell(backend, a=COMPLETED, b=FAILED, c=COMPLETED, d=INTERRUPTED)

    async def ids(*given: Any, **named: Any) -> str:
        return "".join(row["run_id"] for row in await backend.list_workflows(*given, **named))

    assert await ids() == "dcba"
    assert await ids("completed") == await ids(status="completed") == "ca"
    assert await ids(pipeline_id="workflow-name") == await ids(pipeline_id="") == "dcba"
    assert await ids(pipeline_id="other") == ""
    assert await ids(limit=2) == "dc"
    assert await ids(limit=2, offset=1) == "cb"
    assert await ids(offset=3) == "a"
    assert (await ids(limit=0), await ids(limit=9, offset=9)) == ("", "")
    assert await backend.list_states("failed") == [
        {name: row[name] for name in ("run_id", "status", "created_at", "updated_at")}
        for row in await backend.list_workflows("failed")
    ]


async def test_more_runs_than_one_page_are_listed(backend: StateBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, none left out and none twice."""
    monkeypatch.setattr("flujo.state.backends.base._AT_ONCE", 2)
    await tell(backend, a=COMPLETED, b=COMPLETED, c=COMPLETED, d=COMPLETED, e=COMPLETED)

    everything = [row["run_id"] for row in await backend.list_workflows()]
    some = [row["run_id"] for row in await backend.list_workflows(limit=3, offset=1)]

    assert (everything, some) == (list("edcba"), list("dcb"))


async def test_a_row_says_how_a_run_stands(backend: StateBackend) -> None:
    """In plain JSON, with None for what is not known."""
    await tell(backend, f=FAILED, i=INTERRUPTED)

    running, failed = await backend.list_workflows()

    assert json.loads(json.dumps(failed)) == failed
    assert {name: failed[name] for name in failed if not name.endswith(("_at", "_ms"))} == {
        "run_id": "f",
        "pipeline_id": "workflow-name",
        "pipeline_name": "workflow-name",
        "pipeline_version": None,
        "status": "failed",
        "current_step": "step2",
        "current_step_index": failed["current_step_index"],
        "total_steps": None,
        "failed_step": "step2",
        "error_message": "no",
    }
    assert failed["execution_time_ms"] >= 0
    assert failed["created_at"] <= failed["updated_at"]
    assert (running["status"], running["execution_time_ms"], running["error_message"]) == ("running", None, None)


@pytest.mark.parametrize("bad", [{"status": "done"}, {"limit": -1}, {"offset": -1}], ids=str)
async def test_what_makes_no_sense_is_refused(backend: StateBackend, bad: dict[str, Any]) -> None:
    """Rather than answered with nothing."""
    await tell(backend, a=COMPLETED)

    with pytest.raises(InvalidNameError):
        await backend.list_workflows(**bad)


async def test_failures_of_the_last_hours_are_found(backend: StateBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """By when the runs became failed."""
    await tell(backend, a=FAILED, b=COMPLETED, c=FAILED)

    now = [row["run_id"] for row in await backend.get_failed_workflows()]
    monkeypatch.setattr("flujo.state.backends.base.SystemClock", partial(Later, 2))
    later = await backend.get_failed_workflows(hours_back=1), await backend.get_failed_workflows(hours_back=3)

    assert now == ["c", "a"]
    assert (later[0], [row["run_id"] for row in later[1]]) == ([], ["c", "a"])


async def test_what_the_runs_of_a_store_add_up_to(backend: StateBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts by status, those of the last day, and how long the completed ones took."""
    await tell(backend, a=COMPLETED, b=FAILED, c=COMPLETED, d=INTERRUPTED)
    took = [row["execution_time_ms"] for row in await backend.list_workflows("completed")]

    stats = await backend.get_workflow_stats()
    monkeypatch.setattr("flujo.state.backends.base.SystemClock", partial(Later, 48))
    later = await backend.get_workflow_stats()

    assert stats == {
        "total_workflows": 4,
        "status_counts": {"completed": 2, "failed": 1, "running": 1},
        "recent_workflows_24h": 4,
        "average_execution_time_ms": sum(took) / 2,
    }
    assert later == {**stats, "recent_workflows_24h": 0}


async def test_an_empty_store_adds_up_to_nothing(backend: StateBackend) -> None:
    """In numbers that can be printed."""
    async with Kernel(backend.handle()):
        pass

    assert await backend.get_workflow_stats() == {
        "total_workflows": 0,
        "status_counts": {},
        "recent_workflows_24h": 0,
        "average_execution_time_ms": 0.0,
    }
    assert (await backend.list_workflows(), await backend.get_failed_workflows()) == ([], [])
    assert await backend.cleanup_old_workflows() == 0


@pytest.mark.parametrize("at_once", [1, 500])
async def test_old_runs_are_cleaned_up(backend: StateBackend, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Those that have ended, with their workspaces; what goes on or is paused stays, however old it is."""
    monkeypatch.setattr("flujo.state.backends.base._AT_ONCE", at_once)
    await tell(
        backend, a=COMPLETED, b=FAILED, c=INTERRUPTED, d=Story("step2", "is cancelled"), e=Story("step2", "is paused")
    )

    if backend.workspaces is not None:
        (backend.workspaces / "b").mkdir(parents=True)

    kept = await backend.cleanup_old_workflows(days_old=30)
    gone = await backend.cleanup_old_workflows(days_old=0)

    assert (kept, gone) == (0, 3)
    assert backend.workspaces is None or not (backend.workspaces / "b").exists()
    assert [row["run_id"] for row in await backend.list_workflows()] == ["e", "c"]


class Later:
    """A clock that is some hours ahead."""

    def __init__(self, hours: float) -> None:
        self.hours = hours

    def now(self) -> int:
        return SystemClock().now() + round(self.hours * 3600 * 1_000_000)
